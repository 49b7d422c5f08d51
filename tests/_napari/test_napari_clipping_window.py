"""Clipping by mouse in a real window, and what is said when nothing is left in 3D."""

from __future__ import annotations

import numpy as np
import pytest
from colorize_panel_cases import colorize
from mouse import move_mouse
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractSlider, QLabel
from scipy.ndimage import uniform_filter
from screen import pixels, scroll_to

from tomochrome._napari.kit.choice_boxes import Offer
from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.viewer.clip_controls import NOTHING_LEFT
from tomochrome._napari.viewer.clipping_3d import Clipping3D
from tomochrome.color import ALPHA_PRESETS

pytestmark = pytest.mark.gui

LEFT = Qt.MouseButton.LeftButton
YELLOW = (255, 196, 0)


@pytest.fixture
def docked(painted, window, panel, qtbot):
    """The panel over a colored scan in 3D, in a window that is drawn."""
    window.window.resize(900, 560)  # the canvas is drawn by software, in a second
    panel.view.offer(Offer(("tissue",), ("auto",), ("natural",), tuple(ALPHA_PRESETS)))
    coloring = colorize(panel, qtbot)
    window.dims.ndisplay = 3
    panel.view.color.alpha_box.choose("skin")
    qtbot.waitUntil(lambda: coloring.layer.data.is_rendered)
    yield panel
    follower_of(window, Clipping3D).reset()
    window.dims.ndisplay = 2


@pytest.fixture
def clipping(docked):
    return follower_of(docked.viewer, Clipping3D)


def canvas(panel):
    return panel.viewer.window._qt_window._qt_viewer.canvas.native


def grip(native):
    """Where the yellow disc of the plane is on a canvas."""
    yellow = np.abs(pixels(native) - YELLOW).max(axis=-1) < 12
    density = uniform_filter(yellow.astype(float), 13)
    assert density.max() > 0.8, "no grip is drawn"
    y, x = np.argwhere(density >= density.max() - 0.02).mean(axis=0)
    return QPoint(round(x), round(y))


def drag(qtbot, native, start, *offsets):
    """Press, move and release; yields after each move."""
    move_mouse(qtbot, native, start)
    QTest.mousePress(native, LEFT, Qt.KeyboardModifier.NoModifier, start)
    for offset in offsets:
        move_mouse(qtbot, native, start + offset, LEFT)
        yield offset
    QTest.mouseRelease(native, LEFT, Qt.KeyboardModifier.NoModifier, start + offsets[-1])


def choose(box, title):
    """Choose an item of a combo box by arrow keys.

    Typed letters would depend on the time between them: Qt joins those that are less than 0.4 s
    apart to one search, also those of the previous choice.
    """
    scroll_to(box)
    steps = box.findText(title) - box.currentIndex()
    for _ in range(abs(steps)):
        QTest.keyClick(box, Qt.Key.Key_Down if steps > 0 else Qt.Key.Key_Up)
    assert box.currentText() == title


def test_the_grip_is_dragged_and_the_plane_follows_the_pointer(docked, clipping, qtbot):
    fields, camera, native = docked.view.clip_controls, docked.viewer.scene.camera, canvas(docked)
    camera.angles = np.add(camera.angles, (15, -30, 20))
    choose(fields.cut, "Sagittal")
    (start, at, before), angles = (grip(native), clipping.plane.at, body(native)), camera.angles
    # on the screen, by napari's camera: mm to the right and down for each mm of the plane
    view, up = (np.array(way)[::-1] for way in (camera.view_direction, camera.up_direction))
    normal = np.array(clipping.plane.normal)
    along = np.array([normal @ np.cross(view, up), -normal @ up])
    unit = along / np.linalg.norm(along)
    for offset in drag(qtbot, native, start, *(QPoint(*map(round, k * unit)) for k in (10, 40))):
        moved = np.array([offset.x(), offset.y()]) / camera.zoom @ along / (along @ along)
        assert clipping.plane.at - at == pytest.approx(moved, abs=0.01)
        assert (grip(native) - start - offset).manhattanLength() <= 2
        assert abs(fields.position.value()) == pytest.approx(abs(clipping.plane.at), abs=0.06)
    assert body(native) < 0.95 * before
    assert camera.angles == angles
    moved = clipping.plane.at
    for _ in drag(qtbot, native, grip(native) + QPoint(60, 60), QPoint(15, 15), QPoint(30, 9)):
        pass
    assert clipping.plane.at == moved
    assert camera.angles != angles


def body(native):
    """How many pixels show skin."""
    picture = pixels(native)
    return (np.ptp(picture, axis=-1) > 12).sum()


def test_the_box_is_set_by_mouse_and_clipping_everything_says_so(docked, clipping, qtbot):
    fields, native = docked.view.clip_controls, canvas(docked)
    row = fields.box["x"]
    scroll_to(row)
    before = body(native)
    low, high = clipping.extent[:, 0]
    slider = row.findChild(QAbstractSlider)
    end = QPoint(slider.width() - 6, slider.height() // 2)

    def drag_end(share):
        for _ in drag(qtbot, slider, end, *(QPoint(round(-k * slider.width()), 0) for k in share)):
            pass

    picture = docked.coloring.layer.data
    drag_end((0.2, 0.5))
    assert clipping.box[1, 0] == pytest.approx((low + high) / 2, abs=0.2 * (high - low))
    qtbot.waitUntil(lambda: 0.2 * before < body(native) < 0.7 * before)
    assert not fields.message.text()
    end = QPoint(slider.width() // 2, slider.height() // 2)
    drag_end((0.2, 0.43))
    qtbot.waitUntil(lambda: fields.message.text() == NOTHING_LEFT)
    qtbot.waitUntil(lambda: picture.clip_in_3d and picture.is_rendered)  # the box only: nothing
    qtbot.waitUntil(lambda: "clipping leaves nothing of 'skin'" in docked.view.message.text())
    qtbot.wait(300)  # the section looks again a quarter of a second after a new picture
    assert fields.message.text() == NOTHING_LEFT
    scroll_to(fields.message)
    assert body(native) < 0.02 * before  # the outline of the box
    scroll_to(fields.reset)
    QTest.mouseClick(fields.reset, LEFT)
    qtbot.waitUntil(lambda: not fields.message.text() and body(native) > 0.9 * before)


def test_a_preset_that_shows_nothing_says_so_where_it_is_seen(docked, qtbot):
    choose(docked.view.color.alpha_box, "Brain")
    qtbot.waitUntil(lambda: "shows nothing of 'brain'" in docked.view.message.text())
    scroll_to(docked.view.message)
    bar = docked.viewer.window._qt_window.statusBar()
    labels = [label for label in bar.findChildren(QLabel) if label.isVisible()]
    assert docked.view.message.text() in [label.text() for label in labels]
    assert body(canvas(docked)) == 0
    choose(docked.view.color.alpha_box, "Skin")
    qtbot.waitUntil(lambda: "nothing" not in docked.view.message.text())
    qtbot.waitUntil(lambda: body(canvas(docked)) > 1000)
