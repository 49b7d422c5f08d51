"""The checkerboard: tiles are cubes in mm, and every voxel is from exactly one volume."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from compare_cases import AFFINE, SHAPE, ct, keys, near, rgba
from hypothesis import given, settings
from hypothesis import strategies as st

import tomochrome as tc
from tomochrome.compare import (
    Checkerboard,
    CheckerboardSettings,
    Pair,
    checkerboard,
    smallest_tile_mm,
)
from tomochrome.errors import Cancelled, OptionError
from tomochrome.notices import texts
from tomochrome.runtime import Task, running
from tomochrome.volume import Volume, default_affine

A, B = ct(seed=1), ct(seed=2)
tiles = st.builds(
    CheckerboardSettings,
    st.floats(5.0, 40.0),
    st.tuples(*[st.floats(-50, 50, allow_subnormal=False)] * 3),
)


def naive(a: Volume, b: Volume, tile: float, offset: tuple[float, float, float]) -> np.ndarray:
    """The definition, voxel by voxel."""
    out = np.empty_like(a.voxels)
    for place in np.ndindex(a.shape):
        cells = [
            math.floor(((i + 0.5) * s - o) / tile + 1e-9)
            for i, s, o in zip(place, a.spacing, offset, strict=True)
        ]
        out[place] = (b if sum(cells) % 2 else a).voxels[place]
    return out


@settings(deadline=None, max_examples=40)
@given(tiles)
def test_it_is_what_a_naive_loop_makes(tile: CheckerboardSettings) -> None:
    board = checkerboard(A, B, tile_mm=tile.tile_mm, offset_mm=tile.offset_mm)
    np.testing.assert_array_equal(board.voxels, naive(A, B, tile.tile_mm, tile.offset_mm))
    assert board.unit == "HU"
    assert board.voxels.dtype == np.int16
    np.testing.assert_array_equal(board.affine, A.affine)


@settings(deadline=None, max_examples=25)
@given(st.tuples(*[st.floats(0.4, 6)] * 3), st.floats(6.0, 30.0), near())
def test_edges_lie_at_multiples_of_the_tile_in_every_plane(
    spacing: tuple[float, float, float], tile: float, turned: np.ndarray
) -> None:
    """Also on an oblique grid: distances are measured in LPS mm from the first voxel's corner."""
    affine = turned.copy()
    affine[:3, :3] *= np.array(spacing) / np.linalg.norm(turned[:3, :3], axis=0)
    shape = (24, 31, 28)
    a = Volume(np.zeros(shape, np.uint8), affine, "unknown")
    b = Volume(np.ones(shape, np.uint8), affine, "unknown")
    board = checkerboard(a, b, tile_mm=tile).voxels
    corner = (affine @ [-0.5, -0.5, -0.5, 1])[:3]
    for axis in range(3):
        steps = np.diff(board.astype(int), axis=axis) != 0
        # The pattern changes at the same positions everywhere: straight lines in both planes.
        changes = np.moveaxis(steps, axis, 0).reshape(shape[axis] - 1, -1)
        assert (changes.all(axis=1) | ~changes.any(axis=1)).all()
        found = np.flatnonzero(changes[:, 0])
        direction = affine[:3, axis] / np.linalg.norm(affine[:3, axis])
        unit = np.eye(3)[axis]
        for number, index in enumerate(found, start=1):
            edge = affine[:3, :3] @ (unit * (index + 0.5) - 0.5 * (1 - unit)) + affine[:3, 3]
            distance = (edge - corner) @ direction
            assert abs(distance - number * tile) <= spacing[axis] / 2 + 1e-6
        assert len(found) == pytest.approx(shape[axis] * spacing[axis] / tile, abs=1.51)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_only_what_is_asked_for(data: st.DataObject) -> None:
    other = data.draw(st.sampled_from([B, rgba(), ct((6, 5, 8), AFFINE)]))
    board = Checkerboard(Pair(A, other), data.draw(tiles))
    whole = np.asarray(board)
    assert whole.shape == board.shape
    assert whole.dtype == board.dtype
    key = data.draw(keys(board.shape))
    np.testing.assert_array_equal(board[key], whole[key])


@pytest.mark.parametrize("a", [A, rgba()], ids=["ct", "color"])
@pytest.mark.parametrize("b", [B, rgba(seed=5)], ids=["ct", "color"])
def test_every_voxel_comes_from_exactly_one(a: Volume, b: Volume) -> None:
    board = Checkerboard(Pair(a, b), CheckerboardSettings(6.0))
    view_a = np.asarray(Checkerboard(Pair(a, b), CheckerboardSettings(1e6)))
    view_b = np.asarray(Checkerboard(Pair(a, b), CheckerboardSettings(1e6, (1e6, 0, 0))))
    whole = np.asarray(board)
    from_a = (whole == view_a).reshape(*SHAPE, -1).all(-1)
    from_b = (whole == view_b).reshape(*SHAPE, -1).all(-1)
    assert (from_a | from_b).all()
    assert from_a.any()
    assert from_b.any()
    assert board.unit == ("HU" if a is A and b is B else "RGBA")


