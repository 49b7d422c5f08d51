"""Conversion of DICOM elements to checked values.

pydicom's own conversion validates each value against the standard and keeps its original notation,
which takes longer than the rest of reading a header. Here a value is only converted to numbers or
text; invalid values count as missing.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from difflib import SequenceMatcher
from functools import cache, lru_cache
from typing import Any, Final

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset

Elements = Mapping[int, RawDataElement | DataElement]
Source = Elements | Dataset

_BINARY: Final = {
    "US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q",
}  # fmt: skip
_TEXT: Final = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR",
     "UT")
)  # fmt: skip
SAME_WORD: Final = 0.75
"""Similarity to "Hounsfield" from which a word is a spelling of it."""
_MAX_VALUE_BYTES: Final = 4096
"""Maximum number of bytes of a value that are converted; needed values have at most a tenth."""
_MAX_SEQUENCE: Final = 1 << 20
"""Maximum length in bytes of a sequence that is parsed; a 16-bit lookup table has an eighth."""

# A damaged header can contain any text in place of a code or UID, even the patient's name. So an
# invalid code or UID counts as missing. Hexadecimal UIDs violate the standard, but anonymizers
# write them.
_CODE: Final = re.compile(r"[A-Z0-9_ -]{1,16}")
_UNIT: Final = re.compile(r"[A-Z0-9_ /^.*%-]{1,16}")
_UID: Final = re.compile(r"[0-9A-Za-z._-]{1,64}")
_CLOCK: Final = re.compile(r"(\d\d):?(\d\d):?(\d\d(?:\.\d*)?)")


@cache
def tag_of(keyword: str) -> int:
    """Return the number of an element."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


@cache
def _usual_vr(tag: int) -> str:
    return dictionary_VR(tag)[:2]  # "US or SS": the caller considers the sign


def element(source: Source, keyword: str) -> RawDataElement | DataElement | None:
    """Return an element as it was read, or None."""
    tag = tag_of(keyword)
    if type(source) is dict:  # the usual case, faster than the test for Dataset
        return source.get(tag)
    if isinstance(source, Dataset):
        try:
            return source.get_item(tag) if tag in source else None
        except Exception:  # a damaged element counts as missing
            return None
    return source.get(tag)


def values(source: Source, keyword: str) -> tuple[Any, ...]:
    """Return an element's values, texts or numbers; empty if it is missing or invalid."""
    raw = element(source, keyword)
    if raw is None:
        return ()
    if not isinstance(raw, RawDataElement):
        return _converted(raw)
    value = raw.value
    if not value or not isinstance(value, bytes):
        return ()
    vr = raw.VR
    if vr not in _TEXT and vr not in _BINARY:
        vr = _usual_vr(raw.tag)
    if vr in _TEXT:
        return _split(value[:_MAX_VALUE_BYTES])
    if vr in _BINARY:
        return _unpack(value[:_MAX_VALUE_BYTES], _BINARY[vr], raw.is_little_endian)
    return ()


def _converted(raw: DataElement) -> tuple[Any, ...]:
    value = raw.value
    if value is None or value == "":
        return ()
    if isinstance(value, str | bytes | int | float) or not hasattr(value, "__iter__"):
        return (value,)
    return tuple(value)


@lru_cache(maxsize=4096)
def _split(value: bytes) -> tuple[str, ...]:
    text = value.decode("latin-1").strip(" \0\t\r\n")
    return tuple(part.strip(" \0") for part in text.split("\\")) if text else ()


@lru_cache(maxsize=1024)
def _unpack(value: bytes, code: str, little: bool) -> tuple[Any, ...]:
    size = struct.calcsize(code)
    count = len(value) // size
    return struct.unpack(f"{'<' if little else '>'}{count}{code}", value[: count * size])


