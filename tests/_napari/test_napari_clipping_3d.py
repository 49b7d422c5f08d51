"""The clipping plane and the crop box in 3D: planes, pixels on screen, grip, panel, picture."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from napari.layers import Layer
from napari.layers.utils.plane import ClippingPlane

from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.layers.volume_layers import source_of, volume_layer
from tomochrome._napari.viewer.clip_controls import ClipControls
from tomochrome._napari.viewer.clipping_3d import Clipping3D, patient_half, plane_outline
from tomochrome._napari.viewer.orientation import LPS_OF_AXES
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.geometry.affine import apply
from tomochrome.rendering import HalfSpace

pytestmark = pytest.mark.gui


@pytest.fixture
def viewer(window, small_ct):
    """The module's viewer in 3D, with the CT in grey."""
    prepare_viewer(window)
    window.add_layer(Layer.create(*volume_layer(small_ct)))
    window.dims.ndisplay = 3
    yield window
    follower_of(window, Clipping3D).reset()
    window.dims.ndisplay = 2
    window.layers.clear()


@pytest.fixture
def clipping(viewer):
    return follower_of(viewer, Clipping3D)


def lit_columns(viewer):
    """The share of the canvas's lit columns that is left and right of the middle of the scan."""
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].max(axis=(0, 2))
    half = len(picture) // 2
    return (picture[: half - 6] > 60).mean(), (picture[half + 6 :] > 60).mean()


def hide_frame(viewer, clipping):
    for overlay in viewer.canvas.overlays.values():
        overlay.visible = False
    clipping.frame.visible = False


def test_the_next_scan_is_not_clipped_like_the_last(viewer, clipping, small_ct):
    clipping.cut("y")
    low, high = clipping.extent
    clipping.crop(np.array([low, [*high[:2], (low[2] + high[2]) / 2]]))
    assert len(clipping.halves) == 2
    viewer.layers.clear()
    scan = viewer.add_layer(Layer.create(*volume_layer(small_ct)))
    assert clipping.axis == "" and clipping.halves == []
    assert not scan.experimental_clipping_planes


def test_a_plane_removes_what_is_in_front_and_turns(viewer, clipping):
    axis = viewer.scene.camera
    away = np.asarray(axis.view_direction) @ LPS_OF_AXES
    assert np.allclose(away, (0, 1, 0), atol=1e-6)  # from the front
    clipping.cut("y")
    (plane,) = clipping.halves
    assert plane.normal == (0.0, 1.0, 0.0)
    assert plane.at == pytest.approx(clipping.extent[:, 1].mean())
    clipping.turn()
    assert clipping.halves == [HalfSpace((-0.0, -1.0, -0.0), -plane.at)]
    clipping.cut("view")
    assert np.allclose(clipping.halves[0].normal, away)
    clipping.cut("")
    assert clipping.halves == []
    assert not viewer.layers[0].experimental_clipping_planes


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2)])
def test_pixels_of_the_other_side_are_gone(viewer, clipping, order):
    """napari documents planes in data coordinates, but they are those of the displayed world."""
    viewer.dims.order = order
    viewer.layers[0].rendering = "mip"
    clipping.cut("x")
    hide_frame(viewer, clipping)
    shown = {}
    for _ in range(2):
        shown[clipping.plane.normal[0]] = lit_columns(viewer)
        clipping.turn()
        hide_frame(viewer, clipping)
    (right_half, left_half) = shown[-1.0], shown[1.0]  # of the patient
    assert right_half[0] > 0.2  # seen from the front, the patient's right is on the left
    assert right_half[1] < 0.03
    assert left_half[1] > 0.2
    assert left_half[0] < 0.03  # a letter may be drawn there
    viewer.dims.order = (0, 1, 2)


def test_every_layer_is_clipped_and_planes_of_the_user_are_kept(viewer, clipping):
    (grey,) = viewer.layers
    grey.experimental_clipping_planes = [ClippingPlane(position=(1, 2, 3), normal=(1, 0, 0))]
    clipping.cut("z")
    points = viewer.add_points([[10.0, 0.0, 0.0]])
    assert len(points.experimental_clipping_planes) == 1
    assert len(grey.experimental_clipping_planes) == 2
    viewer.dims.ndisplay = 2
    assert len(points.experimental_clipping_planes) == 0
    viewer.dims.ndisplay = 3
    clipping.reset()
    (kept,) = grey.experimental_clipping_planes
    assert kept.position == (1, 2, 3)


def test_a_box_has_a_plane_for_each_side_that_crops(viewer, clipping):
    low, high = clipping.extent
    clipping.crop(np.array([[low[0] + 20, low[1], low[2]], [high[0], high[1], high[2] - 10]]))
    assert clipping.halves == [
        HalfSpace((1.0, 0.0, 0.0), low[0] + 20),
        HalfSpace((0.0, 0.0, -1.0), -(high[2] - 10)),
    ]
    assert clipping.frame.visible
    edges = clipping.frame.box[..., ::-1]  # of the displayed axes (z, y, x)
    assert edges.shape == (12, 2, 3)
    assert np.allclose(edges.min(axis=(0, 1)), clipping.box[0])
    assert np.allclose(edges.max(axis=(0, 1)), clipping.box[1])
    assert ((edges[:, 0] != edges[:, 1]).sum(axis=1) == 1).all()
    clipping.crop(clipping.extent)
    assert clipping.halves == []
    assert not clipping.frame.visible


