"""Random affines and volumes for the property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tomochrome.volume import Volume

shapes = st.tuples(*[st.integers(1, 5)] * 3)


@st.composite
def affines(draw, shear=True):
    """Rotation, flips, spacing, origin and (sometimes) shear."""
    angles = [draw(st.floats(-180, 180)) for _ in range(3)]
    rotation = Rotation.from_euler("zyx", angles, degrees=True).as_matrix()
    spacing = [draw(st.floats(0.2, 8)) for _ in range(3)]
    signs = [draw(st.sampled_from([-1, 1])) for _ in range(3)]
    matrix = rotation * np.multiply(spacing, signs)
    if shear and draw(st.booleans()):
        matrix = matrix @ np.array([[1, 0, 0], [draw(st.floats(-0.4, 0.4)), 1, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = [draw(st.floats(-500, 500)) for _ in range(3)]
    return affine


@st.composite
def volumes(draw, shear=True, rgba=None):
    """Volumes of distinct values; RGBA sometimes."""
    shape = draw(shapes)
    affine = draw(affines(shear=shear))
    count = int(np.prod(shape))
    if draw(st.booleans()) if rgba is None else rgba:
        voxels = np.arange(count * 4, dtype=np.uint32).astype(np.uint8).reshape(*shape, 4)
        return Volume(
            voxels, affine, "RGBA", outside=masks(draw, shape), restored=masks(draw, shape)
        )
    voxels = np.arange(count, dtype=np.int16).reshape(shape) - 1000
    return Volume(voxels, affine, "HU", outside=masks(draw, shape), restored=masks(draw, shape))


def masks(draw, shape):
    """None, or a mask of voxels that were not measured."""
    if draw(st.booleans()):
        return None
    return np.random.default_rng(draw(st.integers(0, 99))).random(shape) < 0.4
