"""Scratches, stains and gel in photographs of sections, drawn where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tomochrome.color.convert import lab_to_srgb8
from tomochrome.color.palettes import palette
from tomochrome.errors import Cancelled
from tomochrome.restoration.photograph_restoration import photograph_defects
from tomochrome.runtime import Task, running
from tomochrome.tissue import Tissue

Y, X = np.mgrid[:180, :240]
BODY = ((Y - 90) / 70) ** 2 + ((X - 120) / 95) ** 2 < 1
CAVITY = (Y - 100) ** 2 + (X - 150) ** 2 < 12**2


def section(*, gel: bool = True) -> np.ndarray:
    """A body of muscle and fat with soft edges, in blue gel or on black."""
    rng = np.random.default_rng(2)
    fat = (((Y - 90) / 55) ** 2 + ((X - 120) / 80) ** 2 > 1)[..., None]
    rgb = np.where(fat, (205, 175, 120), (140, 60, 50)).astype(float)
    rgb = ndimage.gaussian_filter(rgb, (1.5, 1.5, 0))
    rgb = np.where(BODY[..., None], rgb, (25, 80, 140) if gel else (0, 0, 0))
    noisy = ndimage.gaussian_filter(rgb, (0.7, 0.7, 0)) + rng.normal(0, 2, (*BODY.shape, 1))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def scratched(rgb: np.ndarray, level: int) -> tuple[np.ndarray, np.ndarray]:
    where = (np.abs(Y - 0.6 * X - 10) < 1.2) & (X > 70) & (X < 160)
    return np.where(where[..., None], np.uint8(level), rgb), where


@pytest.mark.parametrize("gel", [True, False])
def test_a_section_without_defects_has_none(gel: bool) -> None:
    assert photograph_defects(section(gel=gel)) == {}


@pytest.mark.parametrize("gel", [True, False])
@pytest.mark.parametrize("level", [10, 245])
def test_a_scratch_is_found(level: int, gel: bool) -> None:
    damaged, where = scratched(section(gel=gel), level)
    defects = photograph_defects(damaged)
    assert set(defects) == {"scratch"}
    mask = defects["scratch"]
    assert mask[where].mean() > 0.95
    assert not mask[~ndimage.binary_dilation(where, iterations=3)].any()
    grey = photograph_defects(damaged[..., 1] if not gel else damaged.mean(-1).astype(np.uint8))
    assert grey["scratch"][where].mean() > 0.9


def test_gel_in_a_cavity_is_found_and_that_around_is_not() -> None:
    rgb = np.where(CAVITY[..., None], np.uint8([25, 80, 140]), section())
    defects = photograph_defects(rgb)
    assert set(defects) == {"gel"}
    assert defects["gel"][CAVITY].all()
    assert not defects["gel"][~ndimage.binary_dilation(CAVITY, iterations=5)].any()


def test_ink_is_a_stain() -> None:
    rgb = np.where(CAVITY[..., None], np.uint8([40, 120, 60]), section(gel=False))
    defects = photograph_defects(rgb)
    assert set(defects) == {"stain"}
    assert (defects["stain"] != CAVITY).mean() < 0.002


def test_bile_is_no_stain() -> None:
    bile = lab_to_srgb8(palette().lab[Tissue.GALLBLADDER])
    assert photograph_defects(np.where(CAVITY[..., None], bile, section(gel=False))) == {}


def test_finding_can_be_cancelled() -> None:
    task = Task()
    task.cancel()
    with running(task), pytest.raises(Cancelled):
        photograph_defects(section())
