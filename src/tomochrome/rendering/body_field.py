"""What a 3D picture shows: opacity and color on an isotropic grid, from HU and tissue."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter, label, uniform_filter

from tomochrome.color.chroma import Chroma
from tomochrome.color.codes import Codes, Mixtures
from tomochrome.color.palettes import Palette
from tomochrome.color.space import srgb8_of_lab
from tomochrome.errors import OptionError
from tomochrome.geometry.affine import apply
from tomochrome.geometry.orient import closest_axial
from tomochrome.geometry.resample import resample, spacing_grid
from tomochrome.rendering.render_presets import Part, RenderPreset, visible_share
from tomochrome.runtime import check, report
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume

_AIR_HU: Final = -1000.0
_FINEST: Final = 0.75  #: voxel of the picture, as a fraction of the scan's smallest spacing
_MARGIN: Final = 3  #: voxels around what is seen
_MIN_SHARE: Final = 0.3  #: probability from which a voxel belongs to what is seen
_SOFTNESS: Final = 0.7  #: standard deviation of the Gaussian of a tissue's edge, in voxels of the scan
_EDGE: Final = (0.25, 0.75)  #: smoothed probability between which a tissue fades in
_SURFACE: Final = 0.8  #: standard deviation of the last smoothing, in voxels of the picture
_SKIN_MM: Final = 3.0  #: depth of the skin
_SEEN: Final = 0.3  #: opacity from which a voxel counts as part of a piece
_REACH: Final = 4.0  #: how far a Gaussian reaches, in standard deviations


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

    def cut(self, axis: int, at: float, *, keep_above: bool) -> BodyField:
        """Return the field on one side of a plane across an axis of LPS.

        Parameters
        ----------
        axis
            0, 1 or 2 for x, y or z.
        at
            Position of the plane in LPS mm.
        keep_above
            Whether the side with greater coordinates is kept.

        Returns
        -------
        BodyField
            A copy with the other side transparent; the edge is as sharp as a voxel.
        """
        z, y, x = (
            self.affine[axis, old] * np.arange(n) for old, n in enumerate(self.opacity.shape)
        )
        position = z[:, None, None] + y[None, :, None] + x[None, None, :] + self.affine[axis, 3]
        inside = (position - at) / self.spacing * (1.0 if keep_above else -1.0) + 0.5
        cut = self.opacity * np.clip(inside, 0.0, 1.0).astype(np.float32)
        return BodyField(cut, self.color, self.affine)


def body_field(
    volume: Volume,
    chroma: Chroma,
    preset: RenderPreset,
    colors: Palette,
    *,
    saturation: float = 1.0,
    most_voxels: int = 1 << 24,
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
    most_voxels
        Maximum number of voxels of the result.

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
    upright = closest_axial(volume)
    chroma = chroma.on_grid(upright)
    table = chroma.table
    assert isinstance(table, Mixtures)
    share = visible_share(preset, table.weights)
    steps = 4 + 2 * len(preset.parts)
    report(0, steps, "preparing the picture")
    like, box = _grid(upright, chroma.code, share >= _MIN_SHARE, most_voxels, preset)
    hu, code = _sampled(upright, chroma, like, box)
    sigma = _SOFTNESS * np.asarray(upright.spacing) / np.linalg.norm(like.affine[:3, 0])
    opacity = np.zeros(like.shape, np.float32)
    for number, part in enumerate(preset.parts):
        report(2 + 2 * number, steps, "preparing the picture")
        np.maximum(opacity, _opacity(part, table.weights, code, hu, sigma), out=opacity)
    check()
    opacity = gaussian_filter(opacity, _SURFACE, mode="constant", truncate=2.5)
    _remove_pieces(opacity, preset.min_ml, float(np.linalg.norm(like.affine[:3, 0])))
    if not opacity.max() > _SEEN / 10:
        raise _nothing(preset)
    report(steps - 2, steps, "preparing the picture")
    color = _colors(preset, table, colors, saturation, code, opacity)
    if preset.skin:
        _paint_skin(color, opacity, colors, saturation, float(np.linalg.norm(like.affine[:3, 0])))
    report(steps, steps, "preparing the picture")
    return BodyField(opacity, color, like.affine)


def _nothing(preset: RenderPreset) -> OptionError:
    return OptionError(
        f"the scan shows nothing of '{preset.name}' ({preset.about}); choose another preset, or "
        "tissues with 'only'"
    )


Box = tuple[slice, slice, slice]


def _grid(
    volume: Volume, code: Codes, seen: NDArray[np.bool_], most: int, preset: RenderPreset
) -> tuple[Volume, Box]:
    """Return the grid of the picture around what is seen, and that part of the scan."""
    mask = np.empty(code.shape, np.int8)
    for z in range(len(code)):
        check()
        mask[z] = seen[code[z]]
    boxes = find_objects(mask)
    if not boxes or boxes[0] is None:
        raise _nothing(preset)
    z, y, x = (
        slice(max(0, part.start - _MARGIN), min(n, part.stop + _MARGIN))
        for part, n in zip(boxes[0], code.shape, strict=True)
    )
    shape = (z.stop - z.start, y.stop - y.start, x.stop - x.start)
    affine = volume.affine.copy()
    affine[:3, 3] = apply(affine, (z.start, y.start, x.start))
    size = math.prod(n * s for n, s in zip(shape, volume.spacing, strict=True))
    spacing = max(_FINEST * min(volume.spacing), (size / most) ** (1 / 3))
    shape, affine = spacing_grid(shape, affine, np.full(3, spacing))
    # A layer of air around it, so that the body is closed where the scan ends.
    affine[:3, 3] = apply(affine, (-1.0, -1.0, -1.0))
    padded = (shape[0] + 2, shape[1] + 2, shape[2] + 2)
    return Volume(np.broadcast_to(np.uint8(0), padded), affine), (z, y, x)


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


def _opacity(
    part: Part,
    weights: NDArray[np.float32],
    code: Codes,
    hu: NDArray[np.float32],
    sigma: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return the opacity of a part: its smoothed probability times its curve over HU."""
    check()
    member = weights[:, list(part.tissues)].sum(axis=1, dtype=np.float32)[code]
    if len(part.tissues) >= len(Tissue) - 1:  # the whole body: HU alone decide on its surface
        member = uniform_filter(member, 5, mode="constant")
        member = np.clip(8.0 * member, 0.0, 1.0)
    else:
        member = gaussian_filter(member, sigma, mode="nearest", truncate=2.5)
        member = np.clip((member - _EDGE[0]) / (_EDGE[1] - _EDGE[0]), 0.0, 1.0)
    check()
    hus, opacity = np.asarray(part.curve, np.float64).T
    for plane, values in zip(member, hu, strict=True):
        plane *= np.interp(values, hus, opacity).astype(np.float32)
    return member


