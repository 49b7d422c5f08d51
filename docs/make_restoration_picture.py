"""Draw docs/pictures/restoration.png: simulated defects, filled without a network and with it.

::

    python docs/make_restoration_picture.py

The patient is a phantom that no network learned from. Where the restored slice differs from the
measured one, it is hatched in the last column.
"""

from __future__ import annotations

import numpy as np
from drawing import GAP, save
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tomochrome.color.convert import lab_to_srgb8
from tomochrome.color.hatch import hatched
from tomochrome.phantom import make_structures, render_hu
from tomochrome.restoration.fill import fill
from tomochrome.training.defect_scans import Slab, draw_defect
from tomochrome.training.pool import HELD_OUT
from tomochrome.windowing import PRESETS, luminance

ROWS = (("metal", "pelvis", 4), ("noise", "abdomen", 1), ("missing", "abdomen", 3))
COLUMNS = ("without the defect", "measured", "without a network", "restored", "what is restored")
SPACING, SHAPE = (3.0, 1.2, 1.2), (9, 250, 330)
LABELS = 22


def main() -> None:
    """Draw."""
    _, high, wide = SHAPE
    sheet = Image.new(
        "RGB", (len(COLUMNS) * (wide + GAP), len(ROWS) * (high + LABELS + GAP)), "white"
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row, (kind, region, seed) in enumerate(ROWS):
        made = make_structures(HELD_OUT + 40, region, SPACING, shape=SHAPE)
        hu = render_hu(made.structures, SPACING, np.random.default_rng(5), noise=0.6)
        scan = draw_defect(
            Slab(hu.astype(np.float32), SPACING, real=False), kind, np.random.default_rng(seed)
        )
        measured, code = scan.measured.astype(np.float32), np.asarray(scan.code, np.uint8)
        restored = fill(measured, code, SPACING, "restoration", "cpu")
        z = scan.targets[len(scan.targets) // 2]
        changed = restored[z] != measured[z]
        parts = [grey(part[z]) for part in (scan.clean, measured, scan.filled, restored)]
        parts.append(hatched(parts[-1], changed))
        for column, (name, part) in enumerate(zip(COLUMNS, parts, strict=True)):
            corner = column * (wide + GAP), row * (high + LABELS + GAP)
            draw.text(corner, f"{kind}: {name}", fill="black", font=font)
            sheet.paste(Image.fromarray(part), (corner[0], corner[1] + LABELS))
    save(sheet, "restoration", 128)


def grey(hu: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return a slice in the soft-tissue window, uint8 (y, x, 3)."""
    light = luminance(np.asarray(hu, np.float32), PRESETS["soft-tissue"])
    return lab_to_srgb8(np.stack([light, 0 * light, 0 * light], axis=-1).astype(np.float32))


if __name__ == "__main__":
    main()
