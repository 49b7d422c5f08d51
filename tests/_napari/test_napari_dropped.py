"""Items dropped on a real window: each is opened, whole in view, and messages can be read."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from napari._qt.dialogs.qt_notification import NapariQtNotification
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QMimeData, QPointF, QPropertyAnimation, QSettings, Qt, QTimer, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from tomochrome import io
from tomochrome._napari.kit import notifications
from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.kit.notifications import show_message
from tomochrome._napari.series import opening, recent_scans
from tomochrome._napari.series.series_picker import SeriesPicker
from tomochrome._napari.viewer.linked_planes import OFF, PLANES_MODE, LinkedPlanes
from tomochrome._napari.viewer.view_fit import is_seen
from tomochrome.runtime import check
from tomochrome.volume import Provenance, Volume

pytestmark = pytest.mark.gui

HOUR_MS = 3_600_000
LONG = (
    "Thorax 5 mm: The slices were tilted by 18.5 degrees; they were straightened, and 3 slices "
    "between 210 and 225 mm are missing and were filled by interpolation. Also found: 2 other "
    "series (not CT); 14 files that are no images (a document or a program, …)."
)


@pytest.fixture(scope="module")
def main(window):
    """napari's window, visible, without the user's choice of a reader."""
    main = window.window._qt_window
    main.setUpdatesEnabled(True)
    main.resize(1200, 800)
    NapariQtNotification._instances.clear()  # of windows that other tests closed
    notification_manager.notification_ready.connect(NapariQtNotification.show_notification)
    yield main
    notification_manager.notification_ready.disconnect(NapariQtNotification.show_notification)


@pytest.fixture
def drop(main, window, qtbot):
    """A function that drops paths on the canvas; napari's question about the reader is answered."""
    from napari._qt.dialogs import qt_reader_dialog

    def drop(*paths):
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        event = QDropEvent(
            QPointF(100, 100), Qt.DropAction.CopyAction, mime,
            Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier,
        )  # fmt: skip
        main._qt_viewer.dropEvent(event)

    answer = patch.object(
        qt_reader_dialog.QtReaderDialog, "get_user_choices", lambda _: ("Tomochrome", False)
    )
    with answer:
        yield drop
    for dialog in [*NapariQtNotification._instances]:
        dialog.close()
    for panel in [*window.window.dock_widgets.values()]:
        if isinstance(panel, SeriesPicker):
            panel.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()
    qtbot.wait(10)


@pytest.fixture
def scans(tmp_path, small_ct):
    """Four files, of which the second is damaged."""
    paths = [tmp_path / f"scan {n}.nii.gz" for n in range(4)]
    for number, path in enumerate(paths):
        affine = small_ct.affine.copy()
        affine[:3, 3] += 150 * number
        provenance = Provenance(source="phantom", kind="phantom", modality="CT")
        io.write(Volume(small_ct.voxels, affine, "HU", provenance), path)
    paths[1].write_bytes(b"\x1f\x8b damaged")
    return paths


def names(window):
    return sorted(layer.name for layer in window.layers)


def test_one_that_is_damaged_does_not_stop_the_others(drop, window, scans, monkeypatch):
    for owner, name in ((NapariQtNotification, "DISMISS_AFTER"), (notifications, "_MIN_MS")):
        monkeypatch.setattr(owner, name, HOUR_MS)  # however long the others take
    drop(*scans)
    assert names(window) == ["scan 0", "scan 2", "scan 3"]
    (dialog,) = NapariQtNotification._instances
    assert "scan 1.nii.gz" in dialog.message.text()


