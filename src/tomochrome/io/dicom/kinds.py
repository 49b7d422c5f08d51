"""Descriptions of DICOM objects that are not images of the patient, and kinds of images.

Source of the numbers: DICOM PS3.6 A (SOP classes), PS3.3 C.7.6.1.1.2 and C.8.16.1 (Image Type).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
_SEGMENTATION: Final = "a segmentation: labels drawn on a scan, not the scan itself"
_REGISTRATION: Final = "a spatial registration, which contains no image"
_DOSE_REPORT: Final = "a radiation dose report"
_PLAN: Final = "a radiotherapy plan, which contains no image"
_CLASSES: Final = {
    **dict.fromkeys(("66.4", "66.5", "66.7"), _SEGMENTATION),
    **dict.fromkeys(("66.1", "66.2", "66.3"), _REGISTRATION),
    **dict.fromkeys(("88.67", "88.68", "88.73"), _DOSE_REPORT),
    **dict.fromkeys(("481.5", "481.8"), _PLAN),
    "66": "the scanner's raw data, from which no images have been reconstructed yet",
    "67": "a map of real-world values, which contains no image",
    "88.59": "a key object selection: a list of marked images",
    "104.1": "a document (PDF), not an image",
    "104.2": "a document (CDA), not an image",
    "104.3": "a surface model, not an image",
    "481.2": "a radiotherapy dose map, not an image of the patient",
    "481.3": "a radiotherapy structure set: contours drawn on a scan, not the scan itself",
}
_FAMILIES: Final = {
    "88.": "a structured report: text, not an image",
    "11.": "a presentation state: how to show other images, not an image itself",
    "9.": "a recorded curve (such as an ECG), not an image",
    "481.": "a radiotherapy object, not an image of the patient",
}
_MODALITIES: Final = {
    "SEG": _SEGMENTATION,
    "SR": _FAMILIES["88."],
    "PR": _FAMILIES["11."],
    "KO": _CLASSES["88.59"],
    "DOC": _CLASSES["104.1"],
    "REG": _REGISTRATION,
    "FID": "a list of marked points, not an image",
    "RWV": _CLASSES["67"],
    "M3D": _CLASSES["104.3"],
    "RTDOSE": _CLASSES["481.2"],
    "RTSTRUCT": _CLASSES["481.3"],
    "RTPLAN": _PLAN,
    "RTRECORD": _FAMILIES["481."],
    "ECG": _FAMILIES["9."],
    "HD": _FAMILIES["9."],
}

LOCALIZER: Final = "localizer"
PROJECTION: Final = "projection"
REFORMAT: Final = "reformat"
SECONDARY: Final = "secondary"
_LOCALIZERS: Final = frozenset(
    ("LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW", "SCANOGRAM", "SCANOSCOPE", "SCANO")
)
_PROJECTIONS: Final = frozenset(
    ("MIP", "MINIP", "MNIP", "MAXIP", "PROJECTION", "VRT", "VR", "VOLREN", "RENDERED", "SSD",
     "MAX", "MIN", "MAXIMUM", "MINIMUM")
)  # fmt: skip
_REFORMATS: Final = frozenset(("MPR", "CPR", "REFORMATTED", "REFORMAT", "CURVED"))
_SCREEN: Final = re.compile(r"\bSCREEN ?(SAVE|SHOT|CAPTURE|COPY|DUMP)\b")
_PAGE: Final = re.compile(r"\b(DOSE ?(INFO|REPORT)|PROT|PROTOCOL)\b")
_WORD: Final = re.compile(r"[^A-Z0-9]+")


def other_than_image(sop_class: str, modality: str) -> str:
    """Describe an object that is not an image of the patient; empty for images."""
    if sop_class.startswith(_STORAGE):
        number = sop_class[len(_STORAGE) :]
        if number in _CLASSES:
            return _CLASSES[number]
        for family, words in _FAMILIES.items():
            if number.startswith(family) and number != "481.1":  # which is an X-ray image
                return words
    return _MODALITIES.get(modality, "")


@lru_cache(maxsize=256)
def image_kind(image_type: tuple[str, ...]) -> str:
    """Return the kind of an image, or an empty string for the scanner's original slices."""
    if _words(image_type) & _LOCALIZERS:
        return LOCALIZER
    words = _words(image_type[2:])
    if words & _PROJECTIONS:
        return PROJECTION
    if words & _REFORMATS:
        return REFORMAT
    return SECONDARY if len(image_type) > 1 and image_type[1].upper() == "SECONDARY" else ""


def _words(values: tuple[str, ...]) -> set[str]:
    return {word for value in values for word in _WORD.split(value.upper())}


def is_screen(image_type: Sequence[str], *, placed: bool) -> bool:
    """Return whether an image shows a screen, or a page with the dose or the scan protocol.

    Parameters
    ----------
    image_type
        Values of Image Type.
    placed
        Whether the image has a position; pages have none.
    """
    text = " ".join(_WORD.sub(" ", value.upper()) for value in image_type)
    return bool(_SCREEN.search(text)) or bool(not placed and _PAGE.search(text))


def remark(kinds: Sequence[str]) -> str:
    """Return a warning about images of some kinds, or an empty string."""
    if PROJECTION in kinds:
        return (
            "these are projections of the slices of a scan (such as MIP): their values are not "
            "those of single points in the body"
        )
    if REFORMAT in kinds:
        return "these slices were reformatted from a scan (MPR); they are not the original ones"
    return ""
