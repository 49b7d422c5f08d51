"""Colors of tissues in photographs of frozen sections: the palette ``cryosection``.

Usage::

    python benchmarks/section_colors.py --data ../shared/data

``section_colors.json`` has circular patches for each tissue: section, x, y and radius in pixels of
the photographs of the Visible Human Female (1024 x 608). They were drawn by eye by the developers,
not by a radiologist. What is called spleen is the organ on the left of the spine in 1588a to c,
with the splenic vein in front of it. The photographs are white-balanced by the grey scale in them.
A patch has the mean color of its pixels, a tissue the mean of its patches; the spread is the
standard deviation between patches.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PATCHES = Path(__file__).with_suffix(".json")
SECTIONS = "cryosection/sections"
EXPOSURE = 47.5
"""L* of tissue of 40 HU in the soft-tissue window."""


@dataclass(frozen=True)
class Measured:
    """Color of a tissue in CIELAB: as photographed, between patches, and at L* 47.5."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    exposed: NDArray[np.float64]
    patches: int


def main() -> None:
    """Print the color of each tissue."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the photographs")
    print(f"{'tissue':14}{'patches':>8}   mean L*a*b*         spread            at L* {EXPOSURE}")
    for tissue, found in measure(parser.parse_args().data).items():
        columns = ("".join(f"{x:6.1f}" for x in row)
                   for row in (found.mean, found.spread, found.exposed))  # fmt: skip
        print(f"{tissue:14}{found.patches:8}{'  '.join(columns)}")


def measure(data: Path) -> dict[str, Measured]:
    """Return the color of each tissue.

    Dark patches are brought to L* 47.5 at constant chromaticity: a* and b* are proportional to
    L* + 16. Brighter ones are kept.
    """
    from PIL import Image

    from tomochrome.color.convert import srgb_to_lab
    from tomochrome.io.section_photograph import clean_section

    @cache
    def lab_of(section: str) -> NDArray[np.float32]:
        with Image.open(data / SECTIONS / f"avf{section}.png") as image:
            rgb, _ = clean_section(np.asarray(image.convert("RGB")))
        return np.asarray(srgb_to_lab(rgb))

    found = {}
    for tissue, patches in json.loads(PATCHES.read_text(encoding="utf-8")).items():
        colors = []
        for section, x, y, radius in patches:
            lab = lab_of(section)
            rows, columns = np.ogrid[: lab.shape[0], : lab.shape[1]]
            colors.append(lab[np.hypot(rows - y, columns - x) <= radius].mean(axis=0))
        mean, spread = np.mean(colors, axis=0), np.std(colors, axis=0)
        bright = max(EXPOSURE, mean[0])
        exposed = np.array([bright, *mean[1:] * (bright + 16) / (mean[0] + 16)])
        found[tissue] = Measured(mean, spread, exposed, len(patches))
    return found


if __name__ == "__main__":
    main()
