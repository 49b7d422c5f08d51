"""Slices whose pixels cannot be decoded: why, and in which words they are reported.

Source of the numbers: DICOM PS3.6 A (transfer syntaxes).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from pydicom.uid import UID

from tomochrome.errors import FileError, InputError, PixelsError
from tomochrome.io.archive import display_path
from tomochrome.io.dicom import decode

COPY_AGAIN: Final = "copy it again"

NATIVE: Final = frozenset({
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
})  # fmt: skip
"""Transfer syntaxes without compressed frames."""

_ROOT: Final = "1.2.840.10008.1.2.4."
_RETIRED_JPEG: Final = range(52, 67)
_JPIP: Final = (94, 95, 204, 205)
_VIDEO: Final = range(100, 109)


class Damage(NamedTuple):
    """Why the pixels of a slice cannot be decoded."""

    reason: str  #: a clause
    advice: str = COPY_AGAIN


def truncated(present: int, needed: int) -> Damage:
    """Return the damage of a file that holds only some bytes of its pixels."""
    share = f"it holds {max(0, present):,} of {needed:,} bytes of pixels"
    return Damage(f"the file is truncated or damaged ({share})")


def damage_of(error: InputError) -> Damage:
    """Return the damage that an error describes."""
    if isinstance(error, PixelsError):
        return Damage(error.reason, error.advice)
    if isinstance(error, FileError):
        return Damage(f"the file {error.fault}", error.advice or COPY_AGAIN)
    return Damage(error.about("the file"))


def is_most(damaged: int, total: int) -> bool:
    """Whether so many slices are damaged that the rest is no volume."""
    return 2 * damaged > total


def refusal(total: int, path: Path, damage: Damage) -> InputError:
    """Return the error for a scan most of whose slices are damaged.

    Parameters
    ----------
    total
        Number of slices.
    path, damage
        File of the first damaged slice, and what is wrong with it.
    """
    if total == 1:
        return PixelsError(display_path(path), *damage)
    advice = "copy the scan again" if damage.advice == COPY_AGAIN else damage.advice
    return InputError(
        f"most of the {total} slices in '{display_path(path.parent)}' cannot be decoded; "
        f"in '{path.name}', {damage.reason}; {advice}"
    )


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
