"""Which series are of one patient and one study, told without saying who the patient is."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from tomochrome.io.dicom.values import Source, text, words

if TYPE_CHECKING:
    from tomochrome.io.item import Item

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


def identity_of(item: Item) -> Mapping[str, str]:
    """Read who the patient of an item is, from the item's first file.

    Returns
    -------
    Mapping
        DICOM keyword to text: PatientName, PatientID, PatientBirthDate, AccessionNumber and
        StudyDate. Empty for files that are not DICOM.

    Raises
    ------
    InputError
        If the file can no longer be read.
    """
    from tomochrome.io.dicom.headers import read_header

    if item.identity is not None:
        return item.identity
    headers = getattr(item.source, "headers", ())
    if not headers:
        return {}
    return read_header(headers[0].path, with_identity=True).identity or {}
