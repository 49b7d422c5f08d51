"""What a 3D picture shows: opacity and color on an isotropic grid, from HU and tissue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import find_objects, gaussian_gradient_magnitude, label, uniform_filter

from tomochrome.color.chroma import Chroma
from tomochrome.color.codes import Codes, Mixtures
from tomochrome.color.palettes import Palette
from tomochrome.color.photograph_look import Texture
from tomochrome.color.relight import fade_curve
from tomochrome.color.space import srgb8_of_lab
from tomochrome.errors import OptionError
from tomochrome.geometry.affine import apply
from tomochrome.geometry.blur import blur
from tomochrome.geometry.orient import closest_axial
from tomochrome.geometry.resample import resample, spacing_grid
from tomochrome.rendering.camera import HalfSpace
from tomochrome.rendering.render_presets import AGENT_HU, Part, RenderPreset, visible_share
from tomochrome.runtime import check, report
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume

_AIR_HU: Final = -1000.0
_FINEST: Final = 0.75  #: voxel of the picture, as a fraction of the scan's smallest spacing
_MARGIN: Final = 3  #: voxels around what is seen
_MIN_SHARE: Final = 0.3  #: probability from which a voxel belongs to what is seen
_SOFTNESS: Final = (
    0.7  #: standard deviation of the Gaussian of a tissue's edge, in voxels of the scan
)
_EDGE: Final = (0.25, 0.75)  #: smoothed probability between which a tissue fades in
_SURFACE: Final = 0.8  #: standard deviation of the last smoothing, in voxels of the picture
_SKIN_MM: Final = 3.0  #: depth of the skin
_SEEN: Final = 0.3  #: opacity from which a voxel counts as part of a piece
_PAINT: Final = 0.85  #: share of a part's own color, if it has one
_TEXTURE: Final = 0.25  #: largest relative change of sRGB by the texture
_CONTRAST: Final = 2.0  #: exponent of the probabilities in colors
_FAINT: Final = 0.02  #: opacity of the surfaces of faint tissues
_FAINT_RANGE: Final = (-1000.0, 400.0)  #: HU between which they have surfaces
_VESSELS: Final = [Tissue.VESSEL, Tissue.HEART]
_BONES: Final = [Tissue.CORTICAL_BONE, Tissue.MARROW]
_AGENT_GRID_MM: Final = 2.0  #: voxels in which contrast agent is looked for
_BESIDE_MM: Final = 5.0  #: distance from bone within which vessels do not tell
_AGENT_SHARE: Final = 0.25  #: least share of dense voxels in vessels with contrast agent
_FULL_SURFACE: Final = 140.0  #: their gradient in HU per voxel from which there is a full surface


@dataclass(frozen=True, eq=False)
class BodyField:
    """Opacity and color of a body.

    Parameters
    ----------
    opacity
        float32 (z, y, x): opacity of a layer of 1 mm, 0 to 1.
    color
        uint8 (z, y, x, 3): sRGB.
    affine
        4x4, from (z, y, x) index to LPS mm; the spacing is the same along all axes.
    """

    opacity: NDArray[np.float32]
    color: NDArray[np.uint8]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> float:
        """Size of a voxel in mm."""
        return float(np.linalg.norm(self.affine[:3, 0]))

    def clipped(self, half: HalfSpace) -> BodyField:
        """Return the field on one side of a plane.

        Parameters
        ----------
        half
            The side.

        Returns
        -------
        BodyField
            A copy with the other side transparent; the edge is as sharp as a voxel.
        """
        inside = self.along(half.normal, half.at)
        opacity = self.opacity * np.clip(inside / self.spacing + 0.5, 0.0, 1.0)
        return BodyField(opacity, self.color, self.affine)

    def along(self, direction: ArrayLike, start: float = 0.0) -> NDArray[np.float32]:
        """Return the position of every voxel along a direction.

        Parameters
        ----------
        direction
            Unit direction in LPS.
        start
            Where it is 0, in mm along the direction.

        Returns
        -------
        ndarray
            In mm, float32 (z, y, x).
        """
        *steps, first = np.asarray(direction) @ self.affine[:3]
        z, y, x = (
            np.float32(step) * np.arange(n, dtype=np.float32)
            for step, n in zip(steps, self.opacity.shape, strict=True)
        )
        return z[:, None, None] + y[None, :, None] + x[None, None, :] + np.float32(first - start)


def body_field(
    volume: Volume,
    chroma: Chroma,
    preset: RenderPreset,
    colors: Palette,
    *,
    saturation: float = 1.0,
    min_confidence: float = 0.0,
    texture: Texture | None = None,
    clip: Sequence[HalfSpace] = (),
    most_voxels: int = 1 << 24,
    longest: int = 2048,
) -> BodyField:
    """Compute what a 3D picture shows.

    Parameters
    ----------
    volume
        CT in HU.
    chroma
        Its chroma map, of a model that recognizes tissues.
    preset
        Selection of tissues.
    colors
        Palette; in 3D, its L* is used as well.
    saturation
        Factor on the chroma.
    min_confidence
        Where the confidence, 0 to 1, is lower, the color fades to grey.
    texture
        Deviation of the HU from those of each tissue, which makes voxels lighter or darker.
    clip
        What is outside along the axes of the scan need not be computed, so that the rest is finer;
        it is not made transparent.
    most_voxels
        Maximum number of voxels of the result.
    longest
        Maximum number of voxels along an axis.

    Returns
    -------
    BodyField
        The part of the scan that is visible.

    Raises
    ------
    OptionError
        If nothing would be seen.
    Cancelled
        If the user cancelled.
    """
    if min(volume.shape) < 2:
        raise OptionError(
            "a single slice cannot be drawn in 3D; color it and save it as a picture in 2D"
        )
    upright = closest_axial(volume)
    chroma = chroma.on_grid(upright)
    table = chroma.table
    assert isinstance(table, Mixtures)
    if any(part.needs_agent for part in preset.parts) and not _has_agent(upright, chroma, table):
        table = _vessels_as_bone(table)
    share = visible_share(preset, table.weights)
    steps = 4 + 2 * len(preset.parts)
    report(0, steps, "preparing the picture")
    box = _clipped_box(_seen_box(chroma.code, share >= _MIN_SHARE, preset), upright, clip, preset)
    like = _grid(upright, box, most_voxels, longest)
    hu, code = _sampled(upright, chroma, like, box)
    spacing = float(np.linalg.norm(like.affine[:3, 0]))
    scale = np.asarray(upright.spacing) / spacing, 1.0 / spacing
    opacity, paints = _opacity_of_parts(preset, table.weights, code, hu, scale)
    _remove_pieces(opacity, preset, spacing)
    if not clip:
        _check_main(opacity, preset, table.weights, code, spacing)
    if preset.faint:
        np.maximum(opacity, _faint_surfaces(preset, table.weights, code, hu), out=opacity)
    if not opacity.any():
        raise OptionError(NOTHING_LEFT.format(preset.name)) if clip else _nothing(preset)
    report(steps - 2, steps, "preparing the picture")
    shown = colors_of(colors, saturation)
    shown[list(preset.faint), 1:] = 0.0
    fade = None
    if min_confidence > 0:
        confidence = Volume(chroma.confidence[box], _moved(upright.affine, box), "unknown")
        fade = resample(confidence, like, order="nearest", fill=0).voxels
        fade = fade_curve(min_confidence)[np.asarray(fade, np.uint8)]
    color = _colors(preset, table, shown, code, opacity, fade)
    for tissue, where in paints.items():
        check()
        _paint(color, shown[tissue], _PAINT * _blurred(where.astype(np.float32)))
    if texture is not None:
        _add_texture(color, texture, hu, code)
    if preset.skin:
        width = 2 * max(1, round(_SKIN_MM / spacing)) + 1
        depth = uniform_filter(np.minimum(opacity, 1.0), width, mode="constant")
        _paint(color, shown[Tissue.SKIN], np.clip(8.0 * (0.95 - depth), 0.0, 1.0))
    report(steps, steps, "preparing the picture")
    return BodyField(opacity, color, like.affine)


NOTHING_LEFT: Final = "clipping leaves nothing of '{}'; clip less, or choose another preset"


def _nothing(preset: RenderPreset) -> OptionError:
    main = " or ".join(tissue.label for tissue in preset.main)
    return OptionError(
        f"the scan shows nothing of '{preset.name}' ({main or preset.about}); choose another "
        "preset, or other tissues"
    )


def _has_agent(volume: Volume, chroma: Chroma, table: Mixtures) -> bool:
    """Return whether vessels and heart hold contrast agent; true if there are none to tell by.

    Models take some bone for vessels, which is as dense, so vessels beside bone do not count. The
    voxels of about 2 mm are every n-th of the scan.
    """
    strides = [max(1, round(_AGENT_GRID_MM / mm)) for mm in volume.spacing]
    part = tuple(slice(None, None, stride) for stride in strides)
    code = chroma.code[part]
    check()
    bone = table.weights[:, _BONES].sum(axis=1) >= _MIN_SHARE
    reach = [
        2 * max(1, round(_BESIDE_MM / (mm * stride))) + 1
        for mm, stride in zip(volume.spacing, strides, strict=True)
    ]
    beside = uniform_filter(bone[code].astype(np.float32), reach, mode="constant") > 1e-6
    check()
    vessel = table.weights[:, _VESSELS].sum(axis=1) > 0.5
    hu = np.asarray(volume.voxels[part])[vessel[code] & ~beside]
    return not hu.size or float(np.mean(hu > AGENT_HU)) >= _AGENT_SHARE


def _vessels_as_bone(table: Mixtures) -> Mixtures:
    """Return the table with cortical bone instead of vessels and heart."""
    weights = table.weights.copy()
    weights[:, Tissue.CORTICAL_BONE] += weights[:, _VESSELS].sum(axis=1)
    weights[:, _VESSELS] = 0.0
    return replace(table, weights=weights)


Box = tuple[slice, ...]


def _seen_box(code: Codes, seen: NDArray[np.bool_], preset: RenderPreset) -> Box:
    """Return the part of the scan in which something is seen."""
    mask = np.empty(code.shape, np.int8)
    for z in range(len(code)):
        check()
        mask[z] = seen[code[z]]
    boxes = find_objects(mask)
    if not boxes or boxes[0] is None:
        raise _nothing(preset)
    return tuple(
        slice(max(0, part.start - _MARGIN), min(n, part.stop + _MARGIN))
        for part, n in zip(boxes[0], code.shape, strict=True)
    )


def _clipped_box(box: Box, volume: Volume, clip: Sequence[HalfSpace], preset: RenderPreset) -> Box:
    """Return the part of a box inside planes across axes of the scan, with a margin."""
    low = [part.start for part in box]
    high = [part.stop for part in box]
    for half in clip:
        *steps, start = np.asarray(half.normal) @ volume.affine[:3]
        axis = int(np.argmax(np.abs(steps)))
        if np.linalg.norm(np.delete(steps, axis)) > 1e-3 * abs(steps[axis]):
            continue  # an oblique plane
        index = (half.at - start) / steps[axis]
        margin = _MARGIN + math.ceil(_SKIN_MM / volume.spacing[axis])
        if steps[axis] > 0:
            low[axis] = max(low[axis], math.floor(index) - margin)
        else:
            high[axis] = min(high[axis], math.ceil(index) + margin + 1)
    if any(stop <= start for start, stop in zip(low, high, strict=True)):
        raise OptionError(NOTHING_LEFT.format(preset.name))
    return tuple(map(slice, low, high))


def _grid(volume: Volume, box: Box, most: int, longest: int) -> Volume:
    """Return the grid of the picture for a part of the scan."""
    shape = tuple(part.stop - part.start for part in box)
    affine = _moved(volume.affine, box)
    sides = [n * s for n, s in zip(shape, volume.spacing, strict=True)]
    spacing = max(
        _FINEST * min(volume.spacing),
        (math.prod(sides) / most) ** (1 / 3),
        max(sides) / (longest - 3),
    )
    shape, affine = spacing_grid(shape, affine, np.full(3, spacing))
    # A layer of air around it, so that the body is closed where the scan ends.
    affine[:3, 3] = apply(affine, (-1.0, -1.0, -1.0))
    padded = tuple(n + 2 for n in shape)
    return Volume(np.broadcast_to(np.uint8(0), padded), affine)


def _sampled(
    volume: Volume, chroma: Chroma, like: Volume, box: Box
) -> tuple[NDArray[np.float32], Codes]:
    """Return HU and codes on the grid of the picture; outside the scan they are air."""
    part = Volume(
        np.nan_to_num(np.asarray(volume.voxels[box], np.float32), nan=_AIR_HU),
        _moved(volume.affine, box),
        "HU",
        outside=None if volume.outside is None else volume.outside[box],
    )
    hu = resample(part, like, fill=_AIR_HU).voxels
    codes = Volume(np.ascontiguousarray(chroma.code[box]).astype(np.int32), part.affine, "unknown")
    code = resample(codes, like, order="nearest", fill=0).voxels
    return hu, code


def _moved(affine: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    moved = affine.copy()
    moved[:3, 3] = apply(affine, tuple(part.start for part in box))
    return moved


def _opacity_of_parts(
    preset: RenderPreset,
    weights: NDArray[np.float32],
    code: Codes,
    hu: NDArray[np.float32],
    scale: tuple[NDArray[np.float64], float],
) -> tuple[NDArray[np.float32], dict[Tissue, NDArray[np.bool_]]]:
    """Return the opacity of a preset, and where it is that of parts with the color of a tissue."""
    opacity = np.zeros(hu.shape, np.float32)
    paints: dict[Tissue, NDArray[np.bool_]] = {}
    for number, part in enumerate(preset.parts):
        report(2 + 2 * number, 4 + 2 * len(preset.parts), "preparing the picture")
        own = _opacity(part, weights, code, hu, scale)
        if part.color is not None:
            paints[part.color] = paints.get(part.color, False) | (own > opacity)
        np.maximum(opacity, own, out=opacity)
    check()
    return blur(opacity, _SURFACE), paints  # of air at its border


def _opacity(
    part: Part,
    weights: NDArray[np.float32],
    code: Codes,
    hu: NDArray[np.float32],
    scale: tuple[NDArray[np.float64], float],
) -> NDArray[np.float32]:
    """Return the opacity of a part: its smoothed probability times its curve over HU.

    ``scale`` is the spacing of the scan, and a millimeter, in voxels of the picture.
    """
    check()
    voxel, millimeter = scale
    member = weights[:, list(part.tissues)].sum(axis=1, dtype=np.float32)[code]
    low, high = _EDGE
    if len(part.tissues) >= len(Tissue) - 1:  # the whole body: HU alone decide on its surface
        member = uniform_filter(member, 5, mode="constant")
        low, high = 0.0, 0.12
    elif part.depth_mm:
        member = blur(member, part.depth_mm * millimeter)
        low, high = 0.8, 0.95
    else:
        member = blur(member, _SOFTNESS * voxel)
    check()
    hus, opacity = np.asarray(part.curve, np.float64).T
    values = blur(hu, part.softness * voxel)
    for plane, row in zip(member, values, strict=True):
        plane[:] = np.clip((plane - low) / (high - low), 0.0, 1.0) * np.interp(row, hus, opacity)
    return member


def _remove_pieces(opacity: NDArray[np.float32], preset: RenderPreset, spacing: float) -> None:
    """Make isolated pieces transparent that are smaller than those of the preset.

    What is far from all of them is haze, which a preset without a smallest piece keeps.
    """
    if not preset.min_ml:
        return
    pieces, count = label(opacity > _SEEN * preset.faintest)
    check()
    volumes = np.bincount(pieces.ravel()) * (spacing**3 / 1000.0)
    kept = volumes >= preset.min_ml
    kept[0] = False
    if count and not kept.any():  # such as a single small organ
        kept[1 + volumes[1:].argmax()] = True
    near = uniform_filter(kept[pieces].astype(np.float32), 5, mode="constant") > 1e-4
    opacity[~near | ~(kept[pieces] | (pieces == 0))] = 0.0


def _check_main(
    opacity: NDArray[np.float32],
    preset: RenderPreset,
    weights: NDArray[np.float32],
    code: Codes,
    spacing: float,
) -> None:
    """Raise `OptionError` if the main tissues of a preset are smaller than a piece of it."""
    if preset.main:
        is_main = weights[:, list(preset.main)].sum(axis=1) >= _MIN_SHARE
        seen = np.count_nonzero(is_main[code] & (opacity > _SEEN * preset.faintest))
        if seen * spacing**3 / 1000.0 < preset.min_ml:
            raise _nothing(preset)


def _faint_surfaces(
    preset: RenderPreset, weights: NDArray[np.float32], code: Codes, hu: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the opacity of the surfaces of the faint tissues of a preset."""
    check()
    member = weights[:, list(preset.faint)].sum(axis=1, dtype=np.float32)[code]
    steep = gaussian_gradient_magnitude(np.clip(hu, *_FAINT_RANGE), 1.0)
    return np.asarray(_FAINT * member * np.clip(steep / _FULL_SURFACE, 0.0, 1.0), np.float32)


