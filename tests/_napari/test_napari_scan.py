"""The "Scan" panel follows the selected layer and describes it."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
from endings import wait_until_freed
from napari.layers import Image, Layer, Points
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtWidgets import QLabel

from tomochrome._napari.kit.controls import MessageLabel
from tomochrome._napari.layers.grey_window import value_range
from tomochrome._napari.layers.volume_layers import volume_layer
from tomochrome._napari.series import opening
from tomochrome._napari.series import scan_wording as wording
from tomochrome._napari.series.scan_panel import ScanPanel
from tomochrome.io import write
from tomochrome.notices import Notice
from tomochrome.volume import ScannerWindow, Volume
from tomochrome.windowing import PRESETS

pytestmark = pytest.mark.gui


@pytest.fixture
def scan(window, qtbot):
    """The docked panel in the module's viewer."""
    widget = ScanPanel(PublicOnlyProxy(window))  # as napari passes it
    window.window.add_dock_widget(widget, name="Scan")
    yield widget
    widget.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()
    qtbot.wait(10)


def with_provenance(volume, **changes):
    return replace(volume, provenance=replace(volume.provenance, **changes))


def show(scan, volume, name="", **changes):
    return scan.viewer.add_layer(
        Layer.create(*volume_layer(with_provenance(volume, **changes), name))
    )


def facts(scan):
    grid = scan.view.facts
    texts = [grid.itemAt(index).widget().text() for index in range(grid.count())]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def shown_warnings(scan):
    box = scan.view.warnings
    return [box.itemAt(row).widget().text() for row in range(box.count())]


def buttons(scan):
    grid = scan.view.buttons
    buttons = [grid.itemAt(number).widget() for number in range(grid.count())]
    return {button.text(): button for button in buttons}


def test_without_a_layer_it_says_so(scan):
    assert scan.view.title.text() == "No scan"
    assert "Select a layer" in scan.view.remark.text()
    assert not scan.view.windows.isVisible()


def test_it_describes_a_scan(scan, qtbot, small_ct):
    show(scan, small_ct, title="Thorax 5 mm", kind="dicom-series")
    assert scan.view.title.text() == "Thorax 5 mm"
    qtbot.waitUntil(lambda: facts(scan)["Values"] != "…", timeout=5000)
    assert facts(scan) == {
        "Modality": "CT",
        "Matrix": "12 slices of 40 × 48",
        "Slices": "axial",
        "Spacing": "4.00 × 4.00 × 5.00 mm",
        "Extent": "160 × 192 × 60 mm",
        "Unit": "Hounsfield units",
        "Values": "-1000 to 700 HU",
    }
    assert scan.view.verdict.text() == "Regular"
    assert scan.view.remark.text() == "Evenly spaced, no slice missing."
    assert shown_warnings(scan) == []


def test_the_verdict_and_every_warning_are_in_words(scan, small_ct):
    said = ("slices are missing: 3", "the slices were evened out", "slices are missing: 3")
    warnings = tuple(Notice("geometry", "warning", text) for text in said)
    show(scan, small_ct, verdict="incomplete", warnings=warnings)
    assert scan.view.verdict.text() == "Incomplete"
    assert shown_warnings(scan) == ["Slices are missing: 3.", "The slices were evened out."]
    assert not scan.view.remark.isVisible()
    show(scan, small_ct)
    assert shown_warnings(scan) == []


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd"])
def test_a_clear_unit_is_noted_in_the_panel_and_not_announced(scan, tmp_path, small_ct, name):
    write(with_provenance(small_ct), tmp_path / name)
    opened = opening.find_or_read(tmp_path / name)
    assert "unit" not in opened.warning
    scan.viewer.add_layer(Layer.create(*opened.layer))
    assert any("no unit; read as Hounsfield units" in text for text in shown_warnings(scan))
    last = scan.view.warnings.itemAt(scan.view.warnings.count() - 1).widget()
    assert last.tone == "neutral"
    shown = [notice for notice in small_ct.provenance.warnings if notice.severity == "warning"]
    assert shown or "Evenly spaced" in scan.view.remark.text()


def test_a_unit_in_doubt_is_announced(small_ct):
    doubt = Notice("unit", "warning", "the file specifies no unit; read as Hounsfield units")
    volume = with_provenance(small_ct, warnings=(doubt,))
    assert "read as Hounsfield units" in opening.opened(volume).warning
    clear = replace(doubt, severity="info")
    assert opening.opened(with_provenance(small_ct, warnings=(clear,))).warning == ""


def test_the_scanners_windows_are_buttons_that_set_the_ct(scan, small_ct):
    windows = (ScannerWindow("MEDIASTINUM", 40.0, 350.0), ScannerWindow("-600/1500", -600, 1500))
    layer = show(scan, small_ct, windows=windows)
    assert list(buttons(scan)) == ["Mediastinum  40 / 350", "-600 / 1500"]
    buttons(scan)["-600 / 1500"].click()
    assert tuple(layer.contrast_limits) == (-1350.0, 150.0)
    box = scan.view.presets
    box.setCurrentIndex(box.findData("brain"))
    box.activated.emit(box.currentIndex())
    assert tuple(layer.contrast_limits) == (0.0, 80.0)


