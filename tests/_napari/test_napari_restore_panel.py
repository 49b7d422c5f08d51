"""The panel "Restore": defects found, painted and filled in a layer of its own, then compared."""

from __future__ import annotations

import shutil
from importlib import import_module

import numpy as np
import pytest
from mouse import move_mouse
from napari.layers import Labels, Layer
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from quick_colorize import simple_colorize

from tomochrome._napari.export.export_panel import choices
from tomochrome._napari.export.layer_writers import layer_volume, write_nifti, write_nrrd
from tomochrome._napari.kit.choice_boxes import Offer
from tomochrome._napari.layers.volume_layers import source_of, volume_layer, world_affine
from tomochrome._napari.restore import restore_panel
from tomochrome._napari.restore.restore_panel import RestorePanel
from tomochrome._napari.restore.restore_work import (
    MEASURED_LIGHTNESS,
    RESTORED_VALUES,
    model_choices,
    restore_offer,
)
from tomochrome._napari.viewer.canvas_marks import canvas_point
from tomochrome._napari.viewer.restored_hatching import OVERLAY, is_hatching
from tomochrome.bundles import FOLDERS, RESTORATION, find_card, weights_folder
from tomochrome.io import read
from tomochrome.io.slice_pictures import caption
from tomochrome.restoration import scan_restoration
from tomochrome.restoration.defects import KINDS, DefectMap
from tomochrome.runtime import check
from tomochrome.volume import OF_RESTORED

pytestmark = pytest.mark.gui


@pytest.fixture
def damaged(small_ct):
    """The small CT with a lost slice and two lost rows."""
    voxels = small_ct.voxels.copy()
    voxels[5] = voxels[8, 20:22] = -1024
    return small_ct.with_voxels(voxels)


@pytest.fixture
def code(small_ct):
    code = np.zeros(small_ct.shape, np.uint8)
    code[5], code[8, 20:22] = KINDS.index("missing") + 1, KINDS.index("lines") + 1
    return code


@pytest.fixture
def panel(window, damaged, code, monkeypatch, qtbot):
    """The panel over the damaged CT, whose defects are found by a stand-in."""
    offer = Offer(models=("classical",), devices=("cpu",))
    monkeypatch.setattr(restore_panel, "restore_offer", lambda: offer)
    monkeypatch.setattr(scan_restoration, "defects_by_rules", lambda v, kinds: DefectMap(code))
    window.add_layer(Layer.create(*volume_layer(damaged, "scan")))
    panel = RestorePanel(window)
    window.window.add_dock_widget(panel, name="Restore")
    qtbot.waitUntil(lambda: panel.view.model.name == "classical")
    yield panel
    panel.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()


def press(panel, qtbot, button):
    button.click()
    qtbot.waitUntil(lambda: not panel.running)
    return panel.view.message.text()


def restored(window):
    return window.layers["scan · restored"]


def test_bundles_of_the_user_are_offered(monkeypatch, tmp_path):
    shutil.copytree(weights_folder() / "restoration", tmp_path / "mine")
    monkeypatch.setenv(FOLDERS, str(tmp_path))
    assert restore_offer().models == (*scan_restoration.MODELS, "mine")
    assert model_choices(("mine",))[0].title == "mine"


def test_each_model_shows_its_card(panel):
    panel.view.offer(Offer(models=scan_restoration.MODELS, devices=("cpu",)))
    panel.view.model.choose("restoration")
    card = find_card("restoration", RESTORATION)
    assert card.description in panel.view.model.toolTip()
    assert card.trained_on in panel.view.model.toolTip()
    panel.view.model.choose("classical")
    assert "interpolates" in panel.view.model.toolTip()


def test_found_defects_are_labels_on_the_scan(panel, window, qtbot, code):
    text = press(panel, qtbot, panel.view.find)
    assert "Missing slices in 1 slice, lost rows in 1 slice." in text
    labels, scan = window.layers["Defects of scan"], window.layers["scan"]
    np.testing.assert_array_equal(labels.data, code)
    np.testing.assert_allclose(world_affine(labels), world_affine(scan))
    assert panel.view.defects.layer() is labels
    assert panel.view.paint.name == "missing"
    panel.view.paint.choose("metal")
    assert labels.selected_label == 1
    labels.selected_label = 4
    assert panel.view.paint.name == "lines"


