"""Constants of sRGB and CIELAB, and a conversion without compiled kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: IEC 61966-2-1: linear sRGB to XYZ (D65).
SRGB_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
#: The matrix's own white (0.9505, 1, 1.089), so that R = G = B is exactly a* = b* = 0.
WHITE = SRGB_TO_XYZ.sum(axis=1)
TO_XYZ = SRGB_TO_XYZ / WHITE[:, None]  #: linear sRGB to X/Xn, Y/Yn, Z/Zn
FROM_XYZ = np.linalg.inv(TO_XYZ)
DELTA = 6.0 / 29.0  #: CIE 15: transition of the cube root to its linear segment
#: Limits of linear light in gamut: 0..1 with a tolerance of less than a tenth of an 8-bit step
#: for rounding errors of primaries.
MIN_LINEAR, MAX_LINEAR = -1e-5, 1.0 + 2e-4


def linear_of_srgb(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return linear light, 0 to 1, of sRGB values from 0 to 1 (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb_of_linear(linear: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return sRGB values, 0 to 1, of linear light; the inverse of `linear_of_srgb`."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1.0 / 2.4) - 0.055)


#: Linear light of each 8-bit value.
LINEAR_OF_8BIT = linear_of_srgb(np.arange(256) / 255.0)
#: L* of the grey pixel (g, g, g).
GREY_L = (
    116.0
    * np.where(
        LINEAR_OF_8BIT > DELTA**3,
        np.cbrt(LINEAR_OF_8BIT),
        LINEAR_OF_8BIT / (3.0 * DELTA**2) + 4.0 / 29.0,
    )
    - 16.0
)


def linear_of_lab(lab: ArrayLike) -> NDArray[np.float64]:
    """Return linear sRGB of CIELAB, shape (..., 3); out-of-gamut colors are outside 0..1."""
    L, a, b = np.moveaxis(np.asarray(lab, dtype=np.float64), -1, 0)
    fy = (L + 16.0) / 116.0
    f = np.stack([fy + a / 500.0, fy, fy - b / 200.0], axis=-1)
    xyz = np.where(f > DELTA, f**3, 3.0 * DELTA**2 * (f - 4.0 / 29.0))
    return np.asarray(xyz @ FROM_XYZ.T)


def lab_of_linear(linear: ArrayLike) -> NDArray[np.float64]:
    """Return CIELAB of linear sRGB, shape (..., 3); the inverse of `linear_of_lab`."""
    xyz = np.asarray(linear, dtype=np.float64) @ TO_XYZ.T
    f = np.where(xyz > DELTA**3, np.cbrt(xyz), xyz / (3.0 * DELTA**2) + 4.0 / 29.0)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def srgb8_of_lab(lab: ArrayLike) -> NDArray[np.uint8]:
    """Return 8-bit sRGB of a few CIELAB colors, fitted to the gamut at constant L* and hue.

    For images use `tomochrome.color.lab_to_srgb8`, which returns the same values.
    """
    colors = np.atleast_2d(np.asarray(lab, dtype=np.float64))
    low, high = np.zeros(len(colors)), np.ones(len(colors))
    share = np.ones(len(colors))
    for _ in range(24):
        linear = linear_of_lab(_scaled_chroma(colors, share))
        inside = ((linear >= MIN_LINEAR) & (linear <= MAX_LINEAR)).all(axis=-1)
        low, high = np.where(inside, share, low), np.where(inside, high, share)
        share = np.where(low == 1.0, 1.0, 0.5 * (low + high))
    linear = linear_of_lab(_scaled_chroma(colors, low)).clip(0.0, 1.0)
    return np.asarray(np.rint(255.0 * srgb_of_linear(linear)), dtype=np.uint8).reshape(
        np.shape(lab)
    )


def _scaled_chroma(lab: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the colors with their chroma multiplied by ``share``."""
    return lab * np.stack([np.ones_like(share), share, share], axis=-1)
