"""The button "Picture…": the slice, or what 3D shows; and 3D that shows nothing."""

from __future__ import annotations

import sys
import threading

import av
import numpy as np
import pytest
from colorize_panel_cases import colorize
from PIL import Image, ImageSequence
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog
from screen import pixels

from tomochrome._napari.colorize.screen_picture import picture_of_screen
from tomochrome._napari.kit.choice_boxes import Offer
from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.viewer.canvas_marks import canvas_point
from tomochrome._napari.viewer.canvas_overlays import patient_from_world
from tomochrome._napari.viewer.clipping_3d import Clipping3D
from tomochrome._napari.viewer.renderer_3d import NOTHING_SHOWN
from tomochrome.color import ALPHA_PRESETS, TissueSelection
from tomochrome.color.alpha import AlphaCurve
from tomochrome.errors import InputError
from tomochrome.geometry.planes import PLANES
from tomochrome.io import slice_pictures
from tomochrome.io.slice_pictures import slice_picture as draw
from tomochrome.rendering import annotated, cinematic, render, render_files

pytestmark = pytest.mark.gui


@pytest.fixture
def colored(panel, qtbot, monkeypatch):
    """The panel over a colored scan, a body with a liver; pictures are drafts."""
    monkeypatch.setitem(cinematic._EFFORTS, "final", cinematic._EFFORTS["draft"])
    panel.view.offer(Offer(("tissue",), ("auto",), ("natural",), tuple(ALPHA_PRESETS)))
    colorize(panel, qtbot)
    yield panel
    follower_of(panel.viewer, Clipping3D).reset()
    panel.viewer.dims.ndisplay = 2


