"""The lighting fields of the panel: window, color, opacity, and the thumbnails."""

from __future__ import annotations

import numpy as np
import pytest
from colorize_panel_cases import bound_keys, colorize, lit, on_screen
from qtpy.QtCore import Qt

from tomochrome.windowing import PRESETS, Window

pytestmark = pytest.mark.gui


def test_every_control_relights_what_is_on_screen_without_another_run(panel, qtbot, monkeypatch):
    coloring = colorize(panel, qtbot)
    monkeypatch.setattr(panel, "run", None)
    view, layer = panel.view, coloring.layer
    z = panel.viewer.dims.current_step[0]

    def follows(window, **settings):
        expected = lit(panel, window, **settings)[z]
        qtbot.waitUntil(lambda: np.array_equal(on_screen(layer), expected), timeout=5000)

    follows("default")
    view.window.preset.setCurrentIndex(
        view.window.preset.findText("Lung", Qt.MatchFlag.MatchStartsWith)
    )
    view.window.preset.activated.emit(view.window.preset.currentIndex())
    follows("lung")
    view.window.center.box.setValue(-200)
    follows(Window(-200, 1500))
    view.window.width.box.setValue(900)
    follows(Window(-200, 900))
    assert view.window.preset.currentText() == "Custom"
    view.color.saturation_row.slider.setValue(400)
    follows(Window(-200, 900), saturation=0.4)
    view.color.confidence_row.slider.setValue(900)
    follows(Window(-200, 900), saturation=0.4, min_confidence=0.9)
    view.color.alpha_box.choose("opaque")
    follows(Window(-200, 900), saturation=0.4, min_confidence=0.9, alpha="opaque")


def test_the_ct_follows_the_window_and_the_window_follows_the_ct(panel, qtbot):
    colorize(panel, qtbot)
    ct = panel.view.layer.layer()
    panel.view.window.center.box.setValue(40)
    panel.view.window.width.box.setValue(80)
    qtbot.waitUntil(lambda: tuple(ct.contrast_limits) == (0.0, 80.0), timeout=5000)
    assert panel.view.window.preset.currentText().startswith("Brain")
    ct.contrast_limits = (-1350, 150)
    expected = lit(panel, "lung")
    layer = panel.coloring.layer
    qtbot.waitUntil(lambda: np.array_equal(np.asarray(layer.data), expected), timeout=5000)
    assert panel.view.window.preset.currentText().startswith("Lung")


def test_opacity_goes_both_ways(panel, qtbot):
    layer = colorize(panel, qtbot).layer
    panel.view.color.opacity_row.slider.setValue(300)
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
    assert box.currentText() == "Scanner:  30 / 300"
    box.setCurrentIndex(names.index("Automatic"))
    box.activated.emit(box.currentIndex())
    from tomochrome.windowing import auto_window

    assert panel.view.window.window == auto_window(small_ct)


def test_presets_of_the_core_are_all_there(panel):
    box = panel.view.window.preset
    choices = [box.itemData(index) for index in range(box.count())]
    assert all(name in choices for name in PRESETS)


def test_thumbnails_are_updated_when_the_slider_stops(panel, qtbot):
    layer, ct = colorize(panel, qtbot).layer, panel.view.layer.layer()
    qtbot.wait(400)
    before = [np.array(shown.thumbnail) for shown in (layer, ct)]
    panel.view.window.center.box.setValue(-400)
    for shown, old in zip((layer, ct), before, strict=True):
        qtbot.waitUntil(lambda s=shown, o=old: not np.array_equal(s.thumbnail, o), timeout=5000)
    fresh = np.array(layer.thumbnail)
    layer.refresh()
    np.testing.assert_array_equal(layer.thumbnail, fresh)
