"""Grouping, sorting and searching of series, and the choice of the best one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from tomochrome._napari.series import scan_wording as wording
from tomochrome.geometry.planes import slice_orientation
from tomochrome.volume import Verdict

if TYPE_CHECKING:
    from tomochrome.io import Item

Order = Literal["slices", "number", "title"]
Identities = Mapping[str, Mapping[str, str]]  #: DICOM attributes by study key

ORDERS: Final[dict[Order, str]] = {
    "slices": "Sort by slices",
    "number": "Sort by series number",
    "title": "Sort by title",
}


@dataclass(frozen=True)
class Row:
    """One row of the list."""

    item: Item
    heading: tuple[str, ...] = ()  #: lines above the first row of a group


def can_be_opened(item: Item) -> bool:
    """Whether `read` accepts this item."""
    return not item.refusal and item.verdict != "unreadable"


def shown_verdict(item: Item) -> Verdict:
    """Return the verdict to show, which is "unreadable" for every item that cannot be opened."""
    return item.verdict if can_be_opened(item) else "unreadable"


def best(items: Sequence[Item]) -> Item | None:
    """Return the item to select by default: the largest regular CT, or the closest to it.

    Any readable CT is preferred to other images, and a regular series to an irregular one. Among
    these, the one with the most voxels is chosen, and the axial one of a volume and its reformats.
    """

    def worth(item: Item) -> tuple[bool, bool, int, bool]:
        axial = item.affine is not None and slice_orientation(item.affine).startswith("axial")
        return item.verdict != "not-ct", item.verdict == "regular", _voxels(item), axial

    return max(filter(can_be_opened, items), key=worth, default=None)


def arranged(
    items: Sequence[Item], order: Order, search: str = "", identities: Identities | None = None
) -> list[Row]:
    """Return the rows of the list: matching items, grouped by patient and study, and sorted.

    Patients and studies are numbered in the order of their first items. Each search word must match
    the beginning of a word, or an entire number, in the item's title, modality, size, verdict,
    number or heading. ``identities`` are those of the patients, if they are to be shown.
    """
    searched = search.casefold().split()
    studies = _studies(items)
    headings = {study: _heading(study, studies, identities or {}) for study in studies}
    alone = len(studies) == 1 and not identities
    rows = []
    for study, members in studies.items():
        heading = headings[study]
        shown = [item for item in members if _matches(item, heading, searched)]
        for number, item in enumerate(sorted(shown, key=lambda item: _rank(item, order))):
            rows.append(Row(item, () if number or alone else heading))
    return rows


def counts(items: Sequence[Item]) -> tuple[int, int]:
    """Return the numbers of patients and studies."""
    dicom = [item for item in items if item.study]
    return len({item.patient for item in dicom}), len({item.study for item in dicom})


_Study = tuple[str, str]  # keys of patient and study; both empty for files other than DICOM


def _studies(items: Sequence[Item]) -> dict[_Study, list[Item]]:
    """Return the items by patient and study, in the order of their first items, files last."""
    patients = list(dict.fromkeys(item.patient for item in items))
    studies: dict[_Study, list[Item]] = {}
    for item in items:
        studies.setdefault((item.patient, item.study), []).append(item)
    return dict(sorted(studies.items(), key=lambda s: (not s[0][1], patients.index(s[0][0]))))


def _heading(
    study: _Study, studies: Mapping[_Study, Sequence[Item]], identities: Identities
) -> tuple[str, ...]:
    patient, key = study
    if not key:
        return ("Files",)
    patients = list(dict.fromkeys(patient for patient, key in studies if key))
    own = [other for other in studies if other[0] == patient]
    title = next((item.study_title for item in studies[study] if item.study_title), "")
    person, number = f"Patient {patients.index(patient) + 1}", f"Study {own.index(study) + 1}"
    identity = identities.get(key)
    if identity is not None:
        return wording.describe_identity(identity, person, number, title)
    return tuple(filter(None, (f"{person} · {number}", title)))


def _rank(item: Item, order: Order) -> tuple[Any, ...]:
    """Return the sort key of an item; items with equal keys keep the order of finding."""
    if order == "number":
        number = item.series_number
        return number is None, number or 0
    if order == "title":
        # "Chest 2 mm" comes before "Chest 10 mm".
        parts = re.split(r"(\d+)", wording.title_of(item).casefold())
        return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)
    slices = item.shape[0] if item.shape else 0
    return item.verdict == "not-ct", not can_be_opened(item), -slices, -_voxels(item)


def _voxels(item: Item) -> int:
    slices, rows, columns = item.shape or (0, 0, 0)
    return slices * rows * columns


def _matches(item: Item, heading: tuple[str, ...], searched: Sequence[str]) -> bool:
    texts = (
        *heading, wording.title_of(item), wording.modality_of(item.modality),
        wording.size_of(item.shape), wording.VERDICTS[shown_verdict(item)],
        wording.number_of(item),
    )  # fmt: skip
    folded = " ".join(texts).casefold()
    words = {*re.findall(r"\w+", folded), *folded.split()}
    return all(
        part in words if part.isdecimal() else any(word.startswith(part) for word in words)
        for part in searched
    )
