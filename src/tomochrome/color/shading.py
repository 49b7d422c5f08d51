"""Shading for 3D: surfaces illuminated from the front and above, in the colors of their tissue.

In slices L* is the windowed Hounsfield value. In 3D this would be dark: a ray first meets the
partial volume between air and skin, which is black in every window. For 3D only, L* is that of
the tissue in the palette, multiplied by a factor for the angle between surface and light. Hue and
chroma are those of the tissue; out-of-gamut colors lose chroma at constant L* and hue
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
from scipy.ndimage import (
    binary_dilation,
    binary_propagation,
    gaussian_filter,
    generate_binary_structure,
)

from tomochrome.color.alpha import AlphaCurve
from tomochrome.color.chroma import Chroma
from tomochrome.color.codes import Codes, Mixtures, Table
from tomochrome.color.lighting import Lighting
from tomochrome.color.relight import CodeTable, relight
from tomochrome.geometry.block_grids import Steps, block_affine, block_means
from tomochrome.runtime import check, report
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume
from tomochrome.windowing import Window

_SMOOTHING: Final = 1.0  #: standard deviation of the Gaussian before the gradient, in voxels
_ALPHA_SMOOTHING: Final = 0.8  #: the same for normals from the opacity
_FULL_EDGE: Final = 0.1  #: gradient of a full surface, as a fraction of the range per voxel
_OPACITY_MM: Final = 1.0  #: layer thickness that the values of an opacity curve refer to
_EDGE_HU: Final = 300.0  #: HU range of an edge below the lowest visible value
_SLAB: Final = 1 << 20  #: voxels computed between two calls of `check`
_MARGIN: Final = 5  #: adjacent slices needed for gradient and dilation
_AIR_HU: Final = -1000.0
_AIR_LIKE: Final = (-800.0, -300.0)  #: HU between which the edge of the body fades in
_SOLID: Final = 0.9  #: opacity of tissues that the user has singled out
_FAINT: Final = 0.02  #: opacity of the surfaces of dimmed and greyed tissues
_FAINT_RANGE: Final = (-1000.0, 400.0)  #: HU range of their surfaces
_SKIN_DEPTH: Final = 2  #: voxels below the surface of the body that can be skin
_SKIN_GAP: Final = 3  #: voxels from the skin in which other tissue on the surface is skin
#: Tissues that can be on the surface beside skin.
_OWN_SURFACE: Final = (
    Tissue.SKIN, Tissue.FAT, Tissue.LUNG, Tissue.AIRWAY, Tissue.CORTICAL_BONE, Tissue.MARROW,
    Tissue.FOREIGN_BODY,
)  # fmt: skip
_SOFTNESS: Final = 0.6  #: standard deviation of the Gaussian of a tissue's edge, in voxels
_SOFT_FROM: Final = 0.25  #: smoothed membership from which a tissue's edge is visible
_LIGHT_DIRECTION: Final = (0.45, -1.0, 0.65)  #: towards the light, in LPS
AMBIENT: Final = 0.3  #: relative brightness of surfaces that face away from the light
#: A window that maps the value 10 L to L*.
_TENTHS: Final = Window(500.0, 1000.0, "LINEAR_EXACT")


def shade(
    values: ArrayLike,
    affine: ArrayLike,
    span: tuple[float, float],
    towards: tuple[float, float, float] = _LIGHT_DIRECTION,
) -> NDArray[np.float32]:
    """Return the brightness of surfaces in a volume.

    Parameters
    ----------
    values
        Shape (z, y, x); surfaces are defined by their gradient.
    affine
        4x4, from (z, y, x) index to LPS mm.
    span
        Lowest and highest value, to which others are clipped.
    towards
        Direction towards the light in LPS (left, posterior, superior), of any nonzero length.

    Returns
    -------
    numpy.ndarray
        float32 (z, y, x) from `AMBIENT` (facing away from the light) to 1 (facing it), and the
        mean of both without a surface.
    """
    direction = np.asarray(towards) / np.linalg.norm(towards)
    cosine, surface = _surface(values, affine, span, direction)
    # "Half Lambert" shading, which also shows the shape of surfaces that face away.
    light = 0.5 + surface * (np.square(0.5 + 0.5 * cosine) - 0.5)
    return np.asarray(AMBIENT + (1.0 - AMBIENT) * light, dtype=np.float32)


def _surface(
    values: ArrayLike,
    affine: ArrayLike,
    span: tuple[float, float],
    towards: ArrayLike = _LIGHT_DIRECTION,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the cosine of normal and direction, and how much of a surface there is, 0 to 1."""
    low, high = span
    field = np.clip(np.asarray(values, dtype=np.float32), low, high)
    field = gaussian_filter(field, _SMOOTHING, mode="nearest")
    to_index = np.linalg.inv(np.asarray(affine, dtype=np.float64)[:3, :3])
    direction = to_index @ np.asarray(towards)
    metric = to_index @ to_index.T
    gradient = [
        np.gradient(field, axis=axis) if field.shape[axis] > 1 else np.zeros_like(field)
        for axis in range(3)
    ]
    # The normal points from high to low values.
    facing = -sum(float(t) * part for t, part in zip(direction, gradient, strict=True))
    square = sum(
        float(metric[i, j]) * gradient[i] * gradient[j] for i in range(3) for j in range(3)
        if i == j or abs(metric[i, j]) > 1e-9
    )  # fmt: skip
    length = np.sqrt(np.maximum(square, 0.0))
    cosine = facing / np.maximum(length, 1e-9)
    spacing = float(np.cbrt(abs(np.linalg.det(np.linalg.inv(to_index)))))
    surface = np.clip(length * (spacing / (high - low) / _FULL_EDGE), 0.0, 1.0)
    return cosine, surface


