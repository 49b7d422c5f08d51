"""The compiled kernels, compared with plain NumPy implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomochrome.colorization import slab_kernels
from tomochrome.colorization.body import block_mean
from tomochrome.colorization.grid import (
    CoarseField,
    Taps,
    block_taps,
    first_columns,
    pixel_taps,
    taps,
)
from tomochrome.colorization.tables import mixture_weights
from tomochrome.tissue import N_TISSUES, Tissue

ROWS = slab_kernels.MAX_HU - slab_kernels.MIN_HU + 1


def interpolate(coarse: np.ndarray, axis: int, t: Taps) -> np.ndarray:
    after = np.minimum(t.low + 1, coarse.shape[axis] - 1)
    weight = t.weight.reshape([-1 if i == axis else 1 for i in range(coarse.ndim)])
    return coarse.take(t.low, axis) * (1 - weight) + coarse.take(after, axis) * weight


def fuse(
    hu: np.ndarray,
    planes: np.ndarray,
    likelihood: np.ndarray,
    grids: tuple[Taps, Taps, Taps],
    field: np.ndarray | None = None,
    radius: int = 0,
    cutoff: float = 20.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Run the kernel; without a body field everything is inside."""
    if field is None:
        field = np.full((1, 1, 1), 255, np.uint8)
    z, y, x = grids
    body = [
        block_taps(n, 1 if m == n else n, m) for n, m in zip(hu.shape, field.shape, strict=True)
    ]
    code, confidence = np.empty(hu.shape, np.uint16), np.empty(hu.shape, np.uint8)
    slab_kernels.fuse_slab(
        hu, CoarseField(planes, *z, *y, *x), first_columns(x, planes.shape[2]),
        CoarseField(field, *(part for t in body for part in t)), likelihood, (radius, cutoff),
        code, confidence,
    )  # fmt: skip
    return code, confidence


def random_planes(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    logits = rng.normal(0, 2, (*shape, N_TISSUES))
    odds = np.exp(logits)
    return (odds / odds.sum(axis=-1, keepdims=True)).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(1, 1, 1), (2, 3, 4), (3, 5, 2)]))
