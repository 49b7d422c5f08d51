"""Segmentation of the patient's body, without couch, headrest and clothes.

The mask is computed on a coarse grid (about 3 mm) in well under a second per scan; the kernels
that fill the chroma map refine its edge with the full-resolution HU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.colorization.slab_kernels import block_mean_slab

Bool = NDArray[np.bool_]

COARSE_MM = 3.0  #: voxel size of the mask, unless the scan is coarser
TISSUE_HU = -400.0  #: threshold between air, lung or foam and tissue
LUNG_HU = -940.0  #: a cavity at the image border is lung if its mean is above this
OPENING_MM = 5.0  #: radius of the morphological opening
THICK_MM = 14.0  #: further parts (arms, legs) must contain discs of this radius
THICK_SHARE = 0.08  #: whose centers are at least this share of the part; of a couch they are fewer
FRAGMENT_MM = 60.0  #: larger fragments at the skin are couch or headrest, not ears or fingers
SUPPORT_HU = -550.0  #: lower, as a shell is a part of a coarse voxel,
SHELL_HU = -750.0  #: and one of 1.5 mm a part of two
SUPPORT_MM = 8.0  #: couch tops and head holders are shells thinner than twice this,
SUPPORT_WIDE_MM = 30.0  #: wider than this in a slice,
TOP_MM = 100.0  #: and straight over this length along z, unlike ears and fingers,
FREE_MM = 30.0  #: of which this length is free; thin edges of a couch need only this, not TOP_MM
COUCH_MM = 250.0  #: couches are wider than this, unlike head holders, at which ears lie
PLATE_MM = 45.0  #: or, beside the head, over this length along y
FREE_SHARE = 0.2  #: at least this share of a top's cross-section is free in each of its slices
TOP_HU = 350.0  #: a voxel that exceeds the top's own HU by more contains the body
FRAGMENT_STEPS = 3  #: iterations in which fragments are attached to the body
OPEN_SHARE = 0.02  #: an air pocket with a larger open share is outside the body (armpit)
SLIT_SHARE = 0.12  #: so is any cavity with this open share (slit between arm and trunk)

_BLOCK = np.ones((3, 3, 3), dtype=np.bool_)


@dataclass(frozen=True)
class BodyMask:
    """The body on a coarse grid.

    Attributes
    ----------
    field
        uint8 (z, y, x): 0 outside, 255 inside, with a smooth edge.
    factors
        Voxels of the volume per coarse voxel along (z, y, x). Coarse index ``i`` corresponds to
        voxel index ``i * factor + (factor - 1) / 2``.
    """

    field: NDArray[np.uint8]
    factors: tuple[int, int, int]

    def cut_off(self) -> float:
        """Return how much of the body's left and right sides is cut off by the image, 0 to 1.

        It is the height over which the body touches the first and last column of the slices,
        divided by its whole height there, twice; 0 for a sagittal slice, which has no sides.
        """
        body = self.field > 127
        if body.shape[2] < 3 or not body.any():
            return 0.0
        at_edge = body[:, :, 0].sum() + body[:, :, -1].sum()
        return float(at_edge / (2 * body.any(axis=2).sum()))


def find_body(hu: NDArray[np.generic], spacing: tuple[float, float, float]) -> BodyMask:
    """Find the patient in an axial CT.

    Parameters
    ----------
    hu
        Hounsfield units, shape (z, y, x), z towards superior or inferior, y towards posterior.
    spacing
        Voxel spacing along (z, y, x) in mm.
    """
    factors = coarse_factors(hu.shape, spacing)
    coarse = block_mean(hu, factors)
    mm = tuple(s * f for s, f in zip(spacing, factors, strict=True))
    mask, support = _body_and_support(coarse, (mm[0], mm[1], mm[2]))
    field = _soften(mask)
    field[((coarse > TISSUE_HU) | support) & ~mask] = 0  # the edge must not extend into a couch
    return BodyMask(field, factors)


def coarse_factors(
    shape: tuple[int, ...], spacing: tuple[float, float, float]
) -> tuple[int, int, int]:
    """Return the number of voxels per coarse voxel along (z, y, x), at least 1 each."""
    z, y, x = (
        max(1, min(int(COARSE_MM / mm + 0.5), n)) for mm, n in zip(spacing, shape, strict=True)
    )
    return z, y, x


def block_mean(hu: NDArray[np.generic], factors: tuple[int, int, int]) -> NDArray[np.float32]:
    """Average blocks of voxels; the last block of an axis may be smaller. NaN counts as air."""
    fz, fy, fx = factors
    nz, ny, nx = (-(-n // f) for n, f in zip(hu.shape, factors, strict=True))
    out = np.empty((nz, ny, nx), dtype=np.float32)
    for k in range(nz):
        block_mean_slab(hu[k * fz : (k + 1) * fz], fy, fx, out[k])
    return out


def coarse_body(coarse: NDArray[np.float32], spacing: tuple[float, float, float]) -> Bool:
    """Return the body mask on the coarse grid: bool (z, y, x), cavities filled."""
    return _body_and_support(coarse, spacing)[0]


def _body_and_support(
    coarse: NDArray[np.float32], spacing: tuple[float, float, float]
) -> tuple[Bool, Bool]:
    """Return the body with its cavities, and what couch tops and head holders fill."""
    tissue = coarse > TISSUE_HU
    nothing = np.zeros_like(tissue)
    if not tissue.any():
        return nothing, nothing
    pixel = max(spacing[1:])
    solid = _solid_parts(tissue, pixel)
    support = _supports(coarse, solid | _cavities(solid, nothing, coarse), spacing)
    if (support & solid).any():
        solid = _solid_parts(solid & ~support, pixel, support & tissue)
    short, long = _fragments(tissue & ~solid & ~support, solid, support & tissue, pixel)
    body = solid | short
    return body | _cavities(body, long | support & tissue, coarse), support


def _supports(coarse: NDArray[np.float32], body: Bool, spacing: tuple[float, float, float]) -> Bool:
    """Find couch tops and head holders, also where the body touches them.

    They are thin, and straight along z (the same in many slices) or along y (plates beside the
    head), over a greater length than ears. ``body`` may include them: with the lung, which it
    contains, the wall of the chest is thick.
    """
    shell = coarse > SHELL_HU
    disc = _disc(SUPPORT_MM / max(spacing[1:]))
    if disc is None:
        return np.zeros(shell.shape, dtype=np.bool_)
    eroded = ndimage.binary_erosion(shell | body, disc, border_value=1)
    thick = ndimage.binary_dilation(eroded, disc)
    labels, _ = _in_plane(shell & ~thick)
    thin = _long_labels(labels, SUPPORT_WIDE_MM / max(spacing[1:]))[labels]
    return _tops(thin, coarse, spacing) | _plates(thin, thick, coarse, spacing[1])


def _tops(thin: Bool, coarse: NDArray[np.float32], spacing: tuple[float, float, float]) -> Bool:
    """Return what is thin at the same place in many slices, also where the body lies on it.

    A slice in which hardly any of this cross-section is free has another support or none.
    """
    first, last = _ends(thin, 0)
    number = thin.sum(axis=0)
    places = number * spacing[0] >= FREE_MM
    long = places & ((last - first + 1)[0] * spacing[0] >= TOP_MM)
    labels, count = ndimage.label(places, _BLOCK[0])
    couch = _long_labels(labels[np.newaxis], COUCH_MM / max(spacing[1:]))
    couch &= np.bincount(labels[long], minlength=count + 1) > 0
    labels[~long & (~couch[labels] | ndimage.binary_opening(places, _BLOCK[0]))] = 0
    size = np.bincount(labels.ravel(), minlength=count + 1)
    own = np.where(thin, coarse, 0).sum(axis=0) / np.maximum(number, 1)
    top = coarse < own + TOP_HU
    for k, plane in enumerate(thin):
        here = np.bincount(labels[plane], minlength=count + 1) > FREE_SHARE * size
        here[0] = False
        top[k] &= here[labels]
    return top


def _plates(thin: Bool, thick: Bool, coarse: NDArray[np.float32], step: float) -> Bool:
    """Return what is thin and straight along y beside the body, also where ears touch it."""
    tissue = coarse > SUPPORT_HU
    first, last = _ends(thick, 2)
    x = np.arange(thick.shape[2])
    beside = thin & tissue & ((x < first) | (x > last))  # not the nasal septum
    steps = max(2, round(PLATE_MM / step))
    plate = _straight(beside, tissue, 1, steps)
    lean = np.ones((1, 1, 3), dtype=np.bool_)  # a plate may lean by a voxel
    wide = ndimage.binary_dilation(beside, lean), ndimage.binary_dilation(tissue, lean)
    return plate | beside & _straight(*wide, 1, steps)


def _ends(mask: Bool, axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the last voxel of the mask along an axis, kept with length 1.

    They are the axis's length and -1 where there is none.
    """
    n, some = mask.shape[axis], mask.any(axis=axis, keepdims=True)
    first = mask.argmax(axis=axis, keepdims=True)
    last = n - 1 - np.flip(mask, axis).argmax(axis=axis, keepdims=True)
    return np.where(some, first, n), np.where(some, last, -1)


