"""The button "Picture…": the slice, or what 3D shows; and 3D that shows nothing."""

from __future__ import annotations

import numpy as np
import pytest
from colorize_panel_cases import colorize
from PIL import Image
from qtpy.QtWidgets import QFileDialog

from tomochrome._napari.colorize.screen_picture import picture_of_screen
from tomochrome._napari.kit.choice_boxes import Offer
from tomochrome._napari.viewer.canvas_overlays import patient_from_world
from tomochrome._napari.viewer.renderer_3d import NOTHING_SHOWN
from tomochrome.color import ALPHA_PRESETS
from tomochrome.color.alpha import AlphaCurve
from tomochrome.geometry.planes import PLANES
from tomochrome.io import slice_pictures
from tomochrome.io.slice_pictures import slice_picture as draw
from tomochrome.rendering import cinematic

pytestmark = pytest.mark.gui


@pytest.fixture
def colored(panel, qtbot, monkeypatch):
    """The panel over a colored scan, a body with a liver; pictures are drafts."""
    monkeypatch.setitem(cinematic._EFFORTS, "final", cinematic._EFFORTS["draft"])
    panel.view.offer(Offer(("tissue",), ("auto",), ("natural",), tuple(ALPHA_PRESETS)))
    colorize(panel, qtbot)
    yield panel
    panel.viewer.dims.ndisplay = 2


def middle(pixels):
    down, right = (side // 2 - 20 for side in pixels.shape[:2])
    return pixels[down : down + 40, right : right + 40]


def test_the_button_writes_what_3d_shows(colored, qtbot, tmp_path, monkeypatch):
    target = tmp_path / "skin"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    colored.viewer.dims.ndisplay = 3
    colored.view.color.alpha_box.choose("skin")
    colored.view.picture.click()
    qtbot.waitUntil(lambda: not colored.running, timeout=60_000)
    with Image.open(tmp_path / "skin.png") as picture:
        pixels = np.asarray(picture)
        assert "lightness not from the scanner" in picture.text["Comment"]
    assert middle(pixels).mean() > 60  # the body, at the center of the canvas as in 3D
    assert "Saved" in colored.view.message.text()
    target = tmp_path / "photograph"
    colored.view.color.photograph_in_3d.click()
    colored.view.picture.click()
    qtbot.waitUntil(lambda: not colored.running, timeout=60_000)
    with Image.open(tmp_path / "photograph.png") as picture:
        lighter = middle(np.asarray(picture)).mean() - middle(pixels).mean()
    assert lighter > 3  # the skin


@pytest.mark.parametrize(("order", "plane"), [((0, 1, 2), "axial"), ((1, 0, 2), "coronal")])
def test_in_2d_the_slice_on_screen_is_saved(colored, qtbot, tmp_path, monkeypatch, order, plane):
    drawn = []
    monkeypatch.setattr(
        slice_pictures, "slice_picture", lambda *what: drawn.append(what) or draw(*what)
    )
    target = tmp_path / "slice.png"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    colored.viewer.dims.order = order
    layer = colored.coloring.layer
    index = layer.data.shape[order[0]] // 2
    point = layer.data_to_world([index] * 3)
    colored.viewer.dims.set_point(range(3), point)
    colored.view.picture.click()
    qtbot.waitUntil(lambda: not colored.running, timeout=60_000)
    with Image.open(target) as picture:
        assert "not for diagnosis" in picture.text["Comment"]
    assert f"one {plane} slice" in colored.view.message.text()
    ((volume, across, number),) = drawn
    assert (across, number) == (PLANES.index(plane), 0)
    where = (*[slice(None)] * order[0], index)
    np.testing.assert_array_equal(np.squeeze(volume.voxels, order[0]), layer.data[where])
    np.testing.assert_allclose(
        volume.affine @ (0, 0, 0, 1),
        layer.data.volume.affine @ [*(index if axis == order[0] else 0 for axis in range(3)), 1],
    )


def test_a_slice_outside_the_scan_is_refused(colored, tmp_path, monkeypatch):
    target = tmp_path / "slice.png"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    colored.viewer.add_points([[1000.0, 0.0, 0.0]])
    colored.viewer.dims.set_point(0, 1000.0)
    colored.view.picture.click()
    assert "outside the colored scan" in colored.view.message.text()
    assert not target.exists()


@pytest.mark.parametrize("turn", [(0, 0, 0), (30, 10, -40)])
def test_the_camera_is_that_of_the_screen(colored, qtbot, tmp_path, monkeypatch, turn):
    cameras = []

    def seen_by(stage, camera):
        cameras.append(camera)
        assert stage.request.min_confidence == 0.9  # what 3D shows fades below it, too
        raise KeyError

    monkeypatch.setattr(cinematic.Stage, "seen_by", seen_by)
    viewer, layer = colored.viewer, colored.coloring.layer
    viewer.dims.ndisplay = 3
    colored.view.color.alpha_box.choose("skin")
    colored.view.color.confidence_row.slider.setValue(900)
    qtbot.waitUntil(lambda: layer.data.settings_in_3d.min_confidence == 0.9)
    camera = viewer.scene.camera
    camera.angles = np.add(camera.angles, turn)
    with pytest.raises(KeyError):
        picture_of_screen(viewer, layer)(str(tmp_path / "a.png"))
    (drawn,) = cameras
    assert np.linalg.det(np.stack([drawn.right, drawn.up, -drawn.forward])) == pytest.approx(1)
    world = np.eye(3)[[2, 1, 0]]  # (z, y, x) of superior, posterior, left to LPS
    expected = patient_from_world(layer) @ world @ np.asarray(camera.view_direction)
    assert np.allclose(drawn.forward, expected, atol=1e-6)


def test_nothing_in_3d_says_so(colored, qtbot):
    colored.viewer.dims.ndisplay = 3
    data = colored.coloring.layer.data
    data.preset_in_3d = AlphaCurve("denser than any tissue", ((3000, 0), (3001, 1)))
    qtbot.waitUntil(lambda: colored._renderer.text == NOTHING_SHOWN)