def colors_of(colors: Palette, saturation: float) -> NDArray[np.float64]:
    """Return CIELAB of each tissue with a factor on the chroma, shape (`N_TISSUES`, 3)."""
    return colors.lab * np.array([1.0, saturation, saturation])


def _colors(
    preset: RenderPreset,
    table: Mixtures,
    shown: NDArray[np.float64],
    code: Codes,
    opacity: NDArray[np.float32],
    fade: NDArray[np.float32] | None,
) -> NDArray[np.uint8]:
    """Return sRGB; what is transparent gets the color of the tissue beside it.

    ``fade`` is the factor on the chroma of each voxel, None for 1.
    """
    drawn = np.zeros(table.weights.shape)
    tissues = list(preset.tissues)
    drawn[:, tissues] = table.weights[:, tissues]
    share = np.clip(drawn.sum(axis=1), 0.0, 1.0).astype(np.float32)
    drawn **= _CONTRAST
    lab = drawn @ shown / np.maximum(drawn.sum(axis=1), 1e-6)[:, None]
    rgb = srgb8_of_lab(lab).astype(np.float32)
    grey = srgb8_of_lab(lab * (1.0, 0.0, 0.0)).astype(np.float32)
    strength = (share**2)[code] * (opacity + 1e-3)
    around = np.maximum(_blurred(strength), 1e-12)
    result = np.empty((*code.shape, 3), np.uint8)
    for channel in range(3):
        check()
        own = rgb[:, channel][code]
        if fade is not None:
            own = grey[:, channel][code] * (1.0 - fade) + own * fade
        result[..., channel] = _blurred(own * strength) / around
    return result


