"""Figures of a colored photograph."""

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.data import astronaut
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tomochrome.color.convert import lab_to_srgb8, srgb_to_lab
from tomochrome.errors import InputError
from tomochrome.evaluate.photograph_figures import CURVE_AB, CURVE_L, by_curve, photograph_figures


def test_figures_are_those_of_scikit_image():
    true = np.array(astronaut()[::4, ::4])
    colored = lab_to_srgb8(srgb_to_lab(true) * (1, 0.5, 0.8))
    mask = np.zeros(true.shape[:2], bool)
    mask[10:100, 20:110] = True
    figures = photograph_figures(colored, true, mask)
    difference = deltaE_ciede2000(rgb2lab(colored), rgb2lab(true))[mask]
    assert figures.ciede2000 == pytest.approx(difference.mean(), abs=0.01)
    assert figures.ciede2000_median == pytest.approx(np.median(difference), abs=0.01)
    assert figures.ciede2000_p95 == pytest.approx(np.percentile(difference, 95), abs=0.02)
    assert figures.psnr == pytest.approx(peak_signal_noise_ratio(true[mask], colored[mask]))
    grey = rgb2lab(true) * (1, 0, 0)
    wanted = deltaE_ciede2000(grey, rgb2lab(true))[mask].mean()
    assert figures.grey_ciede2000 == pytest.approx(wanted, abs=0.01)
    assert figures.colorfulness < figures.true_colorfulness
    for name, L_ab in (("grey", grey), ("curve", srgb_to_lab(by_curve(rgb2lab(true)[..., 0])))):
        image = lab_to_srgb8(L_ab)
        expected = peak_signal_noise_ratio(true[mask], image[mask])
        assert getattr(figures, f"{name}_psnr") == pytest.approx(expected, abs=0.1)
        _, ssim = structural_similarity(
            image, true, channel_axis=-1, gaussian_weights=True, sigma=1.5, full=True,
            use_sample_covariance=False, data_range=255,
        )  # fmt: skip
        expected = ssim.mean(axis=-1)[mask].mean()
        assert getattr(figures, f"{name}_ssim") == pytest.approx(expected, abs=0.01)
    assert figures.grey_colorfulness < 1 < figures.curve_colorfulness


def test_the_photograph_itself_has_no_error():
    true = np.array(astronaut()[::8, ::8])
    figures = photograph_figures(true, true, np.ones(true.shape[:2], bool))
    assert figures.ciede2000 == 0 and figures.ssim == pytest.approx(1) and figures.psnr == np.inf
    assert figures.rounded()["psnr"] is None  # JSON has no infinity
    assert figures.grey_ciede2000 > 0


def test_the_curve_is_the_opponent_it_says():
    lab = srgb_to_lab(by_curve(np.array(CURVE_L))[None])[0]
    assert np.abs(lab[:, 1:] - CURVE_AB).max() < 1.2 and np.abs(lab[:, 0] - CURVE_L).max() < 0.5
    flat = by_curve(np.full((20, 20), 55.0))
    figures = photograph_figures(flat, flat, np.ones((20, 20), bool))
    assert figures.curve_ciede2000 == pytest.approx(0, abs=1e-6)


def test_an_empty_mask():
    image = np.zeros((5, 5, 3), np.uint8)
    with pytest.raises(InputError, match="mask of the photograph is empty"):
        photograph_figures(image, image, np.zeros((5, 5), bool))
