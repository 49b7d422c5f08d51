"""A contact sheet: axial slices of a colored volume on one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from tomochrome.errors import OutputError
from tomochrome.geometry.orient import axis_map, reorient
from tomochrome.io.dicom.capture import over_black
from tomochrome.runtime import CancelToken, Progress, check, report
from tomochrome.volume import Volume

COLUMNS: Final = 5
SLICES: Final = 20
WIDTH: Final = 1600  # pixels of all columns together
LARGEST_TILE: Final = 800
DARK: Final = 24  # of 255: what is darker does not widen the field shown
SPECKS: Final = 3  # lit pixels in a row or column that do not widen it either
GAP: Final = 6
CAPTION: Final = 34
_GREY: Final = (170, 170, 170)


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


def write_contact_sheet(
    volume: Volume,
    path: Path,
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> None:
    """Write evenly chosen axial slices as a PNG, in radiological display.

    The patient's right is on screen left and anterior is up; slices go from head to feet, in
    their true proportions, over black. A caption names the model and says "not for
    diagnosis"; it holds nothing about the patient.

    Raises
    ------
    OutputError
        If the volume is not RGBA.
    """
    check_colored(volume)
    sheet = contact_sheet(volume, progress=progress, cancel=cancel)
    extra = volume.provenance.extra
    info = PngInfo()
    for key in ("model", "window", "palette"):
        if extra.get(key):
            info.add_text(key.capitalize(), str(extra[key]))
    info.add_text("Comment", _caption(volume))
    info.add_text("Software", "Tomochrome")
    sheet.save(path, format="PNG", pnginfo=info)


def contact_sheet(
    volume: Volume, *, progress: Progress | None = None, cancel: CancelToken | None = None
) -> Image.Image:
    """Return the contact sheet of an RGBA volume as a picture."""
    tiles = list(_tiles(volume, progress, cancel))
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = tiles[0][1].size
    columns_width = columns * (width + GAP) + GAP
    sheet = Image.new("RGB", (columns_width, rows * (height + GAP) + GAP + CAPTION))
    draw = ImageDraw.Draw(sheet)
    small, caption = ImageFont.load_default(12), ImageFont.load_default(15)
    for i, (label, tile) in enumerate(tiles):
        x, y = GAP + i % columns * (width + GAP), GAP + i // columns * (height + GAP)
        sheet.paste(tile, (x, y))
        draw.text((x + 4, y + 2), label, fill=_GREY, font=small)
        draw.text((x + 4, y + height // 2), "R", fill=_GREY, font=small)
    text = _caption(volume)
    draw.text((GAP + 2, sheet.height - CAPTION + 8), text, fill=_GREY, font=caption)
    return sheet


def _tiles(
    volume: Volume, progress: Progress | None, cancel: CancelToken | None
) -> list[tuple[str, Image.Image]]:
    """Return label and picture of each slice, from head to feet, all cut to the same field."""
    order, flips = axis_map(volume.affine)
    chosen = _evenly(volume.shape[order[0]], SLICES)[:: 1 if flips[0] else -1]
    planes = []
    for done, index in enumerate(chosen, start=1):
        check(cancel)
        planes.append(over_black(_plane(volume, order, flips, int(index))))
        report(progress, done, len(chosen), "drawing slices")
    top, bottom, left, right = _field(planes)
    height = (bottom - top) * volume.spacing[order[1]]
    width = (right - left) * volume.spacing[order[2]]
    longer = min(LARGEST_TILE, WIDTH // min(COLUMNS, len(planes)))
    scale = longer / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    tiles = []
    for index, plane in zip(chosen, planes, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(plane[top:bottom, left:right]))
        label = f"{_height(volume, order[0], int(index)):.0f} mm"
        tiles.append((label, picture.resize(size, Image.Resampling.BICUBIC)))
    return tiles


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
    if extra.get("window"):
        parts.append(f"window {extra['window']}")
    return "  ·  ".join([*parts, "not for diagnosis"])
