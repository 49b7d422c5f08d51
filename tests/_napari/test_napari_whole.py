"""From File > Open Sample to a file on disk, in a real window, with the engine itself."""

from __future__ import annotations

import gc
import sys
import time

import nibabel
import numpy as np
import pytest
from loop_cases import rest, wait_until
from npe2 import PluginManager

from tomochrome._napari.coloring import Coloring
from tomochrome._napari.layers import behind
from tomochrome.color import light
from tomochrome.colorization import model_title, models
from tomochrome.geometry import reorient_like
from tomochrome.windowing import PRESETS

pytestmark = [pytest.mark.gui, pytest.mark.slow, pytest.mark.timeout(600)]

PLUGIN = "napari-tomochrome"
COARSE = (8.0, 4.0, 4.0)
MODELS = [card.name for card in models()]
#: The event loop may never be away for longer.
MOST_MS = 100.0
#: The same while the panel warms up, which happens once in a process: no second try.
MOST_MS_AT_ONE_TRY = 150.0


@pytest.fixture(scope="module")
def whole(window, qapp, loop_watch):
    """The sample chest and the panel, opened through the manifest and warmed up."""
    assert "tomochrome.colorization.engine" not in sys.modules
    PluginManager.instance().discover()
    (layer,) = window.open_sample(PLUGIN, "chest", spacing=COARSE)
    rest(qapp, 1.0)  # napari draws its first picture
    _, panel = window.window.add_plugin_dock_widget(PLUGIN, "Colorize volume")
    with loop_watch() as watch:
        wait_until(qapp, lambda: not panel._warm.running, 300)
        rest(qapp, 0.2)
    panel.warming_ms = watch.largest_ms()
    yield panel, layer
    panel.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()


def color(panel, qapp, model):
    panel.view.model.choose(model)
    assert panel.view.model.name == model
    panel.run()
    wait_until(qapp, lambda: not panel.running, 300)
    said = panel.view.message.text()
    assert said.startswith(f"Colored by {model_title(model)}"), said
    return panel.coloring


def test_the_event_loop_goes_on_while_torch_is_imported(whole):
    panel, _ = whole
    assert "torch" in sys.modules
    assert panel.warming_ms < MOST_MS_AT_ONE_TRY
    # What was imported is no longer walked over by full garbage collections.
    assert gc.get_freeze_count() > 100_000


@pytest.mark.parametrize("model", MODELS)
def test_the_layer_holds_what_the_core_computes_and_lies_over_the_ct(whole, qapp, model):
    panel, ct = whole
    coloring = color(panel, qapp, model)
    shown = behind(ct.metadata).shown
    expected = light(shown, coloring.chroma, "mediastinum").voxels
    np.testing.assert_array_equal(np.asarray(coloring.layer.data), expected)
    np.testing.assert_array_equal(coloring.layer.scale, ct.scale)
    np.testing.assert_array_equal(coloring.layer.translate, ct.translate)
    np.testing.assert_array_equal(coloring.layer.affine.affine_matrix, ct.affine.affine_matrix)
    assert coloring.layer.units == ct.units
    assert coloring.layer.axis_labels == ct.axis_labels == ("z", "y", "x")
    panel.view.window.set_window(PRESETS["bone"])
    panel.view.window.changed.emit()
    wait_until(qapp, lambda: coloring.layer.data.settings.window == PRESETS["bone"], 5)
    expected = light(shown, coloring.chroma, "bone").voxels
    np.testing.assert_array_equal(np.asarray(coloring.layer.data), expected)
    z = panel.viewer.dims.current_step[0]
    np.testing.assert_array_equal(coloring.layer._slice.image.view, expected[z])
    panel.view.window.set_window(PRESETS["mediastinum"])
    panel.view.window.changed.emit()


