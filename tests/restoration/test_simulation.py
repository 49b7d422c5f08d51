"""Simulated defects: what they change, where they say so, and that they are repeatable."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from tomochrome.restoration import simulation
from tomochrome.restoration.simulation import (
    AIR_HU,
    MAX_HU,
    Damaged,
    add_metal,
    add_motion,
    add_noise,
    add_rings,
    lose_lines,
    lose_slices,
    truncate_field,
)

PIXEL_MM = 3.0
Y, X = np.mgrid[:96, :112]


def ellipse(y: float, x: float, ry: float, rx: float) -> np.ndarray:
    return ((Y - y) / ry) ** 2 + ((X - x) / rx) ** 2 <= 1


@pytest.fixture
def body() -> np.ndarray:
    """Three slices: water in air, with a spine."""
    hu = np.where(ellipse(48, 56, 36, 48), 40.0, -1000.0)
    hu[ellipse(66, 56, 7, 8)] = 500
    return np.repeat(hu[None].astype(np.float32), 3, 0)


@pytest.fixture
def hips() -> np.ndarray:
    """Two metal heads in the middle slice."""
    metal = np.zeros((3, 96, 112), np.bool_)
    metal[1] = ellipse(48, 32, 4, 4) | ellipse(48, 80, 4, 4)
    return metal


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_metal_darkens_what_lies_between_and_leaves_other_slices(
    body: np.ndarray, hips: np.ndarray
) -> None:
    result = add_metal(body, hips, "titanium", PIXEL_MM, rng())
    between = ellipse(48, 56, 2, 14)
    beside = ellipse(24, 56, 6, 20)
    change = result.hu[1] - body[1]
    assert change[between].mean() < -30
    assert abs(change[beside].mean()) < 0.3 * abs(change[between].mean())
    assert (result.hu[1][hips[1]] > 1500).all() and result.hu.max() <= MAX_HU
    assert np.array_equal(result.hu[[0, 2]], body[[0, 2]])
    assert result.mask[1][hips[1]].all() and not result.mask[[0, 2]].any()


def test_denser_metal_damages_more(body: np.ndarray, hips: np.ndarray) -> None:
    where = ellipse(48, 56, 36, 48) & ~ndimage.binary_dilation(hips[1], iterations=2)
    errors = []
    for material in ("aluminium", "titanium", "steel"):
        result = add_metal(body, hips, material, PIXEL_MM, rng())  # type: ignore[arg-type]
        errors.append(np.sqrt(np.square(result.hu[1] - body[1])[where].mean()))
    assert errors[0] < 0.5 * errors[1] < 0.5 * errors[2]


def test_metal_without_any_changes_nothing(body: np.ndarray) -> None:
    result = add_metal(body, np.zeros(body.shape, np.bool_), "steel", PIXEL_MM, rng())
    assert np.array_equal(result.hu, body) and not result.mask.any()


def test_noise_grows_as_the_dose_falls(body: np.ndarray) -> None:
    inside = ellipse(44, 56, 20, 30)
    spreads = []
    for dose in (1 / 10, 1 / 30):
        change = add_noise(body, dose, PIXEL_MM, rng(), photons=1e8).hu - body
        spreads.append(change[:, inside].std())
        assert abs(change[:, inside].mean()) < spreads[-1] / 5  # no bias
    assert spreads[1] / spreads[0] == pytest.approx(np.sqrt(29 / 9), rel=0.05)
    full = add_noise(body, 1.0, PIXEL_MM, rng())
    assert np.abs(full.hu - body).max() < 1e-3 and not full.mask.any()


def test_noise_is_stronger_where_the_body_is_thick(body: np.ndarray) -> None:
    change = add_noise(body, 0.1, PIXEL_MM, rng()).hu - body
    center, edge = ellipse(48, 56, 10, 10), ellipse(16, 56, 3, 12)
    assert change[:, center].std() > 1.2 * change[:, edge].std()


def test_rings_are_round_and_alike_in_all_slices(body: np.ndarray) -> None:
    result = add_rings(body, PIXEL_MM, rng(), count=2, strength=0.02)
    change = result.hu - body
    assert change[1] == pytest.approx(change[0], abs=1e-3)
    inside = change[0][30:66, 38:74]  # a square in the body, around the center
    assert inside == pytest.approx(np.rot90(inside), abs=float(0.12 * np.abs(inside).max()))
    strong = add_rings(body, PIXEL_MM, rng(), count=2, strength=0.2)
    assert np.abs((strong.hu - body)[strong.mask]).mean() > simulation.MIN_CHANGE_HU


def test_motion_blurs_only_if_there_is_any(body: np.ndarray) -> None:
    still = add_motion(body, (0.0, 0.0), 0.0, rng())
    assert np.abs(still.hu - body).max() < 1e-2 and not still.mask.any()
    moved = add_motion(body, (3.0, 1.0), 2.0, rng())
    outline = ellipse(48, 56, 38, 50) & ~ellipse(48, 56, 32, 44)
    assert moved.mask[1][outline].mean() > 2 * moved.mask[1][ellipse(40, 56, 10, 12)].mean()


def test_outside_the_field_nothing_is_measured(body: np.ndarray) -> None:
    result = truncate_field(body, 34.0)
    distance = np.hypot(Y - 47.5, X - 55.5)
    assert (result.hu[:, distance > 34.5] == AIR_HU).all()
    assert result.mask[:, distance > 34.5].all()
    near = (distance < 33) & (distance > 30) & ellipse(48, 56, 30, 42)
    change = np.abs(result.hu - body)
    assert change[:, near].mean() > 1.5 * change[:, distance < 20].mean() > 0


@pytest.mark.parametrize("how", ["missing", "repeated", "corrupted"])
def test_lost_slices(body: np.ndarray, how: str) -> None:
    body[2] += 10
    result = lose_slices(body, 1, 1, rng(), how)
    assert result.mask.all(axis=(1, 2)).tolist() == [False, True, False]
    assert np.array_equal(result.hu[[0, 2]], body[[0, 2]])
    assert not np.array_equal(result.hu[1], body[1]) or how == "repeated"
    if how == "repeated":
        assert np.array_equal(result.hu[1], result.hu[0])


@pytest.mark.parametrize("saturated", [True, False])
def test_lost_lines(body: np.ndarray, saturated: bool) -> None:
    result = lose_lines(body, 3, rng(), saturated=saturated)
    assert (result.hu[result.mask] == (MAX_HU if saturated else AIR_HU)).all()
    assert np.array_equal(result.hu[~result.mask], body[~result.mask])
    rows = result.mask.all(axis=2)
    assert np.array_equal(result.mask.any(axis=2), rows) and (rows.sum(axis=1) >= 1).all()


@pytest.mark.parametrize(
    "damage",
    [
        lambda hu, r: add_metal(hu, hu > 400, "titanium", PIXEL_MM, r),
        lambda hu, r: add_noise(hu, 0.1, PIXEL_MM, r),
        lambda hu, r: add_rings(hu, PIXEL_MM, r),
        lambda hu, r: add_motion(hu, (1.0, 1.0), 1.0, r),
        lambda hu, r: lose_slices(hu, 1, 1, r, "corrupted"),
        lambda hu, r: lose_lines(hu, 2, r),
    ],
)
def test_a_seed_repeats_a_defect_and_the_original_is_left(
    body: np.ndarray, damage: Callable[[np.ndarray, np.random.Generator], Damaged]
) -> None:
    before = body.copy()
    first, again = damage(body, rng()), damage(body, rng())
    assert np.array_equal(first.hu, again.hu) and np.array_equal(first.mask, again.mask)
    assert np.array_equal(body, before) and first.hu.dtype == np.float32
