"""sRGB (IEC 61966-2-1) and CIELAB (D65, CIE 15), both ways, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.color.kernels import lab_of_8bit, lab_of_float, rgb_of_lab
from tomochrome.color.space import LINEAR_OF_8BIT
from tomochrome.runtime.kernels import over_chunks


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
        over_chunks(lambda i, j: lab_of_8bit(flat[i:j], lab[i:j], LINEAR_OF_8BIT), len(flat))
    else:
        over_chunks(lambda i, j: lab_of_float(flat[i:j], lab[i:j]), len(flat))
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
    over_chunks(lambda i, j: rgb_of_lab(flat[i:j], rgb[i:j], gamut, 1.0), len(flat))
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
    over_chunks(lambda i, j: rgb_of_lab(flat[i:j], rgb[i:j], True, 255.0), len(flat))
    return rgb.reshape(array.shape)