def render_blocks(
    volume: Volume,
    chroma: Chroma,
    codes: CodeTable,
    settings: Lighting,
    steps: Steps,
    *,
    shaded: bool = True,
    gaps: SkinGaps | None = None,
) -> NDArray[np.uint8]:
    """Compute RGBA for 3D in blocks of voxels; see `tomochrome.color.view.light_3d`.

    Parameters
    ----------
    volume, chroma
        Scalar volume and chroma map on the same grid.
    codes
        The tables of the chroma map for ``settings``.
    settings
        Rendering settings.
    steps
        Voxels per block along (z, y, x).
    shaded
        Whether surfaces are lit; if not, they have the full L* of their tissue.
    gaps
        Kept from earlier calls with the same chroma map and steps, whatever the settings; what is
        missing is added.
    """
    gaps = {} if gaps is None else gaps
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
            np.minimum(np.arange(size) * step + step // 2, length - 1)
            for size, step, length in zip(values.shape, steps, chroma.code[part].shape, strict=True)
        )
        code = chroma.code[part][np.ix_(*centers)]
        confidence = np.ascontiguousarray(chroma.confidence[part][np.ix_(*centers)])
        check()
        if settings.alpha.shaded:
            if start not in gaps:
                gaps[start] = _skin_gaps(code, codes.air, chroma.table)
            code.flat[gaps[start].voxels] = gaps[start].code
        blocks = _Blocks(values, code, confidence, affine)
        rgba = _colors(blocks, codes, settings, base, chroma.table, shaded)
        out[start:stop] = rgba[start - low : stop - low]
    report(n[0], n[0], "computing the 3D image")
    return out


@dataclass(frozen=True, eq=False)
class _Gaps:
    """Gaps of the skin in a slab of blocks."""

    voxels: NDArray[np.intp]  #: flat indices
    code: int  #: the skin's


SkinGaps = dict[int, _Gaps]  #: by the first block of each slab


@dataclass(frozen=True, eq=False)
class _Blocks:
    """A slab of blocks: mean HU, and code and confidence of the central voxel."""

    values: NDArray[np.float32]
    code: Codes
    confidence: NDArray[np.uint8]
    affine: NDArray[np.float64]


