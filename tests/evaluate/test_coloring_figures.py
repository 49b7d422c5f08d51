"""All figures of a coloring, against scikit-image and against sums over all voxels."""

import json

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tomochrome.color.chroma import Chroma
from tomochrome.color.codes import FreeColors
from tomochrome.color.convert import lab_to_srgb8, srgb_to_lab
from tomochrome.color.palettes import palette
from tomochrome.errors import GeometryError
from tomochrome.evaluate import ColorTruth, color_figures
from tomochrome.evaluate.image_quality import colorfulness, opponent_sums, psnr, ssim_map
from tomochrome.tissue import N_TISSUES, NO_TISSUE, Tissue
from tomochrome.windowing import PRESETS, luminance


def coloring(tissue, confidence=255):
    tissue = np.asarray(tissue, np.uint16)
    sure = np.broadcast_to(np.asarray(confidence, np.uint8), tissue.shape).copy()
    return Chroma(tissue, sure, np.eye(N_TISSUES, dtype=np.float32), model="test")


@pytest.fixture
def case():
    rng = np.random.default_rng(3)
    names = np.array([0, 3, 4, 9, 10, NO_TISSUE], np.uint8)
    truth = rng.choice(names, (4, 24, 20), p=[0.2, 0.3, 0.3, 0.1, 0.05, 0.05])
    guess = rng.integers(0, N_TISSUES, truth.shape)
    return rng.uniform(-160, 260, truth.shape).astype(np.float32), truth, guess


def test_differences_equal_those_of_scikit_image_on_all_voxels(case):
    hu, truth, guess = case
    found = color_figures(coloring(guess), hu, ColorTruth.of_tissues(truth))
    known = (truth != 0) & (truth != NO_TISSUE)
    ab = palette("natural").ab.astype(np.float64)
    light = luminance(hu[known], PRESETS["soft-tissue"])[:, None]
    true, made = ab[truth[known]], ab[guess[known]]
    each = deltaE_ciede2000(np.hstack([light, true]), np.hstack([light, made]))
    assert found.voxels == known.sum()
    assert found.ciede2000 == pytest.approx(each.mean(), rel=1e-6)
    assert found.ciede2000_median == pytest.approx(np.quantile(each, 0.5), abs=0.02)
    ordered = np.sort(each)
    assert found.ciede2000_p95 == pytest.approx(ordered[int(0.95 * len(each))], abs=0.02)
    apart = np.linalg.norm(true - made, axis=1)
    assert found.chroma_error == pytest.approx(apart.mean(), rel=1e-6)
    liver = truth[known] == Tissue.LIVER
    assert found.tissues["liver"]["voxels"] == liver.sum()
    assert found.tissues["liver"]["ciede2000"] == pytest.approx(each[liver].mean(), rel=1e-6)
    assert found.tissues["liver"]["chroma_error"] == pytest.approx(apart[liver].mean(), rel=1e-6)


def test_images_are_compared_in_the_body_at_the_same_luminance(case):
    hu, truth, guess = case
    found = color_figures(coloring(guess), hu, ColorTruth.of_tissues(truth))
    known = (truth != 0) & (truth != NO_TISSUE)
    light = luminance(hu, PRESETS["soft-tissue"])[..., None]
    ab = np.concatenate([palette("natural").ab, np.zeros((256 - N_TISSUES, 2), np.float32)])
    made, true = (
        lab_to_srgb8(np.concatenate([light, np.where(known[..., None], ab[i], 0)], -1))
        for i in (guess, truth)
    )
    expected = peak_signal_noise_ratio(true[known], made[known], data_range=255)
    assert found.psnr == pytest.approx(expected, rel=1e-6)
    local = [
        structural_similarity(
            a,
            b,
            channel_axis=-1,
            gaussian_weights=True,
            use_sample_covariance=False,
            sigma=1.5,
            data_range=255,
            full=True,
        )[1].mean(axis=-1)
        for a, b in zip(made, true, strict=True)
    ]
    assert found.ssim == pytest.approx(np.array(local)[known].mean(), abs=1e-4)
    red, green, blue = made[known].astype(float).T
    rg, yb = red - green, (red + green) / 2 - blue
    colorful = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
    assert found.colorfulness == pytest.approx(colorful, rel=1e-6)


