"""``tomochrome register``: register two volumes and write all results to one folder."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tomochrome.cli import options
from tomochrome.cli.files import (
    as_json,
    check_folder,
    check_inputs,
    check_network,
    read_chosen,
    read_landmarks,
    read_or_none,
    write_together,
)
from tomochrome.cli.measures import lines_of
from tomochrome.cli.session import Outcome, Session, size, took
from tomochrome.compare import Checkerboard, CheckerboardSettings, Pair, smallest_tile_mm
from tomochrome.errors import OutputError
from tomochrome.io import write
from tomochrome.io.restored_mask import mask_path
from tomochrome.io.writing import companions
from tomochrome.registration.pairwise import Registration, register
from tomochrome.runtime import quietly, report
from tomochrome.runtime.clock import Clock
from tomochrome.volume import Provenance, Volume

FILES = (
    "moved.nii.gz",
    "moved_inverse.nii.gz",
    "forward.h5",
    "inverse.h5",
    "jacobian.nii.gz",
    "checkerboard.png",
    "report.json",
)
"""The output files."""
TILE_MM = 20.0
_NOTES = {
    "moved": "Moving volume registered to the fixed one, not for diagnosis",
    "moved_inverse": "Fixed volume registered to the moving one, not for diagnosis",
    "jacobian": "Jacobian determinant of a registration, not for diagnosis",
}
_VOLUMES = ("fixed_mask", "moving_mask", "fixed_labels", "moving_labels", "rigid_mask")
_POINTS = ("fixed_points", "moving_points")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_paths(
        parser,
        fixed="fixed (reference) image; the result is on its grid",
        moving="moving image, aligned to FIXED",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=options.some_path,
        required=True,
        help=f"folder for {', '.join(FILES)}",
    )
    parser.add_argument(
        "--init",
        metavar="NAME",
        choices=options.STARTS,
        default="affine",
        help=f"initial alignment: {', '.join(options.STARTS)} (default: affine)",
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        default="symnet",
        help="a registration model (see 'tomochrome models'), a bundle folder, or none "
        "(default: symnet)",
    )
    parser.add_argument(
        "--refine",
        metavar="N",
        type=options.integer,
        help="number of refinement iterations; 0 turns refinement off (default: 40); for features "
        "the default is 80",
    )
    parser.add_argument(
        "--similarity",
        metavar="NAME",
        choices=options.SIMILARITIES,
        default="lncc",
        help="similarity measure of the refinement: lncc; mi or mind for different contrast or "
        "modality; mse; features of a network (default: lncc)",
    )
    options.add_features(parser)
    options.add_pair(parser, "mask", "mask of the {} image: nonzero voxels are used")
    options.add_pair(
        parser,
        "labels",
        "label map of the {} image, for evaluation; of FIXED alone for the change of its regions",
    )
    options.add_pair(
        parser,
        "points",
        "landmarks in the {} image (.fcsv, .mrk.json, .csv in LPS mm), for evaluation",
    )
    for kind, text in (("points", "landmarks"), ("labels", "labels that both images have")):
        parser.add_argument(
            f"--use-{kind}", action="store_true", help=f"let the {text} drive the refinement, too"
        )
    text = "nonzero voxels of the fixed image move rigidly: bones, implants; each label by itself"
    options.add_values(parser, ("--rigid-mask", "F", options.some_path, text))
    parser.add_argument(
        "--series", metavar="UID", help="series of FIXED to read, if there are several"
    )
    parser.add_argument("--series-moving", metavar="UID", help="series of MOVING")
    options.add_strict(parser)
    options.add_computing(parser)
    options.add_force(parser)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Register two volumes after checking the input."""
    _check(args)
    clock = Clock()
    with clock.stage("read"):
        fixed = read_chosen(args.fixed, args.series, "--series", strict=args.strict)
        moving = read_chosen(args.moving, args.series_moving, "--series-moving", strict=args.strict)
        extras: dict[str, Any] = {name: read_or_none(getattr(args, name)) for name in _VOLUMES}
        extras |= {name: read_landmarks(getattr(args, name)) for name in _POINTS}
    # At the end there may be fewer: the restored voxels can lie outside the other grid.
    masks = [*companions(moving, "moved.nii.gz"), *companions(fixed, "moved_inverse.nii.gz")]
    check_folder(args.output, list(map(str, masks)), force=args.force)
    result = register(
        fixed,
        moving,
        init=args.init,
        model=args.model,
        refine=args.refine,
        similarity=args.similarity,
        backbone=args.backbone,
        weights=args.weights,
        use_points=args.use_points,
        use_labels=args.use_labels,
        device=args.device,
        threads=args.threads,
        **extras,
    )
    report = dict(result.report)
    written = ((getattr(result, name), f"{name}.nii.gz") for name in _NOTES)
    names = [*FILES, *(path.name for image, name in written for path in companions(image, name))]
    with write_together(args.output, names, force=args.force) as place:
        with clock.stage("write"):
            _write(fixed, result, place, session)
        seconds = clock.seconds()  # its total includes reading and writing
        report["seconds"] = {"read": seconds.pop("read"), **report["seconds"], **seconds}
        report["warnings"] = list(dict.fromkeys([*report["warnings"], *session.warnings]))
        (place / "report.json").write_text(as_json(report), encoding="utf-8")
    session.warn(*result.warnings)
    data = {
        "fixed": str(args.fixed),
        "moving": str(args.moving),
        "output": str(args.output),
        "files": names,
        **report,
    }
    return Outcome(data, _summary(args, result, report))


