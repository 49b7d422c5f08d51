"""Blocks of voxels: few enough, of even size, and where they belong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomochrome.geometry.block_grids import block_affine, block_means, block_steps
from tomochrome.volume import default_affine

SHAPES = st.tuples(*[st.integers(1, 700)] * 3)
SPACINGS = st.tuples(*[st.floats(0.2, 8)] * 3)


@given(shape=SHAPES, spacing=SPACINGS, most=st.integers(1, 10_000_000))
def test_few_enough_voxels_are_left(shape, spacing, most):
    steps = block_steps(shape, spacing, most, 128)
    left = [-(-n // s) for n, s in zip(shape, steps, strict=True)]
    assert math.prod(left) <= most
    assert max(left) <= 128
    if math.prod(shape) <= most and max(shape) <= 128:
        assert steps == (1, 1, 1)


def test_the_finest_axes_are_put_together_first():
    assert block_steps((300, 512, 512), (3.0, 0.7, 0.7), 300 * 128 * 128) == (1, 4, 4)
    assert block_steps((234, 512, 512), (1.0, 1.0, 1.0), 1 << 20) == (4, 4, 4)


@pytest.mark.parametrize("steps", [(1, 1, 1), (2, 3, 4), (5, 1, 2)])
def test_means_lie_at_the_centers_of_their_blocks(steps):
    """A volume whose value is its own position says where each mean belongs."""
    shape = tuple(3 * s for s in steps)
    affine = default_affine((3.0, 0.7, 0.9), (-10.0, 20.0, 5.0))
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    means = np.stack([block_means(world[..., i], steps) for i in range(3)], axis=-1)
    coarse = block_affine(affine, steps)
    blocks = np.stack(np.meshgrid(*map(np.arange, means.shape[:3]), indexing="ij"), axis=-1)
    np.testing.assert_allclose(means, blocks @ coarse[:3, :3].T + coarse[:3, 3], atol=1e-3)


def test_a_block_that_sticks_out_repeats_the_last_voxel():
    means = block_means(np.arange(5.0).reshape(5, 1, 1), (3, 1, 1))
    np.testing.assert_allclose(means.ravel(), [1.0, (3 + 4 + 4) / 3])
