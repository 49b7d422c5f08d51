"""Use the tissue map to measure volume, mean density and mean confidence of each tissue."""

from __future__ import annotations

import numpy as np

import tomochrome as tc
from tomochrome.phantom import make_patient
from tomochrome.tissue import Tissue


def main() -> None:
    """Print one line for each tissue. Not for diagnosis."""
    volume = make_patient(5, "abdomen", (6.0, 2.0, 2.0), phase="portal").ct
    chroma = tc.colorize(volume, model="transfer-function")
    tissue = chroma.tissue
    voxel_ml = float(np.prod(volume.spacing)) / 1000
    for index in np.unique(tissue):
        if index not in (Tissue.AIR, 255):
            mask = tissue == index
            print(
                f"{Tissue(index).label:<14} {mask.sum() * voxel_ml:8.0f} ml  "
                f"{np.asarray(volume.voxels)[mask].mean():7.0f} HU  "
                f"confidence {chroma.confidence[mask].mean() / 255:.2f}"
            )


if __name__ == "__main__":
    main()
