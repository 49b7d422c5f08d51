"""Shading for 3D: surfaces lit from the front and above, in the colors of their tissue.

In slices L* is the windowed Hounsfield value. Seen in 3D that makes a dark picture: what a ray
meets first is the partial volume between air and skin, black in every window. For 3D alone, L* is
that of the tissue in the palette, times a shade that depends on how the surface faces the light.
Hue and chroma stay those of the tissue; what sRGB cannot show loses chroma at constant L* and hue
(`tomochrome.color.fit_chroma`).

The normal of a surface is the gradient of the smoothed Hounsfield values (Levoy, Display of
Surfaces from Volume Data, IEEE CG&A 8(3), 1988).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from tomochrome.color.alpha import AlphaCurve
from tomochrome.color.chroma import Chroma
from tomochrome.color.codes import Codes, Table
from tomochrome.color.lighting import Lighting
from tomochrome.color.relight import CodeTable, relight
from tomochrome.geometry.blocks import Steps, block_affine, block_means
from tomochrome.runtime import check, report
from tomochrome.volume import Volume
from tomochrome.windowing import Window

_SMOOTHING: Final = 1.0  #: standard deviation of the Gaussian before the gradient, in voxels
_FULL_EDGE: Final = 0.1  #: gradient, as a share of the whole range a voxel, that is a surface
_OPACITY_MM: Final = 1.0  #: an opacity curve's values are those of a layer this thick
_BEYOND: Final = 300.0  #: HU below the least visible value that still belong to its edge
_SLAB: Final = 1 << 20  #: voxels computed between two calls of `check`
_MARGIN: Final = 5  #: slices beside a slab that its gradient and neighbors depend on
_AIR_HU: Final = -1000.0
_AIR_LIKE: Final = (-800.0, -300.0)  #: HU between which the edge of the body fades in
_TOWARDS: Final = (0.45, -1.0, 0.65)  #: the light, in LPS
AMBIENT: Final = 0.3  #: share of the light on what faces away from it
#: A window in which the value 10 L is shown at L*.
_TENTHS: Final = Window(500.0, 1000.0, "LINEAR_EXACT")


def shade(
    values: ArrayLike,
    affine: ArrayLike,
    span: tuple[float, float],
    towards: tuple[float, float, float] = _TOWARDS,
) -> NDArray[np.float32]:
    """Return how bright the surfaces in a volume are.

    Parameters
    ----------
    values
        Shape (z, y, x); surfaces lie where they rise.
    affine
        4x4, from (z, y, x) index to LPS mm.
    span
        Lowest and highest value that matter: others are clipped.
    towards
        Towards the light, in LPS (left, posterior, superior); any length but zero.

    Returns
    -------
    numpy.ndarray
        float32 (z, y, x) from `AMBIENT` (faces away from the light) to 1 (faces it). Where
        there is no surface it is the mean of the two.
    """
    low, high = span
    field = np.clip(np.asarray(values, dtype=np.float32), low, high)
    field = gaussian_filter(field, _SMOOTHING, mode="nearest")
    to_index = np.linalg.inv(np.asarray(affine, dtype=np.float64)[:3, :3])
    direction = to_index @ (np.asarray(towards) / np.linalg.norm(towards))
    metric = to_index @ to_index.T
    slopes = [
        np.gradient(field, axis=axis) if field.shape[axis] > 1 else np.zeros_like(field)
        for axis in range(3)
    ]
    # The normal points from high values to low ones.
    facing = -sum(float(t) * slope for t, slope in zip(direction, slopes, strict=True))
    square = sum(
        float(metric[i, j]) * slopes[i] * slopes[j] for i in range(3) for j in range(3)
        if i == j or abs(metric[i, j]) > 1e-9
    )  # fmt: skip
    length = np.sqrt(np.maximum(square, 0.0))
    cosine = facing / np.maximum(length, 1e-9)
    spacing = float(np.cbrt(abs(np.linalg.det(np.linalg.inv(to_index)))))
    surface = np.clip(length * (spacing / (high - low) / _FULL_EDGE), 0.0, 1.0)
    # Lambert's cosine, softened so that what faces away keeps its form ("half Lambert").
    lit = np.square(0.5 + 0.5 * cosine)
    lit = 0.5 + surface * (lit - 0.5)
    return np.asarray(AMBIENT + (1.0 - AMBIENT) * lit, dtype=np.float32)


def solid(
    volume: Volume, chroma: Chroma, codes: CodeTable, settings: Lighting, steps: Steps
) -> NDArray[np.uint8]:
    """Compute RGBA for 3D in blocks of voxels; see `tomochrome.color.view.light_3d`.

    Parameters
    ----------
    volume, chroma
        On one grid.
    codes
        The chroma's tables under ``settings``.
    settings
        How it is shown.
    steps
        Voxels in a block along (z, y, x).
    """
    n = tuple(-(-size // step) for size, step in zip(volume.shape, steps, strict=True))
    out = np.empty((*n, 4), np.uint8)
    affine = block_affine(volume.affine, steps)
    base = chroma.table.lightness(settings.palette)
    for start, stop, low, high in _slabs(n):
        check()
        report(start, n[0], "computing the 3D image")
        part = slice(low * steps[0], min(high * steps[0], volume.shape[0]))
        values = block_means(np.asarray(volume.voxels[part]), steps)
        np.nan_to_num(values, copy=False, nan=_AIR_HU)
        centers = tuple(
            np.minimum(np.arange(size) * step + step // 2, whole - 1)
            for size, step, whole in zip(values.shape, steps, chroma.code[part].shape, strict=True)
        )
        code = chroma.code[part][np.ix_(*centers)]
        sure = np.ascontiguousarray(chroma.confidence[part][np.ix_(*centers)])
        check()
        blocks = _Blocks(values, code, sure, affine)
        rgba = _colors(blocks, codes, settings, base, chroma.table)
        out[start:stop] = rgba[start - low : stop - low]
    report(n[0], n[0], "computing the 3D image")
    return out


@dataclass(frozen=True, eq=False)
class _Blocks:
    """A slab of blocks: mean HU, and code and confidence of the voxel in the middle."""

    values: NDArray[np.float32]
    code: Codes
    sure: NDArray[np.uint8]
    affine: NDArray[np.float64]


def _colors(
    blocks: _Blocks,
    codes: CodeTable,
    settings: Lighting,
    base: NDArray[np.float32],
    table: Table,
) -> NDArray[np.uint8]:
    """Return RGBA of blocks: the shaded tissue's L*, and the opacity of their thickness."""
    curve, values = settings.alpha, blocks.values
    air, hidden = _transparent(codes, curve)
    code = _grown(blocks.code, air | hidden)
    if curve.shaded:
        low, high = _span(curve)
        surface = np.where(hidden[blocks.code], np.float32(low), values)
        L = base[code] * shade(surface, blocks.affine, (low, high))
        tenths = np.rint(10.0 * np.clip(L, 0.0, 100.0)).astype(np.int16)
        rgba = relight(tenths, code, blocks.sure, codes, _TENTHS, curve)
    else:
        rgba = relight(values, code, blocks.sure, codes, settings.window, curve)
    alpha = curve(values).astype(np.float32) / 255.0
    if curve.of and table.has_tissues:
        other = ~np.isin(table.tissue, curve.of)[code]
        alpha[other] = np.minimum(alpha[other], curve.others)
    was_air = air[blocks.code]
    edge = was_air & ~air[code]
    most = (values[edge] - _AIR_LIKE[0]) / (_AIR_LIKE[1] - _AIR_LIKE[0])
    alpha[edge] = np.minimum(alpha[edge], np.clip(most, 0.0, 1.0))
    alpha[(was_air & ~edge) | hidden[blocks.code]] = 0.0
    thickness = float(np.cbrt(abs(np.linalg.det(blocks.affine[:3, :3])))) / _OPACITY_MM
    rgba[..., 3] = np.rint(255.0 * (1.0 - np.power(1.0 - alpha, thickness)))
    return rgba


