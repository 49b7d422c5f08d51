"""Detection of the content that a window depends on: soft tissue, contrast agent, a head.

A CT is analyzed on a regular grid of about 3 mm, which takes a fraction of a second for any scan.
The grid starts at the same corner of the patient for any axis order, so that the window does not
depend on how the scan is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.volume import Volume

GRID_MM: Final = 3.0  #: spacing of the sample, unless the scan is coarser
MAX_VOXELS: Final = 2_000_000  #: in the sample
BODY_HU: Final = -200.0  #: lower limit of fat and denser tissue; couch, lung and air are below
BONE_HU: Final = 300.0  #: lower limit of bone, so that trabecular bone counts as tissue
CORTEX_HU: Final = 500.0  #: bone has a neighbor of at least this density
STEP_HU: Final = 300.0  #: minimum range of the neighbors of bone
METAL_HU: Final = 1200.0  #: denser voxels are bone or metal unless they are contrast agent
POOL_MM: Final = 15.0  #: no bone is denser than `POOL_HU` over a cube of this size
POOL_HU: Final = 250.0
POOL_SHARE: Final = 0.004  #: minimum share of the body for a pool of contrast agent
AGENT_MM: Final = 7.5  #: size of a cube filled with contrast agent
AGENT_HU: Final = 215.0  #: lower limit in it: the upper end of the window ``"abdomen"``
AGENT_RANGE: Final = 0.35  #: maximum range of its values, as a share of their mean
AGENT_SHARE: Final = 1e-4  #: minimum share of such cubes' centers in the body
_AGENT_PERCENTILE: Final = 95.0
_FULL: Final = 0.9  #: minimum share of dense voxels in a cube, allowing for noise

_CLOSED_HU: Final = 200.0  # lower limit of the skull where it must be closed, even if thin
_GAPS_MM: Final = 12.0  # radius for closing gaps in the skull
_BRAIN_HU: Final = (-10.0, 90.0)
_BRAIN_MM2: Final = 2500.0  #: minimum area of brain in a slice, enclosed by bone
_BRAIN_SHARE: Final = 0.3  #: minimum share of slices with brain; a whole body has fewer

_FACES: Final = ndimage.generate_binary_structure(3, 1)


@dataclass(frozen=True, eq=False)
class Sample:
    """Voxels of a volume on a coarse regular grid.

    Attributes
    ----------
    values
        float32, three axes in the order of the volume, each in the direction of the patient's
        left, back or head. Non-finite values are replaced by the minimum.
    spacing
        Distance between the samples along each axis in mm.
    axial
        The axis closest to the superior-inferior direction.
    """

    values: NDArray[np.float32]
    spacing: tuple[float, float, float]
    axial: int


def sample(volume: Volume) -> Sample:
    """Return the voxels of a scalar volume on a regular grid of about `GRID_MM`."""
    strides = [  # of voxels of 2 mm all, as every other one misses thin skull
        max(1, min(int(GRID_MM / mm + 0.49), n // 4))
        for mm, n in zip(volume.spacing, volume.shape, strict=True)
    ]
    while np.prod([-(-n // s) for n, s in zip(volume.shape, strides, strict=True)]) > MAX_VOXELS:
        finest = min(range(3), key=lambda axis: strides[axis] * volume.spacing[axis])
        strides[finest] += 1
    columns = volume.affine[:3, :3]
    backwards = [columns[np.argmax(np.abs(columns[:, axis])), axis] < 0 for axis in range(3)]
    ways = [
        slice(None, None, -s if back else s) for s, back in zip(strides, backwards, strict=True)
    ]
    values = np.array(volume.voxels[tuple(ways)], dtype=np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        values[~finite] = values[finite].min() if finite.any() else 0.0
    z, y, x = (float(mm * s) for mm, s in zip(volume.spacing, strides, strict=True))
    return Sample(values, (z, y, x), int(np.argmax(np.abs(columns[2]))))


def tissue_values(ct: Sample) -> NDArray[np.float32]:
    """Return the HU of the body without bone: fat, organs, blood, contrast agent.

    Bone and contrast agent, which can be equally dense, are distinguished by shape. Bone is a
    dense shell: its voxels are denser than `BONE_HU`, one of their neighbors is denser than
    `CORTEX_HU`, and the neighbors differ by `STEP_HU`; dense voxels within two voxels of these are
    bone, too. Contrast agent in the heart, great vessels, stomach or bladder fills a cube of
    `POOL_MM`, unlike nearly all bone; if there is much of it, only denser voxels are classified as
    bone.

    The result still contains some bone, so that the share of dense tissue tends to be
    overestimated.
    """
    hu = ct.values
    body = hu > BODY_HU
    least = max(BONE_HU, _pool_level(ct, int(body.sum())))
    highest = ndimage.maximum_filter(hu, footprint=_FACES)
    lowest = ndimage.minimum_filter(hu, footprint=_FACES)
    dense = hu > least
    shell = dense & (highest > CORTEX_HU) & (highest - lowest > STEP_HU)
    bone = (dense & ndimage.binary_dilation(shell, iterations=2)) | (hu > max(least, METAL_HU))
    return np.asarray(hu[body & ~bone], dtype=np.float32)


def agent_level(ct: Sample) -> float | None:
    """Return the HU of contrast agent in vessels, kidneys or bowel; None without any.

    Contrast agent fills cubes of `AGENT_MM` with dense, even values. Bone of the same density is
    uneven, being a mesh with a shell around it. The couch, and cubes with metal in them, do not
    count. A percentile of the cubes' voxels is returned.
    """
    hu = ct.values
    side = AGENT_MM if min(hu.shape) > 2 else 2 * AGENT_MM  # a slice alone shows less of a mesh
    size = [
        max(3, 2 * int(side / mm / 2 + 0.25) + 1) if n > 2 else 1
        for mm, n in zip(ct.spacing, hu.shape, strict=True)
    ]
    lowest = ndimage.minimum_filter(hu, size, mode="constant", cval=BODY_HU)  # whole cubes only
    highest = ndimage.maximum_filter(hu, size)
    core = (lowest > AGENT_HU) & (highest < METAL_HU)
    core &= highest - lowest < AGENT_RANGE * ndimage.uniform_filter(hu, size)
    if not core.any():
        return None
    body = _largest(hu > BODY_HU)
    core &= body
    if core.sum() < AGENT_SHARE * body.sum():
        return None
    cubes = ndimage.maximum_filter(core, size) & (hu > AGENT_HU)
    return float(np.percentile(hu[cubes], _AGENT_PERCENTILE))


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest part of a mask, after cutting thin bridges: the patient."""
    opened = ndimage.binary_opening(mask) if min(mask.shape) > 3 else mask
    parts, n = ndimage.label(opened)
    if n == 0:
        return mask
    return np.asarray(parts == 1 + np.argmax(np.bincount(parts.ravel())[1:]))


