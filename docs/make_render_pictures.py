"""Draw render-presets.webp, look.webp and slabs.webp: phantoms in 3D, as a photograph, in slabs.

::

    python docs/make_render_pictures.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import tomochrome as tc
from tomochrome.color import Slab, light_slab
from tomochrome.color.photograph_look import photograph_look
from tomochrome.formats import PROJECTIONS
from tomochrome.phantom import make_patient
from tomochrome.rendering import RENDER_PRESETS

PICTURES = Path(__file__).parent / "pictures"
REGIONS = {
    "skin": ("abdomen", "20/5"),
    "muscle": ("abdomen", "20/5"),
    "bone": ("thorax", "25/5"),
    "bone-vessels": ("abdomen", "10/5"),
    "heart-vessels": ("thorax", "20/5"),
    "organs": ("abdomen", "15/10"),
    "lungs-vessels": ("thorax", "10/5"),
    "brain": ("head", "40/20"),
}
COLUMNS, SIDE, LABEL = 4, 360, 26
NOTE = "phantoms; lightness not from the scanner; not for diagnosis"


def main() -> None:
    """Draw."""
    scans: dict[str, Any] = {}
    for region in ("abdomen", "thorax", "head"):
        volume = make_patient(20, region, (2.5, 1.0, 1.0), phase="portal").ct
        scans[region] = volume, tc.colorize(volume)
    draw_presets(scans)
    draw_look(scans)
    draw_slabs(scans)


def draw_presets(scans: dict[str, Any]) -> None:
    """Draw one picture of each preset."""
    rows = -(-len(RENDER_PRESETS) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * SIDE, rows * (SIDE + LABEL) + LABEL))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for number, (name, (region, view)) in enumerate(REGIONS.items()):
        picture = tc.render(*scans[region], preset=name, view=view, size=(SIDE, SIDE))
        corner = number % COLUMNS * SIDE, number // COLUMNS * (SIDE + LABEL)
        sheet.paste(Image.fromarray(picture.pixels), (corner[0], corner[1] + LABEL))
        draw.text((corner[0] + 8, corner[1] + 5), name, fill="white", font=font)
    draw.text((8, sheet.height - LABEL + 5), NOTE, fill=(170, 170, 170), font=font)
    sheet.save(PICTURES / "render-presets.webp", quality=82)


def draw_look(scans: dict[str, Any]) -> None:
    """Draw a slice with the luminance of the scanner, and with the look of a photograph."""
    volume, chroma = scans["abdomen"]
    look = f"look of a photograph: {NOTE.partition('; ')[2]}"
    images = {
        "luminance of the scanner": tc.light(volume, chroma),
        look: photograph_look(volume, chroma),
    }
    half = volume.shape[0] // 2
    parts = {title: np.asarray(image.voxels[half]) for title, image in images.items()}
    side_by_side(parts, 700, "look.webp")


def draw_slabs(scans: dict[str, Any]) -> None:
    """Draw a slice, and slabs around it."""
    volume, chroma = scans["thorax"]
    at = round(0.55 * volume.shape[0])
    parts = {"single slice": np.asarray(tc.light(volume, chroma).voxels[at])}
    for projection in PROJECTIONS:
        slab = Slab(projection, 15)
        image = light_slab(volume, chroma, at, slab)
        parts[f"slab: {slab}"] = np.asarray(image.voxels[0])
    side_by_side(parts, 420, "slabs.webp")


def side_by_side(parts: dict[str, Any], width: int, name: str) -> None:
    """Draw RGBA slices of one size with their titles, two in a row."""
    rows, columns = next(iter(parts.values())).shape[:2]
    height = round(width * rows / columns)
    sheet = Image.new("RGB", (2 * width, -(-len(parts) // 2) * (height + LABEL)))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for number, (title, rgba) in enumerate(parts.items()):
        image = Image.fromarray(rgba[..., :3] * (rgba[..., 3:] > 0))
        x, y = number % 2 * width, number // 2 * (height + LABEL)
        sheet.paste(image.resize((width, height), Image.Resampling.BICUBIC), (x, y + LABEL))
        draw.text((x + 8, y + 5), title, fill="white", font=font)
    sheet.save(PICTURES / name, quality=82)


if __name__ == "__main__":
    main()
