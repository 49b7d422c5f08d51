"""A scan that is opened is in view as a whole, and stays so when a panel is docked."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer, Points
from qtpy.QtWidgets import QLabel
from quick_colorize import simple_colorize

from tomochrome._napari.layers.volume_layers import source_of, volume_layer
from tomochrome._napari.viewer.view_fit import is_seen
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.volume import default_affine

pytestmark = pytest.mark.gui

NEAR = (-80.0, -90.0, 100.0)
ORIGINS = {
    "beside": (400.0, -90.0, 100.0),
    "above": (-80.0, -90.0, 900.0),
    "half out": (0.0, -20.0, 110.0),
    "far away": (9000.0, -7000.0, -15000.0),
}
SIZES = {"same": (5.0, 4.0, 4.0), "small": (0.5, 0.4, 0.4), "large": (40.0, 30.0, 30.0)}
ORDERS = ((0, 1, 2), (1, 0, 2), (2, 0, 1))


@pytest.fixture
def viewer(window, painted, qapp):
    prepare_viewer(window)
    window.window.resize(1100, 700)
    settle(qapp)
    yield window
    window.window.remove_dock_widget("all")
    window.dims.ndisplay = 2
    window.layers.clear()
    window.dims.order = (0, 1, 2)
    settle(qapp)


def settle(qapp):
    for _ in range(20):
        qapp.processEvents()


def solid(volume, origin=NEAR, spacing=SIZES["same"]):
    """A volume that is bright throughout, so that its borders can be seen."""
    voxels = np.full(volume.voxels.shape, 1500, np.int16)
    return replace(volume, voxels=voxels, affine=default_affine(spacing, origin))


def add(viewer, volume, colormap="red"):
    layer = viewer.add_layer(Layer.create(*volume_layer(volume)))
    layer.colormap = colormap
    return layer


def check_in_view(viewer, qapp):
    """The red scan is on the canvas, nowhere at its edge, and not tiny."""
    settle(qapp)
    picture = viewer.screenshot(flash=False, canvas_only=True)[..., :3].astype(int)
    y, x = np.nonzero((picture[..., 0] > 60) & (picture[..., 1:].max(axis=-1) < 30))
    height, width = picture.shape[:2]
    assert len(x) > 500
    assert x.min() > 1 and x.max() < width - 2
    assert y.min() > 1 and y.max() < height - 2
    assert np.ptp(x) > 0.25 * width or np.ptp(y) > 0.25 * height


@pytest.mark.parametrize("ndisplay", [2, 3])
@pytest.mark.parametrize("origin", ORIGINS)
def test_a_second_scan_is_in_view(viewer, qapp, small_ct, origin, ndisplay):
    add(viewer, solid(small_ct), "green").visible = False
    viewer.dims.ndisplay = ndisplay
    add(viewer, solid(small_ct, ORIGINS[origin]))
    check_in_view(viewer, qapp)
    viewer.dims.ndisplay = 5 - ndisplay
    if origin != "far away" or viewer.dims.ndisplay == 2:  # 3D shows all scans when it is entered
        check_in_view(viewer, qapp)


@pytest.mark.parametrize("size", SIZES)
def test_docking_a_panel_keeps_scans_in_view(viewer, qapp, small_ct, size):
    add(viewer, solid(small_ct, spacing=SIZES[size]))
    wide = QLabel("a panel")
    wide.setFixedWidth(420)
    viewer.window.add_dock_widget(wide, area="right")
    check_in_view(viewer, qapp)
    viewer.dims.ndisplay = 3
    low = QLabel("another")
    low.setFixedHeight(250)
    viewer.window.add_dock_widget(low, area="bottom")
    check_in_view(viewer, qapp)
    viewer.dims.ndisplay = 2
    check_in_view(viewer, qapp)


def test_docking_a_panel_keeps_the_second_scan_in_view(viewer, qapp, small_ct):
    add(viewer, solid(small_ct), "green").visible = False
    add(viewer, solid(small_ct, ORIGINS["beside"], SIZES["large"]))
    wide = QLabel("a panel")
    wide.setFixedWidth(420)
    viewer.window.add_dock_widget(wide, area="right")
    check_in_view(viewer, qapp)


# Without a window


@pytest.fixture
def model(small_ct):
    model = ViewerModel()
    prepare_viewer(model)
    return model


def camera_of(viewer):
    camera = viewer.scene.camera
    return viewer.dims.point, tuple(camera.center), camera.zoom, tuple(camera.angles)


@pytest.mark.parametrize(
    ("origin", "size", "ndisplay", "order"), list(product(ORIGINS, SIZES, (2, 3), ORDERS))
)
def test_a_scan_is_in_view_wherever_it_lies(model, small_ct, origin, size, ndisplay, order):
    add(model, small_ct)
    model.dims.order = order
    model.dims.ndisplay = ndisplay
    layer = add(model, solid(small_ct, ORIGINS[origin], SIZES[size]))
    assert is_seen(model, layer)
    low, high = layer.extent.world
    axis = order[0]
    assert low[axis] <= model.dims.point[axis] <= high[axis] or ndisplay == 3
    for canvas in ((700, 300), (200, 900)):
        model.canvas.size = canvas
        assert is_seen(model, layer)
    model.dims.ndisplay = 5 - ndisplay
    model.dims.ndisplay = ndisplay
    assert is_seen(model, layer)


def test_a_view_that_the_user_set_is_kept(model, small_ct):
    add(model, small_ct)
    for ndisplay in (2, 3):
        model.dims.ndisplay = ndisplay
        model.scene.camera.zoom *= 3
        before = camera_of(model)
        model.canvas.size = (500, 500)
        assert camera_of(model) == before
        model.canvas.size = (700, 300)
        assert camera_of(model) == before


def test_home_is_kept(model, small_ct):
    layers = [add(model, small_ct), add(model, solid(small_ct, ORIGINS["beside"]))]
    assert not is_seen(model, layers[0])
    model.reset_view()
    model.canvas.size = (300, 300)
    assert all(is_seen(model, layer) for layer in layers)


def test_a_scan_that_is_in_view_leaves_the_view_alone(model, small_ct):
    add(model, small_ct)
    model.dims.set_point(0, 130.0)
    model.scene.camera.zoom *= 0.7
    before = camera_of(model)
    near = small_ct.affine.copy()
    near[:3, 3] += (6, -9, 4)
    add(model, replace(small_ct, affine=near))
    model.add_layer(Points(np.full((1, 3), 5000.0)))
    assert camera_of(model) == before


def test_what_is_made_from_a_scan_leaves_the_view_alone(model, small_ct):
    from tomochrome._napari.colorize.coloring import finished_layer
    from tomochrome._napari.layers.layer_volumes import ct_source
    from tomochrome.color import Lighting

    layer = add(model, small_ct)
    model.scene.camera.zoom *= 1.6  # its border is out of view
    before = camera_of(model)
    ct = ct_source(layer)
    model.add_layer(finished_layer(layer, ct, simple_colorize(ct.shown), Lighting()))
    copy = Layer.create(*layer.as_layer_data_tuple())
    assert source_of(copy.metadata) is source_of(layer.metadata)
    model.add_layer(copy)
    assert camera_of(model) == before
    add(model, small_ct)  # opened again
    assert camera_of(model) != before
