"""From File > Open Sample to a file on disk, in a real window, with the engine itself."""

from __future__ import annotations

import gc
import sys

import nibabel
import numpy as np
import pytest
from gui_work import Imports
from loop_cases import rest, wait_until
from npe2 import PluginManager

from tomochrome._napari.layers.volume_layers import source_of
from tomochrome.color import light
from tomochrome.color.table import TABLE
from tomochrome.colorization import model_title, models
from tomochrome.colorization.predictor import needs_reference
from tomochrome.geometry import reorient_like
from tomochrome.windowing import PRESETS

pytestmark = [pytest.mark.gui, pytest.mark.slow, pytest.mark.timeout(1800)]

PLUGIN = "napari-tomochrome"
COARSE = (8.0, 4.0, 4.0)
#: one of each kind that needs no photograph, the default first
MODELS = [*{card.kind: card.name for card in models()[::-1] if not needs_reference(card)}.values()]
MODELS.sort(key=lambda name: name != models()[0].name)


@pytest.fixture(scope="module")
def whole(window, qapp):
    """The sample chest and the panel, opened through the manifest and warmed up."""
    PluginManager.instance().discover()
    (layer,) = window.open_sample(PLUGIN, "chest", spacing=COARSE)
    rest(qapp, 1.0)  # napari draws its first picture
    frozen = gc.get_freeze_count()
    with Imports() as imports:
        _, panel = window.window.add_plugin_dock_widget(PLUGIN, "Colorize volume")
        wait_until(qapp, lambda: not panel.loading.running)
        rest(qapp, 0.2)
    panel.imported_by_gui = imports.large
    assert gc.get_freeze_count() <= frozen  # no setting of the interpreter is changed
    yield panel, layer
    panel.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()


def color(panel, qapp, model):
    panel.view.model.choose(model)
    assert panel.view.model.name == model
    panel.run()
    wait_until(qapp, lambda: not panel.running)
    said = panel.view.message.text()
    assert said.startswith(f"Colored by {model_title(model)}"), said
    return panel.coloring


def test_torch_is_imported_by_a_worker(whole):
    panel, _ = whole
    assert "torch" in sys.modules
    assert panel.imported_by_gui == []


@pytest.mark.parametrize("model", MODELS)
def test_the_layer_holds_what_the_core_computes_and_lies_over_the_ct(whole, qapp, model):
    panel, ct = whole
    coloring = color(panel, qapp, model)
    shown = source_of(ct.metadata).shown
    first = coloring.layer.data.settings.window  # chosen by the content
    expected = light(shown, coloring.chroma, first).voxels
    np.testing.assert_array_equal(np.asarray(coloring.layer.data), expected)
    np.testing.assert_array_equal(coloring.layer.scale, ct.scale)
    np.testing.assert_array_equal(coloring.layer.translate, ct.translate)
    np.testing.assert_array_equal(coloring.layer.affine.affine_matrix, ct.affine.affine_matrix)
    assert coloring.layer.units == ct.units
    assert coloring.layer.axis_labels == ct.axis_labels == ("z", "y", "x")
    panel.view.window.set_window(PRESETS["bone"])
    panel.view.window.changed.emit()
    wait_until(qapp, lambda: coloring.layer.data.settings.window == PRESETS["bone"])
    expected = light(shown, coloring.chroma, "bone").voxels
    np.testing.assert_array_equal(np.asarray(coloring.layer.data), expected)
    z = panel.viewer.dims.current_step[0]
    np.testing.assert_array_equal(coloring.layer._slice.image.view, expected[z])
    panel.view.window.set_window(first)
    panel.view.window.changed.emit()


@pytest.mark.parametrize("model", MODELS)
def test_the_gui_thread_lights_one_plane_at_a_time(whole, qapp, gui_work, model):
    """A worker colors; each slider step computes one plane and no table in the GUI thread."""
    panel, ct = whole
    coloring = color(panel, qapp, model)
    rest(qapp, 0.5)
    assert gui_work.idle, (gui_work.long, gui_work.imported)
    assert "colorize" in gui_work.elsewhere
    plane = ct.data.shape[1] * ct.data.shape[2]
    assert max(gui_work.lit, default=0) <= plane
    columns = TABLE.columns_filled
    gui_work.lit.clear()
    widths = range(200, 600, 20)
    for width in widths:
        panel.view.window.width.box.setValue(width)
        wait_until(qapp, lambda w=width: coloring.layer.data.settings.window.width == w)
    assert gui_work.idle
    assert 0 < max(gui_work.lit) <= plane
    assert len(gui_work.lit) <= 2 * len(widths)
    assert TABLE.columns_filled == columns


@pytest.mark.parametrize("model", MODELS)
def test_a_cancelled_run_ends_and_leaves_nothing(whole, qapp, model):
    panel, _ = whole
    before = list(panel.viewer.layers)
    panel.view.model.choose(model)
    panel.run()
    thread = panel.jobs.job._thread
    panel.view.cancel.click()
    wait_until(qapp, lambda: not panel.running)
    thread.join(600)
    assert not thread.is_alive()
    assert list(panel.viewer.layers) == before


def test_3d_rendering_shows_color(whole, qapp, gui_work):
    panel, _ = whole
    coloring = color(panel, qapp, MODELS[0])
    gui_work.lit.clear()
    panel.viewer.dims.ndisplay = 3
    try:
        panel.view.color.alpha_box.choose("muscle")
        wait_until(qapp, lambda: coloring.layer.data.is_rendered)
        assert not panel.view.layer.layer().visible  # hidden by the colors over it
        rest(qapp, 0.5)
        picture = panel.viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
        assert gui_work.idle, gui_work.long
        assert gui_work.lit == []
        assert "body_field" in gui_work.elsewhere
        assert panel.view.message.text().startswith("3D ")
    finally:
        panel.viewer.dims.ndisplay = 2
    saturation = np.ptp(picture, axis=-1)
    assert (saturation > 20).mean() > 0.02


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".png"])
def test_the_colored_layer_is_saved_on_the_cts_grid(whole, qapp, tmp_path, ending):
    panel, ct = whole
    coloring = panel.coloring or color(panel, qapp, MODELS[0])
    path = tmp_path / f"color{ending}"
    panel.viewer.layers.selection = {coloring.layer}
    written = panel.viewer.layers.save(str(path), selected=True, plugin=PLUGIN)
    assert written == [str(path)]
    assert path.stat().st_size > 1000
    if ending == ".nii.gz":
        image = nibabel.load(path)
        stored = source_of(ct.metadata).stored
        assert image.shape[:3] == stored.shape[::-1]
        assert image.get_data_dtype().names == ("R", "G", "B", "A")
        shown = source_of(ct.metadata).shown
        window = panel.view.window.window
        expected = reorient_like(light(shown, coloring.chroma, window), stored).voxels
        red = np.asarray(image.dataobj)["R"].transpose(2, 1, 0)
        np.testing.assert_array_equal(red, expected[..., 0])
