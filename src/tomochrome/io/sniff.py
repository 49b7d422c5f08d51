"""Detecting file formats from the first bytes instead of the file name."""

from __future__ import annotations

import struct
from pathlib import Path

from tomochrome.io.image_formats import format_of

_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
_HEAD = 512


def sniff(path: Path) -> str:
    """Return the format of a file from its content (and its name, for gzip and MetaImage).

    Raises
    ------
    OSError
        If the file cannot be opened.
    """
    with path.open("rb") as file:
        return judge(file.read(_HEAD), path.name)


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
