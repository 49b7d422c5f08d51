"""Noise of axial slices: its strength, and non-local means over neighboring slices."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.restoration.defects import WHOLE, Part
from tomochrome.runtime.kernels import in_chunks

STRENGTH: Final = 0.8  #: of the filter, in standard deviations of the noise
PATCH_PX: Final = 5  #: also in the compiled loop
SEARCH_PX: Final = 4  #: around each pixel in its slice
NEIGHBOR_SEARCH_PX: Final = 2  #: the same in the slice before and after
MIN_WEIGHT: Final = 1e-3  #: of a pixel in its own mean
NETWORK_FROM_HU: Final = 15.0
NETWORK_ALONE_HU: Final = 50.0
"""Noise up to which the filter fills alone, and from which the network does. Below, the network
smooths more than noise; above, patches are too noisy to be compared."""
NEAR_BONE_FROM_HU: Final = 100.0
NEAR_BONE_ALONE_HU: Final = 160.0
"""The same near bone and air."""
NETWORK_RANGE_HU: Final = (-300.0, 400.0)
_RANGE_PX: Final = 1.5
_RANGE_FACTOR: Final = 4.0
"""Near bone and air, which the network sees coarsely, it takes HU from thin walls: there the filter
fills alone unless the noise is strong."""
USUAL_NOISE_HU: Final = 10.0
"""Of a scan at the full dose, if it is not known better; its share of the variance is kept."""
_SOFT_HU: Final = (-200.0, 250.0)
_SOFT_PX: Final = 1.5
_BLOCK_PX: Final = 32  # in which noise is estimated
_MIN_STEPS: Final = 100
_QUARTILE: Final = 0.31864 * 2**0.5  # of absolute differences of normal noise; edges raise others
_USUAL_WEIGHT: Final = 0.05  # of the median of all blocks
_MIN_SD_HU: Final = 0.5
_FIT_PX: Final = 5
_FIT_NOISE: Final = 2.0  # in standard deviations


def noise_map(hu: NDArray[np.floating]) -> NDArray[np.float32]:
    """Estimate the standard deviation of the noise around each pixel of a slice, in HU.

    It differs within a slice: between the hips or the shoulders few photons are left.

    Parameters
    ----------
    hu
        HU (y, x).

    Returns
    -------
    ndarray
        float32 (y, x): of blocks, from the lower quartile of absolute differences of pixels of soft
        tissue two rows or columns apart, smooth between them; 0 in a slice without soft tissue.
    """
    smooth = np.asarray(ndimage.gaussian_filter(hu, _SOFT_PX))
    soft = (smooth > _SOFT_HU[0]) & (smooth < _SOFT_HU[1])
    steps = np.full((2, *hu.shape), np.nan, np.float32)
    for axis, step in enumerate(steps):
        values, valid, middle = (np.moveaxis(part, axis, 0) for part in (hu, soft, step))
        middle[1:-1] = np.where(
            np.logical_and(valid[2:], valid[:-2]), np.abs(values[2:] - values[:-2]), np.nan
        )
    rows, columns = (-(-n // _BLOCK_PX) for n in hu.shape)
    blocks = np.full((rows, columns), np.nan)
    for row, column in np.ndindex(rows, columns):
        y, x = (slice(k * _BLOCK_PX, (k + 1) * _BLOCK_PX) for k in (row, column))
        block = steps[:, y, x]
        block = block[np.isfinite(block)]
        if len(block) >= _MIN_STEPS:
            quarter = len(block) // 4
            blocks[row, column] = np.partition(block, quarter)[quarter] / _QUARTILE
    if np.isnan(blocks).all():
        return np.zeros(hu.shape, np.float32)
    usual, seen = np.nanmedian(blocks), np.isfinite(blocks).astype(np.float32)
    total, weight = (
        ndimage.gaussian_filter(part, 1, mode="nearest")
        for part in (seen * np.nan_to_num(blocks), seen)
    )
    even = (total + _USUAL_WEIGHT * usual) / (weight + _USUAL_WEIGHT)
    fine = ndimage.zoom(even, _BLOCK_PX, order=1, mode="nearest", grid_mode=True)
    return np.asarray(fine[: hu.shape[0], : hu.shape[1]], np.float32)


def network_share(
    sd: NDArray[np.float32] | float, smooth: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the share of the network, beside `non_local_means`, in the filling of noise.

    Parameters
    ----------
    sd
        Standard deviation of the noise in HU, of all or of each pixel (y, x).
    smooth
        HU (y, x) after `non_local_means`.

    Returns
    -------
    ndarray
        float32 (y, x) of 0 to 1; 0 near bone and air unless the noise is very strong.
    """
    largest, everywhere = (
        np.clip((sd - first) / (alone - first), 0, 1)
        for first, alone in (
            (NETWORK_FROM_HU, NETWORK_ALONE_HU),
            (NEAR_BONE_FROM_HU, NEAR_BONE_ALONE_HU),
        )
    )
    low, high = NETWORK_RANGE_HU
    beyond = ((smooth < low) | (smooth > high)).astype(np.float32)
    near = np.minimum(_RANGE_FACTOR * ndimage.gaussian_filter(beyond, _RANGE_PX), 1)
    return np.asarray(largest * (1 - near * (1 - everywhere)), np.float32)