def _straight(thin: Bool, tissue: Bool, axis: int, steps: int) -> Bool:
    """Return thin tissue that continues along an axis, and what touches it on the way."""
    straight = tissue & (_gap(thin, axis, steps) < steps)
    return straight & (_gap(~straight, axis, 1) > steps)


def _gap(mask: Bool, axis: int, border: int) -> NDArray[np.int32]:
    """Return how far the previous and the next voxel of the mask along an axis are apart.

    Beyond the scan, the nearest voxel of the mask is ``border`` voxels from its ends.
    """
    mask = np.moveaxis(mask, axis, 0)
    n = len(mask)
    index = np.arange(n, dtype=np.int32)[:, None, None]
    previous = np.maximum.accumulate(np.where(mask, index, np.int32(-border)), axis=0)
    following = np.where(mask, index, np.int32(n - 1 + border))[::-1]
    gap = np.minimum.accumulate(following, axis=0)[::-1] - previous
    return np.moveaxis(gap, 0, axis)


def _solid_parts(tissue: Bool, pixel: float, support: Bool | None = None) -> Bool:
    """Keep the largest connected component after opening, and others as thick as an arm.

    Not those on the other side of the support: without its plate a couch's rail is one of them.
    """
    opened = tissue
    disc = _disc(OPENING_MM / pixel)
    if disc is not None:
        eroded = ndimage.binary_erosion(tissue, disc, border_value=1)
        opened = ndimage.binary_dilation(eroded, disc) & tissue
        if not opened.any():
            opened = tissue
    labels, count = ndimage.label(opened)
    if count <= 1:
        return opened
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    keep = np.zeros(count + 1, dtype=np.bool_)
    keep[np.argmax(sizes)] = True
    core = _disc(THICK_MM / pixel)
    if core is None:
        keep |= sizes > 0.02 * sizes.max()
    else:
        thick = ndimage.binary_erosion(opened, core, border_value=0)
        keep |= np.bincount(labels[thick], minlength=count + 1) > THICK_SHARE * sizes
    if support is not None:
        # -1 in front of the support, 1 behind it, 0 beside and between its parts
        x, y = np.arange(support.shape[2]), np.arange(support.shape[1])[:, None]
        left, right = _ends(support, 2)
        first, last = _ends((x >= left) & (x <= right), 1)
        side_of = (y > last).astype(np.int8) - (y < first)
        side = np.bincount(labels.ravel(), side_of.ravel(), minlength=count + 1)
        keep &= side * side[np.argmax(sizes)] >= 0
    keep[0] = False
    return keep[labels]