def test_a_folder_without_images_does_not_stop_the_others(drop, window, scans, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("Dear colleague")
    drop(scans[0], tmp_path / "letters", scans[2])
    assert names(window) == ["scan 0", "scan 2"]
    (dialog,) = NapariQtNotification._instances
    assert "letters" in dialog.message.text() and "plugin" not in dialog.message.text()


def test_each_is_whole_in_view_when_it_opens(drop, window, scans, qtbot):
    for path in (scans[0], *scans[2:]):
        drop(path)
        qtbot.waitUntil(lambda: is_seen(window, window.layers[-1]))


def test_two_drops_in_quick_succession(drop, window, scans):
    QTimer.singleShot(0, lambda: drop(scans[2]))  # while the first is read
    drop(scans[0], scans[3])
    assert names(window) == ["scan 0", "scan 2", "scan 3"]


def test_cancelling_one_opens_the_others(drop, window, scans, monkeypatch, qapp):
    read = opening.io.read
    asked = []

    def slow(item, *args):
        if "scan 2" in str(item):
            asked.append(item)
            while True:
                check()
        return read(item, *args)

    def cancel():
        for widget in qapp.topLevelWidgets():
            if type(widget).__name__ == "QProgressDialog" and asked:
                widget.canceled.emit()
                return
        QTimer.singleShot(10, cancel)

    monkeypatch.setattr(opening.io, "read", slow)
    QTimer.singleShot(10, cancel)
    drop(scans[0], scans[2], scans[3])
    assert names(window) == ["scan 0", "scan 3"]
    assert not NapariQtNotification._instances


@pytest.mark.parametrize("folder_first", [True, False])
def test_files_and_folders_with_a_choice(drop, window, scans, cd, folder_first):
    drop(*((cd, scans[0]) if folder_first else (scans[0], cd)))
    (picker,) = window.window.dock_widgets.values()
    assert len(picker.listing.items) == 4
    assert names(window) == ["scan 0"]


def drag_and_drop(canvas, *paths):
    """Drag files over a canvas and drop them, as Qt delivers it: to what accepts the drag."""
    mime, point = QMimeData(), canvas.rect().center()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    held = Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    entering = QDragEnterEvent(point, *held)
    QApplication.sendEvent(canvas, entering)
    assert entering.isAccepted()
    QApplication.sendEvent(canvas, QDropEvent(QPointF(point), *held))


def test_items_dropped_with_the_mouse_on_any_canvas(drop, main, window, scans, qtbot):
    drag_and_drop(main._qt_viewer.canvas.native, scans[0])
    assert names(window) == ["scan 0"]
    link = follower_of(window, LinkedPlanes)
    link.open(PLANES_MODE)
    qtbot.waitUntil(lambda: len(link.canvases) == 2 and link.settled)
    drag_and_drop(link.canvases[1].native, scans[2], scans[3])  # they belong to the viewer
    assert names(window) == ["scan 0", "scan 2", "scan 3"]
    qtbot.waitUntil(lambda: is_seen(window, window.layers[-1]))
    link.open(OFF)


# Messages


def unfolded(dialog, qtbot):
    done = dialog.geom_anim.state
    qtbot.waitUntil(lambda: done() == QPropertyAnimation.State.Stopped)
    return dialog


@pytest.mark.parametrize("severity", ["info", "warning", "error"])
def test_a_long_message_is_whole_and_stays_until_it_is_read(drop, qtbot, severity):
    show_message(LONG, severity)
    dialog = unfolded(NapariQtNotification._instances[-1], qtbot)
    label = dialog.message
    assert label.text() == LONG
    assert label.textInteractionFlags() & Qt.TextInteractionFlag.TextSelectableByMouse
    needed = label.fontMetrics().boundingRect(
        0, 0, label.contentsRect().width(), 10_000, Qt.TextFlag.TextWordWrap, LONG
    )
    assert dialog.property("expanded")
    qtbot.waitUntil(lambda: label.contentsRect().height() >= needed.height())
    assert dialog.geometry().top() >= 0
    assert dialog.geometry().bottom() <= dialog.parent().height()
    assert dialog.timer.interval() > 15_000


@pytest.mark.parametrize("text", ["Line: mm. Polyline of 3 points: angle.", LONG[:400]])
def test_a_message_is_whole_beside_linked_planes(drop, window, scans, qtbot, text):
    drop(scans[0])
    link = follower_of(window, LinkedPlanes)
    link.open(PLANES_MODE)
    qtbot.waitUntil(lambda: len(link.canvases) == 2 and link.settled)
    canvas = window.window._qt_viewer.canvas.native
    size = window.window._qt_window.size()
    window.window._qt_window.resize(size.width() - 200, size.height())
    qtbot.waitUntil(lambda: canvas.width() < NapariQtNotification.MIN_WIDTH)
    show_message(text)
    dialog = unfolded(NapariQtNotification._instances[-1], qtbot)
    label = dialog.message
    wrap = Qt.TextFlag.TextWordWrap

    def is_whole():
        inside = label.contentsRect()
        needed = label.fontMetrics().boundingRect(0, 0, inside.width(), 10_000, wrap, text)
        return inside.height() >= needed.height() and inside.width() >= needed.width()

    qtbot.waitUntil(is_whole)
    assert canvas.rect().contains(dialog.geometry())
    dialog.close()
    link.open(OFF)
    window.window._qt_window.resize(size)


def test_a_short_message_is_as_napari_shows_it(drop):
    show_message("Saved.")
    assert not NapariQtNotification._instances[-1].property("expanded")


def test_an_error_of_a_reader_is_whole(drop, scans, qtbot):
    with notification_manager, pytest.raises(Exception, match=r"scan 1\.nii\.gz") as raised:
        drop(scans[1])
    error = raised.value
    notification_manager.receive_error(type(error), error, error.__traceback__)
    assert unfolded(NapariQtNotification._instances[-1], qtbot).property("expanded")


def test_notifications_of_others_are_as_they_were(drop):
    from napari.utils.notifications import show_info

    show_info(LONG)
    assert not NapariQtNotification._instances[-1].property("expanded")


# Recent scans


@pytest.fixture(autouse=True)
def no_recent():
    recent_scans.keep_recent(True)
    recent_scans.clear_recent()


def test_what_was_opened_last_is_first_and_can_be_opened_again(drop, window, scans, cd, qtbot):
    drop(scans[0], scans[1], scans[2])
    drop(cd)
    assert recent_scans.recent_paths() == [cd, scans[2], scans[0]]  # not what failed
    (picker,) = window.window.dock_widgets.values()
    menu = picker.view.recent.menu()
    menu.aboutToShow.emit()
    actions = [action for action in menu.actions() if action.toolTip() == str(scans[0])]
    window.layers.clear()
    actions[0].trigger()
    qtbot.waitUntil(lambda: names(window) == ["scan 0"])
    assert recent_scans.recent_paths() == [scans[0], cd, scans[2]]


def choose_in_menu(qapp, button, text):
    """Open the menu of a button with the mouse, and click on the entry that begins with a text."""
    left = Qt.MouseButton.LeftButton

    def choose():
        menu = qapp.activePopupWidget()
        if menu is None:
            QTimer.singleShot(10, choose)
            return
        entry = next(action for action in menu.actions() if action.text().startswith(text))
        QTest.mouseClick(menu, left, pos=menu.actionGeometry(entry).center())

    QTimer.singleShot(10, choose)
    QTest.mouseClick(button, left)


def test_a_recent_scan_is_opened_again_with_the_mouse(drop, window, scans, cd, qapp, qtbot):
    drop(scans[0], scans[2])
    drop(cd)
    (picker,) = window.window.dock_widgets.values()
    window.layers.clear()
    button = picker.view.recent
    assert button.visibleRegion().contains(button.rect().center())
    choose_in_menu(qapp, button, scans[0].name)
    qtbot.waitUntil(lambda: names(window) == ["scan 0"])
    qtbot.waitUntil(button.isEnabled)
    choose_in_menu(qapp, button, "Clear the list")
    qtbot.waitUntil(lambda: recent_scans.recent_paths() == [])


def test_the_list_can_be_cleared_and_turned_off(drop, window, scans, cd):
    drop(cd)
    (picker,) = window.window.dock_widgets.values()
    menu = picker.view.recent.menu()

    def choose(text):
        menu.aboutToShow.emit()
        next(action for action in menu.actions() if action.text() == text).trigger()

    choose("Clear the list")
    assert recent_scans.recent_paths() == []
    drop(scans[0])
    choose("Keep a list")
    assert recent_scans.recent_paths() == []
    drop(scans[2])
    assert recent_scans.recent_paths() == []
    choose("Keep a list")
    drop(scans[3])
    assert recent_scans.recent_paths() == [scans[3]]


def test_the_list_is_short_and_survives_what_others_wrote(tmp_path):
    for number in range(20):
        recent_scans.note_opened(tmp_path / str(number))
    assert len(recent_scans.recent_paths()) == recent_scans.MAX_RECENT
    assert recent_scans.recent_paths()[0].name == "19"
    settings = recent_scans.settings_store()
    for junk in (5, [], ["", "a"], {"a": 1}, np.bool_(True)):
        settings.setValue("recent/paths", junk)
        assert all(path.name for path in recent_scans.recent_paths())
    assert isinstance(settings, QSettings)
