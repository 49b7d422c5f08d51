"""``tomochrome checkerboard``: compare two volumes in one file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tomochrome import compare
from tomochrome.cli import options
from tomochrome.cli.files import check_inputs, read_chosen
from tomochrome.cli.session import Outcome, Session, size, took
from tomochrome.compare import Pair, render, view
from tomochrome.errors import OptionError
from tomochrome.formats import extensions_help, format_of
from tomochrome.io import check_output, companions, write
from tomochrome.runtime import check_beside
from tomochrome.runtime.clock import Clock
from tomochrome.volume import Volume
from tomochrome.windowing import needs_volume, parse_window

MODES = ("checkerboard", "wipe", "blend", "red-cyan", "difference", "contour")
#: The modes of each mode-specific option, by its destination.
_ONLY_FOR = {
    "tile_mm": ("checkerboard",),
    "offset_mm": ("checkerboard",),
    "direction": ("wipe",),
    "position": ("wipe", "blend"),
    "range": ("difference",),
    "levels": ("contour",),
    "labels": ("contour",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_paths(
        parser,
        a="the fixed volume; the result is on its grid",
        b="the other volume, grey or colored, on any grid",
    )
    options.add_output(
        parser,
        f"output; the extension gives the format: {extensions_help()}; values in the unit of the "
        "volumes if it is the same and no --window is given, otherwise color",
    )
    parser.add_argument(
        "--mode",
        metavar="NAME",
        choices=MODES,
        default="checkerboard",
        help=f"{', '.join(MODES)} (default: %(default)s)",
    )
    shift = "shift the tiles along the axes of A, in mm (default: 0,0,0)"
    options.add_values(
        parser,
        ("--tile-mm", "MM", options.number, "edge length of a tile in mm (default: 20)"),
        ("--offset-mm", "Z,Y,X", options.numbers, shift),
    )
    parser.add_argument(
        "--direction",
        choices=("vertical", "horizontal"),
        help="direction of a wipe (default: vertical)",
    )
    position = "position of a wipe, or weight of B in a blend (default: 0.5)"
    color_range = "difference shown in the strongest color (default: 200 HU)"
    levels = "values of B at which contours are drawn (default: -300,200 HU)"
    options.add_values(
        parser,
        ("--position", "0..1", options.fraction, position),
        ("--range", "VALUE", options.number, color_range),
        ("--levels", "V,V..", options.numbers, levels),
    )
    parser.add_argument(
        "--labels", action="store_true", default=None, help="B contains labels: draw their outlines"
    )
    parser.add_argument(
        "--window",
        metavar="PRESET|CENTER/WIDTH",
        help="show grey volumes in this window and write color; if the format needs color, the "
        "default is the window of the colored volume, or soft-tissue",
    )
    parser.add_argument("--series", metavar="UID", help="series of A to read, if there are several")
    parser.add_argument("--series-b", metavar="UID", help="series of B")
    options.add_force(parser)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Compare two volumes after checking the input."""
    _check_options(args)
    settings = _settings(args)
    if args.window is not None and not needs_volume(args.window):
        parse_window(args.window)
    check_inputs((args.a, args.b))
    check_output(args.output, force=args.force)
    check_inputs((args.a, args.b), args.output)
    clock = Clock()
    with clock.stage("read"):
        first = read_chosen(args.a, args.series, "--series")
        second = read_chosen(args.b, args.series_b, "--series-b")
        masks = {path for each in (first, second) for path in companions(each, args.output)}
        check_beside(masks, (args.a, args.b), [args.output], force=args.force)
    with clock.stage("compare"):
        pair = Pair(
            first,
            second,
            window=args.window,
            color=_needs_color(args.output),
            order="nearest" if args.labels else None,
        )
        result = render(view(args.mode, pair, settings))
    with clock.stage("write"):
        write(result, args.output, force=args.force)
    session.warn(*pair.warnings, *first.provenance.warnings, *second.provenance.warnings)
    data = {
        "inputs": [str(args.a), str(args.b)],
        "output": args.output,
        "mode": args.mode,
        "tile_mm": getattr(settings, "tile_mm", None),
        "shape": list(result.shape),
        "spacing_mm": list(result.spacing),
        "unit": result.unit,
        "coverage": round(pair.coverage, 4),
        "seconds": clock.seconds(),
        "warnings": list(session.warnings),
    }
    return Outcome(data, _summary(args, result, data))


def _check_options(args: argparse.Namespace) -> None:
    """Check that all options apply to the mode."""
    for name, modes in _ONLY_FOR.items():
        if getattr(args, name) is not None and args.mode not in modes:
            raise OptionError(
                f"--{name.replace('_', '-')} has no effect with --mode {args.mode}; "
                f"it is an option of {' and '.join(modes)}"
            )


def _settings(args: argparse.Namespace) -> Any:
    """Return the settings of the mode."""
    position = 0.5 if args.position is None else args.position
    if args.mode == "checkerboard":
        tile_mm = 20.0 if args.tile_mm is None else args.tile_mm
        return compare.CheckerboardSettings(tile_mm, args.offset_mm or (0.0, 0.0, 0.0))
    if args.mode == "wipe":
        return compare.WipeSettings(args.direction or "vertical", (position,) * 3)
    if args.mode == "blend":
        return compare.BlendSettings(position)
    if args.mode == "difference":
        numeric = args.window is None and not _needs_color(args.output)
        return compare.DifferenceSettings(args.range, colored=not numeric)
    if args.mode == "contour":
        return compare.ContourSettings(args.levels, args.labels)
    return None


def _needs_color(output: str) -> bool:
    """Whether the format stores color only: an image, or a DICOM Secondary Capture."""
    format_ = format_of(output)
    return format_.only_color or format_.is_folder


def _summary(args: argparse.Namespace, result: Volume, data: dict[str, Any]) -> str:
    unit = "RGBA" if result.is_rgba else f"unit {result.unit}"
    return (
        f"{args.output}\n"
        f"  {args.mode} of {Path(args.a).name} and {Path(args.b).name}, "
        f"{size(result.shape)}, {unit}\n"
        f"  the second covers {100 * data['coverage']:.0f} % of the first one's field of view\n"
        f"  {took(data['seconds'])}\n"
        f"  not for diagnosis"
    )
