"""sRGB and CIELAB, compared with scikit-image, and the gamut."""

from __future__ import annotations

import numpy as np
import pytest
from color_cases import max_chroma
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import lab2rgb, rgb2lab

from tomochrome.color import fit_chroma, lab_to_srgb, lab_to_srgb8, srgb_to_lab
from tomochrome.color.space import srgb8_of_lab

RNG = np.random.default_rng(7)
LABS = st.tuples(st.floats(0, 100), st.floats(-120, 120), st.floats(-120, 120))


def test_lab_of_8bit_is_scikit_images() -> None:
    rgb = RNG.integers(0, 256, (300, 401, 3), dtype=np.uint8)
    lab = srgb_to_lab(rgb)
    assert lab.dtype == np.float32
    assert lab.shape == rgb.shape
    # scikit-image's primaries have six digits, the standard's four.
    np.testing.assert_allclose(lab, rgb2lab(rgb), atol=0.05)
    np.testing.assert_allclose(srgb_to_lab(rgb / 255.0), lab, atol=1e-3)


def test_srgb_of_lab_is_scikit_images_inside_the_gamut() -> None:
    lab = rgb2lab(RNG.integers(0, 256, (200, 300, 3), dtype=np.uint8)).astype(np.float32)
    # Near black the transfer function is steep, and rounding of the primaries is visible.
    difference = np.abs(lab_to_srgb(lab) - lab2rgb(lab))
    assert difference.max() < 0.004
    assert np.quantile(difference, 0.99) < 0.001


def test_every_8bit_color_of_a_lattice_comes_back() -> None:
    steps = np.r_[0:256:15, 255].astype(np.uint8)
    rgb = np.stack(np.meshgrid(steps, steps, steps), axis=-1)
    np.testing.assert_array_equal(lab_to_srgb8(srgb_to_lab(rgb)), rgb)


def test_greys_have_no_chroma() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    lab = srgb_to_lab(grey)
    np.testing.assert_allclose(lab[:, 1:], 0, atol=1e-4)
    np.testing.assert_allclose(lab[[0, 255], 0], [0, 100], atol=1e-4)


@settings(deadline=None, max_examples=200)
@given(lab=LABS)
def test_gamut_mapping_keeps_luminance_and_hue(lab: tuple[float, float, float]) -> None:
    L, a, b = lab
    fitted = fit_chroma(lab)
    assert fitted[0] == pytest.approx(L, abs=1e-4)
    chroma, before = np.hypot(*fitted[1:]), np.hypot(a, b)
    assert chroma <= before * (1 + 1e-6) + 1e-6
    # Constant hue: no component across the old chroma.
    assert abs(fitted[1] * b - fitted[2] * a) <= 1e-3 * max(before, 1)
    rgb = lab_to_srgb(fitted, gamut=False)
    assert rgb.min() >= -0.1 / 255
    assert rgb.max() <= 1 + 0.1 / 255
    np.testing.assert_allclose(srgb_to_lab(lab_to_srgb(lab)), fitted, atol=0.05)


def test_gamut_mapping_keeps_as_much_chroma_as_it_can() -> None:
    lab = np.stack(
        [RNG.uniform(5, 95, 2000), RNG.uniform(-150, 150, 2000), RNG.uniform(-150, 150, 2000)], -1
    )
    fitted = fit_chroma(lab)
    lost = np.hypot(fitted[:, 1], fitted[:, 2]) < np.hypot(lab[:, 1], lab[:, 2]) - 0.01
    assert lost.any()
    assert (~lost).any()
    np.testing.assert_allclose(fitted[~lost], lab[~lost], atol=1e-3)
    further = fitted[lost] * np.array([1, 1.01, 1.01], np.float32)
    rgb = lab_to_srgb(further, gamut=False)
    assert ((rgb < 0) | (rgb > 1)).any(axis=1).mean() > 0.99


def test_max_chroma_is_that_of_the_primaries() -> None:
    primaries = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 0, 255]], np.uint8)
    L, a, b = srgb_to_lab(primaries).T
    np.testing.assert_allclose(max_chroma(L, np.arctan2(b, a)), np.hypot(a, b), rtol=0.01)
    np.testing.assert_allclose(max_chroma([0, 100], 0.5), 0, atol=0.05)


def test_saturated_yellow_keeps_its_chroma_at_the_dent_of_the_gamut() -> None:
    yellow = srgb_to_lab(np.array([255, 255, 0], np.uint8))
    fitted = fit_chroma(yellow * np.array([1, 1.001, 1.001], np.float32))
    np.testing.assert_allclose(fitted, yellow, atol=0.2)


def test_the_small_conversion_agrees() -> None:
    lab = np.stack(
        [RNG.uniform(0, 100, 500), RNG.uniform(-90, 90, 500), RNG.uniform(-90, 90, 500)], -1
    )
    lab[:, 0] = np.minimum(lab[:, 0], 90)  # beside yellow above 91 the gamut is dented
    difference = srgb8_of_lab(lab).astype(int) - lab_to_srgb8(lab).astype(int)
    assert np.abs(difference).max() <= 1
    assert srgb8_of_lab(lab[0]).shape == (3,)


def test_shapes_and_types_are_checked() -> None:
    assert lab_to_srgb([50, 0, 0]).shape == (3,)
    assert lab_to_srgb8(np.zeros((0, 3))).shape == (0, 3)
    for bad in (np.zeros((4, 4)), np.float32(3)):
        with pytest.raises(ValueError, match="length 3"):
            lab_to_srgb(bad)
    with pytest.raises(ValueError, match="uint8"):
        srgb_to_lab(np.zeros((2, 3), np.int16))
