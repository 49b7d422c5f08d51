"""The panel "Colorize volume", used as a radiologist would, in a real window."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

from tomochrome._napari.ct_source import check_layer
from tomochrome._napari.layer_choice import LayerChoice
from tomochrome._napari.layers import behind, volume_layer
from tomochrome._napari.writer import layer_volume
from tomochrome.color import light
from tomochrome.errors import NotCTError
from tomochrome.runtime import check
from tomochrome.volume import Provenance, Volume
from tomochrome.windowing import PRESETS, Window

pytestmark = pytest.mark.gui

MODEL = "tissue"


def colorize(panel, qtbot, model=MODEL):
    panel.view.model.setCurrentText(model)
    panel.run()
    assert panel.running
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    return panel.coloring


def lit(panel, window, **settings):
    """What the core says the colored layer must hold."""
    coloring = panel.coloring
    shown = behind(coloring.layer.metadata).shown
    return light(shown, coloring.chroma, window, **settings).voxels


def bound_keys(viewer):
    """The viewer's own key bindings, by name."""
    return {str(key): action for key, action in viewer.keymap.items()}


def on_screen(layer):
    """The pixels that napari holds of a layer."""
    return np.asarray(layer._slice.image.view)


def test_the_result_is_the_core_lit_volume_over_the_ct(panel, qtbot):
    coloring = colorize(panel, qtbot)
    assert panel.view.message.text().startswith(f"Colored by {MODEL}")
    ct, layer = panel.view.layer.layer(), coloring.layer
    assert list(panel.viewer.layers) == [ct, layer]
    assert layer.rgb
    np.testing.assert_array_equal(np.asarray(layer.data), lit(panel, "auto"))
    for name in ("scale", "translate", "units", "axis_labels"):
        assert tuple(getattr(layer, name)) == tuple(getattr(ct, name))
    np.testing.assert_array_equal(layer.affine.affine_matrix, ct.affine.affine_matrix)
    np.testing.assert_array_equal(layer.extent.world, ct.extent.world)


def test_every_control_relights_what_is_on_screen_without_another_run(panel, qtbot, monkeypatch):
    coloring = colorize(panel, qtbot)
    monkeypatch.setattr(panel, "run", None)
    view, layer = panel.view, coloring.layer
    z = panel.viewer.dims.current_step[0]

    def follows(window, **settings):
        expected = lit(panel, window, **settings)[z]
        qtbot.waitUntil(lambda: np.array_equal(on_screen(layer), expected), timeout=5000)

    follows("auto")
    view.window.preset.setCurrentIndex(
        view.window.preset.findText("Lung", Qt.MatchFlag.MatchStartsWith)
    )
    view.window.preset.activated.emit(view.window.preset.currentIndex())
    follows("lung")
    view.window.center._box.setValue(-200)
    follows(Window(-200, 1500))
    view.window.width._box.setValue(900)
    follows(Window(-200, 900))
    assert view.window.preset.currentText() == "Custom"
    view.color.saturation_row._slider.setValue(400)
    follows(Window(-200, 900), saturation=0.4)
    view.color.confidence_row._slider.setValue(900)
    follows(Window(-200, 900), saturation=0.4, min_confidence=0.9)
    view.color.alpha_box.setCurrentText("opaque")
    follows(Window(-200, 900), saturation=0.4, min_confidence=0.9, alpha="opaque")


def test_the_ct_follows_the_window_and_the_window_follows_the_ct(panel, qtbot):
    colorize(panel, qtbot)
    ct = panel.view.layer.layer()
    panel.view.window.center._box.setValue(40)
    panel.view.window.width._box.setValue(80)
    qtbot.waitUntil(lambda: tuple(ct.contrast_limits) == (0.0, 80.0), timeout=5000)
    assert panel.view.window.preset.currentText().startswith("Brain")
    ct.contrast_limits = (-1350, 150)
    expected = lit(panel, "lung")
    layer = panel.coloring.layer
    qtbot.waitUntil(lambda: np.array_equal(np.asarray(layer.data), expected), timeout=5000)
    assert panel.view.window.preset.currentText().startswith("Lung")


def test_opacity_goes_both_ways(panel, qtbot):
    layer = colorize(panel, qtbot).layer
    panel.view.color.opacity_row._slider.setValue(300)
    assert layer.opacity == pytest.approx(0.3)
    layer.opacity = 0.75
    assert panel.view.color.opacity == pytest.approx(0.75)


