"""Defects that rules find in slices with simulated ones, and none without."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from tomochrome.errors import InputError, NotCTError
from tomochrome.restoration import rules
from tomochrome.restoration.defects import KINDS, DefectKind
from tomochrome.restoration.simulation import (
    AIR_HU,
    MIN_CHANGE_HU,
    Damaged,
    add_metal,
    add_noise,
    add_rings,
    lose_lines,
    lose_slices,
    truncate_field,
)
from tomochrome.volume import Volume, default_affine

PIXEL_MM = 2.2
SPACING = (3.0, PIXEL_MM, PIXEL_MM)
SHAPE = (9, 112, 144)


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def body() -> np.ndarray:
    """A body with fat, a spine and organs that change along z, and the noise of a normal scan."""
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]].astype(np.float32)
    y, x = y - 54, x - 74
    hu = np.full(SHAPE, -1000.0, np.float32)
    hu[(y / 42) ** 2 + (x / 62) ** 2 < 1] = -90
    hu[(y / 37) ** 2 + (x / 57) ** 2 < 1] = 45
    hu[((y + 4) / (14 + z)) ** 2 + ((x - 25) / 18) ** 2 < 1] = 110
    hu[((y + 8) / 9) ** 2 + ((x + 20 + 2 * z) / 10) ** 2 < 1] = -850
    hu[((y - 24) / 8) ** 2 + (x / 9) ** 2 < 1] = 480
    noise = ndimage.gaussian_filter(rng(1).normal(0, 1, SHAPE), (0, 0.7, 0.7))
    return ndimage.gaussian_filter(hu, (0, 0.5, 0.5)) + np.float32(8 / noise.std()) * noise


def find(hu: np.ndarray, kinds: tuple[DefectKind, ...] = KINDS) -> np.ndarray:
    volume = Volume(np.rint(hu).astype(np.int16), default_affine(SPACING))
    return rules.defects_by_rules(volume, kinds).code


def dice(code: np.ndarray, kind: DefectKind, mask: np.ndarray) -> float:
    marked = code == KINDS.index(kind) + 1
    return float(2 * (marked & mask).sum() / (marked.sum() + mask.sum()))


def metal(body: np.ndarray) -> Damaged:
    where = np.zeros(SHAPE, np.bool_)
    where[4, 76:82, 50:56] = where[4, 74:82, 90:96] = True
    return add_metal(body, where, "steel", PIXEL_MM, rng())


DAMAGES: dict[str, tuple[DefectKind, float, Callable[[np.ndarray], Damaged]]] = {
    "missing": ("missing", 1.0, lambda hu: lose_slices(hu, 3, 2, rng())),
    "repeated": ("missing", 1.0, lambda hu: lose_slices(hu, 4, 2, rng(), "repeated")),
    "corrupted": ("missing", 1.0, lambda hu: lose_slices(hu, 3, 3, rng(), "corrupted")),
    "dropped": ("lines", 0.85, lambda hu: lose_lines(hu, 3, rng())),
    "saturated": ("lines", 0.95, lambda hu: lose_lines(hu, 3, rng(), saturated=True)),
    "field": ("field", 0.95, lambda hu: truncate_field(hu, 45)),
    "rings": ("ring", 0.8, lambda hu: add_rings(hu, PIXEL_MM, rng(5), 4, 0.06)),
    "noise": ("noise", 1.0, lambda hu: add_noise(hu, 1 / 30, PIXEL_MM, rng())),
    "metal": ("metal", 0.6, metal),
}


def test_nothing_is_found_in_a_clean_scan(body: np.ndarray) -> None:
    assert not find(body).any()


@pytest.mark.parametrize("name", DAMAGES)
def test_simulated_defects_are_found(body: np.ndarray, name: str) -> None:
    kind, least, damage = DAMAGES[name]
    damaged = damage(body)
    mask = damaged.mask
    if kind == "field":
        mask = mask & (damaged.hu == AIR_HU)
    code = find(damaged.hu)
    assert dice(code, kind, mask) >= least
    if kind not in ("metal", "noise"):
        assert set(np.unique(code)) == {0, KINDS.index(kind) + 1}


def test_a_dense_spot_without_streaks_is_marked_alone(body: np.ndarray) -> None:
    spot = body.copy()
    spot[4, 76:79, 50:53] = 3000  # a clip, as in many clean scans
    code = find(spot)
    np.testing.assert_array_equal(code > 0, spot != body)


def streaks_in_air(hu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the air of the slice with metal, and what is a streak in it."""
    reduction = rules.reduce_metal(hu.astype(np.float32), np.ones(len(hu), np.bool_), PIXEL_MM)
    assert reduction is not None
    in_air, change = rules.streaks_in_air(reduction, 4, rules.air_of_scan(reduction))
    return in_air, in_air & (change >= MIN_CHANGE_HU)


