"""Noise of slices: its estimate, and non-local means beside their definition."""

from __future__ import annotations

import numpy as np
import pytest

from tomochrome.restoration.defects import code_of
from tomochrome.restoration.fill import fill
from tomochrome.restoration.noise import (
    MIN_WEIGHT,
    NEAR_BONE_ALONE_HU,
    NEIGHBOR_SEARCH_PX,
    NETWORK_ALONE_HU,
    NETWORK_FROM_HU,
    PATCH_PX,
    SEARCH_PX,
    STRENGTH,
    USUAL_NOISE_HU,
    as_measured_on_average,
    network_share,
    noise_map,
    non_local_means,
)

SD = 20.0


def organ(shape: tuple[int, int, int] = (3, 48, 56)) -> np.ndarray:
    """Two halves of 0 and 150 HU."""
    hu = np.zeros(shape, np.float32)
    hu[..., shape[2] // 2 :] = 150
    return hu


def noisy(hu: np.ndarray, sd: float = SD, seed: int = 1) -> np.ndarray:
    return (hu + np.random.default_rng(seed).normal(0, sd, hu.shape)).astype(np.float32)


def by_definition(hu: np.ndarray, z: int, sd: float, y: int, x: int) -> float:
    """The weighted mean at one pixel, patch by patch."""
    reach = PATCH_PX // 2
    values, weights = [], []

    def inside(row: int, column: int) -> bool:
        return 0 <= row < hu.shape[1] and 0 <= column < hu.shape[2]

    for k in (z - 1, z, z + 1):
        if not 0 <= k < len(hu):
            continue
        search = SEARCH_PX if k == z else NEIGHBOR_SEARCH_PX
        for dy in range(-search, search + 1):
            for dx in range(-search, search + 1):
                if (k == z and (dy, dx) == (0, 0)) or not inside(y + dy, x + dx):
                    continue
                distances = [
                    (float(hu[z, y + i, x + j]) - float(hu[k, y + dy + i, x + dx + j])) ** 2
                    for i in range(-reach, reach + 1)
                    for j in range(-reach, reach + 1)
                    if inside(y + i, x + j) and inside(y + dy + i, x + dx + j)
                ]
                excess = max(np.mean(distances) / sd**2 - 2, 0)
                weights.append(np.exp(-excess / STRENGTH**2))
                values.append(float(hu[k, y + dy, x + dx]))
    own = max([*weights, MIN_WEIGHT])
    total = np.dot(values, weights) + own * float(hu[z, y, x])
    return float(total / (sum(weights) + own))


@pytest.mark.parametrize("z", [0, 1])
@pytest.mark.parametrize(("y", "x"), [(0, 0), (7, 9), (11, 27), (23, 31), (3, 30)])
def test_a_pixel_is_the_weighted_mean_of_its_definition(z: int, y: int, x: int) -> None:
    hu = noisy(organ((3, 24, 32)))
    expected = by_definition(hu, z, SD, y, x)
    assert non_local_means(hu, z, SD)[y, x] == pytest.approx(expected, abs=0.01)


def test_noise_falls_and_edges_stay() -> None:
    clean = organ()
    smooth = non_local_means(noisy(clean), 1, SD)
    error = smooth - clean[1]
    assert error.std() < 0.3 * SD
    near = slice(clean.shape[2] // 2 - 2, clean.shape[2] // 2 + 2)
    assert np.abs(error[:, near].mean(axis=0)).max() < 0.25 * SD
    for half in (clean[1] == 0, clean[1] == 150):
        assert abs(error[half].mean()) < 1.5


def test_without_noise_nothing_changes() -> None:
    hu = organ()
    assert np.array_equal(non_local_means(hu, 1, 0.0), hu[1])
    np.testing.assert_allclose(non_local_means(hu, 1, 1.0), hu[1], atol=1e-3)


def test_a_part_is_that_of_the_whole_away_from_its_border() -> None:
    hu = noisy(organ())
    whole = non_local_means(hu, 1, SD)
    part = non_local_means(hu, 1, SD, (slice(5, 40), slice(10, 50)))
    border = SEARCH_PX + PATCH_PX // 2
    inner = slice(border, -border)
    np.testing.assert_allclose(part[inner, inner], whole[5:40, 10:50][inner, inner], atol=1e-3)


@pytest.mark.parametrize("sd", [5.0, 20.0, 40.0])
def test_the_noise_of_water_is_estimated(sd: float) -> None:
    hu = noisy(np.full((1, 200, 190), 20, np.float32), sd)[0]
    assert noise_map(hu).shape == hu.shape
    np.testing.assert_allclose(noise_map(hu), sd, rtol=0.1)
    assert not noise_map(np.full((9, 9), -1000.0)).any()


def test_noise_is_estimated_where_it_is() -> None:
    sd = np.where(np.arange(256) < 128, 10.0, 80.0).astype(np.float32)
    hu = np.random.default_rng(2).normal(20, 1, (192, 256)).astype(np.float32) * sd + 20 - 20 * sd
    hu[:, :40] = -1000  # where there is no tissue, noise is as beside it
    noise = noise_map(hu)
    assert noise[:, :64].max() < 20 and noise[:, 200:].min() > 60
    assert (np.diff(noise.mean(axis=0)) > -2).all()


def test_the_filter_follows_the_noise_of_each_pixel() -> None:
    hu = noisy(organ())
    sd = np.full(hu.shape[1:], SD, np.float32)
    sd[:24] = 2
    out, even = non_local_means(hu, 1, sd), non_local_means(hu, 1, SD)
    np.testing.assert_array_equal(out[24:], even[24:])
    assert np.abs(out[:24] - hu[1, :24]).mean() < 0.1 * np.abs(even[:24] - hu[1, :24]).mean()


def test_denoised_values_get_the_mean_and_the_contrast_of_the_measured_ones() -> None:
    clean = organ((1, 120, 160))[0]
    measured = noisy(clean[None])[0]
    dull = (0.8 * clean + 5).astype(np.float32)
    sd = np.full(clean.shape, SD, np.float32)
    out = as_measured_on_average(dull, measured, sd, np.full_like(sd, USUAL_NOISE_HU))
    for half in (clean == 0, clean == 150):
        assert abs((out - clean)[half].mean()) < 0.3 * abs((dull - clean)[half].mean())
    assert (out - clean).std() < 0.35 * SD


@pytest.mark.parametrize("sd", [8.0, 20.0, 40.0])
def test_the_noise_of_a_usual_dose_is_kept(sd: float) -> None:
    clean = np.full((120, 160), 40, np.float32)
    measured = noisy(clean[None], sd)[0]
    noise, usual = np.full((2, *clean.shape), [[[sd]], [[USUAL_NOISE_HU]]], np.float32)
    out = as_measured_on_average(clean, measured, noise, usual)
    kept = min(USUAL_NOISE_HU / sd, 1) ** 2
    slope = np.polyfit((measured - clean).ravel(), (out - clean).ravel(), 1)[0]
    assert slope == pytest.approx(kept, abs=0.03)


def test_as_much_noise_is_kept_as_the_full_dose_has_there() -> None:
    clean = np.full((120, 160), 40, np.float32)
    measured = noisy(clean[None], 30.0)[0]
    usual = np.where(np.arange(160) < 80, 3.0, 15.0) + np.zeros((120, 1))
    sd = np.full(clean.shape, 30, np.float32)
    lost = as_measured_on_average(clean, measured, sd, usual.astype(np.float32)) - clean
    for columns, kept in ((np.s_[:, :70], 0.01), (np.s_[:, 90:], 0.25)):
        slope = np.polyfit((measured - clean)[columns].ravel(), lost[columns].ravel(), 1)[0]
        assert slope == pytest.approx(kept, abs=0.03)


def test_the_network_takes_over_as_the_noise_grows() -> None:
    soft = np.full((9, 9), 40, np.float32)
    shares = [float(network_share(sd, soft)[4, 4]) for sd in np.linspace(0, 100, 41)]
    assert shares == sorted(shares)
    assert not network_share(NETWORK_FROM_HU, soft).any()
    assert (network_share(NETWORK_ALONE_HU, soft) == 1).all()
    each = np.array([[NETWORK_FROM_HU, NETWORK_ALONE_HU]], np.float32)
    np.testing.assert_array_equal(network_share(each, soft[:1, :2]), [[0, 1]])


def test_the_network_stays_away_from_bone_and_air_unless_noise_is_strong() -> None:
    hu = np.full((40, 60), 40, np.float32)
    hu[:, :10], hu[:, 50:] = -1000, 900
    share = network_share(NETWORK_ALONE_HU, hu)
    assert not share[:, :10].any()
    assert not share[:, 49:].any()
    assert (share[:, 18:42] == 1).all()
    assert (network_share(NEAR_BONE_ALONE_HU, hu) == 1).all()


def test_without_a_network_noise_is_filtered_around_the_patient() -> None:
    hu = np.full((3, 160, 160), -1000, np.float32)
    hu[:, 60:100, 60:100] = 40
    hu = noisy(hu, 30.0)
    code = np.zeros(hu.shape, np.uint8)
    code[1] = code_of("noise")
    code[2, 80] = code_of("lines")
    out = fill(hu, code, (3.0, 1.0, 1.0), None)
    assert np.array_equal(out[0], hu[0])
    others = np.arange(160) != 80
    assert np.array_equal(out[2, others], hu[2, others])
    np.testing.assert_allclose(out[2, 80], (hu[2, 79] + hu[2, 81]) / 2, atol=1e-3)
    body = np.s_[1, 64:96, 64:96]
    assert out[body].std() < 0.4 * hu[body].std()
    assert np.array_equal(out[1, :15, :15], hu[1, :15, :15])
