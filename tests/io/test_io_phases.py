"""Phases of one series: told apart by what headers say, and left together where nothing does."""

from __future__ import annotations

from dataclasses import replace

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
