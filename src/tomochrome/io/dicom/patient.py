"""The patient in a header: anonymous keys, and descriptions without those that name the patient.

Series of the same patient and study are recognized by the keys.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from tomochrome.io.dicom.elements import Source, text, words

_SALT: Final = secrets.token_bytes(32)
"""Random in each process, so that a key cannot be used to look up a known patient."""

NAMES: Final = ("PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames",
                "PatientBirthName", "AccessionNumber")  # fmt: skip
BIRTH: Final = "PatientBirthDate"
MAX_LENGTH: Final = 64
"""Maximum number of characters of a long string (LO, DICOM PS3.5 6.2)."""

_MIN_PART: Final = 3
"""Minimum length of a part of a name that is searched for; shorter ones occur in any text."""
_MIN_FOREIGN_PART: Final = 2  # a Chinese or Korean given name
_NOBODY: Final = frozenset(
    ("anon", "anonym", "anonymous", "anonymized", "none", "unknown", "patient", "name", "test",
     "phantom", "tomochrome")
)  # fmt: skip
_UMLAUTS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae"})


def name_in_words(name: str) -> str:
    """Return a DICOM person name such as ``Doe^Jane=...`` as "Doe, Jane"."""
    parts = (" ".join(part.split()) for part in name.partition("=")[0].split("^"))
    return ", ".join(filter(None, parts))


def date_in_words(date: str) -> str:
    """Return a DICOM date (YYYYMMDD) as 2019-03-14, and anything else unchanged."""
    digits = date.strip()
    if len(digits) == 8 and digits.isdecimal():
        return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"
    return digits


def study_key(study_uid: str) -> str:
    """Return a key that is the same for all images of a study."""
    return _key("study", study_uid)


def patient_key(source: Source) -> str:
    """Return a key that is the same for all images of a patient.

    It is derived from patient ID and birth date; without an ID from the name and birth date; and
    without both from the study UID.
    """
    patient = words(source, "PatientID") or words(source, "PatientName").casefold()
    if not patient:
        return study_key(text(source, "StudyInstanceUID"))
    return _key("patient", patient, words(source, "PatientBirthDate"))


def _key(*parts: str) -> str:
    return blake2b(
        "\0".join(parts).encode("utf-8", "backslashreplace"), key=_SALT, digest_size=12
    ).hexdigest()


@dataclass(frozen=True)
class Secrets:
    """The patient's names, identifiers and birth date (YYYYMMDD)."""

    names: tuple[str, ...] = ()
    birth: str = ""

    def hidden_in(self, text: str) -> bool:
        """Whether a text contains any of them.

        The search is for parts of the names and identifiers, and for the birth date in common
        notations; case and accents are ignored.
        """
        return _hidden(text, self)


def secrets_of(source: Source) -> Secrets:
    """Return the patient's names, identifiers and birth date from a header."""
    return _secrets(tuple(words(source, keyword) for keyword in NAMES), words(source, BIRTH))


@lru_cache(maxsize=64)
def _secrets(names: tuple[str, ...], birth: str) -> Secrets:
    """Return the same object for all slices of a patient, because it is compared often."""
    return Secrets(names, birth)


def title(source: Source, keyword: str = "SeriesDescription") -> str:
    """Return a description on one line, or an empty string if it contains patient data."""
    described = words(source, keyword)
    return clean_title(described, secrets_of(source)) if described else ""


@lru_cache(maxsize=256)
def clean_title(described: str, secrets: Secrets) -> str:
    """Return a description without control characters, or an empty string as in `title`.

    It ends at a NUL: in a damaged header a description can include the elements that follow, the
    patient's name among them, and each of these begins with a tag that contains a NUL.
    """
    if secrets.hidden_in(described):
        return ""
    described = described.partition("\0")[0]
    shown = "".join(c if c.isprintable() else " " for c in described)
    return " ".join(shown.split())[:MAX_LENGTH].strip()


@lru_cache(maxsize=1024)
def _hidden(text: str, secrets: Secrets) -> bool:
    spellings = _spellings(text)
    for part in {part for secret in secrets.names for part in _parts(secret)}:
        if any(part in spelling for spelling in spellings):
            return True
    return any(date.search(text) for date in _dates(secrets.birth))


def _spellings(text: str) -> set[str]:
    """Return case-folded versions of a text: as is, without accents, and with umlauts as "ae".

    Each is also returned without separators: ``MU-STER`` contains ``Muster``.
    """
    low = unicodedata.normalize("NFC", text).casefold()
    bare = "".join(c for c in unicodedata.normalize("NFKD", low) if unicodedata.category(c) != "Mn")
    spellings = {low, bare, low.translate(_UMLAUTS)}
    return spellings | {re.sub(r"[\W_]", "", spelling) for spelling in spellings}


def _parts(secret: str) -> set[str]:
    parts = set()
    for spelling in _spellings(secret):
        for part in [*re.split(r"[\W_]+", spelling), re.sub(r"[\W_]", "", spelling)]:
            least = _MIN_PART if part.isascii() else _MIN_FOREIGN_PART
            if len(part) >= least and part not in _NOBODY:
                parts.add(part)
    return parts


@lru_cache(maxsize=64)
def _dates(birth: str) -> tuple[re.Pattern[str], ...]:
    """Return patterns for common notations of a date (YYYYMMDD), with and without separators."""
    match = re.fullmatch(r"(\d{4})\D?(\d\d)\D?(\d\d)", birth.strip())
    if not match:
        return ()
    year, month, day = match.groups()
    full = f"(?:{year[:2]})?{year[2:]}"
    patterns = []
    for order in ((full, month, day), (day, month, full), (month, day, full)):
        patterns.append("".join(order))
        parts = (f"0?{part[1]}" if part[0] == "0" else part for part in order)
        patterns.append(r"(?<!\d)" + r"\D{1,3}".join(parts) + r"(?!\d)")
    return tuple(map(re.compile, patterns))
