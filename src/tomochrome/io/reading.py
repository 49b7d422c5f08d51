"""Reading one volume."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from tomochrome.errors import ChoiceError, InputError
from tomochrome.io.dicom.series import read_item as read_series
from tomochrome.io.image_file import NUMBERED, Part, chosen, read_volume
from tomochrome.io.image_formats import is_known, open_image, sniff
from tomochrome.io.listing import find
from tomochrome.io.nifti_pair import is_pair
from tomochrome.io.restored_mask import with_mask
from tomochrome.io.series_item import Item, Listing
from tomochrome.io.walk import require_path
from tomochrome.runtime import check
from tomochrome.volume import Volume


def read(
    path: str | os.PathLike[str] | Item,
    *,
    series: str | None = None,
    as_stored: bool = False,
    strict: bool = False,
) -> Volume:
    """Read a CT series or volume.

    DICOM slices are sorted by position and rescaled with the slope and intercept of each slice,
    to int16 Hounsfield units where that is exact, else float32; padding becomes -1024 HU. The
    voxels otherwise keep their stored order, which the affine describes.

    Parameters
    ----------
    path
        A folder of DICOM files, a DICOM file, a DICOMDIR, a zip archive of such, a NIfTI, NRRD
        or MetaImage file, or an `Item` that `find` returned.
    series
        The series to read: `Item.name`, the SeriesInstanceUID or a path; ``"#2"`` for the second
        volume of a file. If None, there must be exactly one CT series (or one volume of any
        kind).
    as_stored
        Keep tilted or unevenly spaced slices as stored, instead of resampling them onto a regular
        grid. The affine is then only the best approximation to the slice positions.
    strict
        Refuse a series with slices that cannot be decoded, instead of treating them as missing.

    Returns
    -------
    Volume
        Unit ``"HU"`` for CT, ``"unknown"`` for anything else; warnings for the user are in
        ``provenance.warnings``.

    Raises
    ------
    InputError
        If there is nothing to read, the choice is ambiguous, or the file or most of the slices
        are damaged (with ``strict``, any of the slices).
    GeometryError
        If the slices do not form one regular, upright volume.
    Cancelled
        If the task was cancelled.
    """
    if isinstance(path, Item):
        return read_item(path, as_stored=as_stored, strict=strict)
    file = _checked(path)
    kind = _volume_file(file)
    if kind:  # avoids decoding the file twice, for listing and for reading
        index = chosen(file, series)
        part = Part(file, 0 if index is None else index)
        item = Item(str(file), kind, source=None if index is None else part)
        return read_item(item)
    listing = find(file)
    item = choose(listing, file, series)
    return read_item(item, as_stored=as_stored, strict=strict)


def _checked(path: str | os.PathLike[str]) -> Path:
    """Return the path of an existing file or folder; raise `InputError` otherwise."""
    text = os.fspath(path)
    require_path(text)
    try:
        mode = Path(text).stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"'{text}' does not exist; check the path") from error
    except (OSError, ValueError) as error:  # no permission, a symlink loop, a NUL byte
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"'{text}' cannot be opened: {reason}") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(
            f"'{text}' is a device, pipe or socket, not a file; choose a file or a folder"
        )
    return Path(text)


def _volume_file(path: Path) -> str:
    """Return the kind of a file that is neither DICOM nor an archive, or an empty string."""
    if not path.is_file():
        return ""
    try:
        kind = sniff(path)
        if kind not in ("dicom", "nifti") and is_pair(path):
            return "nifti"
    except OSError as error:
        raise InputError(f"'{path}' cannot be opened: {error.strerror or error}") from error
    return kind if is_known(kind) else ""


def read_item(item: Item, *, as_stored: bool = False, strict: bool = False) -> Volume:
    """Read the series or volume that an item describes; see `read`."""
    check()
    if item.kind.startswith("dicom"):
        return read_series(item, as_stored=as_stored, strict=strict)
    part = item.source if isinstance(item.source, Part) else None
    path = _checked(item.path if part is None else part.path)  # it may have changed since
    index = None if part is None else part.index
    image = open_image(path, item.kind)
    return with_mask(read_volume(image, index), image)


def choose(listing: Listing, path: Path, series: str | None = None) -> Item:
    """Return the item to read among those found at a path.

    Raises
    ------
    InputError
        If there is none, or the choice is ambiguous.
    """
    if not listing.items:
        raise InputError(_nothing_to_read(listing, path))
    if series is not None:
        named = [item for item in listing.items if series == item.name]
        named = named or [i for i in listing.items if series in (i.series_uid, i.path)]
        named = named or _numbered(listing.items, series)
        named = [item for item in named if item.verdict != "not-ct"] or named
        if not named:
            raise InputError(
                f"'{path}' contains no series '{series}'; it contains {_list(listing.items)}"
            )
        candidates: Sequence[Item] = named
    else:
        ct = [item for item in listing.items if item.verdict != "not-ct"]
        candidates = ct or listing.items
    candidates = _readable(candidates)
    if len(candidates) > 1:
        raise ChoiceError(f"'{path}' holds {len(candidates)} series", _list(candidates))
    return candidates[0]


def _numbered(items: Sequence[Item], series: str) -> list[Item]:
    """Return the items that ``#2``, ``file.dcm#2`` or ``<series UID>#2`` means."""
    match = NUMBERED.fullmatch(str(series))
    if match is None:
        return []
    named = match["file"]
    among = [i for i in items if named in ("", i.series_uid, i.path, Path(i.path).name)]
    numbered = [(i, NUMBERED.fullmatch(i.name)) for i in among]
    # The main volume of a series has no number of its own: it is the first.
    return [i for i, own in numbered if int(own["number"] if own else 1) == int(match["number"])]


def _readable(items: Sequence[Item]) -> Sequence[Item]:
    """Return the only item that can be read, if it has more slices than those that cannot.

    Series often come with single images that belong to no volume. If a whole scan cannot be read,
    however, another one is not read in its place.
    """
    readable = [item for item in items if not item.refusal]
    if len(readable) != 1 or readable[0].shape is None:
        return items
    slices = readable[0].shape[0]
    refused = sum(item.shape[0] if item.shape else 1 for item in items if item.refusal)
    return readable if refused < slices else items


_SHOWN = 8


def _list(items: Sequence[Item]) -> str:
    parts = []
    for item in items[:_SHOWN]:
        slices = item.shape[0] if item.shape else 0
        facts = [item.modality, *([item.label] if item.label else []), f"{slices} slices"]
        parts.append(f"{item.name} ({', '.join(facts)})")
    more = len(items) - _SHOWN
    return ", ".join(parts) + (f" and {more} more" if more > 0 else "")


def _nothing_to_read(listing: Listing, path: Path) -> str:
    if not listing.skipped:
        return f"the folder '{path}' is empty; choose one that holds a CT series"
    first = listing.skipped[0]
    if len(listing.skipped) == 1 and Path(first.path) == path:
        return first.sentence or f"'{path}' is {first.reason}"
    counts: dict[str, int] = {}
    for file in listing.skipped:
        reason = file.general or file.reason
        counts[reason] = counts.get(reason, 0) + 1
    reason, count = max(counts.items(), key=lambda pair: pair[1])
    total = len(listing.skipped)
    files = "1 file" if total == 1 else f"{total} files"
    part = "" if count == total else f", {count} of them"
    return f"'{path}' holds no image that can be read ({files} skipped{part}: {reason})"
