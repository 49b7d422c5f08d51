"""Superior is on top in sagittal and coronal planes, anterior in axial ones."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer

from tomochrome._napari.layers import volume_layer
from tomochrome._napari.upright import keep_upright


@pytest.fixture
def viewer(small_ct):
    viewer = ViewerModel()
    viewer.add_layer(Layer.create(*volume_layer(small_ct)))
    keep_upright(viewer)
    return viewer


def way(viewer):
    return tuple(map(str, viewer.scene.camera.orientation2d))


@pytest.mark.parametrize(
    ("order", "vertical"),
    [((0, 1, 2), "down"), ((1, 0, 2), "up"), ((2, 0, 1), "up"), ((2, 1, 0), "down")],
)
def test_superior_is_up_where_it_is_on_the_screen(viewer, order, vertical):
    viewer.dims.order = order
    assert way(viewer) == (vertical, "right")
    viewer.dims.order = (0, 1, 2)
    assert way(viewer) == ("down", "right")


def test_rolling_the_axes_never_lays_the_patient_on_the_side(viewer):
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
def test_who_transposes_a_plane_gets_it_transposed(viewer, order):
    viewer.dims.order = order
    viewer.dims.transpose()
    assert viewer.dims.order == (order[0], order[2], order[1])
    viewer.dims.transpose()
    assert viewer.dims.order == order


def test_other_layers_are_rolled_as_napari_does(viewer):
    viewer.add_layer(Image(np.zeros((4, 5, 6))))
    del viewer.layers[0]
    viewer.dims.roll()
    viewer.dims.roll()
    assert viewer.dims.order == (1, 2, 0)


def test_rendered_volumes_and_other_layers_are_left_as_they_are(viewer):
    viewer.dims.order = (1, 0, 2)
    viewer.dims.ndisplay = 3
    assert way(viewer) == ("down", "right")
    viewer.dims.ndisplay = 2
    assert way(viewer) == ("up", "right")
    viewer.add_layer(Image(np.zeros((4, 5, 6))))
    del viewer.layers[0]
    assert way(viewer) == ("down", "right")


def test_what_the_user_turned_stays(viewer):
    viewer.scene.camera.orientation2d = ("up", "left")
    viewer.dims.order = (1, 0, 2)
    viewer.dims.order = (0, 1, 2)
    assert way(viewer) == ("up", "left")


def test_further_axes_come_before_ours(viewer):
    viewer.add_layer(Image(np.zeros((2, 4, 5, 6))))
    viewer.dims.order = (0, 2, 1, 3)
    assert way(viewer) == ("up", "right")
    viewer.dims.order = (1, 2, 0, 3)
    assert way(viewer) == ("down", "right")


def test_a_viewer_is_not_kept_alive(viewer):
    other = ViewerModel()
    keep_upright(other)
    keep_upright(other)
    seen = weakref.ref(other)
    del other
    gc.collect()
    assert seen() is None
