"""Positions of a patient's markers in the window, and the letters next to them."""

from __future__ import annotations

import random
from itertools import permutations

import numpy as np
import pytest
from napari.layers import Layer

from marker_cases import CHANNEL, NAMED, OFFSETS, STORED, marked, stored_as, turned
from tomochrome._napari.kit.events import is_settled
from tomochrome._napari.layers.volume_layers import volume_layer
from tomochrome._napari.viewer.viewer_setup import prepare_viewer

pytestmark = pytest.mark.gui

LEFT, POSTERIOR, HEAD = np.eye(3)
RIGHT, FRONT, FEET = -LEFT, -POSTERIOR, -HEAD
#: By hand, for each order of the axes in 2D: what is right and up on the screen.
PLANES = {
    (0, 1, 2): (LEFT, FRONT),
    (1, 0, 2): (LEFT, HEAD),
    (2, 0, 1): (POSTERIOR, HEAD),
    (0, 2, 1): (POSTERIOR, LEFT),
    (1, 2, 0): (HEAD, RIGHT),
    (2, 1, 0): (HEAD, FRONT),
}
SIDES = {  # where the camera is, and what is up
    "front": (FRONT, HEAD),
    "left": (LEFT, HEAD),
    "back": (POSTERIOR, HEAD),
    "right": (RIGHT, HEAD),
    "above": (HEAD, FRONT),
    "below": (FEET, FRONT),
    "left front": (LEFT + FRONT, HEAD),
    "upside down": (FRONT, FEET),
}
AXIAL_CORONAL_SAGITTAL = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
#: How a scan is stored, and the planes to look at: all three for the usual ways, for others one.
#: ``test_napari_overlays.py`` holds the letters of every plane for each way to store a scan.
SOME = {
    **{stored: (AXIAL_CORONAL_SAGITTAL[number % 3],)
       for number, stored in enumerate(random.Random(11).sample(STORED, 5))},
    **dict.fromkeys(NAMED.values(), AXIAL_CORONAL_SAGITTAL),
}  # fmt: skip


@pytest.fixture
def viewer(window, qapp):
    prepare_viewer(window)
    window.window.resize(700, 600)
    yield window
    window.layers.clear()
    window.dims.ndisplay = 2
    window.dims.order = (0, 1, 2)


def show(viewer, volume):
    """Show a volume of markers."""
    viewer.layers.clear()
    viewer.dims.ndisplay = 2
    layer = viewer.add_layer(Layer.create(*volume_layer(volume, "markers")))
    viewer.dims.order = (0, 1, 2)
    viewer.dims.point = np.array(layer.translate) + np.subtract(layer.data.shape[:3], 1) / 2 * (
        layer.scale
    )
    return layer


def seen(viewer, qapp):
    """The position of each marker on the screen: mm to the right of and above the center."""
    for _ in range(3):
        qapp.processEvents()
    picture = viewer.screenshot(flash=False, canvas_only=True)[..., :3].astype(int)
    height, width = picture.shape[:2]
    ratio = height / viewer.canvas.size[0]
    offsets = {}
    for name, channel in CHANNEL.items():
        others = np.delete(picture, channel, axis=-1).max(axis=-1)
        y, x = np.nonzero((picture[..., channel] > 120) & (others < 60))
        if len(x) > 20:
            offset = np.array([x.mean() - (width - 1) / 2, (height - 1) / 2 - y.mean()])
            offsets[name] = offset / ratio / viewer.scene.camera.zoom
    return offsets


def letters(viewer):
    """The letters at the left, right, top and bottom."""
    edges = ("left", "right", "top", "bottom")
    return [viewer.canvas.overlays[f"orientation_{edge}"].text for edge in edges]


def look_from(viewer, side, up):
    """Move the camera to a side of the patient."""
    towards = np.asarray(side) / np.linalg.norm(side)
    order = viewer.dims.displayed
    world = {0: 2, 1: 1, 2: 0}  # LPS coordinate of the world axes z, y, x
    viewer.scene.camera.set_view_direction(
        [-towards[world[axis]] for axis in order], [up[world[axis]] for axis in order]
    )


def check(viewer, qapp, right, up, min_count=3, within_mm=1.2):
    """Markers and letters agree with the directions of right and up on the screen."""
    offsets = seen(viewer, qapp)
    assert len(offsets) >= min_count
    for name, offset in offsets.items():
        wanted = np.array([np.dot(OFFSETS[name], right), np.dot(OFFSETS[name], up)])
        np.testing.assert_allclose(offset, wanted, atol=within_mm, err_msg=name)
    sides = {"L": LEFT, "R": RIGHT, "A": FRONT, "P": POSTERIOR, "H": HEAD, "F": FEET}
    for text, direction in zip(letters(viewer), (-right, right, up, -up), strict=True):
        cosines = [float(sides[letter] @ direction) for letter in text]
        assert cosines == sorted(cosines, reverse=True)
        assert np.dot(cosines, cosines) > 0.97  # no side that counts is left out