def _paint(color: NDArray[np.uint8], lab: NDArray[np.float64], share: NDArray[np.float32]) -> None:
    """Mix a color (L*, a*, b*) into voxels."""
    for channel, value in enumerate(srgb8_of_lab(lab)):
        color[..., channel] = color[..., channel] * (1.0 - share) + float(value) * share


def _add_texture(
    color: NDArray[np.uint8], texture: Texture, hu: NDArray[np.float32], code: Codes
) -> None:
    """Make voxels lighter or darker as their HU deviate from those of their tissue.

    At surfaces the HU are those of a mixture: the texture there is that of the voxels beside.
    """
    deviation, inside = np.empty_like(hu), np.empty_like(hu)
    for z, (row, codes) in enumerate(zip(hu, code, strict=True)):
        deviation[z] = texture(row, codes)
        inside[z] = (1.0 - deviation[z] ** 2) ** 2 + 1e-4
    check()
    gain = _blurred(deviation * inside)
    gain *= np.float32(_TEXTURE) / _blurred(inside)
    for channel in range(3):
        check()
        changed = color[..., channel] * (1.0 + gain)
        color[..., channel] = np.clip(changed, 0, 255, out=changed)


def _blurred(values: NDArray[np.float32]) -> NDArray[np.float32]:
    check()
    once = uniform_filter(values, 3, mode="nearest")
    check()
    return np.asarray(uniform_filter(once, 3, mode="nearest"))
