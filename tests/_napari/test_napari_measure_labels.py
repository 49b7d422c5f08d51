"""Measuring painted labels on a scan: readouts that follow the painting, and refusals."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from mouse import move_mouse
from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.layers.volume_layers import volume_layer
from tomochrome._napari.viewer.linked_planes import LinkedPlanes
from tomochrome._napari.viewer.measure_labels import LabelMeasuring, measure_labels
from tomochrome._napari.viewer.readout import MEASURED, label_at
from tomochrome.geometry import describe_label, mask_statistics


@pytest.fixture
def viewer(qapp, small_ct):
    viewer = ViewerModel()
    viewer.add_layer(Layer.create(*volume_layer(small_ct, "head")))
    return viewer


@pytest.fixture(autouse=True)
def said(monkeypatch):
    """What was said in notifications."""
    told = []
    monkeypatch.setattr(
        "tomochrome._napari.viewer.measure_labels.show_message", lambda text, *_: told.append(text)
    )
    return told


def expected(volume, labels, label):
    return describe_label(mask_statistics(volume, np.asarray(labels) == label), volume.unit)


def readouts(layer):
    return dict(zip(layer.features["index"], layer.features[MEASURED], strict=True))


def test_readouts_follow_the_painting(viewer, small_ct, qtbot):
    layer = follower_of(viewer, LabelMeasuring).chosen()
    assert layer.data.shape == small_ct.shape and layer.name == "head regions"
    assert np.allclose(layer.scale, viewer.layers[0].scale)
    viewer.dims.set_point(0, layer.data_to_world((5, 0, 0))[0])
    layer.brush_size = 5
    layer.paint((5, 10, 10), 1)
    layer.paint((5, 20, 12), 2)
    assert readouts(layer) == {k: expected(small_ct, layer.data, k) for k in (1, 2)}
    layer.data_setitem((np.array([7]), np.array([9]), np.array([9])), 2)  # another slice
    qtbot.waitUntil(lambda: readouts(layer)[2] == expected(small_ct, layer.data, 2))
    before = readouts(layer)
    layer.paint((5, 10, 10), 0)
    layer.data = np.where(layer.data == 1, 0, layer.data)
    qtbot.waitUntil(lambda: not readouts(layer)[1])
    assert readouts(layer)[2] == before[2]


def test_labels_with_names_are_measured_and_shown_at_the_cursor(viewer, small_ct):
    labels = np.zeros(small_ct.shape, np.int32)
    labels[3:6, 8:14, 8:15] = 7
    layer = viewer.add_labels(
        labels, scale=viewer.layers[0].scale, translate=viewer.layers[0].translate,
        name="organs", features={"index": [0, 7], "name": ["background", "liver"]},
    )  # fmt: skip
    measure_labels(viewer)
    assert viewer.layers.selection.active is layer and layer.mode == "paint"
    text = expected(small_ct, labels, 7)
    assert list(layer.features["name"]) == ["background", "liver"]
    assert readouts(layer) == {0: "", 7: text}
    assert label_at(viewer.layers, layer.data_to_world((4, 10, 10))) == f"liver: {text}"
    assert follower_of(viewer, LinkedPlanes).shows_value


def test_what_was_restored_or_outside_is_told_apart(qapp, small_ct, qtbot):
    outside, restored = np.zeros(small_ct.shape, bool), np.zeros(small_ct.shape, bool)
    outside[:, :, :12], restored[:, :10] = True, True
    scan = replace(small_ct, outside=outside, restored=restored)
    viewer = ViewerModel()
    viewer.add_layer(Layer.create(*volume_layer(scan, "head")))
    layer = follower_of(viewer, LabelMeasuring).chosen()
    labels = np.zeros(scan.shape, np.uint8)
    labels[4, 8:12, 8:16] = 1
    layer.data = labels
    qtbot.waitUntil(lambda: 1 in readouts(layer))
    assert readouts(layer)[1] == expected(scan, labels, 1)
    assert "8 voxels restored" in readouts(layer)[1]


def test_without_its_scan_labels_that_change_have_no_readouts(viewer, small_ct):
    measuring = follower_of(viewer, LabelMeasuring)
    layer = measuring.chosen()
    layer.data[5, 5:9, 5:9] = 1
    measuring.update()
    before = readouts(layer)
    del viewer.layers["head"]
    assert readouts(layer) == before and before[1]
    layer.paint((5, 20, 12), 2)
    measuring.update()
    assert MEASURED not in layer.features


@pytest.mark.parametrize("empty", [True, False])
def test_what_cannot_be_measured_is_said(viewer, small_ct, said, empty):
    if empty:
        viewer.layers.clear()
    labels = viewer.add_labels(np.zeros((4, 5, 6), np.uint8), name="small")
    viewer.layers.selection.active = labels
    measure_labels(viewer)
    (text,) = said
    assert ("no scan to measure" if empty else "not on the same voxel grid as 'head'") in text


@pytest.mark.gui
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2)], ids=["axial", "coronal"])
def test_what_is_painted_with_the_mouse_is_measured_at_once(
    painted, window, small_ct, qtbot, order
):
    z, y, x = np.indices(small_ct.shape)
    scan = small_ct.with_voxels((small_ct.voxels + 7 * x + 3 * y + z).astype(np.int16))
    window.add_layer(Layer.create(*volume_layer(scan, "head")))
    window.dims.order = order
    measure_labels(window)
    layer = window.layers.selection.active
    native = window.window._qt_window._qt_viewer.canvas.native
    middle = native.rect().center()
    for label, offset in ((1, QPoint(-50, 10)), (2, QPoint(30, -20))):
        layer.selected_label = label
        check = partial(check_readout, layer, scan, label, qtbot)
        paint(qtbot, native, [middle + offset + QPoint(6 * k, 2 * k) for k in range(4)], check)
        check()
    layer.mode = "erase"
    paint(qtbot, native, [middle + QPoint(30, -20), middle + QPoint(34, -20)])
    check_readout(layer, scan, 2, qtbot)
    assert label_at(window.layers, window.cursor.position) == ""  # erased at the cursor
    layer.mode = "paint"
    layer.undo()
    check_readout(layer, scan, 2, qtbot)
    assert label_at(window.layers, window.cursor.position) == f"2: {readouts(layer)[2]}"
    window.layers.clear()
    window.dims.order = (0, 1, 2)


def paint(qtbot, native, points, held=None):
    """Drag with the left button; ``held`` is called before it is released."""
    move_mouse(qtbot, native, points[0])
    QTest.mousePress(native, Qt.MouseButton.LeftButton, pos=points[0])
    for point in points[1:]:
        move_mouse(qtbot, native, point, Qt.MouseButton.LeftButton)
    if held is not None:
        held()
    QTest.mouseRelease(native, Qt.MouseButton.LeftButton, pos=points[-1])


def check_readout(layer, volume, label, qtbot):
    """Volume, mean and sd are those of NumPy; a voxel has 5 x 4 x 4 mm."""
    values = np.asarray(volume.voxels)[np.asarray(layer.data) == label].astype(float)
    assert len(values) > 3
    ml = 0.08 * len(values)
    text = f"{ml:.{2 if ml < 1 else 1}f} mL, mean {values.mean():.0f} HU, sd {values.std():.0f}"
    qtbot.waitUntil(lambda: readouts(layer).get(label) == text, timeout=5000)
