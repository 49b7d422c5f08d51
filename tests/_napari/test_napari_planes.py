"""Linked planes and grayscale beside color: copies, crosshair, mouse and handedness."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from mouse import move_mouse
from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QEnterEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

from marker_cases import CHANNEL, NAMED, OFFSETS, STORED, marked, stored_as, turned
from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.layers.grey_window import show_window
from tomochrome._napari.layers.volume_layers import volume_layer
from tomochrome._napari.viewer.canvas_marks import PLANES, CanvasMarks, canvas_point
from tomochrome._napari.viewer.layer_copies import LayerCopies
from tomochrome._napari.viewer.linked_planes import (
    GREY_MODE,
    KEYS,
    OFF,
    ORDERS,
    PLANES_MODE,
    LinkedPlanes,
)
from tomochrome._napari.viewer.measure_shapes import Measuring
from tomochrome._napari.viewer.orientation import Orientation
from tomochrome._napari.viewer.view_fit import fit_to_body
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.windowing import PRESETS

LEFT, POSTERIOR, HEAD = np.eye(3)
#: What is right and up on the screen, by the radiological convention.
SIDES = {(0, 1, 2): (LEFT, -POSTERIOR), (1, 0, 2): (LEFT, HEAD), (2, 0, 1): (POSTERIOR, HEAD)}


def copied(volume, order):
    """A viewer model with a volume, and another with its copy in a plane."""
    first, second = ViewerModel(), ViewerModel()
    first.add_layer(Layer.create(*volume_layer(volume)))
    follower_of(second, Orientation)
    copies = LayerCopies(first, second)
    second.dims.order = order
    return first, second, copies


def test_every_way_to_store_a_scan_gives_the_same_layer():
    upright, keywords, _ = volume_layer(marked())
    for stored in STORED:
        voxels, other, _ = volume_layer(stored_as(marked(), *stored))
        np.testing.assert_array_equal(voxels, upright)
        for name in ("scale", "translate"):
            np.testing.assert_allclose(other[name], keywords[name])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("angles", [(0, 0, 0), (12, -9, 7)], ids=["straight", "oblique"])
def test_no_plane_is_mirrored(order, angles, qapp):
    first, model, copies = copied(turned(marked(), *angles), order)
    (layer,), (copy,) = first.layers, model.layers
    model.canvas.size = (300, 400)
    right, up = SIDES[order]
    middle = layer.data_to_world((np.array(layer.data.shape[:3]) - 1) / 2)
    for name, offset in OFFSETS.items():
        at = np.argwhere(layer.data[..., CHANNEL[name]] > 128).mean(axis=0)
        place = canvas_point(model, copy.data_to_world(at)) - canvas_point(model, middle)
        seen = np.array([place.x(), -place.y()]) / model.scene.camera.zoom
        # an oblique scan is shown by its nearest axes, and so are its markers
        np.testing.assert_allclose(seen, [offset @ right, offset @ up], atol=1.1)
    copies.release()


def test_copies_follow_window_visibility_order_and_removal(small_ct, qapp):
    first, second, copies = copied(small_ct, (1, 0, 2))
    (grey,) = first.layers
    (copy,) = second.layers
    assert copy.data is grey.data
    show_window(grey, PRESETS["lung"], "lung")
    assert tuple(copy.contrast_limits) == tuple(grey.contrast_limits)
    grey.visible = False
    assert not copy.visible
    labels = first.add_labels(np.zeros(small_ct.shape, np.uint8), scale=grey.scale)
    assert [type(x).__name__ for x in second.layers] == ["Image", "Labels"]
    first.layers.move(1, 0)
    assert [type(x).__name__ for x in second.layers] == ["Labels", "Image"]
    first.layers.remove(labels)
    assert list(second.layers) == [copy]
    copies.release()
    grey.visible = True
    assert not copy.visible


def test_content_that_changes_is_drawn_again_but_a_plane_is_not_scrolled(small_ct, qtbot):
    first, second, copies = copied(small_ct, (1, 0, 2))
    (grey,), (copy,) = first.layers, second.layers
    draws = []
    copy.events.set_data.connect(lambda event: draws.append(event))
    for step in (3, 4, 5):
        first.dims.set_current_step(0, step)
    qtbot.wait(40)
    assert not draws
    grey.refresh()
    qtbot.waitUntil(lambda: len(draws) == 1)
    copies.release()


def test_copies_make_no_thumbnails(small_ct, qapp):
    """napari makes one for each slice that is shown, in a viewer without a list of layers, too."""
    _, second, copies = copied(small_ct, (1, 0, 2))
    (copy,) = second.layers
    made = []
    copy.events.thumbnail.connect(lambda event: made.append(event))
    for step in (3, 4, 5):
        second.dims.set_current_step(0, step)
    assert not made
    copies.release()


def test_the_first_change_of_content_is_drawn_too(small_ct, qtbot):
    first, _, copies = copied(small_ct, (1, 0, 2))
    draws = []
    copies.of[first.layers[0]].events.set_data.connect(lambda event: draws.append(event))
    first.layers[0].refresh()
    qtbot.waitUntil(lambda: len(draws) == 1)
    copies.release()


def test_measurements_and_landmarks_are_copied_and_follow(small_ct, qtbot):
    first, second, copies = copied(small_ct, (1, 0, 2))
    shapes = follower_of(first, Measuring).chosen()
    points = first.add_points(np.ones((1, 3)), ndim=3, features={"name": ["1"]}, text="name")
    measured, landmarks = copies.of[shapes], copies.of[points]
    assert len(second.layers) == 3
    line = np.array([(5, 0, 0), (5, 3, 4.0)])
    shapes.add(line, shape_type="line")
    shapes.add(np.array([(5, 0, 0), (5, 9, 0), (5, 9, 9.0)]), shape_type="path")
    points.add((2, 3, 4))
    points.features = {"name": ["1", "2"]}
    qtbot.waitUntil(lambda: len(measured.data) == len(landmarks.data) == 2)
    assert list(measured.shape_type) == ["line", "path"]
    np.testing.assert_array_equal(measured.data[0], line)
    assert list(measured.text.values) == list(shapes.text.values) == ["20.0 mm", "90.0°"]
    np.testing.assert_array_equal(landmarks.data, points.data)
    assert list(landmarks.text.values) == ["1", "2"]
    np.testing.assert_allclose(measured.data_to_world(line[1]), shapes.data_to_world(line[1]))
    shapes.data = []
    qtbot.waitUntil(lambda: not len(measured.data))
    shapes.add(line, shape_type="line")
    qtbot.waitUntil(lambda: len(measured.data) == 1)
    first.layers.remove(shapes)
    assert measured not in second.layers
    copies.release()


@pytest.mark.parametrize("order", ORDERS)
def test_the_body_fills_the_canvas(small_ct, order, qapp):
    model = ViewerModel()
    follower_of(model, Orientation)
    layer = model.add_layer(Layer.create(*volume_layer(small_ct)))
    model.dims.order = order
    model.canvas.size = (500, 400)
    fit_to_body(model)
    inside = np.argwhere(small_ct.voxels > -300)
    at = int(np.rint(layer.world_to_data(model.dims.point)[order[0]]))
    inside = inside[inside[:, order[0]] == at]
    ends = [canvas_point(model, layer.data_to_world(p)) for p in (inside.min(0), inside.max(0))]
    size = np.abs([ends[0].x() - ends[1].x(), ends[0].y() - ends[1].y()]) / [400, 500]
    assert 0.75 < size.max() < 0.93


def test_marks_keep_the_size_of_the_canvas_whatever_class_the_event_has(qtbot):
    canvas = QWidget()
    qtbot.addWidget(canvas)
    marks = CanvasMarks(ViewerModel(), canvas)
    canvas.resize(310, 170)  # not shown: Qt sends no event yet
    # PyQt may wrap a resize as the class of an event that was at its address before.
    assert not marks.eventFilter(canvas, QEvent(QEvent.Type.Resize))
    assert marks.size() == canvas.size()
    marks.release()


def test_the_text_at_the_cursor_goes_with_it(qtbot):
    canvas = QWidget()
    qtbot.addWidget(canvas)
    marks = CanvasMarks(ViewerModel(), canvas)
    marks.entered = lambda: setattr(marks, "text", "40 HU" if canvas.underMouse() else "")
    for kind, text in ((QEvent.Type.Enter, "40 HU"), (QEvent.Type.Leave, "")) * 2:
        where = [QPointF(5, 5)] * 3
        event = QEnterEvent(*where) if kind == QEvent.Type.Enter else QEvent(kind)
        QApplication.sendEvent(canvas, event)
        assert marks.text == text  # also without a move
    marks.release()


# In a window


@pytest.fixture
def link(window, small_ct, qtbot):
    prepare_viewer(window)
    window.window.resize(900, 700)
    window.add_layer(Layer.create(*volume_layer(small_ct)))
    linked = follower_of(window, LinkedPlanes)
    yield linked
    linked.open(OFF)
    window.layers.clear()
    window.dims.order = (0, 1, 2)


def models(link):
    return [link.viewer, *(canvas.model for canvas in link.canvases)]


def open_planes(link, qtbot):
    link.open(PLANES_MODE)
    qtbot.waitUntil(lambda: len(link.canvases) == 2)


def click(canvas, point, double=False):
    act = QTest.mouseDClick if double else QTest.mouseClick
    act(canvas.native, Qt.LeftButton, Qt.NoModifier, point)


@pytest.mark.gui
def test_a_click_in_any_plane_moves_all(painted, link, qtbot):
    link.toggle(PLANES_MODE)
    qtbot.waitUntil(lambda: link.settled)
    assert sorted(m.dims.order[-3] for m in models(link)) == [0, 1, 2]
    for canvas in link.canvases:
        middle = canvas.native.rect().center()
        before, point = link.position.copy(), middle + QPoint(20, -15)
        click(canvas, point)
        qtbot.waitUntil(lambda: link.is_current)
        shown = list(canvas.model.dims.displayed)
        at = canvas_point(canvas.model, link.position)
        # napari's own conversion of the pixel agrees with ours, but for the half of a voxel
        # by which its sliders round
        half = canvas.model.scene.camera.zoom * 2.5 + 1
        assert abs(at.x() - point.x()) < half
        assert abs(at.y() - point.y()) < half
        assert not np.allclose(link.position[shown], before[shown])
        for model in models(link):
            axis = model.dims.order[-3]
            assert model.dims.point[axis] == pytest.approx(link.position[axis])


@pytest.mark.gui
def test_scrolling_a_plane_moves_only_that_plane(link, qtbot):
    open_planes(link, qtbot)
    qtbot.waitUntil(lambda: link.is_current)
    draws = {model: [] for model in models(link)}
    for model, seen in draws.items():
        model.layers[0].events.set_data.connect(lambda _, seen=seen: seen.append(1))
    link.viewer.dims.set_current_step(0, 4)
    qtbot.waitUntil(lambda: link.is_current)
    assert link.position[0] == link.viewer.dims.point[0]
    assert [len(seen) for seen in draws.values()] == [1, 0, 0]
    assert link.canvases[0].marks.position[0] == link.position[0]


@pytest.mark.gui
def test_a_double_click_enlarges_a_plane_and_another_returns(link, qtbot):
    open_planes(link, qtbot)
    canvas = link.canvases[1]
    click(canvas, QPoint(60, 60), double=True)
    assert link.is_enlarged
    assert tuple(link.viewer.dims.order) == (2, 0, 1)
    link._enlarge(link.viewer, SimpleNamespace())
    assert not link.is_enlarged
    assert tuple(link.viewer.dims.order) == (0, 1, 2)


@pytest.mark.gui
def test_the_other_planes_make_room_for_that_of_the_viewer(link, qtbot):
    open_planes(link, qtbot)
    for order in (ORDERS[1], ORDERS[2], ORDERS[0]):
        link.viewer.dims.order = order
        assert sorted(m.dims.order[-3] for m in models(link)) == [0, 1, 2]


@pytest.mark.gui
def test_grayscale_beside_shares_camera_and_slice(link, qtbot):
    link.open(GREY_MODE)
    (canvas,) = link.canvases
    link.viewer.scene.camera.zoom *= 1.7
    assert canvas.model.scene.camera.zoom == pytest.approx(link.viewer.scene.camera.zoom)
    canvas.model.dims.set_current_step(0, 9)
    qtbot.waitUntil(lambda: link.is_current)
    assert link.viewer.dims.current_step[0] == 9
    link.viewer.dims.order = ORDERS[2]
    assert tuple(canvas.model.dims.order) == ORDERS[2]
    link.toggle(GREY_MODE)
    assert not link.canvases


@pytest.mark.gui
def test_only_the_name_of_a_plane_tells_the_number_of_its_slice(link, qtbot):
    open_planes(link, qtbot)
    for canvas in link.canvases:
        sliders = [x for x in canvas.qt_viewer.dims.slider_widgets if x.isVisible()]
        assert sliders
        for slider in sliders:
            assert not slider.curslice_label.isVisible()
            assert not slider.totslice_label.isVisible()
        axis = canvas.model.dims.order[0]
        steps = canvas.model.dims.nsteps[axis]
        canvas.model.dims.set_current_step(axis, steps - 1)
        assert canvas.marks.title == f"{PLANES[axis][0]} {steps}/{steps}"


@pytest.mark.gui
def test_a_single_plane_is_named_too_and_its_number_is_told_once(link, qtbot, painted):
    viewer = link.viewer
    (slider,) = [x for x in link._own().dims.slider_widgets if x.isVisible()]
    for order, (name, color) in zip(ORDERS, PLANES, strict=True):
        viewer.dims.order = order
        assert (link.marks.title, link.marks.color) == (name, color)
    viewer.dims.order = ORDERS[0]
    assert slider.curslice_label.isVisible()
    viewer.dims.set_current_step(0, 4)
    open_planes(link, qtbot)
    assert link.marks.title == "Axial 5/12"
    assert not slider.curslice_label.isVisible()
    link.open(OFF)
    assert link.marks.title == "Axial"
    assert slider.curslice_label.isVisible()
    viewer.layers.clear()
    assert link.marks.title == ""


@pytest.mark.gui
def test_the_window_is_dragged_in_any_plane(link, qtbot):
    open_planes(link, qtbot)
    grey = link.viewer.layers[0]
    before, native = tuple(grey.contrast_limits), link.canvases[0].native
    QTest.mousePress(native, Qt.RightButton, Qt.NoModifier, QPoint(80, 80))
    for x in (120, 140):
        move_mouse(qtbot, native, QPoint(x, 80), Qt.MouseButton.RightButton)
    QTest.mouseRelease(native, Qt.RightButton, Qt.NoModifier, QPoint(140, 80))
    after = tuple(grey.contrast_limits)
    assert after != before
    for canvas in link.canvases:
        assert tuple(canvas.model.layers[0].contrast_limits) == after


@pytest.mark.gui
def test_planes_close_with_the_last_scan_and_leave_no_trace(link, qtbot):
    viewer = link.viewer
    callbacks = [len(viewer.mouse_drag_callbacks), len(viewer.mouse_double_click_callbacks)]
    link.open(PLANES_MODE)
    link.viewer.layers.clear()
    qtbot.waitUntil(lambda: link.mode == OFF)
    assert not link.canvases
    assert callbacks == [
        len(viewer.mouse_drag_callbacks), len(viewer.mouse_double_click_callbacks)
    ]  # fmt: skip
    link.open(PLANES_MODE)
    assert link.mode == OFF
    assert "open one" in link.viewer.status
    names = {getattr(action, "__name__", "") for action in viewer.keymap.values()}
    assert names >= {f"tomochrome_{mode}" for mode in KEYS.values()}


@pytest.mark.gui
@pytest.mark.parametrize("stored", NAMED.values(), ids=NAMED)
def test_markers_are_drawn_on_the_right_side(link, qtbot, stored, painted):
    link.viewer.window.resize(500, 400)
    viewer = link.viewer
    viewer.layers.clear()
    layer = viewer.add_layer(Layer.create(*volume_layer(stored_as(marked(), *stored))))
    viewer.dims.point = layer.data_to_world((np.array(layer.data.shape[:3]) - 1) / 2)
    open_planes(link, qtbot)
    for canvas in link.canvases:
        qtbot.waitUntil(lambda: link.settled)
        picture = canvas.qt_viewer.screenshot(flash=False)[..., :3].astype(int)
        right, up = SIDES[tuple(canvas.model.dims.order)]
        for name, channel in CHANNEL.items():
            strong = picture[..., channel] - picture.sum(axis=-1) / 2 > 60
            if not strong.any():
                continue  # not in this plane
            row, column = np.argwhere(strong).mean(axis=0) - np.array(picture.shape[:2]) / 2
            offset = np.array(OFFSETS[name])
            assert np.sign(np.round(column / 20)) == np.sign(offset @ right)
            assert np.sign(np.round(-row / 20)) == np.sign(offset @ up)
