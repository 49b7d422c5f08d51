"""Formats of files by their first bytes, and the registry of image file formats.

To add a format, pass an `ImageFormat` to `register`; listing, reading, the command line and napari
then support it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tomochrome.formats import COLORED_HEADER, COLORED_KIND
from tomochrome.io.archive import file_error

if TYPE_CHECKING:
    from tomochrome.io.image_file import ImageFile

_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
_HEAD = 512
_LOCAL_HEADER = 30  # bytes before this name, APPNOTE 4.3.7


@dataclass(frozen=True)
class ImageFormat:
    """A file format for volumes.

    Parameters
    ----------
    kind
        Value of `Item.kind`: a short lowercase word.
    matches
        Returns whether a file has this format, from its first 512 bytes and its lowercase name.
    open
        Reads and validates the header; raises `InputError` if it is damaged.
    """

    kind: str
    matches: Callable[[bytes, str], bool]
    open: Callable[[Path], ImageFile]


def register(image_format: ImageFormat) -> None:
    """Add a format; it replaces an earlier one of the same kind."""
    _FORMATS[image_format.kind] = image_format


def format_of(head: bytes, name: str) -> str | None:
    """Return the kind of an image file from its first bytes and its name, or None."""
    for one in _FORMATS.values():
        if one.matches(head, name):
            return one.kind
    return None


def is_known(kind: str) -> bool:
    """Whether a kind is a registered image format."""
    return kind in _FORMATS


def open_image(path: Path, kind: str) -> ImageFile:
    """Read and validate the header of an image file.

    Raises
    ------
    InputError
        If it is damaged, claims more data than the file can hold, or is of an unknown kind.
    """
    if kind not in _FORMATS:
        raise file_error(path, f"is of an unsupported kind: {kind}")
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


def _is_colored(head: bytes, _name: str) -> bool:
    is_zip = head.startswith(b"PK\x03\x04")
    return is_zip and head[_LOCAL_HEADER:].startswith(COLORED_HEADER.encode())


def _open_colored(path: Path) -> ImageFile:
    from tomochrome.io.colored_scan import open_scan_file

    return open_scan_file(path)


_FORMATS: dict[str, ImageFormat] = {}
register(
    ImageFormat(
        "nrrd", lambda head, name: head.startswith(b"NRRD0"), partial(_open_itk, kind="nrrd")
    )
)
register(ImageFormat("nifti", _is_nifti, _open_nifti))
register(ImageFormat(COLORED_KIND, _is_colored, _open_colored))
register(
    ImageFormat(
        "metaimage",
        lambda head, name: name.endswith((".mha", ".mhd")),
        partial(_open_itk, kind="metaimage"),
    )
)


def sniff(path: Path) -> str:
    """Return the format of a file from its content (and its name, for gzip and MetaImage).

    Raises
    ------
    OSError
        If the file cannot be opened.
    """
    with path.open("rb") as file:
        return judge(file.read(_HEAD), path.name)


def is_colored_scan(path: str | os.PathLike[str]) -> bool:
    """Whether a file was written by `tomochrome.save_colored`, by its first bytes."""
    try:
        return Path(path).is_file() and sniff(Path(path)) == COLORED_KIND
    except OSError:
        return False


def judge(head: bytes, name: str) -> str:
    """Return the format of a file from its first bytes (512 suffice) and its name.

    Returns
    -------
    str
        ``"dicom"``, the kind of an image format, ``"picture"``, ``"zip"``, ``"empty"`` or
        ``"other"``.
    """
    if not head:
        return "empty"
    if head[128:132] == b"DICM" or _bare_dicom(head):
        return "dicom"
    image = format_of(head, name.lower())
    if image:
        return image
    if head.startswith(_PICTURES):
        return "picture"
    return "zip" if head.startswith(b"PK\x03\x04") else "other"


def _bare_dicom(head: bytes) -> bool:
    """Whether a file without preamble starts with a DICOM element of group 0002 or 0008."""
    if len(head) < 12:
        return False
    for order in ("<", ">"):
        group, element = struct.unpack(order + "HH", head[:4])
        if group not in (0x0002, 0x0008) or element > 0x0070:
            continue
        explicit = head[4:6].isalpha() and head[4:6].isupper()
        length = struct.unpack(order + "I", head[4:8])[0]
        if explicit or length < 256:
            return True
    return False
