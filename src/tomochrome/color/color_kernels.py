"""All compiled kernels of `tomochrome.color`.

They are in one file because numba's disk cache only tracks the file of a function, not the files
of functions that it calls: after an update, stale machine code could run. For the same reason,
touch this file when the constants in `tomochrome.color.space` change.
"""

from __future__ import annotations

import numpy as np

from tomochrome.color.space import DELTA, FROM_XYZ, MAX_LINEAR, MIN_LINEAR, TO_XYZ
from tomochrome.runtime.kernels import kernel

# Scalars, unlike arrays, become constants in compiled functions.
_M00, _M01, _M02 = (float(v) for v in TO_XYZ[0])
_M10, _M11, _M12 = (float(v) for v in TO_XYZ[1])
_M20, _M21, _M22 = (float(v) for v in TO_XYZ[2])
_I00, _I01, _I02 = (float(v) for v in FROM_XYZ[0])
_I10, _I11, _I12 = (float(v) for v in FROM_XYZ[1])
_I20, _I21, _I22 = (float(v) for v in FROM_XYZ[2])


@kernel
def linearize(c):  # type: ignore[no-untyped-def]
    """Convert an sRGB value 0..1 to linear light (IEC 61966-2-1)."""
    if c <= 0.04045:
        return c / 12.92
    return ((c + 0.055) / 1.055) ** 2.4


@kernel
def encode(c):  # type: ignore[no-untyped-def]
    """Convert linear light to an sRGB value 0..1 (IEC 61966-2-1)."""
    if c <= 0.0031308:
        return 12.92 * c
    return 1.055 * c ** (1.0 / 2.4) - 0.055


@kernel
def _f(t):  # type: ignore[no-untyped-def]
    """Return the cube root of CIELAB with its linear segment (CIE 15)."""
    if t > DELTA * DELTA * DELTA:
        return np.cbrt(t)
    return t / (3.0 * DELTA * DELTA) + 4.0 / 29.0


@kernel
def _f_inverse(t):  # type: ignore[no-untyped-def]
    """Return the inverse of `_f` (CIE 15)."""
    if t > DELTA:
        return t * t * t
    return 3.0 * DELTA * DELTA * (t - 4.0 / 29.0)


@kernel
def lab_from_linear(r, g, b):  # type: ignore[no-untyped-def]
    """Convert linear sRGB to L*, a*, b*."""
    fx = _f(_M00 * r + _M01 * g + _M02 * b)
    fy = _f(_M10 * r + _M11 * g + _M12 * b)
    fz = _f(_M20 * r + _M21 * g + _M22 * b)
    return 116.0 * fy - 16.0, 500.0 * (fx - fy), 200.0 * (fy - fz)


@kernel
def lightness_from_linear(r, g, b):  # type: ignore[no-untyped-def]
    """Convert linear sRGB to L* only."""
    return 116.0 * _f(_M10 * r + _M11 * g + _M12 * b) - 16.0


@kernel
def linear_from_lab(L, a, b):  # type: ignore[no-untyped-def]
    """Convert L*, a*, b* to linear sRGB; out-of-gamut colors are outside 0..1."""
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
    """Whether the color is in the sRGB gamut."""
    red, green, blue = linear_from_lab(L, a, b)
    return (
        MIN_LINEAR <= red <= MAX_LINEAR
        and MIN_LINEAR <= green <= MAX_LINEAR
        and MIN_LINEAR <= blue <= MAX_LINEAR
    )


@kernel
def chroma_share(L, a, b):  # type: ignore[no-untyped-def]
    """Return the largest factor (0..1) for the chroma that is in gamut at this L* and hue.

    It is 1 for colors in gamut, and 0 for black and white; otherwise it is bracketed from the
    outside along the ray to grey, then bisected. The direction matters near yellow above L* 91,
    where the ray leaves the gamut and enters it again.
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


@kernel
def lab_of_8bit(rgb, lab, linear):  # type: ignore[no-untyped-def]
    """Fill ``lab`` (n, 3) from uint8 sRGB (n, 3); ``linear`` is the linear light of each value."""
    for i in range(rgb.shape[0]):
        L, a, b = lab_from_linear(linear[rgb[i, 0]], linear[rgb[i, 1]], linear[rgb[i, 2]])
        lab[i, 0], lab[i, 1], lab[i, 2] = L, a, b


@kernel
def lab_of_float(rgb, lab):  # type: ignore[no-untyped-def]
    """Fill ``lab`` (n, 3) from sRGB 0..1 (n, 3)."""
    for i in range(rgb.shape[0]):
        L, a, b = lab_from_linear(linearize(rgb[i, 0]), linearize(rgb[i, 1]), linearize(rgb[i, 2]))
        lab[i, 0], lab[i, 1], lab[i, 2] = L, a, b


@kernel
def rgb_of_lab(lab, rgb, gamut, scale):  # type: ignore[no-untyped-def]
    """Fill ``rgb`` (n, 3) from ``lab``; ``scale`` is 1 for float, 255 for uint8 output."""
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


@kernel
def fit(lab, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (n, 3) with ``lab``, its chroma fitted to the sRGB gamut."""
    for i in range(lab.shape[0]):
        L = min(max(float(lab[i, 0]), 0.0), 100.0)
        a, b = float(lab[i, 1]), float(lab[i, 2])
        share = chroma_share(L, a, b)
        out[i, 0], out[i, 1], out[i, 2] = L, a * share, b * share


@kernel
def cell_of(a, b):  # type: ignore[no-untyped-def]
    """Return the index of the column of chroma (a*, b*), both within `MAX_AB`."""
    return int(np.floor(a + 96.5)) * 192 + int(np.floor(b + 96.5))


