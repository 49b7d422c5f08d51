"""The palette ``colorblind-safe``, judged by what touches what in the phantoms."""

from __future__ import annotations

import numpy as np
import pytest

from tomochrome.color.perception import DEFICIENCIES
from tomochrome.evaluate.contrast import measure_contrast
from tomochrome.phantom import make_patient
from tomochrome.tissue import TISSUE_NAMES
from tomochrome.windowing import PRESETS, luminance, opening_window

NAME = "colorblind-safe"
GOAL = 10.0
MIN_L, MAX_L = 20.0, 92.0  # outside, both are black or white, and have no color


@pytest.mark.parametrize("phase", ["native", "arterial"])
@pytest.mark.parametrize("region", ["head", "chest", "abdomen", "pelvis", "torso"])
def test_tissues_that_touch_are_10_apart_for_all_deficiencies(region: str, phase: str) -> None:
    patient = make_patient(1, region, (6.0, 3.0, 3.0), phase=phase)  # type: ignore[arg-type]
    tissues = np.asarray(patient.tissue.voxels).astype(np.uint8)
    hu = np.asarray(patient.ct.voxels)
    for window in {PRESETS["soft-tissue"], opening_window(patient.ct)}:
        contacts = measure_contrast(patient.ct, tissues, window, NAME).pairs
        assert len(contacts) >= 8
        for pair in contacts:
            numbers = [TISSUE_NAMES.index(name) for name in pair.tissues]
            L = [luminance(np.median(hu[tissues == number]), window) for number in numbers]
            if max(L) >= MIN_L and min(L) <= MAX_L:
                for deficiency in DEFICIENCIES:
                    assert pair.color[deficiency] >= GOAL, (pair.tissues, deficiency, L)
