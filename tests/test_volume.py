"""A volume knows where it is, refuses what cannot be, and never loses its affine."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tomochrome.errors import GeometryError, InputError
from tomochrome.tissue import N_TISSUES, TISSUE_NAMES, Tissue
from tomochrome.volume import Volume, default_affine

CONTRACT_NAMES = [
    "air",
    "lung",
    "airway",
    "fat",
    "muscle",
    "skin",
    "cortical-bone",
    "marrow",
    "cartilage",
    "liver",
    "spleen",
    "kidney",
    "pancreas",
    "adrenal",
    "gallbladder",
    "stomach",
    "bowel",
    "bladder",
    "vessel",
    "heart",
    "brain",
    "spinal-cord",
    "eye",
    "reproductive",
    "fluid",
    "foreign-body",
]


def cube(shape: tuple[int, ...] = (2, 3, 4)) -> np.ndarray:
    return np.zeros(shape, np.int16)


def test_tissue_names_are_the_contracts() -> None:
    assert list(TISSUE_NAMES) == CONTRACT_NAMES
    assert len(CONTRACT_NAMES) == N_TISSUES
    assert Tissue.AIR == 0


@given(st.tuples(*[st.floats(0.1, 10.0)] * 3), st.tuples(*[st.floats(-500.0, 500.0)] * 3))
def test_spacing_and_origin_come_from_the_affine(
    spacing: tuple[float, float, float], origin: tuple[float, float, float]
) -> None:
    volume = Volume(cube(), default_affine(spacing, origin))
    np.testing.assert_allclose(volume.spacing, spacing)
    np.testing.assert_allclose(volume.origin, origin)


def test_the_default_axes_are_superior_posterior_left() -> None:
    affine = default_affine((3.0, 2.0, 1.0))
    np.testing.assert_array_equal(affine @ (1, 0, 0, 0), (0, 0, 3, 0))
    np.testing.assert_array_equal(affine @ (0, 1, 0, 0), (0, 2, 0, 0))
    np.testing.assert_array_equal(affine @ (0, 0, 1, 0), (1, 0, 0, 0))


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4, 3), (0, 3, 4), (1, 2, 3, 4, 4)])
def test_impossible_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError):
        Volume(cube(shape))


def test_colors_are_bytes() -> None:
    with pytest.raises(GeometryError, match="uint8, not float64"):
        Volume(np.zeros((2, 3, 4, 4)), unit="RGBA")  # would be written as other bytes


@pytest.mark.parametrize(
    ("voxels", "words"),
    [
        (cube().tolist(), "not list"),
        ("ct.nii.gz", "not str"),
        (cube().astype(object), "not an array of object"),
        (cube().astype(np.complex64), "not an array of complex64"),
        (cube().astype(str), "not an array of <U"),
        (cube().astype("datetime64[s]"), "not an array of datetime64"),
        (torch.zeros((2, 3, 4)), "not an array of torch.float32"),
        (np.ma.masked_equal(cube(), 0), "give their mask as outside="),
    ],
)
def test_voxels_are_real_numbers(voxels: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        Volume(voxels)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["?", "u1", "<i2", ">i2", "<f2", ">f4", "<f8"])
def test_every_real_number_is_kept(dtype: str) -> None:
    assert Volume(cube().astype(dtype)).voxels.dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    "affine",
    [
        np.eye(3),
        np.zeros((4, 4)),
        np.full((4, 4), np.nan),
        np.diag((1.0, 1.0, 0.0, 1.0)),
        None,
        "affine",
        [[1.0, 0.0], [0.0]],
    ],
)
def test_impossible_affines_are_refused(affine: np.ndarray) -> None:
    with pytest.raises(GeometryError):
        Volume(cube(), affine)


def test_a_volume_cannot_be_changed_behind_its_back() -> None:
    affine = default_affine((1.0, 1.0, 1.0))
    volume = Volume(cube(), affine)
    affine[0, 3] = 99.0
    assert volume.origin[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 5.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        volume.unit = "unknown"  # type: ignore[misc]


def test_other_voxels_keep_the_grid_and_the_history() -> None:
    volume = Volume(cube(), default_affine((3.0, 1.0, 1.0)))
    rgba = volume.with_voxels(np.zeros((2, 3, 4, 4), np.uint8), unit="RGBA", step="lit")
    assert rgba.is_rgba
    assert rgba.shape == volume.shape
    assert rgba.provenance.history == ("lit",)
    np.testing.assert_array_equal(rgba.affine, volume.affine)
    with pytest.raises(GeometryError):
        volume.with_voxels(np.zeros((9, 3, 4), np.uint8))
    with pytest.raises(InputError, match="not list"):
        volume.with_voxels(cube().tolist())


@pytest.mark.parametrize("name", ["outside", "restored"])
@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((2, 3, 5), bool),
        np.zeros((2, 3, 4), np.uint8),
        np.zeros((3, 4), bool),
        np.zeros((2, 3, 4), bool).tolist(),
        "mask",
    ],
)
def test_masks_match_the_voxels(name: str, mask: Any) -> None:
    with pytest.raises(GeometryError, match=f"{name}.* does not match the volume"):
        Volume(cube(), **{name: mask})


def test_restored_voxels_stay_marked_in_other_voxels_of_the_grid() -> None:
    mask = np.arange(24).reshape(2, 3, 4) % 5 == 0
    volume = Volume(cube(), restored=mask)
    rgba = volume.with_voxels(np.zeros((2, 3, 4, 4), np.uint8), unit="RGBA")
    assert rgba.restored is mask
    assert pickle.loads(pickle.dumps(volume)).restored.tolist() == mask.tolist()