def test_defects_are_found_on_the_chosen_device(panel, qtbot, monkeypatch, code):
    asked = []
    monkeypatch.setattr(
        scan_restoration, "find_defects", lambda v, **how: asked.append(how) or DefectMap(code)
    )
    panel.view.device.choose("cpu")
    panel.view.kind.choose("missing")
    press(panel, qtbot, panel.view.find)
    assert asked == [{"defects": ("missing",), "device": "cpu"}]


def test_the_result_is_a_layer_beside_the_unchanged_original(panel, window, qtbot, damaged, code):
    before = damaged.voxels.copy()
    text = press(panel, qtbot, panel.view.run)
    assert "restored, not measured" in text
    scan, result = window.layers["scan"], restored(window)
    np.testing.assert_array_equal(scan.data, before)
    changed = result.data != scan.data
    assert changed.any() and not changed[code == 0].any()
    np.testing.assert_array_equal(source_of(result.metadata).shown.restored, changed)
    np.testing.assert_array_equal(source_of(result.metadata).stored.restored, changed)
    np.testing.assert_allclose(world_affine(result), world_affine(scan))
    np.testing.assert_allclose(result.contrast_limits, scan.contrast_limits)
    (hatching,) = [layer for layer in window.layers if is_hatching(layer)]
    np.testing.assert_array_equal(hatching.data.mask, changed)
    assert hatching.visible
    assert panel.view.color.isEnabled()


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_saving_the_result_keeps_the_mask(panel, window, qtbot, tmp_path, ending):
    press(panel, qtbot, panel.view.run)
    result, path = restored(window), str(tmp_path / f"r{ending}")
    writer = write_nifti if ending == ".nii.gz" else write_nrrd
    writer(path, *result.as_layer_data_tuple()[:2])
    np.testing.assert_array_equal(read(path).restored, result.data != window.layers["scan"].data)


def test_only_what_remains_in_the_labels_is_restored(panel, window, qtbot, code):
    press(panel, qtbot, panel.view.find)
    labels = window.layers["Defects of scan"]
    labels.data[5] = 0  # erased
    press(panel, qtbot, panel.view.run)
    changed = restored(window).data != window.layers["scan"].data
    assert changed[8, 20:22].any() and not changed[5].any()
    assert not labels.visible


def test_a_painted_mask_is_restored(panel, window, qtbot):
    panel.view.new.click()
    labels = window.layers["Defects of scan"]
    assert labels.mode == "paint" and labels.selected_label == KINDS.index("lines") + 1
    assert "mask is empty" in press(panel, qtbot, panel.view.run)
    labels.data[8, 20:22] = labels.selected_label
    press(panel, qtbot, panel.view.run)
    assert (restored(window).data != window.layers["scan"].data).sum() > 10
    labels.data[0, 0, 0] = 9
    assert "label 9 means no kind" in press(panel, qtbot, panel.view.run)


def test_what_the_mouse_paints_and_erases_is_restored(panel, window, qtbot, painted):
    """By Qt's events on the canvas, with napari's own brush and eraser."""
    scan = window.layers["scan"]
    window.dims.set_point(0, scan.data_to_world((8, 0, 0))[0])
    window.reset_view()
    canvas = window.window._qt_window._qt_viewer.canvas.native
    qtbot.waitUntil(lambda: canvas.isVisible() and canvas.width() > 100)
    panel.view.new.click()
    labels = window.layers["Defects of scan"]
    panel.view.paint.choose("lines")

    def stroke(row):
        ends = [canvas_point(window, scan.data_to_world((8, row, x))).toPoint() for x in (6, 30)]
        move_mouse(qtbot, canvas, ends[0])
        QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=ends[0])
        for share in (0.25, 0.5, 0.75, 1):
            point = ends[0] + (ends[1] - ends[0]) * share
            move_mouse(qtbot, canvas, point, Qt.MouseButton.LeftButton)
        QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=ends[1])

    labels.brush_size = 3
    stroke(21)
    stroke(10)
    qtbot.waitUntil(lambda: labels.data[8, 21].any() and labels.data[8, 10].any())
    labels.mode = "erase"
    stroke(10)
    qtbot.waitUntil(lambda: not labels.data[8, 10, 8:28].any())
    mask = np.asarray(labels.data) > 0
    assert mask[8, 20:23, 8:28].all() and not mask[8, 26:].any() and not mask[:8].any()
    press(panel, qtbot, panel.view.run)
    changed = restored(window).data != scan.data
    assert changed[8, 20:22, 8:28].any() and not changed[~mask].any()