@kernel
def _best_rounding(L, a, b, red, green, blue, darker, linear, out):  # type: ignore[no-untyped-def]
    """Choose the best of the eight 8-bit roundings of a color, and return its L*.

    It has the smallest color difference with a weight of three for luminance. Candidates whose
    L* error exceeds 0.15, or that are not brighter than the previous grey level (``darker``), are
    used only if there are no others, so that color never hides a grey level.
    """
    r0, g0, b0 = int(red), int(green), int(blue)
    best, chosen = 1e30, 0.0
    for corner in range(8):
        r = min(r0 + (corner & 1), 255)
        g = min(g0 + ((corner >> 1) & 1), 255)
        u = min(b0 + ((corner >> 2) & 1), 255)
        tL = lightness_from_linear(linear[r], linear[g], linear[u])
        dL = abs(tL - L)
        if dL > 0.15:
            cost = 1e6 + 1e6 * dL
        else:
            _, ta, tb = lab_from_linear(linear[r], linear[g], linear[u])
            cost = 9.0 * dL * dL + (ta - a) ** 2 + (tb - b) ** 2
        if tL <= darker:
            cost += 1e5
        if cost < best:
            best, chosen = cost, tL
            out[0], out[1], out[2] = r, g, u
    return chosen


@kernel
def fill_columns(cells, columns, grey_l, linear):  # type: ignore[no-untyped-def]
    """Fill ``columns[cell, level]`` with RGB for all grey levels of each cell's chroma."""
    for i in range(cells.shape[0]):
        cell = cells[i]
        a0, b0 = float(cell // 192 - 96), float(cell % 192 - 96)
        darker = -1.0
        for level in range(256):
            out = columns[cell, level]
            if a0 == 0.0 and b0 == 0.0:
                out[0], out[1], out[2] = level, level, level
                continue
            L = grey_l[level]
            share = chroma_share(L, a0, b0)
            a, b = a0 * share, b0 * share
            red, green, blue = linear_from_lab(L, a, b)
            darker = _best_rounding(
                L,
                a,
                b,
                255.0 * encode(min(max(red, 0.0), 1.0)),
                255.0 * encode(min(max(green, 0.0), 1.0)),
                255.0 * encode(min(max(blue, 0.0), 1.0)),
                darker,
                linear,
                out,
            )


@kernel
def mark_cells(ab, shares, cells, needed):  # type: ignore[no-untyped-def]
    """Compute each code's cell, and mark all cells of its faded colors."""
    for i in range(ab.shape[0]):
        cells[i] = cell_of(ab[i, 0], ab[i, 1])
        needed[cells[i]] = True
        for share in shares:
            needed[cell_of(ab[i, 0] * share, ab[i, 1] * share)] = True


@kernel
def light_plain(hu, code, packed, opaque, grey, table, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (n,) with RGBA words, without fading and with an opacity independent of HU.

    ``hu`` is int16 viewed as uint16, an index into ``grey`` (unsigned indices need no test for
    negative values); ``packed`` is each code's cell, with the top bit set if it is visible with
    the alpha word ``opaque``.
    """
    low, shift, top = np.uint32(0x7FFFFFFF), np.uint32(8), np.uint32(31)
    for i in range(hu.shape[0]):
        cell = packed[code[i]]
        word = table[((cell & low) << shift) | np.uint32(grey[hu[i]])]
        out[i] = word | ((cell >> top) * opaque)


@kernel
def _cell(k, confidence, codes):  # type: ignore[no-untyped-def]
    """Return the cell of a code's color, faded if the confidence is low."""
    if not codes.fading:
        return codes.cells[k]
    share = codes.fade[confidence]
    return cell_of(codes.ab[k, 0] * share, codes.ab[k, 1] * share)


@kernel
def light_int16(hu, code, confidence, grey, alpha, codes, table, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (n,) with RGBA words; ``hu`` is int16 viewed as uint16, see `light_plain`."""
    for i in range(hu.shape[0]):
        k = code[i]
        word = table[_cell(k, confidence[i], codes) * 256 + grey[hu[i]]]
        if not codes.clear[k]:
            word |= alpha[hu[i]]
        out[i] = word


@kernel
def _grey_level(x, function, center, width, edges):  # type: ignore[no-untyped-def]
    """Return the nearest grey level of a value (DICOM PS3.3 C.11.2.1.2); NaN is black."""
    if function == 2:
        y = 1.0 / (1.0 + np.exp(-4.0 * (x - center) / width))
    elif function == 1:
        y = (x - center) / width + 0.5
    elif width == 1.0:
        y = 1.0 if x > center - 0.5 else 0.0
    else:
        y = (x - (center - 0.5)) / (width - 1.0) + 0.5
    L = 100.0 * y
    low, high = 0, 255
    while low < high:
        middle = (low + high) // 2
        if edges[middle] < L:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def light_float(hu, code, confidence, window, alpha, codes, table, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (n,) with RGBA words, windowing every value without rounding."""
    function, center, width, edges = window
    for i in range(hu.shape[0]):
        x = float(hu[i])
        k = code[i]
        level = _grey_level(x, function, center, width, edges)
        word = table[_cell(k, confidence[i], codes) * 256 + level]
        if not codes.clear[k]:
            # Integer Hounsfield units are sufficient for opacity. NaN is transparent air.
            at = int(np.floor(min(max(x, -32768.0), 32767.0) + 0.5)) if x == x else -32768
            word |= alpha[at & 0xFFFF]
        out[i] = word
