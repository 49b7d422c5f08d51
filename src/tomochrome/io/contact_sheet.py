"""A contact sheet: axial slices of a colored volume in one image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps
from PIL.PngImagePlugin import PngInfo

from tomochrome.io.slice_pictures import (
    GREY,
    LARGER,
    SMALL,
    SlicePictures,
    bar_mm,
    caption,
    draw_bar,
    draw_letters,
    from_head_to_feet,
)
from tomochrome.volume import Volume

COLUMNS: Final = 5
SLICES: Final = 20
WIDTH: Final = 1600  # total width of all columns, pixels
LARGEST_TILE: Final = 800
GAP: Final = 6
CAPTION: Final = 34
LABEL: Final = 16


def write_contact_sheet(volume: Volume, path: Path) -> None:
    """Write evenly spaced axial slices as a PNG, in radiological display.

    The patient's right is on screen left and anterior is up; slices run from head to feet, with
    square pixels, over black. Each slice has orientation letters, and the sheet a scale bar. The
    caption names the model and says "not for diagnosis"; it contains no patient data. The volume
    is RGBA.
    """
    sheet = contact_sheet(volume)
    extra = volume.provenance.extra
    info = PngInfo()
    for key in ("model", "window", "palette"):
        if extra.get(key):
            info.add_text(key.capitalize(), str(extra[key]))
    info.add_text("Comment", caption(volume))
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
    indices = from_head_to_feet(volume, SLICES) if labels is None else np.arange(len(labels))
    slices = _slices(volume, indices)
    titles = [f"{slices.z_mm(k):.0f} mm" for k in range(len(slices))] if labels is None else labels
    tiles = [
        *((title, slices.picture(k)) for k, title in enumerate(titles)),
        *((title, ImageOps.pad(Image.fromarray(pixels), slices.size)) for title, pixels in beside),
    ]
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = slices.size
    sheet_width = columns * (width + GAP) + GAP
    bar = bar_mm(slices.pixels_per_mm, width)
    text = caption(volume)
    ends = GAP + 2 + LARGER.getlength(text)
    fits = ends + bar * slices.pixels_per_mm + 90 < sheet_width
    foot = CAPTION if fits else 2 * CAPTION
    sheet = Image.new("RGB", (sheet_width, rows * (height + GAP) + GAP + foot))
    draw = ImageDraw.Draw(sheet)
    for i, (title, picture) in enumerate(tiles):
        x, y = GAP + i % columns * (width + GAP), GAP + i // columns * (height + GAP)
        sheet.paste(picture, (x, y))
        draw.text((x + 4, y + 2), title, fill=GREY, font=SMALL)
        if i < len(slices):
            top = y if labels is None else y + LABEL  # a long label would cover the letter
            draw_letters(draw, slices.letters, (x, top, x + width, y + height))
    draw.text((GAP + 2, sheet.height - foot + 8), text, fill=GREY, font=LARGER)
    draw_bar(draw, bar, slices.pixels_per_mm, (sheet_width - GAP - 2, sheet.height - CAPTION // 2))
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
    slices = _slices(volume, np.sort(from_head_to_feet(volume)), side)
    pictures = [slices.picture(k) for k in range(len(slices))]
    for picture in pictures:
        slices.annotate(picture)
    return pictures


def _slices(volume: Volume, indices: NDArray[np.int64], side: int = LARGEST_TILE) -> SlicePictures:
    return SlicePictures.of(volume, min(side, WIDTH // min(COLUMNS, len(indices))), indices)
