"""Running a recognition network over a scan, a few slices at a time.

The network reads the scan on its own coarse grid (see `tomochrome.colorization.inputs`). Its
probabilities are smoothed a little along z, so that neighbouring slices agree, and brought to
full resolution by the compiled kernels as soon as the slices around are there: never more than
a few predicted slices are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import ModelCard
from tomochrome.colorization.cards import hu_edges
from tomochrome.colorization.grid import Taps, first_columns, pixel_taps, taps
from tomochrome.colorization.mixture import mixture_table
from tomochrome.colorization.scan import Scan, body_noise
from tomochrome.colorization.transfer import checked_table
from tomochrome.runtime import CancelToken, Progress, check, report
from tomochrome.tissue import N_TISSUES

LIKELIHOOD = "hu_likelihood"
MARGIN = 8  #: coarse pixels around the body that the network also reads
SMOOTH_MM = 3.0  #: reach along z of the smoothing of probabilities


@dataclass(frozen=True)
class Result:
    """What a network made of a scan: see `Chroma` for the arrays."""

    code: NDArray[np.uint16]
    confidence: NDArray[np.uint8]
    mixtures: NDArray[np.float32]
    device: str
    warnings: tuple[str, ...]


def apply_network(
    scan: Scan,
    card: ModelCard,
    *,
    device: str = "auto",
    batch: int | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Result:
    """Recognize the tissues of a scan with the network of a bundle.

    Raises
    ------
    ModelError
        If the weights cannot be used.
    DeviceError, OptionError
        If the device is not there or unknown.
    Cancelled
        If the user stopped it.
    """
    from tomochrome.colorization.inputs import InputSpec, to_input_grid
    from tomochrome.colorization.kernels import fuse_slab
    from tomochrome.colorization.runner import Runner

    runner = Runner(card, device=device, batch=batch)
    spec = InputSpec.from_dict(card.metadata.get("input") or {})
    likelihood = likelihood_table(card, runner.extra.get(LIKELIHOOD))
    check(cancel)
    grid = to_input_grid(scan.hu, scan.spacing, spec)
    crop = body_crop(scan, grid.hu.shape, spec.pixel_mm, runner.multiple)
    planes = _Planes(
        smoothed(
            runner.planes(grid, spec, crop, cancel=cancel),
            smoothing_weight(grid.slice_mm),
        )
    )
    n, ny, nx = scan.hu.shape
    z = taps(np.interp(np.arange(n), grid.positions, np.arange(len(grid.positions))),
             len(grid.positions))  # fmt: skip
    y = _crop_taps(ny, scan.spacing[1], spec.pixel_mm, crop[0])
    x = _crop_taps(nx, scan.spacing[2], spec.pixel_mm, crop[1])
    columns = first_columns(x, crop[1].stop - crop[1].start)
    body_z, body_y, body_x = scan.body_taps()
    radius, cutoff = denoising(scan)
    code = np.empty(scan.hu.shape, dtype=np.uint16)
    confidence = np.empty(scan.hu.shape, dtype=np.uint8)
    for first, stop in scan.slabs():
        check(cancel)
        base, stack = planes.window(int(z.low[first]), int(z.low[stop - 1]) + 1)
        pz, bz = z.part(first, stop, base), body_z.part(first, stop)
        fuse_slab(
            scan.hu[first:stop], stack, pz.low, pz.weight, y.low, y.weight, columns, x.weight,
            scan.body.field, bz.low, bz.weight, body_y.low, body_y.weight,
            body_x.low, body_x.weight,
            likelihood, radius, cutoff, code[first:stop], confidence[first:stop],
        )  # fmt: skip
        report(progress, stop, n, "coloring")
    return Result(code, confidence, mixture_table(), runner.device_name, runner.warnings)


def likelihood_table(card: ModelCard, stored: NDArray[np.generic] | None) -> NDArray[np.float32]:
    """Return the likelihood of each HU in each tissue: float32 (HUs, N_TISSUES), rows by HU.

    The bundle's table is per bin; between the bins' centres it is interpolated, so that no
    color jumps at a bin's edge. Without a table every HU is as likely in every tissue.

    Raises
    ------
    ModelError
        If the table does not fit the metadata.
    """
    from tomochrome.colorization.kernels import HIGHEST_HU, LOWEST_HU

    hu = np.arange(LOWEST_HU, HIGHEST_HU + 1)
    if stored is None:
        return np.ones((len(hu), N_TISSUES), dtype=np.float32)
    table = checked_table(card, stored, LIKELIHOOD)
    edges = hu_edges(card)
    centers = (edges[:-1] + edges[1:]) / 2
    columns = [np.interp(hu, centers, table[:, c]) for c in range(N_TISSUES)]
    return np.ascontiguousarray(np.stack(columns, axis=1), dtype=np.float32)


def smoothing_weight(slice_mm: float) -> float:
    """Return the weight of each neighbouring slice: 1/4 for close slices, none for far ones."""
    return float(0.25 * np.exp(-0.5 * (slice_mm / SMOOTH_MM) ** 2) / np.exp(-0.5 / 9))


def smoothed(planes: Iterator[NDArray[np.float32]], side: float) -> Iterator[NDArray[np.float32]]:
    """Average each plane with its two neighbours; the first and last repeat at the ends.

    Each plane is smoothed a little in itself too, see `kernels.smooth_plane`.

    Parameters
    ----------
    planes
        Planes (h, w, N_TISSUES) in order.
    side
        Weight of each neighbour, 0 to 1/3.
    """
    side32 = np.float32(min(max(side, 0.0), 1 / 3))
    before: NDArray[np.float32] | None = None
    here: NDArray[np.float32] | None = None
    for after in planes:
        if here is not None:
            yield _mean3(here if before is None else before, here, after, side32)
        before, here = here, after
    if here is not None:
        yield _mean3(here if before is None else before, here, here, side32)


def _mean3(
    a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32], side: np.float32
) -> NDArray[np.float32]:
    from tomochrome.colorization.kernels import smooth_plane

    out = np.empty_like(b, order="C")
    smooth_plane(a, b, c, side, out)
    return out


class _Planes:
    """A sliding window over planes that come in order."""

    def __init__(self, source: Iterator[NDArray[np.float32]]) -> None:
        self._source = source
        self._held: list[NDArray[np.float32]] = []
        self._base = 0

    def window(self, first: int, last: int) -> tuple[int, NDArray[np.float32]]:
        """Return the index of the first plane kept and the stack of planes to ``last``.

        ``first`` must not shrink between calls. Beyond the last plane the stack just ends.
        """
        while self._base + len(self._held) <= last:
            plane = next(self._source, None)
            if plane is None:
                break
            self._held.append(plane)
        drop = first - self._base
        del self._held[:drop]
        self._base = first
        return first, np.stack(self._held[: last - first + 1])


def body_crop(
    scan: Scan, shape: tuple[int, ...], pixel_mm: float, multiple: int
) -> tuple[slice, slice]:
    """Return rows and columns of the input grid that hold the body in any slice.

    They begin at multiples of the network's total stride, so that a crop hardly changes what
    the network says.
    """
    field = scan.body.field.max(axis=0) > 0
    crop = []
    for axis in (0, 1):
        line = np.flatnonzero(field.any(axis=1 - axis))
        n = shape[1 + axis]
        if len(line) == 0:
            crop.append(slice(0, min(n, multiple)))
            continue
        mm = scan.spacing[1 + axis] * scan.body.factors[1 + axis]
        low = int(line[0] * mm / pixel_mm) - MARGIN
        high = int(np.ceil((line[-1] + 1) * mm / pixel_mm)) + MARGIN
        low = max(0, low // multiple * multiple)
        crop.append(slice(low, min(n, max(high, low + 1))))
    return crop[0], crop[1]


def _crop_taps(n: int, spacing: float, pixel: float, crop: slice) -> Taps:
    """Taps of ``n`` voxels on the cropped coarse axis."""
    whole = pixel_taps(n, spacing, pixel, crop.stop)
    return taps(whole.low + whole.weight.astype(np.float64) - crop.start, crop.stop - crop.start)


def denoising(scan: Scan) -> tuple[int, float]:
    """Return radius (voxels) and cutoff (HU) of the bilateral mean, by pixel size and noise."""
    pixel = min(scan.spacing[1:])
    radius = min(2, int(1.6 / pixel + 0.5))
    cutoff = float(np.clip(5.0 * body_noise(scan), 15.0, 160.0))
    return radius, cutoff
