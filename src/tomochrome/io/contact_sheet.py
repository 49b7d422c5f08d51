"""A contact sheet: axial slices of a colored volume on one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo

from tomochrome.errors import OutputError
from tomochrome.geometry.orient import axis_map, edge_letters, reorient
from tomochrome.io.dicom.secondary_capture import over_black
from tomochrome.runtime import check, report
from tomochrome.volume import Volume

COLUMNS: Final = 5
SLICES: Final = 20
WIDTH: Final = 1600  # pixels of all columns together
LARGEST_TILE: Final = 800
DARK: Final = 24  # of 255: what is darker does not widen the field shown
SPECKS: Final = 3  # lit pixels in a row or column that do not widen it either
GAP: Final = 6
CAPTION: Final = 34
LABEL: Final = 16
BAR_LENGTHS_MM: Final = (500, 200, 100, 50, 20, 10, 5, 2, 1)
_GREY: Final = (170, 170, 170)
_LETTER: Final = (235, 235, 235)
_SMALL: Final = ImageFont.load_default(12)
_LARGER: Final = ImageFont.load_default(15)


@dataclass(frozen=True)
class _Tiles:
    """The slices as pictures of one size, with what is written on them."""

    pictures: list[Image.Image]
    labels: list[str]  #: how far up the patient each lies, or what it is
    letters: dict[str, str]  #: at "left", "right", "top" and "bottom" of each
    pixels_per_mm: float


def check_colored(volume: Volume) -> None:
    """Refuse a volume that a contact sheet cannot show.

    Raises
    ------
    OutputError
        If it is not RGBA.
    """
    if not volume.is_rgba:
        raise OutputError(
            "a contact sheet (.png) needs a colored volume; light the volume first, "
            "or write .nii.gz or .nrrd"
        )


def write_contact_sheet(volume: Volume, path: Path) -> None:
    """Write evenly chosen axial slices as a PNG, in radiological display.

    The patient's right is on screen left and anterior is up; slices go from head to feet, in
    their true proportions, over black. Letters at the edges of each slice say where they truly
    lie, and a scale bar how large they are. A caption names the model and says "not for
    diagnosis"; it holds nothing about the patient.

    Raises
    ------
    OutputError
        If the volume is not RGBA.
    """
    check_colored(volume)
    sheet = contact_sheet(volume)
    extra = volume.provenance.extra
    info = PngInfo()
    for key in ("model", "window", "palette"):
        if extra.get(key):
            info.add_text(key.capitalize(), str(extra[key]))
    info.add_text("Comment", _caption(volume))
    info.add_text("Software", "Tomochrome")
    sheet.save(path, format="PNG", pnginfo=info)


def contact_sheet(
    volume: Volume,
    labels: Sequence[str] | None = None,
    beside: Sequence[tuple[str, NDArray[np.uint8]]] = (),
) -> Image.Image:
    """Return the contact sheet of an RGBA volume as a picture.

    Parameters
    ----------
    volume
        Its slices; with labels any number of pictures of one slice.
    labels
        What each slice is; then all are drawn, in their order. By default how high each lies.
    beside
        Further pictures (y, x, 3) with their labels, drawn last, without letters: nobody knows
        where they lie.
    """
    tiles = _tiles(volume, labels)
    lettered = len(tiles.pictures)
    for label, pixels in beside:
        tiles.pictures.append(ImageOps.pad(Image.fromarray(pixels), tiles.pictures[0].size))
        tiles.labels.append(label)
    columns = min(COLUMNS, len(tiles.pictures))
    rows = -(-len(tiles.pictures) // columns)
    width, height = tiles.pictures[0].size
    sheet_width = columns * (width + GAP) + GAP
    bar = _bar_mm(tiles.pixels_per_mm, width)
    text = _caption(volume)
    ends = GAP + 2 + _LARGER.getlength(text)
    fits = ends + bar * tiles.pixels_per_mm + 90 < sheet_width
    caption = CAPTION if fits else 2 * CAPTION
    sheet = Image.new("RGB", (sheet_width, rows * (height + GAP) + GAP + caption))
    draw = ImageDraw.Draw(sheet)
    for i, (picture, label) in enumerate(zip(tiles.pictures, tiles.labels, strict=True)):
        x, y = GAP + i % columns * (width + GAP), GAP + i // columns * (height + GAP)
        sheet.paste(picture, (x, y))
        draw.text((x + 4, y + 2), label, fill=_GREY, font=_SMALL)
        if i < lettered:
            top = y if labels is None else y + LABEL  # a long one reaches below the letter
            _draw_letters(draw, tiles.letters, (x, top, x + width, y + height))
    draw.text((GAP + 2, sheet.height - caption + 8), text, fill=_GREY, font=_LARGER)
    _draw_bar(draw, bar, tiles.pixels_per_mm, (sheet_width - GAP - 2, sheet.height - CAPTION // 2))
    return sheet


def tile_pictures(volume: Volume, side: int) -> list[Image.Image]:
    """Return each slice of an RGBA volume with its letters and a scale bar, in stored order.

    Parameters
    ----------
    volume
        Pictures of one slice, or slices.
    side
        Length in pixels of the longer edge of each.
    """
    tiles = _tiles(volume, [""] * len(volume.voxels), side)
    width, height = tiles.pictures[0].size
    bar = _bar_mm(tiles.pixels_per_mm, width // 2)  # the letter in the middle stays free
    for picture in tiles.pictures:
        draw = ImageDraw.Draw(picture)
        _draw_letters(draw, tiles.letters, (0, 0, width, height))
        _draw_bar(draw, bar, tiles.pixels_per_mm, (width - 8, height - 10))
    return tiles.pictures


def _draw_letters(
    draw: ImageDraw.ImageDraw, letters: dict[str, str], box: tuple[int, int, int, int]
) -> None:
    """Write the letters at the edges of a tile, outlined so that they show on any tissue."""
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
            font=_LARGER,
            anchor=anchor,
            stroke_width=2,
            stroke_fill=(0, 0, 0),
        )


def _bar_mm(pixels_per_mm: float, width: int) -> int:
    """Return the length of the scale bar in mm: a round one, up to a third of a tile wide."""
    fitting = (length for length in BAR_LENGTHS_MM if length * pixels_per_mm <= width / 3)
    return next(fitting, BAR_LENGTHS_MM[-1])


def _draw_bar(
    draw: ImageDraw.ImageDraw, length: int, pixels_per_mm: float, end: tuple[int, int]
) -> None:
    """Draw a scale bar that ends at a place, and its length to the left of it."""
    right, y = end
    left = right - round(length * pixels_per_mm)
    draw.line([(left, y), (right, y)], fill=_LETTER, width=2)
    for x in (left, right):
        draw.line([(x, y - 4), (x, y + 4)], fill=_LETTER, width=2)
    draw.text((left - 8, y), f"{length} mm", fill=_LETTER, font=_LARGER, anchor="rm")


def _tiles(volume: Volume, labels: Sequence[str] | None = None, side: int = LARGEST_TILE) -> _Tiles:
    """Return the pictures of the slices, from head to feet, all cut to the same field."""
    order, flips = axis_map(volume.affine)
    chosen = _evenly(volume.shape[order[0]], SLICES)[:: 1 if flips[0] else -1]
    if labels is not None:
        chosen = np.arange(volume.shape[order[0]])
    planes = []
    for done, index in enumerate(chosen, start=1):
        check()
        planes.append(over_black(_plane(volume, order, flips, int(index))))
        report(done, len(chosen), "drawing slices")
    top, bottom, left, right = _field(planes)
    height = (bottom - top) * volume.spacing[order[1]]
    width = (right - left) * volume.spacing[order[2]]
    longer = min(side, WIDTH // min(COLUMNS, len(planes)))
    scale = longer / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pictures = []
    for plane in planes:
        picture = Image.fromarray(np.ascontiguousarray(plane[top:bottom, left:right]))
        pictures.append(picture.resize(size, Image.Resampling.BICUBIC))
    if labels is None:
        labels = [f"{_height(volume, order[0], int(index)):.0f} mm" for index in chosen]
    return _Tiles(pictures, list(labels), _letters(volume, order, flips), scale)


def _letters(
    volume: Volume, order: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> dict[str, str]:
    """Return the letters at the edges of each slice, from the true affine."""
    down, right = (volume.affine[:3, order[axis]] * (-1 if flips[axis] else 1) for axis in (1, 2))
    return edge_letters(right, -down)


def _field(planes: list[NDArray[np.uint8]]) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right of what is not black in any slice, with a margin."""
    bright = np.max([plane.max(axis=-1) for plane in planes], axis=0) > DARK
    ends: list[int] = []
    for axis in (1, 0):
        length = bright.shape[1 - axis]
        lit = np.flatnonzero(bright.sum(axis=axis) > SPECKS)
        margin = max(1, length // 40)
        first, last = (int(lit[0]), int(lit[-1])) if lit.size else (0, length - 1)
        ends += [max(0, first - margin), min(length, last + 1 + margin)]
    return ends[0], ends[1], ends[2], ends[3]


def _evenly(depth: int, count: int) -> NDArray[np.int64]:
    """Return up to ``count`` slice numbers, evenly spread, away from the very ends."""
    if depth <= count:
        return np.arange(depth)
    return np.floor((np.arange(count) + 0.5) * depth / count).astype(np.int64)


def _plane(
    volume: Volume,
    order: tuple[int, int, int],
    flips: tuple[bool, bool, bool],
    index: int,
) -> NDArray[Any]:
    """Return one upright axial slice (y, x, 4) without turning the whole volume."""
    where: list[slice] = [slice(None)] * 3
    where[order[0]] = slice(index, index + 1)
    thin = np.asarray(volume.voxels[tuple(where)])
    return np.asarray(reorient(Volume(thin, volume.affine, "RGBA"), order, flips).voxels)[0]


def _height(volume: Volume, axis: int, index: int) -> float:
    """Return how far up the patient (LPS z, mm) the middle of a slice lies."""
    middle = np.array([(n - 1) / 2 for n in volume.shape] + [1.0])
    middle[axis] = index
    return float((volume.affine @ middle)[2])


def _caption(volume: Volume) -> str:
    extra = volume.provenance.extra
    parts = ["Tomochrome"]
    if extra.get("model"):
        parts.append(f"color by model {extra['model']}")
    if extra.get("place"):
        parts.append(str(extra["place"]))
    if extra.get("window"):
        parts.append(f"window {extra['window']}")
    return "  ·  ".join([*parts, "not for diagnosis"])
