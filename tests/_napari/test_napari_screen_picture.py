"""The button "Picture…": what 3D shows, as a picture with shadows; and 3D that shows nothing."""

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
    middle = pixels[pixels.shape[0] // 2 - 20 :][:40, pixels.shape[1] // 2 - 20 :][:, :40]
    assert middle.mean() > 60  # the body, at the center of the canvas as in 3D
    assert "Saved" in colored.view.message.text()


@pytest.mark.parametrize("turn", [(0, 0, 0), (30, 10, -40)])
def test_the_camera_is_that_of_the_screen(colored, tmp_path, monkeypatch, turn):
    cameras = []

    def seen_by(_stage, camera):
        cameras.append(camera)
        raise KeyError

    monkeypatch.setattr(cinematic.Stage, "seen_by", seen_by)
    viewer, layer = colored.viewer, colored.coloring.layer
    viewer.dims.ndisplay = 3
    colored.view.color.alpha_box.choose("skin")
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
