"""Color of the brain by its density, where the CT shows grey and white matter.

Networks recognize the brain as one tissue. Grey matter is about 8 HU denser than white matter,
less than the noise of a voxel. The HU of the brain are therefore smoothed over a few millimeters
and compared with the mean of their neighborhood, because beam hardening makes the brain denser
near the skull. Denser voxels get the color of grey matter, less dense ones that of white matter.
This is a color by density, not a segmentation: edema has the color of white matter.

A difference that is not reproduced in adjacent slabs is noise and changes no color.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.colorization.grid import CoarseField, block_taps
from tomochrome.colorization.scan import Colors, Scan, box_of
from tomochrome.colorization.tables import SHADES, brain_shades
from tomochrome.geometry.block_grids import block_means
from tomochrome.geometry.morphology import largest_part
from tomochrome.runtime import check

GRID_MM: Final = 2.0
SMOOTH_MM: Final = 2.0
NEIGHBORHOOD_MM: Final = 20.0
"""Standard deviations of the Gaussian filters: larger than a gyrus, smaller than the cupping."""
FULL_HU: Final = 4.0
"""Difference to the neighborhood with the full color of grey or of white matter."""
SLAB_MM: Final = 4.0
MIN_CORRELATION: Final = 0.4
SIGNAL_HU: Final = (2.1, 2.6)
"""Standard deviation that adjacent slabs have in common: no difference in color up to the first,
the full one from the second on. Living heads have 2.7 (phantoms) to 4.3, a frozen cadaver, whose
CT does not show grey and white matter, has 2.0."""
MIN_CM3: Final = 100.0
_TISSUE_HU = (-30, 110)
_RIM_MM = 2.1  # voxels closer to the surface are blurred with bone
_CORE_MM = 5.0


class _Density(NamedTuple):
    """The brain's density on a coarse grid.

    Attributes
    ----------
    difference
        HU relative to the neighborhood, float32 (z, y, x).
    strength
        0 if the CT shows no difference, up to 1.
    """

    difference: NDArray[np.float32]
    strength: float


def shade_brain(scan: Scan, colors: Colors) -> None:
    """Replace the codes of brain voxels by those of its shades, in place.

    Parameters
    ----------
    scan
        The CT.
    colors
        Codes of `tables.tissue_table`.

    Raises
    ------
    Cancelled
        If the user cancelled.
    """
    shades = brain_shades()
    is_brain = shades[:, 0] != shades[:, -1]
    box = box_of(is_brain, scan, colors, MIN_CM3)
    if box is None:
        return
    code, spacing = colors.code[box], np.array(scan.spacing)
    steps = np.maximum(1, np.floor(GRID_MM / spacing)).astype(int)
    weight, hu = _coarse(is_brain, scan.hu[box], code, steps)
    density = _density(weight, hu, spacing * steps)
    if not density.strength:
        return
    half = len(SHADES) // 2
    level = density.difference * np.float32(density.strength * half / FULL_HU)
    z, y, x = map(block_taps, code.shape, steps, level.shape)
    field = CoarseField(level, *z, *y, *x)
    for k, plane in enumerate(code):
        check()
        brain = is_brain[plane]
        if brain.any():
            shade = np.rint(field.plane(k)[brain]).clip(-half, half).astype(np.intp) + half
            plane[brain] = shades[plane[brain], shade]


def _coarse(
    is_brain: NDArray[np.bool_],
    hu: NDArray[np.int16],
    code: NDArray[np.generic],
    steps: NDArray[np.int_],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the share of brain in each block, and the sum of its HU over the block's size."""
    weights, sums = [], []
    low, high = _TISSUE_HU
    for first in range(0, len(hu), steps[0]):
        check()
        part = hu[first : first + steps[0]]
        brain = is_brain[code[first : first + steps[0]]] & (part > low) & (part < high)
        size = (len(part), int(steps[1]), int(steps[2]))
        weights.append(block_means(brain, size)[0])
        sums.append(block_means(np.where(brain, part, 0), size)[0])
    return np.stack(weights), np.stack(sums)


def _density(
    weight: NDArray[np.float32], hu: NDArray[np.float32], spacing: NDArray[np.float64]
) -> _Density:
    """Return the density relative to the neighborhood, and whether the CT shows a difference."""
    check()
    brain = largest_part(ndimage.binary_opening(ndimage.binary_fill_holes(weight > 0.5)))
    depth = ndimage.distance_transform_edt(np.pad(brain, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    inner = depth > _RIM_MM
    weight, hu = weight * inner, hu * inner
    smooth, measured = _gaussian(weight, hu, SMOOTH_MM / spacing)
    measured &= brain
    check()
    around, _ = _gaussian(measured.astype(np.float32), smooth * measured, NEIGHBORHOOD_MM / spacing)
    difference = np.where(brain, smooth - around, 0).astype(np.float32)
    # the same again without smoothing along z, in slabs
    check()
    thick = max(1, round(SLAB_MM / spacing[0]))
    whole = len(weight) // thick * thick

    def slabs(values: NDArray[np.generic]) -> NDArray[np.float32]:
        parts = values[:whole].reshape(-1, thick, *values.shape[1:])
        return np.asarray(parts.mean(axis=1, dtype=np.float32))

    alone, _ = _gaussian(slabs(weight), slabs(hu), (0, *(SMOOTH_MM / spacing[1:])))
    alone -= slabs(around)
    core = slabs(measured & (depth > _CORE_MM)) > 0.999
    both = core[:-1] & core[1:]
    if np.count_nonzero(both) < 100:
        return _Density(difference, 0.0)
    (first, shared), (_, second) = np.cov(alone[:-1][both], alone[1:][both])
    if shared <= MIN_CORRELATION * np.sqrt(first * second):
        return _Density(difference, 0.0)
    return _Density(difference, float(np.interp(np.sqrt(shared), SIGNAL_HU, (0, 1))))


def _gaussian(
    weight: NDArray[np.float32], values: NDArray[np.float32], sigma: object
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the mean of values that are multiplied by their weight, and where it is known."""
    total = ndimage.gaussian_filter(weight, sigma, truncate=3.0)
    mean = ndimage.gaussian_filter(values, sigma, truncate=3.0) / np.maximum(
        total, np.float32(1e-3)
    )
    return mean, total > 0.3
