"""Draw docs/pictures/contrast.png: a slice in grey and two palettes, and with color deficiencies.

::

    python docs/make_contrast_picture.py

The colors are those of the true tissues of a phantom, as in docs/contrast.md.
"""

from __future__ import annotations

import numpy as np
from drawing import GAP, save
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tomochrome.color.convert import lab_to_srgb8, srgb_to_lab
from tomochrome.color.palettes import palette
from tomochrome.color.perception import DEFICIENCIES, as_seen
from tomochrome.phantom import make_patient
from tomochrome.windowing import PRESETS, luminance

SEED, REGION, SPACING, AT = 2_000_002, "abdomen", (3.0, 1.2, 1.2), 0.6
LABELS = 22


def main() -> None:
    """Draw."""
    patient = make_patient(SEED, REGION, SPACING, phase="portal")
    z = round(AT * patient.ct.shape[0])
    L = luminance(np.asarray(patient.ct.voxels)[z], PRESETS["soft-tissue"])
    tissue = np.asarray(patient.tissue.voxels)[z].astype(int)
    high, wide = L.shape
    sheet = Image.new("RGB", (5 * (wide + GAP), 2 * (high + LABELS + GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)

    def place(lab: NDArray[np.floating], name: str, row: int, column: int) -> None:
        corner = column * (wide + GAP), row * (high + LABELS + GAP)
        draw.text(corner, name, fill="black", font=font)
        picture = Image.fromarray(lab_to_srgb8(lab.astype(np.float32)))
        sheet.paste(picture, (corner[0], corner[1] + LABELS))

    place(np.stack([L, 0 * L, 0 * L], axis=-1), "grey", 0, 0)
    for row, name in enumerate(("natural", "colorblind-safe")):
        lab = np.concatenate([L[..., None], palette(name).ab[tissue]], axis=-1)
        shown = srgb_to_lab(lab_to_srgb8(lab))
        place(shown, name, row, 1)
        for column, deficiency in enumerate(DEFICIENCIES):
            place(as_seen(shown, deficiency), f"{name}, {deficiency}", row, 2 + column)
    save(sheet, "contrast", 256)


if __name__ == "__main__":
    main()
