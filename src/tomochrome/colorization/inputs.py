"""Network inputs: fixed windows of the HU at one pixel size, with adjacent slices.

Training and prediction share this module, so that their inputs are identical. A volume is
resampled to the *input grid*: square pixels of ``pixel_mm``, averaged over their area, and slices
at least ``slice_mm`` apart (thinner ones are averaged), or exactly ``slice_mm`` for blocks.
A network for slices gets several channels per slice of that grid: each is the luminance (0..1,
DICOM PS3.3 C.11.2.1.2.1 LINEAR) of one window at one distance above or below the slice. The first
and last slice are repeated beyond the ends, so that single slices need no special case.

The array must be in axial orientation (z to superior, y to posterior, x to the patient's left),
see `tomochrome.geometry.orient.closest_axial`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.colorization.grid_kernels import average, fill_windows
from tomochrome.errors import ModelError


@dataclass(frozen=True)
class Channel:
    """One input channel: a window applied to a plane at a distance from the slice.

    Parameters
    ----------
    center, width
        The window in HU.
    offset_mm
        Distance of the plane from the slice in mm, positive to superior.
    """

    center: float
    width: float
    offset_mm: float = 0.0


_SOFT = (40.0, 400.0)
DEFAULT_CHANNELS: tuple[Channel, ...] = (
    Channel(-600.0, 1500.0),
    Channel(*_SOFT),
    Channel(400.0, 1800.0),
    Channel(60.0, 180.0),
    Channel(*_SOFT, -18.0),
    Channel(*_SOFT, -9.0),
    Channel(*_SOFT, -3.0),
    Channel(*_SOFT, 3.0),
    Channel(*_SOFT, 9.0),
    Channel(*_SOFT, 18.0),
)
"""Lung, soft tissue, bone and a narrow window; then soft tissue at six offsets."""


@dataclass(frozen=True)
class InputSpec:
    """Specification of a network's input, stored with the weights.

    Parameters
    ----------
    pixel_mm
        Size of the input grid's square pixels in mm.
    slice_mm
        Slice spacing of the input grid in mm, for slices a minimum; slices are averaged over it.
    channels
        Input channels in order. Channels with an offset make a 2.5D network.
    block
        Input size (z, y, x) of a 3D network in voxels of the input grid; None for slices.
    overlap
        Fraction of a block, 0 to 0.9, that overlaps the next one along each axis.
    """

    pixel_mm: float = 2.0
    slice_mm: float = 3.0
    channels: tuple[Channel, ...] = DEFAULT_CHANNELS
    block: tuple[int, int, int] | None = None
    overlap: float = 0.25

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as JSON-serializable data."""
        data: dict[str, Any] = {
            "pixel_mm": self.pixel_mm,
            "slice_mm": self.slice_mm,
            "channels": [asdict(channel) for channel in self.channels],
        }
        if self.block is not None:
            data |= {"block": list(self.block), "overlap": self.overlap}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> InputSpec:
        """Parse a specification written by `to_dict`.

        Raises
        ------
        ModelError
            If a field is missing, unknown, not a number, or out of range.
        """
        try:
            rows = data["channels"]
            if not set(data) <= _FIELDS or not 1 <= len(rows) <= 64:
                raise ValueError("unknown fields, or no channels")
            channels = tuple(
                Channel(
                    _number(row["center"], -4000, 4000),
                    _number(row["width"], 2, 8000),
                    _number(row["offset_mm"], -100, 100),
                )
                for row in rows
            )
            pixel, thickness = (
                _number(data["pixel_mm"], 0.2, 20),
                _number(data["slice_mm"], 0.2, 20),
            )
            block, overlap = data.get("block"), _number(data.get("overlap", 0.25), 0, 0.9)
            if block is not None:
                z, y, x = (int(_number(size, 1, 1024)) for size in block)
                block = z, y, x
                if any(channel.offset_mm for channel in channels):
                    raise ValueError("blocks cannot have channels with an offset")
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the description of the model's input is damaged ({error}); reinstall the model"
            ) from error
        return cls(pixel, thickness, channels, block, overlap)


_FIELDS = {"pixel_mm", "slice_mm", "channels", "block", "overlap"}


