"""Compressed transfer syntaxes: those that no decoder here reads, and damaged streams.

Source of the numbers: DICOM PS3.6 A (transfer syntaxes).
"""

from __future__ import annotations

from typing import Final

from pydicom.uid import UID

from tomochrome.io.dicom import decode
from tomochrome.io.dicom.damage import Damage

NATIVE: Final = frozenset({
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
})  # fmt: skip
"""Transfer syntaxes without compressed frames."""

_ROOT: Final = "1.2.840.10008.1.2.4."
_RETIRED_JPEG: Final = range(52, 67)
_JPIP: Final = (94, 95, 204, 205)
_VIDEO: Final = range(100, 109)


def unread_syntax(syntax: str) -> Damage | None:
    """Return why no pixels of a transfer syntax can be read and what converts it; None if they can.

    Parameters
    ----------
    syntax
        Transfer syntax UID; empty if it is missing, which is no reason.
    """
    if not syntax or syntax in NATIVE or syntax in decode.KNOWN:
        return None
    end = syntax.removeprefix(_ROOT)
    number = int(end) if end.isdecimal() and len(end) < 4 else 0
    said = f"its transfer syntax is {_name(syntax)}"
    if number in _JPIP:
        fetch = "fetch the image from the archive that holds it"
        return Damage(f"{said}, so that the pixels are on a server and not in the file", fetch)
    if number in _VIDEO:
        return Damage(f"{said}, a video", "choose a CT image")
    export = "or export it again as Explicit VR Little Endian (uncompressed)"
    tool = "the software that wrote it"
    if number in _RETIRED_JPEG:
        tool = "dcmdjpeg (DCMTK) or gdcmconv --raw (GDCM), if they read it"
    return Damage(f"{said}, which no decoder here reads", f"convert it with {tool}, {export}")


def bad_stream(code: bytes, declared: str) -> Damage:
    """Return the damage of a compressed stream that the decoders refused.

    Parameters
    ----------
    code
        The stream.
    declared
        Transfer syntax UID of the header.
    """
    name = _name(decode.real_syntax(code, declared))
    how = "is truncated: its end is missing" if decode.ends_early(code) else "is damaged"
    return Damage(
        f"the compressed stream inside the file ({name}) {how}",
        "if the original is no better, export the image again",
    )


def _name(syntax: str) -> str:
    name = UID(syntax).name
    return syntax if name == syntax else f"{name} ({syntax})"
