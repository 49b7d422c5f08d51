"""NCC, local NCC and mutual information, compared with independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.errors import Cancelled, GeometryError, InputError
from tomochrome.evaluate import similarity, similarity_measures
from tomochrome.runtime import Task, running
from tomochrome.volume import Volume, default_affine

SHAPE = (13, 17, 15)
AFFINE = default_affine((2.0, 1.5, 1.5))


def picture(seed: int, unit: str = "unknown") -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.normal(size=SHAPE), 1.2)
    scaled = smooth / np.abs(smooth).max()
    return (scaled * (400.0 if unit == "HU" else 1.0)).astype(np.float32)


def pair(unit: str = "unknown", share: float = 0.7) -> tuple[Volume, Volume]:
    a, b = picture(0, unit), picture(1, unit)
    mixed = share * a + (1 - share) * b
    return Volume(a, AFFINE, unit), Volume(mixed, AFFINE, unit)  # type: ignore[arg-type]


def grey(values: NDArray, seen: NDArray[np.bool_], hu: bool) -> NDArray[np.float64]:
    """The scale from 0 to 1, spelt out again."""
    if hu:
        knots = (-1000, -800, -200, 250, 1000, 2000)
        return np.interp(values, knots, (0, 0.12, 0.28, 0.82, 0.97, 1)).astype(np.float32)
    low, high = np.percentile(values[seen].astype(np.float64), (0.5, 99.5))
    return np.clip((values.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)


def naive_local(p: NDArray, q: NDArray, seen: NDArray[np.bool_]) -> float:
    """Window by window."""
    squares = []
    for z, y, x in np.argwhere(seen):
        window = tuple(slice(max(0, at - 3), at + 4) for at in (z, y, x))
        a, b = (v[window][seen[window]].astype(np.float64) for v in (p, q))
        if max(a.var(), b.var()) > 3e-4:
            cross = ((a - a.mean()) * (b - b.mean())).mean()
            squares.append(cross**2 / (a.var() * b.var() + 9e-8))
    return float(np.mean(squares))


@pytest.mark.parametrize("unit", ["unknown", "HU"])
@pytest.mark.parametrize("masked", [False, True])
def test_similarity_against_oracles(
    unit: str, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "_SLAB", 2 * SHAPE[1] * SHAPE[2])  # several slabs
    monkeypatch.setattr(similarity, "_MIN_SLICES", 1)
    a, b = pair(unit)
    seen = np.ones(SHAPE, bool)
    if masked:
        seen[:3], seen[:, 12:] = False, False
    found = similarity_measures(a, b, seen if masked else None)
    truth = np.corrcoef(a.voxels[seen], b.voxels[seen])[0, 1]
    assert found["ncc"] == pytest.approx(truth, abs=1e-9)
    p, q = (grey(v.voxels, seen, unit == "HU") for v in (a, b))
    assert found["local_ncc"] == pytest.approx(naive_local(p, q, seen), abs=1e-3)
    joint, *_ = np.histogram2d(p[seen], q[seen], bins=64, range=((0, 1), (0, 1)))
    share = joint / joint.sum()
    alone = share.sum(1), share.sum(0)
    entropy = [-(s[s > 0] * np.log(s[s > 0])).sum() for s in (*alone, share)]
    assert found["mutual_information"] == pytest.approx(entropy[0] + entropy[1] - entropy[2])


@given(gain=st.floats(0.01, 1e4), offset=st.floats(-1e4, 1e4), seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_gain_and_offset_change_nothing(gain: float, offset: float, seed: int) -> None:
    a = Volume(picture(seed), AFFINE, "unknown")
    b = Volume(0.6 * picture(seed) + 0.4 * picture(seed + 1), AFFINE, "unknown")
    other = b.with_voxels(b.voxels.astype(np.float64) * gain + offset * gain)
    before, after = similarity_measures(a, b), similarity_measures(a, other)
    assert after["ncc"] == pytest.approx(before["ncc"], abs=1e-5)
    assert after["local_ncc"] == pytest.approx(before["local_ncc"], abs=1e-3)
    assert after["mutual_information"] == pytest.approx(before["mutual_information"], abs=0.02)


@given(seed=st.integers(0, 999), unit=st.sampled_from(["HU", "unknown"]))
@settings(max_examples=10, deadline=None)
def test_similarity_is_maximal_for_equal_images_and_symmetric(seed: int, unit: str) -> None:
    a, b = (Volume(picture(s, unit), AFFINE, unit) for s in (seed, seed + 1000))  # type: ignore[arg-type]
    same, there, back = (similarity_measures(*p) for p in ((a, a), (a, b), (b, a)))
    assert same["ncc"] == pytest.approx(1.0)
    assert there.keys() == back.keys()
    for key in there:
        assert there[key] == pytest.approx(back[key], abs=1e-6)
        assert same[key] > there[key]


def test_constant_background_is_ignored() -> None:
    a, b = pair()
    wide = [np.pad(v.voxels, 12, constant_values=v.voxels.min()) for v in (a, b)]
    found = similarity_measures(*(Volume(v, AFFINE, "unknown") for v in wide))
    same = similarity_measures(*(Volume(wide[0], AFFINE, "unknown") for _ in range(2)))
    assert found["local_ncc"] > 0.5
    assert same["local_ncc"] > 0.99


def test_voxels_outside_are_ignored() -> None:
    a, b = pair()
    holes = np.zeros(SHAPE, bool)
    holes[:4] = True
    spoilt = b.voxels.copy()
    spoilt[holes] = 1e6
    truth = similarity_measures(a, b, ~holes)
    outside = Volume(spoilt, AFFINE, "unknown", outside=holes)
    assert similarity_measures(a, outside) == truth
    spoilt[holes] = np.nan
    assert similarity_measures(a, b.with_voxels(spoilt)) == truth


def test_integers_of_any_size() -> None:
    a, b = pair("HU")
    whole = [v.with_voxels(np.rint(v.voxels).astype(np.int16)) for v in (a, b)]
    truth = np.corrcoef(*(v.voxels.ravel().astype(float) for v in whole))[0, 1]
    assert similarity_measures(*whole)["ncc"] == pytest.approx(truth)
    large = [v.with_voxels(v.voxels.astype(np.uint16) + 60_000) for v in whole]
    assert similarity_measures(*large)["ncc"] > 0


def test_a_mask_on_another_grid_is_resampled() -> None:
    a, b = pair()
    mask = np.zeros((26, 17, 15), np.uint8)
    mask[8:] = 1
    finer = Volume(mask, default_affine((1.0, 1.5, 1.5), (0.0, 0.0, -0.5)), "unknown")
    here = np.zeros(SHAPE, bool)
    here[4:] = True
    assert similarity_measures(a, b, finer) == similarity_measures(a, b, here)


def test_without_common_voxels_there_is_no_measure() -> None:
    a, b = pair()
    assert (
        similarity_measures(Volume(a.voxels, AFFINE, "unknown", outside=np.ones(SHAPE, bool)), b)
        == {}
    )
    assert similarity_measures(a, b.with_voxels(np.full(SHAPE, 0.1, np.float32))) == {}


def test_similarity_refuses() -> None:
    a, b = pair()
    with pytest.raises(GeometryError, match="grid"):
        similarity_measures(a, Volume(b.voxels, default_affine((1.0, 1.0, 1.0)), "unknown"))
    with pytest.raises(InputError, match="color"):
        similarity_measures(a, Volume(np.zeros((*SHAPE, 4), np.uint8), AFFINE, "RGBA"))
    with pytest.raises(GeometryError, match="mask"):
        similarity_measures(a, b, np.zeros(SHAPE, bool))
    with pytest.raises(GeometryError, match="shape"):
        similarity_measures(a, b, np.ones((2, 2, 2), bool))
    cancel = Task()
    cancel.cancel()
    with running(cancel), pytest.raises(Cancelled):
        similarity_measures(a, b)
