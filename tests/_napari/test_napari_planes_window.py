"""Linked planes in a real window: buttons of the panel, mouse over the canvases, and pixels."""

from __future__ import annotations

import numpy as np
import pytest
from colorize_panel_cases import colorize
from mouse import move_mouse
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QEnterEvent, QImage, QPainter, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from scipy.ndimage import find_objects, label
from screen import colors, pixels, scroll_to
from skimage.color import rgb2lab

from tomochrome._napari.kit.events import follower_of, is_settled
from tomochrome._napari.viewer.canvas_marks import PLANES, canvas_point
from tomochrome._napari.viewer.linked_planes import GREY_MODE, OFF, PLANES_MODE, LinkedPlanes
from tomochrome._napari.viewer.slice_wheel import wheel_scrolls

pytestmark = pytest.mark.gui

LEFT_BUTTON = Qt.MouseButton.LeftButton
#: By hand, for the axis normal to a plane: what is at its left, right, top and bottom edge.
LETTERS = {0: ["R", "L", "A", "P"], 1: ["R", "L", "H", "F"], 2: ["A", "P", "H", "F"]}
EDGES = ("left", "right", "top", "bottom")


@pytest.fixture
def small_ct(small_ct):
    """The small CT, in which neighboring voxels differ."""
    z, y, x = np.indices(small_ct.shape)
    return small_ct.with_voxels((small_ct.voxels + (11 * z + 5 * y + 3 * x) % 40).astype(np.int16))


@pytest.fixture
def docked(painted, window, panel, qtbot):
    """The panel over the CT, in a window that is drawn."""
    window.window.resize(1200, 760)
    qtbot.waitUntil(lambda: is_settled(window))
    yield panel
    follower_of(window, LinkedPlanes).open(OFF)
    window.dims.order = (0, 1, 2)


@pytest.fixture
def link(docked):
    return follower_of(docked.viewer, LinkedPlanes)


