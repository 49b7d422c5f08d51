"""Filling of defects without a network: interpolation of what was lost.

It is the measure for the networks, and the first of what they see.
"""

from __future__ import annotations

from functools import cache
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline

from tomochrome.geometry.morphology import large_parts
from tomochrome.restoration.defects import DefectKind, MetalReduction, code_of
from tomochrome.restoration.projection import SLICES, Projector
from tomochrome.restoration.simulation import AIR_HU, KERNEL_PX, n_views
from tomochrome.runtime import check

METAL_HU: Final = 2500.0
_MIN_METAL: Final = 3  # voxels
_MIN_TRACE_PX: Final = 0.05  # of metal along a ray
_TRACE_PX: Final = 1  # by which the trace of metal is wider than its projection
_BESIDE_PX: Final = 2  # from metal to pixels that hold none of it
_RING_PASSES: Final = 3
_RING_SLICES: Final = 24
_RING_SECTORS: Final = 24
_MIN_SECTORS: Final = 6  # that show a radius; fewer tell nothing
_MIN_RING_PX: Final = 3
_FAR_PX: Final = 20  # radius from which half of the sectors are enough to be sure
_RING_SIGMA: Final = 3.0  # in pixels; wider structures along the radius are anatomy
_EDGE_PX: Final = 9  # to the edge of the field, beyond which is padding: a step, not a ring
_RING_HU: Final = (-960.0, 400.0)  # without air and bone
_MAX_RING_HU: Final = 300.0
_MIN_RING_HU: Final = 5.0
_RING_NOISE_HU: Final = 1.0  # of the median over all angles
_MAX_OF_PROFILE: Final = 2.0  # of the fine structure, for the rings that explain it
_REWEIGHTINGS: Final = 13