def _fragments(rest: Bool, solid: Bool, support: Bool, pixel: float) -> tuple[Bool, Bool]:
    """Split what opening removed into body (ears, nose, fingers) and couch or headrest.

    A 2D component is body if it touches the body and is short; the remains of a couch or
    headrest are long thin curves, or touch only the rest of it (``support``) in their slice. They
    are returned second.
    """
    labels, count = _in_plane(rest)
    if count == 0:
        return rest, rest
    long = _long_labels(labels, max(FRAGMENT_MM / pixel, 3.0))
    at_support, at_body = (
        np.unique(labels[ndimage.binary_dilation(part, _BLOCK[:1])]) for part in (support, solid)
    )
    long[np.setdiff1d(at_support, at_body)] = True
    keep = np.zeros(count + 1, dtype=np.bool_)
    short = np.zeros_like(rest)
    for _ in range(FRAGMENT_STEPS):  # an ear lobe is connected through the next slice's ear
        touching = ndimage.binary_dilation(solid | short, _BLOCK) & rest
        keep[labels[touching]] = True
        keep[long] = False
        keep[0] = False
        short = keep[labels]
    return short, long[labels]


def _in_plane(mask: Bool) -> tuple[NDArray[np.int32], int]:
    """Label the components of each slice."""
    neighbors = np.zeros((3, 3, 3), dtype=np.bool_)
    neighbors[1] = True
    labels, count = ndimage.label(mask, neighbors)
    return labels, count


