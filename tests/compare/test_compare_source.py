"""Resampling of regions of a volume to another grid, compared with SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
from compare_cases import AFFINE, SHAPE, ct, keys, near, rgba
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from tomochrome.color import Chroma, Lighting, LitVolume, light
from tomochrome.compare import Checkerboard, CheckerboardSettings, Pair
from tomochrome.compare.region import Region, split
from tomochrome.compare.source import Source, as_volume
from tomochrome.errors import GeometryError, InputError, OptionError
from tomochrome.geometry import resample
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume, default_affine

GRID = ct()
ALL, _ = split((), SHAPE)


class Lazy:
    """Voxels that are not an array, and record their accesses."""

    def __init__(self, voxels: np.ndarray) -> None:
        self.voxels, self.asked = voxels, 0
        self.shape, self.dtype, self.ndim = voxels.shape, voxels.dtype, voxels.ndim

    def __getitem__(self, key: object) -> np.ndarray:
        part = self.voxels[key]
        self.asked += part.size
        return part


def away_from_ties(volume: Volume) -> np.ndarray:
    """Return the voxels of the grid that are not so close to an edge that rounding decides."""
    matrix = np.linalg.inv(volume.affine) @ GRID.affine
    index = np.indices(SHAPE).reshape(3, -1)
    place = (matrix[:3, :3] @ index + matrix[:3, 3:]).reshape(3, *SHAPE)
    return (np.abs(place - np.floor(place) - 0.5) > 1e-4).all(0)


@settings(deadline=None, max_examples=30)
@given(
    near((6, 5, 8)),
    st.sampled_from(["linear", "nearest"]),
    st.booleans(),
    st.sampled_from([np.int16, np.float32]),
    st.booleans(),
)
def test_it_is_what_simpleitk_resamples(affine, order, holes, dtype, lazy) -> None:
    outside = np.random.default_rng(3).random((6, 5, 8)) < 0.3 if holes else None
    volume = ct((6, 5, 8), affine, 4, dtype, outside=outside)
    expected = resample(volume, GRID, order=order)
    if lazy:
        volume = Volume(Lazy(volume.voxels), affine, outside=outside)  # type: ignore[arg-type]
    values, missing = Source(volume, GRID, order).read(ALL)
    sure = away_from_ties(volume)
    assert values.dtype == dtype
    missing = np.zeros(SHAPE, bool) if missing is None else missing
    known = np.zeros(SHAPE, bool) if expected.outside is None else expected.outside
    weighed = order == "linear" and holes  # half of the weight: rounding may differ
    assert ((missing == known) | ~sure).mean() > (0.97 if weighed else 0.9999)
    assert (values[missing] == -1024).all()
    sure &= ~missing & ~known
    # Integers may be rounded differently where the mean ends in one half.
    allowed = 1 if dtype == np.int16 else 0.02
    np.testing.assert_allclose(values[sure], expected.voxels[sure], atol=allowed, rtol=0)


@settings(deadline=None, max_examples=25)
@given(near((6, 5, 8)), st.sampled_from(["linear", "nearest"]))
def test_opaque_color_is_what_simpleitk_resamples(affine, order) -> None:
    volume = rgba((6, 5, 8), affine, opaque=True)
    expected = np.asarray(resample(volume, GRID, order=order).voxels)
    values, _ = Source(volume, GRID, order).read(ALL)
    sure = away_from_ties(volume)
    assert np.abs(values[sure].astype(int) - expected[sure]).max(initial=0) <= 1


def test_what_is_clear_tints_nothing() -> None:
    voxels = np.zeros((1, 1, 4, 4), np.uint8)
    voxels[0, 0, :2] = (200, 100, 50, 255)
    shifted = AFFINE.copy()
    shifted[:3, 3] -= shifted[:3, 2] / 2
    grid = Volume(np.zeros((1, 1, 4)), shifted)
    values, missing = Source(Volume(voxels, AFFINE, "RGBA"), grid).read(split((), (1, 1, 4))[0])
    assert missing is None
    np.testing.assert_array_equal(values[0, 0, 2], (200, 100, 50, 128))
    np.testing.assert_array_equal(values[0, 0, 3], 0)


@settings(deadline=None, max_examples=40)
@given(near((6, 5, 8)), st.data())
def test_a_region_is_a_part_of_the_whole(affine, data) -> None:
    source = Source(ct((6, 5, 8), affine, 4), GRID)
    whole, missing = source.read(ALL)
    region, _ = split(data.draw(keys(SHAPE)), SHAPE)
    part, gone = source.read(region)
    np.testing.assert_array_equal(part, whole[region.slices])
    if missing is not None and part.size:
        gone = np.zeros(part.shape, bool) if gone is None else gone
        np.testing.assert_array_equal(gone, missing[region.slices])


def test_only_the_slices_needed_are_read_and_they_are_kept() -> None:
    affine = AFFINE.copy()
    affine[2, 3] += 2.0
    lazy = Lazy(ct(seed=9).voxels)
    board = Checkerboard(Pair(GRID, Volume(lazy, affine)), CheckerboardSettings(5))  # type: ignore[arg-type]
    before = lazy.asked
    first = board[2]
    assert 0 < lazy.asked - before <= 5 * 9 * 7
    before = lazy.asked
    board.settings = CheckerboardSettings(6.5)
    again = board[2]
    assert lazy.asked == before
    assert (first != again).any()


def test_the_cache_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomochrome.compare.source.CACHE_BYTES", 600)
    source = Source(ct((6, 5, 8), AFFINE, 4), GRID)
    for z in (*range(5), *range(5)):
        source.read(Region((range(z, z + 1), range(9), range(7))))
        assert source._bytes <= 600
        assert source._bytes == sum(
            v.nbytes for _, kept in source._cache.values() for v in kept if v is not None
        )


def test_a_lit_view_stays_lazy_and_is_lit_anew() -> None:
    volume = ct((6, 5, 8), AFFINE, 4)
    code = np.full(volume.shape, Tissue.LIVER, np.uint16)
    chroma = Chroma(code, np.full(volume.shape, 255, np.uint8), np.eye(26, dtype="f4"), AFFINE)
    lit = LitVolume(volume, chroma, Lighting(window="lung", alpha="opaque"))
    pair = Pair(GRID, lit)
    assert not pair.numbers
    assert (
        pair.windows[0] == lit.settings.window
    )  # that of the colored volume, so that equal values look equal
    expected = resample(light(volume, chroma, "lung", alpha="opaque"), GRID)
    view = Checkerboard(pair, CheckerboardSettings(1e6, (1e6, 0, 0)))
    np.testing.assert_allclose(np.asarray(view).astype(int), expected.voxels, atol=1)
    before = view[1]
    lit.settings = lit.settings.replace(window="bone")
    assert (view[1] != before).any()


def test_the_colored_twin_of_a_file_says_its_window() -> None:
    code, confidence = np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, np.uint8)
    chroma = Chroma(code, confidence, np.eye(26, dtype="f4"), AFFINE)
    twin = light(GRID, chroma, "-600/1500", alpha="opaque")
    windows = Pair(GRID, twin).windows
    assert windows[0] is not None
    assert (windows[0].center, windows[0].width) == (-600, 1500)
    assert windows[1] is None
    # A CT looks like its colored version without chroma.
    np.testing.assert_array_equal(np.asarray(Checkerboard(Pair(GRID, twin))), twin.voxels)


def test_windows_by_unit() -> None:
    other = ct(unit="unknown", seed=8)
    hu, free = Pair(GRID, other).windows
    assert hu is not None
    assert free is not None
    assert hu.name == "soft-tissue"
    assert free.name == "auto"
    hu, free = Pair(GRID, other, window="lung").windows
    assert hu is not None
    assert (hu.name, free.name) == ("lung", "auto")
    pair = Pair(other, other, window=("10/20", "30/40"))
    assert [w.center for w in pair.windows] == [10, 30]
    pair.windows = "50/60"
    assert [w.center for w in pair.windows] == [50, 50]
    same = Pair(GRID, ct(seed=3), window="auto").windows
    assert same[0] == same[1]


def test_what_cannot_be_compared() -> None:
    far = AFFINE.copy()
    far[:3, 3] += 5000
    with pytest.raises(GeometryError, match="do not overlap in space"):
        Pair(GRID, ct(affine=far))
    with pytest.raises(InputError, match="needs two volumes, not a ndarray"):
        as_volume(GRID.voxels)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="linear or nearest"):
        Pair(GRID, GRID, order="cubic")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="unknown window"):
        _ = Pair(GRID, GRID, window="nowhere").windows
    with pytest.raises(OptionError, match="one for each volume"):
        _ = Pair(GRID, GRID, window=("lung",) * 3).windows  # type: ignore[arg-type]


@pytest.mark.parametrize("first", [0, 10, 15, 304, 595])
def test_a_thin_slab_within_a_long_scan_is_found(first) -> None:
    """Even if it is between all points at which the coverage is estimated."""
    long = Volume(np.zeros((600, 4, 4), np.int16), default_affine((1.0, 1.0, 1.0)), "HU")
    slab = default_affine((1.0, 1.0, 1.0), (0.0, 0.0, float(first)))
    pair = Pair(long, Volume(np.ones((4, 4, 4), np.int16), slab, "HU"))
    assert pair.coverage < 0.02
    said = "less than 1 %" if pair.coverage == 0 else "only 2 %"
    assert f"covers {said} of the first one's field of view" in pair.warnings[0].text
    assert pair.read("b", Region((range(first, first + 4), range(4), range(4)))).all()


@given(near(), st.tuples(*[st.floats(-14, 14)] * 3))
@settings(max_examples=60, deadline=None)
def test_boxes_meet_where_linear_programming_finds_a_common_point(affine, shift) -> None:
    moved = affine.copy()
    moved[:3, 3] += shift
    there = ct(affine=moved)
    # Indices of a point in both: A i - B j = b - a, within the voxels' outer faces.
    equal = np.hstack([AFFINE[:3, :3], -moved[:3, :3]])
    bounds = [(-0.5, n - 0.5) for n in (*SHAPE, *SHAPE)]
    found = linprog(np.zeros(6), A_eq=equal, b_eq=moved[:3, 3] - AFFINE[:3, 3], bounds=bounds)
    try:
        Pair(GRID, there)
    except GeometryError:
        assert not found.success
    else:
        assert found.success


def test_other_number_types_are_read_as_numbers() -> None:
    shifted = AFFINE.copy()
    shifted[:3, 3] += 1.0
    for dtype, read in ((np.bool_, np.uint8), (np.float16, np.float32), (">i2", np.int16)):
        volume = Volume((ct().voxels > 0).astype(dtype), shifted, "unknown")
        values, _ = Source(volume, GRID).read(ALL)
        assert values.dtype == read
        assert Source(volume, volume).read(ALL).values.dtype == read
    unsigned = Volume(np.ones((2, 2, 2), np.uint16), shifted)
    assert Source(unsigned, GRID).fill == 0


@pytest.mark.parametrize("key", [(0, 0, 0, 0), 9, -6, "a", 1.5, None, (..., ...), [1]])
def test_indices_that_are_none(key: object) -> None:
    with pytest.raises(IndexError):
        Checkerboard(Pair(GRID, GRID))[key]
