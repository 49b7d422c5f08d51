"""The HTML page that compares colorings."""

import numpy as np
import pytest

from tomochrome.color.convert import srgb_to_lab
from tomochrome.color.palettes import palette
from tomochrome.evaluate import ColorTruth
from tomochrome.evaluate.color_page import ColorPage, truth_chroma
from tomochrome.tissue import NO_TISSUE, Tissue
from tomochrome.volume import Volume

FIGURES = {
    "model": "<b>mine</b>",
    "ciede2000": 3.14159,
    "intervals": {"ciede2000": [2.5, 4.0], "psnr": [None, None]},
    "psnr": None,
    "flicker": None,
    "calibration": {
        "bins": [
            {"low": 0.0, "high": 0.5, "right": None},
            {"low": 0.5, "high": 1.0, "right": 0.75},
        ]
    },
}


def truth_of(known):
    tissues = np.full((12, 6, 5), NO_TISSUE, np.uint8)
    tissues[known] = Tissue.LIVER
    return ColorTruth.of_tissues(tissues)


@pytest.fixture
def volume() -> Volume:
    return Volume(np.full((12, 6, 5), 50, np.int16))


def test_the_truth_is_a_coloring_in_the_palette(volume):
    tissues = np.full(volume.shape, NO_TISSUE, np.uint8)
    tissues[4] = Tissue.LIVER
    chroma = truth_chroma(ColorTruth.of_tissues(tissues), volume.affine)
    np.testing.assert_array_equal(chroma.tissue, tissues)
    assert np.abs(chroma.ab()[4] - palette("natural").ab[Tissue.LIVER]).max() < 1e-5
    assert not chroma.ab()[:4].any()


def test_the_truth_of_a_photograph_has_its_colors(volume):
    photograph = np.full((6, 5, 3), (200, 90, 70), np.uint8)
    mask = np.zeros((6, 5), bool)
    mask[2:4] = True
    truth = ColorTruth.of_photograph(photograph, mask, at=7, slices=12)
    chroma = truth_chroma(truth, volume.affine)
    expected = srgb_to_lab(photograph)[0, 0, 1:]
    assert np.abs(chroma.ab()[7, 2:4] - expected).max() < 1e-3
    assert not chroma.ab()[7, :2].any() and not chroma.ab()[6].any()


def test_the_page_opens_where_the_truth_is(volume, tmp_path):
    tissues = np.full(volume.shape, NO_TISSUE, np.uint8)
    tissues[2] = Tissue.LIVER
    ColorPage(volume, ColorTruth.of_tissues(tissues)).write(tmp_path / "a.html")
    assert f'"first": {12 - 1 - 2},' in (tmp_path / "a.html").read_text(encoding="utf-8")


def page_with(figures, volume, tmp_path) -> str:
    truth = ColorTruth.of_tissues(np.full(volume.shape, Tissue.LIVER, np.uint8))
    ColorPage(volume, truth).write(tmp_path / "a.html", figures)
    return (tmp_path / "a.html").read_text(encoding="utf-8")


def test_figures_have_intervals_and_names_are_escaped(volume, tmp_path):
    page = page_with([FIGURES], volume, tmp_path)
    assert "3.1 [2.5, 4.0]" in page and "infinite" in page
    assert "<b>mine" not in page and "&lt;b&gt;mine" in page
    assert page.count("<rect") == 1 and 'height="90.0"' in page
    assert "Not for diagnosis" in page


def test_models_without_tissues_have_no_diagram(volume, tmp_path):
    assert "<svg" not in page_with([{**FIGURES, "calibration": None}], volume, tmp_path)
