"""Transfer the colors of a photograph of one patient's section to the CT of another."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import tomochrome as tc
from tomochrome.color.convert import srgb_to_lab
from tomochrome.phantom import make_patient


def main(folder: str = ".") -> None:
    """Color without labels, then with them; write both images. Not for diagnosis."""
    donor = make_patient(3, "abdomen", (20.0, 2.5, 2.5), phase="portal")
    middle = donor.ct.shape[0] // 2
    photograph, labels = donor.cryosection()[middle], donor.tissue.voxels[middle]

    patient = make_patient(4, "abdomen", (20.0, 2.5, 2.5), phase="portal")
    truth = srgb_to_lab(patient.cryosection())[..., 1:]
    for name, reference in (
        ("colors", tc.Reference(photograph)),
        ("labels", tc.Reference(photograph, labels)),
    ):
        chroma = tc.colorize(patient.ct, "exemplar", reference=reference)
        body = chroma.code > 0
        error, grey = (np.linalg.norm(ab - truth, axis=-1)[body].mean()
                       for ab in (chroma.ab(), 0 * truth))  # fmt: skip
        print(f"{name}: chroma error {error:.1f}, grey {grey:.1f}")
        tc.write(tc.light(patient.ct, chroma), Path(folder) / f"{name}.png", force=True)


if __name__ == "__main__":
    main(*sys.argv[1:2])
