"""Color and grayscale in the Colorize panel: a wipe with a line on the canvas, and a flicker."""

from __future__ import annotations

import numpy as np
import pytest
from colorize_panel_cases import colorize, lit, on_screen
from mouse import move_mouse
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from tomochrome._napari.colorize.grey_split import FLICKER, OFF, WIPE
from tomochrome._napari.export.layer_writers import layer_volume
from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.layers.volume_layers import source_of, volume_layer
from tomochrome._napari.viewer.canvas_marks import canvas_point
from tomochrome._napari.viewer.linked_planes import OFF as CLOSED
from tomochrome._napari.viewer.wipe_handle import WipeHandles, WipeLine

pytestmark = pytest.mark.gui

WINDOW = "default"
ORDERS = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}


def lines(viewer):
    """The visible wipe lines on the canvas."""
    overlays = viewer.scene.overlays.values()
    return [line for line in overlays if isinstance(line, WipeLine) and line.visible]


@pytest.fixture
def colored(panel, qtbot):
    colorize(panel, qtbot)
    dims = panel.viewer.dims
    yield panel
    dims.ndisplay, dims.order = 2, (0, 1, 2)


def plane(panel, whole):
    """The displayed plane of a volume, with rows down and columns across."""
    dims = panel.viewer.dims
    fixed = dims.not_displayed[0]
    flat = whole.take(dims.current_step[fixed], axis=fixed)
    return flat if dims.displayed[0] < dims.displayed[1] else flat.swapaxes(0, 1)


@pytest.mark.parametrize("order", ORDERS)
def test_left_of_the_line_is_grey_and_only_the_color_differs(colored, order):
    panel = colored
    panel.viewer.dims.order = ORDERS[order]
    panel.view.grey_split.mode.setCurrentText(WIPE)
    color, grey = (plane(panel, lit(panel, WINDOW, saturation=s)) for s in (1.0, 0.0))
    layer = panel.coloring.layer
    for percent in (50, 20, 80, 0, 100):
        panel.view.grey_split.place.box.setValue(percent)
        shown = on_screen(layer)
        edge = round(percent / 100 * color.shape[1])
        np.testing.assert_array_equal(shown[:, edge:], color[:, edge:])
        np.testing.assert_array_equal(shown[:, :edge], grey[:, :edge])
    assert len(lines(panel.viewer)) == 1
    panel.view.grey_split.mode.setCurrentText(OFF)
    np.testing.assert_array_equal(on_screen(layer), color)
    assert lines(panel.viewer) == []


def test_dragging_the_line_moves_the_edge_and_each_plane_keeps_its_own(colored):
    panel, layer = colored, colored.coloring.layer
    panel.view.grey_split.mode.setCurrentText(WIPE)
    handle = panel.grey_split._handle
    where = layer.data_to_world((6, 24, 9.6))  # index 9.5 + 0.1: voxels 0 to 9 are grey
    assert not handle.near(where)
    handle._follow(where)
    assert handle.near(where)
    assert panel.view.grey_split.place.value() == pytest.approx(100 * 10.1 / 40, abs=0.6)
    color, grey = (lit(panel, WINDOW, saturation=s)[6] for s in (1.0, 0.0))
    panel.viewer.dims.set_current_step(0, 6)
    np.testing.assert_array_equal(on_screen(layer)[:, :10], grey[:, :10])
    np.testing.assert_array_equal(on_screen(layer)[:, 10:], color[:, 10:])
    panel.viewer.dims.order = (2, 0, 1)
    assert panel.view.grey_split.place.value() == pytest.approx(50, abs=0.6)
    panel.viewer.dims.order = (0, 1, 2)
    assert panel.view.grey_split.place.value() == pytest.approx(25, abs=0.6)


def test_the_grey_side_follows_the_light(colored, qtbot):
    panel, layer = colored, colored.coloring.layer
    panel.view.grey_split.mode.setCurrentText(WIPE)
    panel.view.color.confidence_row.slider.setValue(900)
    panel.view.window.center.box.setValue(-100)
    panel.view.window.width.box.setValue(300)
    settings = {"min_confidence": 0.9}
    color, grey = (
        plane(panel, lit(panel, "-100/300", saturation=s, **settings)) for s in (1.0, 0.0)
    )
    qtbot.waitUntil(lambda: np.array_equal(on_screen(layer)[:, 20:], color[:, 20:]), timeout=5000)
    np.testing.assert_array_equal(on_screen(layer)[:, :20], grey[:, :20])


def halves(panel, canvas):
    """The columns in which a canvas shows grey and those in which it shows color."""
    (copy,) = [x for x in canvas.model.layers if source_of(x.metadata).role == "color"]
    axis = canvas.model.dims.order[0]
    at = canvas.model.dims.current_step[axis]
    color, grey = (lit(panel, WINDOW, saturation=s).take(at, axis=axis) for s in (1.0, 0.0))
    shown = on_screen(copy)
    differ = (color != grey).any(axis=(0, 2))
    is_grey = (shown == grey).all(axis=(0, 2))
    assert (is_grey | (shown == color).all(axis=(0, 2))).all()
    return np.flatnonzero(differ & is_grey), np.flatnonzero(differ & ~is_grey)


