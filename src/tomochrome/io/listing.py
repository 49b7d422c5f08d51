"""Listing the readable series and volumes at a path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

from tomochrome.errors import InputError, NotAnImageError
from tomochrome.io import archive
from tomochrome.io.dicom import dicomdir, series
from tomochrome.io.dicom.damage import damage_of
from tomochrome.io.dicom.group import group
from tomochrome.io.dicom.header import Header
from tomochrome.io.dicom.header_reader import HeaderReader
from tomochrome.io.dicom.parse import HEAD_BYTES
from tomochrome.io.dicom.warning_capture import captured_warnings
from tomochrome.io.image_file import describe
from tomochrome.io.image_formats import is_known, judge, open_image
from tomochrome.io.nifti_pair import is_pair
from tomochrome.io.restored_mask import claims_restored
from tomochrome.io.series_item import Item, Listing, Skipped
from tomochrome.io.walk import open_regular, require_path, walk
from tomochrome.notices import Notice, refused
from tomochrome.runtime import check, quietly, report
from tomochrome.volume import RESTORED

_REASONS = {
    "picture": "a 2D image (PNG, JPEG, TIFF ...), not a CT volume",
    "zip": "a zip archive; open it by itself",
    "empty": "an empty file",
    "damaged": "a damaged DICOM file whose beginning is missing; copy it again",
    "other": "not in a format that Tomochrome reads (DICOM, NIfTI, NRRD, MetaImage)",
}


_STAGE: Final = "examining files"
_REPORTS: Final = 200
"""Number of progress reports per folder; more than a progress bar can show."""

_DICOM_ROOT: Final = b"1.2.840.10008."
"""Prefix of the UIDs that the standard defines, found near the start of DICOM files."""
_DAMAGED_BYTES: Final = 512
_MIN_UID: Final = 12  #: characters; shorter ones could be part of anything
_MAX_CUT: Final = 2000  #: files with a damaged header whose first bytes are kept


@dataclass
class _Search:
    """What has been found so far."""

    reader: HeaderReader
    headers: list[Header] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    #: DICOM files whose header cannot be parsed: path, reason and first bytes
    cut: list[tuple[Path, str, bytes]] = field(default_factory=list)

    def skip(self, path: Path, reason: str, *, sentence: str = "", general: str = "") -> None:
        shown = archive.display_path(path)
        self.skipped.append(Skipped(shown, reason, sentence, general))


def find(
    path: str | os.PathLike[str], pixels: bool = False, with_identity: bool = False
) -> Listing:
    """List the series and volumes in a file or, with all its subfolders, in a folder.

    Only the headers of DICOM files are read; other formats are read completely, to judge their
    values.

    Parameters
    ----------
    path
        File, folder, DICOMDIR or zip archive. Formats are recognized by content.
    pixels
        Also decode DICOM pixels, to determine the value range.
    with_identity
        Keep patient name, id, birth date, accession number and study date in `Item.identity`.

    Returns
    -------
    Listing
        ``items`` sorted by path, and ``skipped`` files with reasons. Files inside a zip archive
        have paths such as ``cd.zip/folder/name``.

    Raises
    ------
    InputError
        If the path is empty, does not exist, cannot be opened, or is a damaged archive or DICOMDIR.
    Cancelled
        If the task was cancelled.
    """
    require_path(path)
    root = Path(path)
    search = _Search(HeaderReader(with_identity=with_identity))
    with captured_warnings():
        files = _files(root, search)
        single = files == [root]
        step = max(1, len(files) // _REPORTS)
        report(0, len(files), _STAGE)
        for done, file in enumerate(files, start=1):
            check()
            _examine(file, search, single)
            if done % step == 0 or done == len(files):
                report(done, len(files), _STAGE)
    for stack in group(search.headers):
        check()
        item = series.describe(stack, single_file=single)
        lost = _lost(item, search)
        if lost:
            item = series.with_lost(item, lost)
        if pixels:
            item = _with_range(item)
        search.items.append(item)
    items = sorted(search.items, key=lambda item: (item.path, item.series_uid))
    return Listing(tuple(items), tuple(search.skipped))


def _lost(item: Item, search: _Search) -> list[tuple[Path, str]]:
    """Return the files whose cut-off header still names the series of an item, and why each."""
    uid = item.series_uid.encode()
    if len(uid) < _MIN_UID:
        return []
    return [(path, reason) for path, reason, head in search.cut if uid in head]


def _with_range(item: Item) -> Item:
    """Return the item with its value range, decoding all pixels."""
    if item.refusal:
        return item
    try:
        volume = series.read_item(item)
        voxels, provenance = volume.voxels, volume.provenance
        return replace(
            item,
            value_range=(float(voxels.min()), float(voxels.max())),
            shape=volume.shape,
            spacing=volume.spacing,
            affine=volume.affine,
            unit=volume.unit,
            verdict=provenance.verdict,
            warnings=provenance.warnings,
        )
    except InputError as error:
        refusal = refused(str(error))
        warnings = (*item.warnings, refusal)
        return replace(item, verdict="unreadable", warnings=warnings, refusal=refusal)


def _files(root: Path, search: _Search) -> Sequence[Path]:
    """Return the files to examine: the file, or all files of a folder, archive or DICOMDIR."""
    try:
        if root.is_dir():
            return list(walk(root, search.skip))
        if not root.exists():
            raise InputError(f"'{root}' does not exist; check the path")
        if not root.is_file():
            return [root]
        with open_regular(root) as file:
            head = file.read(HEAD_BYTES)
    except (OSError, ValueError):  # reported when the file is examined
        return [root]
    kind = judge(head, root.name)
    if kind == "zip":
        folder = archive.unpack(root)
        search.skipped.extend(archive.skipped_entries(folder))
        return list(walk(folder, search.skip))
    if kind == "dicom" and dicomdir.is_index(head):
        return dicomdir.files(root, search.skip)
    return [root]


def _examine(path: Path, search: _Search, alone: bool) -> None:
    try:
        with open_regular(path) as file:
            head = file.read(HEAD_BYTES)
            kind = judge(head, path.name)
            if kind == "dicom":
                _examine_dicom(path, file, head, search)
                return
        kind = "nifti" if is_pair(path) else kind
        if is_known(kind):
            if alone or not is_pair(path, data_only=True):  # listed with its header
                image = open_image(path, kind)
                # Reading a single large file takes long enough to report its own progress.
                with nullcontext() if alone else quietly():
                    items = describe(image)
                if claims_restored(image):
                    notice = Notice("restored", "warning", f"some voxels were {RESTORED}")
                    items = [replace(i, warnings=(*i.warnings, notice)) for i in items]
                search.items.extend(items)
        else:
            damaged = kind == "other" and _DICOM_ROOT in head[:_DAMAGED_BYTES]
            search.skip(path, _REASONS["damaged" if damaged else kind])
    except NotAnImageError as error:
        search.skip(path, str(error))
    except InputError as error:
        search.skip(path, str(error), sentence=str(error), general=error.about("a file"))
    except (OSError, ValueError) as error:
        reason = f"cannot be opened: {getattr(error, 'strerror', None) or error}"
        search.skip(path, reason, sentence=f"'{archive.display_path(path)}' {reason}")


def _examine_dicom(path: Path, file: BinaryIO, head: bytes, search: _Search) -> None:
    try:
        headers = search.reader.read(path, file, head)
    except NotAnImageError:
        raise
    except InputError as error:
        if len(search.cut) < _MAX_CUT:
            search.cut.append((path, damage_of(error).reason, head))
        raise
    reason = series.unsuitable(headers[0])
    if reason:
        search.skip(path, reason)
    else:
        search.headers.extend(headers)
