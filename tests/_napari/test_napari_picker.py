"""The "Choose a series" panel in a real window, used like by a radiologist."""

from __future__ import annotations

import shutil
import time
import weakref

import numpy as np
import pytest
from endings import wait_until_freed, wait_until_threads_end
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

from tomochrome import io
from tomochrome._napari.series import series_picker as picker_module
from tomochrome._napari.series.reader import read_layers
from tomochrome._napari.series.series_list import Role, SeriesList, SeriesModel, tool_tip
from tomochrome._napari.series.series_order import can_be_opened
from tomochrome._napari.series.series_picker import SeriesPicker, show_picker
from tomochrome.io import Item, Listing, Skipped
from tomochrome.notices import Notice
from tomochrome.runtime import check, report

pytestmark = pytest.mark.gui


@pytest.fixture
def picker(window, cd, qtbot):
    """The picker as the reader docks it, over the CD."""
    assert read_layers(str(cd)) == [(None,)]
    (widget,) = window.window.dock_widgets.values()
    assert isinstance(widget, SeriesPicker)
    yield widget
    widget.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()
    qtbot.wait(10)


def titles(picker):
    return [item.title for item in picker.view.series.series.items]


def previews_made(picker, qtbot):
    qtbot.waitUntil(lambda: not picker.previews.running, timeout=20_000)
    qtbot.wait(20)


def opened(picker, qtbot, count):
    qtbot.waitUntil(lambda: len(picker.viewer.layers) == count, timeout=20_000)
    qtbot.waitUntil(lambda: not picker.running, timeout=20_000)


def test_what_can_be_opened_comes_first_and_the_rest_says_why_not(picker):
    items = picker.view.series.series.items
    assert sorted(titles(picker)[:2]) == ["Thorax 5 mm", "Thorax lung"]
    assert titles(picker)[2:] == ["Lost", "Scout"]
    lost = items[2]
    assert not can_be_opened(lost)
    assert "position" in tool_tip(lost)
    assert "Unreadable" in tool_tip(lost)
    index = picker.view.series.series.index(2)
    assert not index.flags() & Qt.ItemFlag.ItemIsSelectable
    assert "localizer" in tool_tip(items[3])
    assert [item.title for item in picker.view.series.chosen()] == titles(picker)[:1]


def test_nothing_of_the_patient_is_on_the_panel(picker, identity):
    view, model = picker.view, picker.view.series.series
    words = [view.summary.text(), view.skipped.text(), view.skipped.toolTip(), view.message.text()]
    for row in range(model.rowCount()):
        index = model.index(row)
        words += [index.data(), index.data(Qt.ItemDataRole.ToolTipRole)]
    assert not [word for word in identity if word in " ".join(words)]


def test_skipped_files_are_counted_with_their_reasons(picker):
    view = picker.view
    assert view.skipped.isVisible()
    assert view.skipped.text() == "1 file skipped"
    assert not view.reasons.isVisible()
    view.skipped.click()
    assert view.reasons.isVisible()
    assert view.reasons.text().startswith("1 × ")


def test_previews_come_after_the_list(picker, qtbot):
    previews_made(picker, qtbot)
    model = picker.view.series.series
    pictures = [model.index(row).data(Role.PICTURE) for row in range(model.rowCount())]
    assert all(picture is not None for picture in pictures)
    assert model.without_picture() == []
    picker.view.series.viewport().repaint()


def test_a_double_click_opens_the_series(picker, qtbot):
    view = picker.view.series
    index = view.series.index(1)
    place = view.visualRect(index).center()
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseDClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    opened(picker, qtbot, 1)
    (layer,) = picker.viewer.layers
    assert layer.name == titles(picker)[1]
    assert index.data(Role.OPENED)
    assert picker.view.message.text() == f"Opened {layer.name}."


def test_the_value_under_the_cursor_is_in_the_status_bar(picker, qtbot, small_ct):
    picker.run()
    opened(picker, qtbot, 1)
    picker.run()
    opened(picker, qtbot, 2)
    bar = picker.viewer.window._qt_window.statusBar()
    (label,) = bar.findChildren(QLabel, "tomochrome-value")  # once, however many were opened
    layer = picker.viewer.layers[0]
    picker.viewer.cursor.position = layer.data_to_world((6, 24, 20))
    assert label.text() == "700 HU"
    picker.viewer.layers.clear()
    assert label.text() == ""


def test_several_are_opened_together(picker, qtbot):
    view = picker.view
    view.series.choose([0, 1])
    assert view.run.isEnabled()
    view.run.click()
    assert picker.running
    assert not view.run.isEnabled()
    opened(picker, qtbot, 2)
    assert [layer.name for layer in picker.viewer.layers] == titles(picker)[:2]
    assert view.run.isEnabled()


def test_nothing_chosen_opens_nothing(picker, qtbot):
    picker.view.series.clearSelection()
    assert not picker.view.run.isEnabled()
    picker.run()
    assert not picker.running
    picker.open([picker.view.series.series.items[2]])  # cannot be opened
    assert not picker.running


def slow_reading(*_, **__):
    """A replacement for reading that a test can pause."""
    while True:
        check()
        report(1, 10_000, "reading slices")
        time.sleep(0.005)


