"""Correct a wrongly colored organ with three strokes, which are propagated to its edges."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import tomochrome as tc
from tomochrome.phantom import make_patient
from tomochrome.tissue import Tissue


def main(folder: str = ".") -> None:
    """Correct a spleen that was colored as liver; write both images. Not for diagnosis."""
    patient = make_patient(3, "abdomen", (8.0, 2.5, 2.5), phase="portal")
    volume, spleen = patient.ct, patient.tissue.voxels == Tissue.SPLEEN
    chroma = tc.colorize(volume, model="transfer-function")

    # In napari, strokes are painted; in this example, they are short lines in three slices.
    strokes = np.zeros(volume.shape, np.uint8)
    slices = np.flatnonzero(spleen.sum(axis=(1, 2)) > 60)
    for z in slices[[len(slices) // 4, len(slices) // 2, 3 * len(slices) // 4]]:
        y, x = (int(values.mean()) for values in np.nonzero(spleen[z]))
        strokes[z, y, x - 4 : x + 5] = np.where(spleen[z, y, x - 4 : x + 5], 1, 0)
    hinted = tc.apply_hints(volume, strokes, {1: "spleen"}, chroma=chroma)

    for name, colors in (("before", chroma), ("after", hinted)):
        right = (colors.tissue == Tissue.SPLEEN)[spleen].mean()
        print(f"{name}: {right:.0%} of the spleen is colored as spleen, by {colors.model}")
        tc.write(tc.light(volume, colors), Path(folder) / f"{name}.png", force=True)


if __name__ == "__main__":
    main(*sys.argv[1:2])
