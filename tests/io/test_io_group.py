"""What forms one volume: headers go in, groups come out; no file is needed for that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from group_cases import CORONAL, coronal, header, names, of, stack, told
from io_cases import change, ct, series

from tomochrome.io import find
from tomochrome.io.dicom.group import group
from tomochrome.io.dicom.kinds import image_kind, other_than_image
from tomochrome.io.dicom.series import describe


def test_one_series_is_one_volume_without_a_word():
    (found,) = group(stack())
    assert (found.number, found.phase, found.notes) == (0, "", ())
    assert describe(found).name == "1.2"


def test_series_and_studies_are_apart_and_keep_their_names():
    found = group([*stack(), *stack(series_uid="1.4", tag="b")])
    assert [describe(g).name for g in found] == ["1.2", "1.4"]
    found = group([*stack(), *stack(study_uid="1.1.9", tag="b")])
    assert [describe(g).name for g in found] == ["1.2#1", "1.2#2"]


APART = {
    "orientation": None,
    "matrix": {"rows": 32},
    "pixel spacing": {"pixel_spacing": (0.9, 0.9)},
    "unit": {"rescale_type": "MGML"},
    "kind of image": {"image_type": ("DERIVED", "PRIMARY", "MPR")},
    "modality": {"modality": "PT"},
    "stack": {"acquisition": told(StackID="2")},
}


@pytest.mark.parametrize("what", APART)
def test_what_cannot_be_one_volume_is_apart_and_said(what):
    change_ = APART[what]
    there = coronal(4, tag="b") if change_ is None else stack(4, start=50.0, tag="b", **change_)
    here = stack()
    found = group([*there, *here])
    assert sorted(map(sorted, names(found))) == sorted([sorted(of(here)), sorted(of(there))])
    assert sorted(g.phase for g in found) == ["1 of 2", "2 of 2"]
    for g in found:
        (note,) = g.notes
        assert what in note.text
        assert f"the one with {len(g.headers)} slices" in note.text
    assert len({describe(g).name for g in found}) == 2


@pytest.mark.parametrize(
    "image_type",
    [
        ("ORIGINAL", "PRIMARY", "LOCALIZER"),
        ("ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP"),
        ("DERIVED", "SECONDARY", "SCOUT"),
    ],
)
def test_a_localizer_is_apart_and_leaves_the_name_to_the_volume(image_type):
    scout = header(0, "scout", image_type=image_type, orientation=CORONAL)
    found = group([scout, *stack()])
    assert names(found) == [of(stack()), {"scout"}]
    assert [describe(g).name for g in found] == ["1.2", "1.2#2"]
    assert [g.notes for g in found] == [(), ()]
    assert [g.phase for g in found] == ["", ""]
    assert [describe(g).verdict for g in found] == ["regular", "not-ct"]


def test_rounded_cosines_and_spacings_are_the_same_orientation():
    slices = [
        replace(
            h,
            orientation=(1, 1e-4 * (i % 2), 0, 0, 1, 1e-5 * i),
            pixel_spacing=(0.7 + 1e-5 * (i % 2),) * 2,
        )
        for i, h in enumerate(stack())
    ]
    assert len(group(slices)) == 1


def test_an_unnamed_unit_is_hounsfield_like_the_others():
    assert len(group(stack(rescale_type=lambda i: ("HU", "")[i % 2]))) == 1


def test_slices_without_a_place_stay_with_the_volume_that_they_belong_to():
    slices = stack()
    slices[3] = replace(slices[3], orientation=None)
    slices[4] = replace(slices[4], position=None)
    slices[5] = replace(slices[5], orientation=(9.0,) * 6)
    (found,) = group(slices)
    assert len(found.headers) == 10
    assert describe(found).refusal


def test_empty_uids_are_grouped_by_folder_and_geometry():
    other = [replace(h, path=Path("/cd/t") / h.path.name) for h in stack(tag="b", series_uid="")]
    turned = coronal(10, tag="c", series_uid="")
    here = stack(series_uid="")
    found = group([*here, *other, *turned])
    assert sorted(map(sorted, names(found))) == [sorted(of(s)) for s in (here, other, turned)]
    assert len({describe(g).name for g in found}) == 3
    assert all(describe(g).name.startswith("/cd/") for g in found)


def test_frames_of_one_file_are_grouped_like_files():
    frames = [
        header(
            2.0 * (i % 5), "e", frame=i, frames=10, acquisition=told(TemporalPositionIndex=i // 5)
        )
        for i in range(10)
    ]
    found = group(frames)
    assert [[h.frame for h in g.headers] for g in found] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    items = [describe(g) for g in group(replace(f, series_uid="") for f in frames)]
    assert [item.name for item in items] == ["/cd/s/e#1", "/cd/s/e#2"]
    assert {item.path for item in items} == {"/cd/s/e"}


# --- what is no volume -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sop_class", "modality", "words"),
    [
        ("66.4", "SEG", "segmentation"),
        ("88.67", "SR", "dose report"),
        ("88.22", "SR", "structured report"),
        ("88.59", "KO", "key object"),
        ("11.1", "PR", "presentation state"),
        ("481.3", "RTSTRUCT", "contours"),
        ("481.2", "RTDOSE", "dose map"),
        ("481.5", "RTPLAN", "radiotherapy plan"),
        ("104.1", "DOC", "PDF"),
        ("66", "CT", "raw data"),
        ("", "SEG", "segmentation"),
        ("", "PR", "presentation state"),
    ],
)
def test_other_objects_are_named(sop_class, modality, words):
    uid = f"1.2.840.10008.5.1.4.1.1.{sop_class}" if sop_class else ""
    assert words in other_than_image(uid, modality)


def test_images_are_images():
    for sop_class in ("2", "2.1", "4", "128", "7", "481.1"):
        assert other_than_image(f"1.2.840.10008.5.1.4.1.1.{sop_class}", "CT") == ""


def test_kinds_of_images():
    assert image_kind(("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI")) == ""
    assert image_kind(("DERIVED", "PRIMARY", "AXIAL")) == ""
    assert image_kind(("DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MIP")) == "projection"
    assert image_kind(("DERIVED", "SECONDARY", "MPR")) == "reformat"
    assert image_kind(("DERIVED", "SECONDARY")) == "secondary"
    assert image_kind(()) == ""


def test_projections_are_apart_and_said(tmp_path):
    folder = series(tmp_path / "s", ct((8, 24, 20)), series_uid="1.2.3")

    def mip(dataset, i):
        if i > 5:
            dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL", "MIP"]

    items = find(change(folder, mip)).items
    assert [item.shape[0] for item in items] == [6, 2]
    assert any("projections" in w.text for w in items[1].warnings)
    assert not any("projections" in w.text for w in items[0].warnings)
