"""Defects of CT, simulated in the projections or slices where they arise.

Each function takes slices in HU, float (z, y, x) with square pixels, and a random generator, and
returns the damaged slices with the voxels that are damaged: the truth for training and evaluation.
Only differences are reconstructed and added, so that the noise and sharpness of a real scan stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.restoration.attenuation import (
    EFFECTIVE_KEV,
    G_PER_CM3,
    Densities,
    Material,
    coefficient,
    corrected,
    to_hu,
    transmission,
)
from tomochrome.restoration.projection import Projector

MIN_CHANGE_HU: Final = 20.0  #: smaller changes are not damage
MAX_HU: Final = 3071.0  #: of 12 bits, at which scanners clip
AIR_HU: Final = -1024.0
BODY_HU: Final = -300.0  #: between air or lung and tissue
PHOTONS: Final = 3e5  #: detected per element and view without a patient, at the full dose
ELECTRONIC_NOISE: Final = 8.0  #: standard deviation in photons
_MIN_PHOTONS: Final = 30.0  # counted behind metal; scanners smooth or clip lower counts
KERNEL_PX: Final = 0.5  #: blur of the reconstruction


@dataclass(frozen=True)
class Damaged:
    """Slices with a defect.

    Attributes
    ----------
    hu
        float32 (z, y, x).
    mask
        Booleans (z, y, x): the damaged voxels.
    """

    hu: NDArray[np.float32]
    mask: NDArray[np.bool_]


def n_views(shape: tuple[int, ...]) -> int:
    """Return the number of views over half a turn that samples slices of a shape."""
    return int(1.4 * max(shape[-2:]))


def add_metal(
    hu: NDArray[np.floating],
    metal: NDArray[np.bool_],
    material: Material,
    pixel_mm: float,
    rng: np.random.Generator,
    photons: float = PHOTONS,
) -> Damaged:
    """Add metal with its beam hardening and photon starvation.

    Parameters
    ----------
    hu
        Slices without the metal, float (z, y, x).
    metal
        Booleans (z, y, x): where the metal is.
    material
        The metal.
    pixel_mm
        Size of a pixel.
    rng
        Random generator of the noise.
    photons
        Detected per element and view without a patient.

    Returns
    -------
    Damaged
        The metal itself is damaged too; its HU are those of the reconstruction, up to `MAX_HU`.
    """
    out = np.array(hu, np.float32)
    for z in np.flatnonzero(metal.any(axis=(1, 2))):
        out[z] += _metal_in_slice(out[z], metal[z], material, pixel_mm, rng, photons)
    np.clip(out, AIR_HU, MAX_HU, out=out)
    return Damaged(out, changed(out - hu) | metal)


def _metal_in_slice(
    hu: NDArray[np.float32],
    metal: NDArray[np.bool_],
    material: Material,
    pixel_mm: float,
    rng: np.random.Generator,
    photons: float,
) -> NDArray[np.float32]:
    projector = Projector((hu.shape[0], hu.shape[1]), n_views(hu.shape), KERNEL_PX)
    cm = pixel_mm / 10
    body = Densities.of(hu)
    paths: dict[Material, NDArray[np.floating]] = {
        "water": projector.project(body.water) * cm,
        "bone": projector.project(body.bone) * cm,
    }
    inside = Densities(np.where(metal, body.water, 0), np.where(metal, body.bone, 0))
    with_metal: dict[Material, NDArray[np.floating]] = {
        "water": np.maximum(paths["water"] - projector.project(inside.water) * cm, 0),
        "bone": np.maximum(paths["bone"] - projector.project(inside.bone) * cm, 0),
        material: projector.project(metal.astype(np.float32))
        * np.float32(G_PER_CM3[material] * cm),
    }
    before, after = transmission(paths), transmission(with_metal)
    # what the metal adds to the noise of the scan
    variance = np.maximum(after - after**2 / before, 0) * photons + ELECTRONIC_NOISE**2
    noisy = after * photons + rng.standard_normal(after.shape) * np.sqrt(variance)
    noisy = np.where(with_metal[material] > 0, np.maximum(noisy, _MIN_PHOTONS) / photons, before)
    change = corrected(-np.log(noisy)) - corrected(-np.log(before))
    return to_hu(projector.reconstruct(change), pixel_mm)


def add_noise(
    hu: NDArray[np.floating],
    dose: float,
    pixel_mm: float,
    rng: np.random.Generator,
    photons: float = PHOTONS,
) -> Damaged:
    """Add the noise by which a scan at a part of the dose exceeds that at the full dose.

    Parameters
    ----------
    hu
        As for `add_metal`; all slices are damaged.
    dose
        The part, above 0 and at most 1.
    pixel_mm, rng, photons
        As for `add_metal`.

    Returns
    -------
    Damaged
        With all voxels of the patient and the air around as damaged.
    """
    out = np.array(hu, np.float32)
    projector = Projector((hu.shape[1], hu.shape[2]), n_views(hu.shape), 2 * KERNEL_PX)
    water = coefficient("water", EFFECTIVE_KEV)
    for slice_hu in out:
        path = projector.project(np.maximum(1 + slice_hu / 1000, 0)) * (pixel_mm / 10)
        counts = photons * np.exp(-water * path)
        variance = (1 / dose - 1) * (1 / counts + ELECTRONIC_NOISE**2 / (dose * counts**2))
        noise = rng.standard_normal(path.shape) * np.sqrt(variance)
        slice_hu += to_hu(projector.reconstruct(noise), pixel_mm)
    np.clip(out, AIR_HU, MAX_HU, out=out)
    return Damaged(out, np.full(out.shape, dose < 1))


def add_rings(
    hu: NDArray[np.floating],
    pixel_mm: float,
    rng: np.random.Generator,
    count: int = 6,
    strength: float = 0.02,
) -> Damaged:
    """Add the rings of detector elements with a wrong gain.

    Parameters
    ----------
    hu, pixel_mm, rng
        As for `add_metal`; all slices have the same rings.
    count
        Number of elements.
    strength
        Standard deviation of the error of their line integrals.

    Returns
    -------
    Damaged
        Rings around the center of the slices.
    """
    projector = Projector((hu.shape[1], hu.shape[2]), n_views(hu.shape), KERNEL_PX)
    middle = (projector.n_detectors - 1) / 2
    gain = np.zeros(projector.n_detectors)
    widths = rng.integers(1, 3, count)
    distances = rng.uniform(3, 0.45 * min(hu.shape[1:]), count)
    for distance, width in zip(distances, widths, strict=True):
        first = int(middle + distance)
        gain[first : first + width] += rng.normal(0, strength)
    gain = gain + gain[::-1]  # over a full turn, each element is on both sides of the center
    sinogram = np.repeat(gain[None], projector.n_views, axis=0)
    rings = to_hu(projector.reconstruct(sinogram), pixel_mm)
    out = np.clip(hu + rings, AIR_HU, MAX_HU).astype(np.float32)
    return Damaged(out, changed(out - hu))


def add_motion(
    hu: NDArray[np.floating],
    shift_px: tuple[float, float],
    degrees: float,
    rng: np.random.Generator,
) -> Damaged:
    """Let the patient move during a half of the scan.

    Parameters
    ----------
    hu
        As for `add_metal`.
    shift_px, degrees
        Motion in (y, x) and around the center between the halves.
    rng
        Random generator of the angle at which he moves.

    Returns
    -------
    Damaged
        The first position, with the streaks and double contours of the second.
    """
    out = np.array(hu, np.float32)
    projector = Projector((hu.shape[1], hu.shape[2]), n_views(hu.shape), KERNEL_PX)
    start = int(rng.integers(projector.n_views // 4, projector.n_views // 2))
    second_half = slice(start, start + projector.n_views // 2)
    for slice_hu in out:
        moved = ndimage.rotate(slice_hu, degrees, reshape=False, order=1, cval=-1000)
        moved = ndimage.shift(moved, shift_px, order=1, cval=-1000)
        change = projector.project((moved - slice_hu) / 1000)
        change[: second_half.start] = 0
        change[second_half.stop :] = 0
        slice_hu += 1000 * projector.reconstruct(change)
    np.clip(out, AIR_HU, MAX_HU, out=out)
    return Damaged(out, changed(out - hu))


def truncate_field(hu: NDArray[np.floating], radius_px: float) -> Damaged:
    """Reduce the field of view to a circle that cuts through the patient.

    Parameters
    ----------
    hu
        As for `add_metal`.
    radius_px
        Radius of the measured field around the center.

    Returns
    -------
    Damaged
        Outside the circle nothing was measured; inside, the edge is too bright, because the
        projections end there. Scanners extend them; here the last value decreases to 0.
    """
    out = np.array(hu, np.float32)
    projector = Projector((hu.shape[1], hu.shape[2]), n_views(hu.shape), KERNEL_PX)
    distance = np.arange(projector.n_detectors) - (projector.n_detectors - 1) / 2
    first, last = np.flatnonzero(np.abs(distance) <= radius_px)[[0, -1]]
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in hu.shape[1:])
    outside = np.hypot(rows[:, None], columns) > radius_px
    beyond = np.maximum(np.abs(distance) - radius_px, 0) / (0.3 * radius_px)
    fall = np.cos(np.pi / 2 * np.minimum(beyond, 1))
    for slice_hu in out:
        full = projector.project(np.maximum(1 + slice_hu / 1000, 0))
        cut = full.copy()
        cut[:, :first] = full[:, first : first + 1] * fall[:first]
        cut[:, last + 1 :] = full[:, last : last + 1] * fall[last + 1 :]
        slice_hu += 1000 * projector.reconstruct(cut - full)
        slice_hu[outside] = AIR_HU
    np.clip(out, AIR_HU, MAX_HU, out=out)
    return Damaged(out, changed(out - hu) | outside)


def lose_slices(
    hu: NDArray[np.floating], first: int, count: int, rng: np.random.Generator, how: str = "missing"
) -> Damaged:
    """Lose consecutive slices.

    Parameters
    ----------
    hu
        As for `add_metal`.
    first, count
        The slices.
    rng
        Random generator of corrupted slices.
    how
        ``"missing"`` (air), ``"repeated"`` (copies of the slice before) or ``"corrupted"`` (the
        bytes of blocks of rows are noise or displaced, as after an error of transmission).

    Returns
    -------
    Damaged
        With all voxels of these slices as damaged.
    """
    out = np.array(hu, np.float32)
    mask = np.zeros(out.shape, np.bool_)
    lost = slice(first, first + count)
    mask[lost] = True
    if how == "missing":
        out[lost] = AIR_HU
    elif how == "repeated":
        out[lost] = out[first - 1]
    else:
        height, width = out.shape[1:]
        for slice_hu in out[lost]:
            top = int(rng.integers(0, height // 2))
            slice_hu[top:] = np.roll(slice_hu[top:], rng.integers(width // 8, width), axis=1)
            rows = slice(top, top + int(rng.integers(4, height // 4)))
            slice_hu[rows] = rng.uniform(AIR_HU, MAX_HU, slice_hu[rows].shape)
    return Damaged(out, mask)


def lose_lines(
    hu: NDArray[np.floating], count: int, rng: np.random.Generator, *, saturated: bool = False
) -> Damaged:
    """Drop or saturate rows of slices.

    Parameters
    ----------
    hu
        As for `add_metal`.
    count
        Number of rows in each slice.
    rng
        Random generator of their positions.
    saturated
        Whether they have the largest value; otherwise the smallest.

    Returns
    -------
    Damaged
        With these rows as damaged.
    """
    out = np.array(hu, np.float32)
    mask = np.zeros(out.shape, np.bool_)
    for slice_hu, damaged in zip(out, mask, strict=True):
        for row in rng.integers(0, hu.shape[1], count):
            thick = slice(row, row + int(rng.integers(1, 4)))
            slice_hu[thick] = MAX_HU if saturated else AIR_HU
            damaged[thick] = True
    return Damaged(out, mask)


def changed(difference: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return where slices differ by `MIN_CHANGE_HU` or more on average around a voxel."""
    smooth = ndimage.gaussian_filter(np.abs(difference), (0, 1, 1))
    return np.asarray(smooth >= MIN_CHANGE_HU)
