"""``tomochrome info``: all series and volumes under a path, with geometry and a verdict."""

from __future__ import annotations

import argparse
from typing import Any

from tomochrome.cli import options
from tomochrome.cli.session import Outcome, Session, size
from tomochrome.io import Item, Listing, find


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_paths(parser, path="a file, a folder, a DICOMDIR or a zip archive")
    parser.add_argument(
        "--pixels", action="store_true", help="also read the pixels to report the value range"
    )
    parser.add_argument(
        "--with-identity",
        action="store_true",
        help="also show patient name, ID, birth date, accession number and study date",
    )


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """List what the path contains."""
    listing = find(args.path, pixels=args.pixels, with_identity=args.with_identity)
    lines = [line for item in listing.items for line in _summary(item)]
    if listing.skipped:
        lines += ["", f"skipped {len(listing.skipped)}:"]
        lines += [f"  {file.path}: {file.reason}" for file in listing.skipped]
    return Outcome(_to_json(listing), "\n".join(lines).strip() or "nothing found")


def _to_json(listing: Listing) -> dict[str, Any]:
    """Return the object for ``--json``, with identity and phase only if available."""
    facts = listing.to_json()
    for item, entry in zip(listing.items, facts["items"], strict=True):
        if item.phase:
            entry["name"], entry["phase"] = item.name, item.phase
        if item.label:
            entry["label"] = item.label
        if item.identity:
            entry["identity"] = dict(item.identity)
    return facts


def _summary(item: Item) -> list[str]:
    shape = size(item.shape) if item.shape else "unknown shape"
    spacing = " x ".join(f"{mm:.4g}" for mm in item.spacing) + " mm" if item.spacing else ""
    if item.present and item.shape:
        shape += f", {item.present} of {item.shape[0]} slices exist"
    lines = [
        item.path + (f"  {item.title}" if item.title else ""),
        f"  {item.kind}, {item.modality}, {item.unit}, {item.verdict}",
        f"  {shape}, {spacing}".rstrip(", "),
    ]
    if item.phase:
        lines.append(f"  phase {item.phase}" + (f": {item.label}" if item.label else ""))
    if item.name != item.path:
        lines.append(f"  series {item.name}")
    if item.value_range:
        lines.append(f"  values {item.value_range[0]:g} to {item.value_range[1]:g}")
    lines += [f"  window {w.name or '-'} {w.center:g}/{w.width:g}" for w in item.windows]
    lines += [f"  {name}: {value}" for name, value in (item.identity or {}).items()]
    for notice in item.warnings:
        lines.append(f"  {'warning' if notice.severity == 'warning' else 'note'}: {notice}")
    return lines
