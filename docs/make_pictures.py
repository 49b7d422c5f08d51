"""Make the pictures of the README out of phantom patients. No real patient is ever shown.

Usage: ``python docs/make_pictures.py [--model NAME]``
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Image as Picture

import tomochrome as tc
from tomochrome.color import Chroma
from tomochrome.phantom import make_patient
from tomochrome.volume import Volume

FOLDER = Path(__file__).resolve().parent / "pictures"
HEIGHT = 340  # pixels of each panel
GAP = 6
COLORS = 256  # of the PNG's palette: a third of the bytes, no difference to the eye


def picture(volume: Volume, chroma: Chroma, plane: str, where: float, **light: Any) -> Picture:
    """Return one section in color over black, upright, in square pixels.

    ``plane`` is "axial" or "coronal"; ``where`` is the place along its axis, 0 to 1.
    """
    axis = {"axial": 0, "coronal": 1}[plane]
    index = round(where * (volume.shape[axis] - 1))
    rgba = np.asarray(tc.light(volume, chroma, **light).voxels).take(index, axis)
    if plane == "coronal":
        rgba = rgba[::-1]  # superior is up
    down, across = (s for i, s in enumerate(volume.spacing) if i != axis)
    rgb = (rgba[..., :3] * (rgba[..., 3:] / 255.0)).astype(np.uint8)
    rows, columns = rgb.shape[:2]
    width = round(HEIGHT * columns * across / (rows * down))
    return Image.fromarray(rgb).resize((width, HEIGHT), Image.Resampling.BICUBIC)


def side_by_side(pictures: list[Picture]) -> Picture:
    """Join pictures of one height, with a gap between."""
    width = sum(p.width for p in pictures) + GAP * (len(pictures) - 1)
    sheet = Image.new("RGB", (width, HEIGHT), "white")
    left = 0
    for part in pictures:
        sheet.paste(part, (left, 0))
        left += part.width + GAP
    return sheet


def save(sheet: Picture, name: str) -> None:
    """Save with few colors, so that the repository stays small."""
    path = FOLDER / f"{name}.png"
    sheet.quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {sheet.width} x {sheet.height}, {path.stat().st_size // 1024} KiB")


def crop_to_body(volume: Volume, chroma: Chroma) -> tuple[slice, slice, slice]:
    """Return the box around everything that is not air."""
    body: NDArray[np.bool_] = chroma.tissue != 0
    box = []
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        found = np.flatnonzero(body.any(axis=others))
        box.append(slice(max(0, found[0] - 4), found[-1] + 5))
    return box[0], box[1], box[2]


def main() -> None:
    """Make every picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=tc.models()[0].name)
    model = parser.parse_args().model
    FOLDER.mkdir(exist_ok=True)
    for name, region, seed, phase, where in (
        ("abdomen", "abdomen", 20, "portal", 0.62),
        ("chest", "chest", 4, "arterial", 0.5),
        ("head", "head", 2, "native", 0.68),
    ):
        volume = make_patient(seed, region, (2.0, 1.0, 1.0), phase=phase, couch=False).ct
        chroma = tc.colorize(volume, model=model)
        box = crop_to_body(volume, chroma)
        volume, chroma = cut(volume, chroma, box)
        window = {"head": "50/160", "chest": "150/900"}.get(name, "soft-tissue")
        save(
            side_by_side(
                [
                    picture(volume, chroma, "axial", where, window=window, saturation=0.0),
                    picture(volume, chroma, "axial", where, window=window),
                    picture(volume, chroma, "coronal", 0.45, window=window),
                ]
            ),
            name,
        )


def cut(volume: Volume, chroma: Chroma, box: tuple[slice, slice, slice]) -> tuple[Volume, Chroma]:
    """Return the part of a colored volume inside a box, in its own place."""
    affine = volume.affine.copy()
    affine[:3, 3] = (affine @ [*(s.start for s in box), 1.0])[:3]
    part = Volume(volume.voxels[box], affine, volume.unit, volume.provenance)
    colors = Chroma(
        np.ascontiguousarray(chroma.code[box]),
        np.ascontiguousarray(chroma.confidence[box]),
        chroma.mixtures,
        affine,
        chroma.model,
        chroma.provenance,
    )
    return part, colors


if __name__ == "__main__":
    main()
