"""Attenuation of materials, and projections with all energies of a tube."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from tomochrome.restoration.attenuation import (
    EFFECTIVE_KEV,
    G_PER_CM3,
    Densities,
    coefficient,
    corrected,
    spectrum,
    to_hu,
    transmission,
)


def test_the_table_is_met_at_its_energies() -> None:
    assert coefficient("water", 60.0) == pytest.approx(0.2059)
    assert coefficient("steel", np.array([40.0, 100.0])) == pytest.approx([3.629, 0.3717])
    assert coefficient("bone", 50.0) > coefficient("bone", 55.0) > coefficient("bone", 60.0)


def test_the_beam_is_that_of_a_scanner_at_120_kv() -> None:
    kev, share = spectrum()
    assert share.sum() == pytest.approx(1)
    assert 60 < (kev * share).sum() < 80
    half = brentq(
        lambda cm: transmission({"aluminium": np.array([cm * G_PER_CM3["aluminium"]])})[0] - 0.5,
        0.1, 3,
    )  # fmt: skip
    assert 0.7 < half < 1.2  # cm; scanners have 0.7 to 0.9 by air kerma, detectors see more


@pytest.mark.parametrize("hu", [-1000.0, -100.0, 0.0, 60.0, 400.0, 1500.0])
def test_densities_have_the_attenuation_of_the_hu(hu: float) -> None:
    densities = Densities.of(np.full((2, 2), hu, np.float32))
    mu = sum(
        coefficient(name, EFFECTIVE_KEV) * part
        for name, part in (("water", densities.water), ("bone", densities.bone))
    )
    water = coefficient("water", EFFECTIVE_KEV)
    assert 1000 * (mu / water - 1) == pytest.approx(np.full((2, 2), hu), abs=0.1)


def test_water_is_corrected_exactly_and_bone_too_little() -> None:
    cm = np.array([1.0, 10.0, 35.0])
    measured = -np.log(transmission({"water": cm}))
    ideal = coefficient("water", EFFECTIVE_KEV) * cm
    assert corrected(measured) == pytest.approx(ideal, rel=1e-3)
    assert (np.diff(measured / cm) < 0).all()  # the beam hardens
    thick = {"water": np.array([25.0]), "steel": np.array([8.0])}
    whole = corrected(-np.log(transmission(thick)))
    assert whole < sum(coefficient(name, EFFECTIVE_KEV) * path for name, path in thick.items())


def test_attenuation_of_water_is_1000_hu() -> None:
    per_pixel = coefficient("water", EFFECTIVE_KEV) * 0.07
    assert to_hu(np.array([per_pixel]), 0.7) == pytest.approx([1000])
