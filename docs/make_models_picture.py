"""Draw docs/pictures/models.png: one slice of a phantom as each model colors it.

The photograph for the model ``exemplar`` is that of another phantom's section::

    python docs/make_models_picture.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

from drawing import FOLDER

import tomochrome as tc
from tomochrome.colorization.side_by_side import compare_models
from tomochrome.phantom import make_patient

SPACING = (3.0, 1.0, 1.0)


def main() -> None:
    """Read the options and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER / "models.png")
    parser.add_argument("--region", default="abdomen")
    parser.add_argument("--at", type=float, default=0.6, help="share of the way from the feet")
    parser.add_argument("--seed", type=int, default=2_000_001, help="never trained on")
    options = parser.parse_args()
    donor, patient = (
        make_patient(options.seed + k, options.region, SPACING, phase="portal") for k in range(2)
    )
    photograph = donor.cryosection()[round(options.at * donor.ct.shape[0])]
    compare_models(
        patient.ct,
        at=round(options.at * patient.ct.shape[0]),
        window="soft-tissue",
        reference=tc.Reference(photograph),
    ).sheet().save(options.out)


if __name__ == "__main__":
    main()