def _transparent(
    codes: CodeTable, curve: AlphaCurve
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which codes are air that a curve hides, and which the user has hidden."""
    nothing = np.zeros_like(codes.air)
    air = codes.air if curve.hide_air else nothing
    hidden = nothing if codes.hidden is None or not curve.shaded else codes.hidden & ~air
    return air, hidden


def _span(curve: AlphaCurve) -> tuple[float, float]:
    """Return the HU between which the surface that a curve shows lies."""
    if curve.constant is not None:
        return -1000.0, 0.0  # the surface of the body
    most = max(opacity for _, opacity in curve.points)
    high = next(hu for hu, opacity in curve.points if opacity == most)
    return min(curve.points[0][0], high) - _BEYOND, high


def _slabs(shape: tuple[int, ...]) -> Iterator[tuple[int, int, int, int]]:
    """Yield (start, stop) of slabs, and the same widened by the slices they depend on."""
    depth = max(_MARGIN, _SLAB // (shape[1] * shape[2]))
    for start in range(0, shape[0], depth):
        stop = min(start + depth, shape[0])
        yield start, stop, max(0, start - _MARGIN), min(shape[0], stop + _MARGIN)


def _grown(code: Codes, clear: NDArray[np.bool_]) -> Codes:
    """Let tissue grow by two voxels into what is transparent.

    A graphics card draws between voxels: beside a surface the color of air would show as a dark
    seam.
    """
    grown: Codes = code.copy()
    for _ in range(2):
        source = grown.copy()
        empty = clear[source]
        for axis in range(3):
            ahead = (*[slice(None)] * axis, slice(1, None))
            behind = (*[slice(None)] * axis, slice(None, -1))
            for to, of in ((ahead, behind), (behind, ahead)):
                take = empty[to] & ~empty[of]
                grown[to][take] = source[of][take]
    return grown


def seen_in_3d(settings: Lighting) -> Lighting:
    """Return settings that are equal where 3D images are: no window changes a shaded one."""
    return replace(settings, window=_TENTHS) if settings.alpha.shaded else settings
