"""From what was found at a path to layers: what to open at once, reading, and the words first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tomochrome._napari.layers import VOLUME_ENDINGS, LayerTuple, display_name, volume_layer
from tomochrome._napari.wording import sentence, skipped_in_words
from tomochrome.errors import InputError
from tomochrome.runtime import check
from tomochrome.volume import Volume

if TYPE_CHECKING:
    from tomochrome.io import Found, Item

_SPEAKS_UP = ("irregular", "tilted", "incomplete", "not-ct")


@dataclass(frozen=True, eq=False)
class Opened:
    """A volume that was read: the layer to add, and what is to be said before it is seen."""

    layer: LayerTuple
    warning: str = ""  #: one message; empty if there is nothing to say
    serious: bool = False  #: the geometry or the kind of image is not what one expects


def find_or_read(path: Path) -> Opened | Found:
    """Open what is at a path if there is no choice to make; else return what there is.

    Raises
    ------
    TomochromeError
        If there is nothing that can be read, in one sentence.
    """
    from tomochrome import io

    if path.name.lower().endswith(VOLUME_ENDINGS) and path.is_file():
        # Listing such a file decodes it, and reading it would decode it again.
        try:
            return opened(io.read(path))
        except InputError:
            pass  # it holds several volumes, or is damaged: finding says which
    found = io.find(path)
    item = only_choice(found, path)
    if item is None:
        return found
    return with_remark(open_item(item), beside(found))


def only_choice(found: Found, path: Path) -> Item | None:
    """Return the item to open without asking: the only readable CT, or the only item at all.

    Raises
    ------
    InputError
        If nothing was found, with the reason.
    """
    from tomochrome.io.reading import choose

    if len(found.items) < 2:
        return choose(found, path)
    readable = [item for item in found.items if not item.refusal and item.verdict != "not-ct"]
    unreadable = [item for item in found.items if item.refusal and item.verdict != "not-ct"]
    # A CT that cannot be read is no reason to open another one without a word.
    return readable[0] if len(readable) == 1 and not unreadable else None


def beside(found: Found) -> str:
    """Return what else there is at a path of which one item was opened, in one sentence."""
    others = len(found.items) - 1
    series = f"{others} other series (not CT)" if others > 0 else ""
    files, reasons = skipped_in_words(found.skipped)
    if reasons:
        reason = reasons[0][1].rstrip(".")
        files = f"{files} ({reason}{', ...' if len(reasons) > 1 else ''})"
    also = "; ".join(part for part in (series, files) if part)
    return f"Also found: {also}." if also else ""


def with_remark(opened: Opened, remark: str) -> Opened:
    """Return what was opened with one more sentence to its message."""
    if not remark:
        return opened
    name = opened.layer[1]["name"]
    message = f"{opened.warning} {remark}" if opened.warning else f"{name}: {remark}"
    return replace(opened, warning=message)


def open_item(item: Item) -> Opened:
    """Read an item and turn it upright. Runs in a worker thread and touches no widget."""
    from tomochrome import io

    volume = io.read(item)
    check()
    name = display_name(volume)
    if item.phase and item.phase not in name:
        name = f"{name} ({item.phase})"
    return opened(volume, name)


def opened(volume: Volume, name: str = "") -> Opened:
    """Make the layer of a volume, and what is to be said about it."""
    name = name or display_name(volume)
    said = " ".join(dict.fromkeys(map(sentence, volume.provenance.warnings)))
    return Opened(
        volume_layer(volume, name),
        f"{name}: {said}" if said else "",
        volume.provenance.verdict in _SPEAKS_UP,
    )


def announce(opened: Opened) -> None:
    """Say what is to be said about a volume, before it is shown: one message at most."""
    from napari.utils.notifications import show_info, show_warning

    if opened.warning:
        (show_warning if opened.serious else show_info)(opened.warning)
