"""The panel in a window: landmarks, names, sizes, themes, and closing."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from endings import wait_until_freed
from napari.layers import Image, Points
from panel_cases import choose, compare, names, register
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from register_cases import REPORT, SHIFT, body

from tomochrome._napari.kit.narrow_widgets import MAX_MINIMUM_PX
from tomochrome.color.space import LINEAR_OF_8BIT, TO_XYZ
from tomochrome.transform import Transform

pytestmark = pytest.mark.gui


def luminance(color):
    linear = LINEAR_OF_8BIT[[color.red(), color.green(), color.blue()]]
    return float(linear @ TO_XYZ[1])


def names_of(viewer):
    return [layer.name for layer in viewer.layers]


def test_the_landmark_error_is_updated_live(panel, qtbot, engine):
    landmarks = panel.view.landmarks
    landmarks.create.click()
    fixed, moving = landmarks.two
    assert fixed.name == "Landmarks fixed image"
    fixed.data = np.array([[130.0, 0, 0], [140, 10, -10]])
    moving.data = fixed.data + np.array([0, 3, 4])
    qtbot.waitUntil(lambda: landmarks.before.text().startswith("mean 5.00 mm"), timeout=2000)
    assert landmarks.after.text() == "–"
    register(panel, qtbot)
    moving.data = fixed.data + SHIFT[::-1]
    qtbot.waitUntil(lambda: landmarks.after.text().startswith("mean 0.00 mm"), timeout=2000)
    assert landmarks.before.text().startswith(f"mean {np.linalg.norm(SHIFT):.2f} mm")
    moving.add([150.0, 0, 0])
    qtbot.waitUntil(lambda: "in the fixed image: 2" in landmarks.message.text(), timeout=2000)
    assert "(2 landmarks)" in landmarks.after.text()
    landmarks.moving.choose(fixed)
    assert "two different" in landmarks.message.text()


def test_landmarks_are_visible_over_a_volume_in_micrometers(panel, qtbot):
    panel.viewer.layers.clear()
    for name in ("one", "two"):
        panel.viewer.add_image(
            body().voxels, scale=(6000, 4000, 4000), units=("um",) * 3, name=name
        )
    panel.view.landmarks.create.click()
    fixed, _ = panel.view.landmarks.two
    assert fixed.current_size == 6000
    fixed.add([42000.0, 80000, 72000])
    assert fixed.size[0] == 6000


def test_no_name_says_more_than_the_layers_own(panel, qtbot, engine):
    register(panel, qtbot)
    panel.view.use.jacobian.setChecked(True)
    panel.view.use.grid.setChecked(True)
    own = {"Comparison", "Jacobian map", "Deformation grid"}
    for name in set(names(panel)) - own:
        assert name.removesuffix(" · moved") in ("prior", "follow-up")


def test_what_is_shown_can_be_saved(panel, qtbot, engine, tmp_path):
    from tomochrome import io
    from tomochrome._napari.export.layer_writers import layer_volume

    register(panel, qtbot)
    for name in ("Comparison", "follow-up · moved"):
        layer = panel.viewer.layers[name]
        data, meta, _ = layer.as_layer_data_tuple()
        volume = layer_volume(data, meta)
        assert volume.shape == body().shape
        path = tmp_path / "saved.nii.gz"
        io.write(volume, path, force=True)
        np.testing.assert_allclose(io.read(path).affine, body().affine, atol=1e-3)


def test_it_fits_a_narrow_dock(panel, qtbot, engine):
    panel.view.keep.setChecked(True)
    for _ in range(2):
        register(panel, qtbot)
    for section in panel.view.sections.values():
        section.heading.setChecked(True)
    panel.view.more.heading.setChecked(True)
    for number in range(panel.view.compare.mode.count()):
        panel.view.compare.mode.setCurrentIndex(number)
        qtbot.wait(20)
        needed = panel.view.minimumSizeHint().width()
        assert needed <= MAX_MINIMUM_PX - 10, panel.view.compare.mode.currentText()


def test_what_differs_is_legible_in_a_narrow_dock(panel, qtbot, engine):
    """Neither numbers nor the texts that tell two choices apart are cut."""
    register(panel, qtbot)
    panel.view.landmarks.create.click()
    for section in panel.view.sections.values():
        section.heading.setChecked(True)
    panel.view.landmarks.done.click()
    dock = panel.parentWidget()
    panel.viewer.window._qt_window.resizeDocks([dock], [290], Qt.Orientation.Horizontal)
    qtbot.waitUntil(lambda: panel.width() <= 300)
    qtbot.wait(20)
    view, marks = panel.view, panel.view.landmarks
    for box in (view.use.direction, marks.fixed, marks.moving):
        text = box.fontMetrics().horizontalAdvance(box.currentText())
        assert text < box.width() - 24, box.currentText()
    right = view.mapToGlobal(view.rect().topRight()).x()
    for cell in view.result.cells:
        assert cell.width() >= cell.minimumSizeHint().width(), cell.text()
        assert cell.mapToGlobal(cell.rect().topRight()).x() <= right, cell.text()
    refine = view.refine
    for text in ("Automatic", "1000 iterations"):
        line = refine.lineEdit()
        assert refine.fontMetrics().horizontalAdvance(text) <= line.width(), text


def test_the_numbers_can_be_read_in_a_light_theme(panel, qtbot, engine):
    register(panel, qtbot)

    def contrast():
        """The contrast (WCAG 2) of the correlation's number to its background."""
        cell = panel.view.result.cells[4]
        assert cell.text() == panel.view.result.rows()[0][2]
        ground = panel.grab().toImage().pixelColor(2, panel.height() - 2)
        light, dark = sorted(map(luminance, (QColor(cell.styleSheet()[7:14]), ground)))[::-1]
        return (light + 0.05) / (dark + 0.05)

    try:
        for theme in ("light", "dark"):
            panel.viewer.theme = theme
            qtbot.wait(50)
            assert contrast() > 4.5, theme
    finally:
        panel.viewer.theme = "dark"


