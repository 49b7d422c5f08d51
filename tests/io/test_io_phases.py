"""Phases of one series: told apart by what headers say, and left together where nothing does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from group_cases import coronal, header, names, of, stack, told
from hypothesis import given, settings
from hypothesis import strategies as st
from io_cases import change, ct, series

from effort import calls_of
from tomochrome.errors import InputError
from tomochrome.io import find, read
from tomochrome.io.dicom.group import group
from tomochrome.io.dicom.series import describe

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
        assert note.text.startswith("the series holds 3 ")
        assert note.text.endswith(f"this is the {ordinal}")
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
    assert "temporal position and reconstruction kernel" in found[0].notes[0].text


def test_copies_of_a_file_are_no_phase():
    slices = stack()
    copies = [replace(h, path=h.path.parent / "copy" / h.path.name) for h in slices[2:5]]
    (found,) = group([*slices, *copies])
    assert len(found.headers) == 13
    assert any("left out: 3" in w.text for w in describe(found).warnings)


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


MIXED = {
    "the same numbers": lambda p, i: {"instance": i + 1},
    "no numbers": lambda p, i: {"instance": None},
    "times at random": lambda p, i: {
        "times": (("AcquisitionTime", float((7 * i + 5 * p) % 11)),), "instance": i + 1,
    },
    "the same time": lambda p, i: {"times": (("AcquisitionTime", 100.0),), "instance": 1},
}  # fmt: skip


@pytest.mark.parametrize("by", MIXED)
@pytest.mark.parametrize(("shift", "slices"), [(0.0, 10), (0.0, 6), (1.0, 10)])
def test_phases_that_nothing_tells_apart_are_never_mixed(by, shift, slices):
    if shift and "same numbers" not in by:
        pytest.skip("only geometry tells: half the distance is a regular volume")
    whole, further = (
        [
            replace(h, **MIXED[by](p, i))
            for i, h in enumerate(stack(n, start=shift * p, tag=f"p{p}-"))
        ]
        for p, n in enumerate((10, slices))
    )
    every = [*whole, *further]
    np.random.default_rng(1).shuffle(every)
    for found in group(every):
        assert describe(found).refusal or of(found.headers) in (of(whole), of(further))


def test_interleaved_numbers_are_two_acquisitions():
    both = [stack(start=p, tag=f"p{p}-", instance=lambda i, p=p: 10 * p + i) for p in range(2)]
    (found,) = group([*both[0], *both[1]])
    assert "InstanceNumber alternates between 2 acquisitions" in str(describe(found).refusal)
    backwards = stack(20, instance=lambda i: 20 - i)
    restarted = [*stack(instance=lambda i: i), *stack(start=20.0, tag="b", instance=lambda i: i)]
    for one in (backwards, restarted, stack(instance=1)):
        assert describe(*group(one)).verdict == "regular"


WIPED = {
    "numbers": lambda i: {"instance": i},
    "times": lambda i: {"times": (("AcquisitionTime", 100.0 + 2 * i),), "instance": i},
    "acquisitions": lambda i: {"acquisition": told(AcquisitionNumber=i), "instance": i},
    "temporal positions": lambda i: {"acquisition": told(TemporalPositionIdentifier=i)},
    "two kernels": lambda i: {"acquisition": told(ConvolutionKernel=f"B{i % 2}"), "instance": i},
}


@pytest.mark.parametrize("by", WIPED)
@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (-125.0, -125.0, 0.0)])
def test_slices_whose_positions_were_wiped_are_no_phases(by, place):
    if by == "temporal positions" and any(place):
        pytest.skip("said to be the phases of one slice")
    slices = [replace(h, position=place, **WIPED[by](i)) for i, h in enumerate(stack(12))]
    (found,) = group(slices)
    assert "all 12 images have the same position" in str(describe(found).refusal)


def test_slices_of_which_some_lost_their_positions_are_refused():
    slices = [
        replace(h, position=(0.0, 0.0, 0.0), acquisition=told(AcquisitionNumber=i)) if i % 3 else h
        for i, h in enumerate(stack(12, start=10.0))
    ]
    assert all(describe(found).refusal for found in group(slices))


def test_phases_of_one_slice_are_split_where_the_header_says_so():
    slices = [
        replace(h, position=(-20.0, -20.0, 5.0), acquisition=told(TemporalPositionIdentifier=i))
        for i, h in enumerate(stack(4))
    ]
    assert len(group(slices)) == 4


def test_the_same_images_under_other_uids_are_copies(tmp_path):
    (tmp_path / "s").mkdir()
    first = series(tmp_path / "s" / "a", ct(), series_uid="1.2.3")
    second = Path(shutil.copytree(first, tmp_path / "s" / "b"))
    change(second, lambda d, i: setattr(d, "SOPInstanceUID", f"1.9.{i}"))
    (item,) = find(tmp_path / "s").items
    assert item.refusal is None
    assert any("repeat the position of another: 7" in w.text for w in item.warnings)
    np.testing.assert_array_equal(read(tmp_path / "s").voxels, read(first).voxels)


CASES = Path(__file__).parents[3] / "shared" / "data" / "cases"


@pytest.mark.parametrize(
    ("name", "said"),
    [("02_mixed_phases", "20 different images"), ("21_positions_wiped", "all 12 images"),
     ("16_thin_slices_missing", "slices are missing: 1")],
)  # fmt: skip
def test_the_reported_cases(name, said):
    if not (CASES / name).exists():
        pytest.skip(f"{name} is not here")
    for item in find(CASES / name / "series").items:
        assert said in item.warnings[0].text
        assert item.verdict != "regular"


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


def phases_in_time(count):
    return [
        h
        for p in range(count)
        for h in stack(300, tag=f"{p}-", times=lambda i, p=p: (("ContentTime", 50.0 * p + i / 9),))
    ]


def test_twice_the_phases_are_twice_the_work():
    assert [len(g.headers) for g in group(phases_in_time(20))] == [300] * 20
    few, many = (
        calls_of(lambda every=every: group(every)) for every in map(phases_in_time, (10, 20))
    )
    assert many < 2.2 * few


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
        assert any("the series holds 2 phases" in w.text for w in back.provenance.warnings)
    for series_ in (None, "1.2.3"):
        with pytest.raises(InputError, match=r"choose one .*1\.2\.3#1 .*1\.2\.3#2 "):
            read(folder, series=series_)
