"""What a volume holds, as far as a window has to know: soft tissue, contrast agent, a head.

A CT is looked at on a regular grid of about 3 mm, which takes a fraction of a second for any
scan. The grid starts at the same corner of the patient however the volume is stored, so that
the same scan gets the same window on any axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.volume import Volume

GRID_MM: Final = 3.0  #: spacing of the sample, where the scan is not coarser itself
MOST_VOXELS: Final = 2_000_000  #: of the sample
BODY_HU: Final = -200.0  #: above: fat and all that is denser; couch, lung and air lie below
BONE_HU: Final = 300.0  #: nothing less dense is taken for bone, so trabecular bone counts as tissue
SKULL_HU: Final = 350.0  #: the same in a head, where much tissue shares its voxels with the skull
CORTEX_HU: Final = 500.0  #: bone has a neighbor this dense
STEP_HU: Final = 300.0  #: and differs by this much from another one
METAL_HU: Final = 1200.0  #: denser voxels are bone or metal unless they lie in contrast agent
POOL_MM: Final = 15.0  #: no bone is denser than `POOL_HU` over a cube of this size
POOL_HU: Final = 250.0
POOL_SHARE: Final = 0.004  #: smallest share of the body that counts as a pool of contrast agent
_FULL: Final = 0.9  #: share of a cube that must be dense: noise makes holes

_CLOSED_HU: Final = 200.0  # above: the skull, thin as it may be, to see what it encloses
_GAPS: Final = 3  # samples on either side of a gap in the skull that is closed
_BRAIN_HU: Final = (-10.0, 90.0)
_BRAIN_MM2: Final = 2500.0  #: least area of brain in a slice, enclosed by bone
_BRAIN_SHARE: Final = 0.3  #: of the slices of a head scan; a whole body has fewer

_FACES: Final = ndimage.generate_binary_structure(3, 1)


@dataclass(frozen=True, eq=False)
class Sample:
    """Voxels of a volume on a coarse regular grid.

    Attributes
    ----------
    values
        float32, three axes in the volume's own order, each running towards the patient's left,
        back or head. Not finite values are replaced by the least finite one.
    spacing
        Distance between the samples along each axis in mm.
    axial
        The axis that runs closest to head and feet.
    """

    values: NDArray[np.float32]
    spacing: tuple[float, float, float]
    axial: int


def sample(volume: Volume) -> Sample:
    """Return the voxels of a scalar volume on a regular grid of about `GRID_MM`."""
    strides = [
        max(1, min(round(GRID_MM / mm), n // 4))
        for mm, n in zip(volume.spacing, volume.shape, strict=True)
    ]
    while np.prod([-(-n // s) for n, s in zip(volume.shape, strides, strict=True)]) > MOST_VOXELS:
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


def tissue_values(ct: Sample, *, head: bool = False) -> NDArray[np.float32]:
    """Return the HU of all of the body that is not bone: fat, organs, blood, contrast agent.

    Bone is told from contrast agent, which can be as dense, by its shape. Bone is a dense shell:
    its voxels are denser than `BONE_HU` (`SKULL_HU` in a ``head``), one of their neighbors is
    denser than `CORTEX_HU`, and between their neighbors lies a step of `STEP_HU`; dense voxels
    within two steps of such are bone too. Contrast agent in the heart, in great vessels, stomach
    or bladder fills a cube of `POOL_MM`, which hardly any bone does; where there is much of that,
    only what is denser still is taken for bone.

    What is left still holds some bone, and the share of dense tissue is rather over- than
    underestimated.
    """
    hu = ct.values
    body = hu > BODY_HU
    least = max(SKULL_HU if head else BONE_HU, _pool_level(ct, int(body.sum())))
    highest = ndimage.maximum_filter(hu, footprint=_FACES)
    lowest = ndimage.minimum_filter(hu, footprint=_FACES)
    dense = hu > least
    shell = dense & (highest > CORTEX_HU) & (highest - lowest > STEP_HU)
    bone = (dense & ndimage.binary_dilation(shell, iterations=2)) | (hu > max(least, METAL_HU))
    return np.asarray(hu[body & ~bone], dtype=np.float32)


def _pool_level(ct: Sample, body_voxels: int) -> float:
    """Return the HU that nearly all contrast agent in large pools lies below; 0 without any."""
    dense = ct.values > POOL_HU
    size = [2 * round(POOL_MM / mm / 2) + 1 for mm in ct.spacing]
    filled = ndimage.uniform_filter(dense.astype(np.float32), size, mode="nearest")
    core = dense & (filled >= _FULL)
    if core.sum() <= POOL_SHARE * body_voxels:
        return 0.0
    return float(np.percentile(ct.values[core], 95))


def shows_a_head(ct: Sample) -> bool:
    """Whether much of a CT is brain: slices where bone encloses much of a brain's density."""
    slices = np.moveaxis(ct.values, ct.axial, 0)
    pixel = np.prod([mm for axis, mm in enumerate(ct.spacing) if axis != ct.axial])
    low, high = _BRAIN_HU
    seen = found = 0
    for plane in slices:
        if (plane > BODY_HU).sum() * pixel < _BRAIN_MM2:
            continue
        seen += 1
        inside = _enclosed(plane > _CLOSED_HU)
        found += bool((inside & (plane > low) & (plane < high)).sum() * pixel > _BRAIN_MM2)
    return found > 0 and found >= _BRAIN_SHARE * seen


def _enclosed(bone: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what bone encloses in a slice, small gaps closed."""
    closed = ndimage.binary_closing(np.pad(bone, _GAPS), iterations=_GAPS)
    shell = closed[_GAPS:-_GAPS, _GAPS:-_GAPS]
    return np.asarray(ndimage.binary_fill_holes(shell) & ~shell)