def _colors(
    blocks: _Blocks,
    codes: CodeTable,
    settings: Lighting,
    base: NDArray[np.float32],
    table: Table,
    shaded: bool,
) -> NDArray[np.uint8]:
    """Return RGBA of blocks, with the shaded L* of the tissue and opacity for their thickness."""
    curve, values, shown = settings.alpha, blocks.values, _shown(codes, settings, table)
    code = _dilated(blocks.code, ~shown.solid if shown.restricted else shown.air | shown.hidden)
    if curve.shaded:
        L = base[code]
        if shaded:
            L = L * _brightness(blocks, shown, curve)
        tenths = np.rint(10.0 * np.clip(L, 0.0, 100.0)).astype(np.int16)
        rgba = relight(tenths, code, blocks.confidence, codes, _TENTHS, curve)
    else:
        rgba = relight(values, code, blocks.confidence, codes, settings.window, curve)
    alpha = _opacity(blocks, shown, curve)
    was_air = shown.air[blocks.code]  # before the dilation
    edge = was_air & (True if shown.outside else ~shown.air[code])
    most = (values[edge] - _AIR_LIKE[0]) / (_AIR_LIKE[1] - _AIR_LIKE[0])
    alpha[edge] = np.minimum(alpha[edge], np.clip(most, 0.0, 1.0))
    alpha[was_air & ~edge] = 0.0
    if curve.shaded and not shaded:  # whoever adds the light takes the normals from the opacity
        alpha = gaussian_filter(alpha, _ALPHA_SMOOTHING, mode="nearest")
    thickness = float(np.cbrt(abs(np.linalg.det(blocks.affine[:3, :3])))) / _OPACITY_MM
    rgba[..., 3] = np.rint(255.0 * (1.0 - np.power(1.0 - alpha, thickness)))
    return rgba


@dataclass(frozen=True, eq=False)
class _Shown:
    """How each code is shown in 3D, bool (codes,)."""

    air: NDArray[np.bool_]  #: air, and what lies around the body
    outside: bool  #: whether what is dense in it is shown, as the couch
    hidden: NDArray[np.bool_]  #: hidden by the user
    faint: NDArray[np.bool_]  #: dimmed or greyed by the user
    solid: NDArray[np.bool_]  #: shown, and of the tissues that the curve is for
    restricted: bool  #: whether only the solid codes are shown in full
    isolated: bool  #: whether the user has singled them out, regardless of the curve


def _shown(codes: CodeTable, settings: Lighting, table: Table) -> _Shown:
    curve, tissues = settings.alpha, settings.tissues
    nothing = np.zeros_like(codes.air)
    air = codes.air if curve.hide_air or curve.shaded else nothing
    hidden = nothing if codes.hidden is None or not curve.shaded else codes.hidden & ~air
    faint = np.isin(table.tissue, list(tissues.dimmed | tissues.greyed)) & ~air & curve.shaded
    isolated = bool(tissues.isolates and curve.shaded)
    solid = ~(air | hidden | faint)
    restricted = bool(isolated or (curve.of and table.has_tissues))
    if restricted and not isolated:
        solid &= np.isin(table.tissue, curve.of)
    outside = not (curve.hide_air or restricted)
    return _Shown(air, outside, hidden, faint, solid, restricted, isolated)


def _brightness(blocks: _Blocks, shown: _Shown, curve: AlphaCurve) -> NDArray[np.float32]:
    """Return the brightness of the surfaces of the solid codes; others are as low as air."""
    if shown.isolated:  # neighboring organs have nearly the same HU
        return shade(shown.solid[blocks.code], blocks.affine, (0.0, 1.0))
    if curve.constant is not None:
        low, high = -1000.0, 0.0  # the surface of the body
    else:
        most = max(opacity for _, opacity in curve.points)
        high = next(hu for hu, opacity in curve.points if opacity == most)
        low = min(curve.points[0][0], high) - _EDGE_HU
    lowered = ~(shown.solid | shown.air) if shown.restricted else shown.hidden | shown.faint
    surface = np.where(lowered[blocks.code], np.float32(low), blocks.values)
    return shade(surface, blocks.affine, (low, high))


