"""Compiled pieces of color science that the kernels of this room share.

Kernels are serial and release the GIL; `over_chunks` runs them over pieces of the work in
threads. Numba's own parallel loops are not used: some of its threading layers stop the whole
process when two threads (a viewer's slicing and a worker) enter them at once, and they take
several times as long to compile.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit

from tomochrome.color.space import DELTA, FROM_XYZ, HIGHEST, LOWEST, TO_XYZ
from tomochrome.runtime.device import thread_count


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` without the GIL, cached on disk where some folder can be written.

    Numba keeps its cache beside the module, or in the user's cache folder where the package is
    read-only; where neither can be written it raises, and the kernel is compiled anew each run.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)


def over_chunks(
    work: Callable[[int, int], None], n: int, *, threads: int | None = None, least: int = 65536
) -> None:
    """Call ``work(start, stop)`` on consecutive pieces of ``range(n)`` in threads.

    Parameters
    ----------
    work
        Handles items ``start`` to ``stop`` and releases the GIL.
    n
        Number of items.
    threads
        Number of threads; default all that this process may use.
    least
        Smallest piece worth a thread of its own.
    """
    pieces = min(thread_count(threads), max(1, n // least))
    if pieces <= 1:
        work(0, n)
        return
    edges = np.linspace(0, n, pieces + 1).astype(int)
    with ThreadPoolExecutor(pieces - 1) as pool:
        rest = [pool.submit(work, int(edges[i]), int(edges[i + 1])) for i in range(1, pieces)]
        work(0, int(edges[1]))
        for future in rest:
            future.result()


# Compiled functions hold scalars as constants, which they could not do with arrays.
_M00, _M01, _M02 = (float(v) for v in TO_XYZ[0])
_M10, _M11, _M12 = (float(v) for v in TO_XYZ[1])
_M20, _M21, _M22 = (float(v) for v in TO_XYZ[2])
_I00, _I01, _I02 = (float(v) for v in FROM_XYZ[0])
_I10, _I11, _I12 = (float(v) for v in FROM_XYZ[1])
_I20, _I21, _I22 = (float(v) for v in FROM_XYZ[2])


@kernel
def linearize(c):  # type: ignore[no-untyped-def]
    """SRGB value 0..1 to linear light (IEC 61966-2-1)."""
    if c <= 0.04045:
        return c / 12.92
    return ((c + 0.055) / 1.055) ** 2.4


@kernel
def encode(c):  # type: ignore[no-untyped-def]
    """Linear light to sRGB value 0..1 (IEC 61966-2-1)."""
    if c <= 0.0031308:
        return 12.92 * c
    return 1.055 * c ** (1.0 / 2.4) - 0.055


@kernel
def _f(t):  # type: ignore[no-untyped-def]
    """CIE 15: the cube root of CIELAB with its linear foot."""
    if t > DELTA * DELTA * DELTA:
        return np.cbrt(t)
    return t / (3.0 * DELTA * DELTA) + 4.0 / 29.0


@kernel
def _f_inverse(t):  # type: ignore[no-untyped-def]
    if t > DELTA:
        return t * t * t
    return 3.0 * DELTA * DELTA * (t - 4.0 / 29.0)


@kernel
def lab_from_linear(r, g, b):  # type: ignore[no-untyped-def]
    """Linear sRGB to L*, a*, b*."""
    fx = _f(_M00 * r + _M01 * g + _M02 * b)
    fy = _f(_M10 * r + _M11 * g + _M12 * b)
    fz = _f(_M20 * r + _M21 * g + _M22 * b)
    return 116.0 * fy - 16.0, 500.0 * (fx - fy), 200.0 * (fy - fz)


@kernel
def lightness_from_linear(r, g, b):  # type: ignore[no-untyped-def]
    """Linear sRGB to L* alone."""
    return 116.0 * _f(_M10 * r + _M11 * g + _M12 * b) - 16.0


@kernel
def linear_from_lab(L, a, b):  # type: ignore[no-untyped-def]
    """L*, a*, b* to linear sRGB, outside 0..1 where the color is out of gamut."""
    fy = (L + 16.0) / 116.0
    x = _f_inverse(fy + a / 500.0)
    y = _f_inverse(fy)
    z = _f_inverse(fy - b / 200.0)
    return (
        _I00 * x + _I01 * y + _I02 * z,
        _I10 * x + _I11 * y + _I12 * z,
        _I20 * x + _I21 * y + _I22 * z,
    )


@kernel
def _inside(L, a, b):  # type: ignore[no-untyped-def]
    red, green, blue = linear_from_lab(L, a, b)
    return LOWEST <= red <= HIGHEST and LOWEST <= green <= HIGHEST and LOWEST <= blue <= HIGHEST


@kernel
def chroma_share(L, a, b):  # type: ignore[no-untyped-def]
    """Largest share (0..1) of the chroma that sRGB can show at this L* and hue.

    1 if the color is in gamut, 0 at black and white; otherwise a few looks inwards along the
    ray to grey, then bisection. Looking from outside matters beside yellow above L* 91, where
    the ray leaves the gamut and enters it again.
    """
    if _inside(L, a, b):
        return 1.0
    low, high = 0.0, 1.0
    for share in (0.9999, 0.999, 0.99, 0.95, 0.8, 0.6, 0.4, 0.2):
        if _inside(L, share * a, share * b):
            low = share
            break
        high = share
    for _ in range(16):
        middle = 0.5 * (low + high)
        if _inside(L, middle * a, middle * b):
            low = middle
        else:
            high = middle
    return low
