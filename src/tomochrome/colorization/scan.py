"""Preparation of a CT for colorization: checks, axial orientation, int16 HU, body mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.color.codes import Codes, code_type
from tomochrome.colorization.body import BodyMask, find_body
from tomochrome.colorization.grid import CoarseField, block_taps
from tomochrome.errors import GeometryError, NotCTError
from tomochrome.geometry.affine import plane_distance
from tomochrome.geometry.orient import closest_axial
from tomochrome.io.units import why_not_hu
from tomochrome.notices import Notice
from tomochrome.runtime import check, report
from tomochrome.volume import Volume, require_volume

MAX_MM = 2500.0  #: largest plausible in-plane extent
WIDE_GAP_MM = 8.0  #: a larger slice spacing raises a warning
CUT_OFF = 0.25  #: so does a larger part of the body's sides at the edges of the image
SLAB_VOXELS = 2_000_000  #: voxels processed between two calls of `check`

_SAMPLE = (1, 8, 8)  #: voxels of the search for a tissue
_MIN_HU, _MAX_HU = -32768, 32767
_AIR_HU = -1024


class Colors(NamedTuple):
    """Codes and confidences of voxels, see `tomochrome.color.Chroma`.

    Attributes
    ----------
    code
        Row of a predictor's table for each voxel, 0 outside the body.
    confidence
        uint8, same shape: 0 (none) to 255 (certain).
    """

    code: Codes
    confidence: NDArray[np.uint8]


class Predicted:
    """Progress of coloring a scan of a single slab, half of which is the network's.

    Larger scans report each slab. A small one would report only its end, and its progress would
    stay at 0 until then.

    Parameters
    ----------
    slices
        Number of slices of the scan, the reported total; 0 to report nothing.
    """

    def __init__(self, slices: int = 0) -> None:
        self.slices = slices

    def predicted(self, share: float) -> None:
        """Report the share of the scan that the network has predicted, 0 to 1."""
        if self.slices:
            report(int(self.slices * share / 2), self.slices, "coloring")


@dataclass(frozen=True)
class Scan:
    """A CT in axial orientation, and its body mask.

    Attributes
    ----------
    hu
        int16 (z, y, x), C-contiguous.
    spacing
        (z, y, x) in mm.
    upright
        The source volume in axial orientation; see `tomochrome.geometry.orient.closest_axial`.
    body
        The body on its coarse grid.
    warnings
        Warnings for the user.
    """

    hu: NDArray[np.int16]
    spacing: tuple[float, float, float]
    upright: Volume
    body: BodyMask
    warnings: tuple[Notice, ...]

    def body_field(self) -> CoarseField:
        """Return the body's field with the interpolation taps of the scan's voxels."""
        field = self.body.field
        z, y, x = map(block_taps, self.hu.shape, self.body.factors, field.shape)
        return CoarseField(field, *z, *y, *x)

    @property
    def slab(self) -> int:
        """Number of slices that `paint` computes at once."""
        return max(1, SLAB_VOXELS // (self.hu.shape[1] * self.hu.shape[2]))

    def paint(self, codes: int, paint: Callable[[int, int, CoarseField, Colors], None]) -> Colors:
        """Compute a code and a confidence for each voxel, slab by slab.

        Parameters
        ----------
        codes
            Number of codes.
        paint
            Called with the first and last-plus-one slice of a slab, the body field of the slab,
            and the slab's codes and confidences, which it fills.

        Raises
        ------
        Cancelled
            If the user cancelled.
        """
        shape, body = self.hu.shape, self.body_field()
        out = Colors(np.empty(shape, code_type(codes)), np.empty(shape, np.uint8))
        for first in range(0, shape[0], self.slab):
            check()
            stop = min(first + self.slab, shape[0])
            part = Colors(out.code[first:stop], out.confidence[first:stop])
            paint(first, stop, body.part(first, stop), part)
            report(stop, shape[0], "coloring")
        return out


def box_of(
    codes: NDArray[np.bool_], scan: Scan, colors: Colors, min_cm3: float, around_mm: float = 0.0
) -> tuple[slice, ...] | None:
    """Return the box of a tissue, with a margin, or None if there is little or none of it.

    Parameters
    ----------
    codes
        Booleans (codes,): the codes of the tissue.
    scan, colors
        A scan and its colors.
    min_cm3
        The least volume of the tissue.
    around_mm
        Margin on all sides, in addition to that for the sampled voxels.
    """
    hit = codes[colors.code[tuple(slice(step // 2, None, step) for step in _SAMPLE)]]
    voxel = float(np.prod(scan.spacing)) * np.prod(_SAMPLE)
    if hit.sum() * voxel < min_cm3 * 1000:
        return None
    box = []
    for axis, (step, mm) in enumerate(zip(_SAMPLE, scan.spacing, strict=True)):
        at = np.flatnonzero(hit.any(axis=tuple({0, 1, 2} - {axis})))
        margin = round(around_mm / mm)
        first, last = (int(at[0]) - 1) * step - margin, (int(at[-1]) + 2) * step + margin
        box.append(slice(max(0, first), last))
    return tuple(box)


def prepare(volume: Volume, *, force: bool = False) -> Scan:
    """Check that a volume is CT, reorient it to axial and find the body.

    Raises
    ------
    InputError
        If the argument is no volume.
    NotCTError
        If the volume is not in Hounsfield units (with ``force`` unknown units are treated as
        HU), or contains colors.
    GeometryError
        If its in-plane extent is implausibly large.
    """
    require_volume(volume, "the scan to color")
    where = volume.provenance.source or "the volume"
    if volume.is_rgba or volume.voxels.dtype == np.bool_:
        what = "colors" if volume.is_rgba else "a mask"
        raise NotCTError(f"'{where}' contains {what}, not CT values; use the original CT")
    warnings = []
    if volume.unit != "HU":
        if not force:
            raise NotCTError(
                f"'{where}' is not CT in Hounsfield units, because {why_not_hu(volume)}; use a "
                "CT (if the values are in fact Hounsfield units: --as-hu, in Python force=True)"
            )
        text = (
            "the values are not known to be Hounsfield units; they were treated as such on request"
        )
        warnings.append(Notice("unit", "warning", text))
    upright = closest_axial(volume)
    spacing = upright.spacing
    for count, mm in zip(upright.shape[1:], spacing[1:], strict=True):
        if count * mm > MAX_MM:
            raise GeometryError(
                f"the slices are {count * mm:.0f} mm wide, more than the field of view of any CT "
                "scanner; correct the voxel spacing"
            )
    if upright.shape[0] > 1 and (gap := plane_distance(upright.affine)) > WIDE_GAP_MM:
        text = f"slices are {gap:.1f} mm apart: adjacent slices add little information"
        warnings.append(Notice("geometry", "info", text))
    hu, lost = as_int16(np.asarray(upright.voxels))
    if lost:
        text = f"{lost} voxels without a finite value are treated as air"
        warnings.append(Notice("no-number", "warning", text))
    body = find_body(hu, spacing)
    if not body.field.any():
        text = "no body was found: nothing is colored"
        warnings.append(Notice("nothing-colored", "warning", text))
    if body.cut_off() > CUT_OFF:
        text = "the body is cut off at the sides of the image: colors are less certain there"
        warnings.append(Notice("cut-off", "warning", text))
    return Scan(hu, spacing, upright, body, tuple(warnings))


def as_int16(voxels: NDArray[np.generic]) -> tuple[NDArray[np.int16], int]:
    """Return HU as contiguous int16, non-finite voxels as air, and the number of those.

    Parameters
    ----------
    voxels
        Any real type, shape (z, y, x). Contiguous int16 is not copied.
    """
    if voxels.dtype == np.int16:
        hu = np.ascontiguousarray(voxels, dtype=np.int16)
        # the kernels do not write to it, but numba would compile each of them again for a
        # read-only array, which takes seconds
        return hu if hu.flags.writeable else np.asarray(_Buffer(hu)), 0
    out = np.empty(voxels.shape, dtype=np.int16)
    lost = 0
    for k, plane in enumerate(voxels):
        if np.issubdtype(voxels.dtype, np.floating):
            finite = np.isfinite(plane)
            lost += int(finite.size - np.count_nonzero(finite))
            out[k] = np.rint(np.clip(np.where(finite, plane, _AIR_HU), _MIN_HU, _MAX_HU))
        else:
            out[k] = np.clip(plane, _MIN_HU, _MAX_HU)
    return out, lost


class _Buffer:
    """Exposes the memory of an array to NumPy as writeable, and keeps the array alive."""

    def __init__(self, array: NDArray[np.int16]) -> None:
        self.array = array
        address = array.__array_interface__["data"][0]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def body_noise(scan: Scan) -> float:
    """Estimate the standard deviation of the noise in soft tissue, in HU.

    It is the scaled median absolute difference, robust to edges, between pixels two columns
    apart (adjacent ones are correlated by the reconstruction) inside the body on a few slices.
    """
    n = scan.hu.shape[0]
    body = scan.body_field()
    y, x = body.y + (body.wy > 0.5), body.x + (body.wx > 0.5)
    levels = []
    for k in np.unique(np.linspace(0, n - 1, min(n, 9)).astype(int)):
        plane = scan.hu[k].astype(np.int32)
        inside = body.values[body.z[k]][np.ix_(y, x)] > 250
        soft = inside & (plane > -200) & (plane < 250)
        pairs = soft[:, 2:] & soft[:, :-2]
        levels.append(np.abs(plane[:, 2:] - plane[:, :-2])[pairs])
    differences = np.concatenate(levels)
    if differences.size < 100:
        return 0.0
    return float(1.4826 * np.median(differences) / np.sqrt(2.0))


def denoised(plane: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return a slice (y, x) after a 3 x 3 median filter, which halves noise and keeps edges."""
    return np.asarray(ndimage.median_filter(plane.astype(np.float32), 3, mode="nearest"))