def _check(args: argparse.Namespace) -> None:
    """Check that the inputs exist and the outputs can be written."""
    inputs = [args.fixed, args.moving]
    inputs += [p for p in (getattr(args, name) for name in (*_VOLUMES, *_POINTS)) if p is not None]
    check_inputs(inputs)
    check_folder(args.output, FILES, force=args.force)
    outputs = {os.path.realpath(args.output / name) for name in FILES}
    masks = (mask_path(args.output / name) for name in FILES)
    outputs |= {os.path.realpath(mask) for mask in masks if mask is not None}
    for path in inputs:
        if os.path.realpath(path) in outputs:
            raise OutputError(f"'{path}' is an input and would be replaced; choose another folder")
    check_network(args)


def _write(fixed: Volume, result: Registration, place: Path, session: Session) -> None:
    for name, note in _NOTES.items():
        volume = getattr(result, name)
        extra = {**volume.provenance.extra, "description": note}
        described = replace(volume, provenance=replace(volume.provenance, extra=extra))
        write(described, place / f"{name}.nii.gz")
    _write_board(fixed, result.moved, place / "checkerboard.png", session)
    for done, name in enumerate(("forward", "inverse")):
        report(done, 2, "writing transforms")
        with quietly():
            getattr(result, name).save(place / f"{name}.h5")


def _write_board(fixed: Volume, moved: Volume, path: Path, session: Session) -> None:
    """Write the checkerboard; only the slices on the sheet are computed."""
    pair = Pair(fixed, moved, color=True)
    board = Checkerboard(pair, CheckerboardSettings(max(TILE_MM, smallest_tile_mm(fixed))))
    lazy: Any = board
    origin = Provenance(extra={"description": board.words()})
    sheet = Volume(lazy, fixed.affine, "RGBA", origin, restored=pair.restored)
    write(sheet, path)


def _summary(args: argparse.Namespace, result: Registration, report: Mapping[str, Any]) -> str:
    verdict = result.verdict
    lines = [
        f"{args.output}{os.sep}",
        f"  {Path(args.moving).name} registered to {Path(args.fixed).name}, "
        f"{size(result.moved.shape)}, init '{report['init']}', "
        f"model '{report['model']}' on {report['device']}, "
        f"refinement with '{report['similarity']}', at most {report['refine']} iterations",
        *lines_of(result.rows),
        f"  {verdict.heading} {verdict.text}",
    ]
    return "\n".join([*lines, f"  {took(report['seconds'])}", "  not for diagnosis"])
