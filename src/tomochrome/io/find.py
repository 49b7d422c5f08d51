"""Listing what there is to read at a path: DICOM by headers, other formats by their values."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tomochrome.errors import Cancelled, InputError
from tomochrome.io.dicom import load, series
from tomochrome.io.dicom.headers import Header, read_header
from tomochrome.io.item import Found, Item, Skipped
from tomochrome.io.itk import read_itk
from tomochrome.io.nifti import read_nifti
from tomochrome.io.sniff import sniff
from tomochrome.runtime import CancelToken, Progress, check, report
from tomochrome.volume import Volume

_REASONS = {
    "picture": "a 2D picture (PNG, JPEG, TIFF ...), not a CT volume",
    "zip": "a zip archive; unpack it first",
    "empty": "an empty file",
    "other": "not in a format that Tomochrome reads (DICOM, NIfTI, NRRD, MetaImage)",
}


@dataclass
class _Harvest:
    """What the walk has met so far."""

    headers: list[Header] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def skip(self, path: Path, reason: str) -> None:
        self.skipped.append(Skipped(str(path), reason))


def find(
    path: str | os.PathLike[str],
    pixels: bool = False,
    with_identity: bool = False,
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Found:
    """List the series and volumes in a file or, with all its subfolders, in a folder.

    Parameters
    ----------
    path
        File or folder. Formats are told by content; file names do not matter.
    pixels
        Decode DICOM pixels too, to know the range of values.
    with_identity
        Keep patient name, id and birth date in `Item.identity`.
    progress, cancel
        Told after each file; looked at before each.

    Returns
    -------
    Found
        ``items`` in the order of their paths, and ``skipped`` files with reasons.

    Raises
    ------
    InputError
        If the path does not exist or cannot be opened.
    Cancelled
        If ``cancel`` was set.
    """
    root = Path(path)
    files = list(_files(root))
    harvest = _Harvest()
    report(progress, 0, len(files), "looking at files")
    for done, file in enumerate(files, start=1):
        check(cancel)
        _look_at(file, harvest, with_identity)
        report(progress, done, len(files), "looking at files")
    single = not root.is_dir()
    for group in series.group(harvest.headers):
        item = series.describe(group, single_file=single)
        if pixels:
            item = _with_range(item, progress, cancel)
        harvest.items.append(item)
    items = sorted(harvest.items, key=lambda item: (item.path, item.series_uid))
    return Found(tuple(items), tuple(harvest.skipped))


def _with_range(item: Item, progress: Progress | None, cancel: CancelToken | None) -> Item:
    from dataclasses import replace

    try:
        return load.with_range(item, progress=progress, cancel=cancel)
    except Cancelled:
        raise
    except InputError as error:
        return replace(
            item, verdict="unreadable", warnings=(*item.warnings, str(error)), refusal=str(error)
        )


def _files(root: Path) -> Iterator[Path]:
    """Yield the file itself, or all files below a folder in a steady order."""
    if not root.exists():
        raise InputError(f"'{root}' does not exist; check the path")
    if not root.is_dir():
        yield root
        return
    try:
        next(root.iterdir(), None)
    except OSError as error:
        raise InputError(f"the folder '{root}' cannot be opened: {error.strerror}") from error
    # Links to folders are not followed: they could lead around in circles.
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        for name in sorted(names):
            yield Path(folder) / name


def _look_at(path: Path, harvest: _Harvest, with_identity: bool) -> None:
    try:
        if not path.is_file():
            harvest.skip(path, "not a regular file")
            return
        kind = sniff(path)
    except OSError as error:
        harvest.skip(path, f"cannot be opened: {error.strerror or error}")
        return
    try:
        if kind == "dicom":
            _look_at_dicom(path, harvest, with_identity)
        elif kind == "nifti":
            harvest.items.append(volume_item(read_nifti(path)))
        elif kind in ("nrrd", "metaimage"):
            harvest.items.append(volume_item(read_itk(path, kind)))
        else:
            harvest.skip(path, _REASONS[kind])
    except InputError as error:
        harvest.skip(path, str(error))


def _look_at_dicom(path: Path, harvest: _Harvest, with_identity: bool) -> None:
    header = read_header(path, with_identity=with_identity)
    reason = series.unsuitable(header)
    if reason:
        harvest.skip(path, reason)
    else:
        harvest.headers.append(header)


def volume_item(volume: Volume) -> Item:
    """Return the item that describes a volume read from one file."""
    voxels, provenance = volume.voxels, volume.provenance
    return Item(
        path=provenance.source,
        kind=provenance.kind,
        modality=provenance.modality,
        shape=volume.shape,
        spacing=volume.spacing,
        affine=volume.affine,
        value_range=(float(voxels.min()), float(voxels.max())),
        unit="HU" if volume.unit == "HU" else "unknown",
        verdict=provenance.verdict,
        warnings=provenance.warnings,
    )
