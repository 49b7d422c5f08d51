"""Simulated color vision deficiency."""

from __future__ import annotations

import numpy as np
import pytest

from tomochrome.color.convert import srgb_to_lab
from tomochrome.color.perception import DEFICIENCIES, as_seen
from tomochrome.color.space import lab_of_linear, linear_of_lab
from tomochrome.errors import OptionError

COLORS = np.random.default_rng(0).integers(0, 256, (200, 3)).astype(np.uint8)


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_grey_stays_grey(deficiency: str) -> None:
    """The rows of the published matrices add up to 1."""
    grey = np.stack([np.linspace(0, 100, 21), np.zeros(21), np.zeros(21)], axis=-1)
    np.testing.assert_allclose(as_seen(grey, deficiency), grey, atol=0.01)


@pytest.mark.parametrize(
    ("deficiency", "first", "second"),
    [
        ("protanopia", (200, 60, 40), (112, 94, 41)),
        ("deuteranopia", (200, 60, 40), (128, 118, 44)),
        ("tritanopia", (120, 140, 60), (130, 132, 132)),
    ],
)
def test_colors_that_are_confused_come_closer(
    deficiency: str, first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    """Red and olive for red-green deficiencies, green and grey for tritanopia."""
    lab = srgb_to_lab(np.array([first, second], np.uint8)[None])[0]
    seen = as_seen(lab, deficiency)
    before, after = (np.linalg.norm(np.diff(x[:, 1:], axis=0)) for x in (lab, seen))
    assert after < 0.45 * before


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_what_is_seen_lies_on_a_surface(deficiency: str) -> None:
    """Two kinds of cones see two dimensions; tritanopia is simulated by a shifted third kind."""
    lab = srgb_to_lab(COLORS[None])[0]
    seen = as_seen(lab, deficiency)
    assert np.isfinite(seen).all()
    linear = linear_of_lab(seen)
    inside = ((linear > 1e-4) & (linear < 1 - 1e-4)).all(axis=-1)
    _, spread, _ = np.linalg.svd(linear[inside] - linear[inside].mean(axis=0))
    assert spread[2] < 0.15 * spread[0]


def test_lab_and_linear_light_are_inverse() -> None:
    lab = srgb_to_lab(COLORS[None])[0]
    np.testing.assert_allclose(lab_of_linear(linear_of_lab(lab)), lab, atol=1e-3)


def test_an_unknown_deficiency() -> None:
    with pytest.raises(OptionError, match="choose one of protanopia, deuteranopia, tritanopia"):
        as_seen(np.zeros(3), "achromatopsia")