def test_reading_is_cancelled_at_its_next_check(picker, qtbot, monkeypatch):
    monkeypatch.setattr(io, "read", slow_reading)
    picker.run()
    thread = picker.jobs.job._thread
    qtbot.waitUntil(lambda: "Reading slices" in picker.view.progress.format(), timeout=5000)
    assert picker.view.progress.isVisible()
    picker.view.cancel.click()
    qtbot.waitUntil(lambda: not picker.running, timeout=20_000)
    thread.join(600)
    assert not thread.is_alive()
    assert len(picker.viewer.layers) == 0
    assert "Cancelled" in picker.view.message.text()
    assert not picker.view.progress.isVisible()


def cut(item):
    """Cut all slices short; a single one would be a missing slice."""
    for header in item.source.headers:
        header.path.write_bytes(header.path.read_bytes()[:900])


def test_a_damaged_series_gives_a_one_sentence_error(picker, qtbot):
    (item,) = picker.view.series.chosen()
    cut(item)
    picker.run()
    qtbot.waitUntil(lambda: not picker.running, timeout=20_000)
    assert len(picker.viewer.layers) == 0
    text = picker.view.message.text()
    assert text.endswith(".")
    assert "Traceback" not in text


def test_a_damaged_series_does_not_affect_the_others(picker, qtbot):
    picker.view.series.choose([0, 1])
    first, second = picker.view.series.chosen()
    cut(first)
    picker.run()
    opened(picker, qtbot, 1)
    assert picker.viewer.layers[0].name == second.title
    assert picker.view.message.text().startswith(f"{first.title}: ")


def test_an_unexpected_error_gives_a_message_and_a_log_entry(picker, qtbot, monkeypatch, caplog):
    def broken(*_, **__):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(picker_module, "open_item", broken)
    picker.run()
    qtbot.waitUntil(lambda: not picker.running, timeout=5000)
    assert "by zero" in picker.view.message.text()
    assert caplog.records[-1].exc_info is not None


def test_a_folder_with_one_ct_opens_at_once_from_the_panel(picker, qtbot, cd):
    picker.look_at(cd / "DOE_one")
    opened(picker, qtbot, 1)
    assert picker.viewer.layers[0].name == "Thorax 5 mm"
    assert titles(picker) == ["Thorax 5 mm"]


def test_an_empty_folder_gives_a_message(picker, qtbot, tmp_path):
    (tmp_path / "empty").mkdir()
    picker.look_at(tmp_path / "empty")
    qtbot.waitUntil(lambda: not picker.running, timeout=20_000)
    assert "empty" in picker.view.message.text()


def test_a_second_drop_uses_the_same_panel(picker, window, cd):
    again = show_picker(window, Listing((), (Skipped("a", "no"),)))
    assert again is picker
    assert titles(picker) == []
    assert not picker.view.run.isEnabled()


def test_folders_dropped_together_are_listed_together(picker, window, cd, tmp_path):
    other = tmp_path / "another CD"
    shutil.copytree(cd, other)
    before = titles(picker)
    window.open([str(other), str(cd)], plugin="napari-tomochrome")
    assert sorted(titles(picker)) == sorted(before * 2)  # and the one listed already only once
    window.open(str(other), plugin="napari-tomochrome")
    assert sorted(titles(picker)) == sorted(before)


def test_series_are_listed_and_read_by_workers(picker, qtbot, gui_work, cd):
    picker.look_at(cd)
    qtbot.waitUntil(lambda: not picker.running, timeout=20_000)
    previews_made(picker, qtbot)
    picker.run()
    opened(picker, qtbot, 1)
    assert gui_work.idle, (gui_work.long, gui_work.imported)
    assert {"find", "preview", "read"} <= set(gui_work.elsewhere)


def test_a_long_list_draws_only_visible_rows(qtbot, monkeypatch):
    items = [
        Item(f"/{n}", "dicom-series", title=f"Series {n}", shape=(300, 512, 512),
             spacing=(1.0, 0.7, 0.7), modality="CT", verdict="irregular",
             warnings=(Notice("geometry", "warning", "the slices are uneven"),) * 2)
        for n in range(400)
    ]  # fmt: skip
    view = SeriesList()
    qtbot.addWidget(view)
    view.resize(380, 700)
    view.show()
    view.series.show(items)
    for row in range(400):
        view.series.set_picture(items[row], np.zeros((76, 76), np.uint8))
    qtbot.wait(1)
    painted = []
    delegate = view.itemDelegate()
    paint = type(delegate).paint

    def noted(self, painter, option, index):
        painted.append(index.row())
        paint(self, painter, option, index)

    monkeypatch.setattr(type(delegate), "paint", noted)
    view.scrollToBottom()
    view.viewport().repaint()
    qtbot.waitUntil(lambda: bool(painted))  # X may show the window only now
    qtbot.wait(20)
    assert len(set(painted)) < 40


def test_the_qt_model_is_valid():
    model = SeriesModel()
    model.show([Item("/a", "nifti"), Item("/b", "dicom-series", modality="MR", verdict="not-ct")])
    assert [model.index(row).data() for row in range(2)] == ["a", "MR series"]
    assert model.index(5).data() is None
    assert model.data(model.index(0), Qt.ItemDataRole.EditRole) is None


def test_closing_the_window_stops_everything(qtbot, open_viewer, cd, monkeypatch):
    monkeypatch.setattr(io, "read", slow_reading)
    with open_viewer() as viewer:
        picker = show_picker(viewer, io.find(cd))
        picker.run()
        job = picker.jobs.job
        qtbot.wait(50)
    assert job.wait(600)
    assert picker.released
    gone = weakref.ref(picker)
    del picker, job, viewer
    wait_until_freed(qtbot, gone)
    wait_until_threads_end(qtbot)
