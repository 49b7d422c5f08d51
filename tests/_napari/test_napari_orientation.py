"""Patients are shown upright and unmirrored in every axis order, in 2D and 3D."""

from __future__ import annotations

import gc
import weakref
from itertools import permutations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer

from tomochrome._napari.layers.volume_layers import volume_layer
from tomochrome._napari.viewer.orientation import (
    LPS_OF_AXES,
    camera_orientation,
    front_view,
    scan_axes,
    screen_directions,
    unmirrored_depth,
)
from tomochrome._napari.viewer.viewer_setup import prepare_viewer

ORDERS = list(permutations(range(3)))
LEFT, POSTERIOR, HEAD = np.eye(3)


@pytest.fixture
def viewer(small_ct):
    viewer = ViewerModel()
    viewer.add_layer(Layer.create(*volume_layer(small_ct)))
    prepare_viewer(viewer)
    return viewer


def way(viewer):
    return tuple(map(str, viewer.scene.camera.orientation2d))


def in_3d(viewer):
    """What right and up on the screen are in 3D."""
    camera = viewer.scene.camera
    axes = scan_axes(viewer.dims.order, 3)
    return screen_directions(axes, camera.orientation, camera.view_direction, camera.up_direction)


# The rules themselves


@pytest.mark.parametrize(
    ("axes", "right", "up"),
    [
        ((0, 1, 2), LEFT, -POSTERIOR),  # axial: anterior on top, the patient's right on the left
        ((1, 0, 2), LEFT, HEAD),  # coronal
        ((2, 0, 1), POSTERIOR, HEAD),  # sagittal: seen from the patient's left
    ],
)
def test_planes_follow_the_radiological_convention(axes, right, up):
    directions = screen_directions(axes, camera_orientation(axes))
    np.testing.assert_array_equal(directions, (right, up))


@pytest.mark.parametrize("axes", ORDERS)
def test_a_transposed_plane_is_turned_and_not_mirrored(axes):
    plain = screen_directions(axes, camera_orientation(axes))
    other = (axes[0], axes[2], axes[1])
    turned = screen_directions(other, camera_orientation(other))
    # Towards the viewer is the same direction, so it is seen from the same side.
    np.testing.assert_array_equal(np.cross(*plain), np.cross(*turned))
    assert abs(plain[0] @ turned[1]) == 1


@pytest.mark.parametrize("axes", ORDERS)
@pytest.mark.parametrize("vertical", ["up", "down"])
@pytest.mark.parametrize("horizontal", ["right", "left"])
def test_the_depth_axis_makes_the_screen_right_handed(axes, vertical, horizontal):
    depth = unmirrored_depth(axes, vertical, horizontal)
    right, up = screen_directions(axes, (depth, vertical, horizontal))
    towards = LPS_OF_AXES[axes[0]] * (1 if depth == "towards" else -1)
    np.testing.assert_array_equal(np.cross(right, up), towards)
    usual = camera_orientation(axes)
    assert unmirrored_depth(axes, *usual[1:]) == usual[0]


@pytest.mark.parametrize(
    ("order", "ndisplay", "axes"),
    [
        ((0, 1, 2), 2, (0, 1, 2)),
        ((2, 0, 1), 3, (2, 0, 1)),
        ((0, 3, 1, 2), 2, (2, 0, 1)),
        ((1, 0, 2, 3), 2, (0, 1, 2)),  # time lies between, but is not displayed
        ((1, 0, 2, 3), 3, None),
        ((1, 2, 0, 3), 2, None),
        ((0, 1), 2, None),
    ],
)
def test_the_last_three_axes_are_the_scan_s(order, ndisplay, axes):
    assert scan_axes(order, ndisplay) == axes


@pytest.mark.parametrize("axes", ORDERS)
def test_napari_itself_agrees_about_right_and_up(axes):
    # napari's camera turns its home view; each of its directions by the same rotation.
    viewer = ViewerModel(ndisplay=3)
    camera = viewer.scene.camera
    camera.orientation = camera_orientation(axes)
    home = screen_directions(axes, camera.orientation)
    right, up = screen_directions(
        axes, camera.orientation, camera.view_direction, camera.up_direction
    )
    np.testing.assert_allclose((right, up), home, atol=1e-9)
    camera.set_view_direction(*front_view(axes))
    right, up = screen_directions(
        axes, camera.orientation, camera.view_direction, camera.up_direction
    )
    np.testing.assert_allclose((right, up), (LEFT, HEAD), atol=1e-9)


# Following a viewer


@pytest.mark.parametrize(
    ("order", "vertical"),
    [
        ((0, 1, 2), "down"),
        ((1, 0, 2), "up"),
        ((2, 0, 1), "up"),
        ((2, 1, 0), "down"),
        ((0, 2, 1), "up"),
    ],
)
def test_superior_is_up_where_it_is_on_the_screen(viewer, order, vertical):
    viewer.dims.order = order
    assert way(viewer) == (vertical, "right")
    viewer.dims.order = (0, 1, 2)
    assert way(viewer) == ("down", "right")


def test_rolling_the_axes_keeps_the_patient_upright(viewer):
    seen = []
    for _ in range(6):
        viewer.dims.roll()
        seen.append((viewer.dims.order, way(viewer)[0]))
    around = [((2, 0, 1), "up"), ((1, 0, 2), "up"), ((0, 1, 2), "down")]
    assert seen == 2 * around  # sagittal, coronal, axial


