"""Tests of the measured palette against the photographs of sections."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from tomochrome.color.palettes import palette
from tomochrome.tissue import TISSUE_NAMES, Tissue

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "section_colors.py"


def test_cryosection_is_what_is_measured_on_the_sections(shared_data: Path) -> None:
    if not (shared_data / "cryosection" / "sections").is_dir():
        pytest.skip("the photographs of sections are not there")
    measured = runpy.run_path(str(SCRIPT))["measure"](shared_data)
    frozen = palette("cryosection")
    brain = measured.pop("grey matter").exposed, measured.pop("white matter").exposed
    np.testing.assert_allclose(frozen.lab[Tissue.BRAIN], np.mean(brain, axis=0), atol=0.1)
    np.testing.assert_allclose(frozen.brain_shade, (brain[0] - brain[1])[1:] / 2, atol=0.1)
    for tissue, found in measured.items():
        index = TISSUE_NAMES.index(tissue)
        np.testing.assert_allclose(frozen.lab[index], found.exposed, atol=0.1, err_msg=tissue)
        assert (
            f"measured on photographs of frozen sections, {found.patches} patches"
            in (frozen.sources[index])
        )


def test_what_was_not_measured_says_so_and_is_natural() -> None:
    frozen, natural = palette("cryosection"), palette()
    guessed = [k for k, source in enumerate(frozen.sources) if source.startswith("not measured")]
    np.testing.assert_array_equal(frozen.lab[guessed], natural.lab[guessed])
    assert Tissue.GALLBLADDER in guessed
    assert Tissue.LIVER not in guessed
