"""Rays and light against what optics says of a slab."""

from __future__ import annotations

import numpy as np
import pytest

from tomochrome.rendering.ray_kernels import BLOCK, Scene, View, cast_rays
from tomochrome.rendering.scene_light import light_step, main_light, sky_light, transmission

SIDE = 32


def seen(opacity: np.ndarray, spacing: float = 1.0, **changes: float) -> np.ndarray:
    """What one ray sees through the middle, along +z."""
    blocks = tuple(-(-n // BLOCK) for n in opacity.shape)
    light = np.ones((2, 2, 2), np.float32)
    scene = Scene(
        opacity.astype(np.float32), np.full((*opacity.shape, 3), 255, np.uint8),
        np.linspace(0, 1, 256, dtype=np.float32), np.zeros(blocks, np.uint8),
        light, light, float(SIDE), spacing,
    )  # fmt: skip
    middle = (SIDE - 1) / 2
    view = View(
        np.array([-100.0, middle, middle]), np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1e-6]),
        np.array([0.0, 1e-6, 0.0]), np.array([-1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0, 0.0]),
        changes.get("step", 0.5),
    )  # fmt: skip
    picture = np.empty((1, 4), np.float32)
    cast_rays(1, scene, view, 1, 0, picture, (1, 1))
    return picture[0]


@pytest.mark.parametrize("step", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("spacing", [0.5, 1.0, 2.0])
def test_a_slab_covers_what_its_thickness_does(spacing: float, step: float) -> None:
    opacity = np.zeros((SIDE, SIDE, SIDE))
    opacity[10:22] = 0.05
    expected = 1 - 0.95 ** (12 * spacing)
    light = seen(opacity, spacing, step=step)
    assert light[3] * 0.985 == pytest.approx(expected, abs=0.02)
    assert np.allclose(light[:3], light[3] * 0.985, atol=0.01)  # white under ambient light


def test_nothing_is_seen_of_air() -> None:
    assert not seen(np.zeros((SIDE, SIDE, SIDE))).any()


def test_light_comes_from_its_side() -> None:
    opacity = np.zeros((SIDE, SIDE, SIDE), np.float32)
    opacity[14:18] = 0.9
    passes = transmission(opacity, 1.0, 1)
    light = main_light(passes, (-1.0, 0.0, 0.0), 1)
    assert np.allclose(light[:14], 1.0)
    assert np.allclose(light[19:], 0.1 ** (4 * 0.5), rtol=1e-4)  # at half density
    below = main_light(passes, (1.0, 0.0, 0.0), 1)
    assert np.allclose(below, light[::-1], atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_light_is_the_same_along_all_axes(axis: int) -> None:
    rng = np.random.default_rng(3)
    passes = rng.uniform(0.5, 1, (9, 9, 9)).astype(np.float32)
    towards = np.array([0.9, 0.3, -0.2])
    straight = main_light(passes, towards, 1)
    turned = main_light(np.moveaxis(passes, 0, axis), np.insert(towards[1:], axis, 0.9), 1)
    assert np.allclose(np.moveaxis(turned, axis, 0), straight, atol=1e-6)


def test_a_pit_gets_less_of_the_sky_than_a_plain() -> None:
    opacity = np.zeros((SIDE, SIDE, SIDE), np.float32)
    opacity[:20] = 0.9
    opacity[10:20, 12:20, 12:20] = 0.0
    sky = sky_light(transmission(opacity, 1.0, 1), (1.0, 0.0, 0.0), 40)
    assert sky[28:, 4, 4].min() > 0.9
    assert sky[11, 16, 16] < 0.5 * sky[21, 4, 4]


def test_the_grid_of_the_light_is_bounded() -> None:
    assert light_step((100, 100, 100)) == 1
    step = light_step((400, 300, 300))
    assert (400 / step) * (300 / step) ** 2 <= 1 << 21