def napari_itself_takes(viewer, qapp, ct, loop_watch):
    """Milliseconds that napari stands still for a plain picture: when added, when drawn anew."""
    picture = np.random.default_rng(0).integers(0, 255, (*ct.data.shape, 4), dtype=np.uint8)
    with loop_watch() as adding:
        layer = viewer.add_image(picture, rgb=True, scale=ct.scale, units=ct.units)
        rest(qapp, 0.5)
    with loop_watch() as drawing:
        for _ in range(10):
            layer.refresh()
            rest(qapp, 0.02)
    viewer.layers.remove(layer)
    return adding.largest_ms(), drawing.largest_ms()


def away(panel, ct, qapp, loop_watch, monkeypatch, model):
    """Largest gaps in ms: while the worker works, while the layer is shown, while one slides.

    Making a layer's controls and shaders is napari's own and takes 0.1 to 0.2 s in software
    rendering, in one go; a drawing takes 5 ms, or 100 where the processor is another's at times.
    Both are measured here and now, and ours may take twice that: earlier colorings are hidden
    and the CT's window is set along with it.
    """
    adding, drawing = napari_itself_takes(panel.viewer, qapp, ct, loop_watch)
    added = []
    add = Coloring.add

    def note(*arguments):
        added.append(time.perf_counter())
        return add(*arguments)

    monkeypatch.setattr(Coloring, "add", note)
    with loop_watch() as watch:
        coloring = color(panel, qapp, model)
        rest(qapp, 1.0)
    monkeypatch.setattr(Coloring, "add", add)
    with loop_watch() as sliding:
        for width in range(200, 600, 20):
            panel.view.window.width._box.setValue(width)
            wait_until(qapp, lambda w=width: coloring.layer.data.settings.window.width == w, 5)
    return {
        "working": watch.largest_ms(until=added[0]),
        "showing": watch.largest_ms(since=added[0]) - 2 * adding,
        "sliding": sliding.largest_ms() - 2 * drawing,
    }


@pytest.mark.parametrize("model", MODELS)
def test_the_event_loop_is_never_away(whole, qapp, loop_watch, monkeypatch, model):
    panel, ct = whole
    # What blocks by our own doing does so every time; a hiccup of the machine does not.
    tries = []
    for _ in range(3):
        tries.append(away(panel, ct, qapp, loop_watch, monkeypatch, model))
        panel.viewer.layers.remove(panel.coloring.layer)
        best = {name: min(gaps[name] for gaps in tries) for name in tries[0]}
        if max(best.values()) < MOST_MS:
            return
    pytest.fail(f"the event loop was away, in ms: {tries}")


@pytest.mark.parametrize("model", MODELS)
def test_a_run_is_cancelled_within_a_second(whole, qapp, model):
    panel, _ = whole
    before = list(panel.viewer.layers)
    panel.view.model.choose(model)
    panel.run()
    thread = panel._job._thread
    panel.view.cancel.click()
    start, busy = time.perf_counter(), time.process_time()
    wait_until(qapp, lambda: not panel.running, 60)
    # Where other programs take the processors, what this one had of them is what counts.
    took = min(time.perf_counter() - start, time.process_time() - busy)
    thread.join(1)
    assert not thread.is_alive()
    assert took < 1.0, f"{took:.2f} s"
    assert list(panel.viewer.layers) == before


def test_3d_rendering_shows_color(whole, qapp):
    panel, _ = whole
    color(panel, qapp, MODELS[0])
    panel.view.color.alpha_box.choose("muscle")
    panel.viewer.dims.ndisplay = 3
    try:
        wait_until(qapp, lambda: panel.coloring.layer.data.settings.alpha.name == "muscle", 10)
        panel.view.layer.layer().visible = False
        picture = panel.viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    finally:
        panel.view.layer.layer().visible = True
        panel.viewer.dims.ndisplay = 2
        panel.view.color.alpha_box.choose("body")
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
        stored = behind(ct.metadata).stored
        assert image.shape[:3] == stored.shape[::-1]
        assert image.get_data_dtype().names == ("R", "G", "B", "A")
        shown = behind(ct.metadata).shown
        window = panel.view.window.window
        expected = reorient_like(light(shown, coloring.chroma, window), stored).voxels
        red = np.asarray(image.dataobj)["R"].transpose(2, 1, 0)
        np.testing.assert_array_equal(red, expected[..., 0])
