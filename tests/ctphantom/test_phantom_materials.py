from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctphantom import PhantomError
from ctphantom.materials import (
    MATERIALS,
    PHASES,
    color_table,
    hu_table,
    material,
    sample_hu,
    texture_table,
)
from ctphantom.structures import N_STRUCTURES, Structure

S = Structure


def test_every_structure_has_its_material() -> None:
    assert [m.structure for m in MATERIALS] == list(Structure)
    assert texture_table().shape == (N_STRUCTURES, 2)
    assert (texture_table()[:, 1] > 0).all()
    assert color_table().shape == (N_STRUCTURES, 4)


def test_means_match_textbooks() -> None:
    native, arterial, portal = (hu_table(p) for p in ("native", "arterial", "portal"))
    assert 45 < native[S.LIVER] < 65
    assert 100 < portal[S.LIVER] < 125
    assert arterial[S.LIVER] < portal[S.LIVER]
    assert 270 < arterial[S.AORTA] < 400
    assert portal[S.PORTAL_VEIN] > arterial[S.PORTAL_VEIN]
    assert arterial[S.KIDNEY_CORTEX] > arterial[S.KIDNEY_MEDULLA] + 80
    assert hu_table("delayed")[S.RENAL_PELVIS] > 200
    assert native[S.GREY_MATTER] > native[S.WHITE_MATTER] > native[S.CSF]
    assert -115 < native[S.SUBCUTANEOUS_FAT] < -95
    assert native[S.LUNG] < -700


def test_the_same_seed_gives_the_same_patient() -> None:
    for draw in (lambda r: hu_table("portal", r), lambda r: sample_hu(None, r)):
        one, two = draw(np.random.default_rng(3)), draw(np.random.default_rng(3))
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, draw(np.random.default_rng(4)))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), phase=st.sampled_from([None, *PHASES]))
def test_any_patient_is_possible(seed: int, phase: str | None) -> None:
    hu = sample_hu(phase, np.random.default_rng(seed))  # type: ignore[arg-type]
    assert hu.dtype == np.float32
    assert np.isfinite(hu).all()
    assert hu[S.OUTSIDE_AIR] == -1000
    assert hu[S.LUNG] < -600
    assert -140 < hu[S.SUBCUTANEOUS_FAT] < -60
    assert hu[S.CORTICAL_BONE] > 250
    assert hu[S.CORTICAL_BONE] > hu[S.TRABECULAR_BONE]
    assert hu[S.GREY_MATTER] > hu[S.CSF]
    assert hu[S.BOWEL_GAS] < -800


def test_training_patients_vary_widely() -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([sample_hu(None, rng) for _ in range(400)])
    aorta, stomach = drawn[:, S.AORTA], drawn[:, S.STOMACH_CONTENT]
    assert aorta.min() < 60 and aorta.max() > 350
    assert 0.1 < (stomach > 130).mean() < 0.4
    assert (drawn[:, S.LIVER] > drawn[:, S.SPLEEN]).any()
    assert (drawn[:, S.LIVER] < drawn[:, S.SPLEEN]).any()


def test_the_stomach_content_can_be_chosen() -> None:
    for seed in range(8):
        water, contrast = (
            hu_table("portal", np.random.default_rng(seed), stomach=fill)[S.STOMACH_CONTENT]
            for fill in ("water", "contrast")
        )
        assert 0 <= water <= 18
        assert 150 <= contrast <= 400


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(PhantomError, match="unknown phase"):
        hu_table("late")  # type: ignore[arg-type]
    with pytest.raises(PhantomError, match="unknown phase"):
        sample_hu("late", np.random.default_rng(0))  # type: ignore[arg-type]
    with pytest.raises(PhantomError, match="no structure"):
        material(N_STRUCTURES)
    assert material(S.LIVER).structure is S.LIVER