def test_rolling_backwards_too(viewer):
    seen = []
    for _ in range(3):
        viewer.dims.order = tuple(np.roll(viewer.dims.order, -1))
        seen.append(viewer.dims.order)
    assert seen == [(1, 0, 2), (2, 0, 1), (0, 1, 2)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_a_transposed_plane_is_shown_transposed(viewer, order):
    viewer.dims.order = order
    viewer.dims.transpose()
    assert viewer.dims.order == (order[0], order[2], order[1])
    viewer.dims.transpose()
    assert viewer.dims.order == order


def test_viewers_without_a_scan_are_left_to_napari(viewer):
    viewer.dims.order = (1, 0, 2)
    viewer.add_layer(Image(np.zeros((4, 5, 6))))
    del viewer.layers[0]
    assert tuple(map(str, viewer.scene.camera.orientation)) == ("towards", "down", "right")
    viewer.dims.order = (0, 1, 2)
    viewer.dims.roll()
    viewer.dims.roll()
    assert viewer.dims.order == (1, 2, 0)
    viewer.dims.ndisplay = 3
    assert viewer.scene.camera.angles == (0, 0, 0)


def test_rotations_by_the_user_are_kept(viewer):
    viewer.scene.camera.orientation2d = ("up", "left")
    viewer.dims.order = (1, 0, 2)
    viewer.dims.order = (0, 1, 2)
    assert way(viewer) == ("up", "left")
    viewer.dims.ndisplay = 3  # turned, but still not mirrored
    np.testing.assert_allclose(in_3d(viewer), (LEFT, HEAD), atol=1e-6)
    del viewer.layers[0]
    assert way(viewer) == ("up", "left")


def test_additional_axes_come_before_the_scan_s(viewer):
    viewer.add_layer(Image(np.zeros((2, 4, 5, 6))))
    viewer.dims.order = (0, 2, 1, 3)
    assert way(viewer) == ("up", "right")
    viewer.dims.order = (1, 2, 0, 3)  # time runs down the screen
    assert way(viewer) == ("down", "right")
    viewer.dims.order = (0, 1, 2, 3)
    viewer.dims.ndisplay = 3
    camera = viewer.scene.camera
    axes = scan_axes(viewer.dims.order, 3)
    seen = screen_directions(axes, camera.orientation, camera.view_direction, camera.up_direction)
    np.testing.assert_allclose(seen, (LEFT, HEAD), atol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_3d_begins_from_the_front_in_every_order(viewer, order):
    viewer.dims.order = order
    viewer.dims.ndisplay = 3
    np.testing.assert_allclose(in_3d(viewer), (LEFT, HEAD), atol=1e-6)


def test_changing_the_order_in_3d_shows_the_front_again(viewer):
    viewer.dims.ndisplay = 3
    for order in ORDERS:
        viewer.dims.order = order
        np.testing.assert_allclose(in_3d(viewer), (LEFT, HEAD), atol=1e-6)


def test_a_rotation_in_3d_is_the_user_s_until_3d_is_entered_again(viewer, small_ct):
    viewer.dims.ndisplay = 3
    viewer.scene.camera.angles = (10, 40, -30)
    viewer.add_layer(Layer.create(*volume_layer(small_ct)))
    viewer.fit_to_view()
    np.testing.assert_allclose(viewer.scene.camera.angles, (10, 40, -30))
    viewer.dims.ndisplay = 2
    viewer.dims.ndisplay = 3
    np.testing.assert_allclose(in_3d(viewer), (LEFT, HEAD), atol=1e-6)


def test_home_shows_the_front(viewer):
    viewer.dims.ndisplay = 3
    viewer.scene.camera.angles = (10, 40, -30)
    viewer.scene.camera.zoom = 0.01
    viewer.reset_view()
    np.testing.assert_allclose(in_3d(viewer), (LEFT, HEAD), atol=1e-6)
    assert viewer.scene.camera.zoom > 1


def test_a_scan_that_is_opened_in_3d_is_seen_from_the_front(small_ct):
    viewer = ViewerModel(ndisplay=3)
    prepare_viewer(viewer)
    viewer.add_layer(Layer.create(*volume_layer(small_ct)))
    np.testing.assert_allclose(in_3d(viewer), (LEFT, HEAD), atol=1e-6)


@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_leaving_3d_restores_the_slice(viewer, order, synced):
    viewer.scene.camera.synced = synced
    viewer.dims.order = order
    viewer.dims.set_current_step(order[0], 3)
    viewer.scene.camera.center = (0, *np.add(viewer.scene.camera.center[1:], (5, -8)))
    viewer.scene.camera.zoom = 11
    camera = viewer.scene.camera
    before = viewer.dims.current_step, camera.center, camera.zoom
    viewer.dims.ndisplay = 3
    assert camera.zoom < 10  # all of the patient
    viewer.dims.ndisplay = 2
    assert viewer.dims.current_step == before[0]
    np.testing.assert_allclose(camera.center, before[1])
    np.testing.assert_allclose(camera.zoom, before[2])


def test_moving_in_3d_changes_the_slice(viewer):
    viewer.dims.set_current_step(0, 3)
    viewer.dims.ndisplay = 3
    z, y, x = viewer.scene.camera.center
    viewer.scene.camera.center = (z + 15, y, x)
    viewer.scene.camera.zoom = 3
    viewer.dims.ndisplay = 2
    assert viewer.dims.current_step[0] in (8, 9)
    assert viewer.scene.camera.zoom == 3


def test_a_viewer_is_not_kept_alive():
    other = ViewerModel()
    prepare_viewer(other)
    prepare_viewer(other)
    seen = weakref.ref(other)
    del other
    gc.collect()
    assert seen() is None