def press(button):
    """Click a button or a switch of the panel."""
    scroll_to(button)
    point = QPoint(10, button.height() // 2)
    QTest.mouseClick(button, LEFT_BUTTON, Qt.KeyboardModifier.NoModifier, point)


def natives(link):
    """The widget of each canvas, with its viewer: the viewer's own is first."""
    own = link.viewer.window._qt_window._qt_viewer.canvas.native
    return [(own, link.viewer), *((canvas.native, canvas.model) for canvas in link.canvases)]


def open_planes(panel, link, qtbot):
    press(panel.view.view_controls.modes[PLANES_MODE])
    qtbot.waitUntil(lambda: len(link.canvases) == 2 and link.settled and is_settled(link.viewer))


def lightness(native):
    """L* of what napari has drawn on a canvas."""
    return rgb2lab(pixels(native).astype(np.uint8))[..., 0]


def body(native):
    """The slices in which the body, which is the largest bright region, is on a canvas."""
    regions, _ = label(lightness(native) > 22)
    largest = np.argmax(np.bincount(regions.ravel())[1:]) + 1
    return find_objects((regions == largest).astype(np.uint8))[0]


def voxel_point(viewer, volume, voxel):
    """Where the middle of a voxel is on a canvas, in whole pixels."""
    x, y, z = (volume.affine @ [*voxel, 1])[:3]
    point = canvas_point(viewer, (z, y, x))
    return QPoint(round(point.x()), round(point.y()))


def turn_wheel(native, notches):
    middle = native.rect().center()
    QApplication.sendEvent(
        native,
        QWheelEvent(
            QPointF(middle), QPointF(native.mapToGlobal(middle)), QPoint(),
            QPoint(0, 120 * notches), Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase, False,
        ),
    )  # fmt: skip


def enter(native, point):
    """Let the pointer be over a canvas; the X server's is where other processes put it."""
    where = QPointF(point), QPointF(native.mapTo(native.window(), point))
    QApplication.sendEvent(native, QEnterEvent(*where, QPointF(native.mapToGlobal(point))))


def leave(native):
    QApplication.sendEvent(native, QEvent(QEvent.Type.Leave))


# The buttons of the section "View"


def test_planes_and_grayscale_beside_open_and_close(docked, link, qtbot):
    grey = colorize(docked, qtbot).ct_layer
    modes, own = docked.view.view_controls.modes, natives(link)[0][0]
    alone = own.width()
    open_planes(docked, link, qtbot)
    assert modes[PLANES_MODE].isChecked() and not modes[GREY_MODE].isChecked()
    assert own.width() < 0.7 * alone
    for canvas in link.canvases:
        assert canvas.isVisible()
        rows, columns = body(canvas.native)
        assert rows.stop - rows.start > 50 and columns.stop - columns.start > 50
    before = tuple(grey.contrast_limits)
    grey.contrast_limits = (2000, 3000)  # the first change after the canvases were opened
    for native, _ in natives(link):
        qtbot.waitUntil(lambda native=native: (lightness(native) > 20).mean() < 0.05)
    grey.contrast_limits = before
    press(modes[GREY_MODE])
    qtbot.waitUntil(lambda: len(link.canvases) == 1 and link.settled)
    assert modes[GREY_MODE].isChecked() and not modes[PLANES_MODE].isChecked()
    check_gray_beside_color(*(native for native, _ in natives(link)))
    press(modes[GREY_MODE])
    assert not link.canvases and not modes[GREY_MODE].isChecked()
    qtbot.waitUntil(lambda: own.width() == alone)


def check_gray_beside_color(colored, gray):
    """The same part of the same slice is on both, with equal lightness."""
    assert colored.width() == pytest.approx(gray.width(), abs=12)
    parts = [body(native) for native in (colored, gray)]
    for one, other in zip(*parts, strict=True):
        assert one.stop - one.start == pytest.approx(other.stop - other.start, abs=5)
    is_colorful = [np.ptp(pixels(native), axis=-1) > 12 for native in (colored, gray)]
    assert is_colorful[0][parts[0]].mean() > 0.5
    assert is_colorful[1][parts[1]].mean() < 0.02
    medians = [
        np.median(lightness(native)[part])
        for native, part in zip((colored, gray), parts, strict=True)
    ]
    assert medians[0] == pytest.approx(medians[1], abs=1)


def test_fit_to_body_fills_every_plane_with_the_body(docked, link, qtbot):
    (layer,) = docked.viewer.layers
    layer.contrast_limits = (-500, -300)  # the body is white
    open_planes(docked, link, qtbot)
    for _, viewer in natives(link):
        viewer.scene.camera.zoom *= 0.4
        viewer.scene.camera.center = np.add(viewer.scene.camera.center, (0, 30, -25))
    press(docked.view.view_controls.fit)
    for native, _ in natives(link):
        rows, columns = body(native)
        height, width = pixels(native).shape[:2]
        share = (rows.stop - rows.start) / height, (columns.stop - columns.start) / width
        assert 0.86 < max(share) < 0.97
        assert (rows.start + rows.stop) / 2 == pytest.approx(height / 2, abs=0.03 * height)
        assert (columns.start + columns.stop) / 2 == pytest.approx(width / 2, abs=0.03 * width)


def test_the_switch_of_the_wheel_is_for_every_canvas(docked, link, qtbot):
    open_planes(docked, link, qtbot)
    switch = docked.view.view_controls.wheel
    for scrolls in (True, False, True):
        if wheel_scrolls() is not scrolls:
            press(switch)
        assert wheel_scrolls() is switch.isChecked() is scrolls
        for native, viewer in natives(link):
            axis = viewer.dims.order[-3]
            index, zoom = viewer.dims.current_step[axis], viewer.scene.camera.zoom
            turn_wheel(native, 1)
            if scrolls:
                assert viewer.dims.current_step[axis] == index + 1
                assert viewer.scene.camera.zoom == zoom
            else:
                qtbot.waitUntil(lambda camera=viewer.scene.camera, was=zoom: camera.zoom > was)
                assert viewer.dims.current_step[axis] == index


# The value at the cursor


def drawn_text(image):
    """The pixels of the white text in a picture, as floats (y, x)."""
    bright = colors(image).min(axis=-1) / 255.0
    y, x = np.nonzero(bright > 0.6)
    assert len(x), "no text is drawn"
    rows, columns = slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1)
    return np.where(bright > 0.4, bright, 0)[rows, columns]  # without what shines through the box


def ideal(text, widget):
    """A text in the font of a widget, as `drawn_text` returns it."""
    image = QImage(600, 60, QImage.Format.Format_RGB32)
    image.fill(QColor(0, 0, 0))
    painter = QPainter(image)
    painter.setFont(widget.font())
    painter.setPen(QColor("white"))
    painter.drawText(10, 40, text)
    painter.end()
    return drawn_text(image)


def likeness(first, second):
    """How much two pictures of texts agree, up to 1; they may be apart by a pixel."""
    shape = np.maximum(first.shape, second.shape) + 2
    a = np.pad(first, [(1, n - m - 1) for n, m in zip(shape, first.shape, strict=True)])
    b = np.pad(second, [(1, n - m - 1) for n, m in zip(shape, second.shape, strict=True)])
    shifts = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return max(np.corrcoef(a.ravel(), np.roll(b, by, (0, 1)).ravel())[0, 1] for by in shifts)