def _number(value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{value!r} is not a number from {low} to {high}")
    return float(value)


@dataclass(frozen=True, eq=False)
class InputGrid:
    """A volume on the network's input grid.

    Parameters
    ----------
    hu
        float32 (z, y, x) in HU.
    positions
        float64 (z,): fractional slice index of each slice in the source volume.
    slice_mm
        Slice spacing of ``hu`` in mm.
    pixel_mm
        Pixel size of ``hu`` in mm. The outer edges of the first pixel and of the source's first
        pixel coincide: the center of pixel ``i`` is at ``(i + 0.5) * pixel_mm / spacing - 0.5``
        in source pixels.
    """

    hu: NDArray[np.float32]
    positions: NDArray[np.float64]
    slice_mm: float
    pixel_mm: float


def to_input_grid(
    hu: NDArray[Any], spacing: tuple[float, float, float], spec: InputSpec
) -> InputGrid:
    """Resample an axial volume to the network's input grid.

    Parameters
    ----------
    hu
        (z, y, x) in HU, any real type.
    spacing
        Spacing (z, y, x) in mm.
    spec
        The input specification.

    Returns
    -------
    InputGrid
        With ``max(1, round(n * spacing / pixel_mm))`` pixels along y and x.
    """
    sz, sy, sx = spacing
    n_z, n_y, n_x = hu.shape
    # a 3D network has learned shapes at one slice spacing
    step = max(sz, spec.slice_mm) if spec.block is None else spec.slice_mm
    extent = (n_z - 1) * sz
    n_out = 1 + math.floor(extent / step + 1e-6)
    first = (extent - (n_out - 1) * step) / 2  # the remainder is divided between both ends
    positions = np.clip((first + step * np.arange(n_out)) / sz, 0, n_z - 1)
    z = _weights(n_z, positions, step / sz)
    y, x = (_weights(n, *_pixels(n, mm, spec.pixel_mm)) for n, mm in ((n_y, sy), (n_x, sx)))
    out = np.empty((n_out, len(y[0]), len(x[0])), np.float32)
    average(np.ascontiguousarray(hu), z, y, x, out)
    return InputGrid(out, positions, step, spec.pixel_mm)


def _pixels(n: int, spacing: float, pixel: float) -> tuple[NDArray[np.float64], float]:
    count = max(1, round(n * spacing / pixel))
    index = np.arange(count, dtype=np.float64)
    return np.asarray((index + 0.5) * (pixel / spacing) - 0.5), pixel / spacing


def _weights(
    n: int, centers: NDArray[np.float64], footprint: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the first source index of each output and the weights of consecutive sources.

    A footprint above 1 averages over its area; otherwise the interpolation is linear.
    """
    half = max(footprint, 1.0) / 2
    taps = math.ceil(2 * half) + 1
    if footprint <= 1.0:
        start = np.floor(centers).astype(np.int64)
        index = start[:, None] + np.arange(2)
        weight = 1.0 - np.abs(index - centers[:, None])
    else:
        start = np.floor(centers - half + 0.5).astype(np.int64)
        index = start[:, None] + np.arange(taps)
        low = np.maximum(index - 0.5, centers[:, None] - half)
        high = np.minimum(index + 0.5, centers[:, None] + half)
        weight = np.maximum(high - low, 0.0)
    weight = np.where((index >= 0) & (index < n), weight, 0.0)
    empty = weight.sum(axis=1) <= 1e-6
    weight[empty, 0] = 1.0
    start[empty] = np.clip(start[empty], 0, n - 1)
    weight /= weight.sum(axis=1, keepdims=True)
    return start, weight.astype(np.float32)


def input_batch(
    grid: InputGrid, slices: ArrayLike, spec: InputSpec, multiple: int = 1
) -> NDArray[np.float32]:
    """Return the network input for some slices of the input grid.

    Parameters
    ----------
    grid
        The volume on the input grid.
    slices
        Indices (n,) into ``grid.hu``.
    spec
        The input specification.
    multiple
        Height and width are padded at their ends with zeros to a multiple of this
        (see `tomochrome.colorization.network_builder.size_multiple`); crop the prediction
        accordingly.

    Returns
    -------
    ndarray
        float32 (n, channels, y, x), luminances 0..1.
    """
    index = np.atleast_1d(np.asarray(slices, dtype=np.int64))
    _, n_y, n_x = grid.hu.shape
    height, width = (-(-n // multiple) * multiple for n in (n_y, n_x))
    shape = (len(index), len(spec.channels), height, width)
    out = np.zeros(shape, np.float32)
    offsets = np.array([channel.offset_mm / grid.slice_mm for channel in spec.channels])
    low, slope = window_ramps(spec)
    fill_windows(grid.hu, index, offsets, low, slope, out)
    return out


def cropped_batch(
    grid: InputGrid, slices: range, spec: InputSpec, crop: tuple[slice, slice], multiple: int
) -> NDArray[np.float32]:
    """Return `input_batch` of a crop of the grid, padded to at least two multiples.

    Normalization layers need more than one pixel at the coarsest level of the network.
    """
    margin = int(np.ceil(max(abs(c.offset_mm) for c in spec.channels) / grid.slice_mm)) + 1
    low, high = max(0, slices.start - margin), min(len(grid.hu), slices.stop + margin)
    hu = np.ascontiguousarray(grid.hu[low:high, crop[0], crop[1]])
    part = replace(grid, hu=hu, positions=grid.positions[low:high])
    images = input_batch(part, np.asarray(slices) - low, spec, multiple)
    y, x = (max(0, 2 * multiple - n) for n in images.shape[2:])
    return np.pad(images, ((0, 0), (0, 0), (0, y), (0, x))) if y or x else images


def window_ramps(spec: InputSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return lower edge (HU) and slope (1/HU) of each channel (LINEAR, PS3.3 C.11.2.1.2.1).

    The luminance is ``clip((hu - low) * slope, 0, 1)``.
    """
    center = np.array([channel.center for channel in spec.channels])
    width = np.array([channel.width for channel in spec.channels])
    low = center - 0.5 - (width - 1) / 2
    return low.astype(np.float32), (1.0 / (width - 1)).astype(np.float32)