def test_streaks_in_air_are_where_it_differs_from_that_of_other_slices(body: np.ndarray) -> None:
    damaged = metal(body)
    in_air, marked = streaks_in_air(damaged.hu)
    truth = damaged.mask[4] & in_air
    assert in_air[body[4] < -960].mean() > 0.8
    assert not in_air[body[4] > -600].any()
    assert truth.mean() > 0.1
    assert 2 * (marked & truth).sum() / (marked.sum() + truth.sum()) > 0.85


def test_couch_and_padding_are_no_streaks_in_air(body: np.ndarray) -> None:
    still = body.copy()
    still[:, 102:105, 10:130] += 40
    still[:, :, :6] = AIR_HU
    still[4, 76:79, 50:53] = 3000
    in_air, marked = streaks_in_air(still)
    assert in_air[:, :4].any() and in_air[103, 20:120].any()
    assert marked[in_air].mean() < 0.005


def test_air_is_that_of_all_slices_if_each_has_metal(body: np.ndarray) -> None:
    hu = body.copy()
    hu[:, 76:79, 50:53] = 3000
    reduction = rules.reduce_metal(hu, np.ones(len(hu), np.bool_), PIXEL_MM)
    assert reduction is not None
    air = rules.air_of_scan(reduction)
    assert np.abs(air.hu + 1000).max() < 30
    assert 3 < air.noise < 12


def test_only_the_kinds_asked_for_are_found(body: np.ndarray) -> None:
    damaged = lose_slices(lose_lines(body, 3, rng(), saturated=True).hu, 3, 1, rng()).hu
    both = find(damaged)
    assert set(np.unique(both)) == {0, 3, 4}
    assert np.array_equal(find(damaged, ("missing",)) == 3, both == 3)
    assert not find(damaged, ("ring", "noise", "field")).any()


def test_the_original_of_copies_is_the_slice_that_continues_the_scan(body: np.ndarray) -> None:
    lost = lose_slices(body, 4, 1, rng(), "repeated").hu
    assert np.flatnonzero(rules.lost_slices(lost)).tolist() == [4]
    assert np.flatnonzero(rules.lost_slices(lost[::-1])).tolist() == [4]


def test_copies_in_a_volume_that_does_not_change_are_none(body: np.ndarray) -> None:
    assert not rules.lost_slices(np.repeat(body[:1], 6, axis=0)).any()
    assert not rules.lost_slices(np.repeat(body, 2, axis=0)).any()


def test_a_slice_between_equal_ones_is_corrupted(body: np.ndarray) -> None:
    same = np.repeat(body[:1], 6, axis=0)
    same[3] = rng().normal(0, 300, same[3].shape)
    assert np.flatnonzero(rules.lost_slices(same)).tolist() == [3]


def test_air_at_the_ends_of_a_scan_is_not_lost(body: np.ndarray) -> None:
    padded = np.pad(body, ((2, 3), (0, 0), (0, 0)), constant_values=-1024)
    assert not find(padded).any()


def test_a_row_between_body_and_couch_is_not_lost(body: np.ndarray) -> None:
    hu = np.where(body < -950, AIR_HU, body)
    hu[:, 102, 20:120] = hu[:, 99, 20:120] = -200
    assert not rules.lost_lines(hu).any()


def test_padding_around_a_body_inside_the_field_is_no_defect(body: np.ndarray) -> None:
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    outside = np.hypot(y - 55.5, x - 71.5) > 69
    hu = np.where(outside, -2000, body)
    assert not rules.outside_field(hu, np.broadcast_to(outside, SHAPE)).any()


def test_a_body_whose_surroundings_were_removed_is_no_defect() -> None:
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    inside = np.hypot((y - (SHAPE[1] - 1) / 2) / 50, (x - (SHAPE[2] - 1) / 2) / 42) < 1
    hu = np.where(inside, 40.0 + rng().normal(0, 10, SHAPE), -1024)
    assert not rules.outside_field(hu, np.zeros(SHAPE, np.bool_)).any()


def test_the_map_is_on_the_grid_of_a_volume_in_another_orientation(body: np.ndarray) -> None:
    damaged = lose_slices(body, 3, 1, rng()).hu
    affine = default_affine(SPACING)[:, [2, 1, 0, 3]]
    sagittal = Volume(np.rint(damaged.transpose(2, 1, 0)).astype(np.int16), affine)
    code = rules.defects_by_rules(sagittal).code
    assert np.array_equal(code.transpose(2, 1, 0), find(damaged))
    assert code[..., 3].all()


def test_small_slices_have_no_defects() -> None:
    assert not find(np.zeros((9, 20, 200), np.float32)).any()
    assert not find(np.full((1, 64, 64), AIR_HU, np.float32)).any()


def test_what_is_no_scan_is_refused(body: np.ndarray) -> None:
    with pytest.raises(InputError, match="must be a Volume"):
        rules.defects_by_rules(body)  # type: ignore[arg-type]
    with pytest.raises(NotCTError, match="contains colors"):
        rules.defects_by_rules(Volume(np.zeros((2, 40, 40, 4), np.uint8), unit="RGBA"))
