"""Reading of a DICOMDIR, the index of a DICOM medium (DICOM PS3.3 F, PS3.10 8)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from tomochrome.errors import InputError
from tomochrome.io.dicom.parse import read_dataset, read_items
from tomochrome.io.dicom.values import element, values
from tomochrome.io.dicom.warning_capture import captured_warnings
from tomochrome.io.walk import MOST_FILES, Skip, open_regular, readable
from tomochrome.runtime import check

_CLASS: Final = b"1.2.840.10008.1.3.10"
_MOST_MISSING: Final = 20
"""Maximum number of missing files that are listed individually."""
_VERSION: Final = ";1"
"""Version suffix of file names on CDs (ISO 9660), which some systems show."""


def is_index(head: bytes) -> bool:
    """Whether a DICOM file with these first bytes is a DICOMDIR."""
    at = head.find(b"\x02\x00\x02\x00UI", 128, 1024)  # MediaStorageSOPClassUID
    length = int.from_bytes(head[at + 6 : at + 8], "little")
    return at >= 0 and head[at + 8 : at + 8 + length].rstrip(b"\0 ") == _CLASS


def files(path: Path, skip: Skip) -> list[Path]:
    """Return the existing files that a DICOMDIR lists, without duplicates.

    File names are case-insensitive, as on CDs.

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
    names = cache(_names)  # each folder is listed once
    found: dict[Path, None] = {}
    missing = []
    for parts in references:
        check()
        shown = "/".join(parts)
        if _leads_out(parts):
            skip(path, f"an index that lists '{_brief(shown)}', outside its folder: not opened")
            continue
        file: Path | None = folder
        for part in parts:
            entries = names(file) if file else {}
            file = entries.get(part) or entries.get(part.casefold())
        if file is None:
            missing.append(shown)
        elif not file.resolve().is_relative_to(real):
            skip(file, "a link to a file outside the folder of the DICOMDIR: not opened")
        else:
            found[file] = None
    if missing and not found:
        raise InputError(
            f"'{path}' is only the index of {len(missing)} files, and none of them is in the same "
            "folder; copy the whole CD and open its folder"
        )
    for name in missing[:_MOST_MISSING]:
        skip(folder / name, "listed in the DICOMDIR but missing; copy the whole CD again")
    if (more := len(missing) - _MOST_MISSING) > 0:
        skip(path, f"an index that lists {more} more files that are missing")
    return list(found)


def _references(path: Path) -> list[tuple[str, ...]]:
    """Return the file references of all records, as names of folders and file."""
    with readable(path), captured_warnings(), open_regular(path) as file:
        dataset = read_dataset(path, file, ["DirectoryRecordSequence"])
        records = read_items(path, element(dataset, "DirectoryRecordSequence"))
    references = []
    for record in records:
        check()
        parts = tuple(str(part).strip(" \0") for part in values(record, "ReferencedFileID"))
        if parts:
            references.append(parts)
    if not references:
        raise InputError(f"'{path}' is an index (DICOMDIR) that lists no file; open its folder")
    if len(references) > MOST_FILES:
        raise InputError(f"'{path}' lists more than {MOST_FILES:,} files; it is damaged")
    return references


def _leads_out(parts: tuple[str, ...]) -> bool:
    return any(
        part in ("", ".", "..") or any(c in part for c in "/\\:") or not part.isprintable()
        for part in parts
    )


def _brief(text: str) -> str:
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return clean if len(clean) <= 60 else clean[:57] + "..."


def _names(folder: Path) -> dict[str, Path]:
    """Return the entries of a folder by their names and by their case-folded names."""
    names: dict[str, Path] = {}
    try:
        for entry in sorted(folder.iterdir()):
            bare = entry.name.removesuffix(_VERSION).rstrip(".")
            names.setdefault(bare.casefold(), entry)
            names[entry.name] = entry
    except OSError:  # not a folder, or it cannot be opened: its files are missing
        return {}
    return names
