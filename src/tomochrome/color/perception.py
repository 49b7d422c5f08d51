"""How colors are told apart: the CIEDE2000 difference, and color vision deficiency.

The deficiencies are those of G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, "A
physiologically-based model for simulation of color vision deficiency", IEEE TVCG 15, 2009: the
matrices of severity 1, for linear sRGB.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.color.space import lab_of_linear, linear_of_lab
from tomochrome.errors import OptionError

_MATRICES: Final = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
DEFICIENCIES: Final = tuple(_MATRICES)
"""Without cones for long, medium and short wavelengths."""


def ciede2000(
    lab1: ArrayLike, lab2: ArrayLike, *, kL: float = 1.0, kC: float = 1.0, kH: float = 1.0
) -> NDArray[np.float64]:
    """Return the CIEDE2000 difference of CIELAB colors.

    Parameters
    ----------
    lab1, lab2
        Shapes (..., 3), broadcast against each other: L*, a*, b*.
    kL, kC, kH
        Parametric weights of lightness, chroma and hue.

    Returns
    -------
    numpy.ndarray
        float64 of the broadcast shape without the last axis.

    Raises
    ------
    ValueError
        If the last axis of the colors is not of length 3.

    Notes
    -----
    G. Sharma, W. Wu, E. N. Dalal: The CIEDE2000 color-difference formula: implementation
    notes, supplementary test data, and mathematical observations. Color Research and
    Application 30 (2005) 21-30; its equations (2) to (22).
    """
    first, second = np.broadcast_arrays(
        np.asarray(lab1, dtype=np.float64), np.asarray(lab2, dtype=np.float64)
    )
    if first.ndim == 0 or first.shape[-1] != 3:
        raise ValueError(f"colors need a last axis of length 3, not shape {first.shape}")
    L1, a1, b1 = np.moveaxis(first, -1, 0)
    L2, a2, b2 = np.moveaxis(second, -1, 0)

    mean_c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2.0) ** 7
    g = 0.5 * (1.0 - np.sqrt(mean_c7 / (mean_c7 + 25.0**7)))
    c1, h1 = _polar((1.0 + g) * a1, b1)
    c2, h2 = _polar((1.0 + g) * a2, b2)

    dL, dC = L2 - L1, c2 - c1
    grey = c1 * c2 == 0.0
    dh = h2 - h1
    dh = np.where(dh > 180.0, dh - 360.0, np.where(dh < -180.0, dh + 360.0, dh))
    dh = np.where(grey, 0.0, dh)
    dH = 2.0 * np.sqrt(c1 * c2) * np.sin(np.radians(dh) / 2.0)

    mean_L, mean_c = (L1 + L2) / 2.0, (c1 + c2) / 2.0
    # mean hue along the shorter arc (equation 14)
    total = h1 + h2
    wrapped = np.where(total < 360.0, total + 360.0, total - 360.0)
    mean_h = np.where(np.abs(h1 - h2) > 180.0, wrapped, total) / 2.0
    mean_h = np.where(grey, total, mean_h)
    t = (
        1.0
        - 0.17 * np.cos(np.radians(mean_h - 30.0))
        + 0.24 * np.cos(np.radians(2.0 * mean_h))
        + 0.32 * np.cos(np.radians(3.0 * mean_h + 6.0))
        - 0.20 * np.cos(np.radians(4.0 * mean_h - 63.0))
    )
    rotation = 30.0 * np.exp(-(((mean_h - 275.0) / 25.0) ** 2))
    r_c = 2.0 * np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7))
    r_t = -np.sin(np.radians(2.0 * rotation)) * r_c
    s_l = 1.0 + 0.015 * (mean_L - 50.0) ** 2 / np.sqrt(20.0 + (mean_L - 50.0) ** 2)
    s_c = 1.0 + 0.045 * mean_c
    s_h = 1.0 + 0.015 * mean_c * t

    x, y, z = dL / (kL * s_l), dC / (kC * s_c), dH / (kH * s_h)
    return np.asarray(np.sqrt(np.maximum(x * x + y * y + z * z + r_t * y * z, 0.0)))


def _polar(
    a: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return chroma and hue in degrees, 0 to 360 (0 for grey)."""
    return np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360.0


def as_seen(lab: ArrayLike, deficiency: str) -> NDArray[np.float64]:
    """Return how colors look to people with a color vision deficiency.

    Parameters
    ----------
    lab
        CIELAB (D65), shape (..., 3); out-of-gamut colors are clipped in linear sRGB.
    deficiency
        One of `DEFICIENCIES`.

    Returns
    -------
    ndarray
        float64 CIELAB (..., 3).

    Raises
    ------
    OptionError
        If the deficiency is unknown.
    """
    matrix = _MATRICES.get(deficiency)
    if matrix is None:
        raise OptionError(
            f"unknown color vision deficiency '{deficiency}': choose one of "
            f"{', '.join(DEFICIENCIES)}"
        )
    linear = linear_of_lab(lab).clip(0.0, 1.0) @ np.transpose(matrix)
    return lab_of_linear(linear.clip(0.0, 1.0))
