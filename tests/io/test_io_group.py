"""What forms one volume: headers go in, groups come out; no file is needed for that."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from group_cases import CORONAL, coronal, header, names, of, stack, told
from io_cases import change, ct, series

from tomochrome.errors import InputError
from tomochrome.io import find, read
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


OWN = {
    "every slice": lambda i: f"1.3.{i}",
    "all but two": lambda i: f"1.3.{max(i, 1)}",
    "one without": lambda i: f"1.3.{i}" if i else "",
}


@pytest.mark.parametrize("own", OWN)
def test_a_frame_of_reference_of_each_slice_says_nothing(own):
    slices = [replace(h, frame_of_reference=OWN[own](i)) for i, h in enumerate(stack(12))]
    (found,) = group(slices)
    item = describe(found)
    assert (item.verdict, item.warnings, item.refusal) == ("regular", (), None)
    phases = [
        replace(
            h, acquisition=told(TemporalPositionIdentifier=p), frame_of_reference=f"1.3.{p}.{i}"
        )
        for p in range(2)
        for i, h in enumerate(stack(6, tag=f"p{p}-"))
    ]
    assert [len(g.headers) for g in group(phases)] == [6, 6]
    assert "temporal position" in group(phases)[0].notes[0].text


def test_slices_without_a_frame_of_reference_are_no_second_acquisition():
    slices = [
        replace(h, frame_of_reference="1.3" if i % 2 else "") for i, h in enumerate(stack(12))
    ]
    assert describe(*group(slices)).verdict == "regular"


def test_few_frames_of_reference_still_say_that_the_patient_moved():
    slices = [replace(h, frame_of_reference=f"1.3.{i // 6}") for i, h in enumerate(stack(12))]
    (found,) = group(slices)
    assert any("patient may have moved" in w.text for w in describe(found).warnings)


def test_a_study_of_each_slice_is_one_study():
    slices = [replace(h, study_uid=f"1.1.{i}") for i, h in enumerate(stack(5))]
    assert describe(*group(slices)).shape[0] == 5
    two = [replace(h, patient="ab"[i % 2]) for i, h in enumerate(slices)]
    assert len(group(two)) == 5  # of two patients, nothing is joined
    twice = [replace(h, study_uid=f"1.1.{i % 2}") for i, h in enumerate(stack(6))]
    assert len(group(twice)) == 2


DERIVED = ("DERIVED", "SECONDARY", "AXIAL")
SAID = {
    "mono energies": [{"image_type": (*DERIVED, f"MONO_{e}")} for e in (40, 70, 190)],
    "spaces": [{"image_type": (*DERIVED, "VMI", e)} for e in ("E 40", "E 70")],
    "descriptions": [{"title": f"Liver {e} keV"} for e in (40, 70)],
    "tube voltages": [{"acquisition": told(KVP=e)} for e in (80, 140)],
    "kernels": [{"acquisition": told(ConvolutionKernel=k)} for k in ("Br40", "Br64")],
}  # fmt: skip
LABELS = {
    "mono energies": ["MONO_40", "MONO_70", "MONO_190"],
    "spaces": ["E 40", "E 70"],
    "descriptions": ["Liver 40 keV", "Liver 70 keV"],
    "tube voltages": ["80 kV", "140 kV"],
    "kernels": ["Br40", "Br64"],
}


@pytest.mark.parametrize("by", SAID)
def test_volumes_are_labeled_by_what_distinguishes_them(by):
    slices = [
        replace(h, **changes)
        for v, changes in enumerate(SAID[by])
        for h in stack(5, tag=f"v{v}-", instance=lambda i: i)
    ]
    items = [describe(found) for found in group(slices)]
    assert sorted(item.label for item in items) == sorted(LABELS[by])
    for item in items:
        assert item.label in item.title
        assert f"(here {item.label})" in item.warnings[0].text


SCREENS = {
    "screen save": (["DERIVED", "SECONDARY", "SCREEN SAVE"], False),
    "with a position": (["DERIVED", "SECONDARY", "SCREEN SAVE"], True),
    "protocol": (["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"], False),
    "unnamed": (["DERIVED", "SECONDARY"], False),
    "unnamed original": (["ORIGINAL", "PRIMARY", "AXIAL"], False),
}


@pytest.mark.parametrize("what", SCREENS)
def test_a_screen_beside_the_slices_does_not_keep_them_from_being_read(tmp_path, what):
    kind, placed = SCREENS[what]
    folder = series(tmp_path / "s", ct(), series_uid="1.2.3")

    def screen(dataset, i):
        if i == 0:
            dataset.ImageType, dataset.SOPInstanceUID = kind, "1.2.9"
            del dataset.InstanceNumber
            if not placed:
                del dataset.ImagePositionPatient, dataset.ImageOrientationPatient
            dataset.Rows, dataset.PixelData = 12, dataset.PixelData[: len(dataset.PixelData) // 2]
            dataset.save_as(folder / "screen.dcm")
            return False
        return None

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    change(folder, screen)
    shutil.copy(copy / "0001.dcm", folder / "0001.dcm")
    for name in (None, "1.2.3"):
        np.testing.assert_array_equal(read(folder, series=name).voxels, ct().voxels)


def test_a_scan_that_cannot_be_read_is_not_replaced_by_another(tmp_path):
    (tmp_path / "s").mkdir()
    series(tmp_path / "s" / "small", ct((3, 24, 20)), series_uid="1.2.3")
    change(
        series(tmp_path / "s" / "large", ct(), series_uid="1.2.4"),
        lambda d, i: d.__delattr__("ImagePositionPatient"),
    )
    with pytest.raises(InputError, match="holds 2 series"):
        read(tmp_path / "s")


@pytest.mark.parametrize("change_", ["position", "orientation", "spacing", "slope"])
def test_what_is_refused_is_unreadable(change_):
    broken = {
        "position": {"position": None},
        "orientation": {"orientation": (0.0,) * 6},
        "spacing": {"pixel_spacing": None},
        "slope": {"slope": -1.0},
    }[change_]
    slices = stack(8)
    slices[3] = replace(slices[3], **broken)
    (found,) = group(slices)
    item = describe(found)
    facts = item.to_json()
    assert facts["verdict"] == "unreadable"
    assert facts["refusal"] == str(item.refusal) != ""
    assert "refusal" not in describe(*group(stack(8))).to_json()


@pytest.mark.parametrize("name", ["#2", "1.2.3#2"])
def test_volumes_are_chosen_by_their_number(tmp_path, name):
    def two(dataset, i):
        dataset.TemporalPositionIdentifier = 1 + i % 2
        position = [float(v) for v in dataset.ImagePositionPatient]
        dataset.ImagePositionPatient = [*position[:2], 100.0 + 5.0 * (i // 2)]

    folder = change(series(tmp_path / "s", ct((8, 24, 20)), series_uid="1.2.3"), two)
    np.testing.assert_array_equal(read(folder, series=name).voxels, ct((8, 24, 20)).voxels[1::2])
    with pytest.raises(InputError, match="contains no series '#3'; it contains"):
        read(folder, series="#3")
    alone = series(tmp_path / "alone", ct(), series_uid="1.2.4")
    assert read(alone, series="#1").shape == (7, 24, 20)
    shutil.copytree(alone, folder / "more")
    with pytest.raises(InputError, match="holds 2 series"):
        read(folder, series="#1")


CASES = Path(__file__).parents[3] / "shared" / "data"


def test_the_reported_cases():
    if not CASES.exists():
        pytest.skip("../shared/data is not here")
    cases = CASES / "cases"
    assert read(cases / "18_screen_save_in_series" / "series").shape[0] == 8
    several = cases / "36_series_number" / "series" / "0000.dcm"
    second = read(several, series="#2")
    for name in ("0000.dcm#2", f"{several}#2"):
        np.testing.assert_array_equal(read(several, series=name).voxels, second.voxels)
    assert not np.array_equal(read(several, series="#1").voxels, second.voxels)
    (item,) = find(cases / "20_refused_is_irregular" / "series").items
    assert item.verdict == "unreadable"
    items = find(cases / "35_mono_energies" / "series").items
    assert [item.label for item in items] == ["MONO_40", "MONO_70"]
    oblique = read(CASES / "dicom" / "reported" / "oblique")
    np.testing.assert_allclose(oblique.spacing, (4.5, 3.5, 2.5), atol=1e-3)
