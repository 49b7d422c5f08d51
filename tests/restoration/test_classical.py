"""Filling without a network, against NumPy, SciPy and what was there before the damage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.interpolate import CubicSpline

from tomochrome.restoration import classical
from tomochrome.restoration.defects import KINDS, MetalReduction
from tomochrome.restoration.projection import Projector
from tomochrome.restoration.rules import MIN_SIGNIFICANCE
from tomochrome.restoration.simulation import KERNEL_PX, add_metal, add_rings

PIXEL_MM = 2.5
SHAPE = (5, 112, 120)
Y, X = np.mgrid[: SHAPE[1], : SHAPE[2]] - np.array([[[55.5]], [[59.5]]])


def rng(seed: int = 4) -> np.random.Generator:
    return np.random.default_rng(seed)


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt((difference**2).mean()))


@pytest.fixture(scope="module")
def body() -> np.ndarray:
    """Water with organs in air, off the center, with some noise."""
    hu = np.where(((Y - 3) / 44) ** 2 + ((X + 4) / 54) ** 2 < 1, 40.0, -1000.0)
    hu[((Y - 20) / 9) ** 2 + (X / 10) ** 2 < 1] = 500
    hu[((Y + 12) / 12) ** 2 + ((X - 22) / 17) ** 2 < 1] = 100
    hu = ndimage.gaussian_filter(hu, 0.5) + rng().normal(0, 4, SHAPE)
    return np.asarray(hu, np.float32)


def test_metal_has_three_voxels() -> None:
    hu = np.zeros((2, 6, 6), np.float32)
    hu[0, 1, 1:3] = hu[1, 4, 4] = 3000
    assert not classical.metal_mask(hu).any()
    hu[1, 1, 1] = 2500
    assert np.argwhere(classical.metal_mask(hu)).tolist() == [[0, 1, 1], [0, 1, 2], [1, 1, 1]]


def test_interpolation_over_the_trace_of_metal_reduces_its_streaks(body: np.ndarray) -> None:
    where = np.zeros(SHAPE, np.bool_)
    where[2, 54:57, 32:35] = where[2, 54:57, 85:88] = True
    damaged = add_metal(body, where, "titanium", PIXEL_MM, rng()).hu
    filled = classical.interpolate_sinogram(damaged, classical.metal_mask(damaged), PIXEL_MM)
    streaks = ~where[2] & (body[2] > -500)
    assert rms((filled - body)[2][streaks]) < 0.5 * rms((damaged - body)[2][streaks])
    assert np.array_equal(filled[where], damaged[where])
    assert np.array_equal(filled[[0, 1, 3, 4]], damaged[[0, 1, 3, 4]])


def test_a_prior_keeps_the_bone_beside_metal(body: np.ndarray) -> None:
    hu = body.copy()
    bone = ((Y - 3) / 12) ** 2 + ((X + 25) / 14) ** 2 < 1
    hu[:, bone & (((Y - 3) / 9) ** 2 + ((X + 25) / 11) ** 2 > 1)] = 1200  # a shell
    where = np.zeros(SHAPE, np.bool_)
    where[2, 57:60, 32:35] = True
    damaged = add_metal(hu, where, "amalgam", PIXEL_MM, rng()).hu
    metal = classical.metal_mask(damaged)
    judged = ~ndimage.binary_dilation(metal[2], iterations=2) & (body[2] > -500)
    prior = ndimage.gaussian_filter(hu, (0, 0.6, 0.6)) + 30  # blurred, and too dense
    plain, best, kept = (
        classical.interpolate_sinogram(damaged, metal, PIXEL_MM, prior=p) for p in (None, hu, prior)
    )
    error = [rms((filled - hu)[2][judged]) for filled in (damaged, prior, plain, best, kept)]
    assert error[3] < 0.3 * error[2]
    assert error[4] < 0.8 * min(error[:3])
    assert np.array_equal(kept[metal], damaged[metal])
    assert np.array_equal(kept[[0, 1, 3, 4]], damaged[[0, 1, 3, 4]])
    changed = np.where(metal, 9000.0, prior)  # what a prior has at the metal does not count
    same = classical.interpolate_sinogram(damaged, metal, PIXEL_MM, prior=changed)
    np.testing.assert_allclose(same, kept, atol=0.01)


def test_the_edge_of_the_field_is_no_ring(body: np.ndarray) -> None:
    hu = np.where(body < -500, -940 + rng().normal(0, 5, SHAPE), body)
    hu[:, np.hypot(Y, X) > 46] = -1024
    assert classical.estimate_rings(hu).significance < MIN_SIGNIFICANCE


def test_an_earlier_result_is_used_where_slices_and_metal_are_the_same(
    body: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    metal = np.zeros(SHAPE, np.bool_)
    metal[1:4, 54:57, 32:35] = True
    hu = np.where(metal, np.float32(3000), body)
    expected = classical.interpolate_sinogram(hu, metal, PIXEL_MM)
    earlier = MetalReduction(hu.copy(), metal.copy(), expected)
    earlier.before[2, 0, 0] += 1
    projected = []
    project = Projector.project
    monkeypatch.setattr(
        Projector,
        "project",
        lambda self, images, *where: projected.append(len(images)) or project(self, images, *where),
    )
    again = classical.interpolate_sinogram(hu, metal, PIXEL_MM, earlier)
    assert projected == [1, 1]  # metal and HU of the slice that differs
    np.testing.assert_allclose(again, expected, atol=0.01)


def test_slices_are_interpolated_as_by_numpy_and_scipy() -> None:
    hu = rng().normal(0, 100, (7, 3, 4)).astype(np.float32)
    missing = np.array([False, False, True, True, False, False, False])
    good = np.flatnonzero(~missing)
    linear = classical.interpolate_slices(hu, missing)
    cubic = classical.interpolate_slices(hu, missing, 3)
    for y, x in np.ndindex(3, 4):
        at = hu[good, y, x]
        assert linear[missing, y, x] == pytest.approx(np.interp([2, 3], good, at), abs=1e-3)
        spline = CubicSpline(good[:4], at[:4], bc_type="natural")
        assert cubic[missing, y, x] == pytest.approx(spline([2, 3]), abs=1e-3)
    assert np.array_equal(linear[good], hu[good]) and np.array_equal(cubic[good], hu[good])


@pytest.mark.parametrize("order", [1, 3])
def test_beyond_the_last_slice_its_values_are_repeated(order: int) -> None:
    hu = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((5, 2, 2), np.float32)
    missing = np.array([True, False, False, False, True])
    filled = classical.interpolate_slices(hu, missing, order)  # type: ignore[arg-type]
    assert filled[:, 0, 0].tolist() == [1, 1, 2, 3, 3]


def test_lines_are_interpolated_where_they_are_lost() -> None:
    ramp = np.arange(8, dtype=np.float32)[:, None] * np.ones((8, 6), np.float32)
    hu, lost = np.stack([ramp, ramp]), np.zeros((2, 8, 6), np.bool_)
    lost[0, 3:5] = lost[0, 6, :2] = lost[0, 0] = True
    damaged = np.where(lost, 3071, hu).astype(np.float32)
    filled = classical.interpolate_lines(damaged, lost)
    assert filled[0, 1:] == pytest.approx(hu[0, 1:])
    assert filled[0, 0] == pytest.approx(hu[0, 1])  # at the edge the next row is repeated
    everything = classical.interpolate_lines(damaged, np.ones_like(lost))
    assert np.array_equal(everything, damaged)


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_rings_are_removed_from_slices_that_show_anatomy(body: np.ndarray, seed: int) -> None:
    damaged = add_rings(body, PIXEL_MM, rng(seed), 4, 0.08)
    filled = classical.remove_rings(damaged.hu)
    inside = damaged.mask & (body > -500)
    assert inside.sum() > 100
    assert rms((filled - body)[inside]) < 0.4 * rms((damaged.hu - body)[inside])
    assert classical.estimate_rings(damaged.hu).significance > 5


def test_slices_without_rings_stay_as_they_are(body: np.ndarray) -> None:
    assert classical.estimate_rings(body).significance < 5
    assert np.abs(classical.remove_rings(body) - body).max() < 5
    air = np.full((2, 40, 50), -1000, np.float32)
    assert np.array_equal(classical.remove_rings(air), air)


def test_the_ring_of_an_element_is_that_of_the_projector() -> None:
    projector = Projector((96, 96), 400, KERNEL_PX)
    middle = (projector.n_detectors - 1) / 2
    element = int(middle + 20)
    gain = np.zeros(projector.n_detectors)
    gain[element] = gain[projector.n_detectors - 1 - element] = 1
    image = projector.reconstruct(np.repeat(gain[None], 400, 0))
    y, x = np.mgrid[:96, :96] - 47.5
    radius = np.hypot(y, x)
    ring = classical._rings_of_elements(48)[:, classical._radii(48) == element - middle]
    expected = np.interp(2 * radius, np.arange(96), ring[:, 0])
    inside = (radius > 4) & (radius < 46)
    assert rms((image - expected)[inside]) < 0.2 * rms(image[inside])


def test_all_kinds_are_filled_in_their_places_only(body: np.ndarray) -> None:
    hu, code = body.copy(), np.zeros(SHAPE, np.uint8)
    hu[1], code[1] = -1024, KINDS.index("missing") + 1
    hu[3, 50:52], code[3, 50:52] = 3071, KINDS.index("lines") + 1
    code[4, :10] = KINDS.index("field") + 1
    code[4, 10:20] = KINDS.index("noise") + 1
    filled = classical.without_network(hu, code, (3.0, PIXEL_MM, PIXEL_MM))
    known = np.isin(code, [KINDS.index(kind) + 1 for kind in ("missing", "lines")])
    assert np.array_equal(filled[~known], hu[~known])
    assert rms((filled - body)[1]) < 0.2 * rms((hu - body)[1])
    assert rms((filled - body)[3, 50:52]) < 0.1 * rms((hu - body)[3, 50:52])
    assert filled.dtype == np.float32
