"""Hatching covers restored voxels, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tomochrome.color.hatch import PERIOD_PX, hatch_lines, hatched

quick = settings(max_examples=40, deadline=None)


@quick
@given(st.integers(0, 2**31 - 1), st.floats(0.001, 0.9))
def test_lines_stay_within_the_closed_mask(seed, share):
    mask = np.random.default_rng(seed).random((24, 31)) < share
    light, dark = hatch_lines(mask)
    closed = ndimage.binary_closing(np.pad(mask, 3), np.ones((3, 3)))[3:-3, 3:-3] | mask
    assert not (light & dark).any()
    assert not ((light | dark) & ~closed).any()


@quick
@given(st.integers(0, 2**31 - 1))
def test_every_part_is_seen(seed):
    mask = np.random.default_rng(seed).random((24, 31)) < 0.02
    light, dark = hatch_lines(mask)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    assert set(np.unique(labels[light | dark])) - {0} == set(range(1, count + 1))


@pytest.mark.parametrize("tone", [0, 128, 255])
def test_a_whole_picture_stays_legible(tone):
    picture = np.full((64, 64, 3), tone, np.uint8)
    marked = hatched(picture, np.ones((64, 64), bool))
    differs = (marked != picture).any(axis=-1)
    assert 0.5 / PERIOD_PX < differs.mean() <= 2 / PERIOD_PX + 0.01
    assert (picture == tone).all()


def test_alpha_and_measured_pixels_are_unchanged():
    picture = np.random.default_rng(0).integers(0, 256, (20, 20, 4)).astype(np.uint8)
    mask = np.zeros((20, 20), bool)
    mask[5:9] = True
    marked = hatched(picture, mask)
    np.testing.assert_array_equal(marked[..., 3], picture[..., 3])
    np.testing.assert_array_equal(marked[~mask], picture[~mask])
    assert hatched(picture, None) is picture
