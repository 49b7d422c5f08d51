"""Reading of a DICOMDIR, the index of a DICOM medium (DICOM PS3.3 F, PS3.10 8)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from tomochrome.errors import InputError
from tomochrome.io.dicom.elements import element, values
from tomochrome.io.dicom.parse import read_dataset, read_records
from tomochrome.io.dicom.warning_capture import captured_warnings
from tomochrome.io.image_formats import sniff
from tomochrome.io.walk import MAX_FILES, Skip, open_regular, readable
from tomochrome.runtime import check

_CLASS: Final = b"1.2.840.10008.1.3.10"
_MAX_MISSING: Final = 20
"""Maximum number of missing files that are listed individually."""
_VERSION: Final = ";1"
"""Version suffix of file names on CDs (ISO 9660), which some systems show."""
_ENDING: Final = ".dcm"  #: what programs that copy CDs add to names


def is_index(head: bytes) -> bool:
    """Whether a DICOM file with these first bytes is a DICOMDIR."""
    at = head.find(b"\x02\x00\x02\x00UI", 128, 1024)  # MediaStorageSOPClassUID
    length = int.from_bytes(head[at + 6 : at + 8], "little")
    return at >= 0 and head[at + 8 : at + 8 + length].rstrip(b"\0 ") == _CLASS


def files(path: Path, skip: Skip) -> list[Path]:
    """Return the existing files that a DICOMDIR lists, without duplicates.

    Its names have no ending (DICOM PS3.10 8.2) and capital letters only; copies of CDs often have
    endings (``IM1.dcm``) and small letters, which make no difference here.

    Parameters
    ----------
    path
        The DICOMDIR; its files are in the same folder and its subfolders.
    skip
        Called for references outside the folder and for missing files.

    Raises
    ------
    InputError
        If the index is damaged, or none of its files exists.
    Cancelled
        If the task was cancelled.
    """
    references = _references(path)
    folder = path.parent
    try:
        real = folder.resolve()
    except (OSError, RuntimeError) as error:
        raise InputError(f"the folder of '{path}' cannot be opened: {error}") from error
    listing = cache(_folder)  # each folder is listed once
    paths: dict[Path, None] = {}
    missing = []
    for parts in references:
        check()
        shown = "/".join(parts)
        if _leads_out(parts):
            skip(path, f"an index that lists '{_brief(shown)}', outside its folder: not opened")
            continue
        file: Path | None = folder
        for part in parts:
            file = listing(file).entry(part) if file else None
        if file is None:
            missing.append(shown)
        elif not file.resolve().is_relative_to(real):
            skip(file, "a link to a file outside the folder of the DICOMDIR: not opened")
        else:
            paths[file] = None
    if missing and not paths:
        raise InputError(
            f"'{path}' is only the index of {len(missing)} files, and none of these names is in "
            "the same folder; open the folder of the images instead, or copy the whole CD"
        )
    for name in missing[:_MAX_MISSING]:
        skip(folder / name, "listed in the DICOMDIR but missing; copy the whole CD again")
    if (more := len(missing) - _MAX_MISSING) > 0:
        skip(path, f"an index that lists {more} more files that are missing")
    return list(paths)


def _references(path: Path) -> list[tuple[str, ...]]:
    """Return the file references of all records, as names of folders and file."""
    with readable(path), captured_warnings(), open_regular(path) as file:
        dataset = read_dataset(path, file, ["DirectoryRecordSequence"], index=True)
        records = read_records(path, element(dataset, "DirectoryRecordSequence"))
    references = []
    for record in records:
        check()
        parts = tuple(str(part).strip(" \0") for part in values(record, "ReferencedFileID"))
        if parts:
            references.append(parts)
    if not references:
        raise InputError(f"'{path}' is an index (DICOMDIR) that lists no file; open its folder")
    if len(references) > MAX_FILES:
        raise InputError(f"'{path}' lists more than {MAX_FILES:,} files; it is damaged")
    return references


def _leads_out(parts: tuple[str, ...]) -> bool:
    return any(
        part in ("", ".", "..") or any(c in part for c in "/\\:") or not part.isprintable()
        for part in parts
    )


def _brief(text: str) -> str:
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return clean if len(clean) <= 60 else clean[:57] + "..."


@dataclass(frozen=True)
class _Folder:
    """The entries of a folder by name."""

    exact: dict[str, Path] = field(default_factory=dict)
    folded: dict[str, Path] = field(default_factory=dict)  #: by name in small letters
    longer: dict[str, list[Path]] = field(default_factory=dict)  #: by beginnings that end at a dot

    def entry(self, part: str) -> Path | None:
        """Return the file or folder that one part of a reference names, or None."""
        name = _folded(part)
        entry = self.exact.get(part) or self.folded.get(name)
        if entry is not None or not name:
            return entry
        images = [file for file in self.longer.get(name, []) if _is_dicom(file)]
        images = [file for file in images if _folded(file.name) == name + _ENDING] or images
        if len(images) == 1:
            return images[0]
        return self.folded.get(name.removesuffix(_ENDING))  # the ending was removed


def _folder(path: Path) -> _Folder:
    """List a folder; one that cannot be opened counts as empty."""
    folder = _Folder()
    try:
        entries = sorted(path.iterdir())
    except OSError:
        return folder
    for entry in entries:
        name = _folded(entry.name)
        folder.exact[entry.name] = entry
        folder.folded.setdefault(name, entry)
        while name := name.rpartition(".")[0]:
            folder.longer.setdefault(name, []).append(entry)
    return folder


def _folded(name: str) -> str:
    return name.casefold().removesuffix(_VERSION).rstrip(".")


def _is_dicom(path: Path) -> bool:
    try:
        return sniff(path) == "dicom"
    except OSError:
        return False
