"""``tomochrome info``: every series or volume under a path, with geometry and a verdict."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tomochrome.cli.session import Outcome, Session

if TYPE_CHECKING:
    from tomochrome.io import Item


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("path", metavar="PATH", type=Path, help="a file or a folder")
    parser.add_argument(
        "--pixels", action="store_true", help="read the pixels too, for the range of values"
    )
    parser.add_argument(
        "--with-identity",
        action="store_true",
        help="show the patient's name, id and birth date too (never part of --json)",
    )


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Look at what lies at the path."""
    from tomochrome.io import find

    found = find(
        args.path,
        pixels=args.pixels,
        with_identity=args.with_identity,
        progress=session.progress,
        cancel=session.cancel,
    )
    lines = [line for item in found.items for line in _in_words(item)]
    if found.skipped:
        lines += ["", f"skipped {len(found.skipped)}:"]
        lines += [f"  {file.path}: {file.reason}" for file in found.skipped]
    return Outcome(found.to_json(), "\n".join(lines).strip() or "nothing found")


def _in_words(item: Item) -> list[str]:
    shape = " x ".join(map(str, item.shape)) if item.shape else "unknown shape"
    spacing = " x ".join(f"{mm:.4g}" for mm in item.spacing) + " mm" if item.spacing else ""
    lines = [
        item.path,
        f"  {item.kind}, {item.modality}, {item.unit}, {item.verdict}",
        f"  {shape} (z, y, x), {spacing}".rstrip(", "),
    ]
    if item.series_uid:
        lines.append(f"  series {item.series_uid}")
    if item.value_range:
        lines.append(f"  values {item.value_range[0]:g} to {item.value_range[1]:g}")
    lines += [f"  window {w.name or '-'} {w.center:g}/{w.width:g}" for w in item.windows]
    lines += [f"  {name}: {value}" for name, value in (item.identity or {}).items()]
    lines += [f"  warning: {warning}" for warning in item.warnings]
    return lines
