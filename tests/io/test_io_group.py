"""What forms one volume: headers go in, groups come out; no file is needed for that."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from io_cases import change, ct, series

from tomochrome.errors import InputError
from tomochrome.io import find, read
from tomochrome.io.dicom.group import Group, group
from tomochrome.io.dicom.headers import Header
from tomochrome.io.dicom.kinds import image_kind, other_than_image
from tomochrome.io.dicom.series import describe

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def header(z: float = 0.0, name: str = "", **changes) -> Header:
    """The header of an axial CT slice at a height."""
    plain = Header(
        path=Path("/cd/s") / (name or f"{z:g}"),
        sop_class="1.2.840.10008.5.1.4.1.1.2",
        sop_uid=name or f"1.9.{z:g}",
        modality="CT",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        study_uid="1.1",
        series_uid="1.2",
        series_number=2,
        frame_of_reference="1.3",
        rows=64,
        columns=64,
        frames=1,
        samples=1,
        pixel_spacing=(0.7, 0.7),
        thickness=2.0,
        position=(-20.0, -20.0, z),
        orientation=AXIAL,
        slope=1.0,
        intercept=-1024.0,
        rescale_type="HU",
        has_lut=False,
        padding=None,
        transfer_syntax="1.2.840.10008.1.2.1",
    )
    return replace(plain, **changes)


def stack(n: int = 10, start: float = 0.0, step: float = 2.0, tag: str = "a", **changes):
    """Slices one above the other; each value may be a function of the slice's number."""
    return [
        header(start + step * i, f"{tag}{i}", **{
            key: value(i) if callable(value) else value for key, value in changes.items()
        })
        for i in range(n)
    ]  # fmt: skip


def coronal(n: int, **changes):
    """Slices one behind the other."""
    return [
        replace(h, orientation=CORONAL, position=(-20.0, 2.0 * i, 50.0))
        for i, h in enumerate(stack(n, **changes))
    ]


def told(**values):
    """Acquisition values as a header holds them."""
    return tuple((keyword, f"{value}") for keyword, value in values.items())


def names(found: list[Group]) -> list[set[str]]:
    return [{h.path.name for h in g.headers} for g in found]


def of(slices) -> set[str]:
    return {h.path.name for h in slices}


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
        assert what in note
        assert f"the one with {len(g.headers)} slices" in note
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


# --- phases ------------------------------------------------------------------------------------

PHASES = {
    "temporal position": lambda p, i: {"acquisition": told(TemporalPositionIdentifier=p + 1)},
    "heart cycle": lambda p, i: {"acquisition": told(NominalPercentageOfCardiacPhase=10 * p)},
    "acquisition number": lambda p, i: {"acquisition": told(AcquisitionNumber=5 - p)},
    "tube voltage": lambda p, i: {"acquisition": told(KVP=80 + 20 * p)},
    "kernel": lambda p, i: {"acquisition": told(ConvolutionKernel=f"B{3 + p}0f")},
    "slice thickness": lambda p, i: {"thickness": 1.0 + p},
    "image type": lambda p, i: {"image_type": ("ORIGINAL", "PRIMARY", "AXIAL", f"E{p}")},
    "frame of reference": lambda p, i: {"frame_of_reference": f"1.3.{p}"},
    "heartbeat": lambda p, i: {"times": (("TriggerTime", 100.0 * p + i % 3),)},
    "time of acquisition": lambda p, i: {"times": (("AcquisitionTime", 300.0 * p + 0.2 * i),)},
    "time of the images": lambda p, i: {"times": (("ContentTime", 3.0 * i + p),)},
    "running number": lambda p, i: {"instance": 10 * p + i},
    "running number of cine": lambda p, i: {"instance": 3 * i + p},
    "acquisition number of each slice": lambda p, i: {
        "acquisition": told(AcquisitionNumber=10 * p + i + 1)
    },
}


_NEEDS_SHARED_POSITIONS = (
    "running", "time of the", "acquisition number of each", "slice thickness", "image type",
)  # fmt: skip


SHIFTED = [(by, 0.4) for by in PHASES if not by.startswith(_NEEDS_SHARED_POSITIONS)]


@pytest.mark.parametrize(("by", "shift"), [*((by, 0.0) for by in PHASES), *SHIFTED])
def test_phases_are_told_apart(by, shift):
    phases = [
        [replace(h, **PHASES[by](p, i)) for i, h in enumerate(stack(start=shift * p, tag=f"p{p}-"))]
        for p in range(3)
    ]
    every = [h for phase in phases for h in phase]
    np.random.default_rng(1).shuffle(every)
    found = group(every)
    assert sorted(map(sorted, names(found))) == [sorted(of(p)) for p in phases]
    assert [g.phase for g in found] == ["1 of 3", "2 of 3", "3 of 3"]
    assert [describe(g).name for g in found] == ["1.2#1", "1.2#2", "1.2#3"]
    for g, ordinal in zip(found, ("first", "second", "third"), strict=True):
        (note,) = g.notes
        assert note.startswith("the series holds 3 ")
        assert note.endswith(f"this is the {ordinal}")
        assert describe(g).verdict == "regular"