def test_every_linked_plane_is_divided_and_has_the_line(colored, linked, qtbot):
    panel = colored
    panel.view.grey_split.mode.setCurrentText(WIPE)
    for canvas in linked.canvases:
        assert len(lines(canvas.model)) == 1
        columns = canvas.model.layers[0].data.shape[canvas.model.dims.order[2]]
        qtbot.waitUntil(lambda canvas=canvas: halves(panel, canvas)[0].size > 0)
        grey, color = halves(panel, canvas)
        assert grey.max() < columns / 2 <= color.min()
    panel.view.grey_split.mode.setCurrentText(FLICKER)
    panel.grey_split.timer.timeout.emit()
    for canvas in linked.canvases:
        assert lines(canvas.model) == []
        qtbot.waitUntil(lambda canvas=canvas: halves(panel, canvas)[1].size == 0)
    panel.view.grey_split.mode.setCurrentText(OFF)
    for canvas in linked.canvases:
        qtbot.waitUntil(lambda canvas=canvas: not halves(panel, canvas)[0].size > 0)


def test_the_line_is_dragged_in_a_linked_plane(colored, linked, qtbot):
    panel, position = colored, linked.position.copy()
    panel.view.grey_split.mode.setCurrentText(WIPE)
    (coronal,) = [x for x in linked.canvases if x.model.dims.order[0] == 1]
    (sagittal,) = [x for x in linked.canvases if x.model.dims.order[0] == 2]
    (line,) = lines(coronal.model)
    before = lines(sagittal.model)[0].points
    start = canvas_point(coronal.model, (line.points[2][0], 0, line.points[2][1])).toPoint()
    QTest.mousePress(coronal.native, Qt.LeftButton, Qt.NoModifier, start)
    end = start + QPoint(30, 0)
    for at in (start + QPoint(15, 0), end):
        move_mouse(qtbot, coronal.native, at, Qt.MouseButton.LeftButton)
    QTest.mouseRelease(coronal.native, Qt.LeftButton, Qt.NoModifier, end)
    moved = canvas_point(coronal.model, (0, 0, lines(coronal.model)[0].points[0][1]))
    assert moved.x() == pytest.approx(end.x(), abs=1.5)
    # The axial plane is divided at the same place, the sagittal one where it was.
    assert lines(panel.viewer)[0].points[0][1] == lines(coronal.model)[0].points[0][1]
    assert lines(sagittal.model)[0].points == before
    np.testing.assert_allclose(linked.position, position)  # the crosshair stays
    edge = lines(coronal.model)[0].points[0][1]
    layer = panel.coloring.layer
    column = layer.world_to_data((0, 0, edge))[2]

    def is_divided():
        grey, color = halves(panel, coronal)
        return grey.size > 0 and grey.max() < column < color.min()

    qtbot.waitUntil(is_divided)


def test_lines_close_with_their_planes(colored, linked):
    panel, handle_of = colored, follower_of(colored.viewer, WipeHandles)
    panel.view.grey_split.mode.setCurrentText(WIPE)
    (handle,) = handle_of.all
    models = [canvas.model for canvas in linked.canvases]
    linked.open(CLOSED)
    assert [lines(model) for model in models] == [[], []]
    handle.update()
    assert len(lines(panel.viewer)) == 1
    panel.view.grey_split.mode.setCurrentText(OFF)
    assert handle_of.all == []


def test_flicker_alternates_at_its_rate_in_2d_only(colored, qtbot):
    panel, layer, split = colored, colored.coloring.layer, colored.grey_split
    color, grey = (plane(panel, lit(panel, WINDOW, saturation=s)) for s in (1.0, 0.0))
    panel.view.grey_split.mode.setCurrentText(FLICKER)
    assert split.timer.isActive()
    panel.view.grey_split.rate.box.setValue(10)
    assert split.timer.interval() == 100
    panel.view.grey_split.rate.box.setValue(0.5)
    for expected in (grey, color, grey):
        split.timer.timeout.emit()
        np.testing.assert_array_equal(on_screen(layer), expected)
    panel.viewer.dims.ndisplay = 3
    assert not split.timer.isActive()
    assert panel.view.grey_split.only_2d.isVisibleTo(panel.view.grey_split)
    panel.viewer.dims.ndisplay = 2
    assert split.timer.isActive()
    panel.view.grey_split.mode.setCurrentText(OFF)
    assert not split.timer.isActive()
    np.testing.assert_array_equal(on_screen(layer), color)


def test_it_follows_the_selected_scan_and_is_not_saved(colored, qtbot, small_ct):
    from napari.layers import Layer

    panel, layer = colored, colored.coloring.layer
    whole = lit(panel, WINDOW)
    panel.view.grey_split.mode.setCurrentText(WIPE)
    saved = layer_volume(layer.data, {"metadata": layer.metadata})
    np.testing.assert_array_equal(saved.voxels, whole)
    other = panel.viewer.add_layer(Layer.create(*volume_layer(small_ct, "other")))
    panel.view.layer.choose(other)
    assert lines(panel.viewer) == []
    np.testing.assert_array_equal(on_screen(layer), plane(panel, whole))
    panel.view.layer.choose(panel.viewer.layers[0])
    assert lines(panel.viewer) == []  # the other scan covers it
    other.visible = False
    assert len(lines(panel.viewer)) == 1
    layer.visible = False
    assert lines(panel.viewer) == []
    layer.visible = True
    assert len(lines(panel.viewer)) == 1


@pytest.mark.parametrize("mode", [WIPE, FLICKER])
def test_releasing_the_panel_leaves_nothing_behind(colored, mode):
    panel, viewer, layer = colored, colored.viewer, colored.coloring.layer
    whole = lit(panel, WINDOW)
    drags = list(viewer.mouse_drag_callbacks)
    panel.view.grey_split.mode.setCurrentText(mode)
    panel.grey_split.timer.timeout.emit()
    timer = panel.grey_split.timer
    panel.release()
    assert not timer.isActive()
    assert lines(viewer) == []
    assert list(viewer.mouse_drag_callbacks) == drags
    np.testing.assert_array_equal(on_screen(layer), whole[viewer.dims.current_step[0]])
