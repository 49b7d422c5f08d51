"""What stored pixels measure: slopes, lookup tables, padding, and the outside of a round field."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pixel_cases import PYDICOM, oracle, picture, plain

from tomochrome.errors import InputError
from tomochrome.io.dicom.header_reader import read_header
from tomochrome.io.dicom.pixels import read_slices
from tomochrome.io.dicom.rescale import DoesNotFitError, rescale


@settings(deadline=None, max_examples=80)
@given(
    stored=st.lists(st.integers(-32768, 32767), min_size=4, max_size=4),
    unsigned=st.booleans(),
    slope=st.integers(1, 40),
    intercept=st.integers(-40000, 40000),
)
def test_whole_factors_give_exact_int16_or_say_that_they_cannot(
    stored, unsigned, slope, intercept
) -> None:
    header = _template()
    values = np.array(stored, np.int16).reshape(2, 2)
    values = values.view(np.uint16) if unsigned else values
    exact = values.astype(np.int64) * slope + intercept
    out = np.empty((2, 2), np.int16)
    header = replace(header, slope=float(slope), intercept=float(intercept))
    try:
        outside = rescale(values.copy(), header, out)
    except DoesNotFitError:
        assert exact.min() < -32768 or exact.max() > 32767
        return
    kept = ~outside if outside is not None else np.ones((2, 2), bool)
    np.testing.assert_array_equal(out[kept], exact[kept])


_HEADER = []


def _template():
    if not _HEADER:
        path = PYDICOM / "CT_small.dcm"
        _HEADER.append(replace(read_header(path), padding=None))
    return _HEADER[0]


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_hounsfield_units_do_not_depend_on_how_they_are_shown(tmp_path, kind) -> None:
    values = picture()
    header = plain(
        tmp_path, values, bits=12, PhotometricInterpretation=kind, RescaleIntercept=-1024
    )
    np.testing.assert_array_equal(read_slices([header]).voxels[0], values.astype(int) - 1024)


def test_fractions_and_changing_slopes_become_floats(tmp_path: Path) -> None:
    values = picture()
    headers = [
        plain(tmp_path, values, bits=12, name=f"{i}", RescaleSlope=slope, RescaleIntercept=b)
        for i, (slope, b) in enumerate([("1", "-1024"), ("0.5", "-512.25")])
    ]
    slices = read_slices(headers)
    assert slices.voxels.dtype == np.float32
    np.testing.assert_array_equal(slices.voxels[0], values - 1024.0)
    np.testing.assert_array_equal(slices.voxels[1], values * 0.5 - 512.25)
    whole = read_slices([headers[0], replace(headers[1], slope=2.0, intercept=-1000.0)])
    assert whole.voxels.dtype == np.int16
    np.testing.assert_array_equal(whole.voxels[1], values.astype(int) * 2 - 1000)


def test_a_lookup_table_is_applied(tmp_path: Path) -> None:
    values = picture(8)
    item = pydicom.Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [100, 50, 16], "US"
    table = (np.arange(100) ** 2 * 3).astype(np.uint16)
    item.LUTData = table.tolist()
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    header = plain(tmp_path, values, bits=8, ModalityLUTSequence=[item])
    expected = table[np.clip(values.astype(int) - 50, 0, 99)]  # PS3.3 C.11.1.1.1
    voxels = read_slices([header]).voxels
    np.testing.assert_array_equal(voxels[0], expected)
    assert voxels.dtype == np.int16
    item.LUTData = item.LUTData[:10]
    with pytest.raises(InputError, match="lookup table"):
        read_slices([plain(tmp_path, values, bits=8, name="torn", ModalityLUTSequence=[item])])


def round_field(value: int, radius: float = 20.0, centre: tuple[float, float] = (19.5, 19.5)):
    y, x = np.mgrid[:40, :40]
    outside = np.hypot(y - centre[0], x - centre[1]) > radius
    body = picture(12, shape=(40, 40)).astype(np.int16) - 1024
    return np.where(outside, value, np.clip(body, -1024, 3071)).astype(np.int16), outside


@pytest.mark.parametrize("value", [-2000, -2048, -3024, -1025])
@pytest.mark.parametrize("radius", [17.0, 20.0, 24.0])
def test_the_outside_of_a_round_field_is_air_and_marked(tmp_path, value, radius) -> None:
    values, outside = round_field(value, radius)
    header = plain(tmp_path, values)
    slices = read_slices([header, replace(header, frame=0)])
    assert slices.outside is not None
    np.testing.assert_array_equal(slices.outside, [outside, outside])
    assert (slices.voxels[slices.outside] == -1024).all()
    np.testing.assert_array_equal(slices.voxels[0][~outside], values[~outside])


def not_low_enough(values, outside):
    values[outside] = -1024


def another_corner(values, outside):
    values[0, 0] = -2001


def noise(values, outside):
    values[outside] += np.arange(outside.sum(), dtype=np.int16) % 2


def hole(values, outside):
    values[20, 20] = values[0, 0]


def square(values, outside):
    values[:] = 0
    values[:3] = values[-3:] = values[:, :3] = values[:, -3:] = -2000


@pytest.mark.parametrize("edit", [not_low_enough, another_corner, noise, hole, square])
def test_what_is_not_surely_the_outside_of_a_circle_stays(tmp_path, edit) -> None:
    values, outside = round_field(-2000)
    edit(values, outside)
    slices = read_slices([plain(tmp_path, values)])
    assert slices.outside is None
    np.testing.assert_array_equal(slices.voxels[0], values)


def test_padding_is_marked_and_only_then_a_mask_is_made(tmp_path: Path) -> None:
    values, outside = round_field(-2000, centre=(15, 22))
    tags = {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}
    first = plain(tmp_path, values, name="0", **tags)
    second = plain(tmp_path, np.maximum(values, -1000), name="1")
    slices = read_slices([first, second])
    assert slices.outside is not None
    np.testing.assert_array_equal(slices.outside, [outside, np.zeros_like(outside)])
    assert (slices.voxels[slices.outside] == -1024).all()
    assert read_slices([second]).outside is None
    blank = plain(tmp_path, np.full((40, 40), -2000, np.int16), name="2", **tags)
    slices = read_slices([blank])
    assert slices.outside is not None
    assert slices.outside.all()
    assert (slices.voxels == -1024).all()


def test_padding_does_not_decide_which_values_fit(tmp_path: Path) -> None:
    values, _ = round_field(-32768)
    header = plain(tmp_path, values, PixelPaddingValue=-32768, RescaleIntercept=-1024)
    assert read_slices([header]).voxels.dtype == np.int16


def test_the_real_round_field(shared_data: Path) -> None:
    path = shared_data / "dicom" / "syntaxes" / "TOSHIBA_J2K_SIZ0_PixRep1.dcm"
    slices = read_slices([read_header(path)])
    raw = oracle(path)
    assert raw.min() == -2048
    if slices.outside is None:
        assert slices.voxels.min() == -2048
    else:
        np.testing.assert_array_equal(slices.outside[0], raw == -2048)


@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("corner", [-2000, -2048, -3024])
def test_the_outside_of_a_round_field_is_found_also_after_lossy_compression(
    tmp_path, corner, lossy
) -> None:
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:64, :64] - 31.5
    outside = np.hypot(y, x) > 32
    hu = np.where(np.hypot(y, x) < 24, 40, -1000) + rng.normal(0, 6, (64, 64))
    hu = np.where(outside, corner, np.rint(hu))
    noise = np.rint(rng.normal(0, 8, hu.shape)) if lossy else 0
    tags = {"LossyImageCompression": "01"} if lossy else {}
    header = plain(tmp_path, (hu + noise + 1024).astype(np.int16), RescaleIntercept=-1024, **tags)
    slices = read_slices([header])
    np.testing.assert_array_equal(slices.outside[0], outside)
    assert (slices.voxels[0][outside] == -1024).all()
    np.testing.assert_array_equal(slices.voxels[0][~outside], (hu + noise)[~outside])


def test_noise_in_the_corners_of_an_exact_image_is_no_outside(tmp_path) -> None:
    rng = np.random.default_rng(4)
    values = np.rint(rng.normal(-2000, 8, (40, 40))).astype(np.int16)
    header = plain(tmp_path, values, RescaleIntercept=0, RescaleSlope=1)
    assert read_slices([header]).outside is None
