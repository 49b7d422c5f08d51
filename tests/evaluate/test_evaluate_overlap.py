"""Dice and Hausdorff distance, compared with SimpleITK and with the definition."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.errors import Cancelled, GeometryError, InputError
from tomochrome.evaluate import overlap
from tomochrome.geometry.affine import apply
from tomochrome.runtime import Task, running
from tomochrome.volume import Volume, default_affine

SHAPE = (9, 14, 12)


def oblique() -> NDArray[np.float64]:
    """Anisotropic, turned and sheared."""
    affine = default_affine((4.0, 0.7, 1.3), (5.0, -20.0, 30.0))
    c, s = np.cos(0.4), np.sin(0.4)
    turn = np.array([[c, -s, 0.1], [s, c, 0.0], [0.0, 0.2, 1.0]])
    affine[:3, :3] = turn @ affine[:3, :3]
    return affine


def blobs(seed: int, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    """Balls with the labels 1 to 4, some cut by the grid's edge."""
    rng = np.random.default_rng(seed)
    index = np.moveaxis(np.indices(shape), 0, -1)
    labels = np.zeros(shape, np.uint8)
    for label in range(1, 5):
        center = rng.uniform(0, np.array(shape))
        labels[np.linalg.norm((index - center) / (1, 1.5, 1.5), axis=-1) < rng.uniform(2, 4)] = (
            label
        )
    return labels


