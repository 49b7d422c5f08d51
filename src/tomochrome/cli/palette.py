"""``tomochrome palette``: the colors of the tissues and their sources."""

from __future__ import annotations

import argparse

from tomochrome.cli.session import Outcome, Session
from tomochrome.color.palettes import palette


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "name", nargs="?", default="natural", metavar="NAME", help="a palette (default: natural)"
    )


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """List the tissues of one palette with CIELAB and sRGB colors and their sources."""
    data = palette(args.name).to_dict()
    lines = [f"Palette {data['name']}", ""]
    lines += [
        f"{t['index']:3d}  {t['name']:<14}  #{bytes(t['rgb']).hex()}  "
        f"L*{t['lab'][0]:6.1f} a*{t['lab'][1]:6.1f} b*{t['lab'][2]:6.1f}  {t['source']}"
        for t in data["tissues"]
    ]
    return Outcome(data, "\n".join(lines))
