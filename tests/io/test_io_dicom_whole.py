"""Whether a DICOM series is one volume: refused in words, parted into phases, or left whole."""

from __future__ import annotations

import numpy as np
import pytest
from io_cases import change, ct, series

from tomochrome.errors import GeometryError, InputError
from tomochrome.io import find, read
from tomochrome.io.dicom.warning_capture import captured_warnings


def no_position(dataset, i):
    if i == 2:
        del dataset.ImagePositionPatient


def no_spacing(dataset, i):
    del dataset.PixelSpacing


def blank(dataset, i):
    dataset.RescaleSlope = "0"


def upside_down(dataset, i):
    dataset.RescaleSlope = "-1" if i == 3 else "1"


def huge_intercept(dataset, i):
    dataset.RescaleIntercept = "1e30"


def far_away(dataset, i):
    dataset.ImagePositionPatient = [1e300, 1e300, 1e300 * i]


def huge_pixels(dataset, i):
    dataset.PixelSpacing = [1e12, 1e12]


BROKEN = {
    "no position": (no_position, "unreadable", "1 of 7 slices have no usable"),
    "slope 0": (blank, "unreadable", "rescale slope of 0 would blank"),
    "one negative slope": (upside_down, "unreadable", "rescale slope of -1 would blank or invert"),
    "huge intercept": (huge_intercept, "unreadable", "intercept is invalid"),
    "a kilometre away": (far_away, "unreadable", "7 of 7 slices have no usable"),
    "huge pixels": (huge_pixels, "unreadable", "pixel spacing is invalid"),
    "no pixel spacing": (no_spacing, "unreadable", "pixel spacing is missing"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_one_volume_is_refused_in_words(tmp_path, case):
    edit, verdict, words = BROKEN[case]
    folder = change(series(tmp_path / "s"), edit)
    (item,) = find(folder).items
    assert item.verdict == verdict
    with pytest.raises(GeometryError, match=words) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    assert item.refusal in item.warnings


def test_truncated_pixels(tmp_path, shared_data):
    with pytest.raises(InputError, match="truncated"):
        read(shared_data / "dicom" / "odd" / "MR_truncated.dcm")
    for compress in (None, "j2k"):
        folder = series(tmp_path / f"s{compress}", ct((6, 40, 36)), compress=compress)
        victim = sorted(folder.iterdir())[4]
        victim.write_bytes(victim.read_bytes()[:-60])
        with pytest.raises(InputError, match="truncated"):
            read(folder, strict=True)
        assert read(folder).provenance.verdict == "incomplete"


def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path):
    def boast(dataset, i):
        dataset.Rows = dataset.Columns = 60000

    folder = change(series(tmp_path / "s"), boast)
    with pytest.raises(InputError, match="more than any CT has"):
        read(folder)


def tell(**values):
    def edit(dataset, i):
        for keyword, value in values.items():
            setattr(dataset, keyword, value(i))

    return edit


MIXED = {
    "acquisitions": tell(AcquisitionNumber=lambda i: 1 + i % 2),
    "overlapping acquisitions": tell(AcquisitionNumber=lambda i: int("1112121222"[i])),
    "temporal positions": tell(TemporalPositionIdentifier=lambda i: 1 + i % 3),
    "tube voltages": tell(KVP=lambda i: (80, 140)[i % 2]),
    "kernels": tell(ConvolutionKernel=lambda i: ("B30f", "B70f")[i % 2]),
    "content times": tell(ContentTime=lambda i: f"10{(0, 3)[i % 2]:02d}{i:02d}.25"),
    "three phases": tell(AcquisitionTime=lambda i: f"10{(0, 1, 7)[i % 3]:02d}00"),
    "heart beats": tell(TriggerTime=lambda i: (100.0, 700.0)[i % 2] + i),
}


@pytest.mark.parametrize("case", MIXED)
def test_phases_that_lie_between_each_other_are_parted(tmp_path, case):
    volume = ct((10, 24, 20))
    found = find(change(series(tmp_path / "s", volume), MIXED[case])).items
    count = 3 if case in ("temporal positions", "three phases") else 2
    assert [item.phase for item in found] == [f"{i + 1} of {count}" for i in range(count)]
    assert {item.series_uid for item in found} == {found[0].series_uid}
    assert [item.name[-2:] for item in found] == [f"#{i + 1}" for i in range(count)]
    with pytest.raises(InputError, match=f"holds {count} series; choose one.*#1 .*#2 "):
        read(tmp_path / "s")
    phases = [read(tmp_path / "s", series=item.name, as_stored=True) for item in found]
    words = f"the series holds {count} "
    assert all(any(words in w.text for w in p.provenance.warnings) for p in phases)
    if case != "overlapping acquisitions":
        for i, phase in enumerate(phases):
            np.testing.assert_array_equal(phase.voxels, volume.voxels[i::count])


STEADY = {
    "scan in steps": tell(
        AcquisitionNumber=lambda i: 9 - i // 2,
        AcquisitionTime=lambda i: f"10000{i // 2}",
        ContentTime=lambda i: f"1001{3 * (i // 2):02d}.{i % 2}",
    ),
    "one slice an acquisition": tell(
        AcquisitionNumber=lambda i: i, TriggerTime=lambda i: (i * 37) % 50
    ),
    "a slice that says nothing": tell(AcquisitionNumber=lambda i: None if i == 4 else 2),
    "feet first": tell(ContentTime=lambda i: f"1000{50 - 5 * i:02d}"),
    "made in no order": tell(
        ContentTime=lambda i: f"1000{(3, 14, 15, 9, 2, 6, 5, 35, 8, 7)[i]:02d}"
    ),
    "no times": tell(ContentTime=lambda i: "", AcquisitionTime=lambda i: "noon"[: 4 * (i % 2)]),
}


@pytest.mark.parametrize("case", STEADY)
def test_steady_numbers_and_times_are_one_volume(tmp_path, case):
    folder = series(tmp_path / "s", ct((10, 24, 20)))
    with captured_warnings():
        change(folder, STEADY[case])
    assert read(folder).shape == (10, 24, 20)
