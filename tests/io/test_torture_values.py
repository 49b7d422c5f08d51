"""However values are stored, the same Hounsfield units come out; what was not scanned is marked."""

from __future__ import annotations

import numpy as np
import pytest
import torture as T
from torture_cases import AIR, base, said, settled, single

from tomochrome.io import find, read
from tomochrome.volume import Volume


@pytest.mark.parametrize("syntax", T.SYNTAXES)
def test_every_way_of_storing_gives_the_same_voxels(tmp_path, syntax):
    settled(*single(T.save(base()[:4], tmp_path / "s", syntax=T.SYNTAXES[syntax])),
            Volume(T.scan().voxels[:4], T.scan().affine, "HU"))  # fmt: skip


def test_ways_of_storing_mixed_within_a_series(tmp_path):
    datasets = base()
    for i, syntax in enumerate(T.SYNTAXES.values()):
        T.save(datasets[3 * i : 3 * i + 3], tmp_path / "s", syntax=syntax, start=3 * i)
    T.save(datasets[21:], tmp_path / "s", start=21)
    settled(*single(tmp_path / "s"))


def test_slope_and_intercept_that_change(tmp_path):
    datasets = base()
    for i, d in enumerate(datasets):
        hu = T.stored(d) - 1024
        slope = 1 if i % 2 else 2
        even = hu - hu % 2
        d.RescaleSlope, d.RescaleIntercept = str(slope), str(-1000 - 2 * i)
        T.put(d, (even + 1000 + 2 * i) // slope)
    item, volume = single(T.save(datasets, tmp_path / "s"))
    voxels = T.scan().voxels
    settled(item, volume, Volume(voxels - voxels % 2, T.scan().affine, "HU"))


def test_a_slope_that_is_no_whole_number(tmp_path):
    datasets = T.slices(T.scan())
    expected = np.empty(T.SHAPE)
    for i, d in enumerate(datasets):
        d.RescaleSlope, d.RescaleIntercept = "0.37", "-1024.5"
        expected[i] = T.stored(d) * 0.37 - 1024.5
    item, volume = single(T.save(datasets, tmp_path / "s"))
    assert (item.unit, item.verdict) == ("HU", "regular")
    assert volume.voxels.dtype == np.float32
    np.testing.assert_allclose(volume.voxels, expected, atol=1e-3)


def test_monochrome1_keeps_its_hounsfield_units(tmp_path):
    """PS3.3 C.7.6.3.1.2: it says how a value is shown, not what was measured."""
    datasets = T.slices(T.scan(), PhotometricInterpretation="MONOCHROME1")
    item, volume = single(T.save(datasets, tmp_path / "s"))
    settled(item, volume)


def test_padding_and_its_range_become_air_and_are_marked(tmp_path):
    datasets = base()
    mask = np.zeros(T.SHAPE, bool)
    mask[:, :5] = True
    mask[:, :, -2:] = True
    rng = np.random.default_rng(0)
    for i, d in enumerate(datasets):
        stored = T.stored(d)
        stored[mask[i]] = rng.integers(-2010, -1999, mask[i].sum())
        T.put(d, stored)
        d.add_new("PixelPaddingValue", "SS", -2000)
        d.add_new("PixelPaddingRangeLimit", "SS", -2010)
    item, volume = single(T.save(datasets, tmp_path / "s"))
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.outside, mask)
    assert (volume.voxels[mask] == AIR).all()
    np.testing.assert_array_equal(volume.voxels[~mask], T.scan().voxels[~mask])
    assert item.verdict == "regular"


@pytest.mark.parametrize("value", [-2000, -2048 + 1024, -3024])
def test_what_lies_out_of_the_round_field_becomes_air_and_is_marked(tmp_path, value):
    """A padding that is not declared: the corners round the circle hold one value below air."""
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    corners = np.hypot(y, x) > 1.02
    datasets = base()
    for d in datasets:
        stored = T.stored(d)
        stored[corners] = value + 0  # as the scanner stores it, far below -1024 HU
        T.put(d, stored)
    _, volume = single(T.save(datasets, tmp_path / "s"))
    mask = np.broadcast_to(corners, T.SHAPE)
    assert volume.outside is not None
    np.testing.assert_array_equal(volume.outside, mask)
    assert (volume.voxels[mask] == AIR).all()
    np.testing.assert_array_equal(volume.voxels[~mask], T.scan().voxels[~mask])


def test_without_rescale_there_are_no_hounsfield_units(tmp_path):
    datasets = base()
    for d in datasets:
        del d.RescaleSlope, d.RescaleIntercept, d.RescaleType
    (item,) = find(T.save(datasets, tmp_path / "s")).items
    assert (item.unit, item.verdict) == ("unknown", "not-ct")
    said(item, "rescale", "Hounsfield")
    np.testing.assert_array_equal(read(item).voxels, T.scan().voxels + 1024)