def naive_surface(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Voxels of which a neighbour is missing, one by one."""
    found = []
    for voxel in np.argwhere(mask):
        for axis in range(3):
            for step in (-1, 1):
                at = voxel.copy()
                at[axis] += step
                out = not 0 <= at[axis] < mask.shape[axis]
                if out or not mask[tuple(at)]:
                    found.append(tuple(voxel))
    return np.array(sorted(set(found)))


def naive_hausdorff95(a: NDArray, b: NDArray, affine: NDArray[np.float64]) -> float:
    ends = [apply(affine, naive_surface(mask)) for mask in (a, b)]
    apart = np.linalg.norm(ends[0][:, None] - ends[1][None], axis=-1)
    return max(float(np.percentile(apart.min(axis=k), 95)) for k in (0, 1))


@pytest.mark.parametrize("slab", [1, 500, 2_000_000])
@pytest.mark.parametrize("seed", range(3))
def test_overlap_matches_simpleitk_and_the_definition(
    seed: int, slab: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomochrome.evaluate.labels._SLAB", slab)
    a, b = blobs(seed), blobs(seed + 10)
    affine = oblique()
    found = overlap(Volume(a, affine, "unknown"), Volume(b, affine, "unknown"))
    oracle = SimpleITK.LabelOverlapMeasuresImageFilter()
    oracle.Execute(SimpleITK.GetImageFromArray(a), SimpleITK.GetImageFromArray(b))
    present = [int(v) for v in np.union1d(a, b) if v]
    assert list(found["dice"]) == [str(v) for v in present]
    for label in present:
        assert found["dice"][str(label)] == pytest.approx(oracle.GetDiceCoefficient(label))
        if (a == label).any() and (b == label).any():
            truth = naive_hausdorff95(a == label, b == label, affine)
            assert found["hausdorff95_mm"][str(label)] == pytest.approx(truth, abs=1e-9)
        else:
            assert str(label) not in found["hausdorff95_mm"]
            assert found["dice"][str(label)] == 0.0
    assert found["dice_mean"] == pytest.approx(np.mean(list(found["dice"].values())))


def test_large_surfaces_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = [Volume(blobs(seed), oblique(), "unknown") for seed in (0, 10)]
    whole = overlap(*maps)["hausdorff95_mm"]
    monkeypatch.setattr("tomochrome.evaluate.labels._MAX_SURFACE", 40)
    monkeypatch.setattr("tomochrome.evaluate.labels._QUERIES", 7)
    some = overlap(*maps)["hausdorff95_mm"]
    assert some.keys() == whole.keys()
    for label in whole:
        assert some[label] == pytest.approx(whole[label], rel=0.25)


@pytest.mark.filterwarnings("ignore:monai.metrics.utils:FutureWarning")
@pytest.mark.parametrize("seed", range(3))
def test_hausdorff_matches_monai_with_thick_slices(seed: int) -> None:
    import torch
    from monai.metrics import compute_hausdorff_distance

    spacing = (4.0, 1.0, 1.7)
    rng = np.random.default_rng(seed)
    maps = [ndimage.gaussian_filter(rng.normal(size=(22, 26, 24)), 3) > 0.01 for _ in range(2)]
    ours = overlap(*(Volume(m.astype(np.uint8), default_affine(spacing), "unknown") for m in maps))
    a, b = (torch.from_numpy(np.stack([~m, m])[None].astype(np.float32)) for m in maps)
    theirs = compute_hausdorff_distance(a, b, percentile=95, spacing=[spacing])
    assert ours["hausdorff95_mm"]["1"] == pytest.approx(float(theirs), rel=1e-3)


@given(seed=st.integers(0, 10_000), other=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_overlap_is_symmetric_and_1_for_equal_maps(seed: int, other: int) -> None:
    a, b = (Volume(blobs(s), oblique(), "unknown") for s in (seed, other))
    there, back = overlap(a, b), overlap(b, a)
    assert there == back
    same = overlap(a, a)
    assert set(same["dice"].values()) == {1.0}
    assert set(same["hausdorff95_mm"].values()) == {0.0}


def test_a_shift_of_a_box_is_its_hausdorff_distance() -> None:
    a, b = np.zeros((2, 20, 24, 28), np.int16)
    a[4:12, 5:15, 6:16] = -7
    b[4:12, 5:15, 9:19] = -7
    affine = default_affine((2.0, 1.0, 0.5))
    found = overlap(Volume(a, affine, "unknown"), Volume(b, affine, "unknown"))
    assert found["dice"] == {"-7": pytest.approx(0.7)}
    assert found["hausdorff95_mm"] == {"-7": pytest.approx(1.5)}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64, np.bool_])
def test_labels_of_any_type(dtype: type) -> None:
    a, b = blobs(1) > 0, blobs(2) > 0
    volumes = [Volume(v.astype(dtype), oblique(), "unknown") for v in (a, b)]
    assert overlap(*volumes)["dice"]["1"] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_labels_far_apart_need_no_table() -> None:
    a = np.zeros(SHAPE, np.int64)
    a[2:5, 2:5, 2:5], a[6:8] = 2**40, -3
    found = overlap(*(Volume(v, oblique(), "unknown") for v in (a, np.roll(a, 1, axis=1))))
    assert list(found["dice"]) == ["-3", str(2**40)]
    assert found["dice"]["-3"] == 1.0
    assert found["dice"][str(2**40)] == pytest.approx(2 / 3)


def test_without_labels_there_is_no_mean() -> None:
    empty = Volume(np.zeros(SHAPE, np.uint8), oblique(), "unknown")
    assert overlap(empty, empty) == {"dice": {}, "hausdorff95_mm": {}}


def test_unknown_tissue_is_ignored() -> None:
    tissue = np.full(SHAPE, 255, np.uint8)
    tissue[:2] = 3
    volume = Volume(tissue, oblique(), "tissue")
    assert overlap(volume, volume)["dice"] == {"3": 1.0}


@pytest.mark.parametrize(
    ("voxels", "words"),
    [
        (np.full(SHAPE, 0.5, np.float32), "fractions"),
        (np.full(SHAPE, np.nan, np.float32), "not finite"),
        (np.arange(np.prod(SHAPE)).reshape(SHAPE), "an image"),
        (np.zeros((*SHAPE, 4), np.uint8), "color"),
    ],
)
def test_invalid_label_maps_are_rejected(voxels: NDArray, words: str) -> None:
    good = Volume(blobs(0), oblique(), "unknown")
    with pytest.raises(InputError, match=words):
        overlap(good, Volume(voxels, oblique(), "RGBA" if voxels.ndim == 4 else "unknown"))


def test_other_grids_are_rejected_and_it_can_be_cancelled() -> None:
    a = Volume(blobs(0), oblique(), "unknown")
    with pytest.raises(GeometryError, match="grid"):
        overlap(a, Volume(blobs(0), default_affine((1.0, 1.0, 1.0)), "unknown"))
    cancel = Task()
    cancel.cancel()
    with running(cancel), pytest.raises(Cancelled):
        overlap(a, a)
