"""The dose by the noise, and the noise at a dose, against simulated noise."""

from __future__ import annotations

import numpy as np
import pytest

from tomochrome.restoration.dose import dose, noise_by_dose
from tomochrome.restoration.simulation import ELECTRONIC_NOISE, PHOTONS, add_noise

PIXEL_MM = 2.2


@pytest.mark.parametrize("share", [1.0, 1 / 4, 1 / 10, 1 / 30])
def test_the_dose_is_estimated_by_the_noise(share: float) -> None:
    y, x = np.mgrid[:160, :160] - 79.5
    water = np.where(np.hypot(y, x) < 70, 0, -1000).astype(np.float32)[None]
    added = add_noise(
        water, share / (1 + share), PIXEL_MM, np.random.default_rng(3)
    ).hu  # 1/share times the variance
    estimate = dose(added, PIXEL_MM)  # of the most even patches: too high rather than too low
    assert estimate is not None and share < estimate < 4 * share


@pytest.mark.parametrize("share", [1.0, 1 / 4, 1 / 20])
def test_the_noise_at_a_dose_is_that_of_the_simulation(share: float) -> None:
    y, x = np.mgrid[:160, :160] - 79.5
    water = np.where(np.hypot(y, x) < 70, 0, -1000).astype(np.float32)
    part = share / (1 + share)  # adds the noise by which it exceeds the full dose
    noise = (
        add_noise(np.repeat(water[None], 8, 0), part, PIXEL_MM, np.random.default_rng(3)).hu - water
    )
    expected = noise_by_dose(water, PIXEL_MM)(share)
    for inside in (np.hypot(y, x) < 15, (np.hypot(y, x) > 50) & (np.hypot(y, x) < 65)):
        assert noise[:, inside].std() == pytest.approx(expected[inside].mean(), rel=0.1)
    assert PHOTONS > 1e3 * ELECTRONIC_NOISE  # which hardly counts at these doses