def test_fusion_is_probability_times_likelihood(seed: int, coarse: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    hu = rng.integers(-900, 2000, (3, 9, 11)).astype(np.int16)
    # None is below 0.003, which would be skipped.
    planes = np.float32(0.9) * random_planes(rng, coarse) + np.float32(0.1 / N_TISSUES)
    likelihood = rng.uniform(0.05, 1, (ROWS, N_TISSUES)).astype(np.float32)
    grids = tuple(
        taps(np.sort(rng.uniform(-1, m, n)), m) for n, m in zip(hu.shape, coarse, strict=True)
    )
    code, confidence = fuse(hu, planes, likelihood, grids)

    expected = planes.astype(np.float64)
    for axis, t in enumerate(grids):
        expected = interpolate(expected, axis, t)
    expected = expected * likelihood[hu.astype(int) - slab_kernels.MIN_HU]
    expected /= expected.sum(axis=-1, keepdims=True)
    order = np.argsort(-expected, axis=-1)
    ranked = np.take_along_axis(expected, order, axis=-1)
    np.testing.assert_allclose(confidence / 255, ranked[..., 0], atol=0.04)
    mixture = mixture_weights()[code]
    clear = ranked[..., 1] - ranked[..., 2] > 0.05
    np.testing.assert_allclose(mixture.sum(-1), ranked[..., :2].sum(-1), atol=0.09)
    tissue = mixture.argmax(axis=-1)
    sure = clear & (ranked[..., 0] - ranked[..., 1] > 0.05)
    np.testing.assert_array_equal(tissue[sure], order[..., 0][sure])
    top = np.take_along_axis(mixture, order[..., :1], axis=-1)[..., 0]
    np.testing.assert_allclose(top[clear], ranked[..., 0][clear], atol=0.09)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_what_is_least_likely_is_skipped_and_the_rest_shares_its_part(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hu = rng.integers(-900, 2000, (3, 9, 11)).astype(np.int16)
    planes = random_planes(rng, (1, 1, 1))
    likelihood = rng.uniform(0.05, 1, (ROWS, N_TISSUES)).astype(np.float32)
    _, confidence = fuse(hu, planes, likelihood, one_cell(hu.shape))

    kept = np.where(planes[0, 0, 0] > 0.003, planes[0, 0, 0], 0.0)
    for tissue in (Tissue.AIR, Tissue.FOREIGN_BODY):  # detected by their HU only
        kept[tissue] = max(planes[0, 0, 0, tissue], slab_kernels.MIN_PROBABILITY)
    expected = kept * likelihood[hu.astype(int) - slab_kernels.MIN_HU]
    expected /= expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(confidence / 255, expected.max(axis=-1), atol=0.5 / 255 + 1e-4)


def one_cell(n: tuple[int, int, int]) -> tuple[Taps, Taps, Taps]:
    z, y, x = (taps(np.zeros(k), 1) for k in n)
    return z, y, x


def test_color_edge_sits_on_the_ct_edge() -> None:
    """Coarse probabilities are ambiguous; the HU determine the edge to the pixel."""
    hu = np.full((1, 20, 40), -100, np.int16)
    hu[:, :, 23:] = 60
    planes = np.zeros((1, 2, 4, N_TISSUES), np.float32)
    planes[..., Tissue.FAT] = np.linspace(0.9, 0.1, 4)
    planes[..., Tissue.MUSCLE] = np.linspace(0.1, 0.9, 4)
    likelihood = np.full((ROWS, N_TISSUES), 1e-3, np.float32)
    values = np.arange(slab_kernels.MIN_HU, slab_kernels.MAX_HU + 1)
    likelihood[values < -20, Tissue.FAT] = 1
    likelihood[values >= -20, Tissue.MUSCLE] = 1
    grids = (taps(np.zeros(1), 1), pixel_taps(20, 1, 10, 2), pixel_taps(40, 1, 10, 4))
    noise = np.random.default_rng(0).normal(0, 12, hu.shape)
    code, _ = fuse((hu + noise).astype(np.int16), planes, likelihood, grids, None, 2, 60.0)
    tissue = mixture_weights()[code].argmax(axis=-1)
    assert (tissue[:, :, :23] == Tissue.FAT).all()
    assert (tissue[:, :, 23:] == Tissue.MUSCLE).all()


def test_denoising_keeps_edges_and_calms_noise() -> None:
    rng = np.random.default_rng(1)
    clean = np.full((40, 60), -100.0)
    clean[:, 30:] = 60
    noisy = np.rint(clean + rng.normal(0, 10, clean.shape)).astype(np.int16)
    out, spare = np.empty(60, np.float32), np.empty(60, np.float32)
    rows = []
    for y in range(40):
        slab_kernels._denoised_row(noisy.astype(np.float32), y, 0, 60, 2, 50.0, out, spare)
        rows.append(out.copy())
    error = np.array(rows) - clean
    assert error.std() < 0.45 * (noisy - clean).std()
    assert np.abs(error[:, 29:31].mean(axis=0)).max() < 4


def test_denoised_row_equals_the_formula() -> None:
    rng = np.random.default_rng(2)
    hu = rng.integers(-50, 50, (5, 7)).astype(np.int16)
    out, spare = np.empty(7, np.float32), np.empty(7, np.float32)
    for y in range(5):
        slab_kernels._denoised_row(hu.astype(np.float32), y, 0, 7, 1, 40.0, out, spare)
        for x in range(7):
            near = hu[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].astype(float)
            weight = np.clip(1 - ((near - hu[y, x]) / 40.0) ** 2, 0, None) ** 2
            assert out[x] == pytest.approx((near * weight).sum() / weight.sum(), abs=1e-3)


def test_outside_is_code_zero_whatever_the_network_says() -> None:
    hu = np.full((1, 6, 10), 60, np.int16)
    planes = np.zeros((1, 1, 1, N_TISSUES), np.float32)
    planes[..., Tissue.MUSCLE] = 1
    field = np.zeros((1, 6, 10), np.uint8)
    field[:, :, 5:] = 255
    code, _ = fuse(hu, planes, np.ones((ROWS, N_TISSUES), np.float32), one_cell(hu.shape), field)
    assert (code[:, :, :5] == 0).all()
    assert (mixture_weights()[code[:, :, 5:]].argmax(-1) == Tissue.MUSCLE).all()


def test_at_the_skin_the_hu_decide_and_the_network_may_say_air() -> None:
    field = np.full((1, 1, 3), 128, np.uint8)
    hu = np.array([[[60, -900, 60]]], np.int16)
    planes = np.zeros((1, 1, 1, N_TISSUES), np.float32)
    planes[..., Tissue.SKIN] = 1
    ones = np.ones((ROWS, N_TISSUES), np.float32)
    code, _ = fuse(hu, planes, ones, one_cell(hu.shape), field)
    assert [c > 0 for c in code.ravel()] == [True, False, True]
    planes[...] = np.eye(N_TISSUES)[Tissue.AIR]
    code, _ = fuse(hu, planes, ones, one_cell(hu.shape), field)
    assert (code == 0).all()


def test_gas_inside_is_air_but_not_outside() -> None:
    hu = np.full((1, 4, 4), -1000, np.int16)
    planes = np.zeros((1, 1, 1, N_TISSUES), np.float32)
    planes[..., Tissue.BOWEL] = 1
    likelihood = np.full((ROWS, N_TISSUES), 1e-5, np.float32)
    likelihood[:200, Tissue.AIR] = 1
    code, _ = fuse(hu, planes, likelihood, one_cell(hu.shape))
    assert (code > 0).all()
    assert (mixture_weights()[code].argmax(-1) == Tissue.AIR).all()


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(st.integers(1, 7), st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
)
def test_block_mean(shape: tuple[int, int, int], factors: tuple[int, int, int]) -> None:
    hu = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)
    got = block_mean(hu, factors)
    for index in np.ndindex(*got.shape):
        box = tuple(slice(i * f, (i + 1) * f) for i, f in zip(index, factors, strict=True))
        assert got[index] == pytest.approx(hu[box].mean(), abs=1e-2)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.floats(0.3, 4), st.floats(0.5, 5))
def test_taps_reach_each_fine_pixel_once(n: int, spacing: float, pixel: float) -> None:
    coarse = max(1, round(n * spacing / pixel))
    t = pixel_taps(n, spacing, pixel, coarse)
    assert ((t.weight >= 0) & (t.weight <= 1)).all()
    assert (t.low >= 0).all()
    assert (t.low + (t.weight > 0) < coarse).all()
    place = np.clip((np.arange(n) + 0.5) * spacing / pixel - 0.5, 0, coarse - 1)
    np.testing.assert_allclose(t.low + t.weight, place, atol=1e-5)
    columns = first_columns(t, coarse)
    assert columns[0] == 0
    assert columns[-1] == n
    for i in range(coarse):
        assert (t.low[columns[i] : columns[i + 1]] == i).all()