def _long_labels(labels: NDArray[np.int32], limit: float) -> Bool:
    """Return for each label from 0 whether its extent in plane is more than ``limit`` voxels."""
    boxes = ndimage.find_objects(labels)
    return np.array([0, *(max(s.stop - s.start for s in box[1:]) for box in boxes)]) > limit


def _cavities(body: Bool, couch: Bool, coarse: NDArray[np.float32]) -> Bool:
    """Return lungs, airways and bowel gas: holes of the body in a slice, and lung at the border.

    Outside air enclosed by arm and trunk in some slices is open above or below, and is excluded.
    So is foam under the back that truncated arms close off, despite its lung-like HU, because
    it contains the couch.
    """
    in_plane = np.zeros((3, 3, 3), dtype=np.bool_)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    labels, count = ndimage.label(~body, in_plane)
    if count == 0:
        return np.zeros(body.shape, dtype=np.bool_)
    at_border = np.zeros(count + 1, dtype=np.bool_)
    for side in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        at_border[side] = True
    mean, number = _means(labels, (coarse < TISSUE_HU) & ~body, coarse, count)
    inside = ~at_border
    inside[0] = False
    enclosed = inside[labels]
    lung = at_border & (mean > LUNG_HU) & (number > 0)
    lung[labels[couch]] = False
    lung[0] = False
    border_lung = lung[labels]
    outside = ~(body | enclosed | border_lung)
    holes = enclosed & ~_open_pockets(enclosed, outside, coarse, SLIT_SHARE)
    return holes | (border_lung & ~_open_pockets(border_lung, outside, coarse, OPEN_SHARE))


def _means(
    labels: NDArray[np.int32], where: Bool, values: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the mean of ``values`` and the number of voxels for each label within ``where``."""
    flat = labels[where]
    number = np.bincount(flat, minlength=count + 1)
    total = np.bincount(flat, weights=values[where], minlength=count + 1)
    return total / np.maximum(number, 1), number


def _open_pockets(holes: Bool, outside: Bool, coarse: NDArray[np.float32], most: float) -> Bool:
    """Return the holes that are widely open to the outside in an adjacent slice.

    Airways are open as well, but the nostrils are a small share, and the mean of a lung is well
    above that of air. ``most`` is the largest share of open voxels in a cavity of the body.
    """
    if holes.shape[0] == 1 or not holes.any():
        return np.zeros(holes.shape, dtype=np.bool_)
    labels, count = ndimage.label(holes)
    mean, size = _means(labels, holes, coarse, count)
    above = labels[:-1][holes[:-1] & outside[1:]]
    below = labels[1:][holes[1:] & outside[:-1]]
    contact = np.bincount(above, minlength=count + 1) + np.bincount(below, minlength=count + 1)
    pocket = (contact > OPEN_SHARE * size) & (mean < LUNG_HU) | (contact > most * size)
    pocket[0] = False
    return pocket[labels]


def _disc(radius: float) -> Bool | None:
    """Return a disc as structuring element (1, n, n); None if the radius is under one voxel."""
    if radius < 1.0:
        return None
    r = int(radius)
    y, x = np.ogrid[-r : r + 1, -r : r + 1]
    return (y * y + x * x <= radius * radius)[np.newaxis]


def _soften(mask: Bool) -> NDArray[np.uint8]:
    """Return the mask as 0 to 255 with an edge about one coarse voxel wide."""
    field = mask.astype(np.float32)
    for axis in (1, 2):
        field = ndimage.convolve1d(field, [0.25, 0.5, 0.25], axis=axis, mode="nearest")
    return (field * 255 + 0.5).astype(np.uint8)
