"""``tomochrome palette``: the colors of the tissues and their sources."""

from __future__ import annotations

import argparse
from typing import Any

from tomochrome.cli.session import Outcome, Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "name", nargs="?", default="natural", metavar="NAME", help="a palette (default: natural)"
    )


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """List the tissues of one palette with CIELAB and sRGB colors and their sources."""
    from tomochrome.color.palette import palette
    from tomochrome.tissue import TISSUE_NAMES

    chosen = palette(args.name)
    tissues: list[dict[str, Any]] = [
        {
            "index": index,
            "name": name,
            "lab": [round(float(v), 2) for v in lab],
            "rgb": [int(v) for v in rgb],
            "source": source,
        }
        for index, (name, lab, rgb, source) in enumerate(
            zip(TISSUE_NAMES, chosen.lab, chosen.rgb, chosen.sources, strict=True)
        )
    ]
    lines = [f"Palette {chosen.name}", ""]
    lines += [
        f"{t['index']:3d}  {t['name']:<14}  #{bytes(t['rgb']).hex()}  "
        f"L*{t['lab'][0]:6.1f} a*{t['lab'][1]:6.1f} b*{t['lab'][2]:6.1f}  {t['source']}"
        for t in tissues
    ]
    return Outcome({"name": chosen.name, "tissues": tissues}, "\n".join(lines))