def metal_mask(hu: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return where there is metal, booleans (z, y, x): parts of three voxels or more.

    Parameters
    ----------
    hu
        HU (z, y, x).
    """
    mask = np.asarray(hu >= METAL_HU)
    for around in ndimage.find_objects(mask.astype(np.uint8)):
        mask[around] = large_parts(mask[around], _MIN_METAL)
    return mask


def interpolate_sinogram(
    hu: NDArray[np.floating],
    metal: NDArray[np.bool_],
    pixel_mm: float,
    earlier: MetalReduction | None = None,
    prior: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Reduce the artifacts of metal by linear interpolation over its trace in the projections.

    Kalender, Hebel and Ebersberger (1987), "Reduction of CT artifacts caused by metallic implants",
    Radiology 164:576. With a prior, the difference from its projections is interpolated and
    reconstructed, and added to it, which keeps bone near the metal: as Meyer et al. (2010),
    "Normalized metal artifact reduction (NMAR)", Med. Phys. 37:5482, but subtracted instead of
    divided. The metal keeps its HU.

    Parameters
    ----------
    hu, metal
        HU and mask of the metal, (z, y, x).
    pixel_mm
        Size of a pixel, which is square.
    earlier
        A result for slices of the same size, which is used where HU and metal are the same.
    prior
        HU (z, y, x) of the same slices with fewer artifacts; what is at the metal is ignored.

    Returns
    -------
    ndarray
        HU, float32 (z, y, x).
    """
    out = np.array(hu, np.float32)
    remaining = list(np.flatnonzero(metal.any(axis=(1, 2))))
    if earlier is not None:
        for z in tuple(remaining):
            if all(np.array_equal(a[z], b[z]) for a, b in ((out, earlier[0]), (metal, earlier[1]))):
                out[z] = earlier.after[z]
                remaining.remove(z)
    projector = Projector((hu.shape[1], hu.shape[2]), n_views(hu.shape))
    for first in range(0, len(remaining), SLICES):
        part = remaining[first : first + SLICES]
        check()
        start = out[part] if prior is None else _without_metal(prior[part], metal[part])
        body = _attenuation(out[part])
        traces = projector.project(metal[part]) > _MIN_TRACE_PX
        hidden = _widened(traces, _TRACE_PX)
        if prior is None:
            near = _widened(np.asarray(hidden.any(axis=0)), 1)  # what interpolation needs
            change = _interpolation(projector.project(body, near), hidden)
        else:
            rest = projector.project(body - _attenuation(start))
            change = rest + _interpolation(rest, hidden)
        without = start + 1000 * projector.reconstruct(change)
        out[part] = np.where(metal[part], out[part], np.maximum(without, AIR_HU))
    return out


def _attenuation(hu: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the attenuation of HU relative to that of water."""
    return np.maximum(1 + np.minimum(hu, METAL_HU) / 1000, 0)


def _without_metal(hu: NDArray[np.floating], metal: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return slices (z, y, x) with HU from beside the metal in its place."""
    out = np.array(hu)
    for image, where in zip(out, metal, strict=True):
        wide = ndimage.binary_dilation(where, iterations=_BESIDE_PX)
        _, nearest = ndimage.distance_transform_edt(wide, return_indices=True)
        image[where] = image[nearest[0][where], nearest[1][where]]
    return out


def _widened(detectors: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Return booleans (..., detector) that are true around each that is true."""
    return np.asarray(ndimage.maximum_filter1d(detectors, 2 * by + 1, mode="constant"))


def _interpolation(
    sinograms: NDArray[np.float32], hidden: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the change of sinograms (z, view, detector) by interpolation over what is hidden."""
    change = np.zeros_like(sinograms)
    detectors = np.arange(sinograms.shape[2])
    for z, view in np.argwhere(hidden.any(axis=2)):
        row, at = sinograms[z, view], hidden[z, view]
        change[z, view, at] = np.interp(detectors[at], detectors[~at], row[~at]) - row[at]
    return change


def interpolate_slices(
    hu: NDArray[np.floating], missing: NDArray[np.bool_], order: Literal[1, 3] = 1
) -> NDArray[np.float32]:
    """Fill missing slices by linear or cubic interpolation between the others.

    Parameters
    ----------
    hu
        HU (z, y, x).
    missing
        Booleans (z,); at least one is False. Beyond the last slice its values are repeated.
    order
        1 for linear, 3 for a cubic spline through the four nearest slices.
    """
    out = np.array(hu, np.float32)
    good = np.flatnonzero(~missing)
    for z in np.flatnonzero(missing):
        before, after = good[good < z], good[good > z]
        if not len(before) or not len(after):
            out[z] = out[before[-1] if len(before) else after[0]]
        elif order == 1:
            share = (z - before[-1]) / (after[0] - before[-1])
            out[z] = (1 - share) * out[before[-1]] + share * out[after[0]]
        else:
            near = np.concatenate([before[-2:], after[:2]])
            out[z] = CubicSpline(near, out[near], bc_type="natural")(z)
    return out


def interpolate_lines(hu: NDArray[np.floating], lost: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill lost rows by linear interpolation along y within their slices.

    Parameters
    ----------
    hu
        HU (z, y, x).
    lost
        Booleans (z, y, x); a row that is lost anywhere is filled where it is lost.
    """
    out = np.array(hu, np.float32)
    for z in np.flatnonzero(lost.any(axis=(1, 2))):
        rows = lost[z].any(axis=1)
        good = np.flatnonzero(~rows)
        if not len(good):
            continue
        for y in np.flatnonzero(rows):
            k = int(np.searchsorted(good, y))
            above, below = good[max(k - 1, 0)], good[min(k, len(good) - 1)]
            share = (y - above) / (below - above) if above < y < below else 0.0
            line = (1 - share) * out[z, above] + share * out[z, below]
            out[z, y, lost[z, y]] = line[lost[z, y]]
    return out


def without_network(
    hu: NDArray[np.floating],
    code: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    reduction: MetalReduction | None = None,
    prior: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Fill all defects for which there is a way without a network; leave noise and field.

    Parameters
    ----------
    hu
        HU (z, y, x).
    code
        The defects, uint8 (z, y, x), as in `DefectMap`.
    spacing
        Spacing (z, y, x) in mm.
    reduction
        What finding the defects gave already.
    prior
        For `interpolate_sinogram`.

    Returns
    -------
    ndarray
        HU, float32 (z, y, x), changed only where there is a defect.
    """
    filled = np.array(hu, np.float32)

    def marked(kind: DefectKind) -> NDArray[np.bool_]:
        check()
        return code == code_of(kind)

    if (missing := marked("missing")).any():
        filled = interpolate_slices(filled, np.asarray(missing.all(axis=(1, 2))))
    if (lines := marked("lines")).any():
        filled = interpolate_lines(filled, lines)
    if (ring := marked("ring")).any():
        np.copyto(filled, remove_rings(filled), where=ring)
    if (metallic := marked("metal")).any():
        metal = metal_mask(filled) if reduction is None else reduction.metal
        earlier = reduction if prior is None else None
        without = interpolate_sinogram(filled, metal & metallic, spacing[2], earlier, prior)
        np.copyto(filled, without, where=metallic)
    return filled


class Rings(NamedTuple):
    """Rings around the center of slices.

    Attributes
    ----------
    hu
        HU at radii of 0, 1/2, 1, ... pixels, float64 (radius,).
    significance
        Of the clearest ring, in standard deviations of the HU at its radius.
    """

    hu: NDArray[np.float64]
    significance: float


def remove_rings(hu: NDArray[np.floating]) -> NDArray[np.float32]:
    """Subtract rings around the center of the slices, which all slices have.

    Parameters
    ----------
    hu
        HU (z, y, x).

    Returns
    -------
    ndarray
        HU, float32 (z, y, x).
    """
    out = np.array(hu, np.float32)
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in hu.shape[1:])
    radius = np.hypot(rows[:, None], columns)
    for _ in range(_RING_PASSES):
        rings = estimate_rings(out).hu
        out -= np.interp(2 * radius, np.arange(len(rings)), rings, right=0).astype(np.float32)
    return out


def estimate_rings(hu: NDArray[np.floating]) -> Rings:
    """Estimate the rings that slices have in common.

    The median over angles and slices tells rings from anatomy; the errors of few detector elements
    that explain it best also give the wide tails of the rings, which the median does not show.

    Parameters
    ----------
    hu
        HU (z, y, x).

    Returns
    -------
    Rings
        The rings, and how clear they are.
    """
    profile = _radial_profile(hu, max(min(hu.shape[1:]) // 2, 1))
    elements = _rings_of_elements(len(profile.hu))
    own = np.minimum(np.ceil(_radii(len(profile.hu))).astype(int), len(profile.hu) - 1)
    usable = np.flatnonzero(profile.sectors[own] >= _MIN_SECTORS)
    if not len(usable):
        return Rings(np.zeros(len(elements)), 0.0)
    own, elements = own[usable], elements[:, usable]
    error, information = _few_elements(elements[::2], profile)
    seen = profile.sectors[own]
    judged = (seen == _RING_SECTORS) | ((seen >= _RING_SECTORS / 2) & (own >= _FAR_PX))
    judged &= np.abs(error) * np.abs(elements).max(axis=0) >= _MIN_RING_HU
    shown = profile.hu / np.sqrt(profile.variance)
    shown = np.sign(error) * np.stack([shown[own], shown[np.maximum(own - 1, 0)]])
    clear = np.minimum(np.abs(error) * np.sqrt(information), shown.max(axis=0))
    bound = _MAX_OF_PROFILE * np.abs(profile.hu).max()
    return Rings(np.clip(elements @ error, -bound, bound), float(clear[judged].max(initial=0)))


class _Profile(NamedTuple):
    """The fine structure along the radius: its HU, their variance, and in how many sectors."""

    hu: NDArray[np.float64]
    variance: NDArray[np.float64]
    sectors: NDArray[np.int64]


def _radial_profile(hu: NDArray[np.floating], length: int) -> _Profile:
    per = -(-4 * length // _RING_SECTORS)
    angles = np.linspace(0, 2 * np.pi, per * _RING_SECTORS, endpoint=False)[:, None]
    y, x = ((n - 1) / 2 for n in hu.shape[1:])
    r = np.arange(length)
    at = [y + r * np.sin(angles), x + r * np.cos(angles)]
    shape = _RING_SECTORS, per, length
    values, judged = [], []
    padding = hu.min()
    for k in np.unique(np.linspace(0, len(hu) - 1, min(len(hu), _RING_SLICES)).astype(int)):
        check()
        polar = ndimage.map_coordinates(np.asarray(hu[k], np.float32), at, order=1)
        fine = _high_pass(polar, 1)
        usable = (np.abs(fine) < _MAX_RING_HU) & (polar > _RING_HU[0]) & (polar < _RING_HU[1])
        usable &= ndimage.minimum_filter1d(polar, 2 * _EDGE_PX + 1, axis=1) > padding
        number = usable.reshape(shape).sum(1)
        values.append(np.where(usable, fine, 0).reshape(shape).sum(1) / np.maximum(number, 1))
        judged.append((number > per / 2) & (r >= _MIN_RING_PX))
    sector = _median(np.array(values), np.array(judged))
    sectors = np.any(judged, axis=0)
    middle = _median(sector, sectors)
    spread = 1.4826 * _median(np.abs(sector - middle), sectors)  # as a standard deviation
    count = sectors.sum(axis=0)
    variance = np.pi * spread**2 / np.maximum(count, 1) + _RING_NOISE_HU**2
    return _Profile(middle, variance, count)


def _median(values: NDArray[np.floating], judged: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the median of the judged values along the first axis, 0 where there are none."""
    order = np.sort(np.where(judged, values, np.inf), axis=0)
    count = judged.sum(axis=0)
    middle = np.stack([np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(order) - 1)])
    median = np.take_along_axis(order, middle, axis=0).mean(axis=0)
    return np.where(count > 0, median, 0.0)


def _high_pass(values: NDArray[np.floating], axis: int) -> NDArray[np.floating]:
    return values - ndimage.gaussian_filter1d(values, _RING_SIGMA, axis=axis, mode="nearest")


def _radii(length: int) -> NDArray[np.float64]:
    """Return the radii in pixels of the rings of detector elements, two per pixel."""
    return np.arange(2 * _MIN_RING_PX, 2 * length) / 2


@cache
def _rings_of_elements(length: int) -> NDArray[np.float64]:
    """Return the ring of an element at each of `_radii`, at every half pixel, (radius, element).

    In a full turn an element is on both sides of the center.
    """
    projector = Projector((2 * length, 2 * length), 4, KERNEL_PX)
    middle = (projector.n_detectors - 1) / 2
    detectors = np.arange(projector.n_detectors)
    distance = np.abs(np.abs(detectors - middle) - _radii(length)[:, None])
    filtered = projector.filtered(np.maximum(1 - distance, 0))
    cosine = np.cos((np.arange(2 * length) + 0.5) / (2 * length) * np.pi / 2)
    at = middle + np.arange(2 * length)[:, None] / 2 * cosine
    return np.pi * np.stack([np.interp(at, detectors, row).mean(1) for row in filtered], 1)


def _few_elements(
    elements: NDArray[np.floating], profile: _Profile
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return errors of few elements that explain a profile, and the information on each.

    Iteratively reweighted least squares (Candes, Wakin and Boyd 2008, "Enhancing sparsity by
    reweighted l1 minimization", J. Fourier Anal. Appl. 14:877, section 5.3).
    """
    fine = _high_pass(elements, 0)
    weight = np.where(profile.sectors > 0, 1 / profile.variance, 0)
    gram = (fine * weight[:, None]).T @ fine
    moment = fine.T @ (weight * profile.hu)
    ring_hu = float((elements**2).sum()) / elements.shape[1]  # of the mean element, squared
    diagonal = np.diag_indices(len(gram))
    penalty = np.full(len(gram), 0.01 * np.trace(gram) / len(gram))
    for _ in range(_REWEIGHTINGS):
        check()
        penalized = gram.copy()
        penalized[diagonal] += penalty
        errors = np.linalg.solve(penalized, moment)
        penalty = 2 * ring_hu / (ring_hu * errors**2 + _RING_NOISE_HU**2 / 4)
    return np.asarray(errors, np.float64), np.asarray(np.diag(gram), np.float64)
