"""``tomochrome colorize``: color a CT series and write it to a file."""

from __future__ import annotations

import argparse

from tomochrome.cli import options
from tomochrome.cli.files import check_inputs, model_or_saved, read_reference
from tomochrome.cli.session import Outcome, Session, size, took
from tomochrome.colorization import file_coloring
from tomochrome.colorization.coloring_request import (
    Hints,
    Outputs,
    Source,
)
from tomochrome.formats import PAGE, extensions_help, format_of
from tomochrome.io.dicom.tissue_segmentation import SEGMENTATION_KINDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_paths(parser, path="a CT series, file or folder")
    options.add_output(
        parser, f"output; the extension gives the format: {extensions_help(color=True)}"
    )
    options.add_reading(parser)
    options.add_as_hu(parser)
    options.add_model(parser, or_saved=True)
    options.add_reference(parser)
    options.add_hints(parser)
    options.add_lighting(parser)
    options.add_look(parser, "the lightness of the scanner; photograph is for pictures only")
    options.add_slab(parser)
    options.add_slice(parser)
    parser.add_argument(
        "--tissue-map",
        metavar="FILE.nii.gz",
        help="also write the index of the most likely tissue: .nii.gz with a JSON of names, .nrrd, "
        ".seg.nrrd (segmentation for 3D Slicer) or .dcm (DICOM Segmentation)",
    )
    parser.add_argument(
        "--segmentation",
        choices=SEGMENTATION_KINDS,
        help="kind of a DICOM Segmentation: binary, labelmap (smaller, newer viewers only) or "
        "fractional, the probability of each tissue (default: binary)",
    )
    parser.add_argument(
        "--surfaces",
        metavar="FILE.stl|.ply",
        help="also write the surfaces of the tissues that --only and --hide leave, in LPS mm",
    )
    parser.add_argument(
        "--join-study",
        action="store_true",
        help="DICOM outputs join the study of the input, WITH the identity of the patient, so that "
        "an archive shows them beside it (default: anonymous, a study of their own)",
    )
    parser.add_argument(
        "--with-identity",
        action="store_true",
        help="a page (.html) names the patient: name, ID and study date of the DICOM series "
        "(default: no identity)",
    )
    parser.add_argument(
        "--confidence-map", metavar="FILE.nii.gz", help="also write the model's confidence, 0 to 1"
    )
    parser.add_argument(
        "--compare",
        metavar="MODEL,...",
        nargs="?",
        type=options.names,
        const=(),
        help="on a page (.html), show further models side by side; without names, all installed "
        "ones (give the option after PATH)",
    )
    options.add_computing(parser)
    options.add_force(parser)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Color one volume after checking the input."""
    check_inputs([args.path])
    args.model = model_or_saved(args.model, args.path)
    request = options.request_of(args)
    check_inputs([args.hints], args.output)
    hints = Hints.of(args.hints, args.hint)
    outputs = Outputs(
        color=args.output,
        tissue=args.tissue_map,
        confidence=args.confidence_map,
        force=args.force,
        surfaces=args.surfaces,
        segmentation=args.segmentation,
        join_study=args.join_study,
        with_identity=args.with_identity,
    )
    outputs.check(args.path)
    reference = read_reference(args)
    source = Source(
        args.path, series=args.series, raw=args.raw, strict=args.strict, as_hu=args.as_hu
    )
    report = file_coloring.colorize_file(
        source, outputs, request, hints=hints, reference=reference, compare=args.compare
    )
    session.warn(*report.warnings)
    window = f"window {report.window['center']:g}/{report.window['width']:g}"
    if request.look != "standard" and format_of(report.output) != PAGE:
        window = f"look of a {request.look}"
    text = (
        f"{report.output}\n"
        f"  {size(report.shape)}, {window}, "
        f"model '{report.model}' on {report.device}\n"
        f"  {took(report.seconds)}\n"
        f"  mean chroma {report.mean_chroma:.1f}, mean confidence {report.mean_confidence:.2f}\n"
        f"  colored by a model: not for diagnosis"
    )
    return Outcome({**report.to_json(), "warnings": list(session.warnings)}, text)
