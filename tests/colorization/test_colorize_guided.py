"""Upsampling of predicted colors along the CT's edges, compared with plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomochrome.colorization import slab_kernels
from tomochrome.colorization.grid import CoarseField, Taps, block_taps, pixel_taps, taps
from tomochrome.colorization.grid_predictor import with_hu
from tomochrome.colorization.slab_kernels import color_slab
from tomochrome.colorization.tables import color_table

GREY = 1 + 191 * 95 + 95


def guided(
    hu: np.ndarray,
    planes: np.ndarray,
    grids: tuple[Taps, Taps, Taps],
    tolerance: float = 20.0,
    field: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and confidences; no denoising, and without a field everything is inside."""
    field = np.full((1, 1, 1), 255, np.uint8) if field is None else field
    body = [
        block_taps(n, 1 if m == n else n, m) for n, m in zip(hu.shape, field.shape, strict=True)
    ]
    code, confidence = np.empty(hu.shape, np.uint16), np.empty(hu.shape, np.uint8)
    z, y, x = grids
    on_body = CoarseField(field, *(part for t in body for part in t))
    color_slab(hu, CoarseField(planes, *z, *y, *x), on_body, (0, 20.0), tolerance, code, confidence)
    return code, confidence


def ab(code: np.ndarray) -> np.ndarray:
    return np.asarray(color_table().ab[code])


def reference(
    hu: np.ndarray, planes: np.ndarray, grids: tuple[Taps, Taps, Taps], tol: float
) -> np.ndarray:
    """The formula, voxel by voxel: a*, b*, confidence and HU."""
    (z, wz), y, x = grids
    out = np.empty((*hu.shape, planes.shape[-1]))
    for k, j, i in np.ndindex(*hu.shape):
        after = min(z[k] + 1, len(planes) - 1)
        plane = planes[z[k]] * (1 - wz[k]) + planes[after] * wz[k]
        total, values = 0.0, np.zeros(planes.shape[-1])
        for dy in (-1, 0, 1, 2):
            for dx in (-1, 0, 1, 2):
                row = np.clip(y.low[j] + dy, 0, plane.shape[0] - 1)
                column = np.clip(x.low[i] + dx, 0, plane.shape[1] - 1)
                weight = (2 - abs(dy - y.weight[j])) * (2 - abs(dx - x.weight[i]))
                apart = (plane[row, column, 3] - hu[k, j, i]) / tol
                weight /= (1 + apart**2) ** 2
                total += weight
                values += weight * plane[row, column]
        out[k, j, i] = values / total
    return out


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(1, 1, 1), (2, 3, 4), (3, 5, 2)]))
def test_equals_the_formula(seed: int, coarse: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    hu = rng.integers(-150, 250, (3, 7, 9)).astype(np.int16)
    planes = rng.uniform(-60, 60, (*coarse, 4)).astype(np.float32)
    planes[..., 2] = rng.uniform(0, 1, coarse)
    planes[..., 3] = rng.uniform(-150, 250, coarse)
    z, y, x = (
        taps(np.sort(rng.uniform(-1, m, n)), m) for n, m in zip(hu.shape, coarse, strict=True)
    )
    code, confidence = guided(hu, planes, (z, y, x))
    expected = reference(hu, planes, (z, y, x), 20.0)
    np.testing.assert_allclose(ab(code), expected[..., :2], atol=0.5 + 1e-3)
    np.testing.assert_allclose(confidence / 255, expected[..., 2], atol=0.5 / 255 + 1e-4)


def stepped() -> tuple[np.ndarray, np.ndarray, tuple[Taps, Taps, Taps]]:
    """An edge at column 23 of 40; the coarse pixel of columns 20 to 29 contains both sides."""
    hu = np.full((1, 20, 40), -100, np.int16)
    hu[:, :, 23:] = 60
    share = (np.arange(40) >= 23).reshape(4, 10).mean(axis=1)  # of the right-hand side
    left, right = np.array([4.0, 30.0, 0.3, -100.0]), np.array([40.0, 10.0, 0.9, 60.0])
    planes = np.tile((left + share[:, None] * (right - left)).astype(np.float32), (1, 2, 1, 1))
    return hu, planes, (taps(np.zeros(1), 1), pixel_taps(20, 1, 10, 2), pixel_taps(40, 1, 10, 4))


def test_an_edge_between_coarse_pixels_comes_out_sharp() -> None:
    hu, planes, grids = stepped()
    code, confidence = guided(hu, planes, grids)
    expected = np.where(hu[..., None] < 0, [4.0, 30.0], [40.0, 10.0])
    assert np.abs(ab(code) - expected).max() <= 1.5
    np.testing.assert_allclose(confidence / 255, np.where(hu < 0, 0.3, 0.9), atol=0.02)
    blurred, _ = guided(hu, planes, grids, tolerance=1e6)  # by distance only
    assert np.abs(ab(blurred) - expected).max() > 10


def test_where_hu_are_alike_only_the_distance_counts() -> None:
    """A linear color gradient is interpolated linearly, to half a code."""
    hu = np.full((1, 30, 60), 40, np.int16)
    planes = np.zeros((1, 3, 6, 4), np.float32)
    planes[..., 0] = np.arange(6) * 8.0
    planes[..., 2], planes[..., 3] = 0.6, 40.0
    x = pixel_taps(60, 1, 10, 6)
    code, confidence = guided(hu, planes, (taps(np.zeros(1), 1), pixel_taps(30, 1, 10, 3), x))
    inner = slice(15, 45)  # at the ends the edge repeats
    linear = np.broadcast_to(8.0 * (x.low + x.weight), (30, 60))
    np.testing.assert_allclose(ab(code)[0, :, inner, 0], linear[:, inner], atol=0.5 + 1e-3)
    assert (ab(code)[..., 1] == 0).all()
    assert (confidence == 153).all()


def test_a_color_that_is_the_same_everywhere_stays_whatever_the_hu() -> None:
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 2000, (2, 9, 9)).astype(np.int16)
    planes = np.full((1, 3, 3, 4), [17, -23, 0.6, 0], np.float32)
    planes[..., 3] = rng.uniform(-1000, 2000, (1, 3, 3))
    y = pixel_taps(9, 1, 3, 3)
    code, confidence = guided(hu, planes, (taps(np.zeros(2), 1), y, y))
    assert (ab(code) == [17, -23]).all()
    assert (confidence == 153).all()