def _remove_pieces(opacity: NDArray[np.float32], min_ml: float, spacing: float) -> None:
    """Make isolated pieces transparent whose volume is below ``min_ml``."""
    pieces, count = label(opacity > _SEEN)
    check()
    if count == 0:
        return
    volumes = np.bincount(pieces.ravel()) * (spacing**3 / 1000.0)
    small = volumes < min(min_ml, 0.5 * volumes[1:].max())
    small[0] = False
    if small.any():
        # what is faint around a piece goes with it
        near = uniform_filter(small[pieces].astype(np.float32), 5, mode="constant") > 0
        opacity[near & (pieces == 0)] *= 0.0
        opacity[small[pieces]] = 0.0


def _colors(
    preset: RenderPreset,
    table: Mixtures,
    colors: Palette,
    saturation: float,
    code: Codes,
    opacity: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """Return sRGB; what is transparent gets the color of the tissue beside it."""
    drawn = table.weights.astype(np.float64)
    for part in preset.parts:
        if part.color is not None:
            for tissue in part.tissues:
                if tissue != part.color:
                    drawn[:, part.color] += 0.8 * drawn[:, tissue]
                    drawn[:, tissue] *= 0.2
    hidden = [tissue for tissue in Tissue if tissue not in preset.tissues]
    own = [part.color for part in preset.parts if part.color is not None]
    drawn[:, [tissue for tissue in hidden if tissue not in own]] = 0.0
    share = drawn.sum(axis=1)
    lab = drawn @ colors.lab.astype(np.float64) / np.maximum(share, 1e-3)[:, None]
    lab[:, 1:] *= saturation
    rgb = srgb8_of_lab(lab).astype(np.float32)
    strength = (np.clip(share, 0.0, 1.0).astype(np.float32) ** 2)[code] * (opacity + 1e-3)
    total = np.maximum(_blurred(strength), 1e-12)
    result = np.empty((*code.shape, 3), np.uint8)
    for channel in range(3):
        check()
        result[..., channel] = _blurred(rgb[:, channel][code] * strength) / total
    return result


def _blurred(values: NDArray[np.float32]) -> NDArray[np.float32]:
    once = uniform_filter(values, 3, mode="nearest")
    return np.asarray(uniform_filter(once, 3, mode="nearest"))


def _paint_skin(
    color: NDArray[np.uint8],
    opacity: NDArray[np.float32],
    colors: Palette,
    saturation: float,
    spacing: float,
) -> None:
    """Give the outermost millimeters of the body the color of skin."""
    width = 2 * max(1, round(_SKIN_MM / spacing)) + 1
    check()
    depth = uniform_filter(np.minimum(opacity, 1.0), width, mode="constant")
    lab = colors.lab[Tissue.SKIN] * np.array([1.0, saturation, saturation])
    color[depth < 0.9] = srgb8_of_lab(lab)
