"""Chroma maps: validation, reorientation without copying, statistics."""

from __future__ import annotations

import numpy as np
import pytest

from tomochrome.color import Chroma
from tomochrome.color.palettes import palette
from tomochrome.errors import GeometryError, ModelError
from tomochrome.tissue import N_TISSUES, NO_TISSUE, Tissue
from tomochrome.volume import Volume, default_affine

SHAPE = (3, 4, 5)


def mixtures() -> np.ndarray:
    """Each tissue pure, then half liver and half grey, then all grey."""
    table = np.zeros((N_TISSUES + 2, N_TISSUES), np.float32)
    table[:N_TISSUES] = np.eye(N_TISSUES)
    table[N_TISSUES, Tissue.LIVER] = 0.5
    return table


def chroma(**changes: object) -> Chroma:
    rng = np.random.default_rng(1)
    fields: dict[str, object] = {
        "code": rng.integers(0, N_TISSUES + 2, SHAPE).astype(np.uint16),
        "confidence": rng.integers(0, 256, SHAPE).astype(np.uint8),
        "table": mixtures(),
        "affine": default_affine((2, 1, 1), (5, 6, 7)),
        "model": "test",
    }
    return Chroma(**{**fields, **changes})  # type: ignore[arg-type]


def test_tissue_is_the_heaviest_and_grey_is_none() -> None:
    made = chroma()
    expected = np.r_[np.arange(N_TISSUES), Tissue.LIVER, NO_TISSUE][made.code]
    np.testing.assert_array_equal(made.tissue, expected)
    volume = made.tissue_volume()
    assert volume.unit == "tissue"
    assert volume.voxels.dtype == np.uint8
    np.testing.assert_array_equal(volume.affine, made.affine)
    assert "test" in volume.provenance.history[-1]


def test_ab_is_the_mixture_of_the_palette() -> None:
    made = chroma()
    ab = made.ab()
    assert ab.shape == (*SHAPE, 2)
    assert ab.dtype == np.float32
    natural = palette().ab
    table = np.vstack([natural, natural[Tissue.LIVER] / 2, [[0, 0]]])
    np.testing.assert_allclose(ab, table[made.code], atol=1e-5)
    np.testing.assert_array_equal(made.ab("vivid", 1), made.ab("vivid")[1])
    np.testing.assert_array_equal(made.ab(slices=slice(0, 2)), ab[:2])


def test_confidence_is_a_fraction() -> None:
    volume = chroma().confidence_volume()
    assert volume.unit == "fraction"
    np.testing.assert_allclose(volume.voxels, chroma().confidence / 255.0, atol=1e-6)


def test_means_are_over_colored_voxels() -> None:
    made = chroma()
    strength = np.linalg.norm(made.ab(), axis=-1)
    colored = strength >= 1
    assert 0 < colored.sum() < colored.size
    assert made.mean_chroma == pytest.approx(strength[colored].mean(), rel=1e-5)
    assert made.mean_confidence == pytest.approx(made.confidence[colored].mean() / 255, rel=1e-5)
    nothing = chroma(code=np.zeros(SHAPE, np.uint16))
    assert (nothing.mean_chroma, nothing.mean_confidence) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code": np.zeros(SHAPE, np.int32)}, ModelError),
        ({"confidence": np.zeros(SHAPE, np.float32)}, ModelError),
        ({"confidence": np.zeros((3, 4, 4), np.uint8)}, GeometryError),
        ({"code": np.zeros(5, np.uint16), "confidence": np.zeros(5, np.uint8)}, GeometryError),
        ({"code": np.full(SHAPE, 999, np.uint16)}, ModelError),
        ({"table": mixtures().astype(np.float64)}, ModelError),
        ({"table": mixtures()[:, :5]}, ModelError),
        ({"table": mixtures() * 2}, ModelError),
        ({"table": -mixtures()}, ModelError),
        ({"table": mixtures()[::-1].copy()}, ModelError),
        ({"table": np.zeros((0, N_TISSUES), np.float32)}, ModelError),
        ({"affine": np.eye(3)}, GeometryError),
        ({"affine": np.zeros((4, 4))}, GeometryError),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object], error: type) -> None:
    with pytest.raises(error) as caught:
        chroma(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (True, True, True)])
def test_on_grid_follows_a_turned_volume(
    axes: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> None:
    made = chroma()
    stored = np.arange(60, dtype=np.int16).reshape(SHAPE)
    turned = stored.transpose(axes)
    affine = made.affine[:, [*axes, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (turned.shape[axis] - 1)
            affine[:3, axis] *= -1
    turn = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
    shown = Volume(turned[turn], affine)
    follows = made.on_grid(shown)
    np.testing.assert_array_equal(follows.code, made.code.transpose(axes)[turn])
    np.testing.assert_array_equal(follows.confidence, made.confidence.transpose(axes)[turn])
    np.testing.assert_array_equal(follows.affine, shown.affine)
    assert np.shares_memory(follows.code, made.code)


def test_on_grid_refuses_other_grids() -> None:
    made = chroma()
    shifted = made.affine.copy()
    shifted[0, 3] += 0.5
    tilted = made.affine.copy()
    tilted[1, 0] += 0.1
    for volume in (
        Volume(np.zeros((3, 4, 6), np.int16), made.affine),
        Volume(np.zeros(SHAPE, np.int16), shifted),
        Volume(np.zeros(SHAPE, np.int16), tilted),
        Volume(np.zeros(SHAPE, np.int16), made.affine @ np.diag([2, 1, 1, 1])),
    ):
        with pytest.raises(GeometryError, match="is not on the grid"):
            made.on_grid(volume)
    assert made.on_grid(Volume(np.zeros(SHAPE, np.int16), made.affine)) is made
