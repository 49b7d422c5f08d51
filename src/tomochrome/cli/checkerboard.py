"""``tomochrome checkerboard``: two volumes in one file, to be judged by eye."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomochrome.cli import options
from tomochrome.cli.session import Outcome, Session
from tomochrome.errors import OptionError, OutputError
from tomochrome.formats import format_of, in_words

if TYPE_CHECKING:
    from tomochrome.volume import Volume

MODES = ("checkerboard", "wipe", "blend", "red-cyan", "difference", "contour")
#: Each option that only some modes know, as argparse stores it.
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
    """Describe the command's arguments."""
    parser.add_argument(
        "a", metavar="A", type=options.some_path, help="the fixed volume: its grid is the result's"
    )
    parser.add_argument(
        "b", metavar="B", type=options.some_path, help="the other, grey or colored, on any grid"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help=f"what to write, by its ending: {in_words()}; in the volumes' own numbers "
        "where they share a unit and no --window is given, else in color",
    )
    parser.add_argument(
        "--mode",
        metavar="NAME",
        choices=MODES,
        default="checkerboard",
        help=f"{', '.join(MODES)} (default: %(default)s)",
    )
    parser.add_argument(
        "--tile-mm", metavar="MM", type=options.number, help="edge of a tile in mm (default: 20)"
    )
    parser.add_argument(
        "--offset-mm",
        metavar="Z,Y,X",
        type=numbers,
        help="move the tiles along the first volume's axes, in mm (default: 0,0,0)",
    )
    parser.add_argument(
        "--direction", choices=("vertical", "horizontal"), help="of a wipe (default: vertical)"
    )
    parser.add_argument(
        "--position",
        metavar="0..1",
        type=options.fraction,
        help="of a wipe's edge, or the share of B in a blend (default: 0.5)",
    )
    parser.add_argument(
        "--range",
        metavar="VALUE",
        type=options.number,
        help="the difference of the strongest color (default: 200 HU)",
    )
    parser.add_argument(
        "--levels",
        metavar="V,V..",
        type=numbers,
        help="of B, at which contours are drawn (default: -300,200 HU)",
    )
    parser.add_argument(
        "--labels", action="store_true", default=None, help="B holds labels: draw their edges"
    )
    parser.add_argument(
        "--window",
        metavar="PRESET|CENTER/WIDTH",
        help="show grey volumes in color through this window; where color is needed the default "
        "is that of the colored twin, or soft-tissue",
    )
    parser.add_argument("--series", metavar="UID", help="which series of A, if there are several")
    parser.add_argument("--series-b", metavar="UID", help="which series of B")
    options.add_force(parser)


def numbers(text: str) -> tuple[float, ...]:
    """Parse numbers with commas between."""
    return tuple(options.number(part) for part in text.split(","))


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Compare two volumes. Everything that can be refused is refused before the work begins."""
    from tomochrome.cli import pipeline
    from tomochrome.compare import Pair, render, view
    from tomochrome.io import read, write
    from tomochrome.windowing import needs_volume, parse_window

    _check_options(args)
    settings = _settings(args)
    if args.window is not None and not needs_volume(args.window):
        parse_window(args.window)
    for path in (args.a, args.b):
        pipeline.check_input(path)
    _check_output(args)
    told: dict[str, Any] = {"progress": session.progress, "cancel": session.cancel}
    start = time.perf_counter()
    first = read(args.a, series=args.series, **told)
    second = read(args.b, series=args.series_b, **told)
    read_at = time.perf_counter()
    pair = Pair(
        first,
        second,
        window=args.window,
        color=_needs_color(args.output),
        order="nearest" if args.labels else None,
    )
    result = render(view(args.mode, pair, settings), **told)
    compared_at = time.perf_counter()
    write(result, args.output, force=args.force, **told)
    written_at = time.perf_counter()
    seconds = {
        "read": round(read_at - start, 3),
        "compare": round(compared_at - read_at, 3),
        "write": round(written_at - compared_at, 3),
        "total": round(written_at - start, 3),
    }
    for warning in (*pair.warnings, *first.provenance.warnings, *second.provenance.warnings):
        session.warn(warning)
    data = {
        "inputs": [str(args.a), str(args.b)],
        "output": args.output,
        "mode": args.mode,
        "tile_mm": getattr(settings, "tile_mm", None),
        "shape": list(result.shape),
        "spacing_mm": list(result.spacing),
        "unit": result.unit,
        "coverage": round(pair.coverage, 4),
        "seconds": seconds,
        "warnings": list(session.warnings),
    }
    return Outcome(data, _in_words(args, result, pair.coverage, seconds))


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options that the mode would ignore."""
    for name, modes in _ONLY_FOR.items():
        if getattr(args, name) is not None and args.mode not in modes:
            raise OptionError(
                f"--{name.replace('_', '-')} means nothing with --mode {args.mode}; "
                f"it belongs to {' and '.join(modes)}"
            )


def _settings(args: argparse.Namespace) -> Any:
    """Return the settings object of the mode asked for."""
    from tomochrome import compare

    position = 0.5 if args.position is None else args.position
    if args.mode == "checkerboard":
        tile_mm = 20.0 if args.tile_mm is None else args.tile_mm
        return compare.Tiles(tile_mm, args.offset_mm or (0.0, 0.0, 0.0))
    if args.mode == "wipe":
        return compare.Curtain(args.direction or "vertical", (position,) * 3)
    if args.mode == "blend":
        return compare.Mixture(position)
    if args.mode == "difference":
        numeric = args.window is None and not _needs_color(args.output)
        return compare.Spread(args.range, colored=not numeric)
    if args.mode == "contour":
        return compare.Lines(args.levels, args.labels)
    return None


def _needs_color(output: str) -> bool:
    """Whether the format holds nothing but color: a picture, or a Secondary Capture."""
    wanted = format_of(output)
    return wanted.only_color or wanted.is_folder


def _check_output(args: argparse.Namespace) -> None:
    from tomochrome.io import check_output

    check_output(args.output, force=args.force)
    for path in (args.a, args.b):
        if os.path.realpath(path) == os.path.realpath(args.output):
            raise OutputError(f"'{args.output}' is an input; choose another name for the output")


def _in_words(
    args: argparse.Namespace, result: Volume, coverage: float, seconds: dict[str, float]
) -> str:
    what = "RGBA" if result.is_rgba else f"unit {result.unit}"
    took = ", ".join(f"{stage} {taken:.1f} s" for stage, taken in seconds.items())
    return (
        f"{args.output}\n"
        f"  {args.mode} of {Path(args.a).name} and {Path(args.b).name}, "
        f"{' x '.join(map(str, result.shape))} (z, y, x), {what}\n"
        f"  the second reaches {100 * coverage:.0f} % of the first one's field of view\n"
        f"  {took}\n"
        f"  not for diagnosis"
    )