def middle(pixels):
    down, right = (side // 2 - 20 for side in pixels.shape[:2])
    return pixels[down : down + 40, right : right + 40]


@pytest.mark.parametrize("ndisplay", [2, 3])
def test_there_is_no_picture_of_a_hidden_layer(colored, ndisplay):
    layer = colored.coloring.layer
    colored.viewer.dims.ndisplay = ndisplay
    layer.visible = False
    with pytest.raises(InputError, match="is hidden; show it to save a picture of it"):
        picture_of_screen(colored.viewer, layer)
    layer.visible = True


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
        assert "hidden" not in picture.text["Comment"] and "clipped" not in picture.text["Comment"]
    assert middle(pixels).mean() > 60  # the body, at the center of the canvas as in 3D
    assert "Saved" in colored.view.message.text()
    target = tmp_path / "photograph"
    colored.view.color.photograph_in_3d.click()
    colored.view.picture.click()
    qtbot.waitUntil(lambda: not colored.running, timeout=60_000)
    with Image.open(tmp_path / "photograph.png") as picture:
        lighter = middle(np.asarray(picture)).mean() - middle(pixels).mean()
    assert lighter > 3  # the skin


def test_the_caption_says_what_is_hidden_and_clipped(colored, qtbot, tmp_path):
    viewer, layer = colored.viewer, colored.coloring.layer
    viewer.dims.ndisplay = 3
    colored.view.color.alpha_box.choose("skin")
    layer.data.settings = layer.data.settings.replace(tissues=TissueSelection(hidden={"liver"}))
    clipping = follower_of(viewer, Clipping3D)
    low, high = clipping.extent
    clipping.crop(np.array([low, [*high[:2], (low[2] + high[2]) / 2]]))
    message = picture_of_screen(viewer, layer)(str(tmp_path / "a.png"))
    assert message.endswith("a.png: the surface of the body; hidden: liver.")
    with Image.open(tmp_path / "a.png") as picture:
        parts = picture.text["Comment"].split("  ·  ")
    assert parts[2:5] == ["the surface of the body", "hidden: liver", "clipped"]


def test_the_message_says_that_a_faint_layer_is_drawn_opaque_in_3d(colored, tmp_path):
    viewer, layer = colored.viewer, colored.coloring.layer
    viewer.dims.ndisplay = 3
    colored.view.color.alpha_box.choose("skin")
    for opacity, told in ((0.5, True), (1.0, False)):
        layer.opacity = opacity
        message = picture_of_screen(viewer, layer)(str(tmp_path / "a.png"))
        assert message.endswith("; drawn at 100 % opacity.") == told


def test_a_curve_over_the_whole_body_is_drawn_with_what_is_almost_transparent(colored, tmp_path):
    viewer, layer = colored.viewer, colored.coloring.layer
    viewer.dims.ndisplay = 3
    sides = {}
    for name in ("skin", "glass", "opaque"):
        colored.view.color.alpha_box.choose(name)
        message = picture_of_screen(viewer, layer)(str(tmp_path / f"{name}.png"))
        with Image.open(tmp_path / f"{name}.png") as picture:
            rgb = np.asarray(picture.convert("RGB"), int)
        columns = np.flatnonzero((rgb[..., 0] > rgb[..., 2] + 8).any(axis=0))  # no background
        sides[name] = np.ptp(columns)
        assert "air" not in message or "without the air around it" in message
    assert sides["glass"] > 0.85 * sides["skin"]
    assert sides["opaque"] > 0.95 * sides["skin"]


@pytest.fixture
def in_3d(colored, painted, window, tmp_path, monkeypatch):
    """The panel with skin in 3D in a window that is drawn; and a way to answer the dialog."""
    window.window.resize(900, 560)
    colored.viewer.dims.ndisplay = 3
    colored.view.color.alpha_box.choose("skin")

    def answer(name, title=""):
        asked = []

        def get(*arguments):
            asked.append(arguments)
            return str(tmp_path / name), title

        monkeypatch.setattr(QFileDialog, "getSaveFileName", get)
        return asked

    colored.answer = answer
    return colored


def click(button):
    assert button.isEnabled() and button.visibleRegion().contains(button.rect().center())
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.mark.parametrize(
    ("name", "title", "written"),
    [("turn", "GIF (*.gif)", "turn.gif"), ("turn.mp4", "PNG (*.png)", "turn.mp4")],
)
def test_in_3d_a_turn_can_be_filmed(in_3d, qtbot, tmp_path, monkeypatch, name, title, written):
    monkeypatch.setattr(render_files.save_film, "__defaults__", (4,))  # frames
    camera = in_3d.viewer.scene.camera
    camera.set_view_direction((0, 0, -1), (1, 0, 0))  # from the patient's left (z, y, x)
    asked = in_3d.answer(name, title)
    click(in_3d.view.picture)
    ((*_, filters),) = asked
    assert filters == "PNG (*.png);;MP4 (*.mp4);;GIF (*.gif)"
    qtbot.waitUntil(lambda: not in_3d.running, timeout=60_000)
    assert "a turn" in in_3d.view.message.text()
    assert [path.name for path in tmp_path.iterdir()] == [written]
    frames = frames_of(tmp_path / written)
    assert len(frames) == 4
    data = in_3d.coloring.layer.data
    size, settings = frames[0].shape[1::-1], {"preset": "skin", "quality": "draft"}
    sides = {
        side: annotated(render(data.volume, data.chroma, view=side, size=size, **settings))
        for side in ("left", "right")
    }
    for frame, side in ((frames[0], "left"), (frames[2], "right")):
        apart = {x: np.abs(np.asarray(seen, float) - frame).mean() for x, seen in sides.items()}
        assert min(apart, key=apart.get) == side  # also by its letters: the body is symmetrical
        assert apart[side] < 2


def frames_of(path):
    """The frames of a film, as floats (y, x, RGB)."""
    if path.suffix == ".gif":
        with Image.open(path) as film:
            return [
                np.asarray(frame.convert("RGB"), float) for frame in ImageSequence.Iterator(film)
            ]
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24").astype(float) for frame in film.decode(video=0)]


@pytest.mark.parametrize("name", ["turn.gif", "turn.mp4"])
def test_a_film_that_is_cancelled_leaves_no_file(in_3d, qtbot, tmp_path, name):
    view = in_3d.view
    in_3d.answer(name)
    click(view.picture)
    qtbot.waitUntil(lambda: view.progress.maximum() == 60 and view.progress.value() >= 2)
    assert in_3d.running and not view.picture.isEnabled()
    click(view.cancel)
    qtbot.waitUntil(lambda: not in_3d.running, timeout=60_000)
    assert view.message.text().startswith("Cancelled")
    assert not list(tmp_path.iterdir())
    assert view.picture.isEnabled() and not view.progress.isVisible()
    assert view.run.visibleRegion().contains(view.run.rect().center())  # nothing was scrolled


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
    assert colored.view.message.text().endswith(f": one slice, {plane}.")
    ((volume, across, number),) = drawn
    assert (across, number) == (PLANES.index(plane), 0)
    where = (*[slice(None)] * order[0], index)
    np.testing.assert_array_equal(np.squeeze(volume.voxels, order[0]), layer.data[where])
    np.testing.assert_allclose(
        volume.affine @ (0, 0, 0, 1),
        layer.data.volume.affine @ [*(index if axis == order[0] else 0 for axis in range(3)), 1],
    )


@pytest.mark.parametrize("grey", [True, False])
def test_in_2d_the_picture_is_as_opaque_as_the_screen(
    colored, painted, qtbot, tmp_path, monkeypatch, grey
):
    drawn = []
    monkeypatch.setattr(
        slice_pictures, "slice_picture", lambda *what: drawn.append(what) or draw(*what)
    )
    target = tmp_path / "slice.png"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    viewer, layer = colored.viewer, colored.coloring.layer
    colored.coloring.ct_layer.visible = grey
    colored.view.color.opacity_row.slider.setValue(300)
    assert layer.opacity == pytest.approx(0.3)
    viewer.reset_view()
    QApplication.processEvents()
    colored.view.picture.click()
    qtbot.waitUntil(lambda: not colored.running, timeout=60_000)
    ((volume, *_),) = drawn
    canvas = viewer.window._qt_window._qt_viewer.canvas.native
    screen = pixels(canvas)
    scale = canvas.devicePixelRatioF()
    index = int(np.rint(layer.world_to_data(viewer.dims.point)[0]))
    for y, x in ((24, 28), (24, 34)):  # water and fat
        at = canvas_point(viewer, layer.data_to_world((index, y, x))) * scale
        np.testing.assert_allclose(
            volume.voxels[0, y, x, :3].astype(int), screen[int(at.y()), int(at.x())], atol=3
        )
    colored.coloring.ct_layer.visible = True
    colored.view.color.opacity_row.slider.setValue(1000)


def test_what_writes_a_picture_is_imported_by_a_worker(colored, qtbot, tmp_path, monkeypatch):
    importers = []

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "tomochrome.io.slice_pictures":
                importers.append(threading.current_thread())

    monkeypatch.delitem(sys.modules, "tomochrome.io.slice_pictures")
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    target = tmp_path / "slice.png"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    colored.view.picture.click()
    qtbot.waitUntil(lambda: not colored.running, timeout=60_000)
    assert target.exists()
    assert importers and threading.main_thread() not in importers


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