def test_the_truth_itself_has_no_error(case):
    hu, truth, _ = case
    right = coloring(np.where(truth == NO_TISSUE, 0, truth))
    found = color_figures(right, hu, ColorTruth.of_tissues(truth))
    assert found.ciede2000 == pytest.approx(0, abs=1e-6) and found.ciede2000_p95 == 0
    assert found.psnr == np.inf and found.ssim == pytest.approx(1)
    assert found.colorfulness == found.truth_colorfulness
    assert found.calibration.error == pytest.approx(0)
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["psnr"] is None and data["intervals"]["psnr"] == [None, None]


def test_grey_has_the_error_of_grey_and_no_colorfulness(case):
    hu, truth, _ = case
    found = color_figures(coloring(np.zeros_like(truth)), hu, ColorTruth.of_tissues(truth))
    assert found.chroma_error == pytest.approx(found.grey_chroma_error, rel=1e-6)
    assert found.colorfulness < 1 < found.truth_colorfulness
    assert found.flicker == 0


def test_intervals_contain_the_figure_and_a_single_slice_has_none(case):
    hu, truth, guess = case
    found = color_figures(coloring(guess), hu, ColorTruth.of_tissues(truth))
    for name in ("ciede2000", "chroma_error", "psnr", "ssim", "colorfulness"):
        low, high = found.intervals[name]
        assert low <= getattr(found, name) <= high
        assert low < high
    single = color_figures(coloring(guess[:1]), hu[:1], ColorTruth.of_tissues(truth[:1]))
    assert single.intervals == {} and single.flicker is None


def test_calibration_uses_the_true_tissue():
    truth = np.full((1, 10, 20), Tissue.LIVER, np.uint8)
    guess, sure = truth.copy(), np.full(truth.shape, 255, np.uint8)
    guess[0, :5, :4] = Tissue.SPLEEN  # 20 of 200 wrong though sure
    sure[0, 5:] = 128
    hu = np.zeros(truth.shape, np.float32)
    found = color_figures(coloring(guess, sure), hu, ColorTruth.of_tissues(truth)).calibration
    assert (found.sure_share, found.sure_right) == (0.5, pytest.approx(0.8))
    assert found.error == pytest.approx(0.5 * 0.2 + 0.5 * (1 - 128 / 255))
    assert [b.voxels for b in found.bins] == [0, 0, 0, 0, 0, 100, 0, 0, 0, 100]
    assert found.bins[0].right is None


def test_a_photograph_gives_no_tissue_figures():
    rng = np.random.default_rng(5)
    photograph = rng.integers(0, 256, (12, 9, 3), np.uint8)
    mask = rng.random((12, 9)) < 0.6
    ab = srgb_to_lab(photograph)[..., 1:].reshape(-1, 2)
    table = FreeColors(np.concatenate([np.zeros((1, 2), np.float32), ab]))
    code = np.arange(1, 109, dtype=np.uint16).reshape(1, 12, 9)
    same = Chroma(code, np.full(code.shape, 255, np.uint8), table, model="test")
    hu = np.full(code.shape, 50, np.float32)
    truth = ColorTruth.of_photograph(photograph, mask)
    found = color_figures(same, hu, truth)
    assert found.voxels == mask.sum() and found.ciede2000 == pytest.approx(0, abs=1e-4)
    assert found.calibration is None and found.tissues == {}
    assert found.grey_chroma_error == pytest.approx(
        np.linalg.norm(ab[mask.ravel()], axis=1).mean(), rel=1e-5
    )
    with pytest.raises(GeometryError):
        ColorTruth.of_photograph(photograph, mask & False)


def test_another_grid_or_no_truth_is_rejected(case):
    hu, truth, guess = case
    with pytest.raises(GeometryError, match="grid"):
        color_figures(coloring(guess), hu[1:], ColorTruth.of_tissues(truth))
    with pytest.raises(GeometryError, match="no tissue"):
        color_figures(coloring(guess), hu, ColorTruth.of_tissues(truth * 0))


def test_image_quality_of_an_image_with_itself():
    picture = np.random.default_rng(6).integers(0, 256, (16, 16, 3), np.uint8)
    assert ssim_map(picture, picture) == pytest.approx(1)
    assert psnr(np.zeros(1))[0] == np.inf
    halves = opponent_sums(picture[:8]) + opponent_sums(picture[8:])
    assert colorfulness(halves) == pytest.approx(float(colorfulness(opponent_sums(picture))))
