"""What the scripts that draw the pictures share: waiting for a window, sections, sheets."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from PIL.Image import Image as Picture

from tomochrome.volume import Volume

FOLDER: Final = Path(__file__).resolve().parent / "pictures"
PLUGIN: Final = "napari-tomochrome"
GAP: Final = 6  # pixels between the parts of a sheet


def wait_until(done: Callable[[], bool], seconds: float) -> None:
    """Keep the window alive until ``done`` says so; give up after ``seconds``."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("the picture took too long")
        QApplication.processEvents()
        time.sleep(0.01)


def rest(seconds: float) -> None:
    """Let the window draw itself."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end, seconds + 5)


def section(volume: Volume, plane: str, where: float, height: int) -> Picture:
    """Return one section of RGBA over black, upright, in square pixels, of so many rows.

    ``plane`` is "axial" or "coronal"; ``where`` is the place along its axis, 0 to 1.
    """
    axis = {"axial": 0, "coronal": 1}[plane]
    rgba = np.asarray(volume.voxels).take(round(where * (volume.shape[axis] - 1)), axis)
    if plane == "coronal":
        rgba = rgba[::-1]  # superior is up
    down, across = (s for i, s in enumerate(volume.spacing) if i != axis)
    rgb = (rgba[..., :3] * (rgba[..., 3:] / 255.0)).astype(np.uint8)
    rows, columns = rgb.shape[:2]
    width = round(height * columns * across / (rows * down))
    return Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC)


def side_by_side(parts: list[Picture]) -> Picture:
    """Join pictures of one height, with a gap between."""
    width = sum(part.width for part in parts) + GAP * (len(parts) - 1)
    sheet = Image.new("RGB", (width, parts[0].height), "white")
    left = 0
    for part in parts:
        sheet.paste(part, (left, 0))
        left += part.width + GAP
    return sheet


def save(sheet: Picture, name: str, colors: int) -> None:
    """Save with few colors, so that the repository stays small."""
    path = FOLDER / f"{name}.png"
    sheet.quantize(colors, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {sheet.width} x {sheet.height}, {path.stat().st_size // 1024} KiB")