def test_a_table_that_moves_in_steps_is_one_volume():
    def steps(i):
        return told(AcquisitionNumber=i // 3)

    assert len(group(stack(12, acquisition=steps))) == 1
    assert len(group(stack(12, acquisition=lambda i: told(AcquisitionNumber=i)))) == 1


def test_a_shuttle_over_two_places_gives_phases_of_both():
    passes = [
        stack(4, start=8.0 * (n % 2), tag=f"n{n}-", acquisition=told(AcquisitionNumber=n + 1))
        for n in range(6)
    ]
    found = group(h for p in passes for h in p)
    assert names(found) == [of([*passes[n], *passes[n + 1]]) for n in (0, 2, 4)]


def test_phases_of_different_length():
    liver = stack(6, start=10, tag="l", acquisition=told(AcquisitionNumber=1))
    whole = stack(20, tag="w", acquisition=told(AcquisitionNumber=2))
    pelvis = stack(5, start=40, tag="p", acquisition=told(AcquisitionNumber=3))
    found = group([*whole, *liver, *pelvis])
    assert names(found) == [of(liver), of([*whole, *pelvis])]  # where the table moved on


def test_two_values_together_tell_apart_what_one_does_not():
    parts = {
        (phase, kernel): stack(
            tag=f"{phase}{kernel}",
            acquisition=told(TemporalPositionIdentifier=phase, ConvolutionKernel=kernel),
        )
        for phase in (1, 2)
        for kernel in ("B30f", "B70f")
    }
    found = group(h for part in parts.values() for h in part)
    assert names(found) == [of(part) for part in parts.values()]
    assert "temporal position and reconstruction kernel" in found[0].notes[0]


def test_copies_of_a_file_are_no_phase():
    slices = stack()
    copies = [replace(h, path=h.path.parent / "copy" / h.path.name) for h in slices[2:5]]
    (found,) = group([*slices, *copies])
    assert len(found.headers) == 13
    assert any("left out: 3" in w for w in describe(found).warnings)


def test_what_nothing_tells_apart_stays_together_to_be_refused():
    slices = [*stack(), header(6.0, "other")]
    (found,) = group(slices)
    assert len(found.headers) == 11
    times = np.random.default_rng(0).permutation(20)
    cine = [
        replace(h, times=(("ContentTime", float(t)),))
        for h, t in zip([*stack(), *stack(tag="b")], times, strict=True)
    ]
    assert len(group(cine)) == 1


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(2, 5), st.integers(4, 9))
def test_grouping_does_not_depend_on_the_order_of_files(random, count, slices):
    every = [
        h
        for p in range(count)
        for h in stack(slices, tag=f"{p}-", acquisition=told(TemporalPositionIdentifier=p))
    ]
    every += coronal(3, tag="x")
    expected = sorted(map(sorted, names(group(every))))
    random.shuffle(every)
    assert sorted(map(sorted, names(group(every)))) == expected
    assert len(expected) == count + 1


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


def test_thousands_of_slices_are_grouped_at_once():
    every = [
        h
        for p in range(20)
        for h in stack(300, tag=f"{p}-", times=lambda i, p=p: (("ContentTime", 50.0 * p + i / 9),))
    ]
    start = time.process_time()
    found = group(every)
    assert time.process_time() - start < 5.0
    assert [len(g.headers) for g in found] == [300] * 20


# --- what is no volume, and names --------------------------------------------------------------


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


def test_one_of_several_volumes_is_read_by_its_name(tmp_path):
    volume = ct((8, 24, 20))

    def two(dataset, i):
        dataset.TemporalPositionIdentifier = 1 + i % 2
        position = [float(v) for v in dataset.ImagePositionPatient]
        dataset.ImagePositionPatient = [*position[:2], 100.0 + 5.0 * (i // 2)]

    folder = change(series(tmp_path / "s", volume, series_uid="1.2.3"), two)
    items = find(folder).items
    assert [(i.name, i.phase, i.shape[0]) for i in items] == [
        ("1.2.3#1", "1 of 2", 4),
        ("1.2.3#2", "2 of 2", 4),
    ]
    for i, item in enumerate(items):
        back = read(folder, series=item.name)
        np.testing.assert_array_equal(back.voxels, volume.voxels[i::2])
        np.testing.assert_allclose(back.affine, item.affine)
        assert any("the series holds 2 phases" in w for w in back.provenance.warnings)
    for series_ in (None, "1.2.3"):
        with pytest.raises(InputError, match=r"choose one .*1\.2\.3#1 .*1\.2\.3#2 "):
            read(folder, series=series_)


def test_projections_are_apart_and_said(tmp_path):
    folder = series(tmp_path / "s", ct((8, 24, 20)), series_uid="1.2.3")

    def mip(dataset, i):
        if i > 5:
            dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL", "MIP"]

    items = find(change(folder, mip)).items
    assert [item.shape[0] for item in items] == [6, 2]
    assert any("projections" in w for w in items[1].warnings)
    assert not any("projections" in w for w in items[0].warnings)
