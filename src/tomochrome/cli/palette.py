"""``tomochrome palette``: the colors of the tissues and their sources."""

from __future__ import annotations

import argparse

from tomochrome.cli import options
from tomochrome.cli.session import Outcome, Session
from tomochrome.color.palettes import palette
from tomochrome.errors import OutputError
from tomochrome.io.tissue_segments import color_table, names_json
from tomochrome.runtime import write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "name", nargs="?", default="natural", metavar="NAME", help="a palette (default: natural)"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=options.some_path,
        help="also write it: .ctbl, a color table for 3D Slicer, or .json with names and codes",
    )
    options.add_force(parser)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """List the tissues of one palette with CIELAB and sRGB colors and their sources."""
    data = palette(args.name).to_dict()
    if args.output is not None:
        makers = {".ctbl": color_table, ".json": names_json}
        maker = makers.get(args.output.suffix.lower())
        if maker is None:
            raise OutputError(f"'{args.output}' must end in .ctbl or .json")
        write_text(args.output, maker(args.name), force=args.force)
    lines = [f"Palette {data['name']}", ""]
    lines += [
        f"{t['index']:3d}  {t['name']:<14}  #{bytes(t['rgb']).hex()}  "
        f"L*{t['lab'][0]:6.1f} a*{t['lab'][1]:6.1f} b*{t['lab'][2]:6.1f}  {t['source']}"
        for t in data["tissues"]
    ]
    return Outcome(data, "\n".join(lines))
