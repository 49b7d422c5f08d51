"""Doubt about vessels that are as dense as the liver beside them.

In a scan with contrast agent, a thick part of the liver's density at the liver can be a vein that
the agent has not reached, or liver: the network takes the caudate lobe for a vessel, and is sure of
it. Its Hounsfield units do not tell which it is. Such parts get the color between both, and a
confidence of one half.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.colorization.doubtful_tissues import doubt, either
from tomochrome.colorization.scan import Colors, Scan, box_of
from tomochrome.colorization.tables import tissue_table
from tomochrome.geometry.block_grids import block_means
from tomochrome.runtime import check
from tomochrome.tissue import Tissue

GRID_MM: Final = 3.0
SMOOTH_MM: Final = 1.5
MIN_CM3: Final = 100.0  # of liver
AROUND_MM: Final = 40.0  # the box of the liver, with the aorta
SAME_HU: Final = 20.0
MIN_CONTRAST_HU: Final = 30.0
"""Between the densest tenth of thick vessels and the liver. It is -4 to 5 in four scans without
contrast agent, 57 to 320 in four with it (living people)."""
RADIUS_MM: Final = 4.5  # of a thick vessel
NEAR_MM: Final = 10.0
_WINDOW: Final = (-200, 400)  # HU, so that gas and bone weigh little in the means


def doubt_isodense_vessels(scan: Scan, colors: Colors) -> None:
    """Make vessels at the liver uncertain where they are thick and as dense as it, in place.

    Parameters
    ----------
    scan, colors
        See `doubtful_tissues.doubt_tissues`.

    Raises
    ------
    Cancelled
        If the user cancelled.
    """
    vessel, liver = (tissue_table().tissue == tissue for tissue in (Tissue.VESSEL, Tissue.LIVER))
    box = box_of(liver, scan, colors, MIN_CM3, AROUND_MM)
    if box is None:
        return
    code, spacing = colors.code[box], np.array(scan.spacing)
    steps = np.maximum(1, np.rint(GRID_MM / spacing)).astype(int)
    hu, is_vessel, is_liver = _coarse(scan.hu[box], code, (vessel, liver), steps)
    doubtful = _doubtful(hu, is_vessel > 0.5, is_liver > 0.5, spacing * steps)
    of = [np.arange(n) // step for n, step in zip(code.shape, steps, strict=True)]
    part = Colors(code, colors.confidence[box])
    doubt(part, doubtful, of, (Tissue.VESSEL,), either(Tissue.VESSEL, Tissue.LIVER))


def _coarse(
    hu: NDArray[np.int16],
    code: NDArray[np.generic],
    tissues: tuple[NDArray[np.bool_], ...],
    steps: NDArray[np.int_],
) -> tuple[NDArray[np.float32], ...]:
    """Return the mean HU of blocks, and the share of each tissue in them."""
    planes: list[list[NDArray[np.float32]]] = [[] for _ in range(1 + len(tissues))]
    for first in range(0, len(hu), steps[0]):
        check()
        slab = slice(first, first + steps[0])
        parts = [np.clip(hu[slab], *_WINDOW), *(tissue[code[slab]] for tissue in tissues)]
        for means, part in zip(planes, parts, strict=True):
            means.append(block_means(part, (len(part), int(steps[1]), int(steps[2])))[0])
    return tuple(map(np.stack, planes))


def _doubtful(
    hu: NDArray[np.float32],
    is_vessel: NDArray[np.bool_],
    is_liver: NDArray[np.bool_],
    spacing: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return the blocks of thick vessels at the liver that are as dense as it."""
    smooth = ndimage.gaussian_filter(hu, SMOOTH_MM / spacing, truncate=3.0)

    def distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        check()
        return np.asarray(ndimage.distance_transform_edt(mask, sampling=spacing))

    none = np.zeros(hu.shape, np.bool_)
    vessels = smooth[distance(is_vessel) > RADIUS_MM]
    density = np.median(smooth[is_liver]) if is_liver.any() else np.inf
    if not len(vessels) or np.quantile(vessels, 0.9) < density + MIN_CONTRAST_HU:
        return none
    thick = distance(is_vessel & (np.abs(smooth - density) <= SAME_HU)) > RADIUS_MM
    if not thick.any():
        return none
    parts, _ = ndimage.label(distance(~thick) <= RADIUS_MM)
    at_liver = np.unique(parts[distance(~is_liver) <= NEAR_MM])
    uncertain = np.isin(parts, at_liver[at_liver > 0])
    rim = distance(~uncertain) <= RADIUS_MM
    return np.asarray(is_vessel & rim & (smooth <= density + SAME_HU))  # less dense beside fat
