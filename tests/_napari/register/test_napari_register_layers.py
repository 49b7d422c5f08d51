"""Which layers are compared, and what happens when they are moved, hidden or closed."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from napari.layers import Layer
from panel_cases import compare, names, on_screen, register, settle
from register_cases import SHIFT, body

from tomochrome._napari.layers.volume_layers import volume_layer
from tomochrome.color import LitVolume
from tomochrome.volume import default_affine

pytestmark = pytest.mark.gui


def test_a_moved_layer_is_compared_at_its_new_position(panel, qtbot):
    viewer = panel.viewer
    viewer.layers.clear()
    for name in ("one", "two"):
        viewer.add_image(body().voxels, scale=(6, 4, 4), name=name)
    comparison = compare(panel, qtbot, "difference")
    assert not on_screen(comparison.layer)[..., :3].any()
    viewer.layers["two"].translate = (0, 0, 16)
    qtbot.waitUntil(lambda: panel.comparing.comparison is not comparison, timeout=5000)
    settle(panel, qtbot)
    assert on_screen(panel.comparing.comparison.layer)[..., :3].any()


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")  # napari's own, of turned layers
def test_layers_of_other_readers_are_compared_and_registered(panel, qtbot, engine):
    viewer = panel.viewer
    viewer.layers.clear()
    # One in micrometres, one without units, one of them turned.
    first = viewer.add_image(
        body().voxels, scale=(6000, 4000, 4000), translate=(1e5, -8e4, -7.2e4),
        units=("um",) * 3, name="micro", contrast_limits=(-200, 200),
    )  # fmt: skip
    second = viewer.add_image(
        body(SHIFT).voxels.astype(np.float32), scale=(6, 4, 4), translate=(100, -80, -72),
        rotate=(5, 0, 0), name="plain",
    )  # fmt: skip
    assert panel.view.two == (first, second)
    comparison = compare(panel, qtbot)
    np.testing.assert_allclose(comparison.pair.volume.affine, body().affine, atol=1e-6)
    assert comparison.pair.coverage > 0.9
    assert tuple(comparison.layer.scale) == (6000, 4000, 4000)
    alignment = register(panel, qtbot)
    np.testing.assert_allclose(engine.calls[0][0].affine, body().affine, atol=1e-6)
    assert tuple(alignment.layer.scale) == (6000, 4000, 4000)
    np.testing.assert_allclose(alignment.layer.extent.world, first.extent.world)


@pytest.fixture
def twin(panel, monkeypatch):
    """A colored layer of the first body."""
    from quick_colorize import simple_colorize

    from tomochrome._napari.colorize.coloring import color_in_worker
    from tomochrome.color import Lighting

    monkeypatch.setattr(import_module("tomochrome.colorization"), "colorize", simple_colorize)
    fields = {"window": Lighting().window}
    colored = color_in_worker(panel.viewer.layers["prior"], "tissue", "cpu", fields)
    return panel.viewer.add_layer(colored)


@pytest.mark.parametrize("begin", [2, 3])
def test_a_comparison_in_3d_leaves_the_scan_below_its_colors_hidden(panel, qtbot, twin, begin):
    viewer = panel.viewer
    prior = viewer.layers["prior"]
    viewer.dims.ndisplay = begin
    compare(panel, qtbot)
    viewer.dims.ndisplay = 3
    assert not prior.visible
    assert not twin.visible
    panel.view.compare.show_button.click()
    assert not prior.visible
    assert twin.visible
    viewer.dims.ndisplay = 2
    assert prior.visible


def test_a_colored_layer_is_compared_and_followed(panel, qtbot, twin):
    viewer = panel.viewer
    assert isinstance(twin.data, LitVolume)
    panel.view.compare.choose(viewer.layers["prior"], twin)
    comparison = compare(panel, qtbot, "blend")
    viewer.dims.set_point(0, 142)
    before = on_screen(comparison.layer).copy()
    assert np.ptp(before[..., :3].astype(int), axis=-1).max() > 5
    twin.data.settings = twin.data.settings.replace(saturation=0.0)
    qtbot.waitUntil(lambda: (on_screen(comparison.layer) != before).any(), timeout=5000)


def test_layers_that_cannot_be_compared_give_a_message(panel, qtbot):
    far = panel.viewer.add_image(
        body().voxels, scale=(6, 4, 4), translate=(9000, 0, 0), units=("mm",) * 3, name="far"
    )
    panel.view.compare.choose(panel.view.fixed.layer(), far)
    panel.comparing.start()
    settle(panel, qtbot)
    assert panel.comparing.comparison is None
    assert "do not overlap" in panel.view.compare.message.text()
    assert not panel.view.compare.show_button.isChecked()


def test_closing_a_layer_ends_its_comparison(panel, qtbot):
    comparison = compare(panel, qtbot)
    panel.viewer.layers.remove(comparison.layers[1])
    assert panel.comparing.comparison is None
    assert panel.view.compare.message.text() == ""
    assert names(panel) == ["prior"]
    assert panel.viewer.layers[0].visible


@pytest.mark.parametrize("why", ["no overlap", "twice"])
def test_a_failed_comparison_removes_the_previous_one(panel, qtbot, why):
    """The fields must not describe an image that is not shown."""
    compare(panel, qtbot)
    far = body(affine=default_affine((6.0, 4.0, 4.0), (9000.0, 0.0, 0.0)))
    layer = panel.viewer.add_layer(Layer.create(*volume_layer(far, "elsewhere")))
    second = layer if why == "no overlap" else panel.viewer.layers["prior"]
    panel.view.compare.second.choose(second)
    settle(panel, qtbot)
    assert panel.comparing.comparison is None
    assert names(panel) == ["prior", "follow-up", "elsewhere"]
    assert panel.viewer.layers["prior"].visible
    assert {"no overlap": "overlap", "twice": "twice"}[why] in panel.view.compare.message.text()
    assert not panel.view.compare.show_button.isChecked()


def test_every_layer_that_was_hidden_is_shown_again(panel, qtbot):
    """Layers hidden by an earlier comparison are shown again, too."""
    third = panel.viewer.add_layer(Layer.create(*volume_layer(body(), "third")))
    compare(panel, qtbot)
    assert not third.visible  # it would show where the second image has no voxels
    panel.view.compare.second.choose(third)
    settle(panel, qtbot)
    assert not any(layer.visible for layer in panel.viewer.layers if layer.name != "Comparison")
    panel.view.compare.show_button.click()
    assert names(panel) == ["prior", "follow-up", "third"]
    assert all(layer.visible for layer in panel.viewer.layers)


def test_of_two_kept_results_the_last_is_shown(panel, qtbot, engine):
    panel.view.keep.setChecked(True)
    first = register(panel, qtbot)
    second = register(panel, qtbot)
    panel.view.compare.show_button.click()
    seen = [layer for layer in panel.viewer.layers if layer.visible]
    assert seen == [panel.viewer.layers["prior"], second.layer]
    assert first.layer in panel.viewer.layers


def test_a_scan_moved_by_hand_gives_a_warning(panel, qtbot, engine):
    panel.viewer.layers["follow-up"].translate += (0, 0, 20)
    compare(panel, qtbot)
    assert "'follow-up' was moved by hand" in panel.view.compare.message.text()
    register(panel, qtbot)
    assert "'follow-up' was moved by hand" in panel.view.result.warnings.text()
    assert "moved by hand" not in panel.view.compare.message.text()  # fixed and result: neither


def test_no_opaque_layer_hides_a_comparison(panel, qtbot):
    viewer = panel.viewer
    third = viewer.add_layer(Layer.create(*volume_layer(body(), "third")))
    heat = viewer.add_image(body().voxels, scale=(6, 4, 4), blending="additive", name="heat")
    dots = viewer.add_points([[130.0, 0, 0]], name="dots")
    panel.view.compare.choose(viewer.layers["prior"], viewer.layers["follow-up"])
    comparison = compare(panel, qtbot)
    assert viewer.layers.index(comparison.layer) > viewer.layers.index(third)
    assert viewer.layers.index(comparison.layer) < viewer.layers.index(heat)
    assert viewer.layers.index(comparison.layer) < viewer.layers.index(dots)