def test_the_key_switches_color_off_and_on_and_keeps_every_grey_level(panel, qtbot):
    layer = colorize(panel, qtbot).layer
    colored = np.asarray(layer.data)
    bound_keys(panel.viewer)["Shift+C"](panel.viewer)
    qtbot.waitUntil(lambda: layer.data.settings.saturation == 0, timeout=5000)
    grey = np.asarray(layer.data)
    assert np.ptp(grey[..., :3].astype(int), axis=-1).max() <= 1
    np.testing.assert_array_equal(grey[..., 3], colored[..., 3])
    panel.view.color.color.setChecked(True)
    qtbot.waitUntil(lambda: np.array_equal(np.asarray(layer.data), colored), timeout=5000)


def test_the_scanners_and_the_automatic_window_are_offered(panel, small_ct):
    box = panel.view.window.preset
    names = [box.itemText(index) for index in range(box.count())]
    assert [name for name in names if name.startswith("Scanner")] == ["Scanner:  30 / 300"]
    assert len([name for name in names if any(name.startswith(p) for p in ("Brain", "Bone"))]) == 2
    assert box.currentText() == "Automatic"
    box.setCurrentIndex(names.index("Automatic"))
    box.activated.emit(box.currentIndex())
    from tomochrome.windowing import auto_window

    assert panel.view.window.window == auto_window(small_ct)


def test_not_for_diagnosis_and_the_model_are_always_in_sight(panel, qtbot):
    assert panel.view.caution.isVisible()
    assert "Not for diagnosis" in panel.view.caution.text()
    colorize(panel, qtbot)
    assert MODEL in panel.view.caution.text()
    bar = panel.viewer.window._qt_window.statusBar()
    mark = bar.findChild(QLabel, "tomochrome-not-for-diagnosis")
    assert mark.isVisible()
    assert mark.text() == f"Colors by {MODEL}: not for diagnosis"
    panel.viewer.layers.clear()
    assert mark.text() == ""
    assert "Not for diagnosis" in panel.view.caution.text()


def test_the_tissue_under_the_cursor_is_named(panel, qtbot, small_ct):
    coloring = colorize(panel, qtbot)
    z, y, x = 6, 24, 20
    panel.viewer.cursor.position = coloring.layer.data_to_world((z, y, x))
    assert panel.view.info.text() == "700 HU · cortical bone 80%"
    panel.viewer.cursor.position = coloring.layer.data_to_world((z, 0, 0))
    assert panel.view.info.text() == "-1000 HU"
    panel.viewer.cursor.position = (1e4, 0, 0)
    assert panel.view.info.text() == ""


@pytest.mark.parametrize(
    "layer",
    [
        Image(np.zeros((4, 30, 30), np.uint8), name="bytes"),
        Image(np.zeros((30, 30), np.int16), name="flat", contrast_limits=(0, 1)),
        Image(np.zeros((2, 4, 30, 30), np.int16), name="moving", contrast_limits=(0, 1)),
        Image(np.ones((4, 30, 30), np.int16), name="no air", contrast_limits=(0, 1)),
        Layer.create(*volume_layer(Volume(np.ones((3, 4, 5), np.int16), unit="unknown"), "odd")),
    ],
    ids=lambda layer: layer.name,
)
def test_what_is_not_ct_is_refused_with_a_sentence_in_the_panel(panel, qtbot, layer):
    panel.viewer.add_layer(layer)
    panel.view.layer.choose(layer)
    before = list(panel.viewer.layers)
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=10_000)
    text = panel.view.message.text()
    assert panel.view.message.isVisible()
    assert f"'{layer.name}'" in text
    assert "Traceback" not in text
    assert text.endswith(".")
    assert list(panel.viewer.layers) == before


