"""Color a CT series and save it.

Usage: ``python examples/color_a_series.py SERIES OUT.nii.gz``. Without
arguments, a sample patient is generated and colored.
"""

from __future__ import annotations

import sys

import tomochrome as tc
from tomochrome.phantom import make_patient


def main(source: str | None = None, target: str = "color.nii.gz") -> None:
    """Read, color and write a series."""
    volume = tc.read(source) if source else make_patient(1, "chest", (6.0, 2.0, 2.0)).ct
    print(f"{volume.shape} voxels (z, y, x), {volume.spacing} mm, {volume.unit}")

    model = "tissue"  # the default, a network; or "transfer-function", a lookup table
    chroma = tc.colorize(volume, model=model)
    image = tc.light(volume, chroma, window="soft-tissue")
    tc.write(image, target, force=True)
    print(f"{target}: colored by {chroma.model}, mean confidence {chroma.mean_confidence:.2f}")
    for warning in image.provenance.warnings:
        print(f"note: {warning}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
