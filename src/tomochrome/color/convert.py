"""sRGB (IEC 61966-2-1) and CIELAB (D65, CIE 15), both ways, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.color.kernels import (
    chroma_share,
    encode,
    kernel,
    lab_from_linear,
    linear_from_lab,
    linearize,
    over_chunks,
)

_LINEAR_OF_8BIT = np.array([linearize.py_func(v / 255.0) for v in range(256)])


@kernel
def _lab_of_8bit(rgb, lab, linear):  # type: ignore[no-untyped-def]
    for i in range(rgb.shape[0]):
        L, a, b = lab_from_linear(linear[rgb[i, 0]], linear[rgb[i, 1]], linear[rgb[i, 2]])
        lab[i, 0], lab[i, 1], lab[i, 2] = L, a, b


@kernel
def _lab_of_float(rgb, lab):  # type: ignore[no-untyped-def]
    for i in range(rgb.shape[0]):
        L, a, b = lab_from_linear(linearize(rgb[i, 0]), linearize(rgb[i, 1]), linearize(rgb[i, 2]))
        lab[i, 0], lab[i, 1], lab[i, 2] = L, a, b


@kernel
def _rgb_of_lab(lab, rgb, gamut, scale):  # type: ignore[no-untyped-def]
    for i in range(lab.shape[0]):
        L, a, b = float(lab[i, 0]), float(lab[i, 1]), float(lab[i, 2])
        if gamut:
            L = min(max(L, 0.0), 100.0)
            share = chroma_share(L, a, b)
            a, b = a * share, b * share
        red, green, blue = linear_from_lab(L, a, b)
        if gamut:
            red = min(max(red, 0.0), 1.0)
            green = min(max(green, 0.0), 1.0)
            blue = min(max(blue, 0.0), 1.0)
        if scale == 1.0:
            rgb[i, 0], rgb[i, 1], rgb[i, 2] = encode(red), encode(green), encode(blue)
        else:
            rgb[i, 0] = int(scale * encode(red) + 0.5)
            rgb[i, 1] = int(scale * encode(green) + 0.5)
            rgb[i, 2] = int(scale * encode(blue) + 0.5)


def as_triples(values: ArrayLike, dtype: Any = np.float32) -> NDArray[Any]:
    """Return ``values`` as a contiguous (n, 3) array of ``dtype``.

    Raises
    ------
    ValueError
        If the last axis has not three entries.
    """
    array = np.ascontiguousarray(values, dtype=dtype)
    if array.ndim == 0 or array.shape[-1] != 3:
        raise ValueError(f"colors need a last axis of length 3, not shape {array.shape}")
    return array.reshape(-1, 3)


def srgb_to_lab(rgb: ArrayLike) -> NDArray[np.float32]:
    """Return CIELAB (D65) of sRGB colors.

    Parameters
    ----------
    rgb
        Shape (..., 3): uint8, or floating point from 0 to 1.

    Returns
    -------
    numpy.ndarray
        float32 of the same shape: L* (0 to 100), a*, b*.

    Raises
    ------
    ValueError
        If the last axis has not three entries, or integers other than uint8 are given.

    Notes
    -----
    IEC 61966-2-1 for the transfer curve and primaries, CIE 15 for CIELAB.
    """
    array = np.asarray(rgb)
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise ValueError(f"sRGB must be uint8 or floating point from 0 to 1, not {array.dtype}")
    eight = array.dtype == np.uint8
    flat = as_triples(array, np.uint8 if eight else np.float32)
    lab = np.empty(flat.shape, np.float32)
    if eight:
        over_chunks(lambda i, j: _lab_of_8bit(flat[i:j], lab[i:j], _LINEAR_OF_8BIT), len(flat))
    else:
        over_chunks(lambda i, j: _lab_of_float(flat[i:j], lab[i:j]), len(flat))
    return lab.reshape(array.shape)


def lab_to_srgb(lab: ArrayLike, gamut: bool = True) -> NDArray[np.float32]:
    """Return sRGB (0 to 1) of CIELAB (D65) colors.

    Parameters
    ----------
    lab
        Shape (..., 3): L*, a*, b*.
    gamut
        Lessen the chroma of colors that sRGB cannot show, at constant L* and hue. Without it,
        such colors have values below 0 or above 1.

    Returns
    -------
    numpy.ndarray
        float32 of the same shape.
    """
    array = np.asarray(lab)
    flat = as_triples(array)
    rgb = np.empty(flat.shape, np.float32)
    over_chunks(lambda i, j: _rgb_of_lab(flat[i:j], rgb[i:j], gamut, 1.0), len(flat))
    return rgb.reshape(array.shape)


def lab_to_srgb8(lab: ArrayLike) -> NDArray[np.uint8]:
    """Return 8-bit sRGB of CIELAB (D65) colors, fitted into the gamut and rounded.

    Parameters
    ----------
    lab
        Shape (..., 3): L*, a*, b*.

    Returns
    -------
    numpy.ndarray
        uint8 of the same shape.
    """
    array = np.asarray(lab)
    flat = as_triples(array)
    rgb = np.empty(flat.shape, np.uint8)
    over_chunks(lambda i, j: _rgb_of_lab(flat[i:j], rgb[i:j], True, 255.0), len(flat))
    return rgb.reshape(array.shape)
