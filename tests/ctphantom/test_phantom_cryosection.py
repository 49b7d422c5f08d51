from __future__ import annotations

import numpy as np
import pytest

from ctphantom import PhantomError
from ctphantom.cryosection import cryosection
from ctphantom.materials import material
from ctphantom.structures import Structure

S = Structure


def blocks(*structures: Structure) -> np.ndarray:
    """Blocks of 24 voxels a side, one structure each, along x."""
    return np.concatenate([np.full((6, 24, 24), int(s), np.uint8) for s in structures], axis=2)


def test_colors_are_the_materials() -> None:
    labels = blocks(S.LIVER, S.MUSCLE, S.SUBCUTANEOUS_FAT, S.SPLEEN)
    rgb = cryosection(labels, (3, 1, 1), np.random.default_rng(0))
    assert rgb.dtype == np.uint8
    assert rgb.shape == (*labels.shape, 3)
    for i, structure in enumerate((S.LIVER, S.MUSCLE, S.SUBCUTANEOUS_FAT, S.SPLEEN)):
        mean = rgb[:, 4:-4, 24 * i + 4 : 24 * i + 20].reshape(-1, 3).mean(0)
        np.testing.assert_allclose(mean, material(structure).color, atol=14)


def test_without_texture_colors_are_flat() -> None:
    rgb = cryosection(blocks(S.KIDNEY_CORTEX), (2, 2, 2), texture=0.0)
    np.testing.assert_array_equal(
        np.unique(rgb.reshape(-1, 3), axis=0), [material(S.KIDNEY_CORTEX).color]
    )


def test_the_couch_is_gel_and_the_body_is_not_blue() -> None:
    rgb = cryosection(blocks(S.OUTSIDE_AIR, S.COUCH, S.MUSCLE), (2, 1, 1), texture=0.0)
    np.testing.assert_array_equal(rgb[2, 12, 12], rgb[2, 12, 36])
    assert rgb[2, 12, 12, 2] > rgb[2, 12, 12, 0]
    assert rgb[2, 12, 60, 0] > rgb[2, 12, 60, 2]


def test_the_same_random_state_gives_the_same_image() -> None:
    labels = blocks(S.LIVER, S.LUNG)
    one, two = (cryosection(labels, (2, 1, 1), np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert cryosection(labels, (2, 1, 1), exposure=0.5).mean() < 0.6 * one.mean()


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(PhantomError):
        cryosection(blocks(S.LIVER), (2, 1, 1), exposure=0.0)
    with pytest.raises(PhantomError, match="not a structure"):
        cryosection(np.full((1, 2, 2), 250, np.uint8), (1, 1, 1))
    with pytest.raises(PhantomError, match="uint8"):
        cryosection(np.zeros((1, 2, 2), np.int32), (1, 1, 1))  # type: ignore[arg-type]


def test_an_exception_of_the_progress_callback_ends_the_work() -> None:
    def cancel(done: int, total: int, stage: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cryosection(blocks(S.LIVER), (2, 1, 1), progress=cancel)
