"""Make the README's picture of strokes out of a phantom patient.

Usage: ``python docs/make_hints_picture.py``
"""

from __future__ import annotations

import numpy as np
from drawing import save, section, side_by_side

import tomochrome as tc
from tomochrome.phantom import make_patient
from tomochrome.tissue import Tissue

HEIGHT = 340  # pixels of each panel
STROKE = (255, 255, 255, 255)


def main() -> None:
    """Color an abdomen by HU alone, correct its spleen with a stroke, and show both."""
    patient = make_patient(11, "abdomen", (4.0, 1.2, 1.2), phase="portal", couch=False)
    volume, spleen = patient.ct, patient.tissue.voxels == Tissue.SPLEEN
    chroma = tc.colorize(volume, model="transfer-function")
    strokes = np.zeros(volume.shape, np.uint8)
    z = int(spleen.sum(axis=(1, 2)).argmax())
    y, x = (int(np.median(line)) for line in np.nonzero(spleen[z]))
    strokes[z, y - 8 : y + 9, x - 2 : x + 3] = Tissue.SPLEEN
    strokes[~spleen] = 0
    before = tc.light(volume, chroma)
    after = tc.light(volume, tc.apply_hints(volume, strokes, chroma=chroma))
    before.voxels[strokes > 0] = STROKE
    where = z / (volume.shape[0] - 1)
    panels = [section(image, "axial", where, HEIGHT) for image in (before, after)]
    save(side_by_side(panels), "hints", 256)


if __name__ == "__main__":
    main()
