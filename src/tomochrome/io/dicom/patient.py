"""Which series are of one patient and one study, told without saying who the patient is."""

from __future__ import annotations

import secrets
from hashlib import blake2b
from typing import Final

from tomochrome.io.dicom.values import Source, text, words

_SALT: Final = secrets.token_bytes(32)
"""Of this process alone: nobody can look a known patient up by the key."""


def study_key(study_uid: str) -> str:
    """Return a key that two images have in common if they are of one study."""
    return _key("study", study_uid)


def patient_key(source: Source) -> str:
    """Return a key that two images have in common if they are of one patient.

    That is the patient's ID and birth date, or the name where there is no ID, or the study
    where there is neither.
    """
    patient = words(source, "PatientID") or words(source, "PatientName").casefold()
    if not patient:
        return study_key(text(source, "StudyInstanceUID"))
    return _key("patient", patient, words(source, "PatientBirthDate"))


def _key(*parts: str) -> str:
    return blake2b(
        "\0".join(parts).encode("utf-8", "backslashreplace"), key=_SALT, digest_size=12
    ).hexdigest()
