"""``tomochrome render``: color a scan and draw it in 3D, as a picture or a film."""

from __future__ import annotations

import argparse

from tomochrome.cli import options
from tomochrome.cli.files import check_inputs, model_or_saved
from tomochrome.cli.session import Outcome, Session, took
from tomochrome.colorization.coloring_request import ColoringRequest, Hints, Source
from tomochrome.errors import OptionError
from tomochrome.rendering.camera import VIEWS
from tomochrome.rendering.cinematic import FRAMES, RenderRequest
from tomochrome.rendering.render_files import render_file
from tomochrome.rendering.render_presets import RENDER_PRESETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_paths(parser, path="a CT series, file or folder")
    options.add_output(
        parser,
        "output: .png (a picture), .mp4 or .gif (a film of a turn around the patient)",
    )
    options.add_reading(parser)
    options.add_as_hu(parser)
    options.add_model(parser, or_saved=True)
    options.add_hints(parser)
    parser.add_argument(
        "--view",
        metavar="NAME|AZIMUTH/ELEVATION",
        default=RenderRequest.view,
        help=f"{', '.join(VIEWS)}, or degrees: azimuth from the front to the patient's left, "
        "elevation upwards, such as 30/15 (default: front); a film begins with it",
    )
    parser.add_argument(
        "--preset",
        metavar="NAME",
        default=RenderRequest.preset,
        help="what is shown: auto (by the region of the body), "
        + ", ".join(f"{preset.name} ({preset.about})" for preset in RENDER_PRESETS.values()),
    )
    for option, text in (
        ("--only", "show these tissues instead of a preset, see 'tomochrome palette'"),
        ("--hide", "do not show these"),
    ):
        parser.add_argument(option, metavar="TISSUE,...", type=options.names, default=(), help=text)
    options.add_values(
        parser,
        (
            "--cut",
            "x|y|z=MM",
            str,
            "cut the body open at a position in LPS mm; the part towards the camera is removed",
        ),
    )
    options.add_look(parser, "the lightness of the palette")
    parser.add_argument(
        "--quality",
        choices=("draft", "final"),
        default=RenderRequest.quality,
        help="final has finer voxels, softer shadows and smooth edges (default: final)",
    )
    parser.add_argument(
        "--size",
        metavar="WxH",
        type=_size,
        default=RenderRequest.size,
        help="width and height in pixels (default: 1000x1000)",
    )
    parser.add_argument(
        "--frames",
        metavar="N",
        type=options.count,
        help=f"frames of a film (default: {FRAMES})",
    )
    options.add_palette(parser)
    options.add_confidence(parser)
    options.add_computing(parser)
    options.add_force(parser)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT such as 1200x900, not '{text}'")
    return options.count(width), options.count(height)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Draw one scan after checking the input."""
    check_inputs([args.path, args.hints], args.output)
    if args.only and args.preset != RenderRequest.preset:
        raise OptionError("--only shows tissues instead of a preset; omit --only or --preset")
    hints = Hints.of(args.hints, args.hint)
    request = RenderRequest(
        view=args.view,
        preset=args.preset,
        only=args.only,
        hide=args.hide,
        cut=args.cut,
        look=args.look,
        quality=args.quality,
        size=args.size,
        palette=args.palette,
        saturation=args.saturation,
        min_confidence=args.min_confidence,
    )
    model = model_or_saved(args.model, args.path)
    report = render_file(
        Source(args.path, args.series, raw=args.raw, strict=args.strict, as_hu=args.as_hu),
        args.output,
        request,
        coloring=ColoringRequest(model=model, device=args.device, threads=args.threads),
        hints=hints,
        frames=args.frames,
        force=args.force,
    )
    session.warn(*report.warnings)
    width, height = report.size
    many = f"{report.frames} frames, " if report.frames > 1 else ""
    text = (
        f"{report.output}\n"
        f"  {many}{width} x {height} pixels, preset '{report.preset}', "
        f"model '{report.model}' on {report.device}\n"
        f"  {took(report.seconds)}\n"
        f"  colored by a model, lightness not from the scanner: not for diagnosis"
    )
    return Outcome({**report.to_json(), "warnings": list(session.warnings)}, text)
