"""Parallel-beam projections of axial slices, and filtered backprojection.

A scanner measures fan beams, which are rebinned to parallel beams before reconstruction; defects of
the projections (metal, detector elements, noise, motion) have the same shapes in parallel beams.

Source: Kak and Slaney (1988), "Principles of Computerized Tomographic Imaging", chapter 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from tomochrome.runtime import check
from tomochrome.runtime.kernels import in_chunks

SLICES: Final = 16  #: that are projected at a time
_VIEWS: Final = 128  # between which the user may cancel
_ROWS: Final = 64  # the same for backprojection


@dataclass(frozen=True)
class Projector:
    """The views of a slice.

    Parameters
    ----------
    shape
        Rows and columns of the slice; its pixels are square.
    n_views
        Number of views over half a turn.
    blur_px
        Standard deviation in pixels of a Gaussian that `reconstruct` smooths with: the kernel of
        the reconstruction.
    """

    shape: tuple[int, int]
    n_views: int
    blur_px: float = 0.0

    @property
    def angles(self) -> NDArray[np.float64]:
        """Angles of the views in radians, float64 (n_views,)."""
        return np.linspace(0, np.pi, self.n_views, endpoint=False)

    @property
    def n_detectors(self) -> int:
        """Number of detector elements, each as wide as a pixel: they cover the diagonal."""
        return int(np.ceil(np.hypot(*self.shape))) + 2

    def project(
        self,
        image: NDArray[np.floating] | NDArray[np.bool_],
        where: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Return the line integrals of an image, or of several.

        Parameters
        ----------
        image
            (y, x) or (z, y, x), for example attenuation per pixel.
        where
            Booleans (view, detector): which are needed, all if None. The others are 0.

        Returns
        -------
        ndarray
            float32 (view, detector) or (z, view, detector), in units of the image times pixels.
        """
        rays = np.ones((self.n_views, self.n_detectors), np.bool_) if where is None else where

        def project(packed: NDArray[np.float32], out: NDArray[np.float32]) -> None:
            bordered = np.pad(packed, ((1, 1), (1, 1), (0, 0)))
            turned = np.ascontiguousarray(bordered.swapaxes(0, 1))
            used = bordered.any(axis=(1, 2)), turned.any(axis=(1, 2))
            for first in range(0, self.n_views, _VIEWS):
                check()
                part = slice(first, first + _VIEWS)
                project_views(bordered, turned, used, self.angles[part], rays[part], out[part])

        return _several(project, image, (self.n_views, self.n_detectors))

    def reconstruct(self, sinogram: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the filtered backprojection of a sinogram: the inverse of `project`.

        Parameters
        ----------
        sinogram
            (view, detector) or (z, view, detector).

        Returns
        -------
        ndarray
            float32 (y, x) or (z, y, x).
        """
        image = np.pi * self.mean_over_views(self.filtered(sinogram))
        return np.asarray(image, np.float32)

    def mean_over_views(self, sinogram: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return for each pixel the mean of a sinogram over its rays, (y, x) or (z, y, x)."""

        def backproject(packed: NDArray[np.float32], out: NDArray[np.float32]) -> None:
            for top in range(0, len(out), _ROWS):
                check()
                backproject_rows(packed, self.angles, top, len(out), out[top : top + _ROWS])

        image = _several(backproject, sinogram, self.shape)
        image /= self.n_views
        return image

    def noise_gain(self) -> float:
        """Return the variance of a pixel of `reconstruct` for independent elements of variance 1.

        Source: Kak and Slaney, equation 5.59.
        """
        frequency = np.linspace(-0.5, 0.5, 2001)
        response = np.abs(frequency) * np.exp(-2 * (np.pi * self.blur_px * frequency) ** 2)
        return float(np.pi**2 / self.n_views * np.trapezoid(response**2, frequency))

    def filtered(self, sinogram: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return a sinogram (..., view, detector) after the band-limited ramp filter.

        Source: Kak and Slaney, equation 61.
        """
        n = next_fast_len(2 * self.n_detectors, real=True)
        distance = np.minimum(np.arange(n), n - np.arange(n))
        ramp = np.zeros(n)
        ramp[0] = 0.25
        odd = distance % 2 == 1
        ramp[odd] = -1 / (np.pi * distance[odd]) ** 2
        response = rfft(ramp).real * np.exp(-2 * (np.pi * self.blur_px * rfftfreq(n)) ** 2)
        spectrum = rfft(np.asarray(sinogram, np.float32), n, axis=-1) * response.astype(np.float32)
        filtered = irfft(spectrum, n, axis=-1)[..., : self.n_detectors]
        return np.ascontiguousarray(filtered, np.float32)


def _several(
    function: Callable[[NDArray[np.float32], NDArray[np.float32]], None],
    images: NDArray[np.floating] | NDArray[np.bool_],
    shape: tuple[int, int],
) -> NDArray[np.float32]:
    """Call a kernel, whose results have a shape, for (y, x) or (z, y, x), `SLICES` at a time."""
    flat = np.asarray(images, np.float32).reshape(-1, *images.shape[-2:])
    out = np.empty((len(flat), *shape), np.float32)
    for first in range(0, len(flat), SLICES):
        part = flat[first : first + SLICES]
        result = np.empty((*shape, len(part)), np.float32)
        function(np.ascontiguousarray(np.moveaxis(part, 0, -1)), result)
        out[first : first + len(part)] = np.moveaxis(result, -1, 0)
    return out.reshape(*images.shape[:-2], *shape)


# Compiled loops over several slices, which have the same rays, so that positions and weights are
# computed once for all of them; the slices are the last axis, over which the innermost loop is
# vectorized. Coordinates are in pixels: ``s = x cos(angle) + y sin(angle)``, with the origin in the
# middle of the image and of the detector.


@in_chunks(jobs=lambda image, turned, used, angles, rays, out: len(angles), least=4, fastmath=True)
def project_views(first, last, image, turned, used, angles, rays, out):  # type: ignore[no-untyped-def]
    """Line integrals of ``image`` (y, x, slice) in pixels, into ``out`` (view, detector, slice).

    ``image`` has a border of one pixel of zeros, and ``turned`` is its transpose (x, y, slice).
    ``used`` are booleans of the rows and of the columns that are not zero, and ``rays`` (view,
    detector) of the rays that are needed.
    Joseph (1982), "An improved algorithm for reprojecting rays through pixel images": the ray is
    sampled once per row or column, whichever it crosses more steeply, with linear interpolation.
    """
    detectors, slices = out.shape[1:]
    for view in range(first, last):
        c, s = np.cos(angles[view]), np.sin(angles[view])
        lines, filled = (image, used[0]) if abs(c) >= abs(s) else (turned, used[1])
        if abs(c) < abs(s):
            c, s = s, c
        count, length = lines.shape[:2]
        step = np.float32(1 / c)
        out[view] = 0
        needed = np.flatnonzero(rays[view])
        for line in np.flatnonzero(filled):
            start = np.float32(
                (-(detectors - 1) / 2 - (line - (count - 1) / 2) * s) / c + (length - 1) / 2
            )
            ends = (-start / step, (length - 1 - start) / step)
            lowest = max(0, int(np.ceil(min(ends))))
            highest = min(detectors, int(np.ceil(max(ends))))
            for d in needed[np.searchsorted(needed, lowest) : np.searchsorted(needed, highest)]:
                at = start + np.float32(d) * step
                at = min(max(at, np.float32(0)), np.float32(length - 1.001))
                left = int(at)
                share = at - np.float32(left)
                for k in range(slices):
                    value = lines[line, left, k]
                    out[view, d, k] += value + share * (lines[line, left + 1, k] - value)
        out[view] *= abs(step)


@in_chunks(jobs=lambda sinogram, angles, top, rows, out: len(out), least=8, fastmath=True)
def backproject_rows(first, last, sinogram, angles, top, rows, out):  # type: ignore[no-untyped-def]
    """Sum over all views of ``sinogram`` (view, detector, slice) at each pixel of ``out``.

    ``out`` (y, x, slice) are the rows from ``top`` on of an image of ``rows``; the detector covers
    its diagonal.
    """
    columns, slices = out.shape[1:]
    views, detectors = sinogram.shape[:2]
    out[first:last] = 0
    for view in range(views):
        c, s = np.float32(np.cos(angles[view])), np.sin(angles[view])
        for y in range(first, last):
            start = np.float32(
                (top + y - (rows - 1) / 2) * s - (columns - 1) / 2 * c + (detectors - 1) / 2
            )
            for x in range(columns):
                at = start + np.float32(x) * c
                left = int(at)
                share = at - np.float32(left)
                for k in range(slices):
                    value = sinogram[view, left, k]
                    out[y, x, k] += value + share * (sinogram[view, left + 1, k] - value)
