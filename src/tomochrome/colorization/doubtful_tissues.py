"""Doubt about tissues of which the network is sure, where their surroundings contradict it.

- A compact part of a vessel with lung all around can be a nodule. A vessel of that thickness is a
  tube, and passes through the shell around any of its parts.
- Marrow lies in a shell of denser bone. Without it, which happens where the image cuts the body
  off, it can be a vessel with contrast agent.
- Thin fluid between fat and denser tissue can be the partial volume of both.

The first and the last keep half of their saturation, the second gets the color between both
tissues; the confidence of all is at most one half.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.colorization.scan import Colors, Scan
from tomochrome.colorization.tables import mixture_codes, tissue_table
from tomochrome.geometry.block_grids import block_means
from tomochrome.runtime import check
from tomochrome.tissue import N_TISSUES, Tissue

Bool = NDArray[np.bool_]
Floats = NDArray[np.floating]

GRID_MM: Final = 2.0
_HALF: Final = np.uint8(127)
_EITHER: Final = (0.53, 0.47)  # of two tissues; maps of tissues get the name of the first
_WINDOW: Final = (-1000, 1000)  # HU, so that metal weighs little in the means
_AROUND_MM: Final = 12.0  # of the boxes in which parts are examined
_MOST_BLOCKS: Final = 1_000_000  # of such a box; larger parts are not examined

THICK_MM: Final = 5.0  # crosses of this length lie within a nodule
CORE_MM: Final = 2.2  # from its surface to its core,
NODULE_RADIUS_MM: Final = 3.5  # to its middle: thinner vessels are compact parts themselves
LONGEST: Final = 1.7
"""The volume of the core, divided by that of a sphere as deep as its middle: 1.1 in the nodule of a
living patient, 2.2 to 5.4 in four parts of vessels with lung all around."""
NODULE_SHELL_MM: Final = (3.5, 6.5)  # distance from the core
MAX_VESSEL, MIN_LUNG = 0.04, 0.6
"""Shares of the shell. 0.02 vessel and 0.98 lung at a nodule of a living patient; all thick parts
of vessels in seven living chests have at least 0.07."""

MARROW_MM: Final = 9.0  # crosses of this length lie within marrow
MARROW_CM3: Final = 0.1  # the smallest part
BONE_SHELL_MM: Final = (2.5, 8.0)  # distance from their middles
DENSER: Final = 1.15
"""The upper quartile of the shell's HU, divided by the median of the marrow. It is at least 1.29 at
94 parts of the marrow of ten living people, 1.03 to 1.08 at four parts of an aorta."""
MAX_SPREAD: Final = 0.12
"""Standard deviation of the marrow's HU, divided by the median: 0.05 to 0.09 in the aorta, at least
0.15 in small parts of vertebral arches, which have no shell of their own."""
VESSEL_HU: Final = (100.0, 600.0)

REACH_MM: Final = 4.0
FAT_HU: Final = (-300.0, -20.0)  # with its partial volume; the lung is less dense
SOFT_HU: Final = 20.0  # at least
FLUID_MM: Final = 11.0  # around crosses of this length, fluid is thick enough to be certain
NEAR_MM: Final = 8.0


def doubt_tissues(scan: Scan, colors: Colors) -> None:
    """Make tissues uncertain where their surroundings contradict them, in place.

    Parameters
    ----------
    scan
        The CT.
    colors
        Codes of `tables.tissue_table`, and confidences.

    Raises
    ------
    Cancelled
        If the user cancelled.
    """
    spacing = np.array(scan.spacing)
    steps = np.maximum(1, np.rint(GRID_MM / spacing)).astype(int)
    shape = scan.hu.shape
    middles = tuple(slice(min(s // 2, n - 1), None, s) for s, n in zip(steps, shape, strict=True))
    tissue = tissue_table().tissue.astype(np.uint8)[colors.code[middles]]
    of = [
        np.minimum(np.arange(n) // step, blocks - 1)
        for n, step, blocks in zip(shape, steps, tissue.shape, strict=True)
    ]
    hu, mm = _block_hu(scan, steps)[tuple(map(slice, tissue.shape))], spacing * steps
    less, vessel = _less_saturated(), either(Tissue.VESSEL, Tissue.MARROW)
    for doubtful, named, codes in (
        (nodules(tissue, mm), (Tissue.VESSEL,), less),
        (marrow_without_bone(tissue, hu, mm), (Tissue.MARROW, Tissue.CORTICAL_BONE), vessel),
        (partial_volume(tissue, hu, mm), (Tissue.FLUID,), less),
    ):
        doubt(colors, doubtful, of, named, codes)


def doubt(
    colors: Colors,
    doubtful: Bool,
    of: Sequence[NDArray[np.int_]],
    named: tuple[Tissue, ...],
    codes: NDArray[np.uint16],
) -> None:
    """Give tissues in doubtful blocks other codes, and a confidence of at most one half, in place.

    Parameters
    ----------
    colors
        See `doubt_tissues`.
    doubtful
        Booleans (z, y, x) of the blocks.
    of
        Along each axis, the index of each voxel's block.
    named
        The tissues.
    codes
        The new code of each code.

    Raises
    ------
    Cancelled
        If the user cancelled.
    """
    wanted = np.asarray(np.isin(tissue_table().tissue, named))
    for k in np.flatnonzero(np.asarray(doubtful.any(axis=(1, 2)))[of[0]]):
        check()
        code, confidence = colors.code[k], colors.confidence[k]
        here = doubtful[of[0][k]][np.ix_(*of[1:])] & wanted[code]
        code[here] = codes[code[here]]
        np.minimum(confidence, _HALF, out=confidence, where=here)


@cache
def _less_saturated() -> NDArray[np.uint16]:
    """Return, for each code, that of the same tissues with a total probability of one half."""
    weights = tissue_table().weights
    total = np.maximum(weights.sum(axis=1, keepdims=True), 0.5)
    return mixture_codes(weights * (0.5 / total))


def either(first: Tissue, second: Tissue) -> NDArray[np.uint16]:
    """Return, for each code, that of one of two tissues, the first of which is more probable."""
    weights = np.zeros((1, N_TISSUES), np.float32)
    weights[0, [first, second]] = _EITHER
    return mixture_codes(weights).repeat(len(tissue_table()))


def _block_hu(scan: Scan, steps: NDArray[np.int_]) -> NDArray[np.float32]:
    """Return the mean HU of blocks."""
    planes = []
    slab = max(1, scan.slab // int(steps[0])) * int(steps[0])
    for first in range(0, len(scan.hu), slab):
        check()
        part = np.clip(scan.hu[first : first + slab], *_WINDOW)
        planes.append(block_means(part, (int(steps[0]), int(steps[1]), int(steps[2]))))
    return np.concatenate(planes)


def nodules(tissue: NDArray[np.integer], mm: Floats) -> Bool:
    """Return the blocks of compact vessels with lung all around.

    Parameters
    ----------
    tissue
        `Tissue` of each block, shape (z, y, x).
    mm
        Spacing of the blocks along (z, y, x).
    """
    found = np.zeros(tissue.shape, np.bool_)
    vessel = tissue == Tissue.VESSEL
    lung = (tissue == Tissue.LUNG) | (tissue == Tissue.AIRWAY)
    sphere = 4 / 3 * np.pi / mm.prod()
    for box, part in _parts(_within(vessel, THICK_MM, mm), mm):
        if lung[box].mean() < MIN_LUNG / 2:
            continue
        depth = _distance(~vessel[box], mm)
        cores, _ = ndimage.label(depth > CORE_MM, np.ones((3, 3, 3)))
        core = np.isin(cores, np.unique(cores[part & (cores > 0)]))
        if _at_edge(core, box, tissue.shape) or not core.any():
            continue
        away = _distance(core, mm)
        shell = (away > NODULE_SHELL_MM[0]) & (away < NODULE_SHELL_MM[1])
        middle = depth[core].max()
        if (
            middle >= NODULE_RADIUS_MM
            and shell.any()
            and core.sum() <= LONGEST * sphere * middle**3
            and vessel[box][shell].mean() <= MAX_VESSEL
            and lung[box][shell].mean() >= MIN_LUNG
        ):
            found[box] |= away < NODULE_SHELL_MM[1]
    return found


def marrow_without_bone(tissue: NDArray[np.integer], hu: NDArray[np.float32], mm: Floats) -> Bool:
    """Return the blocks of and around marrow that has no shell of denser bone.

    Parameters
    ----------
    tissue, mm
        See `nodules`.
    hu
        Mean HU of the blocks.
    """
    found = np.zeros(tissue.shape, np.bool_)
    for box, part in _parts(_within(tissue == Tissue.MARROW, MARROW_MM, mm), mm):
        away = _distance(part, mm)
        shell = (away > BONE_SHELL_MM[0]) & (away < BONE_SHELL_MM[1]) & (hu[box] > 0)
        median = np.median(hu[box][part])
        if (
            part.sum() * mm.prod() >= MARROW_CM3 * 1000
            and VESSEL_HU[0] <= median <= VESSEL_HU[1]
            and hu[box][part].std() <= MAX_SPREAD * median
            and shell.any()
            and np.quantile(hu[box][shell], 0.75) <= DENSER * median
        ):
            found[box] |= away < BONE_SHELL_MM[1]
    return found


def partial_volume(tissue: NDArray[np.integer], hu: NDArray[np.float32], mm: Floats) -> Bool:
    """Return the blocks of thin fluid between fat and denser tissue.

    Parameters
    ----------
    tissue, hu, mm
        See `marrow_without_bone`.
    """
    found = np.zeros(tissue.shape, np.bool_)
    fluid = tissue == Tissue.FLUID
    at = np.nonzero(fluid)
    between = np.zeros(len(at[0]), np.bool_)
    for axis, step in enumerate(mm):
        reach = max(1, round(REACH_MM / step))
        ends = []
        for shift in (-reach, reach):
            moved = np.clip(at[axis] + shift, 0, fluid.shape[axis] - 1)
            ends.append(hu[(*at[:axis], moved, *at[axis + 1 :])])
        least, most = np.minimum(*ends), np.maximum(*ends)
        between |= (least > FAT_HU[0]) & (least < FAT_HU[1]) & (most > SOFT_HU)
    found[at] = between
    if between.any():
        found &= _within(~_within(fluid, FLUID_MM, mm), 2 * NEAR_MM, mm)
    return found


def _within(mask: Bool, length: float, mm: Floats) -> Bool:
    """Return the middles of crosses of this length in mm within the mask.

    Beyond the edges of the image all is. scipy's erosion does the same in twenty times the time.
    """
    check()
    eroded = mask.copy()
    for axis, step in enumerate(mm):
        out, of = np.moveaxis(eroded, axis, 0), np.moveaxis(mask, axis, 0)
        for shift in range(1, 1 + round((length / step - 1) / 2)):
            out[shift:] &= of[:-shift]
            out[:-shift] &= of[shift:]
    return eroded


def _distance(mask: Bool, mm: Floats) -> NDArray[np.float64]:
    """Return the distance to the mask in mm."""
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=mm))


def _parts(mask: Bool, mm: Floats) -> Iterator[tuple[tuple[slice, ...], Bool]]:
    """Yield the connected parts of a mask: a box with a margin, and the part in it."""
    labels, _ = ndimage.label(mask)
    margin = [round(_AROUND_MM / step) + 1 for step in mm]
    for number, tight in enumerate(ndimage.find_objects(labels), start=1):
        check()
        box = tuple(
            slice(max(0, side.start - more), side.stop + more)
            for side, more in zip(tight, margin, strict=True)
        )
        part = labels[box] == number
        if part.size <= _MOST_BLOCKS:
            yield box, part


def _at_edge(core: Bool, box: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    """Whether a part continues beyond its box."""
    for axis, (side, n) in enumerate(zip(box, shape, strict=True)):
        first, last = core.take(0, axis).any(), core.take(-1, axis).any()
        if (first and side.start > 0) or (last and side.stop < n):
            return True
    return False
