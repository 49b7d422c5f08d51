"""The parts of "Register & checkerboard" that need no window."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes
from register_cases import REPORT, SHIFT, body
from scipy.spatial.transform import Rotation

from tomochrome._napari.compare_modes import (
    MODES,
    Fields,
    Screen,
    make_view,
    parse_levels,
    remarks,
)
from tomochrome._napari.compare_picture import HANDLE_COLOR, ComparePicture
from tomochrome._napari.grid_picture import GridPicture
from tomochrome._napari.layers import behind, layer_position, volume_layer
from tomochrome._napari.register_layers import jacobian_layer, moved_drawing, moved_volume
from tomochrome._napari.register_place import (
    check_grey_layer,
    check_two,
    check_volume_layer,
    mask_of,
    place,
)
from tomochrome._napari.register_verdict import rows_of, verdict_of
from tomochrome.compare import Pair, Wipe, view
from tomochrome.compare.region import Region
from tomochrome.errors import InputError, OptionError
from tomochrome.registration.transform import Transform
from tomochrome.volume import Volume, default_affine
from tomochrome.windowing import Window


def layer_of(volume, name="scan"):
    return Layer.create(*volume_layer(volume, name))


def shift():
    matrix = np.eye(4)
    matrix[:3, 3] = SHIFT
    return Transform.from_affine(matrix)


def oblique():
    """A grid turned by 12 degrees about two axes."""
    affine = default_affine((6.0, 4.0, 4.0))
    turn = Rotation.from_euler("xz", [12, -9], degrees=True).as_matrix()
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = [0, 0, 140] - affine[:3, :3] @ ((np.array((14, 40, 36)) - 1) / 2)
    return affine


# Where layers lie


def test_our_own_layer_is_the_volume_behind_it():
    volume = body()
    layer = layer_of(volume)
    placed = place(layer)
    assert placed.volume is behind(layer.metadata).shown
    assert not placed.is_color
    np.testing.assert_array_equal(placed.volume.affine, volume.affine)
    np.testing.assert_allclose(placed.turn, np.eye(4), atol=1e-9)


@pytest.mark.parametrize("unit", ["pixel", "mm", "um"])
def test_another_readers_layer_lies_where_its_scale_and_units_say(unit):
    factor = 1000.0 if unit == "um" else 1.0
    layer = Image(
        body().voxels, scale=np.array([6, 4, 4]) * factor,
        translate=np.array([100, -80, -72]) * factor, units=(unit,) * 3,
    )  # fmt: skip
    placed = place(layer)
    np.testing.assert_allclose(placed.volume.affine, body().affine, atol=1e-6)
    assert placed.volume.unit == "HU"


def test_points_over_an_oblique_scan_are_brought_to_their_true_place():
    volume = body(affine=oblique())
    layer = layer_of(volume)
    placed = place(layer)
    index = np.array([[3.0, 11, 7]])
    drawn = Points([layer.data_to_world(index[0])], ndim=3, units=("mm",) * 3)
    shown = behind(layer.metadata).shown
    true = shown.affine[:3, :3] @ index[0] + shown.affine[:3, 3]
    np.testing.assert_allclose(placed.points_of(drawn)[0], true, atol=1e-6)
    back = placed.layer_points(drawn, placed.points_of(drawn))
    np.testing.assert_allclose(back, drawn.data, atol=1e-6)


def test_a_mask_drawn_over_an_oblique_scan_lies_with_it():
    layer = layer_of(body(affine=oblique()))
    marked = np.zeros(layer.data.shape, np.uint8)
    marked[4:8] = 3
    drawn = Labels(marked, scale=layer.scale, translate=layer.translate, units=("mm",) * 3)
    mask = mask_of(drawn, place(layer))
    np.testing.assert_allclose(mask.affine, behind(layer.metadata).shown.affine, atol=1e-6)
    assert set(np.unique(mask.voxels)) == {0, 1}
    with pytest.raises(InputError, match="nothing is marked"):
        mask_of(Labels(np.zeros((3, 4, 5), int)), place(layer))


def test_what_is_no_volume_is_refused_with_a_sentence():
    color = Image(np.zeros((4, 5, 6, 3), np.uint8), rgb=True, name="photo")
    with pytest.raises(InputError, match="'photo' is in color; register the grey layer"):
        check_grey_layer(color)
    check_volume_layer(color)
    with pytest.raises(InputError, match="2 dimensions"):
        check_grey_layer(Image(np.zeros((5, 6)), name="flat"))
    with pytest.raises(InputError, match="4 dimensions"):
        check_volume_layer(Image(np.zeros((2, 3, 5, 6)), name="movie"))
    with pytest.raises(InputError, match="points layer"):
        check_volume_layer(Points(np.zeros((1, 3)), name="dots"))
    with pytest.raises(InputError, match="no grey values"):
        check_grey_layer(Labels(np.zeros((3, 4, 5), int)))
    one = layer_of(body())
    with pytest.raises(InputError, match="chosen twice"):
        check_two(one, one, "register")
    with pytest.raises(InputError, match="open two volumes"):
        check_two(one, None, "register")


def test_colors_of_any_kind_become_rgba():
    for data in (
        np.full((3, 4, 5, 3), 255, np.uint8),
        np.full((3, 4, 5, 3), 65535, np.uint16),
        np.ones((3, 4, 5, 4), np.float32),
    ):
        volume = place(Image(data, rgb=True)).volume
        assert volume.voxels.dtype == np.uint8
        assert (volume.voxels == 255).all()
        assert volume.shape == (3, 4, 5)


def test_positions_are_turned_into_a_layers_own_units():
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((3, 4, 5)), units=("um",) * 3)
    viewer.add_image(np.zeros((3, 4, 5)), units=("mm",) * 3)
    shown = np.array([1.0, 2.0, 3.0])
    factor = 1000.0 if str(viewer.layers.units[0]).startswith("milli") else 1.0
    np.testing.assert_allclose(layer_position(viewer, layer, shown), shown * factor)


# Moving layers


def test_an_image_is_fetched_and_points_are_sent():
    fixed, moving = place(layer_of(body())), place(layer_of(body(SHIFT), "moving"))
    image = layer_of(body(SHIFT), "moving")
    data, keywords, kind = moved_volume(image, moving, fixed, shift())
    assert kind == "image"
    assert keywords["name"] == "moving · moved"
    np.testing.assert_array_equal(data, shift().apply(body(SHIFT), body()).voxels)
    unlike = np.abs(data.astype(float) - body().voxels).mean()
    assert unlike < 0.8 * np.abs(body(SHIFT).voxels.astype(float) - body().voxels).mean()
    points = Points([[120.0, 5, 7]], ndim=3, units=("mm",) * 3, features={"n": [1]})
    where, state, _ = moved_drawing(points, moving, fixed, shift().inverse())
    np.testing.assert_allclose(where, points.data - SHIFT[::-1])
    again = Points(where, **state)
    assert again.name.endswith("· moved")


def test_labels_stay_labels_and_shapes_become_outlines():
    fixed, moving = place(layer_of(body())), place(layer_of(body(SHIFT)))
    labels = Labels(
        np.where(body(SHIFT).voxels > 300, 700, 0).astype(np.int32), name="bone",
        scale=(6, 4, 4), translate=(100, -80, -72), units=("mm",) * 3,
    )  # fmt: skip
    data, _, kind = moved_volume(labels, moving, fixed, shift())
    assert kind == "labels"
    assert data.dtype == np.int32
    assert set(np.unique(data)) == {0, 700}
    square = np.array([[120, 0, 0], [120, 0, 10], [120, 10, 10], [120, 10, 0]], float)
    shapes = Shapes([square, square], shape_type=["ellipse", "path"])
    outlines, state, _ = moved_drawing(shapes, moving, fixed, shift().inverse())
    assert state["shape_type"] == ["polygon", "path"]
    np.testing.assert_allclose(outlines[1], square - SHIFT[::-1])
    np.testing.assert_allclose(outlines[0].mean(axis=0), square.mean(axis=0) - SHIFT[::-1])
    assert len(Shapes(outlines, **state).data) == 2


def test_two_dimensional_points_are_refused():
    placed = place(layer_of(body()))
    with pytest.raises(InputError, match="2 dimensions"):
        moved_drawing(Points(np.zeros((2, 2))), placed, placed, shift())


def test_holes_of_the_jacobian_are_no_change():
    holes = np.zeros((14, 40, 36), bool)
    holes[0] = True
    jacobian = Volume(
        np.full(holes.shape, 1.5, np.float32), body().affine, "unknown", outside=holes
    )
    data, keywords, _ = jacobian_layer(jacobian, place(layer_of(body())))
    assert (data[0] == 1).all()
    assert (data[1:] == 1.5).all()
    assert behind(keywords["metadata"]).role == "derived"


# Comparing


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
    whole = picture.whole()
    assert whole.shape == picture.shape
    assert whole.any()


def test_without_a_handle_the_picture_is_the_view(pair):
    shown = view("checkerboard", pair)
    picture = ComparePicture(shown)
    np.testing.assert_array_equal(picture[4], shown[4])
    np.testing.assert_array_equal(picture[:, 9], shown[:, 9])


@pytest.mark.parametrize("direction", ["vertical", "horizontal"])
def test_the_handle_lies_on_the_edge_and_nowhere_else(pair, direction):
    mode = "wipe left | right" if direction == "vertical" else "wipe above / below"
    wipe = make_view(Fields(mode=mode), pair)
    assert isinstance(wipe, Wipe)
    wipe.settings = wipe.settings.moved(0, 0.3)
    picture = ComparePicture(wipe)
    changed = (picture[5] != wipe[5]).any(axis=-1)
    axis = 1 if direction == "vertical" else 0
    lines = np.flatnonzero(changed.all(axis=1 - axis))
    assert len(lines) == 1
    assert abs(lines[0] - wipe.edge(0)) <= 0.5
    assert (picture[5][changed] == HANDLE_COLOR).all()
    assert changed.mean() < 0.1
    assert not (picture.whole()[5] == HANDLE_COLOR).all(axis=-1).any()


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


def test_levels_are_read_as_one_types_them():
    assert parse_levels("") is None
    assert parse_levels("-300, 200") == (-300.0, 200.0)
    assert parse_levels("1;2 3") == (1.0, 2.0, 3.0)
    with pytest.raises(OptionError, match="must be numbers"):
        parse_levels("bone")


def test_a_block_is_clear_until_a_worker_has_computed_it(pair):
    picture = ComparePicture(view("blend", pair))
    asked = []
    picture.wanted = lambda: asked.append(True)
    assert not picture[:, :, :].any()
    assert asked
    whole = picture.whole()
    picture.keep_whole(whole)
    np.testing.assert_array_equal(picture[:, :, :], whole)
    np.testing.assert_array_equal(np.asarray(picture), whole)
    picture.view = view("red-cyan", pair)
    assert not picture[...].any()


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
    """Left is left on the screen, whichever axis runs there and whichever way it runs."""
    mirrored = (False, True, True)
    wipe = make_view(Fields(mode="wipe left | right"), pair, None, Screen(True, mirrored))
    assert wipe.settings.direction == "horizontal"
    wipe.settings = wipe.settings.moved(0, 0.25)
    shown = wipe.second(Region((range(3, 4), range(40), range(36)), (True, False, False)))[0]
    np.testing.assert_array_equal(np.flatnonzero(~shown[:, 0]), np.arange(30, 40))
    assert wipe.edge(0) == pytest.approx(29.5)
    assert wipe.position(0, wipe.edge(0)) == pytest.approx(0.25)


def test_3d_shows_through_what_is_dark(pair):
    picture = ComparePicture(view("blend", pair))
    whole, solid = picture.whole(), picture.solid()
    assert (whole[..., 3] == 255).any()
    assert (solid[(whole[..., :3] == 0).all(axis=-1)][:, 3] == 0).all()
    np.testing.assert_array_equal(solid[..., :3], whole[..., :3])


def test_a_duplicate_stays_as_it_is(pair):
    picture = ComparePicture(make_view(Fields(mode="wipe left | right"), pair))
    picture.wanted = threading.Lock().acquire  # cannot be copied, as a window cannot
    before = picture[3].copy()
    twin = copy.deepcopy(picture)
    picture.view.settings = picture.view.settings.moved(0, 0.1)
    np.testing.assert_array_equal(twin[3], before)
    assert (picture[3] != before).any()
    assert twin.view.pair.a is picture.view.pair.a  # nothing large twice


def test_what_is_shown_otherwise_than_asked_is_said(pair):
    fields = Fields(tile_mm=2.0)
    assert "they are 6.0 mm" in remarks(make_view(fields, pair), fields, 2)
    fields = Fields(mode="difference", reach=50.0)
    assert "difference of 50 HU" in remarks(make_view(fields, pair), fields, 2)
    for mode in ("flicker", "wipe left | right"):
        fields = Fields(mode=mode)
        assert "2D only" in remarks(make_view(fields, pair), fields, 3)
        assert "2D only" not in remarks(make_view(fields, pair), fields, 2)


# Words


def test_a_good_result_says_so_and_still_asks_to_look():
    verdict = verdict_of(REPORT)
    assert verdict.grade == "good"
    assert "0.61 to 0.93" in verdict.text
    assert "checkerboard" in verdict.text
    rows = {row.name: row for row in rows_of(REPORT)}
    assert (rows["Correlation"].before, rows["Correlation"].after) == ("0.610", "0.930")
    assert rows["Correlation"].change == 1
    assert rows["Folded voxels"].after == "0 %"


def test_a_result_that_is_worse_says_so():
    from tomochrome.registration.report import warnings_of

    report = {**REPORT, "after": {**REPORT["after"], "ncc": 0.4}}
    report["warnings"] = list(warnings_of(report, "lncc"))
    verdict = verdict_of(report)
    assert verdict.grade == "bad"
    assert "worse" in verdict.heading
    assert rows_of(report)[0].change == -1


def with_overlaps(before, after, **measures):
    """A report of two that had a share of their field of view in common, and have another."""
    old, new = ({**REPORT[when], **measures} for when in ("before", "after"))
    return {**REPORT, "before": {**old, "overlap": before}, "after": {**new, "overlap": after}}


def test_a_result_with_little_left_in_common_is_said_in_the_words_of_the_report():
    from tomochrome.registration.report import warnings_of

    lost = with_overlaps(0.9, 0.04)
    (said,) = warnings_of(lost, "lncc")
    for report in (lost, {**lost, "warnings": [said]}):
        verdict = verdict_of(report)
        assert verdict.grade == "bad"
        assert "worse" in verdict.heading
        assert verdict.text.count("of what the two volumes had in common only 4 % is left") == 1
    row = {row.name: row for row in rows_of(lost)}["In common"]
    assert (row.before, row.after) == ("90 %", "4 %")


def test_likeness_in_a_thin_slice_is_not_compared_with():
    report = with_overlaps(0.04, 0.98, ncc=0.92, mutual_information=0.9)
    report["before"] = {**report["before"], "ncc": 1.0, "mutual_information": 1.0}
    verdict = verdict_of(report)
    assert verdict.grade == "good"
    assert "hardly" not in verdict.text and "1.00" not in verdict.text
    assert {row.change for row in rows_of(report)} == {0}
    there = {**report, "before": {**report["before"], "overlap": 0.98}}
    assert verdict_of(there).grade == "bad"


def test_folds_and_doubts_are_said():
    folds = {**REPORT, "warnings": ["the deformation folds 2 % of the voxels: do not trust it"]}
    folds["jacobian"] = {"folded_percent": 2.0, "sd_log": 0.1}
    assert verdict_of(folds).grade == "bad"
    few = {**folds, "jacobian": {"folded_percent": 1e-5, "sd_log": 0.1}}
    assert verdict_of(few).grade == "caution"
    assert "less than 0.01 % of the voxels" in verdict_of(few).text
    assert {row.name: row for row in rows_of(few)}["Folded voxels"].after == "less than 0.01 %"
    apart = {**REPORT, "after": {}}
    assert verdict_of(apart).grade == "bad"
    assert "nothing in common" in verdict_of(apart).text
    unsaid = {**few, "warnings": [], "jacobian": {"folded_percent": 0.5, "sd_log": 0.1}}
    assert verdict_of(unsaid).grade == "bad"  # the number counts, not another program's words
    worse = {**few, "warnings": ["the registration made it worse: x", *folds["warnings"]]}
    assert "less than 0.01 % of the voxels" in verdict_of(worse).text
    assert "2 %" not in verdict_of(worse).text
    alike = {**REPORT, "before": {**REPORT["after"]}}
    assert "hardly better" in verdict_of(alike).text
    little = {**REPORT, "after": {**REPORT["after"], "ncc": 0.3}, "before": {"ncc": 0.1}}
    assert "little alike" in verdict_of(little).text
    rough = {**REPORT, "jacobian": {"folded_percent": 0.0, "sd_log": 0.8}}
    assert verdict_of(rough).grade == "caution"


def test_landmarks_and_labels_have_their_rows():
    report = {
        **REPORT,
        "before": {**REPORT["before"], "tre_mm": {"mean": 8.0}, "dice_mean": 0.6},
        "after": {**REPORT["after"], "tre_mm": {"mean": 2.0}, "dice_mean": 0.8},
    }
    rows = {row.name: row for row in rows_of(report)}
    assert rows["Landmarks, mm"].change == 1
    assert rows["Label overlap (Dice)"].after == "0.800"