def test_one_may_insist_on_hounsfield_units_of_the_refused_layer_only(panel, qtbot, small_ct):
    voxels = (small_ct.voxels + 1024).astype(np.uint16)
    mr = replace(small_ct, voxels=voxels, unit="unknown", provenance=Provenance(modality="MR"))
    ct, box = panel.view.layer.layer(), panel.view.insist
    layer = panel.viewer.add_layer(Layer.create(*volume_layer(mr, "knee")))
    panel.view.layer.choose(layer)
    assert box.isHidden()  # nobody is tempted before the refusal was read
    panel.run()
    assert not panel.running
    assert "not in Hounsfield units" in panel.view.message.text()
    assert not box.isHidden()
    assert not box.claim.isChecked()
    panel.run()
    assert not panel.running  # it is refused again until the user says so
    box.claim.setChecked(True)
    coloring = colorize(panel, qtbot)
    assert coloring.layer.name == f"knee · {MODEL} (taken as HU)"
    assert "colored because forced" in coloring.chroma.provenance.warnings
    saved = layer_volume(coloring.layer.data, {"metadata": coloring.layer.metadata})
    assert "colored because forced" in saved.provenance.warnings
    assert box.insists  # for another model, say
    panel.view.layer.choose(ct)
    assert box.isHidden()
    panel.view.layer.choose(layer)
    assert not box.insists
    panel.run()
    assert not panel.running
    assert not box.isHidden()


def test_another_readers_values_may_be_insisted_on_after_the_worker_refused_them(panel, qtbot):
    foreign = Image(np.random.default_rng(0).normal(500, 80, (8, 30, 30)), name="foreign")
    panel.viewer.layers.clear()
    panel.viewer.add_layer(foreign)
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    assert "below -200" in panel.view.message.text()
    assert not panel.view.insist.isHidden()
    panel.view.insist.claim.setChecked(True)
    assert colorize(panel, qtbot).layer.name == f"foreign · {MODEL} (taken as HU)"


def test_only_images_are_offered_the_newest_first(qtbot, small_ct):
    model = ViewerModel()
    choice = LayerChoice(model)
    qtbot.addWidget(choice)
    assert choice.layer() is None
    model.add_layer(Labels(np.ones((3, 4, 5), np.uint8)))
    assert choice.layer() is None
    first = model.add_layer(Layer.create(*volume_layer(small_ct, "first")))
    second = model.add_layer(Layer.create(*volume_layer(small_ct, "second")))
    assert [choice.itemText(index) for index in range(choice.count())] == ["second", "first"]
    assert choice.layer() is first  # what was chosen stays chosen
    first.name = "renamed"
    assert choice.currentText() == "renamed"
    model.layers.remove(first)
    assert choice.layer() is second
    choice.release()


def test_a_color_picture_is_not_offered_but_refused_where_it_is_named(qtbot, small_ct):
    model = ViewerModel()
    choice = LayerChoice(model)
    qtbot.addWidget(choice)
    photo = model.add_layer(Image(np.zeros((4, 30, 30, 3), np.uint8), name="photo", rgb=True))
    choice.choose(photo)
    assert choice.layer() is None
    with pytest.raises(NotCTError, match="'photo' is a color picture"):
        check_layer(photo)
    choice.release()


def test_without_a_layer_there_is_a_sentence(panel):
    panel.viewer.layers.clear()
    panel.run()
    assert not panel.running
    assert "Open a CT" in panel.view.message.text()


def test_another_readers_layer_is_colored_on_its_own_grid(panel, qtbot, small_ct):
    # Micrometres, turned in its plane by 90 degrees, and stored as floats.
    foreign = Image(
        small_ct.voxels.astype(np.float32), scale=(5000, 4000, 4000), translate=(1e4, 2e4, 3e4),
        rotate=((1, 0, 0), (0, 0, -1), (0, 1, 0)), units=("um",) * 3, name="foreign",
    )  # fmt: skip
    panel.viewer.layers.clear()
    panel.viewer.add_layer(foreign)
    coloring = colorize(panel, qtbot)
    np.testing.assert_array_equal(coloring.layer.extent.world, foreign.extent.world)
    assert coloring.layer.units == foreign.units
    np.testing.assert_array_equal(coloring.layer.rotate, foreign.rotate)
    shown = behind(coloring.layer.metadata).shown
    assert shown.spacing == pytest.approx((5.0, 4.0, 4.0))
    assert coloring.layer.data.shape == (*small_ct.shape, 4)


def slow_color(*_, progress, cancel, **__):
    """Stands in for the core where a test must catch it in the middle."""
    for done in range(10_000):
        check(cancel)
        progress(done, 10_000, "Coloring")
        time.sleep(0.005)


