"""The formats of image files: how each is recognized, and opened.

A further format is one `ImageFormat` given to `register`; listing, reading, the command line and
napari then know it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tomochrome.errors import InputError

if TYPE_CHECKING:
    from tomochrome.io.image_file import ImageFile


@dataclass(frozen=True)
class ImageFormat:
    """A format of files that hold volumes.

    Parameters
    ----------
    kind
        What `Item.kind` says: a short word in small letters.
    matches
        Whether a file is of this format, by its first 512 bytes and its name in small letters.
    open
        Reads and checks the header; raises `InputError` if it is damaged.
    """

    kind: str
    matches: Callable[[bytes, str], bool]
    open: Callable[[Path], ImageFile]


def register(image_format: ImageFormat) -> None:
    """Have files of one more format listed and read; a later one of the same kind replaces it."""
    _FORMATS[image_format.kind] = image_format


def format_of(head: bytes, name: str) -> str | None:
    """Return the kind of an image file by its first bytes and its name, or None."""
    for one in _FORMATS.values():
        if one.matches(head, name):
            return one.kind
    return None


def is_known(kind: str) -> bool:
    """Whether files of a kind are read as image files."""
    return kind in _FORMATS


def open_image(path: Path, kind: str) -> ImageFile:
    """Read and check the header of an image file.

    Raises
    ------
    InputError
        If it is damaged, claims more than the file can hold, or is of an unknown kind.
    """
    if kind not in _FORMATS:
        raise InputError(f"'{path}' is of an unsupported kind: {kind}")
    return _FORMATS[kind].open(path)


def _is_nifti(head: bytes, name: str) -> bool:
    if name.endswith((".nii", ".nii.gz")):
        return True
    if len(head) < 348 or not {struct.unpack(f"{o}i", head[:4])[0] for o in "<>"} & {348, 540}:
        return False
    return head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2")


def _open_nifti(path: Path) -> ImageFile:
    from tomochrome.io.nifti import open_nifti

    return open_nifti(path)


def _open_itk(path: Path, kind: str) -> ImageFile:
    from tomochrome.io.itk_image import open_itk

    return open_itk(path, kind)


_FORMATS: dict[str, ImageFormat] = {}
register(
    ImageFormat(
        "nrrd", lambda head, name: head.startswith(b"NRRD0"), partial(_open_itk, kind="nrrd")
    )
)
register(ImageFormat("nifti", _is_nifti, _open_nifti))
register(
    ImageFormat(
        "metaimage",
        lambda head, name: name.endswith((".mha", ".mhd")),
        partial(_open_itk, kind="metaimage"),
    )
)
