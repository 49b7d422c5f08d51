"""Contrast in grey and in color: touching tissues and levels."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from tomochrome.color.palettes import palette
from tomochrome.color.space import srgb8_of_lab
from tomochrome.errors import InputError, OptionError
from tomochrome.evaluate.contrast import VISIONS, Contrast, measure_contrast
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume
from tomochrome.windowing import parse_window

SOFT = parse_window("40/400")
GREY_50 = np.array([50.0, 0.0, 0.0])


def measured(liver: float, spleen: float, colors: str = "natural") -> Contrast:
    """Liver and spleen side by side, fat below both but apart from the liver by air."""
    tissues = np.zeros((10, 20, 30), np.uint8)
    tissues[:, 2:10, 2:15], tissues[:, 2:10, 15:28] = Tissue.LIVER, Tissue.SPLEEN
    tissues[:, 12:18, 2:15] = Tissue.FAT
    hu = np.full(tissues.shape, -1000.0, np.float32)
    hu[tissues == Tissue.LIVER], hu[tissues == Tissue.SPLEEN] = liver, spleen
    hu[tissues == Tissue.FAT] = -100
    return measure_contrast(Volume(hu), tissues, SOFT, colors)


def test_only_touching_tissues_are_compared_and_air_is_none() -> None:
    assert [pair.tissues for pair in measured(50, 50).pairs] == [("liver", "spleen")]


def test_equal_hu_are_equal_in_grey_and_differ_in_color() -> None:
    (pair,) = measured(40, 40).pairs
    assert pair.grey == 0.0
    assert all(pair.color[vision] > 1 for vision in VISIONS)


def test_the_difference_is_that_of_the_displayed_colors() -> None:
    """Against scikit-image, on 8-bit colors."""
    (pair,) = measured(39.5, 39.5).pairs  # the center: L* 50
    shown = [srgb8_of_lab([[50.0, *palette().ab[t]]]) for t in (Tissue.LIVER, Tissue.SPLEEN)]
    expected = deltaE_ciede2000(*(rgb2lab(rgb / 255.0) for rgb in shown))[0]
    assert pair.color["normal"] == pytest.approx(expected, abs=0.7)
    grey = [srgb8_of_lab([GREY_50])[0] / 255.0, srgb8_of_lab([[75.0, 0, 0]])[0] / 255.0]
    (pair,) = measured(39.5, 139.5).pairs  # L* 50 and 75
    assert pair.grey == pytest.approx(
        float(deltaE_ciede2000(rgb2lab(grey[0]), rgb2lab(grey[1]))), abs=0.5
    )


def test_levels_of_one_hu_each_are_the_tissues_that_look_different() -> None:
    found = measured(40, 40)
    assert found.grey_levels == 2  # fat, and both organs
    assert found.color_levels["normal"] == 3


def test_a_ramp_has_as_many_levels_as_its_contrast_in_grey() -> None:
    """CIEDE2000 from black to white adds up to about 80 steps along a grey ramp."""
    tissues = np.full((1, 40, 101), Tissue.LIVER, np.uint8)
    hu = np.broadcast_to(np.linspace(-180, 260, 101), tissues.shape).astype(np.float32)
    found = measure_contrast(Volume(hu), tissues, SOFT)
    assert 60 <= found.grey_levels <= 90
    assert not found.pairs


def test_bad_input() -> None:
    volume = Volume(np.zeros((2, 3, 4), np.int16))
    with pytest.raises(InputError, match="grid of the CT"):
        measure_contrast(volume, np.zeros((2, 3, 5), np.uint8), SOFT)
    with pytest.raises(InputError, match="no tissue has enough voxels"):
        measure_contrast(volume, np.full((2, 3, 4), 255, np.uint8), SOFT)
    with pytest.raises(OptionError, match="unknown palette"):
        measure_contrast(volume, np.ones((2, 3, 4), np.uint8), SOFT, "rainbow")
