"""Simulation of color vision deficiency.

G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, "A physiologically-based model for simulation of
color vision deficiency", IEEE TVCG 15, 2009: the matrices of severity 1, for linear sRGB.
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