def test_a_small_run_of_the_engine_itself(panel, qtbot):
    """Without a network: centering and a few iterations, evaluated as usual."""
    panel.view.init.setCurrentIndex(panel.view.init.findData("center"))
    choose(panel.view.model, "none")
    panel.view.refine.setValue(6)
    alignment = register(panel, qtbot)
    assert isinstance(alignment.forward, Transform)
    assert panel.view.curve.count >= 6
    assert {"Correlation", "Folded voxels"} <= {row[0] for row in panel.view.result.rows()}
    assert isinstance(panel.viewer.layers["follow-up · moved"], Image)
    assert set(REPORT) <= set(alignment.report)


def test_two_dimensional_points_are_not_landmarks(panel):
    flat = panel.viewer.add_layer(Points(np.zeros((2, 2)), name="flat"))
    other = panel.viewer.add_layer(Points(np.zeros((2, 3)), name="deep"))
    panel.view.landmarks.fixed.choose(flat)
    panel.view.landmarks.moving.choose(other)
    assert "3 dimensions" in panel.view.landmarks.message.text()


def test_closing_the_panel_cancels_and_disconnects(panel, qtbot, engine):
    """The last test of this module: the panel is gone afterwards."""
    window = panel.viewer
    gone = weakref.ref(register(panel, qtbot))
    window.layers.remove("follow-up · moved")
    engine.hold.clear()
    compare(panel, qtbot)
    panel.run()
    job = panel.jobs.job
    panel.release()
    assert job.wait(600)
    qtbot.wait(50)
    assert names_of(window) == ["prior", "follow-up"]
    assert not [c for c in window.mouse_drag_callbacks if "wipe" in c.__module__]
    assert not [name for name in window.scene.overlays if "wipe" in name]
    window.add_image(np.zeros((3, 4, 5)))  # no callback reaches the closed panel
    window.layers.clear()
    wait_until_freed(qtbot, gone)  # and the panel keeps no result
