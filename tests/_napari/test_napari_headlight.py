"""Light from the viewer in 3D: a body is as bright from behind as from the front."""

from __future__ import annotations

from dataclasses import replace

import pytest
from napari.layers import Layer
from quick_colorize import simple_colorize

from tomochrome._napari.colorize.colored_picture import ColoredPicture
from tomochrome._napari.layers.volume_layers import (
    color_layer,
    layer_transform,
    source_of,
    volume_layer,
)
from tomochrome._napari.viewer import headlight
from tomochrome._napari.viewer.renderer_3d import renderer_of
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.color import Lighting

pytestmark = pytest.mark.gui


def add_colored(viewer, volume):
    ct = viewer.add_layer(Layer.create(*volume_layer(volume)))
    known = source_of(ct.metadata)
    chroma = simple_colorize(known.shown)
    lit = ColoredPicture(known.shown, chroma, Lighting(alpha="skin"))
    source = replace(known, role="color", chroma=chroma)
    return viewer.add_layer(Layer.create(*color_layer(lit, source, layer_transform(ct), "colored")))


@pytest.fixture
def viewer(window):
    prepare_viewer(window)
    renderer_of(window)
    yield window
    window.dims.ndisplay = 2
    window.layers.clear()


def brightness_from(viewer, direction):
    """The mean brightness of the body, seen along a direction (z, y, x)."""
    viewer.scene.camera.set_view_direction(direction, (1, 0, 0))
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].max(axis=-1)
    height, width = picture.shape
    middle = picture[height // 3 : -height // 3, width // 3 : -width // 3]
    return float(middle[middle > 0].mean())


@pytest.mark.parametrize("other", [(0, -1, 0), (0, 0, 1), (0, 0, -1), (0, -1, 1)])
def test_the_body_is_as_bright_from_everywhere(viewer, small_ct, qtbot, other):
    """The light was fixed to the front: from behind, all was dark."""
    layer = add_colored(viewer, small_ct)
    assert layer.data.lit_by_viewer
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: layer.data.is_rendered)
    qtbot.waitUntil(lambda: layer.data.drawn.rgba.shape == layer.data.shape)
    viewer.fit_to_view()
    front, there = brightness_from(viewer, (0, 1, 0)), brightness_from(viewer, other)
    assert front > 60
    assert there > 0.75 * front


def test_the_shader_knows_the_shape_of_a_voxel(viewer, small_ct, qtbot):
    layer = add_colored(viewer, small_ct)  # voxels of 5 x 4 x 4 mm
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: layer.data.is_rendered)
    qtbot.waitUntil(lambda: layer.data.drawn.rgba.shape == layer.data.shape)
    node = headlight.volume_node(viewer, layer)
    loop = node._rendering_methods["translucent"]["in_loop"]
    assert "vec3(1.00, 1.00, 1.25)" in loop
    assert node._rendering_methods is not type(node)._rendering_methods
    assert "SPACING" not in loop


def test_without_a_shader_to_change_the_light_stays_in_the_voxels(
    viewer, small_ct, qtbot, monkeypatch, caplog
):
    monkeypatch.setattr(headlight, "_MARK", "another version of vispy")
    layer = add_colored(viewer, small_ct)
    assert not layer.data.lit_by_viewer
    assert layer.data.shaded_in_3d
    assert "lit from the front" in caplog.text


def test_colors_that_replace_others_are_lit_too(viewer, small_ct):
    layer = add_colored(viewer, small_ct)
    lit = ColoredPicture(layer.data.volume, layer.data.chroma)
    layer.data = lit
    assert lit.lit_by_viewer
    assert not lit.shaded_in_3d
