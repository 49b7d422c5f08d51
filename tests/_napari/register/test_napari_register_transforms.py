"""After a registration: maps, and applying, saving and loading the transform."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels
from panel_cases import names, register, settle
from qtpy.QtWidgets import QFileDialog, QMessageBox
from register_cases import SHIFT, body

from tomochrome._napari.layers.volume_layers import source_of
from tomochrome.transform import Transform

pytestmark = pytest.mark.gui


def test_maps_come_and_go_with_their_boxes(panel, qtbot, engine):
    register(panel, qtbot)
    use = panel.view.use
    use.jacobian.setChecked(True)
    use.grid.setChecked(True)
    jacobian, grid = panel.viewer.layers["Jacobian map"], panel.viewer.layers["Deformation grid"]
    assert source_of(jacobian.metadata).role == source_of(grid.metadata).role == "derived"
    assert grid.data.shape == (*body().shape, 4)
    assert tuple(grid.scale) == tuple(jacobian.scale) == (6, 4, 4)
    # Derived layers cannot be used as inputs.
    assert jacobian not in panel.view.fixed.layers()
    assert grid not in panel.view.compare.first.layers()
    use.grid.setChecked(False)
    panel.viewer.layers.remove(jacobian)
    assert not use.jacobian.isChecked()
    assert "Deformation grid" not in names(panel)


def test_what_changed_is_shown_beyond_the_noise(panel, qtbot, engine):
    alignment = register(panel, qtbot)
    use = panel.view.use
    assert use.change.isEnabled()
    use.change.setChecked(True)
    layer = panel.viewer.layers["Change of HU"]
    fixed, moved = alignment.fixed.volume, source_of(alignment.layer.metadata).shown
    offset, noise = alignment.spread
    change = moved.voxels.astype(float) - fixed.voxels - offset
    beyond = np.abs(change) > 3 * noise
    for volume in (fixed, moved):
        if volume.outside is not None:
            beyond &= ~volume.outside
    rgba = np.asarray(layer.data[:])
    assert beyond.any()
    np.testing.assert_array_equal(rgba[..., 3] > 0, beyond)
    more = rgba[..., 0].astype(int) > rgba[..., 2]
    np.testing.assert_array_equal(more[beyond], change[beyond] > 0)
    panel.viewer.layers.remove(alignment.layer)
    assert not use.change.isEnabled()


def test_the_transform_is_applied_to_any_layer(panel, qtbot, engine):
    viewer = panel.viewer
    register(panel, qtbot)
    points = viewer.add_points([[130.0, 4, 8]], ndim=3, units=("mm",) * 3, name="dots")
    flat = viewer.add_shapes(
        [np.array([[130.0, 0, 0], [130, 0, 9], [130, 9, 9]])], shape_type="polygon", name="area"
    )
    labels = viewer.add_labels(
        (body(SHIFT).voxels > 300).astype(np.uint8), scale=(6, 4, 4), translate=(100, -80, -72),
        units=("mm",) * 3, name="bone",
    )  # fmt: skip
    color = np.zeros((*body().shape, 4), np.uint8)
    color[..., 3] = 255
    twin = viewer.add_image(
        color, rgb=True, scale=(6, 4, 4), translate=(100, -80, -72), units=("mm",) * 3, name="twin"
    )
    for layer in (points, flat, labels, twin):
        panel.view.use.layer.choose(layer)
        panel.view.use.apply.click()
        settle(panel, qtbot)
        assert f"{layer.name} · moved" in names(panel), panel.view.message.text()
    np.testing.assert_allclose(viewer.layers["dots · moved"].data, points.data - SHIFT[::-1])
    assert isinstance(viewer.layers["bone · moved"], Labels)
    assert viewer.layers["twin · moved"].rgb
    panel.view.use.direction.setCurrentIndex(1)
    panel.view.use.layer.choose(points)
    panel.view.use.apply.click()
    settle(panel, qtbot)
    back = viewer.layers["dots · moved back"]
    np.testing.assert_allclose(back.data, points.data + SHIFT[::-1])


@pytest.mark.parametrize("name", ["forward.h5", "forward.nii.gz"])
def test_a_transform_is_saved_and_loaded_as_if_just_registered(
    panel, qtbot, engine, tmp_path, name
):
    register(panel, qtbot)
    path = tmp_path / name
    panel.save(str(path))
    settle(panel, qtbot)
    assert panel.view.message.text() == f"Saved {name}."
    before = panel.alignment
    panel.load(str(path))
    settle(panel, qtbot)
    assert panel.alignment is not before, panel.view.message.text()
    assert panel.view.message.text().startswith(f"Transform '{name}' loaded")
    point = np.array([[3.0, 5, 140]])
    np.testing.assert_allclose(panel.alignment.forward.points(point), point + SHIFT, atol=1e-3)
    rows = {row[0]: row for row in panel.view.result.rows()}
    assert float(rows["Correlation"][2].removeprefix("✓ ")) > float(rows["Correlation"][1])
    assert len(engine.calls) == 1


def test_a_completed_name_is_not_overwritten_without_asking(
    panel, qtbot, engine, tmp_path, monkeypatch
):
    """The file dialog asked about 'mine', not about 'mine.h5'."""
    register(panel, qtbot)
    path = tmp_path / "mine.h5"
    path.write_bytes(b"precious")
    asked = []
    chosen = (str(tmp_path / "mine"), "Transform for ITK, ANTs, 3D Slicer (*.h5)")
    buttons = QMessageBox.StandardButton
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: chosen)
    for answer in (buttons.No, buttons.Yes):
        monkeypatch.setattr(
            QMessageBox, "question", lambda *words, give=answer: asked.append(words[2]) or give
        )
        panel.view.use.save.click()
        settle(panel, qtbot)
        assert (path.read_bytes() == b"precious") == (answer == buttons.No)
    assert asked == ["'mine.h5' already exists. Replace it?"] * 2


def test_files_without_a_transform_give_a_message(panel, qtbot, tmp_path):
    path = tmp_path / "broken.h5"
    path.write_bytes(b"no transform")
    panel.load(str(path))
    settle(panel, qtbot)
    assert panel.alignment is None
    assert panel.view.message.text()
    assert "unexpectedly" not in panel.view.message.text()


def test_a_transform_that_fits_no_layer_gives_a_message(panel, qtbot, tmp_path):
    matrix = np.eye(4)
    matrix[0, 3] = 9000.0
    path = tmp_path / "elsewhere.h5"
    Transform.from_affine(matrix).save(path)
    panel.load(str(path))
    settle(panel, qtbot)
    assert panel.alignment is None
    assert "entirely outside the moving one" in panel.view.message.text()
    assert names(panel) == ["prior", "follow-up"]
