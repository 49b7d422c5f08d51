"""How series are grouped, sorted and searched, and which one is offered first."""

from __future__ import annotations

import pytest

from tomochrome._napari.series.series_order import arranged, best, counts
from tomochrome.io import Item
from tomochrome.notices import refused
from tomochrome.volume import default_affine


def item(title="", slices=10, *, patient="p", study="s", modality="CT", verdict="regular", **more):
    shape = None if slices is None else (slices, 512, 512)
    return Item(
        f"/{title}", "dicom-series" if patient else "nifti", title=title, modality=modality,
        shape=shape, verdict=verdict, patient=patient, study=study, **more,
    )  # fmt: skip


SCOUT = item("Scout", 1, verdict="not-ct", series_number=1)
MR = item("T1 sagittal", 400, modality="MR", verdict="not-ct", series_number=7)
LOST = item("Lost", 900, verdict="unreadable", refusal=refused("no positions"), series_number=2)
TILTED = item("Brain tilted", 500, verdict="tilted", series_number=3)
THIN = item("Chest 1 mm", 300, series_number=10)
THICK = item("Chest 5 mm", 60, series_number=9)
ALL = (SCOUT, MR, LOST, TILTED, THICK, THIN)


def titles(rows):
    return [row.item.title for row in rows]


def test_the_largest_regular_ct_is_offered_and_never_a_scout_of_one_slice():
    many = [SCOUT, *(item(f"Chest {n}", 20 + n) for n in range(30)), LOST, MR, TILTED]
    assert best(many).title == "Chest 29"


@pytest.mark.parametrize(
    ("items", "offered"),
    [
        ((SCOUT, MR, LOST, TILTED), TILTED),
        ((SCOUT, MR, LOST), MR),
        ((item("Nameless scout", 1), THICK), THICK),  # a scout that does not say that it is one
        ((LOST,), None),
        ((), None),
    ],
)
def test_what_is_offered_where_there_is_no_regular_ct(items, offered):
    assert best(items) is offered


def test_of_a_volume_and_its_reformat_the_axial_one_is_offered():
    axial = item("Axial", affine=default_affine((3.0, 1.5, 1.5)))
    coronal_affine = default_affine((3.0, 1.5, 1.5))[:, [1, 0, 2, 3]]
    coronal = item("Coronal", affine=coronal_affine)
    assert best([coronal, axial]) is axial
    assert best([axial, coronal]) is axial


def test_by_slices_what_can_be_opened_as_ct_comes_first():
    assert titles(arranged(ALL, "slices")) == [
        "Brain tilted", "Chest 1 mm", "Chest 5 mm", "Lost", "T1 sagittal", "Scout",
    ]  # fmt: skip


def test_by_number_and_by_title():
    assert [row.item.series_number for row in arranged(ALL, "number")] == [1, 2, 3, 7, 9, 10]
    unnumbered = item("Without")
    assert titles(arranged([unnumbered, THIN], "number")) == ["Chest 1 mm", "Without"]
    named = [item("Chest 10 mm"), item("chest 2 mm"), item("Abdomen")]
    assert titles(arranged(named, "title")) == ["Abdomen", "chest 2 mm", "Chest 10 mm"]


def test_groups_are_patients_and_studies_and_files_come_last():
    file = item("brain.nii", patient="", study="")
    items = [
        file,
        item("a", patient="p", study="s1", study_title="CT Chest"),
        item("b", patient="q", study="s3"),
        item("c", patient="p", study="s2"),
        item("d", 20, patient="p", study="s1"),
    ]
    rows = arranged(items, "slices")
    assert [(row.item.title, row.heading) for row in rows] == [
        ("d", ("Patient 1 · Study 1", "CT Chest")),
        ("a", ()),
        ("c", ("Patient 1 · Study 2",)),
        ("b", ("Patient 2 · Study 1",)),
        ("brain.nii", ("Files",)),
    ]
    assert counts(items) == (2, 3)
    assert [row.heading for row in arranged([file], "slices")] == [()]
    # A search leaves the numbers as they are.
    (row,) = arranged(items, "slices", "b patient")
    assert row.heading == ("Patient 2 · Study 1",)


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("chest", ["Chest 1 mm", "Chest 5 mm"]),
        ("CHEST 5", ["Chest 5 mm"]),
        ("mr", ["T1 sagittal"]),
        ("ct", ["Brain tilted", "Chest 1 mm", "Chest 5 mm", "Lost", "Scout"]),
        ("regular", ["Chest 1 mm", "Chest 5 mm"]),
        ("unread", ["Lost"]),
        ("300", ["Chest 1 mm"]),
        ("512 tilted", ["Brain tilted"]),
        ("series 9", ["Chest 5 mm"]),  # and not the one of 900 slices
        ("  ", ["Brain tilted", "Chest 1 mm", "Chest 5 mm", "Lost", "T1 sagittal", "Scout"]),
        ("nothing like it", []),
    ],
)
def test_all_words_of_a_search_must_begin_words_of_an_item(search, expected):
    assert titles(arranged(ALL, "slices", search)) == expected


def test_who_the_patients_are_is_said_only_where_it_is_given():
    identity = {
        "PatientName": "DOE^JANE^^Dr=X", "PatientID": "MRN0815", "PatientBirthDate": "19500101",
        "AccessionNumber": "ACC4711", "StudyDate": "20190314",
    }  # fmt: skip
    chest = item("a", study_title="CT Chest")
    other = item("b", patient="q", study="t")
    first, second = arranged([chest, other], "slices", "", {"s": identity})
    assert first.heading == (
        "DOE, JANE, Dr · born 1950-01-01 · ID MRN0815",
        "2019-03-14 · CT Chest",
        "Accession number ACC4711",
    )
    assert second.heading == ("Patient 2 · Study 1",)
    (row,) = arranged([chest], "slices", "", {"s": {}})
    assert row.heading == ("Patient 1", "CT Chest")
    assert [row.item.title for row in arranged([chest, other], "slices", "jane", {"s": identity})]
    assert not arranged([chest, other], "slices", "jane")
