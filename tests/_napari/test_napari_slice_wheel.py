"""The mouse wheel over the canvas: it scrolls slices, zooms with Ctrl, or does as napari does."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Layer
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication

from tomochrome._napari.layers.volume_layers import volume_layer
from tomochrome._napari.viewer.slice_wheel import set_wheel_scrolls
from tomochrome._napari.viewer.viewer_setup import prepare_viewer

pytestmark = pytest.mark.gui
NONE, CTRL = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def viewer(window, painted, small_ct):
    prepare_viewer(window)
    window.add_layer(Layer.create(*volume_layer(small_ct)))
    window.dims.set_current_step(0, 6)
    yield window
    window.dims.ndisplay = 2
    window.layers.clear()


def turn(viewer, notches, modifiers=NONE, inverted=False, where=(0.5, 0.5)):
    """Turn the wheel over the canvas, away from the user if positive."""
    canvas = viewer.window._qt_window._qt_viewer.canvas.native
    point = QPoint(int(where[0] * canvas.width()), int(where[1] * canvas.height()))
    QApplication.sendEvent(
        canvas,
        QWheelEvent(
            QPointF(point), QPointF(canvas.mapToGlobal(point)), QPoint(),
            QPoint(0, round(120 * notches)), Qt.MouseButton.NoButton, modifiers,
            Qt.ScrollPhase.NoScrollPhase, inverted,
        ),
    )  # fmt: skip


def shown(viewer):
    return viewer.dims.current_step[0], viewer.scene.camera.zoom


def test_a_notch_is_a_slice_and_does_not_zoom(viewer):
    _, zoom = shown(viewer)
    for notches, expected in ((1, 7), (1, 8), (-1, 7), (3, 8), (-0.5, 8), (-0.5, 7)):
        turn(viewer, notches)
        assert shown(viewer) == (expected, zoom)
    turn(viewer, 1, inverted=True)
    assert shown(viewer) == (6, zoom)


def test_the_last_slice_is_not_passed(viewer):
    for _ in range(15):
        turn(viewer, 1)
    assert viewer.dims.current_step[0] == 11


def test_with_ctrl_it_zooms_around_the_cursor(viewer):
    index, zoom = shown(viewer)
    camera = viewer.scene.camera
    center, size = np.array(camera.center[-2:]), np.array(viewer.canvas.size)

    def below_cursor():
        return np.array(camera.center[-2:]) + (np.array([0.7, 0.6]) - 0.5) * size / camera.zoom

    before = below_cursor()
    turn(viewer, 1, CTRL, where=(0.6, 0.7))
    assert shown(viewer)[0] == index and shown(viewer)[1] > 1.05 * zoom
    np.testing.assert_allclose(below_cursor(), before, atol=2 / zoom)  # pixels of the screen
    turn(viewer, -1, CTRL, where=(0.6, 0.7))
    np.testing.assert_allclose(camera.center[-2:], center, atol=2 / zoom)


def test_the_setting_restores_the_way_of_napari(viewer, qtbot):
    set_wheel_scrolls(False)
    index, zoom = shown(viewer)
    turn(viewer, 1)
    qtbot.waitUntil(lambda: shown(viewer)[1] != zoom)  # when the canvas is drawn
    assert shown(viewer)[0] == index
    turn(viewer, 1, CTRL)
    assert shown(viewer)[0] != index


def test_in_3d_it_zooms(viewer, qtbot):
    viewer.dims.ndisplay = 3
    index, zoom = shown(viewer)

    def zooms():
        turn(viewer, 1)  # as long as the canvas has not been drawn in 3D, nothing happens
        return viewer.scene.camera.zoom > zoom

    qtbot.waitUntil(zooms)
    assert shown(viewer)[0] == index
