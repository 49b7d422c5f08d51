"""A CT as the engine works on it: upright, int16 Hounsfield units, checked, with its body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.codes import Codes, code_type
from tomochrome.colorization.body import BodyMask, find_body
from tomochrome.colorization.grid import OnGrid, block_taps
from tomochrome.errors import GeometryError, NotCTError
from tomochrome.geometry.orient import closest_axial
from tomochrome.io.units import what_it_is
from tomochrome.notices import Notice
from tomochrome.runtime import check, report
from tomochrome.volume import Volume

LARGEST_MM = 2500.0  #: no picture of a patient is wider
WIDE_GAP_MM = 8.0  #: slices farther apart than this get a warning
SLAB_VOXELS = 2_000_000  #: voxels worked on between two calls of `check`

_LOWEST, _HIGHEST = -32768, 32767
_AIR_HU = -1024


class Colors(NamedTuple):
    """Codes and confidences of voxels, see `tomochrome.color.Chroma`.

    Attributes
    ----------
    code
        Row of a predictor's table for each voxel, 0 outside the body.
    confidence
        uint8, same shape: 0 (a guess) to 255 (sure).
    """

    code: Codes
    confidence: NDArray[np.uint8]


@dataclass(frozen=True)
class Scan:
    """An upright CT and its body.

    Attributes
    ----------
    hu
        int16 (z, y, x), C-contiguous.
    spacing
        (z, y, x) in mm.
    upright
        The volume the voxels belong to, upright; see `tomochrome.geometry.orient`.
    body
        The body on its coarse grid.
    warnings
        What the user should know of it.
    """

    hu: NDArray[np.int16]
    spacing: tuple[float, float, float]
    upright: Volume
    body: BodyMask
    warnings: tuple[Notice, ...]

    def body_on_grid(self) -> OnGrid:
        """Return the body's field, and where each slice, row and column lies on its grid."""
        field = self.body.field
        z, y, x = map(block_taps, self.hu.shape, self.body.factors, field.shape)
        return OnGrid(field, *z, *y, *x)

    def paint(self, codes: int, paint: Callable[[int, int, OnGrid, Colors], None]) -> Colors:
        """Give each voxel a code and a confidence, slab by slab.

        Parameters
        ----------
        codes
            Number of codes there are.
        paint
            Called with first and last-plus-one slice of a slab, the body as it lies there, and
            the slab's codes and confidences, to be filled.

        Raises
        ------
        Cancelled
            If the user stopped it.
        """
        shape, body = self.hu.shape, self.body_on_grid()
        out = Colors(np.empty(shape, code_type(codes)), np.empty(shape, np.uint8))
        step = max(1, SLAB_VOXELS // (shape[1] * shape[2]))
        for first in range(0, shape[0], step):
            check()
            stop = min(first + step, shape[0])
            part = Colors(out.code[first:stop], out.confidence[first:stop])
            paint(first, stop, body.part(first, stop), part)
            report(stop, shape[0], "coloring")
        return out


def prepare(volume: Volume, *, force: bool = False) -> Scan:
    """Check that a volume is CT, turn it upright and find the body.

    Raises
    ------
    NotCTError
        If the volume is not in Hounsfield units (``force`` takes unknown units as HU), or
        holds colors.
    GeometryError
        If it is wider than any patient.
    """
    where = volume.provenance.source or "the volume"
    if volume.is_rgba or not np.issubdtype(volume.voxels.dtype, np.number):
        raise NotCTError(f"'{where}' holds colors, not CT values; give the CT itself")
    if np.issubdtype(volume.voxels.dtype, np.complexfloating):
        raise NotCTError(f"'{where}' holds complex numbers, not CT values; give the CT itself")
    warnings = []
    if volume.unit != "HU":
        if not force:
            raise NotCTError(
                f"'{where}' is not CT in Hounsfield units, because {what_it_is(volume)}; give a "
                "CT (if they are Hounsfield units after all: --as-hu, in Python force=True)"
            )
        text = (
            "the values are not known to be Hounsfield units; they were treated as such on request"
        )
        warnings.append(Notice("unit", "warning", text))
    upright = closest_axial(volume)
    spacing = upright.spacing
    _check_extent(upright.shape, spacing)
    if spacing[0] > WIDE_GAP_MM:
        text = f"slices are {spacing[0]:.1f} mm apart: neighboring slices add little information"
        warnings.append(Notice("geometry", "info", text))
    hu, lost = as_int16(np.asarray(upright.voxels))
    if lost:
        text = f"{lost} voxels without a finite value are treated as air"
        warnings.append(Notice("no-number", "warning", text))
    body = find_body(hu, spacing)
    if not body.field.any():
        text = "no body was found: nothing is colored"
        warnings.append(Notice("nothing-colored", "warning", text))
    return Scan(hu, spacing, upright, body, tuple(warnings))


def _check_extent(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> None:
    for count, mm in zip(shape[1:], spacing[1:], strict=True):
        if count * mm > LARGEST_MM:
            raise GeometryError(
                f"the pictures are {count * mm:.0f} mm wide, more than the field of view of any CT "
                "scanner; correct the voxel spacing"
            )


def as_int16(voxels: NDArray[np.generic]) -> tuple[NDArray[np.int16], int]:
    """Return HU as contiguous int16 and the number of voxels that were not finite (now air).

    Parameters
    ----------
    voxels
        Any real type, shape (z, y, x). int16 is not copied where it is contiguous.
    """
    if voxels.dtype == np.int16:
        return _writeable(np.ascontiguousarray(voxels, dtype=np.int16)), 0
    out = np.empty(voxels.shape, dtype=np.int16)
    lost = 0
    for k, plane in enumerate(voxels):
        if np.issubdtype(voxels.dtype, np.floating):
            finite = np.isfinite(plane)
            lost += int(finite.size - np.count_nonzero(finite))
            out[k] = np.rint(np.clip(np.where(finite, plane, _AIR_HU), _LOWEST, _HIGHEST))
        else:
            out[k] = np.clip(plane, _LOWEST, _HIGHEST)
    return out, lost


class _Buffer:
    """The memory of an array, offered to NumPy as writeable. Keeps the array alive."""

    def __init__(self, array: NDArray[np.int16]) -> None:
        self.array = array
        address = array.__array_interface__["data"][0]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def _writeable(array: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return a view that the kernels take for writeable, though none writes to it.

    numba compiles a kernel once more for read-only arrays, which would cost the user seconds.
    """
    if array.flags.writeable:
        return array
    return np.asarray(_Buffer(array))


def body_noise(scan: Scan) -> float:
    """Estimate the standard deviation of the noise in soft tissue, in HU.

    From the differences of pixels two apart inside the body on a few slices (neighbouring
    pixels are correlated by the reconstruction), by the median, which edges hardly move.
    """
    n = scan.hu.shape[0]
    body = scan.body_on_grid()
    y, x = body.y + (body.wy > 0.5), body.x + (body.wx > 0.5)
    found = []
    for k in np.unique(np.linspace(0, n - 1, min(n, 9)).astype(int)):
        plane = scan.hu[k].astype(np.int32)
        inside = body.values[body.z[k]][np.ix_(y, x)] > 250
        soft = inside & (plane > -200) & (plane < 250)
        pairs = soft[:, 2:] & soft[:, :-2]
        found.append(np.abs(plane[:, 2:] - plane[:, :-2])[pairs])
    differences = np.concatenate(found)
    if differences.size < 100:
        return 0.0
    return float(1.4826 * np.median(differences) / np.sqrt(2.0))
