"""Opening what was found at a path: which item to open, reading it, and its warnings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari.utils import progress

from tomochrome import io
from tomochrome._napari.kit.notifications import show_message
from tomochrome._napari.layers.volume_layers import (
    VOLUME_ENDINGS,
    LayerTuple,
    display_name,
    volume_layer,
)
from tomochrome._napari.series.scan_wording import describe_skipped, is_note
from tomochrome.errors import InputError
from tomochrome.notices import sentence
from tomochrome.runtime import check
from tomochrome.volume import Volume

_SERIOUS = ("irregular", "tilted", "incomplete", "not-ct")


@dataclass(frozen=True, eq=False)
class Opened:
    """A volume that was read: the layer to add, and a message to show before it is added."""

    layer: LayerTuple
    warning: str = ""  #: one message, possibly empty
    serious: bool = False  #: whether the geometry or the modality is not as expected


def find_or_read(path: Path) -> Opened | io.Listing:
    """Open the volume at a path, or return the search result if there are several.

    Raises `TomochromeError` if nothing at the path can be read.
    """
    if path.name.lower().endswith(VOLUME_ENDINGS) and path.is_file():
        # `find` decodes such a file, and reading it afterwards would decode it again.
        try:
            return opened(io.read(path))
        except InputError:
            pass  # it holds several volumes or is damaged: `find` reports which
    listing = io.find(path)
    item = only_choice(listing, path)
    if item is None:
        return listing
    return with_remark(open_item(item), other_items(listing))


def only_choice(listing: io.Listing, path: Path) -> io.Item | None:
    """Return the item to open without asking: the only readable CT, or the only item.

    Raises `InputError` if nothing was found; the message gives the reason.
    """
    from tomochrome.io.reading import choose

    if len(listing.items) < 2:
        return choose(listing, path)
    readable = [item for item in listing.items if not item.refusal and item.verdict != "not-ct"]
    unreadable = [item for item in listing.items if item.refusal and item.verdict != "not-ct"]
    # If another CT cannot be read, let the user choose.
    return readable[0] if len(readable) == 1 and not unreadable else None


def other_items(listing: io.Listing) -> str:
    """Return a sentence about the other items at a path of which one was opened."""
    others = len(listing.items) - 1
    series = f"{others} other series (not CT)" if others > 0 else ""
    files, reasons = describe_skipped(listing.skipped)
    if reasons:
        reason = reasons[0][1].rstrip(".")
        files = f"{files} ({reason}{', …' if len(reasons) > 1 else ''})"
    also = "; ".join(part for part in (series, files) if part)
    return f"Also found: {also}." if also else ""


def with_remark(opened: Opened, remark: str) -> Opened:
    """Append a sentence to the message."""
    if not remark:
        return opened
    name = opened.layer[1]["name"]
    message = f"{opened.warning} {remark}" if opened.warning else f"{name}: {remark}"
    return replace(opened, warning=message)


def open_item(item: io.Item) -> Opened:
    """Read an item and make its layer. Runs in a worker, accesses no widget."""
    volume = io.read(item)
    check()
    name = display_name(volume)
    if item.phase and item.phase not in name:
        name = f"{name} ({item.phase})"
    return opened(volume, name)


def opened(volume: Volume, name: str = "") -> Opened:
    """Make the layer of a volume, and the message with its warnings.

    The message leaves out what only the Scan panel notes, see `is_note`.
    """
    name = name or display_name(volume)
    told = [notice for notice in volume.provenance.warnings if not is_note(notice)]
    warnings = " ".join(dict.fromkeys(map(sentence, told)))
    return Opened(
        volume_layer(volume, name),
        f"{name}: {warnings}" if warnings else "",
        volume.provenance.verdict in _SERIOUS,
    )


def open_calls() -> list[Any]:
    """Return the progress bars of all calls of napari's ``open`` that are running.

    napari 0.9 opens the paths of one drop one after the other, each with a separate call of the
    reader, and marks them as belonging together by nothing but this bar. Elapsed time is no
    criterion: searching a folder on a slow disk can take longer than the user needs for the next
    drop.
    """
    return [bar for bar in progress._all_instances if str(bar.desc).startswith("Opening Files")]


def announce(opened: Opened) -> None:
    """Show the message about a volume, if any, as a napari notification."""
    if opened.warning:
        show_message(opened.warning, "warning" if opened.serious else "info")