def test_a_mixed_board_is_color_and_the_grey_is_windowed() -> None:
    twin = rgba(opaque=True)
    board = checkerboard(A, twin, tile_mm=6, window="-100/600")
    assert board.is_rgba
    grey = (board.voxels[..., 0] == board.voxels[..., 1]) & (board.voxels[..., 3] == 255)
    dark, bright = A.voxels < -402, A.voxels > 202
    first = ~(board.voxels == twin.voxels).all(-1)
    assert grey[first].all()
    assert (board.voxels[..., 0][first & dark] == 0).all()
    assert (board.voxels[..., 0][first & bright] == 255).all()


def test_a_window_makes_color_of_two_greys() -> None:
    assert checkerboard(A, B, window="lung").unit == "RGBA"
    assert checkerboard(A, B, color=True).unit == "RGBA"


def test_types_are_wide_enough_for_both() -> None:
    b = Volume(np.full(SHAPE, 0.25, np.float32), AFFINE)
    board = checkerboard(A, b, tile_mm=6)
    assert board.voxels.dtype == np.float32
    assert (np.isin(board.voxels, A.voxels) | (board.voxels == 0.25)).all()


@pytest.mark.parametrize("color", [False, True])
def test_restored_voxels_of_both_stay_marked(color: bool) -> None:
    mine, theirs = (np.random.default_rng(k).random(SHAPE) < 0.2 for k in (1, 2))
    board = checkerboard(replace(A, restored=mine), replace(B, restored=theirs), color=color)
    np.testing.assert_array_equal(board.restored, mine | theirs)
    assert checkerboard(A, B, color=color).restored is None


def test_beyond_the_other_s_field_of_view() -> None:
    """Air and ``outside`` in values, transparent in color, with a warning."""
    half = Volume(B.voxels[:, :, :4], AFFINE)
    board = checkerboard(A, half, tile_mm=6)
    again = naive(A, B, 6, (0, 0, 0))
    np.testing.assert_array_equal(board.voxels[..., :4], again[..., :4])
    assert board.outside is not None
    assert not board.outside[..., :4].any()
    assert (board.voxels[board.outside] == -1024).all()
    assert (board.voxels == A.voxels)[..., 4:][~board.outside[..., 4:]].all()
    assert "57 %" in " ".join(texts(board.provenance.warnings))
    colored = checkerboard(A, half, tile_mm=6, color=True)
    np.testing.assert_array_equal(colored.voxels[..., 3] == 0, board.outside)
    assert (colored.voxels[board.outside] == 0).all()


def test_the_front_door_and_the_file_s_words() -> None:
    board = tc.checkerboard(A, B, tile_mm=12.5)
    words = board.provenance.extra["description"]
    assert "tiles of 12.5 mm" in words
    assert "not for diagnosis" in words
    assert "checkerboard" in board.provenance.history[-1]


@pytest.mark.parametrize("tile", [0, -3, math.nan, math.inf, "20", None])
def test_tiles_that_are_no_size(tile: object) -> None:
    with pytest.raises(OptionError, match="positive number of mm"):
        checkerboard(A, B, tile_mm=tile)  # type: ignore[arg-type]


@pytest.mark.parametrize("offset", [(0, 0), 5, (0, math.nan, 0), "abc", (0, 0, 0, 0)])
def test_offsets_that_are_none(offset: object) -> None:
    with pytest.raises(OptionError, match="three numbers"):
        checkerboard(A, B, offset_mm=offset)  # type: ignore[arg-type]


def test_tiles_smaller_than_a_voxel_are_refused_live_too() -> None:
    board = Checkerboard(Pair(A, B))
    assert smallest_tile_mm(A) == 5.0
    with pytest.raises(OptionError, match="choose 5 mm or more"):
        board.settings = CheckerboardSettings(4.9)
    assert board.settings.tile_mm == 20
    board.settings = replace(board.settings, tile_mm=5.0)
    np.testing.assert_array_equal(np.asarray(board), naive(A, B, 5.0, (0, 0, 0)))


def test_it_can_be_stopped_and_tells_how_far_it_is() -> None:
    told: list[tuple[int, int, str]] = []
    with running(Task(lambda *news: told.append(news))):
        checkerboard(A, B)
    assert told[-1] == (5, 5, "comparing")
    cancel = Task()
    cancel.cancel()
    with running(cancel), pytest.raises(Cancelled):
        checkerboard(A, B)


def test_an_anisotropic_grid_has_square_tiles_on_screen() -> None:
    a = Volume(np.zeros((10, 80, 40), np.uint8), default_affine((8.0, 1.0, 2.0)), "unknown")
    b = a.with_voxels(np.ones_like(a.voxels))
    board = checkerboard(a, b, tile_mm=16).voxels
    np.testing.assert_array_equal(board[0, :, 0], (np.arange(80) // 16) % 2)
    np.testing.assert_array_equal(board[0, 0, :], (np.arange(40) // 8) % 2)
    np.testing.assert_array_equal(board[:, 0, 0], (np.arange(10) // 2) % 2)
