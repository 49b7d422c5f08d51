"""The HTML page that compares colorings."""

import numpy as np

from tomochrome.color.convert import srgb_to_lab
from tomochrome.color.palettes import palette
from tomochrome.evaluate import ColorTruth
from tomochrome.evaluate.color_page import color_page, grey_and_truth, shown_slices
from tomochrome.tissue import NO_TISSUE, Tissue

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


def test_slices_without_a_known_color_are_not_shown():
    assert shown_slices(truth_of([3])) == [3]
    many = shown_slices(truth_of(range(12)))
    assert len(many) == 4 and many == sorted(set(many))
    assert shown_slices(truth_of([])) == []


def test_the_truth_is_shown_in_the_palette_and_grey_without_color():
    truth = truth_of([4])
    (row,) = grey_and_truth(np.full(truth.index.shape, 50.0, np.float32), truth)
    lab = srgb_to_lab(row["truth"])
    assert np.abs(lab[..., 1:] - palette("natural").ab[Tissue.LIVER]).max() < 1
    assert np.abs(srgb_to_lab(row["grey"])[..., 1:]).max() < 0.5
    assert np.abs(lab[..., 0] - srgb_to_lab(row["grey"])[..., 0]).max() <= 1


def test_restored_voxels_are_hatched():
    truth = truth_of([4])
    hu = np.full(truth.index.shape, 50.0, np.float32)
    restored = np.zeros(hu.shape, bool)
    restored[4, 2:] = True
    (plain,), (row,) = (grey_and_truth(hu, truth, restored=r) for r in (None, restored))
    for name in plain:
        differs = (plain[name] != row[name]).any(axis=-1)
        assert differs.any() and not differs[~restored[4]].any()
    assert "hatching marks voxels that were restored" in color_page([row], [FIGURES])


def test_figures_have_intervals_and_names_are_escaped():
    page = color_page([], [FIGURES])
    assert "3.1 [2.5, 4.0]" in page and "infinite" in page
    assert "<b>mine" not in page and "&lt;b&gt;mine" in page
    assert page.count("<rect") == 1 and 'height="90.0"' in page
    assert "Not for diagnosis" in page and "<script" not in page


def test_models_without_tissues_have_no_diagram():
    assert "<svg" not in color_page([], [{**FIGURES, "calibration": None}])
