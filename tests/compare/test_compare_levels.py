"""Automatic levels of contours, compared with scikit-image's multi-Otsu thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.filters import threshold_multiotsu

from tomochrome.compare import Contours, Pair
from tomochrome.compare.source import histogram_levels
from tomochrome.volume import Volume, default_affine


def mr(background=0.0, scale=1.0, seed=1):
    """A head without a known unit: 70 % background, darker and brighter tissue, some noise."""
    z, y, x = np.ogrid[:20, :60, :60]
    radius = np.hypot(y - 30, x - 30) + 0 * z
    voxels = np.full(radius.shape, background)
    voxels[radius < 20] = 0.35
    voxels[radius < 10] = 0.6
    noise = np.random.default_rng(seed).normal(0, 0.03, voxels.shape)
    noise[radius >= 20] = 0
    return Volume(
        (scale * (voxels + noise)).astype(np.float32), default_affine((1.0, 1.0, 1.0)), "unknown"
    )


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_they_divide_the_histogram_as_scikit_image_does(scale):
    volume = mr(scale=scale)
    expected = threshold_multiotsu(volume.voxels, classes=3, nbins=128)
    np.testing.assert_allclose(histogram_levels(volume), expected, atol=0.03 * scale)


def test_the_outlines_of_a_head_and_of_what_is_in_it_are_drawn():
    volume = mr()
    view = Contours(Pair(volume, volume, color=True))
    plane = view[10]
    drawn = (plane[..., 0] != plane[..., 1]) | (plane[..., 1] != plane[..., 2])
    radius = np.hypot(*(np.indices(drawn.shape) - 30))
    for outline in (20, 10):
        around = np.abs(radius - outline) < 1.5
        assert drawn[around].mean() > 0.2
    away = (np.abs(radius - 20) > 2) & (np.abs(radius - 10) > 2)
    assert drawn[away].mean() < 0.01


def test_what_has_no_classes_has_no_levels():
    assert (
        histogram_levels(
            Volume(np.full((3, 4, 5), 7.0), default_affine((1.0, 1.0, 1.0)), "unknown")
        )
        == ()
    )
    unmeasured = np.ones((3, 4, 5), bool)
    empty = Volume(
        np.zeros((3, 4, 5)), default_affine((1.0, 1.0, 1.0)), "unknown", outside=unmeasured
    )
    assert histogram_levels(empty) == ()
    two = Volume(np.tile([0.0, 1.0], (4, 4, 4)), default_affine((1.0, 1.0, 1.0)), "unknown")
    assert all(0 < level <= 1 for level in histogram_levels(two))


def test_voxels_that_are_not_numbers_do_not_count():
    volume = mr()
    holes = np.array(volume.voxels)
    holes[::3] = np.nan
    found = histogram_levels(Volume(holes, volume.affine, "unknown"))
    np.testing.assert_allclose(found, histogram_levels(volume), atol=0.03)
