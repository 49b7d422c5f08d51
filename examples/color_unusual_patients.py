"""Color phantom patients with pathologies, and print accuracy and confidence."""

from __future__ import annotations

import sys
from pathlib import Path

import tomochrome as tc
from tomochrome.phantom import Variations, make_patient

PATIENTS = {
    "effusion": Variations(effusion_mm=(60.0, 0.0)),
    "left kidney removed": Variations(removed=("left kidney",)),
    "scoliosis, obesity": Variations(scoliosis_mm=30.0, fat=2.5),
}


def main(folder: str = ".") -> None:
    """Color the patients and write contact sheets. Not for diagnosis."""
    for name, variations in PATIENTS.items():
        patient = make_patient(5, "abdomen", (16.0, 3.0, 3.0), variations=variations)
        chroma = tc.colorize(patient.ct)
        body = patient.tissue.voxels > 0
        right = (chroma.tissue == patient.tissue.voxels)[body].mean()
        confidence = chroma.confidence[body].mean() / 255
        print(f"{name}: {right:.0%} of the voxels correct, mean confidence {confidence:.0%}")
        path = Path(folder) / f"{name.replace(', ', '-').replace(' ', '-')}.png"
        tc.write(tc.light(patient.ct, chroma), path, force=True)


if __name__ == "__main__":
    main(*sys.argv[1:2])
