"""Starting positions of the initial alignment."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transform_cases import texture

from tomochrome.geometry.affine import apply
from tomochrome.registration import initialize as module
from tomochrome.registration.checked_input import CheckedScan
from tomochrome.registration.levels import Level, make_levels
from tomochrome.registration.starts import (
    find_starts,
    is_half_turn,
    joint_histogram,
    rasterize,
    shared_information,
)
from tomochrome.volume import default_affine

GRID = default_affine((3.0, 3.0, 3.0))


def some_level(seed: int, shape: tuple[int, int, int], step: float) -> Level:
    rng = np.random.default_rng(seed)
    affine = default_affine((step, step, step), rng.normal(0, 5, 3))
    values = rng.uniform(0, 1, shape).astype(np.float32)
    values.ravel()[:2] = 0, 1
    return Level(values, rng.uniform(0, 1, shape) > 0.2, affine, hu=False)


def some_matrix(seed: int) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3] += np.random.default_rng(seed).normal(0, 0.1, (3, 4))
    matrix[:3, 3] *= 50
    return matrix


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_pairs_are_counted_as_numpy_counts_them(seed: int) -> None:
    ours, theirs = some_level(seed, (7, 9, 8), 3.0), some_level(seed + 1, (6, 5, 11), 4.0)
    onto = np.linalg.inv(theirs.affine) @ some_matrix(seed) @ ours.affine
    counts = np.zeros((24, 24), np.int64)
    joint_histogram(ours.values, ours.valid, theirs.values, theirs.valid, onto[:3], counts)

    index = np.rint(apply(onto, np.argwhere(ours.valid))).astype(int)
    inside = ((index >= 0) & (index < theirs.values.shape)).all(axis=1)
    index = index[inside]
    both = theirs.valid[tuple(index.T)]
    a, b = ours.values[ours.valid][inside][both], theirs.values[tuple(index[both].T)]
    wanted = np.histogram2d(a, b, bins=24, range=((0, 1), (0, 1)))[0]
    assert counts.sum() == wanted.sum()
    assert np.abs(counts - wanted).sum() <= 2  # a value between two bins


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300, -1e300])
def test_no_place_is_no_pair(bad: float) -> None:
    level = some_level(0, (4, 4, 4), 1.0)
    counts = np.zeros((24, 24), np.int64)
    matrix = np.eye(4)[:3]
    matrix[1, 3] = bad
    joint_histogram(level.values, level.valid, level.values, level.valid, matrix, counts)
    assert counts.sum() == 0


def test_a_box_holds_means_where_voxels_lie() -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    seen = np.ones(values.shape, bool)
    seen[1, 2, 3] = False
    box = np.zeros((3, 2, 3, 3), np.float32)
    halved = np.diag([1.0, 1.0, 0.5, 1.0])[:3]  # x of 0, 1, 2, 3 is rounded to 0, 0, 1, 2
    rasterize(values, seen, np.float32(1.0), halved, box)
    wanted = np.stack(
        [(values[..., 0] + values[..., 1]) / 2, values[..., 2], values[..., 3]], axis=-1
    )
    wanted -= 1
    wanted[1, 2, 2] = 0
    mask = np.ones(wanted.shape)
    mask[1, 2, 2] = 0
    np.testing.assert_allclose(box, [mask, wanted, wanted**2])


def test_a_volume_says_most_of_itself_in_its_own_place() -> None:
    level = make_levels(CheckedScan(texture((30, 30, 30), GRID), "fixed"), 1)[0]
    here, overlap = shared_information(level, level, np.eye(4))
    assert overlap == 1.0
    away = np.eye(4)
    away[:3, 3] = 3 * level.step_mm
    there, less = shared_information(level, level, away)
    assert there < 0.5 * here
    assert 0.2 < less < 1
    away[:3, 3] = 1e4
    assert shared_information(level, level, away) == (0.0, 0.0)


def test_the_best_start_is_where_the_picture_was_brought() -> None:
    volume = texture((30, 34, 32), GRID)
    level = make_levels(CheckedScan(volume, "fixed"), 1)[0]
    affine = volume.affine.copy()
    affine[:3, 3] += (40.0, -25.0, 60.0)
    moved = replace(volume, affine=affine)
    found = find_starts(level, make_levels(CheckedScan(moved, "moving"), 1)[0], 3)
    assert not is_half_turn(found[0].matrix)
    np.testing.assert_allclose(found[0].matrix[:3, 3], (40, -25, 60), atol=1.5 * level.step_mm)
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)


def test_the_number_of_threads_is_put_back_by_the_last_who_leaves() -> None:
    from SimpleITK import ProcessObject

    before = ProcessObject.GetGlobalDefaultNumberOfThreads()
    first, second = threading.Event(), threading.Event()

    def stays_longer() -> None:
        with module._ONE_THREAD:
            first.set()
            second.wait(600)

    other = threading.Thread(target=stays_longer)
    with module._ONE_THREAD:
        other.start()
        first.wait(600)
        assert ProcessObject.GetGlobalDefaultNumberOfThreads() == 1
    assert ProcessObject.GetGlobalDefaultNumberOfThreads() == 1
    second.set()
    other.join()
    assert ProcessObject.GetGlobalDefaultNumberOfThreads() == before
