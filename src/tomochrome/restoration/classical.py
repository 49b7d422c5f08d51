"""Filling of defects without a network: interpolation of what was lost.

It is the measure for the networks, and the first of what they see.
"""

from __future__ import annotations

from functools import cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline

from tomochrome.restoration.defects import KINDS
from tomochrome.restoration.projection import Projector
from tomochrome.restoration.simulation import AIR_HU, n_views

METAL_HU: Final = 2500.0
_MIN_METAL: Final = 3  # voxels
_TRACE_PX: Final = 1  # by which the trace of metal is wider than its projection
_RING_PASSES: Final = 3
_RING_SLICES: Final = 24
_RING_SECTORS: Final = 24
_MIN_RING_PX: Final = 3
_MIN_RING_SHARE: Final = 0.15  # of the sectors, below which a radius is not judged
_RING_SIGMA: Final = 6.0  # in pixels; wider structures along the radius are anatomy
_RING_HU: Final = (-960.0, 300.0)  # without air and bone
_MAX_RING_HU: Final = 120.0


def metal_mask(hu: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return where there is metal, booleans (z, y, x): parts of three voxels or more.

    Parameters
    ----------
    hu
        HU (z, y, x).
    """
    labels, count = ndimage.label(hu >= METAL_HU)
    if not count:
        return np.zeros(hu.shape, np.bool_)
    large = np.bincount(labels.ravel()) >= _MIN_METAL
    large[0] = False
    return np.asarray(large[labels])


def interpolate_sinogram(
    hu: NDArray[np.floating], metal: NDArray[np.bool_], pixel_mm: float
) -> NDArray[np.float32]:
    """Reduce the artifacts of metal by linear interpolation over its trace in the projections.

    Kalender, Hebel and Ebersberger (1987), "Reduction of CT artifacts caused by metallic implants",
    Radiology 164:576. The metal keeps its HU.

    Parameters
    ----------
    hu, metal
        HU and mask of the metal, (z, y, x).
    pixel_mm
        Size of a pixel, which is square.

    Returns
    -------
    ndarray
        HU, float32 (z, y, x).
    """
    out = np.array(hu, np.float32)
    for z in np.flatnonzero(metal.any(axis=(1, 2))):
        projector = Projector((hu.shape[1], hu.shape[2]), n_views(hu.shape))
        body = np.maximum(1 + np.minimum(out[z], METAL_HU) / 1000, 0)
        sinogram = projector.project(body)
        trace = projector.project(metal[z].astype(np.float32)) > 0.05
        trace = ndimage.binary_dilation(trace, np.ones((1, 2 * _TRACE_PX + 1)))
        change = np.zeros_like(sinogram)
        detectors = np.arange(sinogram.shape[1])
        for row, view, hidden in zip(change, sinogram, trace, strict=True):
            if hidden.any():
                row[hidden] = (
                    np.interp(detectors[hidden], detectors[~hidden], view[~hidden]) - view[hidden]
                )
        inside = out[z] + 1000 * projector.reconstruct(change)
        out[z] = np.where(metal[z], hu[z], np.maximum(inside, AIR_HU))
    return out


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
    hu: NDArray[np.floating], code: NDArray[np.uint8], spacing: tuple[float, float, float]
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

    Returns
    -------
    ndarray
        HU, float32 (z, y, x), changed only where there is a defect.
    """
    masks = {kind: code == k + 1 for k, kind in enumerate(KINDS)}
    filled = np.array(hu, np.float32)
    if masks["missing"].any():
        filled = interpolate_slices(filled, masks["missing"].all(axis=(1, 2)))
    if masks["lines"].any():
        filled = interpolate_lines(filled, masks["lines"])
    if masks["ring"].any():
        filled = np.where(masks["ring"], remove_rings(filled), filled)
    if masks["metal"].any():
        without = interpolate_sinogram(filled, metal_mask(filled) & masks["metal"], spacing[2])
        filled = np.where(masks["metal"], without, filled)
    return filled


def remove_rings(hu: NDArray[np.floating]) -> NDArray[np.float32]:
    """Subtract rings around the center of the slices, which all slices have.

    The mean over angles and slices tells rings from anatomy; the errors of few detector elements
    that explain it best also give the wide tails of the rings, which the mean does not show.

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
    model = _rings_of_elements(min(hu.shape[1:]) // 2)
    for _ in range(_RING_PASSES):
        profile, weight = _radial_profile(out, len(model))
        bound = 1.3 * float(np.abs(profile[weight > 0]).max(initial=0))
        rings = model @ _few_elements(_high_pass(model, 0), profile, weight)
        rings = np.clip(rings, -bound, bound) * (weight > 0)
        out -= np.interp(radius, np.arange(len(rings)), rings, right=0).astype(np.float32)
    return out


def _radial_profile(
    hu: NDArray[np.float32], length: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean fine structure along the radius, and its weight: the number of samples."""
    sectors = _RING_SECTORS
    per = -(-4 * length // sectors)
    angles = np.linspace(0, 2 * np.pi, per * sectors, endpoint=False)[:, None]
    center = (np.array(hu.shape[1:]) - 1) / 2
    r = np.arange(length)
    at = [center[0] + r * np.sin(angles), center[1] + r * np.cos(angles)]
    values, counts = [], []
    for slice_hu in hu[np.linspace(0, len(hu) - 1, min(len(hu), _RING_SLICES)).astype(int)]:
        polar = ndimage.map_coordinates(slice_hu, at, order=1)
        fine = _high_pass(polar, 1)
        usable = (np.abs(fine) < _MAX_RING_HU) & (polar > _RING_HU[0]) & (polar < _RING_HU[1])
        shape = sectors, per, length
        number = usable.reshape(shape).sum(1)
        values.append(np.where(usable, fine, 0).reshape(shape).sum(1) / np.maximum(number, 1))
        counts.append(number > per / 2)
    every, judged = np.concatenate(values), np.concatenate(counts)
    order = np.sort(np.where(judged, every, np.inf), axis=0)
    middle = np.minimum(judged.sum(0) // 2, len(order) - 1)
    profile = np.take_along_axis(order, middle[None], axis=0)[0]
    profile[~judged.any(0)] = 0
    share = judged.mean(0)
    share[:_MIN_RING_PX] = 0
    return profile, np.where(share > _MIN_RING_SHARE, share, 0)


def _high_pass(values: NDArray[np.floating], axis: int) -> NDArray[np.floating]:
    return values - ndimage.gaussian_filter1d(values, _RING_SIGMA, axis=axis, mode="nearest")


@cache
def _rings_of_elements(length: int) -> NDArray[np.float64]:
    """Return the radial profile of the ring of each detector element, (radius, element).

    The element at a distance from the center is on both sides in a full turn.
    """
    projector = Projector((2 * length, 2 * length), 4)
    half = projector.n_detectors // 2
    errors = np.zeros((half, projector.n_detectors))
    k = np.arange(half)
    middle = (projector.n_detectors - 1) / 2
    errors[k, np.ceil(middle + k).astype(int).clip(max=projector.n_detectors - 1)] = 1
    errors[k, np.floor(middle - k).astype(int).clip(min=0)] = 1
    filtered = projector.filtered(errors)
    cosine = np.cos(np.linspace(0, np.pi / 2, 2 * length))
    at = middle + np.arange(length)[:, None] * cosine
    detectors = np.arange(projector.n_detectors)
    return np.pi * np.stack([np.interp(at, detectors, row).mean(1) for row in filtered], 1)


def _few_elements(
    model: NDArray[np.floating], profile: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return errors of few elements that explain a profile (iteratively reweighted squares)."""
    judged = np.flatnonzero(weight > 0)
    every = np.zeros(model.shape[1])
    judged = judged[judged < len(every)]
    if not len(judged):
        return every
    root = np.sqrt(weight)[:, None]
    weighted, target = root * model[:, judged], root[:, 0] * profile
    gram, moment = weighted.T @ weighted, weighted.T @ target
    scale = float(np.trace(gram)) / len(gram)
    errors = np.linalg.solve(gram + 0.1 * scale * np.eye(len(gram)), moment)
    noise = 1.5 * float(np.median(np.abs(profile[weight > 0]))) / np.sqrt(scale)
    for _ in range(8):
        penalty = noise**2 * scale / (errors**2 + 0.1 * noise**2)
        errors = np.linalg.solve(gram + np.diag(penalty), moment)
    every[judged] = errors
    return every
