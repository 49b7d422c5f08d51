"""A contact sheet: axial slices of a colored volume in one image."""

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
WIDTH: Final = 1600  # total width of all columns, pixels
LARGEST_TILE: Final = 800
DARK: Final = 24  # of 255: darker pixels count as background when the slices are cropped
SPECKS: Final = 3  # a row or column with at most so many bright pixels is background too
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
    """The slices as images of equal size, with their annotations."""

    pictures: list[Image.Image]
    labels: list[str]  #: position along the patient axis, or a description
    letters: dict[str, str]  #: orientation letters at "left", "right", "top" and "bottom"
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
    """Write evenly spaced axial slices as a PNG, in radiological display.

    The patient's right is on screen left and anterior is up; slices run from head to feet, with
    square pixels, over black. Each slice has orientation letters, and the sheet a scale bar. The
    caption names the model and says "not for diagnosis"; it contains no patient data.

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
    """Return the contact sheet of an RGBA volume as an image.

    Parameters
    ----------
    volume
        The volume whose slices are drawn; with ``labels``, variants of one slice along z.
    labels
        A caption for each slice; all slices are then drawn in order. By default, up to 20 slices
        with their LPS z position.
    beside
        Further images (y, x, 3) with their captions, drawn last and without orientation letters,
        as their orientation is unknown.
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
            top = y if labels is None else y + LABEL  # a long label would cover the letter
            _draw_letters(draw, tiles.letters, (x, top, x + width, y + height))
    draw.text((GAP + 2, sheet.height - caption + 8), text, fill=_GREY, font=_LARGER)
    _draw_bar(draw, bar, tiles.pixels_per_mm, (sheet_width - GAP - 2, sheet.height - CAPTION // 2))
    return sheet


def tile_pictures(volume: Volume, side: int) -> list[Image.Image]:
    """Return each slice of an RGBA volume with orientation letters and a scale bar, as stored.

    Parameters
    ----------
    volume
        The slices, or variants of one slice along z.
    side
        Length of the longer edge of each image, in pixels.
    """
    tiles = _tiles(volume, [""] * len(volume.voxels), side)
    width, height = tiles.pictures[0].size
    bar = _bar_mm(tiles.pixels_per_mm, width // 2)  # keeps clear of the letter at the center
    for picture in tiles.pictures:
        draw = ImageDraw.Draw(picture)
        _draw_letters(draw, tiles.letters, (0, 0, width, height))
        _draw_bar(draw, bar, tiles.pixels_per_mm, (width - 8, height - 10))
    return tiles.pictures


def _draw_letters(
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
            font=_LARGER,
            anchor=anchor,
            stroke_width=2,
            stroke_fill=(0, 0, 0),
        )


def _bar_mm(pixels_per_mm: float, width: int) -> int:
    """Return a round length of the scale bar in mm, at most a third of the tile width."""
    fitting = (length for length in BAR_LENGTHS_MM if length * pixels_per_mm <= width / 3)
    return next(fitting, BAR_LENGTHS_MM[-1])


def _draw_bar(
    draw: ImageDraw.ImageDraw, length: int, pixels_per_mm: float, end: tuple[int, int]
) -> None:
    """Draw a scale bar with its right end at ``end``, and its length to the left of it."""
    right, y = end
    left = right - round(length * pixels_per_mm)
    draw.line([(left, y), (right, y)], fill=_LETTER, width=2)
    for x in (left, right):
        draw.line([(x, y - 4), (x, y + 4)], fill=_LETTER, width=2)
    draw.text((left - 8, y), f"{length} mm", fill=_LETTER, font=_LARGER, anchor="rm")


def _tiles(volume: Volume, labels: Sequence[str] | None = None, side: int = LARGEST_TILE) -> _Tiles:
    """Return the slices as images from head to feet, cropped to a common field of view."""
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
    """Return the orientation letters at the edges of the slices, from the affine."""
    down, right = (volume.affine[:3, order[axis]] * (-1 if flips[axis] else 1) for axis in (1, 2))
    return edge_letters(right, -down)


def _field(planes: list[NDArray[np.uint8]]) -> tuple[int, int, int, int]:
    """Return the bounding box (top, bottom, left, right) of the foreground, with a margin."""
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
    """Return up to ``count`` evenly spaced slice indices that leave out both ends."""
    if depth <= count:
        return np.arange(depth)
    return np.floor((np.arange(count) + 0.5) * depth / count).astype(np.int64)


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


def _height(volume: Volume, axis: int, index: int) -> float:
    """Return the LPS z coordinate (mm) of the center of a slice."""
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
