"""Placing landmarks alternately, and their errors."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Points
from panel_cases import compare
from vispy.app.canvas import MouseEvent

from tomochrome._napari.register_landmarks import show_numbers

pytestmark = pytest.mark.gui


def numbers(layer):
    return list(layer.text.values)


def click(panel, qtbot, *offset):
    """Click the canvas at an offset in pixels from its center."""
    canvas = panel.viewer.window._qt_viewer.canvas._scene_canvas
    at = np.array(canvas.size) / 2 + offset
    press = MouseEvent(type="mouse_press", pos=at, button=1, buttons=[1])
    canvas.events.mouse_press(press)
    canvas.events.mouse_release(
        MouseEvent(type="mouse_release", pos=at, button=1, buttons=[1], press_event=press)
    )
    qtbot.wait(50)


def test_clicks_go_to_the_fixed_and_the_moving_image_in_turn(panel, qtbot):
    viewer, landmarks = panel.viewer, panel.view.landmarks
    prior, follow_up = viewer.layers["prior"], viewer.layers["follow-up"]
    viewer.fit_to_view()
    landmarks.create.click()
    fixed, moving = landmarks.two
    for count in range(3):
        assert viewer.layers.selection.active is fixed
        assert (fixed.mode, moving.mode) == ("add", "pan_zoom")
        assert (prior.visible, follow_up.visible) == (True, False)
        assert landmarks.message.text() == f"Click landmark {count + 1} in the fixed image."
        click(panel, qtbot, 20 * count, 0)
        assert viewer.layers.selection.active is moving
        assert (fixed.mode, moving.mode) == ("pan_zoom", "add")
        assert (prior.visible, follow_up.visible) == (False, True)
        assert landmarks.message.text() == f"Click landmark {count + 1} in the moving image."
        click(panel, qtbot, 20 * count, 15)
        assert len(fixed.data) == len(moving.data) == count + 1
    assert numbers(fixed) == numbers(moving) == ["1", "2", "3"]
    assert "(3 landmarks)" in landmarks.before.text()


def test_numbers_follow_what_is_removed(panel, qtbot):
    panel.view.landmarks.create.click()
    fixed, moving = panel.view.landmarks.two
    for layer in (fixed, moving):
        layer.data = np.arange(12.0).reshape(4, 3)
        assert numbers(layer) == ["1", "2", "3", "4"]
    fixed.selected_data = {0}
    fixed.remove_selected()
    assert numbers(fixed) == ["1", "2", "3"]
    qtbot.wait(50)
    fixed.mode = moving.mode = "pan_zoom"
    qtbot.waitUntil(lambda: "must correspond" in panel.view.landmarks.message.text(), timeout=2000)


def test_placing_does_not_switch_after_the_user_stopped(panel, qtbot):
    panel.view.landmarks.create.click()
    fixed, moving = panel.view.landmarks.two
    fixed.mode = "select"
    fixed.add([130.0, 0, 0])
    qtbot.wait(50)
    assert panel.viewer.layers.selection.active is fixed
    assert moving.mode == "pan_zoom"


def test_a_comparison_stays_while_landmarks_are_placed(panel, qtbot):
    comparison = compare(panel, qtbot)
    panel.view.landmarks.create.click()
    panel.view.landmarks.two[0].add([130.0, 0, 0])
    qtbot.wait(50)
    assert comparison.layer.visible
    assert not any(layer.visible for layer in comparison.layers)


def test_a_text_of_ones_own_stays():
    layer = Points(
        np.zeros((2, 3)), features={"name": ["carina", "apex"]}, text={"string": "{name}"}
    )
    show_numbers(layer)
    assert numbers(layer) == ["carina", "apex"]
    assert list(layer.features["name"]) == ["carina", "apex"]