def test_nothing_outside_and_no_number_is_grey_and_a_guess() -> None:
    hu = np.full((1, 4, 8), 40, np.int16)
    planes = np.full((1, 1, 1, 4), [50, 50, 1, 40], np.float32)
    field = np.zeros((1, 4, 8), np.uint8)
    field[..., 4:] = 255
    one = tuple(taps(np.zeros(n), 1) for n in hu.shape)
    z, y, x = one
    code, confidence = guided(hu, planes, (z, y, x), field=field)
    assert (code[..., :4] == slab_kernels.OUTSIDE).all()
    assert (ab(code)[..., 4:, :] == 50).all()
    for wrong in (np.nan, np.inf):
        planes[..., 1] = wrong
        code, confidence = guided(hu, planes, (z, y, x), field=field)
        assert (code[..., 4:] == GREY).all()
        assert (ab(code)[..., 4:, :] == 0).all()
        assert (confidence[..., 4:] == 0).all()


@pytest.mark.parametrize("stride", [1, 4])
def test_hu_beside_the_colors_are_the_mean_of_what_a_pixel_covers(stride: int) -> None:
    hu = np.random.default_rng(1).normal(0, 100, (2, 10, 7)).astype(np.float32)
    h, w = -(-10 // stride), -(-7 // stride)
    planes = list(np.random.default_rng(2).random((2, h, w, 3)).astype(np.float32))
    for plane, out, here in zip(planes, with_hu(iter(planes), hu, stride), hu, strict=True):
        np.testing.assert_array_equal(out[..., :3], plane)
        for j, i in np.ndindex(h, w):
            box = here[j * stride : (j + 1) * stride, i * stride : (i + 1) * stride]
            assert out[j, i, 3] == pytest.approx(box.mean(), abs=1e-3)
