"""Small volumes, on several grids, for the tests of comparisons."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tomochrome.volume import Volume, default_affine

SHAPE = (5, 9, 7)
AFFINE = default_affine((5.0, 1.5, 2.0), (-10.0, 4.0, 100.0))


def ct(shape=SHAPE, affine=AFFINE, seed=0, dtype=np.int16, unit="HU", outside=None) -> Volume:
    voxels = np.random.default_rng(seed).integers(-900, 1500, shape).astype(dtype)
    return Volume(voxels, affine, unit, outside=outside)


def rgba(shape=SHAPE, affine=AFFINE, seed=1, opaque=False) -> Volume:
    voxels = np.random.default_rng(seed).integers(0, 256, (*shape, 4)).astype(np.uint8)
    if opaque:
        voxels[..., 3] = 255
    return Volume(voxels, affine, "RGBA")


@st.composite
def near(draw, shape=SHAPE):
    """An affine that puts a small volume of any orientation about the middle of `AFFINE`'s."""
    turn = Rotation.from_euler("zyx", [draw(st.floats(-180, 180)) for _ in range(3)], degrees=True)
    spacing = [draw(st.floats(0.8, 6)) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = turn.as_matrix() * spacing
    middle = AFFINE[:3, :3] @ ((np.array(SHAPE) - 1) / 2) + AFFINE[:3, 3]
    shift = [draw(st.floats(-3, 3)) for _ in range(3)]
    affine[:3, 3] = middle + shift - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def index(size: int) -> st.SearchStrategy[object]:
    return st.one_of(
        st.integers(-size, size - 1), st.integers(0, size - 1).map(np.int64), st.slices(size)
    )


@st.composite
def keys(draw, sizes):
    """Return a strategy for basic indices of an array of these sizes."""
    key = [draw(index(size)) for size in sizes[: draw(st.integers(0, len(sizes)))]]
    if draw(st.booleans()):
        at = draw(st.integers(0, len(key)))
        tail = len(key) - at
        key[at:] = [Ellipsis, *(draw(index(size)) for size in sizes[len(sizes) - tail :])]
    return key[0] if len(key) == 1 else tuple(key)
