"""The dose of a CT, estimated by its noise, and the noise that a dose gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.colorization.body import block_mean
from tomochrome.restoration.attenuation import EFFECTIVE_KEV, coefficient, to_hu
from tomochrome.restoration.projection import Projector
from tomochrome.restoration.simulation import ELECTRONIC_NOISE, KERNEL_PX, PHOTONS, n_views
from tomochrome.runtime import check

MAX_DOSE: Final = 0.235
"""Share of `tomochrome.restoration.simulation.PHOTONS` below which noise is a defect: real scans of
routine have .26 and more, with a tenth of their dose .23 and less."""
_SOFT_HU: Final = (-160.0, 200.0)
_PATCH_MM: Final = 8.0
_PATCH_PX: Final = (5, 17)
_MIN_PATCHES: Final = 500
_EVENEST: Final = 0.9  # quantile of the dose over patches; anatomy lets others seem noisier
_NOISE_SLICES: Final = 5
_PATH_PX: Final = 128  # of a slice whose paths are projected
_PATH_VIEWS: Final = 90
_BODY_MM: Final = (250.0, 350.0)  # of a body that an image crops


def is_low_dose(hu: NDArray[np.float32], pixel_mm: float) -> bool:
    """Return whether the noise is that of less than `MAX_DOSE`.

    Parameters
    ----------
    hu
        HU (z, y, x).
    pixel_mm
        Size of a pixel.
    """
    share = dose(hu, pixel_mm)
    return share is not None and share < MAX_DOSE


def dose(hu: NDArray[np.float32], pixel_mm: float) -> float | None:
    """Estimate the dose by the noise in soft tissue, None where there is too little of it.

    The local standard deviation where the tissue is most even (Christianson et al. 2015,
    "Automated technique to measure noise in clinical CT examinations", AJR 205:W93) is compared
    with the noise that the projections of the same slice have at the full dose. Beyond the image
    the body is continued as at its border.

    Parameters
    ----------
    hu
        HU (z, y, x).
    pixel_mm
        Size of a pixel.

    Returns
    -------
    float or None
        As a share of `tomochrome.restoration.simulation.PHOTONS`.
    """
    shares = []
    for k in np.unique(np.linspace(0, len(hu) - 1, min(len(hu), _NOISE_SLICES + 2)).astype(int)):
        if 0 < k < len(hu) - 1 or len(hu) <= _NOISE_SLICES:
            check()
            shares.append(_shares(hu[k], noise_by_dose(hu[k], pixel_mm)(1.0), pixel_mm))
    return _dose_of(np.concatenate(shares))


def noise_of_slice(
    hu: NDArray[np.float32], pixel_mm: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Return the noise of a slice at the dose that it has, and at the full dose.

    Parameters
    ----------
    hu
        HU (y, x).
    pixel_mm
        Size of a pixel.

    Returns
    -------
    tuple of ndarray, or None
        Standard deviations in HU, (y, x); None if the dose cannot be estimated.
    """
    noise = noise_by_dose(hu, pixel_mm)
    full = noise(1.0)
    share = _dose_of(_shares(hu, full, pixel_mm))
    return None if share is None else (noise(min(share, 1.0)), full)


def _shares(
    hu: NDArray[np.float32], full: NDArray[np.float32], pixel_mm: float
) -> NDArray[np.float32]:
    """Return the dose by each patch of even tissue, given the noise at the full dose."""
    size = int(np.clip(_PATCH_MM / pixel_mm, *_PATCH_PX)) // 2 * 2 + 1
    smooth = ndimage.gaussian_filter(hu, 2)
    soft = ((smooth > _SOFT_HU[0]) & (smooth < _SOFT_HU[1])).astype(np.uint8)
    even = ndimage.minimum_filter(soft, size + 2) > 0
    mean = ndimage.uniform_filter(hu, size)
    variance = ndimage.uniform_filter(hu**2, size) - mean**2
    variance *= size**2 / (size**2 - 1)
    return np.asarray((full**2 / np.maximum(variance, 1e-3))[even])


def _dose_of(shares: NDArray[np.float32]) -> float | None:
    """Return the dose by the most even patches, None if there are too few of them."""
    return float(np.quantile(shares, _EVENEST)) if len(shares) >= _MIN_PATCHES else None


def noise_by_dose(
    hu: NDArray[np.float32], pixel_mm: float
) -> Callable[[float], NDArray[np.float32]]:
    """Return a function for the noise of a slice at a dose, as a share of the full one.

    Its result is the standard deviation in HU, (y, x). The rays are projected once.

    Kak and Slaney (1988), "Principles of Computerized Tomographic Imaging", equation 5.59, with the
    kernel of `tomochrome.restoration.simulation.add_noise`.

    Parameters
    ----------
    hu
        HU (y, x).
    pixel_mm
        Size of a pixel.
    """
    step = -(-max(hu.shape) // _PATH_PX)
    coarse = block_mean(hu[None], (1, step, step))[0]
    beyond = [
        max(0, int((mm / (step * pixel_mm) - n) / 2))
        for mm, n in zip(_BODY_MM, coarse.shape, strict=True)
    ]
    body = np.pad(np.maximum(1 + coarse / 1000, 0), [(n, n) for n in beyond], mode="edge")
    projector = Projector((body.shape[0], body.shape[1]), _PATH_VIEWS)
    gain = Projector((hu.shape[0], hu.shape[1]), n_views(hu.shape), 2 * KERNEL_PX).noise_gain()
    path = projector.project(body) * (step * pixel_mm / 10)
    arriving = np.exp(-coefficient("water", EFFECTIVE_KEV) * path)

    def at(share: float) -> NDArray[np.float32]:
        counts = share * PHOTONS * arriving
        variance = 1 / counts + ELECTRONIC_NOISE**2 / counts**2
        mean = projector.mean_over_views(variance)[beyond[0] :, beyond[1] :]
        noise = to_hu(np.sqrt(gain * mean), pixel_mm)
        return np.asarray(noise[np.ix_(*(np.arange(n) // step for n in hu.shape))])

    return at
