"""A simulated CT scanner: from a label map to HU with noise and artifacts.

Each structure has its mean and its texture; the point spread function blurs them (partial
volume); a coarse filtered back projection of projection errors (photon starvation, beam hardening
by bone and metal) adds streaks; fine noise increases with the water-equivalent diameter of each
slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from ctphantom.compiling import run_in_threads
from ctphantom.interface import PhantomError, Progress, silent
from ctphantom.materials import Phase, hu_table, texture_table
from ctphantom.render_kernels import (
    Blur,
    Grain,
    Look,
    back_project,
    finish,
    paint_and_blur,
    project,
    shrink,
)
from ctphantom.structures import N_STRUCTURES, Structure

_ATTENUATION_PER_MM = 0.0195  # water at 70 keV, the mean energy of a 120 kV beam
_ANGLES = 48
_ALIAS = 0.45  # blur in voxels: labels are point samples, a scanner averages over a voxel
_TILE = 64  # edge of the periodic texture cube, a power of two
_TILE_GRAIN = 1.5  # correlation length of the cube in voxels


@dataclass(frozen=True)
class Scanner:
    """Parameters of the scanner.

    Attributes
    ----------
    noise
        Factor on the noise; 1 is a routine dose, 0 none.
    blur_mm
        Standard deviation of the in-plane point spread function in mm.
    slice_blur
        Standard deviation of the slice profile relative to the slice spacing.
    streaks
        Factor on beam hardening, photon starvation and metal streaks; 0 for none.
    circle_mm
        Diameter of the reconstructed circle in mm; -1024 HU outside. None for no circle.
    """

    noise: float = 1.0
    blur_mm: float = 0.55
    slice_blur: float = 0.5
    streaks: float = 1.0
    circle_mm: float | None = None

    def __post_init__(self) -> None:
        for name in ("noise", "blur_mm", "slice_blur", "streaks"):
            value = getattr(self, name)
            if not 0.0 <= value < 100.0:
                raise PhantomError(f"the scanner's {name} must be from 0 to 100, not {value}")
        if self.circle_mm is not None and not self.circle_mm > 0:
            raise PhantomError(f"the scanner's circle must be above 0 mm, not {self.circle_mm}")


def render_ct(
    labels: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    phase: Phase = "native",
    rng: np.random.Generator | None = None,
    *,
    hu: NDArray[np.float32] | None = None,
    scanner: Scanner | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> NDArray[np.int16]:
    """Render the CT of a label map.

    Parameters
    ----------
    labels
        `Structure` indices, uint8 (z, y, x), with y to posterior.
    spacing
        Voxel spacing (z, y, x) in mm.
    phase
        Contrast phase; ignored if ``hu`` is given.
    rng
        Random number generator.
    hu
        Mean HU of each structure, float32 (n_structures,), for example from
        `ctphantom.materials.sample_hu`; by default ``hu_table(phase, rng)``.
    scanner
        Parameters of the scanner; by default a routine scan.
    threads
        Number of threads; None for all processors. It does not affect the result.
    progress
        Progress callback; an exception that it raises ends the work.

    Returns
    -------
    NDArray
        int16 (z, y, x) in HU, -1024 to 3071.

    Raises
    ------
    PhantomError
        If the phase is unknown, a label is not a structure, or the spacing is not positive.
    """
    rng = rng if rng is not None else np.random.default_rng(0)
    scanner = scanner or Scanner()
    labels, steps = _checked(labels, spacing)
    means = hu_table(phase, rng) if hu is None else np.asarray(hu, dtype=np.float32)
    if means.shape != (N_STRUCTURES,):
        raise PhantomError(f"hu must give one value for each of {N_STRUCTURES} structures")

    progress(0, 3, "rendering CT")
    textures = texture_table()
    frequency = (_TILE_GRAIN / np.maximum(textures[:, 1], 0.5)).astype(np.float32)
    tile = texture_tile(int(rng.integers(4)))
    offsets = rng.uniform(0, _TILE, (N_STRUCTURES, 3)).astype(np.float32)
    # gradient of lung density to posterior in a supine patient, HU per mm
    slopes = np.zeros(N_STRUCTURES, np.float32)
    slopes[Structure.LUNG] = slopes[Structure.LUNG_DEPENDENT] = rng.uniform(0.05, 0.45)
    # HU decrease by gas bubbles, per unit of texture above one standard deviation
    gas = np.zeros(N_STRUCTURES, np.float32)
    gas[Structure.COLON_CONTENT] = rng.uniform(100.0, 900.0)
    gas[Structure.STOMACH_CONTENT] = rng.choice([0.0, 0.0, 150.0])
    look = Look(means, textures[:, 0].copy(), frequency, offsets, slopes, gas)
    blur = Blur(*(gaussian(float(np.hypot(scanner.blur_mm / s, _ALIAS))) for s in steps[1:]))
    voxel = np.asarray(steps, dtype=np.float32)
    sharp = np.empty(labels.shape, np.float32)
    count = len(labels)
    run_in_threads(
        paint_and_blur, 0, count, labels, look, tile, voxel, blur, labels.shape[1] / 2, sharp,
        threads=threads,
    )  # fmt: skip
    progress(1, 3, "rendering CT")
    factor = max(1, round(2.5 / steps[2]))
    streaks, noise = _artifacts(sharp, steps, factor, scanner, rng, threads)
    progress(2, 3, "rendering CT")
    tiles = _noise_tiles(steps, rng)
    shifts = np.stack(
        [rng.integers(len(tiles), size=count), *rng.integers(256, size=(2, count))], 1
    )
    radius = -1.0 if scanner.circle_mm is None else scanner.circle_mm / 2 / steps[2]
    result = np.empty(labels.shape, np.int16)
    run_in_threads(
        finish, 0, count, sharp, gaussian(scanner.slice_blur), streaks, factor,
        Grain(tiles, shifts, noise), radius, steps[1] / steps[2], result, threads=threads,
    )  # fmt: skip
    progress(3, 3, "rendering CT")
    return result


def _checked(
    labels: NDArray[np.uint8], spacing: tuple[float, float, float]
) -> tuple[NDArray[np.uint8], tuple[float, float, float]]:
    """Return contiguous labels and the spacing; raise PhantomError if they are invalid."""
    labels = np.ascontiguousarray(labels)
    if labels.ndim != 3 or labels.dtype != np.uint8 or labels.size == 0:
        raise PhantomError("labels must be a uint8 array (z, y, x) with at least one voxel")
    highest = int(labels.max())
    if highest >= N_STRUCTURES:
        raise PhantomError(f"label {highest} is not a structure: valid are 0 to {N_STRUCTURES - 1}")
    z, y, x = (float(step) for step in spacing)
    if not min(z, y, x) > 0:
        raise PhantomError(f"the spacing must be positive, not {spacing}")
    return labels, (z, y, x)


def gaussian(sigma: float) -> NDArray[np.float32]:
    """Return a normalized Gaussian kernel of odd length; a single 1 if sigma is below 0.2."""
    if sigma < 0.2:
        return np.ones(1, dtype=np.float32)
    radius = max(1, int(np.ceil(2.5 * sigma)))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum(), dtype=np.float32)


@lru_cache(maxsize=4)
def texture_tile(seed: int) -> NDArray[np.float32]:
    """Return a periodic cube of smooth Gaussian noise with mean 0 and standard deviation 1."""
    white = np.random.default_rng(seed).standard_normal((_TILE,) * 3)
    f = np.fft.fftfreq(_TILE)
    squared = f[:, None, None] ** 2 + f[None, :, None] ** 2 + f[None, None, :] ** 2
    smooth = np.fft.ifftn(
        np.fft.fftn(white) * np.exp(-2 * (np.pi * 0.5 * _TILE_GRAIN) ** 2 * squared)
    ).real
    return np.asarray((smooth - smooth.mean()) / smooth.std(), dtype=np.float32)


def _noise_tiles(
    spacing: tuple[float, float, float], rng: np.random.Generator, count: int = 4
) -> NDArray[np.float32]:
    """Return periodic slices of unit-variance CT noise: a ramp with the cutoff of a soft kernel."""
    white = rng.standard_normal((count, 256, 256), dtype=np.float32)
    fy = np.fft.fftfreq(256, spacing[1])[:, None]
    fx = np.fft.rfftfreq(256, spacing[2])[None, :]
    f = np.hypot(fy, fx)
    power = (f + 0.02) * np.exp(-((f / 0.42) ** 2))  # cutoff near 4 line pairs per cm
    noise = np.fft.irfft2(np.fft.rfft2(white) * np.sqrt(power), s=(256, 256))
    noise /= noise.std(axis=(1, 2), keepdims=True)
    return np.asarray(noise, dtype=np.float32)


def _artifacts(
    hu: NDArray[np.float32],
    spacing: tuple[float, float, float],
    factor: int,
    scanner: Scanner,
    rng: np.random.Generator,
    threads: int | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return streaks (z, y/factor, x/factor) and the noise level of each slice (z,) in HU."""
    blocks = (len(hu), *(-(-size // factor) for size in hu.shape[1:]))
    water, dense = np.zeros((2, *blocks), np.float32)
    run = partial(run_in_threads, threads=threads)
    run(shrink, 0, len(hu), hu, factor, water, dense)
    py, px = spacing[1] * factor, spacing[2] * factor
    area = water.sum(axis=(1, 2), dtype=np.float64) * py * px
    diameter = 2.0 * np.sqrt(area / np.pi)  # water-equivalent, AAPM report 220
    noise = 10.0 * np.exp(0.0080 * (np.clip(diameter, 60, 460) - 300.0))
    noise = (scanner.noise * noise * np.sqrt(2.5 / max(spacing[0], 0.6))).astype(np.float32)
    if scanner.streaks == 0.0:
        return np.zeros_like(water), noise

    angle = (np.arange(_ANGLES) + rng.random()) * np.pi / _ANGLES
    cosines, sines = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    my, mx = water.shape[1:]
    n = int(np.hypot(my * py / px, mx)) + 6
    whole, bone = np.zeros((2, len(water), _ANGLES, n), np.float32)
    run(project, 0, len(hu), water, cosines, sines, py, px, n, whole)
    run(project, 0, len(hu), dense, cosines, sines, py, px, n, bone)
    # photon counts decrease exponentially; tube current modulation compensates in part
    starved = np.exp(np.minimum(0.5 * _ATTENUATION_PER_MM * (whole + 2.0 * bone - 330.0), 3.0))
    fault = rng.standard_normal(whole.shape, dtype=np.float32) * starved
    fault *= 0.11 * scanner.noise * px / 2.5
    fault -= 4.5e-4 * bone * np.minimum(bone, 250.0)
    # ramp filter with a Hann window
    padded = 1 << int(np.ceil(np.log2(2 * n)))
    f = np.fft.rfftfreq(padded, px)
    window = f * (0.5 + 0.5 * np.cos(np.pi * f / f[-1]))
    spectrum = np.fft.rfft(fault, padded) * window.astype(np.float32)
    filtered = np.ascontiguousarray(np.fft.irfft(spectrum, padded)[..., :n], dtype=np.float32)
    streaks = np.zeros_like(water)
    run(back_project, 0, len(hu), filtered, cosines, sines, py / px, streaks)
    streaks *= 1000.0 * scanner.streaks
    return streaks, noise
