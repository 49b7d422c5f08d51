"""Wipe and flicker, by mouse and keys, in all screen orientations."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from mouse import move_mouse
from napari.layers import Layer
from panel_cases import choose, compare, on_screen, register, settle
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from register_cases import body

from tomochrome._napari.layers.volume_layers import volume_layer
from tomochrome._napari.viewer.canvas_marks import canvas_point
from tomochrome._napari.viewer.wipe_handle import WipeLine
from tomochrome.compare.region import Region, split
from tomochrome.volume import default_affine

pytestmark = pytest.mark.gui


def test_flicker_alternates_and_pauses_when_hidden(panel, qtbot):
    comparison = compare(panel, qtbot, "flicker")
    panel.view.compare.rate.box.setValue(10)
    turns = set()

    def seen():
        turns.add(comparison.view.settings.which)
        return turns == {"a", "b"}

    qtbot.waitUntil(seen, timeout=5000)
    comparison.layer.visible = False
    assert not panel.comparing.flicker.isActive()
    comparison.layer.visible = True
    assert panel.comparing.flicker.isActive()
    panel.viewer.dims.ndisplay = 3
    assert not panel.comparing.flicker.isActive()


def test_the_curtain_is_dragged_by_its_edge(panel, qtbot):
    comparison = compare(panel, qtbot, "wipe left | right")
    viewer, layer = panel.viewer, comparison.layer
    camera = viewer.scene.camera

    def at(column):
        return layer.data_to_world((7, 20, column))

    event = SimpleNamespace(type="mouse_press", button=1, position=at(17.5), handled=False)
    drag = panel.comparing.handle._drag
    assert drag in viewer.mouse_drag_callbacks
    steps = drag(viewer, event)
    next(steps)
    assert not camera.mouse_pan
    event.type, event.position = "mouse_move", at(8.5)
    next(steps)
    assert comparison.view.settings.positions[0] == pytest.approx(0.25)
    assert comparison.view.settings.positions[1] == 0.5
    event.type = "mouse_release"
    assert next(steps, "done") == "done"
    assert camera.mouse_pan
    # Elsewhere the mouse is napari's.
    event = SimpleNamespace(type="mouse_press", button=1, position=at(30), handled=False)
    assert next(drag(viewer, event), "done") == "done"


def test_no_line_divides_a_scan_that_covers_the_comparison(panel, qtbot):
    compare(panel, qtbot, "wipe left | right")
    viewer, line = panel.viewer, panel.comparing.handle.line
    assert line.visible
    away = body(affine=default_affine((6, 4, 4), (5000, 5000, 5000)))
    viewer.add_layer(Layer.create(*volume_layer(away, "elsewhere")))
    assert line.visible
    other = viewer.add_layer(Layer.create(*volume_layer(body(), "another")))
    assert not line.visible
    other.visible = False
    assert line.visible
    other.visible = True
    viewer.layers.move(viewer.layers.index(other), 0)
    assert line.visible
    viewer.layers.move(0, len(viewer.layers))
    assert not line.visible
    viewer.layers.remove(other)
    assert line.visible
    viewer.layers.remove("elsewhere")


def test_real_mouse_events_drag_the_curtain(panel, qtbot):
    from vispy.app.canvas import MouseEvent

    comparison = compare(panel, qtbot, "wipe left | right")
    viewer = panel.viewer
    canvas = viewer.window._qt_viewer.canvas
    viewer.fit_to_view()
    qtbot.wait(50)
    width, height = canvas._scene_canvas.size
    center = tuple(viewer.scene.camera.center)
    middle = np.array([width / 2, height / 2])

    def mouse(kind, pos, press=None):
        options = {"press_event": press} if press is not None else {}
        event = MouseEvent(type=kind, pos=pos, button=1, buttons=[1], **options)
        getattr(canvas._scene_canvas.events, kind)(event)
        return event

    # The wipe line is in the middle of the image, and thus of the canvas.
    press = mouse("mouse_press", middle)
    beside = middle + np.array([40, 0])
    mouse("mouse_move", beside, press)
    mouse("mouse_release", beside, press)
    assert comparison.view.settings.positions[0] > 0.51
    assert tuple(viewer.scene.camera.center) == center  # the picture itself stayed


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_left_is_left_on_the_screen_however_the_axes_are_rolled(panel, qtbot, turns):
    compare(panel, qtbot, "wipe left | right")
    for _ in range(turns):
        panel.viewer.dims.roll()
    start, end, grip = panel.comparing.handle.line.points
    assert start[1] == end[1] == grip[1]  # a whole column of the picture
    assert abs(end[0] - start[0]) > 80


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
@pytest.mark.parametrize("zoomed", [1, 12])
def test_the_line_is_as_thin_at_every_zoom_and_has_a_grip(panel, qtbot, order, zoomed):
    """The line is drawn on the canvas, not into voxels of 6 x 4 x 4 mm."""
    comparison = compare(panel, qtbot, "wipe left | right")
    viewer = panel.viewer
    viewer.dims.order = order
    viewer.fit_to_view()
    viewer.scene.camera.zoom *= zoomed
    qtbot.wait(50)
    shown = viewer.screenshot(canvas_only=True, flash=False).astype(int)
    amber = (np.abs(shown[..., :3] - (255, 196, 0)) < 12).all(axis=-1)
    height, width = amber.shape
    grip = amber[height // 2 - 16 : height // 2 + 16]
    assert grip[:, width // 2 - 16 : width // 2 + 16].sum() > 250  # in the middle of what is seen
    line = amber[height // 2 + 30]
    assert 1 <= line.sum() <= 3
    assert abs(np.flatnonzero(line).mean() - width / 2) < 3
    assert not (np.asarray(comparison.layer.data[7])[..., :3] == (255, 196, 0)).all(axis=-1).any()


def test_left_is_left_on_a_screen_that_is_turned(panel, qtbot):
    comparison = compare(panel, qtbot, "wipe left | right")
    panel.comparing.wipe_to(0.25)
    first = comparison.view.second(split(7, comparison.view.shape)[0])[0, 0]
    assert list(np.flatnonzero(~first)) == list(range(9))
    panel.viewer.scene.camera.orientation2d = ("down", "left")
    first = comparison.view.second(split(7, comparison.view.shape)[0])[0, 0]
    assert list(np.flatnonzero(~first)) == list(range(27, 36))
    panel.viewer.scene.camera.orientation2d = ("down", "right")


def test_the_curtain_is_moved_by_the_keys_too(panel, qtbot):
    comparison = compare(panel, qtbot, "wipe left | right")
    curtain = panel.view.compare.curtain
    assert curtain.value() == 50
    curtain.box.setFocus()
    for _ in range(10):
        qtbot.keyClick(curtain.box, Qt.Key.Key_Up)
    assert comparison.view.settings.positions == pytest.approx((0.6, 0.5, 0.5))
    panel.viewer.dims.roll()
    assert curtain.value() == 50  # every plane has its own
    panel.comparing.wipe_to(0.25)
    assert curtain.value() == 25


def test_the_wipe_keeps_its_position_between_before_and_after(panel, qtbot, engine):
    choose(panel.view.compare.mode, "wipe left | right")
    register(panel, qtbot)
    panel.comparing.wipe_to(0.25)
    panel.view.compare.before.click()
    settle(panel, qtbot)
    comparison = panel.comparing.comparison
    assert comparison.layers[1].name == "follow-up"
    assert comparison.view.settings.positions[0] == 0.25


def test_a_wipe_can_be_dragged_when_an_affine_has_the_spacing(panel, qtbot):
    viewer = panel.viewer
    viewer.layers.clear()
    for name in ("one", "two"):
        viewer.add_image(
            body().voxels, affine=np.diag([6000.0, 4000, 4000, 1]), units=("um",) * 3, name=name
        )
    comparison = compare(panel, qtbot, "wipe left | right")
    viewer.fit_to_view()
    edge = comparison.view.edge(0)

    def caught(column):
        return panel.comparing.handle.near(comparison.layer.data_to_world((7, 20, column)))

    assert caught(edge)
    assert not caught(edge + 15)


def shows(copy, expected):
    return np.array_equal(on_screen(copy), expected)


def of_comparison(canvas, comparison):
    """The copy of the comparison in a canvas, and its plane computed by the core."""
    copy = canvas.copies.of[comparison.layer]
    axis = canvas.model.dims.order[0]
    index = [slice(None)] * 3
    index[axis] = canvas.model.dims.current_step[axis]
    return copy, np.asarray(comparison.view[tuple(index)])


@pytest.mark.parametrize("mode", ["checkerboard", "wipe left | right", "wipe above / below"])
def test_linked_planes_show_the_comparison(panel, linked, qtbot, mode):
    comparison = compare(panel, qtbot, mode)
    for canvas in linked.canvases:
        copy, expected = of_comparison(canvas, comparison)
        assert copy.visible
        assert not any(x.visible for x in canvas.model.layers if x is not copy)
        qtbot.waitUntil(partial(shows, copy, expected))
        # Of the two bodies, one is shifted: each plane has voxels of both.
        both = [np.asarray(comparison.pair.read(x, region_of(canvas))) for x in "ab"]
        assert not any(np.array_equal(np.squeeze(each), expected) for each in both)


def region_of(canvas):
    axis = canvas.model.dims.order[0]
    at = canvas.model.dims.current_step[axis]
    shape = canvas.model.layers[0].data.shape
    axes = [range(n) for n in shape[:3]]
    axes[axis] = range(at, at + 1)
    single = [each == axis for each in range(3)]
    return Region(tuple(axes), tuple(single))


@pytest.mark.parametrize("mode", ["wipe left | right", "wipe above / below"])
def test_the_curtain_is_dragged_in_a_linked_plane(panel, linked, qtbot, mode):
    comparison = compare(panel, qtbot, mode)
    (coronal,) = [x for x in linked.canvases if x.model.dims.order[0] == 1]
    overlays = coronal.model.scene.overlays.values()
    (line,) = [x for x in overlays if isinstance(x, WipeLine) and x.visible]
    down = mode == "wipe above / below"
    move = QPoint(0, 24) if down else QPoint(24, 0)
    row, column = line.points[2]
    start = canvas_point(coronal.model, (row, 0, column)).toPoint()
    QTest.mousePress(coronal.native, Qt.LeftButton, Qt.NoModifier, start)
    for at in (start + move / 2, start + move):
        move_mouse(qtbot, coronal.native, at, Qt.MouseButton.LeftButton)
    QTest.mouseRelease(coronal.native, Qt.LeftButton, Qt.NoModifier, start + move)
    axial, shown, sagittal = comparison.view.settings.positions
    assert (axial, sagittal) == (0.5, 0.5)
    assert shown > 0.52  # more of the first volume, which is left or above
    copy, expected = of_comparison(coronal, comparison)
    qtbot.waitUntil(lambda: np.array_equal(on_screen(copy), expected))
    # On the screen, the first volume is above or on the left of the line in this plane, too.
    first = np.squeeze(np.asarray(comparison.pair.read("a", region_of(coronal))))
    above = coronal.model.scene.camera.orientation2d[0]
    assert str(above) == "up"
    begin = expected[-1:] if down else expected[:, :1]
    np.testing.assert_array_equal(begin, first[-1:] if down else first[:, :1])