@pytest.mark.parametrize("stored", SOME, ids=str)
def test_every_side_is_correct_for_every_storage_order(viewer, qapp, stored):
    show(viewer, stored_as(marked(), *stored))
    for order in SOME[stored]:
        viewer.dims.order = order
        check(viewer, qapp, *PLANES[order], min_count=2)
    viewer.dims.ndisplay = 3
    check(viewer, qapp, LEFT, HEAD, min_count=3)
    assert letters(viewer) == ["R", "L", "H", "F"]


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_in_every_order_of_the_axes(viewer, qapp, order):
    show(viewer, marked())
    viewer.dims.order = order
    viewer.dims.order = order  # the first time, an order reached by rolling is put upright
    check(viewer, qapp, *PLANES[viewer.dims.order], min_count=2)
    viewer.dims.ndisplay = 3
    check(viewer, qapp, LEFT, HEAD)
    for name in ("above", "left front"):
        side, up = SIDES[name]
        look_from(viewer, side, up)
        towards = side / np.linalg.norm(side)
        check(viewer, qapp, np.cross(up, towards), up, min_count=2)


@pytest.mark.parametrize("side", SIDES)
def test_in_3d_from_every_side(viewer, qapp, side):
    show(viewer, marked())
    viewer.dims.ndisplay = 3
    direction, up = SIDES[side]
    look_from(viewer, direction, up)
    towards = direction / np.linalg.norm(direction)
    check(viewer, qapp, np.cross(up, towards), up, min_count=2)


def test_dragging_the_camera_turns_the_letters_with_the_patient(viewer, qapp):
    show(viewer, marked())
    viewer.dims.ndisplay = 3
    for angles in ((20, 30, -70), (-100, 10, 45), (5, -160, 90)):
        viewer.scene.camera.angles = angles
        view, up = (
            np.array(way)[[2, 1, 0]]
            for way in (viewer.scene.camera.view_direction, viewer.scene.camera.up_direction)
        )
        # One marker may hide a part of another.
        check(viewer, qapp, np.cross(view, up), up, min_count=2, within_mm=4)


def test_the_letters_of_an_oblique_scan_are_the_true_ones(viewer, qapp):
    show(viewer, stored_as(turned(marked(), 30, 0, 0), *STORED[29]))
    assert letters(viewer) == ["RA", "LP", "AL", "PR"]
    viewer.dims.order = (1, 0, 2)
    assert letters(viewer) == ["RA", "LP", "H", "F"]
    offsets = seen(viewer, qapp)
    assert offsets["L"][0] > 10 and offsets["H"][1] > 8
    viewer.dims.ndisplay = 3
    assert letters(viewer) == ["RA", "LP", "H", "F"]


def test_the_letters_are_drawn_and_the_bar_is_in_millimetres(viewer, qtbot):
    show(viewer, marked())
    qtbot.waitUntil(lambda: is_settled(viewer))
    with_letters = viewer.screenshot(flash=False)[..., :3].astype(int)
    overlays = viewer.canvas.overlays
    assert overlays.scale_bar.visible
    assert {str(unit) for unit in viewer.layers.units} == {"millimeter"}
    for edge in ("left", "right", "top", "bottom"):
        overlays[f"orientation_{edge}"].text = " "
    without = viewer.screenshot(flash=False)[..., :3].astype(int)
    y, x = np.nonzero(np.abs(with_letters - without).max(axis=-1) > 100)
    height, width = without.shape[:2]
    assert (x < 0.1 * width).any() and (x > 0.9 * width).any()
    assert (y < 0.1 * height).any() and (y > 0.9 * height).any()


def test_nothing_is_left_on_the_canvas_when_the_last_scan_is_gone(viewer, qtbot):
    show(viewer, marked())
    assert letters(viewer) == ["R", "L", "A", "P"]
    viewer.layers.clear()
    qtbot.waitUntil(lambda: is_settled(viewer))
    assert letters(viewer) == [" "] * 4
    viewer.add_image(np.zeros((20, 20), np.uint8))
    qtbot.waitUntil(lambda: is_settled(viewer))
    assert viewer.screenshot(flash=False)[..., :3].max() == 0
