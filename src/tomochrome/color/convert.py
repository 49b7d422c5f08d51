"""Conversion between sRGB (IEC 61966-2-1) and CIELAB (D65, CIE 15), and gamut mapping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.color.color_kernels import fit, lab_of_8bit, lab_of_float, rgb_of_lab
from tomochrome.color.space import LINEAR_OF_8BIT
from tomochrome.runtime.kernels import over_chunks


def _mapped(
    kernel: Callable[..., None],
    colors: NDArray[Any],
    of: type[np.generic],
    to: type[np.generic],
    *rest: Any,
    least: int = 65536,
) -> NDArray[Any]:
    """Apply a kernel to colors (..., 3) of type ``of``, with a result of type ``to``."""
    if colors.ndim == 0 or colors.shape[-1] != 3:
        raise ValueError(f"colors need a last axis of length 3, not shape {colors.shape}")
    flat = np.ascontiguousarray(colors, dtype=of).reshape(-1, 3)
    out = np.empty(flat.shape, to)
    over_chunks(lambda i, j: kernel(flat[i:j], out[i:j], *rest), len(flat), least=least)
    return out.reshape(colors.shape)


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
        If the last axis is not of length 3, or the type is an integer other than uint8.

    Notes
    -----
    Transfer function and primaries: IEC 61966-2-1. CIELAB: CIE 15.
    """
    array = np.asarray(rgb)
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise ValueError(f"sRGB must be uint8 or floating point from 0 to 1, not {array.dtype}")
    if array.dtype == np.uint8:
        return _mapped(lab_of_8bit, array, np.uint8, np.float32, LINEAR_OF_8BIT)
    return _mapped(lab_of_float, array, np.float32, np.float32)


def lab_to_srgb(lab: ArrayLike, gamut: bool = True) -> NDArray[np.float32]:
    """Return sRGB (0 to 1) of CIELAB (D65) colors.

    Parameters
    ----------
    lab
        Shape (..., 3): L*, a*, b*.
    gamut
        Reduce the chroma of out-of-gamut colors at constant L* and hue. Otherwise such colors
        have values below 0 or above 1.

    Returns
    -------
    numpy.ndarray
        float32 of the same shape.
    """
    return _mapped(rgb_of_lab, np.asarray(lab), np.float32, np.float32, gamut, 1.0)


def lab_to_srgb8(lab: ArrayLike) -> NDArray[np.uint8]:
    """Return 8-bit sRGB of CIELAB (D65) colors, fitted to the gamut and rounded.

    Parameters
    ----------
    lab
        As for `lab_to_srgb`.

    Returns
    -------
    numpy.ndarray
        uint8 of the same shape.
    """
    return _mapped(rgb_of_lab, np.asarray(lab), np.float32, np.uint8, True, 255.0)


def fit_chroma(lab: ArrayLike) -> NDArray[np.float32]:
    """Reduce the chroma of out-of-gamut colors to the gamut boundary, at constant L* and hue.

    Channels are not clipped individually.

    Parameters
    ----------
    lab
        Shape (..., 3): L*, a*, b*.

    Returns
    -------
    numpy.ndarray
        float32 of the same shape. Colors in gamut are unchanged; L* is limited to 0..100.

    Notes
    -----
    The boundary is computed along the ray to grey by bisection, to within 1e-5 of the chroma.
    """
    return _mapped(fit, np.asarray(lab), np.float32, np.float32, least=4096)