def non_local_means(
    hu: NDArray[np.float32], z: int, sd: NDArray[np.float32] | float, part: Part = WHOLE
) -> NDArray[np.float32]:
    """Denoise a slice by the pixels around which it and its two neighbors look alike.

    Buades, Coll and Morel (2005), "A non-local algorithm for image denoising", CVPR; the expected
    distance of equal patches, twice the variance of the noise, is subtracted.

    Parameters
    ----------
    hu
        HU (z, y, x).
    z
        The slice.
    sd
        Standard deviation of the noise in HU, of all or of each pixel of the part; nothing changes
        at 0.
    part
        Rows and columns of it.

    Returns
    -------
    ndarray
        HU, float32 (y, x) of the part.
    """
    own = np.ascontiguousarray(hu[z][part])
    if not np.any(sd):
        return own
    near = [k for k in (z - 1, z, z + 1) if 0 <= k < len(hu)]
    reaches = np.array([SEARCH_PX if k == z else NEIGHBOR_SEARCH_PX for k in near])
    others = np.stack([hu[k][part] for k in near])
    scale = np.broadcast_to(1 / np.maximum(sd, _MIN_SD_HU) ** 2, own.shape).astype(np.float32)
    out = np.empty_like(own)
    average_alike(
        own, others, near.index(z), reaches, scale, np.float32(1 / STRENGTH**2),
        np.float32(MIN_WEIGHT), out,
    )  # fmt: skip
    return out


def as_measured_on_average(
    smooth: NDArray[np.float32],
    measured: NDArray[np.float32],
    sd: NDArray[np.float32],
    usual: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Give denoised HU the mean, the contrast and the noise that belong to the measured ones.

    Around each pixel the linear function of the denoised HU is fitted that is nearest to the
    measured ones, in which noise averages out (He, Sun and Tang 2013, "Guided image filtering",
    IEEE TPAMI 35:1397); where the contrast is less than the noise, only the mean is fitted. As much
    of what was removed is kept as a scan at the full dose has.

    Parameters
    ----------
    smooth, measured
        HU (y, x), denoised and as measured.
    sd
        Standard deviation of the noise in HU, (y, x).
    usual
        The same at the full dose.

    Returns
    -------
    ndarray
        HU, float32 (y, x).
    """

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(ndimage.uniform_filter(values, 2 * _FIT_PX + 1))

    lost = measured - smooth
    level, mean_lost = mean(smooth), mean(lost)
    variance = np.maximum(mean(smooth * smooth) - level**2, 0) + (_FIT_NOISE * sd) ** 2
    slope = (mean(lost * smooth) - level * mean_lost) / np.maximum(variance, 1)
    fitted = smooth + mean(slope) * smooth + mean(mean_lost - slope * level)
    kept = np.minimum(usual / np.maximum(sd, _MIN_SD_HU), 1) ** 2
    return np.asarray(fitted + kept * (measured - fitted), np.float32)


@in_chunks(jobs=lambda own, *_: len(own), least=8, fastmath=True)
def average_alike(  # type: ignore[no-untyped-def]  # noqa: C901 - loop over all voxels
    first, last, own, others, at, reaches, scale, half, own_weight, out
):
    """Average each pixel of ``own`` (y, x) with those of ``others`` (z, y, x) around it.

    ``others[at]`` is ``own``; ``reaches`` are the largest shifts in each. The weight of a pixel is
    ``exp(-max(scale * d - 2, 0) * half)`` with ``scale`` (y, x) of the pixel and the mean squared
    difference ``d`` of 5 x 5 pixels around both, as far as they are in the image; that of the pixel
    itself is the largest of the others, and at least ``own_weight``.
    """
    rows, columns = own.shape
    sums = np.zeros(columns + 4, np.float32)
    distance, total, weights, largest = np.zeros((4, columns), np.float32)
    for y in range(first, last):
        total[:] = 0
        weights[:] = 0
        largest[:] = own_weight
        for k in range(len(others)):
            reach = reaches[k]
            for dy in range(max(-reach, -y), min(reach + 1, rows - y)):
                top, bottom = max(y - 2, 0, -dy), min(y + 3, rows, rows - dy)
                for dx in range(-reach, reach + 1):
                    if k == at and dy == 0 and dx == 0:
                        continue
                    left, right = max(0, -dx), min(columns, columns - dx)
                    count = right - left
                    sums[:] = 0
                    inner = sums[left + 2 : right + 2]
                    for row in range(top, bottom):
                        a, b = own[row, left:right], others[k, row + dy, left + dx : right + dx]
                        for x in range(count):
                            inner[x] += (a[x] - b[x]) ** 2
                    wide = sums[left : right + 4]
                    factor = np.float32(1 / (5 * (bottom - top)))
                    scales = scale[y, left:right]
                    for x in range(count):
                        distance[x] = (factor * scales[x]) * (
                            wide[x] + wide[x + 1] + wide[x + 2] + wide[x + 3] + wide[x + 4]
                        )
                    for x in range(min(2, count)):
                        distance[x] *= np.float32(5) / min(x + 3, count)
                    for x in range(max(count - 2, 2), count):
                        distance[x] *= np.float32(5) / min(count - x + 2, count)
                    b = others[k, y + dy, left + dx : right + dx]
                    t, w, m = total[left:right], weights[left:right], largest[left:right]
                    for x in range(count):
                        # exp(-e) = exp(-e / 128) ** 128, by its series: vectorized, unlike exp
                        e = max(distance[x] - np.float32(2), np.float32(0)) * half
                        e = min(e, np.float32(32)) * np.float32(1 / 128)
                        p = np.float32(1) - e * (
                            np.float32(1) - e * (np.float32(0.5) - e * np.float32(1 / 6))
                        )
                        p *= p
                        p *= p
                        p *= p
                        p *= p
                        p *= p
                        p *= p
                        p *= p
                        t[x] += p * b[x]
                        w[x] += p
                        m[x] = max(m[x], p)
        for x in range(columns):
            out[y, x] = (total[x] + largest[x] * own[y, x]) / (weights[x] + largest[x])
