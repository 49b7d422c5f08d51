"""List the tissues in a scan, show one of them, and prepare the scan for 3D."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import tomochrome as tc
from tomochrome.color import light_3d
from tomochrome.phantom import make_patient
from tomochrome.tissue import TISSUE_NAMES


def main(folder: str = ".") -> None:
    """Print the fractions of the tissues, and write images with selected tissues in color."""
    volume = make_patient(3, "abdomen", (6.0, 2.5, 2.5), phase="portal").ct
    chroma = tc.colorize(volume, model="transfer-function")
    shares = chroma.tissue_shares()
    for index in np.argsort(-shares)[:5]:
        print(f"{TISSUE_NAMES[index]}: {shares[index]:.0%} of the body")

    # Only the rendering changes; the model does not run again.
    liver = tc.light(volume, chroma, tissues=["liver"])
    tc.write(liver, Path(folder) / "liver.png", force=True)
    faint_fat = tc.light(volume, chroma, tissues={"fat": "dim"})
    tc.write(faint_fat, Path(folder) / "faint-fat.png", force=True)

    solid = light_3d(volume, chroma, most_voxels=500_000)
    print(f"For 3D: {solid.shape} blocks, {solid.spacing[0]:.1f} mm slice spacing")


if __name__ == "__main__":
    main(*sys.argv[1:2])
