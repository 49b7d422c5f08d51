"""The voxels' own file of a header such as ``.nhdr`` or ``.mhd``: only beside the header."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from tomochrome.errors import InputError
from tomochrome.io.archive import shown


def beside(header: Path, name: str) -> Path:
    """Return the file that a header names, which must lie in the header's folder or below.

    Raises
    ------
    InputError
        If the name leads elsewhere, stands for several files, or no such file is there.
    """
    where = shown(header)
    windows = PureWindowsPath(name)
    if (
        PurePosixPath(name).is_absolute()
        or windows.anchor
        or ".." in windows.parts
        or any(ord(letter) < 32 for letter in name)
    ):
        raise InputError(
            f"'{where}' says that its voxels lie in {name[:80]!r}, outside its own folder; "
            "put both into one folder and correct the name in the header"
        )
    if not name or name.upper().startswith("LIST") or "%" in name:
        raise InputError(
            f"'{where}' spreads its voxels over several files; save it as one file "
            "(.nrrd, .mha or .nii.gz)"
        )
    path = header.parent.joinpath(*windows.parts)
    try:
        there = path.is_file()
    except OSError:  # too long a name
        there = False
    if not there:
        raise InputError(
            f"'{where}' is without its data file '{name[:80]}'; copy both into one folder"
        )
    return path
