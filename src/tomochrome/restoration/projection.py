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

from tomochrome.restoration import projection_kernels
from tomochrome.runtime import check

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
                projection_kernels.project(
                    bordered, turned, used, self.angles[part], rays[part], out[part]
                )

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
                projection_kernels.backproject(
                    packed, self.angles, top, len(out), out[top : top + _ROWS]
                )

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