def _opacity(blocks: _Blocks, shown: _Shown, curve: AlphaCurve) -> NDArray[np.float32]:
    """Return the opacity of a layer of `_OPACITY_MM`, before that of the edge to air."""
    own = blocks.code
    alpha = curve(blocks.values).astype(np.float32) / 255.0
    if shown.restricted:
        member = gaussian_filter(shown.solid[own].astype(np.float32), _SOFTNESS, mode="nearest")
        soft = np.clip((member - _SOFT_FROM) / (1.0 - 2 * _SOFT_FROM), 0.0, 1.0)
        others = 0.0 if shown.isolated else curve.others
        rest = np.minimum(alpha, np.float32(others))
        full = np.float32(_SOLID) if shown.isolated else alpha
        alpha = np.maximum(soft * full, np.where(shown.solid[own], 0.0, rest))
    if shown.faint.any():
        _, edges = _surface(blocks.values, blocks.affine, _FAINT_RANGE)
        faint = shown.faint[own]
        kept = alpha[faint] if shown.isolated else np.float32(0)
        alpha[faint] = np.maximum(kept, _FAINT * edges[faint])
    if not shown.isolated:
        alpha[shown.hidden[own]] = 0.0
    return np.asarray(alpha, dtype=np.float32)


def _slabs(shape: tuple[int, ...]) -> Iterator[tuple[int, int, int, int]]:
    """Yield (start, stop) of slabs, and the same with the margin they depend on."""
    depth = max(_MARGIN, _SLAB // (shape[1] * shape[2]))
    for start in range(0, shape[0], depth):
        stop = min(start + depth, shape[0])
        yield start, stop, max(0, start - _MARGIN), min(shape[0], stop + _MARGIN)


def _skin_gaps(code: Codes, air: NDArray[np.bool_], table: Table) -> _Gaps:
    """Find small gaps of the skin.

    The partial volume between air and skin can have the HU of any tissue, and what a model takes it
    for appears as patches on the skin.
    """
    if not isinstance(table, Mixtures) or not (table.tissue == Tissue.SKIN).any():
        return _Gaps(np.empty(0, np.intp), 0)
    is_skin = table.tissue == Tissue.SKIN
    purest = int((table.weights[:, Tissue.SKIN] * is_skin).argmax())
    skin = is_skin[code]
    clear = air[code]
    border = clear.copy()
    border[:, 1:-1, 1:-1] = False
    in_plane = generate_binary_structure(3, 1)
    in_plane[[0, 2]] = False
    around = binary_propagation(border, in_plane, mask=clear)
    near = binary_dilation(around, iterations=_SKIN_DEPTH)
    near &= binary_dilation(skin, iterations=_SKIN_GAP)
    kept = air | np.isin(table.tissue, _OWN_SURFACE)
    return _Gaps(np.flatnonzero(near & ~kept[code]), purest)


def _dilated(code: Codes, clear: NDArray[np.bool_]) -> Codes:
    """Dilate tissue by two voxels into transparent voxels.

    Otherwise the interpolation on the graphics card would mix in the color of air, which appears
    as a dark seam along surfaces.
    """
    dilated: Codes = code.copy()
    for _ in range(2):
        source = dilated.copy()
        empty = clear[source]
        for axis in range(3):
            ahead = (*[slice(None)] * axis, slice(1, None))
            behind = (*[slice(None)] * axis, slice(None, -1))
            for to, of in ((ahead, behind), (behind, ahead)):
                take = empty[to] & ~empty[of]
                dilated[to][take] = source[of][take]
    return dilated


def settings_for_3d(settings: Lighting) -> Lighting:
    """Return settings without a window if shading ignores it, to compare 3D renderings."""
    return replace(settings, window=_TENTHS) if settings.alpha.shaded else settings
