"""Measuring on a scan: readouts that follow the shapes, files, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from mouse import move_mouse
from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog

from marker_cases import marked, turned
from tomochrome._napari.colorize.keys_help import rows
from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.layers.volume_layers import source_of, volume_layer
from tomochrome._napari.viewer.measure_shapes import (
    COLUMN,
    NOT_MEASURABLE,
    Measuring,
    open_measurements,
    save_measurements,
    start_measuring,
)
from tomochrome.errors import InputError
from tomochrome.volume import Volume

SQUARE = np.array([(5, 20, 16), (5, 20, 24), (5, 28, 24), (5, 28, 16)])


def readouts(layer) -> list[str]:
    return list(layer.features[COLUMN])


@pytest.fixture
def measuring(qapp, small_ct):
    viewer = ViewerModel()
    viewer.add_layer(Layer.create(*volume_layer(small_ct, "head")))
    measuring = follower_of(viewer, Measuring)
    measuring.kept = viewer
    return measuring


def test_readouts_follow_the_shapes(measuring):
    layer = measuring.chosen()
    assert measuring.chosen() is layer
    layer.add(np.array([(5, 0, 0), (5, 3, 4)]), shape_type="line")
    layer.add(np.array([(5, 9, 0), (5, 0, 0), (5, 0, 9)]), shape_type="path")
    layer.add(SQUARE + np.array((0, 0.5, 0.5)), shape_type="rectangle")
    assert readouts(layer)[:2] == ["20.0 mm", "90.0°"]
    assert readouts(layer)[2].startswith("1024 mm²\nmean ")
    layer.data = [np.array([(5, 0, 0), (5, 0, 10)]), *layer.data[1:]]
    assert readouts(layer)[0] == "40.0 mm"
    layer.selected_data = {1}
    layer.remove_selected()
    assert [text.split("\n")[0] for text in readouts(layer)] == ["40.0 mm", "1024 mm²"]
    layer.add(SQUARE + np.array((99, 0, 0)), shape_type="polygon")
    assert readouts(layer)[2] == NOT_MEASURABLE


def test_two_scans_keep_their_own_readouts(measuring, small_ct):
    first = measuring.chosen()
    viewer = measuring.viewer
    other = small_ct.with_voxels(np.full(small_ct.shape, 7, np.int16))
    viewer.layers.selection.active = viewer.add_layer(Layer.create(*volume_layer(other, "b")))
    second = measuring.chosen()
    assert first is not second
    for layer in (first, second):
        layer.add(SQUARE, shape_type="polygon")
    assert "mean 7 HU, sd 0" in readouts(second)[0]
    assert "mean 7 HU" not in readouts(first)[0]


def test_a_file_brings_the_same_places_of_an_oblique_scan(qapp, tmp_path):
    colored = turned(marked(), 12, -9, 7)
    hu = np.asarray(colored.voxels)[..., 0].astype(np.int16)
    volume = Volume(hu, colored.affine)
    viewer = ViewerModel()
    viewer.add_layer(scan := Layer.create(*volume_layer(volume)))
    measuring = follower_of(viewer, Measuring)
    layer = measuring.chosen()
    z, y, x = (n // 2 for n in source_of(scan.metadata).shown.shape)
    layer.add(np.array([(z, 1, 1), (z, y, x)]), shape_type="line")
    layer.add(np.array([(z, 1, 1), (z, 1, x), (z, y, x), (z, y, 1)]), shape_type="ellipse")
    measuring.save(tmp_path / "m.json")
    measuring.open(tmp_path / "m.json")
    assert readouts(layer)[2:] == readouts(layer)[:2]
    np.testing.assert_array_equal(layer.data[2], layer.data[0])
    (line, _) = measuring.measurements(layer)[:2]
    shown = source_of(scan.metadata).shown.affine
    np.testing.assert_allclose(line.points[0], (shown @ (z, 1, 1, 1))[:3])


def test_measurements_of_another_scan_are_told(measuring, small_ct, tmp_path, monkeypatch):
    layer = measuring.chosen()
    layer.add(SQUARE, shape_type="polygon")
    measuring.save(tmp_path / "m.json")
    other = small_ct.with_voxels(np.zeros(small_ct.shape, np.int16))
    viewer = measuring.viewer
    viewer.layers.selection.active = viewer.add_layer(Layer.create(*volume_layer(other, "b")))
    told = []
    monkeypatch.setattr(
        "tomochrome._napari.viewer.measure_shapes.show_message", lambda text, _: told.append(text)
    )
    measuring.open(tmp_path / "m.json")
    assert told[0].startswith("1 of 1 measurements have other values")


def test_without_its_scan_a_shape_that_changes_has_no_readout(measuring):
    layer = measuring.chosen()
    layer.add(SQUARE, shape_type="polygon")
    layer.add(np.array([(5, 3, 3), (5, 3, 9.0)]), shape_type="line")
    before = readouts(layer)
    measuring.viewer.layers.remove("head")
    assert not measuring._kept
    assert readouts(layer) == before
    layer.data = [np.asarray(layer.data[0]) + 1, layer.data[1]]
    assert readouts(layer) == [NOT_MEASURABLE, before[1]]
    layer.add(np.array([(5, 3, 3), (5, 3, 5.0)]), shape_type="line")
    assert readouts(layer) == [NOT_MEASURABLE, before[1], NOT_MEASURABLE]


def test_what_is_no_scan_is_refused(measuring, tmp_path):
    with pytest.raises(InputError, match="nothing is measured"):
        measuring.save(tmp_path / "m.json")
    viewer = measuring.viewer
    viewer.layers.selection.active = viewer.add_points(np.zeros((1, 3)))
    with pytest.raises(InputError, match="not a volume"):
        measuring.chosen()
    empty = ViewerModel()
    with pytest.raises(InputError, match="no scan"):
        follower_of(empty, Measuring).chosen()


def measuring_in(window, small_ct, qtbot):
    """Return the layer of measurements of a scan, the canvas, and its center."""
    window.add_layer(Layer.create(*volume_layer(small_ct, "head")))
    start_measuring(window)
    canvas = window.window._qt_window._qt_viewer.canvas.native
    qtbot.wait(50)
    return window.layers.selection.active, canvas, canvas.rect().center()


def drag_line(qtbot, canvas, start):
    """Drag a line of 60 pixels to the right; the button is still held."""
    move_mouse(qtbot, canvas, start)
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=start)
    for step in (20, 40, 60):
        move_mouse(qtbot, canvas, start + QPoint(step, 0), Qt.MouseButton.LeftButton)


@pytest.mark.gui
def test_a_line_drawn_in_the_window_reads_its_length(
    painted, window, small_ct, qtbot, tmp_path, monkeypatch
):
    layer, canvas, start = measuring_in(window, small_ct, qtbot)
    drag_line(qtbot, canvas, start)
    live = readouts(layer)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=start + QPoint(60, 0))
    qtbot.wait(20)
    (text,) = readouts(layer)
    assert live[0].endswith(" mm")
    length = 60 / window.scene.camera.zoom * canvas.devicePixelRatioF()
    assert float(text.split()[0]) == pytest.approx(length, rel=0.05)
    path = str(tmp_path / "m.json")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (path[:-5], ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (path, ""))
    save_measurements(window)
    open_measurements(window)
    assert readouts(layer) == [text, text]
    window.layers.clear()


@pytest.mark.gui
def test_delete_removes_a_line_just_drawn_as_the_page_on_keys_says(
    painted, window, small_ct, qtbot
):
    layer, canvas, start = measuring_in(window, small_ct, qtbot)
    for down in (0, 30):
        drag_line(qtbot, canvas, start + QPoint(0, down))
        QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=start + QPoint(60, down))
        qtbot.wait(20)
    above = layer.data[0].copy()
    meaning = {action: text for _, action, text in rows()}
    assert "not a measurement" in meaning["Ctrl + Z"]
    QTest.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert len(layer.data) == 2
    assert "measurement just drawn" in meaning["Delete"]
    QTest.keyClick(canvas, Qt.Key.Key_Delete)
    qtbot.waitUntil(lambda: len(layer.data) == 1)
    np.testing.assert_array_equal(layer.data[0], above)
    window.layers.clear()


@pytest.mark.gui
def test_an_angle_is_drawn_with_three_clicks(window, qtbot, small_ct):
    window.add_layer(Layer.create(*volume_layer(small_ct, "head")))
    start_measuring(window)
    layer = window.layers.selection.active
    layer.mode = "add_polyline"
    canvas = window.window._qt_window._qt_viewer.canvas.native
    middle = canvas.rect().center()
    points = [middle + QPoint(60, 0), middle, middle + QPoint(0, -60)]
    for number, point in enumerate(points):
        move_mouse(qtbot, canvas, point)
        QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=point)
        qtbot.wait(20)
        if number == 2:
            QTest.mouseDClick(canvas, Qt.MouseButton.LeftButton, pos=point)
            qtbot.wait(20)
    assert [len(shape) for shape in layer.data] == [3]
    (text,) = readouts(layer)
    assert text.endswith("°")
    assert float(text[:-1]) == pytest.approx(90, abs=1)
    window.layers.clear()