#: Voxels along y (sagittal plane) or x (coronal plane); in the axial plane, both.
PLACES = {
    "Cortical bone": ((22, 20), 20, 24),
    "Liver": ((24, 10), 10, 14),
    "Fat": ((7, 20), 6, 7),
    "": ((2, 2), 2, 2),
}


def test_value_and_tissue_are_drawn_beside_the_cursor(docked, link, qtbot, small_ct):
    coloring = colorize(docked, qtbot)
    coloring.ct_layer.contrast_limits = (2000, 3000)  # all is black but for what is drawn over it
    lit = coloring.layer.data
    qtbot.waitUntil(lambda: lit.settings.window.center == pytest.approx(2500, abs=1))
    open_planes(docked, link, qtbot)
    switch = docked.view.view_controls.value
    press(switch)
    assert link.shows_value and switch.isChecked()
    for native, viewer in natives(link):
        plane = viewer.dims.order[-3]
        index = viewer.dims.current_step[plane]
        for tissue in ("Cortical bone", "Liver", "") if plane == 0 else ("Liver", "Fat"):
            place = PLACES[tissue][plane]
            voxel = {0: (index, *np.atleast_1d(place)), 1: (4, index, place), 2: (4, place, index)}
            hu = int(small_ct.voxels[voxel[plane]])
            point = voxel_point(viewer, small_ct, voxel[plane])
            image = picture_beside(link, qtbot, native, point)
            texts = [f"{hu + more} HU · {name}" for more in (0, 1, -10) for name in PLACES if name]
            texts += [f"{hu + more} HU" for more in (0, 1, -10)]
            like = {text: likeness(drawn_text(image), ideal(text, native)) for text in texts}
            assert max(like, key=like.get) == f"{hu} HU · {tissue}".removesuffix(" · ")
            assert max(like.values()) > 0.85
    press(switch)
    assert not any(marks_of(link, viewer).text for _, viewer in natives(link))


def picture_beside(link, qtbot, native, point):
    """The part of the window below a point on a canvas, once the cursor is there."""
    viewers = dict(natives(link))
    marks = marks_of(link, viewers[native])

    def shown():
        for other in viewers:
            if other is not native:
                leave(other)
        enter(native, point)
        move_mouse(qtbot, native, point)
        return bool(marks.text)

    qtbot.waitUntil(shown)
    picture = native.window().grab().toImage()
    corner = native.mapTo(native.window(), QPoint(0, 0))
    width = marks.fontMetrics().horizontalAdvance(marks.text) + 14
    left = max(0, min(point.x() + 10, native.width() - width))
    return picture.copy(corner.x() + left, corner.y() + point.y() + 15, width, 15)


def marks_of(link, viewer):
    """The marks over the canvas of a viewer."""
    if viewer is link.viewer:
        return link.marks
    return next(canvas.marks for canvas in link.canvases if canvas.model is viewer)


# The crosshair


def drag_to(qtbot, native, *points):
    """Press at the first point, and move to the others with the button held; a generator."""
    move_mouse(qtbot, native, points[0])
    QTest.mousePress(native, LEFT_BUTTON, Qt.KeyboardModifier.NoModifier, points[0])
    for point in points[1:]:
        move_mouse(qtbot, native, point, LEFT_BUTTON)
        yield point
    QTest.mouseRelease(native, LEFT_BUTTON, Qt.KeyboardModifier.NoModifier, points[-1])


def world(viewer, native, point):
    """Coordinates of a point on a canvas along the axes that it shows, in mm."""
    row = point.y() - native.height() / 2
    column = point.x() - native.width() / 2
    down, right = (str(way) for way in viewer.scene.camera.orientation2d)
    signs = (1 if down == "down" else -1, 1 if right == "right" else -1)
    offset = np.multiply(signs, (row, column)) / viewer.scene.camera.zoom
    return np.array(viewer.scene.camera.center[-2:]) + offset


