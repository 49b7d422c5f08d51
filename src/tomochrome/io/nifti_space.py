"""Affine of a NIfTI volume from its sform, its qform or neither, with warnings."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.geometry.affine import corners, decompose, from_nifti_affine, nearest_orthogonal
from tomochrome.notices import Notice

Affine = NDArray[np.float64]

FORMS_AGREE_MM: Final = 0.1
"""Tolerance for equal corners: a qform's 32-bit quaternion is accurate to 0.01 mm."""
SIZES_AGREE: Final = 0.01
"""Relative tolerance for equal voxel sizes."""
_MM: Final = {"meter": 1000.0, "micron": 0.001}
_LEAST_MM: Final = 1e-4  # finer than the voxels of any CT


def space(
    header: Any, shape: tuple[int, int, int], zooms: NDArray[np.float64], where: str
) -> tuple[Affine, tuple[Notice, ...]]:
    """Return the affine of a header, and warnings about it.

    The choice is nibabel's: the sform if present, else the qform, else only the voxel sizes with
    the x axis pointing left. If the sform is singular, the qform is used.

    Parameters
    ----------
    header
        A NIfTI or Analyze header as repaired by nibabel.
    shape
        Voxels along (z, y, x).
    zooms
        Voxel sizes (x, y, z) as stored, before the repair.
    where
        The file, for the error message.

    Returns
    -------
    tuple of affine and warnings
        4x4 from (z, y, x) index to LPS mm.

    Raises
    ------
    InputError
        If the header has no invertible affine.
    """
    analyze = not hasattr(header, "get_sform")
    sform = None if analyze else _form(header, "sform")
    qform = None if analyze else _form(header, "qform")
    usable = [zoom > 0 and np.isfinite(zoom) for zoom in np.abs(zooms)]
    sized = all(good or size == 1 for good, size in zip(usable, shape[::-1], strict=True))
    if sform is not None and _regular(sform):
        affine, note = sform, _compare(sform, qform if sized else None, shape)
        if not note and qform is None and sized:
            note = _compare_sizes(sform, np.abs(zooms), shape)
    elif qform is not None and _regular(qform) and sized:
        affine = qform
        note = "" if sform is None else "the sform of the file is unusable; the qform was used"
    elif sform is None and qform is None and sized:
        affine = np.asarray(header.get_base_affine() if not analyze else header.get_best_affine())
        note = (
            "an Analyze file stores no orientation: left and right are not certain"
            if analyze
            else "the file stores no orientation: left and right are not certain"
        )
    else:
        affine, note = np.zeros((4, 4)), ""
    if not _regular(affine):
        raise InputError(
            f"'{where}' has an unusable geometry: its affine is singular; export it again"
        )
    scaled, turned = _in_mm(header, affine)
    notices = tuple(Notice("geometry", "warning", text) for text in (note, turned) if text)
    return from_nifti_affine(scaled), notices


def _form(header: Any, name: str) -> Affine | None:
    """Return the sform or qform; zeros if it is invalid, None if it is absent."""
    if int(header[f"{name}_code"]) == 0:
        return None
    try:
        return np.asarray(getattr(header, f"get_{name}")(), dtype=np.float64)
    except Exception:  # an invalid quaternion
        return np.zeros((4, 4))


def _regular(affine: Affine) -> bool:
    """Whether the affine is invertible: no axis is zero or in the plane of the two others."""
    if not np.isfinite(affine).all() or not np.array_equal(affine[3], (0, 0, 0, 1)):
        return False
    _, _, lengths = decompose(affine) if (affine[:3, :3] != 0).any(axis=0).all() else (0, 0, None)
    if lengths is None or lengths.min() < _LEAST_MM:
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-3)


def _compare(sform: Affine, qform: Affine | None, shape: tuple[int, int, int]) -> str:
    """Describe the difference between sform and qform; empty if they agree."""
    if qform is None:
        return ""
    if not _regular(qform):
        return "the qform of the file is unusable; the sform was used"
    grid = (shape[2], shape[1], shape[0])
    apart = np.linalg.norm(corners(grid, sform) - corners(grid, qform), axis=1).max()
    if apart <= FORMS_AGREE_MM:
        return ""
    turn = nearest_orthogonal(sform) @ nearest_orthogonal(qform).T
    if np.linalg.det(turn) < 0:
        return (
            "sform and qform of the file are mirror images of each other (one of them swaps left "
            "and right); the sform was used"
        )
    angle = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    return (
        f"sform and qform of the file disagree by up to {apart:.1f} mm and {angle:.1f} degrees; "
        "the sform was used"
    )


def _compare_sizes(sform: Affine, zooms: Affine, shape: tuple[int, int, int]) -> str:
    """Describe the difference between the voxel sizes of sform and header; empty if they agree.

    In a sheared sform (gantry tilt) the header may give the distance of the slices instead.
    """
    lengths = decompose(sform)[2]
    distances = 1 / np.linalg.norm(np.linalg.inv(sform[:3, :3]), axis=1)
    agree = [
        count == 1 or any(abs(size - zoom) <= SIZES_AGREE * zoom for size in sizes)
        for count, zoom, *sizes in zip(shape[::-1], zooms, lengths, distances, strict=True)
    ]
    if all(agree):
        return ""
    one, other = (" x ".join(f"{size:.4g}" for size in sizes) for sizes in (lengths, zooms))
    return (
        f"the sform of the file says that voxels measure {one}, its pixdim says {other}; the sform "
        "was used"
    )


def _in_mm(header: Any, affine: Affine) -> tuple[Affine, str]:
    if not hasattr(header, "get_xyzt_units"):
        return affine, ""
    try:
        unit = str(header.get_xyzt_units()[0])
    except KeyError:
        return (
            affine,
            "the file gives its positions in a unit that NIfTI does not define; taken as mm",
        )
    if unit not in _MM:
        return affine, ""
    scale = np.diag([_MM[unit]] * 3 + [1.0])
    return scale @ affine, f"positions in the file are in {unit}s; they were converted to mm"
