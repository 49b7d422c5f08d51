"""Texts of the picker and the Scan panel: sizes, orientations, verdicts and warnings in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tomochrome._napari.layers.volume_layers import untitled_series
from tomochrome.notices import Notice, sentence, texts
from tomochrome.volume import Unit, Verdict

if TYPE_CHECKING:
    from tomochrome._napari.kit.theme import Tone
    from tomochrome.io import Item, Skipped

VERDICTS: dict[Verdict, str] = {
    "regular": "Regular",
    "irregular": "Irregular",
    "tilted": "Tilted",
    "incomplete": "Incomplete",
    "unreadable": "Unreadable",
    "not-ct": "Not in HU",
}
#: Muted colors for valid series, warm colors for problems.
VERDICT_TONES: dict[Verdict, Tone] = {
    "regular": "good",
    "irregular": "warning",
    "tilted": "warning",
    "incomplete": "warning",
    "unreadable": "error",
    "not-ct": "neutral",
}
_REGULAR = "Evenly spaced, no slice missing."
_SINGLE = "A single slice."
_TIMES = " × "


def title_of(item: Item) -> str:
    """Return the title of an item: its series description, never patient data.

    The names of DICOM files and folders are not used: they often contain the patient's name.
    """
    is_dicom = item.kind.startswith("dicom")
    name = untitled_series(item.modality) if is_dicom else Path(item.path).name
    title = item.title or name
    return f"{title} ({item.phase})" if item.phase else title


def number_of(item: Item) -> str:
    """Return ``"series 4"``, or an empty string if the header gives no number."""
    return "" if item.series_number is None else f"series {item.series_number}"


def size_of(shape: Sequence[int] | None, present: int = 0) -> str:
    """Return ``"40 slices of 512 × 512"`` (columns × rows) for a shape (z, y, x).

    If only ``present`` of the slices exist: ``"4 of 165 slices of 512 × 512"``.
    """
    if shape is None:
        return "size unknown"
    slices, rows, columns = shape
    some = f"{present} of " if 0 < present < slices else ""
    return f"{some}{slices} slice{'' if slices == 1 else 's'} of {columns}{_TIMES}{rows}"


def spacing_of(spacing: Sequence[float] | None) -> str:
    """Return ``"0.98 × 0.98 × 2.00 mm"`` (across, down, between slices) for (z, y, x) in mm."""
    if spacing is None:
        return "spacing unknown"
    return _TIMES.join(f"{value:.2f}" for value in reversed(spacing)) + " mm"


def extent_of(shape: Sequence[int], spacing: Sequence[float]) -> str:
    """Return ``"350 × 350 × 300 mm"`` (to the left, to the back, up) for (z, y, x)."""
    sizes = [count * step for count, step in zip(shape, spacing, strict=True)]
    return _TIMES.join(f"{value:.0f}" for value in reversed(sizes)) + " mm"


def unit_of(unit: Unit) -> str:
    """Return a unit in words."""
    names = {"HU": "Hounsfield units", "RGBA": "colors"}
    return names.get(unit, "unknown (not Hounsfield units)")


def modality_of(modality: str) -> str:
    """Return the modality, or that it is unknown."""
    return modality if modality and modality != "unknown" else "modality unknown"


def remarks(item: Item) -> tuple[str, ...]:
    """Return the warnings about an item as sentences, preceded by why it cannot be read."""
    notices = (item.refusal, *item.warnings) if item.refusal else item.warnings
    return tuple(map(sentence, texts(notices)))


def is_note(notice: Notice) -> bool:
    """Whether a notice only says that values without a unit are clearly Hounsfield units."""
    return notice.code == "unit" and notice.severity == "info"


def describe_verdict(verdict: Verdict, warnings: Sequence[Notice], slices: int | None) -> str:
    """Return an explanation of the verdict, unless the warnings explain it."""
    if not all(map(is_note, warnings)) or verdict != "regular":
        return ""
    return _SINGLE if slices == 1 else _REGULAR


def describe_skipped(skipped: Iterable[Skipped]) -> tuple[str, list[tuple[int, str]]]:
    """Return a line with the number of skipped files, and each reason with its count."""
    counts = Counter(file.general or file.reason for file in skipped)
    total = sum(counts.values())
    if not total:
        return "", []
    files = "1 file" if total == 1 else f"{total} files"
    return f"{files} skipped", [(n, sentence(reason)) for reason, n in counts.most_common()]


def describe_identity(
    identity: Mapping[str, str], patient: str, study: str, title: str
) -> tuple[str, ...]:
    """Return two or three lines that identify the patient and the study.

    ``identity`` is the result of `tomochrome.io.dicom.header_reader.identity_of`; ``patient`` and
    ``study`` are placeholders such as ``"Patient 1"`` for missing values. The study description,
    ``title``, may be empty.
    """
    from tomochrome.io.dicom.patient import date_in_words, name_in_words  # imports pydicom

    name = name_in_words(identity.get("PatientName", ""))
    values = {key: value.strip() for key, value in identity.items()}
    born, number = date_in_words(values.get("PatientBirthDate", "")), values.get("PatientID", "")
    accession = values.get("AccessionNumber", "")
    who = [name or patient, f"born {born}" if born else "", f"ID {number}" if number else ""]
    which = " · ".join(filter(None, [date_in_words(values.get("StudyDate", "")), title])) or study
    lines = (" · ".join(filter(None, who)), which)
    return (*lines, f"Accession number {accession}") if accession else lines
