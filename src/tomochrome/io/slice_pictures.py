"""Axial slices of a colored volume as images: orientation letters, scale bar and caption."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tomochrome.geometry.orient import axis_map, edge_letters, reorient
from tomochrome.io.dicom.secondary_capture import over_black
from tomochrome.runtime import check, report
from tomochrome.volume import Volume

DARK: Final = 24  # of 255: darker pixels count as background when the slices are cropped
SPECKS: Final = 3  # a row or column with at most so many bright pixels is background too
BAR_LENGTHS_MM: Final = (500, 200, 100, 50, 20, 10, 5, 2, 1)
GREY: Final = (170, 170, 170)
_LETTER: Final = (235, 235, 235)
SMALL: Final = ImageFont.load_default(12)
LARGER: Final = ImageFont.load_default(15)


@dataclass(frozen=True, eq=False)
class SlicePictures:
    """Axial slices in radiological display, cropped to a common field of view.

    The patient's right is on screen left and anterior is up, with square pixels, over black.

    Parameters
    ----------
    volume
        RGBA.
    order, flips
        As `axis_map` returns them.
    indices
        Indices of the slices, in the order of the images.
    field
        The field of view in pixels of a slice: top, bottom, left, right.
    pixels_per_mm
        Scale of the images.
    """

    volume: Volume
    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    indices: Sequence[int]
    field: tuple[int, int, int, int]
    pixels_per_mm: float

    @classmethod
    def of(cls, volume: Volume, side: int, indices: Iterable[int]) -> SlicePictures:
        """Return the images of the given axial slices, whose longer edge has ``side`` pixels."""
        order, flips = axis_map(volume.affine)
        chosen = [int(index) for index in indices]
        brightest: NDArray[np.uint8] | None = None
        for done, index in enumerate(chosen, start=1):
            check()
            plane = over_black(_plane(volume, order, flips, index)).max(axis=-1)
            brightest = plane if brightest is None else np.maximum(brightest, plane)
            report(done, len(chosen), "drawing slices")
        assert brightest is not None
        field = _field(brightest > DARK)
        top, bottom, left, right = field
        height = (bottom - top) * volume.spacing[order[1]]
        width = (right - left) * volume.spacing[order[2]]
        return cls(volume, order, flips, chosen, field, side / max(height, width))

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self.indices)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of each image, in pixels."""
        top, bottom, left, right = self.field
        (_, down, across), scale = self.order, self.pixels_per_mm
        width = (right - left) * self.volume.spacing[across] * scale
        height = (bottom - top) * self.volume.spacing[down] * scale
        return max(1, round(width)), max(1, round(height))

    def picture(self, number: int) -> Image.Image:
        """Return a slice as an image, without annotations."""
        check()
        plane = over_black(_plane(self.volume, self.order, self.flips, self.indices[number]))
        top, bottom, left, right = self.field
        image = Image.fromarray(np.ascontiguousarray(plane[top:bottom, left:right]))
        return image.resize(self.size, Image.Resampling.BICUBIC)

    def z_mm(self, number: int) -> float:
        """Return the LPS z coordinate of the center of a slice, in mm."""
        middle = np.array([(n - 1) / 2 for n in self.volume.shape] + [1.0])
        middle[self.order[0]] = self.indices[number]
        return float((self.volume.affine @ middle)[2])

    @property
    def letters(self) -> dict[str, str]:
        """Orientation letters at the "left", "right", "top" and "bottom" edges."""
        down, right = (
            self.volume.affine[:3, self.order[axis]] * (-1 if self.flips[axis] else 1)
            for axis in (1, 2)
        )
        return edge_letters(right, -down)

    def annotate(self, picture: Image.Image, left: int = 0) -> None:
        """Draw orientation letters and a scale bar on a slice, ``left`` pixels from the left."""
        (width, height), draw = self.size, ImageDraw.Draw(picture)
        draw_letters(draw, self.letters, (left, 0, left + width, height))
        length = bar_mm(self.pixels_per_mm, width // 2)  # keeps clear of the letter at the center
        draw_bar(draw, length, self.pixels_per_mm, (left + width - 8, height - 10))


def from_head_to_feet(volume: Volume, count: int | None = None) -> NDArray[np.int64]:
    """Return the indices of the axial slices, from head to feet.

    With ``count``, that many evenly spaced ones at most, which leave out both ends.
    """
    order, flips = axis_map(volume.affine)
    indices = np.arange(volume.shape[order[0]])
    if count is not None and len(indices) > count:
        indices = np.floor((np.arange(count) + 0.5) * len(indices) / count).astype(np.int64)
    return indices[:: 1 if flips[0] else -1]


def draw_letters(
    draw: ImageDraw.ImageDraw, letters: dict[str, str], box: tuple[int, int, int, int]
) -> None:
    """Draw the orientation letters at the edges of a tile, outlined for contrast."""
    left, top, right, bottom = box
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    places = {
        "left": ((left + 4, middle_y), "lm"),
        "right": ((right - 4, middle_y), "rm"),
        "top": ((middle_x, top + 3), "mt"),
        "bottom": ((middle_x, bottom - 4), "mb"),
    }
    for edge, (place, anchor) in places.items():
        draw.text(
            place,
            letters[edge],
            fill=_LETTER,
            font=LARGER,
            anchor=anchor,
            stroke_width=2,
            stroke_fill=(0, 0, 0),
        )


def bar_mm(pixels_per_mm: float, width: int) -> int:
    """Return a round length of the scale bar in mm, at most a third of the tile width."""
    fitting = (length for length in BAR_LENGTHS_MM if length * pixels_per_mm <= width / 3)
    return next(fitting, BAR_LENGTHS_MM[-1])


def draw_bar(
    draw: ImageDraw.ImageDraw, length: int, pixels_per_mm: float, end: tuple[int, int]
) -> None:
    """Draw a scale bar with its right end at ``end``, and its length to the left of it."""
    right, y = end
    left = right - round(length * pixels_per_mm)
    draw.line([(left, y), (right, y)], fill=_LETTER, width=2)
    for x in (left, right):
        draw.line([(x, y - 4), (x, y + 4)], fill=_LETTER, width=2)
    draw.text((left - 8, y), f"{length} mm", fill=_LETTER, font=LARGER, anchor="rm")


def caption(volume: Volume) -> str:
    """Return the caption: model, place, window, "not for diagnosis", and no patient data."""
    extra = volume.provenance.extra
    parts = ["Tomochrome"]
    if extra.get("model"):
        parts.append(f"color by model {extra['model']}")
    if extra.get("place"):
        parts.append(str(extra["place"]))
    if extra.get("window"):
        parts.append(f"window {extra['window']}")
    return "  ·  ".join([*parts, "not for diagnosis"])


def _field(bright: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return the bounding box (top, bottom, left, right) of the foreground, with a margin."""
    ends: list[int] = []
    for axis in (1, 0):
        length = bright.shape[1 - axis]
        lit = np.flatnonzero(bright.sum(axis=axis) > SPECKS)
        margin = max(1, length // 40)
        first, last = (int(lit[0]), int(lit[-1])) if lit.size else (0, length - 1)
        ends += [max(0, first - margin), min(length, last + 1 + margin)]
    return ends[0], ends[1], ends[2], ends[3]


def _plane(
    volume: Volume,
    order: tuple[int, int, int],
    flips: tuple[bool, bool, bool],
    index: int,
) -> NDArray[Any]:
    """Return one axial slice (y, x, 4) in display orientation; only that slice is reoriented."""
    where: list[slice] = [slice(None)] * 3
    where[order[0]] = slice(index, index + 1)
    thin = np.asarray(volume.voxels[tuple(where)])
    return np.asarray(reorient(Volume(thin, volume.affine, "RGBA"), order, flips).voxels)[0]
