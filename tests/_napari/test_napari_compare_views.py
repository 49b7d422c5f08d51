"""The image of each comparison mode, and its orientation, without a window."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
from register_cases import body, shift

from tomochrome._napari.compare.compare_layer import ComparePicture
from tomochrome._napari.compare.compare_modes import (
    MODES,
    Fields,
    has_unlike_windows,
    make_view,
    parse_levels,
    remarks,
)
from tomochrome._napari.registration.deformation_layers import GridPicture
from tomochrome._napari.viewer.orientation import Screen
from tomochrome.compare import Pair, view
from tomochrome.compare.region import Region
from tomochrome.errors import OptionError
from tomochrome.transform import Transform
from tomochrome.windowing import Window


@pytest.fixture(scope="module")
def pair():
    pair = Pair(body(), body((4, 4, 0), (5.0, 3.0, 3.0), (17, 53, 48)), color=True)
    pair.windows = (Window(40, 400), Window(40, 400))
    return pair


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_makes_a_view_that_can_be_seen_in_all_planes(pair, mode):
    picture = ComparePicture(make_view(Fields(mode=mode), pair))
    for key in (3, np.s_[:, 5], np.s_[:, :, 7], np.s_[2, ::-1, 4:9]):
        plane = picture[key]
        assert plane.shape == np.empty(picture.shape, bool)[key].shape
    whole = picture.compute_all()
    assert whole.shape == picture.shape
    assert whole.any()


@pytest.mark.parametrize("mode", MODES)
def test_the_picture_is_the_view_and_nothing_is_drawn_into_its_voxels(pair, mode):
    shown = make_view(Fields(mode=mode), pair)
    picture = ComparePicture(shown)
    np.testing.assert_array_equal(picture[4], shown[4])
    np.testing.assert_array_equal(picture[:, 9], shown[:, 9])


def test_a_wipe_keeps_its_place_while_other_fields_change(pair):
    wipe = make_view(Fields(mode="wipe left | right"), pair)
    wipe.settings = wipe.settings.moved(1, 0.2)
    again = make_view(Fields(mode="wipe left | right", tile_mm=5), pair, wipe)
    assert again.settings == wipe.settings
    other = make_view(Fields(mode="wipe above / below"), pair, again)
    assert other.settings.positions == (0.5, 0.5, 0.5)


def test_tiles_are_never_smaller_than_a_voxel(pair):
    board = make_view(Fields(tile_mm=0.5), pair)
    assert board.settings.tile_mm == pytest.approx(6.0)


def test_levels_are_parsed_from_free_text():
    assert parse_levels("") is None
    assert parse_levels("-300, 200") == (-300.0, 200.0)
    assert parse_levels("1;2 3") == (1.0, 2.0, 3.0)
    with pytest.raises(OptionError, match="must be numbers"):
        parse_levels("bone")


def test_a_block_is_transparent_until_a_worker_has_computed_it(pair):
    picture = ComparePicture(view("blend", pair))
    asked = []
    picture.requested = lambda: asked.append(True)
    assert not picture[:, :, :].any()
    assert picture.tile == (picture.shape[:3], tuple((n - 1) / 2 for n in picture.shape[:3]))
    assert asked == [True]
    solid = picture.render((1, 1, 1))
    picture.keep(solid)
    np.testing.assert_array_equal(picture[:, :, :], solid.rgba)
    assert asked == [True]
    np.testing.assert_array_equal(np.asarray(picture), picture.compute_all())
    picture.view = view("red-cyan", pair)
    assert asked == [True, True]
    np.testing.assert_array_equal(picture[:, :, :], solid.rgba)  # until there is another
    picture.forget()
    picture.view = view("blend", pair)
    assert asked == [True, True, True]  # by the block asked for above, not in 2D


def test_a_coarse_picture_holds_one_voxel_of_each_block(pair):
    picture = ComparePicture(view("blend", pair))
    coarse = picture.render((2, 3, 4))
    np.testing.assert_array_equal(coarse.rgba[..., :3], picture.compute_all()[1::2, 1::3, 2::4, :3])
    assert (coarse.steps, coarse.offset) == ((2, 3, 4), (1, 1, 2))


def test_without_deformation_the_grid_is_square():
    picture = GridPicture(Transform.identity(), body(), 48.0)
    plane = picture[7][..., 3]
    assert (plane[:, 0] > 0).all()  # the first line runs through the first voxel
    rows = np.flatnonzero((plane > 100).all(axis=1))
    columns = np.flatnonzero((plane > 100).all(axis=0))
    np.testing.assert_array_equal(np.diff(rows), 12)  # 48 mm are 12 voxels of 4 mm
    np.testing.assert_array_equal(np.diff(columns), 12)
    moved = GridPicture(shift(), body(), 48.0)[7][..., 3]
    assert (moved != plane).any()


def test_a_curtain_follows_the_screen(pair):
    """Left is left on the screen, whatever the axis and its direction."""
    mirrored = (False, True, True)
    wipe = make_view(Fields(mode="wipe left | right"), pair, None, Screen(True, mirrored))
    assert wipe.settings.direction == "horizontal"
    wipe.settings = wipe.settings.moved(0, 0.25)
    shown = wipe.second(Region((range(3, 4), range(40), range(36)), (True, False, False)))[0]
    np.testing.assert_array_equal(np.flatnonzero(~shown[:, 0]), np.arange(30, 40))
    assert wipe.edge(0) == pytest.approx(29.5)
    assert wipe.position(0, wipe.edge(0)) == pytest.approx(0.25)


def test_dark_voxels_are_transparent_in_3d(pair):
    picture = ComparePicture(view("blend", pair))
    whole, solid = picture.compute_all(), picture.render((1, 1, 1)).rgba
    assert (whole[..., 3] == 255).any()
    assert (solid[(whole[..., :3] == 0).all(axis=-1)][:, 3] == 0).all()
    np.testing.assert_array_equal(solid[..., :3], whole[..., :3])


def test_a_duplicate_stays_as_it_is(pair):
    picture = ComparePicture(make_view(Fields(mode="wipe left | right"), pair))
    picture.requested = threading.Lock().acquire  # cannot be copied, like a window
    before = picture[3].copy()
    twin = copy.deepcopy(picture)
    picture.view.settings = picture.view.settings.moved(0, 0.1)
    np.testing.assert_array_equal(twin[3], before)
    assert (picture[3] != before).any()
    assert twin.view.pair.a is picture.view.pair.a  # large arrays are shared


def test_different_windows_give_a_remark():
    pair = Pair(body(), body(), color=True)
    one, wider = Window(40, 400, "LINEAR_EXACT"), Window(40, 1900, "LINEAR_EXACT")
    for windows, unlike in (((one, one), False), ((one, wider), True)):
        pair.windows = windows
        for mode in MODES:
            fields = Fields(mode=mode)
            view = make_view(fields, pair)
            assert ("different windows" in remarks(view, fields, 2)) == has_unlike_windows(
                view, fields
            )
            assert has_unlike_windows(view, fields) == (
                unlike and mode not in ("difference", "contours")
            )


def test_deviations_from_the_fields_give_a_remark(pair):
    fields = Fields(tile_mm=2.0)
    assert "The tiles are 6.0 mm" in remarks(make_view(fields, pair), fields, 2)
    fields = Fields(mode="difference", reach=50.0)
    assert "difference of 50 HU" in remarks(make_view(fields, pair), fields, 2)
    fields = Fields(mode="flicker")
    assert "2D only" in remarks(make_view(fields, pair), fields, 3)
    assert "2D only" not in remarks(make_view(fields, pair), fields, 2)