def items(source: Source, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; empty if it is missing, not a sequence, or too long."""
    raw = element(source, keyword)
    if isinstance(raw, RawDataElement):
        if len(raw.value or b"") > _MAX_SEQUENCE:
            return []
        try:
            raw = convert_raw_data_element(raw)
        except Exception:  # a malformed sequence counts as missing
            return []
    value = None if raw is None else raw.value
    if value is None or isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return []
    return [item for item in value if isinstance(item, Dataset)]


def text(source: Source, keyword: str) -> str:
    """Return the first value of a code (in capitals) or UID; empty if it is invalid."""
    parts = values(source, keyword)
    if not parts:
        return ""
    return _as_uid(str(parts[0])) if keyword.endswith("UID") else as_code(str(parts[0]))


@lru_cache(maxsize=4096)
def _as_uid(value: str) -> str:
    value = value.strip(" \0")
    return value if _UID.fullmatch(value) else ""


@lru_cache(maxsize=4096)
def as_code(value: str) -> str:
    """Return a code in capitals, or an empty text if it is invalid."""
    value = value.strip(" \0").upper()
    return value if _CODE.fullmatch(value) else ""


def unit(source: Source, keyword: str) -> str:
    """Return the unit that a text names: ``"HU"`` for every spelling of it, a code in capitals.

    Empty if it is missing or no unit.
    """
    parts = values(source, keyword)
    return _as_unit(str(parts[0])) if parts else ""


@lru_cache(maxsize=256)
def _as_unit(value: str) -> str:
    value = value.strip(" \0").upper()
    letters = "".join(filter(str.isalpha, value)).removesuffix("S").removesuffix("UNIT")
    likeness = SequenceMatcher(None, letters, "HOUNSFIELD").ratio()
    if letters in ("HU", "HNSFU") or likeness >= SAME_WORD:
        return "HU"
    return value if _UNIT.fullmatch(value) else ""


def floats(source: Source, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
    """Return finite numbers; None if there are none, or not ``count`` of them."""
    return _as_floats(values(source, keyword), count)


@lru_cache(maxsize=8192)
def _as_floats(parts: tuple[Any, ...], count: int | None) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(value) for value in parts)
    except (TypeError, ValueError):
        return None
    if not numbers or (count is not None and len(numbers) != count):
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def number(source: Source, keyword: str) -> float | None:
    """Return the first number, or None."""
    numbers = floats(source, keyword)
    return numbers[0] if numbers else None


def integer(source: Source, keyword: str) -> int | None:
    """Return the first number, truncated to an integer, or None."""
    value = number(source, keyword)
    return None if value is None else int(value)


def integer_at(source: Dataset, tag: int) -> int | None:
    """Return the number in an unsigned 16-bit element given by tag, or None."""
    try:
        return int(source[tag].value) if tag in source else None
    except Exception:  # a damaged element counts as missing
        return None


def seconds(source: Source, keyword: str) -> float | None:
    """Return a time of day in seconds, or None."""
    parts = values(source, keyword)
    clock = _CLOCK.fullmatch(str(parts[0]).strip(" \0")) if parts else None
    if not clock:
        return None
    hours, minutes, rest = clock.groups()
    return 3600.0 * int(hours) + 60.0 * int(minutes) + float(rest)


def words(source: Source, keyword: str) -> str:
    """Return free text, decoded by the data set's character set; backslashes separate values."""
    raw = element(source, keyword)
    if raw is None:
        return ""
    if not isinstance(raw, RawDataElement):
        return "\\".join(str(value) for value in _converted(raw))
    if not isinstance(raw.value, bytes):
        return ""
    charset = element(source, "SpecificCharacterSet")
    if isinstance(charset, DataElement):
        named = "\\".join(map(str, _converted(charset))).encode("ascii", "replace")
    else:
        named = charset.value if charset and isinstance(charset.value, bytes) else b""
    return _decode(raw.value[:_MAX_VALUE_BYTES], named)


@lru_cache(maxsize=1024)
def _decode(value: bytes, charset: bytes) -> str:
    try:
        encodings = convert_encodings(charset.decode("ascii", "replace").strip(" \0").split("\\"))
        return decode_bytes(value, encodings, set()).strip(" \0")
    except Exception:  # unknown character sets and damaged text can raise anything
        return value.decode("ascii", "replace").strip(" \0")
