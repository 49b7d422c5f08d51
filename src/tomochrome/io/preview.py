"""Grey thumbnails of series: the middle slice, without decoding the other slices."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tomochrome.errors import InputError
from tomochrome.geometry import closest_axial
from tomochrome.io.dicom.pixels import read_slices
from tomochrome.io.reading import read_item
from tomochrome.io.series_item import Item
from tomochrome.runtime import check, quietly
from tomochrome.volume import Provenance, Volume
from tomochrome.windowing import PRESETS, Window, luminance, scanner_windows

SIZE: Final = 96
_DISPLAY_PERCENTILES: Final = (1.0, 99.0)
"""Percentiles of the values shown as black and white if no window is known."""


@quietly()
def preview(item: Item, size: int = SIZE) -> NDArray[np.uint8]:
    """Return an image of the middle slice, upright and with square pixels.

    The slice is shown in its own plane: axial and coronal ones with the patient's right on the
    left, sagittal ones with anterior on the left; superior or anterior is up. For a DICOM series
    only the middle slice is decoded. The window is the first one in the header, else soft tissue
    for CT and nearly the full value range for anything else.

    Parameters
    ----------
    item
        An item of `tomochrome.io.find`. Series that `read` refuses may have a preview too.
    size
        Height and width of the image in pixels.

    Returns
    -------
    ndarray
        uint8 of shape (size, size), 0 black to 255 white, padded with black.

    Raises
    ------
    InputError
        If the slice cannot be decoded.
    Cancelled
        If the task was cancelled.
    """
    check()
    volume = _dicom_slice(item) if item.kind.startswith("dicom") else read_item(item)
    check()
    plane, spacing = _plane(closest_axial(volume))
    grey = _windowed(plane, volume)
    check()
    return _fitted(grey, spacing, size)


def _dicom_slice(item: Item) -> Volume:
    """Return the middle slice of a DICOM series."""
    headers = getattr(item.source, "headers", ())
    if not headers:
        raise InputError(f"'{item.path}' holds no slice to show")
    header = headers[len(headers) // 2]
    voxels = read_slices((header,), threads=1).voxels
    provenance = Provenance(modality=item.modality, windows=header.windows or item.windows)
    return Volume(voxels, _slice_affine(header), item.unit, provenance)


def _slice_affine(header: Any) -> NDArray[np.float64]:
    """Return the affine of a slice from its header; axial with 1 mm spacing if unusable."""
    down, across = header.pixel_spacing or (1.0, 1.0)
    row, column = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])
    if header.orientation is not None:
        row, column = np.asarray(header.orientation, dtype=np.float64).reshape(2, 3)
    normal = np.cross(row, column)
    usable = min(down, across) > 0 and np.linalg.norm(normal) > 0.5
    if not usable:
        down = across = 1.0
        row, column, normal = np.eye(3)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = normal, column * down, row * across
    return affine


def _plane(upright: Volume) -> tuple[NDArray[Any], tuple[float, float]]:
    """Return the middle plane with rows pointing down, and its spacing (rows, columns) in mm."""
    spacing, voxels = upright.spacing, np.asarray(upright.voxels)
    thin = [axis for axis in range(3) if voxels.shape[axis] == 1]
    normal = thin[0] if len(thin) == 1 else 0
    plane = np.take(voxels, voxels.shape[normal] // 2, axis=normal)
    rows, columns = (axis for axis in range(3) if axis != normal)
    # z increases to superior (up on screen), y to posterior (down on screen).
    return (plane[::-1] if rows == 0 else plane), (spacing[rows], spacing[columns])


def _windowed(plane: NDArray[Any], volume: Volume) -> NDArray[np.uint8]:
    if volume.is_rgba:
        return np.asarray(plane[..., :3].mean(axis=-1) * (plane[..., 3] / 255), np.uint8)
    window = _window(plane, volume)
    finite = np.nan_to_num(plane.astype(np.float32), posinf=0.0, neginf=0.0)
    return np.rint(luminance(finite, window) * 2.55).astype(np.uint8)


def _window(plane: NDArray[Any], volume: Volume) -> Window:
    windows = scanner_windows(volume)
    if windows:
        return windows[0]
    if volume.unit == "HU":
        return PRESETS["soft-tissue"]
    values = plane[np.isfinite(plane)]
    low, high = np.percentile(values, _DISPLAY_PERCENTILES) if values.size else (0.0, 1.0)
    return Window(float(low + high) / 2, max(float(high - low), 1e-6), "LINEAR_EXACT")


def _fitted(grey: NDArray[np.uint8], spacing: tuple[float, float], size: int) -> NDArray[np.uint8]:
    """Return the image scaled to fit a square, with square pixels, by area averaging."""
    height, width = grey.shape[0] * spacing[0], grey.shape[1] * spacing[1]
    scale = size / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(grey).resize(shape, Image.Resampling.BOX, reducing_gap=None)
    canvas = np.zeros((size, size), np.uint8)
    top, left = (size - shape[1]) // 2, (size - shape[0]) // 2
    canvas[top : top + shape[1], left : left + shape[0]] = np.asarray(small)
    return canvas