def test_labels_of_another_grid_are_refused(panel, window, qtbot):
    other = window.add_labels(np.ones((3, 4, 5), np.uint8), name="other")
    panel.view.defects.choose(other)
    text = press(panel, qtbot, panel.view.run)
    assert "'other' is not on the same voxel grid as 'scan'" in text


def test_a_scan_without_defects_gets_no_layer(panel, window, qtbot, code):
    code[:] = 0
    assert "No defects were found" in press(panel, qtbot, panel.view.find)
    assert "no defects were found" in press(panel, qtbot, panel.view.run).lower()
    assert [layer.name for layer in window.layers] == ["scan"]
    assert not panel.view.color.isEnabled()


def test_before_and_after_are_a_wipe(panel, window, qtbot):
    press(panel, qtbot, panel.view.run)
    view = panel.view.compare
    assert view.two == (window.layers["scan"], restored(window))
    view.show_button.click()
    qtbot.waitUntil(lambda: panel.comparing.comparison is not None)
    comparison = panel.comparing.comparison
    assert comparison.view.mode == "wipe"
    assert not restored(window).visible
    assert not any(layer.visible for layer in window.layers if is_hatching(layer))
    assert window.canvas.overlays[OVERLAY].visible  # the comparison is hatched, too
    view.show_button.click()
    assert restored(window).visible


@pytest.mark.parametrize("measured", [False, True])
def test_the_result_is_colored_in_its_own_or_the_scanner_s_lightness(
    panel, window, qtbot, monkeypatch, measured
):
    monkeypatch.setattr(import_module("tomochrome.colorization"), "colorize", simple_colorize)
    press(panel, qtbot, panel.view.run)
    if measured:
        panel.view.lightness.choose(MEASURED_LIGHTNESS)
    press(panel, qtbot, panel.view.color)
    (colored,) = [x for x in window.layers if getattr(x, "rgb", False) and not is_hatching(x)]
    shown = window.layers["scan"] if measured else restored(window)
    np.testing.assert_array_equal(colored.data.volume.voxels, shown.data)
    assert ("lightness measured" in colored.name) == measured
    meta = colored.as_layer_data_tuple()[1]
    image = layer_volume(colored.data, meta)
    said = caption(image), image.provenance.extra["description"]
    assert all((OF_RESTORED in text) == measured for text in said)
    assert (image.restored is None) == measured  # the mask says where, if lightness is restored
    told = [n.text for n in image.provenance.warnings if n.code == "restored"]
    assert len(told) == 1 and ("the lightness is measured" in told[0]) == measured
    maps = [choice.volume() for choice in choices(window.layers) if choice.part != "layer"]
    assert [one.unit for one in maps] == ["tissue", "fraction"]
    for one in maps:
        assert OF_RESTORED in one.provenance.extra["description"]
        assert (one.restored is None) == measured
    order = [layer.name for layer in window.layers]
    assert order.index(colored.name) > order.index("scan · restored")


@pytest.mark.parametrize("first", [False, True])
def test_colors_in_both_lightnesses_the_newer_lies_above(panel, window, qtbot, monkeypatch, first):
    monkeypatch.setattr(import_module("tomochrome.colorization"), "colorize", simple_colorize)
    press(panel, qtbot, panel.view.run)
    for measured in (first, not first):
        panel.view.lightness.choose(MEASURED_LIGHTNESS if measured else RESTORED_VALUES)
        press(panel, qtbot, panel.view.color)
    shown = [x for x in window.layers if getattr(x, "rgb", False) and not is_hatching(x)]
    assert ["lightness measured" in colored.name for colored in shown] == [first, not first]


def test_cancel_changes_nothing(panel, window, qtbot, monkeypatch):
    def slow(volume, kinds):
        while True:
            check()

    monkeypatch.setattr(scan_restoration, "defects_by_rules", slow)
    panel.view.run.click()
    assert panel.running and not panel.view.color.isEnabled()
    panel.view.cancel.click()
    qtbot.waitUntil(lambda: not panel.running)
    assert "Cancelled" in panel.view.message.text()
    assert [layer.name for layer in window.layers] == ["scan"]


def test_without_a_scan_the_user_is_told_to_open_one(panel, window, qtbot):
    window.layers.remove("scan")
    assert "Open a CT first" in press(panel, qtbot, panel.view.run)
    assert not any(isinstance(layer, Labels) for layer in window.layers)