def test_a_drag_of_the_crosshair_moves_all_planes_all_the_way(docked, link, qtbot, small_ct):
    open_planes(docked, link, qtbot)
    spacing = np.array((5.0, 4.0, 4.0))
    for native, viewer in natives(link):
        center, shown = tuple(viewer.scene.camera.center), list(viewer.dims.displayed)
        middle = native.rect().center()
        path = [middle + QPoint(-14 * k, 9 * k) for k in range(5)]
        seen = []
        for point in drag_to(qtbot, native, *path):
            qtbot.waitUntil(lambda: link.settled)
            expected = world(viewer, native, point)
            assert np.abs(link.position[shown] - expected) == pytest.approx(0, abs=3.5)
            for _, other in natives(link):
                axis = other.dims.order[-3]
                if axis in shown:
                    at = expected[shown.index(axis)]
                    assert abs(other.dims.point[axis] - at) <= spacing[axis] / 2 + 1
            check_crosshair(link, native, viewer, point)
            seen.append(tuple(link.position[shown]))
        assert len(set(seen)) == len(seen)
        assert tuple(viewer.scene.camera.center) == center
        move_mouse(qtbot, native, middle)  # after the button was released
        qtbot.waitUntil(lambda: link.settled)
        assert tuple(link.position[shown]) == seen[-1]


def check_crosshair(link, native, viewer, point):
    """Lines in the colors of the planes for which they stand meet near a point."""
    picture = colors(native.window().grab().toImage())
    corner = native.mapTo(native.window(), QPoint(0, 0))
    x, y = corner.x() + point.x(), corner.y() + point.y()
    reach = round(3.5 * viewer.scene.camera.zoom) + 2
    row_axis, column_axis = viewer.dims.displayed
    across = picture[y + 60, x - reach : x + reach + 1]
    down = picture[y - reach : y + reach + 1, x - 60]
    for line, axis in ((across, column_axis), (down, row_axis)):
        color = QColor(PLANES[axis][1]).getRgb()[:3]
        assert (np.abs(line - color).max(axis=-1) < 3).sum() == 1


def double_click(native, point):
    for act in (QTest.mouseClick, QTest.mouseDClick, QTest.mouseRelease):
        act(native, LEFT_BUTTON, Qt.KeyboardModifier.NoModifier, point)


def test_a_double_click_enlarges_each_plane_and_another_returns(docked, link, qtbot):
    open_planes(docked, link, qtbot)
    own, viewer = natives(link)[0]
    width = own.width()
    for number in range(2):
        native, model = natives(link)[1 + number]
        order = tuple(model.dims.order)
        double_click(native, native.rect().center() + QPoint(9, 5))
        qtbot.waitUntil(lambda: own.width() > 1.3 * width and link.settled)
        assert tuple(viewer.dims.order) == order
        assert not any(canvas.isVisible() for canvas in link.canvases)
        rows, columns = body(own)
        assert rows.start > 0 and columns.start > 0
        assert rows.stop < own.height() and columns.stop < own.width()
        assert columns.stop - columns.start > 0.3 * own.width()
        double_click(own, own.rect().center())
        qtbot.waitUntil(lambda: own.width() == width and link.settled)
        assert all(canvas.isVisible() for canvas in link.canvases)
        assert tuple(viewer.dims.order) == (0, 1, 2)
        for native, _ in natives(link):
            rows, columns = body(native)
            assert rows.start > 0 and columns.start > 0
            assert rows.stop < native.height() and columns.stop < native.width()
    double_click(own, own.rect().center())  # the viewer's own plane
    qtbot.waitUntil(lambda: own.width() > 1.3 * width)
    double_click(own, own.rect().center())
    qtbot.waitUntil(lambda: own.width() == width)


# Letters and scale


def test_letters_and_scale_bar_are_drawn_on_every_canvas(docked, link, qtbot):
    open_planes(docked, link, qtbot)
    for native, viewer in natives(link):
        overlays = viewer.canvas.overlays
        letters = [overlays[f"orientation_{edge}"] for edge in EDGES]
        assert [overlay.text for overlay in letters] == LETTERS[viewer.dims.order[-3]]
        height, width = native.height(), native.width()
        parts = {
            "left": np.s_[height // 3 : -height // 3, : width // 8],
            "right": np.s_[height // 3 : -height // 3, -width // 8 :],
            "top": np.s_[: height // 6, width // 3 : -width // 3],
            "bottom": np.s_[-height // 6 :, width // 3 : -width // 3],
        }
        for edge, overlay in zip(EDGES, letters, strict=True):
            text, before = overlay.text, pixels(native)
            overlay.text = " "
            changed = np.abs(pixels(native) - before).max(axis=-1) > 100
            assert changed[parts[edge]].sum() > 15, edge
            if edge != "top":  # the scale bar moves up
                assert changed.sum() == changed[parts[edge]].sum()
            overlay.text = text
        before = pixels(native)
        overlays.scale_bar.visible = False
        changed = np.abs(pixels(native) - before).max(axis=-1) > 100
        assert changed[: height // 4].any(axis=0).sum() > 30  # a line as long as that
        overlays.scale_bar.visible = True