def _pool_level(ct: Sample, body_voxels: int) -> float:
    """Return an upper limit of the HU of contrast agent in large pools; 0 without any."""
    dense = ct.values > POOL_HU
    size = [2 * round(POOL_MM / mm / 2) + 1 for mm in ct.spacing]
    filled = ndimage.uniform_filter(dense.astype(np.float32), size, mode="nearest")
    core = dense & (filled >= _FULL)
    if core.sum() <= POOL_SHARE * body_voxels:
        return 0.0
    return float(np.percentile(ct.values[core], 95))


def shows_a_head(ct: Sample) -> bool:
    """Return whether many slices of a CT contain brain: soft tissue enclosed by bone."""
    slices = np.moveaxis(ct.values, ct.axial, 0)
    pixel = np.prod([mm for axis, mm in enumerate(ct.spacing) if axis != ct.axial])
    low, high = _BRAIN_HU
    seen = heads = 0
    for plane in slices:
        if (plane > BODY_HU).sum() * pixel < _BRAIN_MM2:
            continue
        seen += 1
        inside = _enclosed(plane > _CLOSED_HU, max(1, round(_GAPS_MM / pixel**0.5)))
        heads += bool((inside & (plane > low) & (plane < high)).sum() * pixel > _BRAIN_MM2)
    return heads > 0 and heads >= _BRAIN_SHARE * seen


def _enclosed(bone: NDArray[np.bool_], gaps: int) -> NDArray[np.bool_]:
    """Return the area enclosed by bone in a slice, with gaps of this radius closed."""
    closed = ndimage.binary_closing(np.pad(bone, gaps), iterations=gaps)
    shell = closed[gaps:-gaps, gaps:-gaps]
    return np.asarray(ndimage.binary_fill_holes(shell) & ~shell)
