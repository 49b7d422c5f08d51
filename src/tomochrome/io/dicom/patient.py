"""Anonymous keys by which series of the same patient and study are recognized."""

from __future__ import annotations

import secrets
from hashlib import blake2b
from typing import Final

from tomochrome.io.dicom.values import Source, text, words

_SALT: Final = secrets.token_bytes(32)
"""Random in each process, so that a key cannot be used to look up a known patient."""


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
