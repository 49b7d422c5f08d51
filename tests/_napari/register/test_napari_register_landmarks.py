"""Placing landmarks alternately, and their errors."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Points
from panel_cases import compare, names, register, settle
from register_cases import SHIFT, body, layer_of
from vispy.app.canvas import MouseEvent

from tomochrome._napari.registration.landmark_panel import show_numbers
from tomochrome._napari.registration.landmark_placing import PROMPT

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


def test_layers_that_stay_hidden_are_not_updated_with_each_landmark(panel, qtbot):
    bystander = panel.viewer.add_image(np.zeros((4, 4, 4)), visible=False)
    panel.viewer.fit_to_view()
    panel.view.landmarks.create.click()
    updates = []
    bystander.events.visible.connect(updates.append)
    click(panel, qtbot, 10, 0)
    assert panel.viewer.layers.selection.active is panel.view.landmarks.two[1]
    assert not updates


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


def visible(viewer):
    return [layer.name for layer in viewer.layers if layer.visible]


def state(viewer):
    """Everything that decides what is on screen."""
    camera, dims = viewer.scene.camera, viewer.dims
    return {
        "visible": {x: x.visible for x in viewer.layers if x._type_string != "points"},
        "dims": (dims.ndisplay, dims.order, dims.point),
        "camera": (*camera.center, camera.zoom, *camera.angles),
        "selected": set(viewer.layers.selection),
        "grid": viewer.canvas.grid.enabled,
    }


def prompt(panel):
    """The prompt on the canvas; empty if it is hidden."""
    overlay = panel.viewer.canvas.overlays.get(PROMPT)
    return overlay.text if overlay is not None and overlay.visible else ""


def place_two(panel, qtbot):
    """Click two landmarks in each image, and check that only this image is shown meanwhile."""
    landmarks = panel.view.landmarks
    landmarks.create.click()
    points = landmarks.two
    for count in range(2):
        for layer, image, role in zip(points, panel.view.two, ("fixed", "moving"), strict=True):
            assert visible(panel.viewer) == [image.name, layer.name]
            assert panel.viewer.dims.ndisplay == 2
            expected = f"Click landmark {count + 1}\nin the {role} image\n{image.name}"
            assert prompt(panel) == expected
            before = len(layer.data)
            click(panel, qtbot, 12 * count, 6)
            assert len(layer.data) == before + 1
            low, high = panel.viewer.layers.get_extent([image]).world
            assert (low <= layer.data[-1]).all()
            assert (layer.data[-1] <= high).all()
    return points


def with_comparison(panel, qtbot):
    register(panel, qtbot)
    assert "Comparison" in visible(panel.viewer)


def with_maps(panel, qtbot):
    with_comparison(panel, qtbot)
    panel.view.use.jacobian.setChecked(True)
    panel.view.use.grid.setChecked(True)


def with_colors(panel, qtbot):
    for scan in panel.view.two:
        rgba = np.full((*scan.data.shape, 4), 200, np.uint8)
        panel.viewer.add_image(rgba, rgb=True, scale=scan.scale, translate=scan.translate)


def with_both_hidden(panel, qtbot):
    for scan in panel.view.two:
        scan.visible = False


def with_3d(panel, qtbot):
    compare(panel, qtbot, "blend")
    panel.viewer.dims.ndisplay = 3
    panel.viewer.scene.camera.angles = (10, 20, 30)


def with_another_order(panel, qtbot):
    panel.viewer.dims.order = (1, 2, 0)
    panel.viewer.layers.reverse()


def with_grid(panel, qtbot):
    panel.viewer.canvas.grid.enabled = True


def with_flicker(panel, qtbot):
    compare(panel, qtbot, "flicker")


@pytest.mark.parametrize(
    "prepare",
    [
        with_comparison,
        with_maps,
        with_colors,
        with_both_hidden,
        with_3d,
        with_another_order,
        with_grid,
        with_flicker,
    ],
)
def test_each_image_is_shown_alone_whatever_was_on_screen(panel, qtbot, engine, prepare):
    viewer = panel.viewer
    viewer.fit_to_view()
    prepare(panel, qtbot)
    before = state(viewer)
    place_two(panel, qtbot)
    panel.view.landmarks.done.click()
    qtbot.wait(10)
    assert prompt(panel) == ""
    after = state(viewer)
    np.testing.assert_allclose(after.pop("camera"), before.pop("camera"), rtol=1e-5, atol=1e-5)
    assert after == before
    viewer.canvas.grid.enabled = False


def test_landmarks_placed_after_a_registration_confirm_a_good_transform(panel, qtbot, engine):
    """The same places clicked in both images: a good transform is not called worse."""
    register(panel, qtbot)
    viewer, landmarks = panel.viewer, panel.view.landmarks
    landmarks.create.click()
    centers = np.array([[142.0, 20, 12], [148, 10, -20]])
    for center in centers:
        for image, layer in zip(panel.view.two, landmarks.two, strict=True):
            assert visible(viewer) == [image.name, layer.name]
            layer.add(center if image.name == "prior" else center + SHIFT[::-1])
            qtbot.wait(20)
    landmarks.done.click()
    qtbot.waitUntil(lambda: landmarks.after.text().startswith("mean 0.00 mm"), timeout=2000)


def test_an_image_elsewhere_is_brought_into_view(panel, qtbot):
    viewer, (prior, follow_up) = panel.viewer, panel.view.two
    follow_up.translate = np.add(follow_up.translate, (500, 900, 0))
    viewer.fit_to_view(layers=[prior])
    viewer.dims.set_point(0, 142)
    place_two(panel, qtbot)
    # Back in the fixed image, its plane and its part in view are those that were left.
    assert viewer.dims.point[0] == 142


def cancel(panel, qtbot):
    panel.viewer.layers.remove(panel.view.landmarks.two[1])


def remove_image(panel, qtbot):
    panel.viewer.layers.remove(panel.view.two[1])


def run_again(panel, qtbot):
    register(panel, qtbot)


def stop_comparing(panel, qtbot):
    panel.view.compare.show_button.click()


def compare_before(panel, qtbot):
    panel.view.compare.before.click()
    settle(panel, qtbot)


def choose_no_landmarks(panel, qtbot):
    box = panel.view.landmarks.fixed
    box.setCurrentIndex(0)
    box.activated.emit(0)


@pytest.mark.parametrize(
    "ending",
    [cancel, remove_image, run_again, stop_comparing, compare_before, choose_no_landmarks],
)
def test_every_end_shows_what_was_there_before(panel, qtbot, engine, ending):
    register(panel, qtbot)
    before = visible(panel.viewer)
    panel.view.landmarks.create.click()
    ending(panel, qtbot)
    qtbot.wait(20)
    after = visible(panel.viewer)
    if ending in (stop_comparing, remove_image):  # which ends the comparison too
        before = ["prior", "follow-up · moved"]
    assert after == before
    assert prompt(panel) == ""
    assert panel.view.landmarks.create.isVisibleTo(panel.view.landmarks)
    assert not panel.view.landmarks.done.isVisibleTo(panel.view.landmarks)


def test_changing_to_3d_ends_it_in_3d(panel, qtbot):
    before = visible(panel.viewer)
    panel.view.landmarks.create.click()
    panel.viewer.dims.ndisplay = 3
    assert visible(panel.viewer) == before
    assert panel.viewer.dims.ndisplay == 3
    assert prompt(panel) == ""


def test_a_comparison_that_was_being_prepared_comes_afterwards(panel, qtbot):
    panel.comparing.start()
    panel.view.landmarks.create.click()
    qtbot.wait(300)
    assert "Comparison" not in names(panel)
    assert visible(panel.viewer) == ["prior", "Landmarks fixed image"]
    panel.view.landmarks.done.click()
    settle(panel, qtbot)
    assert visible(panel.viewer) == ["Comparison"]


def test_a_layer_that_is_added_meanwhile_waits_for_the_end(panel, qtbot):
    panel.view.landmarks.create.click()
    fixed = panel.view.landmarks.two[0]
    extra = panel.viewer.add_image(np.ones((3, 4, 5)), units=("mm",) * 3, name="extra")
    assert not extra.visible
    qtbot.wait(20)
    assert panel.viewer.layers.selection.active is fixed
    click(panel, qtbot, 5, 5)
    assert len(fixed.data) == 1
    panel.view.landmarks.done.click()
    assert extra.visible


def test_each_pair_has_landmarks_of_its_own(panel, qtbot):
    viewer, view, landmarks = panel.viewer, panel.view, panel.view.landmarks
    follow_up = view.two[1]
    other = viewer.add_layer(layer_of(body(SHIFT), "another patient"))
    first = place_two(panel, qtbot)
    landmarks.create.click()  # no effect while placing
    view.moving.choose(other)
    assert prompt(panel) == ""
    assert landmarks.two == (None, None)
    second = place_two(panel, qtbot)
    assert not set(first) & set(second)
    landmarks.done.click()
    landmarks.create.click()  # goes on with the layers of this pair
    assert landmarks.two == second
    landmarks.done.click()
    view.moving.choose(follow_up)
    assert landmarks.two == first
    assert [len(layer.data) for layer in first] == [2, 2]
    viewer.layers.remove(first[0])
    view.moving.choose(other)
    view.moving.choose(follow_up)
    assert landmarks.two == (None, first[1])


def test_without_two_images_it_says_so(panel):
    panel.viewer.layers.remove("follow-up")
    panel.view.landmarks.create.click()
    assert "choose two different layers" in panel.view.landmarks.message.text()
    assert names(panel) == ["prior"]


def test_a_text_of_ones_own_stays():
    layer = Points(
        np.zeros((2, 3)), features={"name": ["carina", "apex"]}, text={"string": "{name}"}
    )
    show_numbers(layer)
    assert numbers(layer) == ["carina", "apex"]
    assert list(layer.features["name"]) == ["carina", "apex"]