def test_a_drag_of_the_grip_moves_the_plane_with_the_pointer(viewer, clipping):
    camera = viewer.scene.camera
    for turn in ((0, 0, 0), (25, -15, 40)):
        camera.angles = np.add(camera.angles, turn)
        for axis in ("x", "z", "y", "view"):
            clipping.cut(axis)
            drag_the_grip(viewer, clipping)


def drag_the_grip(viewer, clipping):
    camera = viewer.scene.camera
    normal, at = np.array(clipping.plane.normal), clipping.plane.at
    grip = clipping.grip()
    up = np.asarray(camera.up_direction) @ LPS_OF_AXES
    away = clipping.away_from_camera()
    flat = np.linalg.norm(normal - (normal @ away) * away) < 0.25
    step = 12.0 * (up if flat else normal)
    event = SimpleNamespace(button=1, position=grip[::-1], type="mouse_press", handled=False)
    drag = clipping._drag(viewer, event)
    next(drag)
    assert not camera.mouse_pan
    event.type, event.position = "mouse_move", (grip + step + 30 * away)[::-1]
    next(drag)
    assert clipping.plane.at == pytest.approx(at + 12.0)
    event.type = "mouse_release"
    assert next(drag, None) is None
    assert camera.mouse_pan
    event = SimpleNamespace(button=1, position=(grip + 80 * up)[::-1], type="mouse_press")
    assert next(clipping._drag(viewer, event), "not the grip") == "not the grip"


def test_the_plane_stays_in_the_scan(clipping):
    clipping.cut("z")
    clipping.move(1e5)
    low, high = clipping.extent[:, 2]
    assert clipping.plane.at == pytest.approx(high if clipping.plane.normal[2] > 0 else -low)


@pytest.mark.parametrize("normal", [(1.0, 0, 0), (0.6, 0.0, 0.8), (0.48, 0.6, 0.64)])
def test_the_outline_lies_on_the_plane_and_on_the_box(normal):
    box = np.array([[0.0, 0, 0], [10, 20, 30]])
    plane = HalfSpace(normal, float(box.mean(axis=0) @ normal))
    outline = plane_outline(box, plane)
    assert 3 <= len(outline) <= 6
    assert np.allclose(outline @ normal, plane.at)
    on_face = np.isclose(outline, box[0]) | np.isclose(outline, box[1])
    assert (on_face.sum(axis=1) >= 2).all()
    sides = np.roll(outline, -1, axis=0) - outline
    turns = np.cross(sides, np.roll(sides, -1, axis=0)) @ normal
    assert (turns >= -1e-9).all() or (turns <= 1e-9).all()
    assert len(plane_outline(box, replace(plane, at=1e4))) == 0


def test_planes_of_oblique_scans_are_those_of_the_patient(viewer, small_ct):
    angle = np.radians(20)
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    oblique = replace(small_ct, affine=turned @ small_ct.affine)
    layer = viewer.add_layer(Layer.create(*volume_layer(oblique)))
    world = np.array(layer.data_to_world((4.0, 10.0, 12.0)))[::-1]
    normal = np.array((0.6, 0.0, 0.8))
    half = patient_half(layer, HalfSpace((0.6, 0.0, 0.8), float(world @ normal)))
    point = apply(source_of(layer.metadata).shown.affine, (4.0, 10.0, 12.0))
    assert np.linalg.norm(half.normal) == pytest.approx(1)
    assert point @ half.normal == pytest.approx(half.at)


def test_the_fields_show_and_set_the_plane_and_the_box(viewer, clipping, qtbot):
    fields = ClipControls(viewer)
    qtbot.addWidget(fields)
    assert fields.cut.name == ""
    assert not fields.position.isEnabled()
    fields.cut.choose("x")
    low, high = clipping.extent[:, 0]
    assert fields.position.value() == pytest.approx((low + high) / 2, abs=0.1)
    fields.position.box.setValue(high - 30)
    assert abs(clipping.plane.at) == pytest.approx(abs(high - 30), abs=0.1)
    fields.other.click()
    assert fields.position.value() == pytest.approx(high - 30, abs=0.1)
    fields.cut.choose("view")
    assert fields.position.value() == pytest.approx(0, abs=0.1)
    row = fields.box["z"]
    row.setValue((clipping.extent[0, 2] + 10, clipping.extent[1, 2]))
    assert clipping.box[0, 2] == pytest.approx(clipping.extent[0, 2] + 10)
    fields.reset.click()
    assert clipping.halves == []
    assert fields.cut.name == ""
    assert row.value() == pytest.approx(tuple(clipping.extent[:, 2]), abs=0.01)
    fields.release()
    assert fields._show not in clipping.changed


def test_a_closed_scan_leaves_fields_that_cannot_be_used(viewer, clipping, qtbot):
    fields = ClipControls(viewer)
    qtbot.addWidget(fields)
    clipping.cut("x")
    viewer.layers.clear()
    assert not fields.isEnabled()
    assert not clipping.frame.visible
    fields.release()
