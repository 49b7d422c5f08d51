"""The shipped models on a phantom: sane, and better than the lookup curve."""

from __future__ import annotations

import numpy as np
import pytest

from tomochrome.color.palette import palette
from tomochrome.colorization import colorize, models
from tomochrome.phantom import make_patient
from tomochrome.tissue import N_TISSUES, Tissue


def test_network_tells_organs_apart_that_the_curve_cannot() -> None:
    if "tissue" not in {card.name for card in models()}:
        pytest.skip("the model 'tissue' is not shipped with this checkout")
    patient = make_patient(77, "abdomen", (9.0, 4.0, 4.0), phase="portal")
    truth = np.asarray(patient.tissue.voxels)
    inside = (truth > 0) & (truth < N_TISSUES)
    colors = palette().ab
    error = {}
    for name in ("tissue", "transfer-function"):
        chroma = colorize(patient.ct, name, device="cpu")
        away = np.linalg.norm(chroma.ab() - colors[truth % N_TISSUES], axis=-1)
        error[name] = float(away[inside].mean())
        if name == "tissue":
            for tissue in (Tissue.LIVER, Tissue.MUSCLE, Tissue.FAT):
                assert (chroma.tissue[truth == tissue] == tissue).mean() > 0.6
    assert error["tissue"] < 0.75 * error["transfer-function"]
