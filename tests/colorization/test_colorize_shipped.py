"""The shipped models on a phantom: plausible, and better than the lookup curve."""

from __future__ import annotations

import numpy as np
import pytest

import tomochrome as tc
from tomochrome.color.palettes import palette
from tomochrome.colorization import colorize, models
from tomochrome.phantom import make_patient
from tomochrome.tissue import N_TISSUES, Tissue

COLOR_NETWORKS = [card.name for card in models() if card.kind == "color-network"]


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


@pytest.fixture(scope="module")
def abdomen():
    return make_patient(78, "abdomen", (20.0, 3.0, 3.0), phase="portal")


def test_an_earlier_name_colors_as_the_present_one(abdomen) -> None:
    renamed = tc.colorize(abdomen.ct, model="tissue3d", device="cpu")
    default = tc.colorize(abdomen.ct, device="cpu")
    np.testing.assert_array_equal(renamed.code, default.code)
    image = tc.light(abdomen.ct, renamed)
    assert renamed.model == default.model == image.provenance.extra["model"] == "tissue"
    assert "tissue3d" not in str(image.provenance)


@pytest.mark.parametrize("name", COLOR_NETWORKS)
def test_color_networks_beat_grey_and_are_surer_where_they_are_right(abdomen, name) -> None:
    truth = np.asarray(abdomen.tissue.voxels)
    inside = (truth > 0) & (truth < N_TISSUES)
    colors = palette().ab
    chroma = colorize(abdomen.ct, name, device="cpu")
    away = np.linalg.norm(chroma.ab() - colors[truth % N_TISSUES], axis=-1)
    grey = np.linalg.norm(colors[truth % N_TISSUES], axis=-1)
    assert away[inside].mean() < 0.6 * grey[inside].mean()
    sure, colored = chroma.confidence.astype(float), np.linalg.norm(chroma.ab(), axis=-1) > 3
    close = away < 10
    assert sure[inside & colored & close].mean() > 1.1 * sure[inside & colored & ~close].mean()
    outside = ~inside & (np.asarray(abdomen.ct.voxels) < -950)
    assert colored[outside].mean() < 0.01
