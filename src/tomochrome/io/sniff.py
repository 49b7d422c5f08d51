"""Telling file formats apart by their first bytes, not by their names."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Literal

Format = Literal["dicom", "nifti", "nrrd", "metaimage", "picture", "zip", "empty", "other"]

_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
_NIFTI_HEADER_SIZES = {348, 540}
_HEAD = 512


def sniff(path: Path) -> Format:
    """Return the format of a file, judged by its content (and the name, for gzip and MetaImage).

    Raises
    ------
    OSError
        If the file cannot be opened.
    """
    with path.open("rb") as file:
        return judge(file.read(_HEAD), path.name)


def judge(head: bytes, name: str) -> Format:
    """Return the format of a file by its first bytes (512 will do) and its name."""
    name = name.lower()
    if not head:
        return "empty"
    if head[128:132] == b"DICM" or _bare_dicom(head):
        return "dicom"
    if head.startswith(b"NRRD0"):
        return "nrrd"
    if _nifti(head) or name.endswith((".nii", ".nii.gz")):
        return "nifti"
    if name.endswith((".mha", ".mhd")):
        return "metaimage"
    if head.startswith(_PICTURES):
        return "picture"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    return "other"


def _bare_dicom(head: bytes) -> bool:
    """Whether a file without preamble starts with a low DICOM element of a plausible length."""
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


def _nifti(head: bytes) -> bool:
    if len(head) < 348:
        return False
    sizes = {struct.unpack(order + "i", head[:4])[0] for order in "<>"}
    return bool(sizes & _NIFTI_HEADER_SIZES) and (
        head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2")
    )
