"""Colors that sRGB cannot show lose chroma at constant L* and hue; nothing is clipped."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.color.convert import as_triples
from tomochrome.color.kernels import fit, most_chroma
from tomochrome.runtime.kernels import over_chunks


def fit_chroma(lab: ArrayLike) -> NDArray[np.float32]:
    """Lessen the chroma of colors outside sRGB until they fit, at constant L* and hue.

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
    The boundary is found along the ray to grey by bisection, to within 1e-5 of the chroma.
    """
    array = np.asarray(lab)
    flat = as_triples(array)
    out = np.empty(flat.shape, np.float32)
    over_chunks(lambda i, j: fit(flat[i:j], out[i:j]), len(flat), least=4096)
    return out.reshape(array.shape)


def max_chroma(L: ArrayLike, hue: ArrayLike) -> NDArray[np.float32]:
    """Return the largest chroma C* that sRGB can show.

    Parameters
    ----------
    L
        L*, 0 to 100.
    hue
        Hue angle h_ab in radians, broadcast against ``L``.
    """
    lightness, angle = np.broadcast_arrays(
        np.asarray(L, dtype=np.float64), np.asarray(hue, dtype=np.float64)
    )
    out = np.empty(lightness.size, np.float32)
    most_chroma(np.ascontiguousarray(lightness.ravel()), np.ascontiguousarray(angle.ravel()), out)
    return out.reshape(lightness.shape)