def test_a_cancelled_run_ends_within_a_second_and_leaves_nothing(panel, qtbot, monkeypatch):
    monkeypatch.setattr("tomochrome._napari.colorize_widget.color_in_worker", slow_color)
    before = list(panel.viewer.layers)
    panel.run()
    thread = panel._job._thread
    qtbot.wait(100)
    assert panel.view.progress.isVisible()
    assert panel.view.cancel.isEnabled()
    start = time.perf_counter()
    panel.view.cancel.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=1000)
    assert time.perf_counter() - start < 1.0
    thread.join(1)
    assert not thread.is_alive()
    assert list(panel.viewer.layers) == before
    assert "Cancelled" in panel.view.message.text()
    assert panel.view.run.isEnabled()
    assert not panel.view.progress.isVisible()


def test_a_run_is_cancelled_before_it_began(panel, qtbot):
    panel.run()
    panel.cancel()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert len(panel.viewer.layers) == 1


def test_a_layer_closed_during_the_run_cancels_it(panel, qtbot, monkeypatch):
    monkeypatch.setattr("tomochrome._napari.colorize_widget.color_in_worker", slow_color)
    panel.run()
    qtbot.wait(50)
    panel.viewer.layers.clear()
    qtbot.waitUntil(lambda: not panel.running, timeout=1000)
    assert len(panel.viewer.layers) == 0


def test_layers_closed_after_the_run_do_no_harm(panel, qtbot):
    coloring = colorize(panel, qtbot)
    panel.viewer.layers.remove(coloring.layer)
    panel.view.window.center._box.setValue(100)
    assert panel.coloring is None
    colorize(panel, qtbot)
    panel.viewer.layers.remove(panel.view.layer.layer())
    panel.view.window.center._box.setValue(50)
    panel.viewer.layers.clear()
    panel.view.window.center._box.setValue(60)


def test_the_picture_is_drawn_on_after_a_colored_layer_was_removed(panel, qtbot):
    """Once ended the process: see ``canvas_mark._BLANK``."""
    colorize(panel, qtbot)
    qtbot.wait(300)
    panel.viewer.layers.remove(panel.coloring.layer)
    qtbot.wait(200)
    panel.viewer.dims.set_current_step(0, 3)
    qtbot.wait(300)
    assert colorize(panel, qtbot) is not None


def test_an_unexpected_error_is_a_sentence_and_a_log_entry(panel, qtbot, monkeypatch, caplog):
    def broken(*_, **__):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("tomochrome._napari.colorize_widget.color_in_worker", broken)
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert "by zero" in panel.view.message.text()
    assert "Traceback" not in panel.view.message.text()
    assert caplog.records[-1].exc_info is not None


def test_a_second_run_hides_the_first_and_another_panel_finds_both(panel, qtbot):
    from tomochrome._napari.colorize_widget import ColorizeWidget

    first = colorize(panel, qtbot)
    second = colorize(panel, qtbot)
    assert (first.layer.visible, second.layer.visible) == (False, True)
    other = ColorizeWidget(panel.viewer)
    qtbot.addWidget(other)
    assert other.coloring.layer is second.layer
    qtbot.waitUntil(lambda: not other._warm.running, timeout=60_000)


def test_closing_the_window_cancels_the_run_and_lets_go(
    qtbot, open_viewer, make_panel, monkeypatch
):
    monkeypatch.setattr("tomochrome._napari.colorize_widget.color_in_worker", slow_color)
    with open_viewer() as viewer:
        panel = make_panel(viewer)
        panel.run()
        job = panel._job
        qtbot.wait(50)
    assert job.wait(1)
    assert panel._released
    gone = weakref.ref(panel)
    del panel, job, viewer
    qtbot.wait(10)
    gc.collect()
    assert gone() is None


def test_taking_the_panel_out_lets_go_of_the_viewer(panel, qtbot):
    viewer = panel.viewer
    layers, cursor = viewer.layers.events, viewer.cursor.events
    counts = [len(e.callbacks) for e in (layers.inserted, layers.removed, cursor.position)]
    viewer.window.remove_dock_widget(panel)
    assert panel._released
    after = [len(e.callbacks) for e in (layers.inserted, layers.removed, cursor.position)]
    assert all(a < b for a, b in zip(after, counts, strict=True))
    assert "Shift+C" not in bound_keys(viewer)
    viewer.layers.clear()


def test_no_thread_is_left_behind(panel, qtbot):
    colorize(panel, qtbot)
    names = [thread.name for thread in threading.enumerate() if "tomochrome" in thread.name]
    assert names == []


def test_presets_of_the_core_are_all_there(panel):
    box = panel.view.window.preset
    choices = [box.itemData(index) for index in range(box.count())]
    assert all(name in choices for name in PRESETS)