def test_the_colorize_panel_follows_the_buttons(window, scan, make_panel, qtbot, small_ct):
    panel = make_panel(window)
    qtbot.waitUntil(lambda: not panel.loading.running, timeout=20_000)
    (button,) = buttons(scan).values()
    assert button.text() == "30 / 300"
    panel.view.window.set_window(PRESETS["bone"])
    panel.view.window.changed.emit()
    qtbot.wait(50)
    button.click()
    assert (panel.view.window.window.center, panel.view.window.window.width) == (30.0, 300.0)
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    colored = panel.coloring.layer
    window.layers.selection.active = colored
    assert scan.layer is colored
    assert scan.view.title.text() == "small"
    box = scan.view.presets
    box.setCurrentIndex(box.findData("lung"))
    box.activated.emit(box.currentIndex())
    # The window is applied to the CT below, and its colors are relit.
    assert tuple(panel.view.layer.layer().contrast_limits) == (-1350.0, 150.0)
    qtbot.waitUntil(lambda: colored.data.settings.window.center == -600, timeout=5000)
    panel.release()


def test_layers_of_other_readers_say_so(scan, qtbot):
    voxels = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    scan.viewer.add_layer(Image(voxels, scale=(3000, 500, 500), units=("um",) * 3, name="foreign"))
    assert scan.view.title.text() == "foreign"
    assert "another reader" in scan.view.remark.text()
    assert facts(scan)["Matrix"] == "4 slices of 6 × 5"
    assert facts(scan)["Spacing"] == "0.50 × 0.50 × 3.00 mm"
    qtbot.waitUntil(lambda: facts(scan)["Values"] == "0 to 119", timeout=5000)
    assert not scan.view.windows.isVisible()
    assert not scan.view.verdict.isVisible()


@pytest.mark.parametrize(
    "layer",
    [
        Image(np.zeros((8, 9), np.uint8), name="flat"),
        Image(np.zeros((2, 4, 8, 9), np.uint8), name="moving"),
        Image(np.zeros((8, 9, 3), np.uint8), rgb=True, name="photo"),
        Points(np.zeros((2, 3)), name="points"),
        Layer.create(*volume_layer(Volume(np.ones((3, 4, 5), np.float32), unit="unknown"), "odd")),
        Layer.create(*volume_layer(Volume(np.ones((3, 4, 5, 4), np.uint8), unit="RGBA"), "rgba")),
    ],
    ids=lambda layer: layer.name,
)
def test_it_describes_every_kind_of_layer(scan, qtbot, layer):
    scan.viewer.add_layer(layer)
    qtbot.waitUntil(lambda: not scan.running, timeout=5000)
    qtbot.wait(10)
    assert scan.view.title.text()
    assert not scan.view.windows.isVisible()


def test_it_follows_the_selection_and_forgets_a_closed_layer(scan, small_ct):
    first = show(scan, small_ct, title="first")
    second = show(scan, small_ct, title="second")
    assert scan.view.title.text() == "second"
    scan.viewer.layers.selection.active = first
    assert scan.view.title.text() == "first"
    scan.viewer.layers.remove(first)
    scan.viewer.layers.selection.active = second
    assert scan.view.title.text() == "second"
    scan.viewer.layers.clear()
    assert scan.view.title.text() == "No scan"


def test_the_name_of_the_patient_is_never_shown(scan, cd, identity):
    from tomochrome._napari.series.reader import read_layers

    (parts,) = read_layers(str(cd / "DOE_one"))
    scan.viewer.add_layer(Layer.create(*parts))
    texts = [label.text() for label in scan.findChildren((QLabel, MessageLabel))]
    assert "Thorax 5 mm" in texts
    assert not [word for word in identity if any(word in text for text in texts)]


def test_the_range_of_values():
    voxels = np.zeros((40, 3, 3), np.float32)
    voxels[7], voxels[39], voxels[1, 1, 1] = -5, 9, np.nan
    assert value_range(voxels) == (-5.0, 9.0)


def test_closing_disconnects(window, qtbot, small_ct):
    before = len(window.layers.selection.events.active.callbacks)
    widget = ScanPanel(window)
    window.window.add_dock_widget(widget, name="Scan")
    window.window.remove_dock_widget(widget)
    assert widget.released
    assert len(window.layers.selection.events.active.callbacks) == before
    gone = weakref.ref(widget)
    del widget
    wait_until_freed(qtbot, gone)


def test_both_numbers_are_given_where_slices_are_missing(scan, tmp_path, small_ct, capsys):
    from tomochrome import io
    from tomochrome._napari.series.series_list import facts as listed
    from tomochrome.cli import main

    folder = tmp_path / "gaps"
    io.dicom.write_series(small_ct, folder)
    files = sorted(folder.iterdir())
    for file in files[3:10]:
        file.unlink()
    (item,) = io.find(folder).items
    total = item.shape[0]
    assert (item.present, item.verdict) == (5, "incomplete")
    volume = io.read(item)
    scan.viewer.add_layer(Layer.create(*volume_layer(volume)))
    main(["info", str(folder)])
    printed = capsys.readouterr().out
    both = f"5 of {total} slices"
    assert total == 12
    assert listed(item)[0].endswith(f"{both} of 40 × 48")
    assert facts(scan)["Matrix"] == f"{both} of 40 × 48"
    assert both in printed


def test_a_complete_scan_has_one_number(small_ct, tmp_path):
    from tomochrome import io

    io.dicom.write_series(small_ct, tmp_path / "whole")
    (item,) = io.find(tmp_path / "whole").items
    assert item.present == 0
    assert wording.size_of(item.shape, item.present) == "12 slices of 40 × 48"
