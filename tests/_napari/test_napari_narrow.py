"""Panels in narrow windows and large fonts: nothing is cut off, and the image keeps its room."""

from __future__ import annotations

from dataclasses import replace

import pytest
from napari.layers import Layer
from napari.settings import get_settings
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QFontInfo, QGuiApplication
from qtpy.QtWidgets import QDockWidget, QLabel, QPushButton, QTabBar, QWidget
from quick_colorize import simple_colorize

from tomochrome._napari.export.export_panel import ExportPanel
from tomochrome._napari.kit.controls import MessageLabel, NumberBox, Section, ValueSlider
from tomochrome._napari.kit.narrow_widgets import (
    MAX_MINIMUM_PX,
    ElidedButton,
    ElidedComboBox,
    WrappingRow,
    elided,
)
from tomochrome._napari.kit.panel_bases import DockedPanel
from tomochrome._napari.layers.volume_layers import volume_layer

pytestmark = pytest.mark.gui

PANELS = (
    "Open a scan",
    "Scan",
    "Colorize volume",
    "Register & checkerboard",
    "Export",
    "Color hints",
    "Color a photograph",
    "Restore",
)
LONG = "Thorax mit KM arteriell 1.0 B31f_and_a_word_that_is_longer_than_any_panel_is_wide_and_more"
MAX_PANEL_PX = 305
MAX_BORDERS_PX = 60


def test_the_settings_of_the_user_are_neither_read_nor_written():
    assert get_settings().config_path is None


def long_name(volume, name=LONG):
    return replace(volume, provenance=replace(volume.provenance, title=name))


@pytest.fixture
def font_size():
    """A function that sets napari's font size for this test."""
    appearance = get_settings().appearance
    before = appearance.font_size

    def set_size(points):
        appearance.font_size = points

    yield set_size
    appearance.font_size = before


@pytest.fixture
def main(window):
    """The main window of napari, small, with its panels removed afterwards."""
    main = window.window._qt_window
    main.setUpdatesEnabled(True)
    main.resize(1100, 700)
    yield main
    for widget in list(window.window.dock_widgets.values()):
        if isinstance(widget, DockedPanel):
            widget.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()
    main.setUpdatesEnabled(False)


@pytest.fixture
def panels(window, main, small_ct, qtbot, monkeypatch):
    """All panels as tabs over two scans with long names, one of them colored."""
    monkeypatch.setattr("tomochrome.colorization.colorize", simple_colorize)
    for name in (LONG, f"second {LONG}"):
        window.add_layer(Layer.create(*volume_layer(long_name(small_ct, name))))
    opened = {}
    for name in PANELS:
        dock, panel = window.window.add_plugin_dock_widget("napari-tomochrome", name)
        qtbot.waitUntil(lambda d=dock, p=panel: d.windowTitle() == p.tab)
        opened[name] = panel
    busy = [panel.loading for panel in opened.values() if hasattr(panel, "loading")]
    qtbot.waitUntil(lambda: not any(job.running for job in busy))
    colorize = opened["Colorize volume"]
    colorize.run()
    qtbot.waitUntil(lambda: not colorize.running)
    settle(qtbot)
    return opened


def settle(qtbot):
    """Let Qt apply style sheets and lay out; each step may need one turn of the event loop."""
    for _ in range(8):
        qtbot.wait(1)


def test_the_canvas_is_wide_in_a_small_window_with_all_tabs(window, main, panels):
    assert main.width() == 1100
    for panel in panels.values():
        assert panel.width() <= MAX_PANEL_PX
        assert panel.minimumSizeHint().width() <= MAX_MINIMUM_PX
    left = max(
        dock.width() for dock in main.findChildren(QDockWidget)
        if main.dockWidgetArea(dock) == Qt.DockWidgetArea.LeftDockWidgetArea
    )  # fmt: skip
    canvas = window.window._qt_viewer.canvas.native.width()
    assert canvas >= main.width() - left - MAX_PANEL_PX - MAX_BORDERS_PX


def check_nothing_is_cut(name, panel):
    """Check the texts of buttons, number fields and wrapped labels that are in view."""
    for button in panel.findChildren(QPushButton):
        if button.isVisible() and not isinstance(button, ElidedButton):
            needed = button.fontMetrics().horizontalAdvance(button.text().replace("&", ""))
            assert button.width() >= needed, (name, button.text())
    for box in panel.findChildren(NumberBox):
        if box.isVisible():
            needed = box.fontMetrics().horizontalAdvance(box.text())
            assert box.width() >= needed, (name, box.text())
    for label in panel.findChildren(QLabel):
        if label.isVisible() and label.wordWrap():
            assert label.height() >= label.heightForWidth(label.width()) - 1, label.text()


def test_nothing_is_cut_in_any_font(panels, font_size, qtbot):
    for points in (9, 14, 20):
        font_size(points)
        settle(qtbot)
        for name, panel in panels.items():
            panel.parentWidget().raise_()
            settle(qtbot)
            check_nothing_is_cut(name, panel)


def test_headings_and_lists_follow_the_font_size(panels, font_size, qtbot):
    colorize, scan = panels["Colorize volume"], panels["Scan"]
    legend = colorize.view.legend

    def size(widget):
        return QFontInfo(widget.font()).pointSizeF()

    for points in (12, 20):
        font_size(points)
        qtbot.waitUntil(lambda: size(legend.list) == size(legend.hint))
        text = size(legend.hint)
        assert text >= points
        for section in colorize.findChildren(Section):
            assert size(section.heading) == text
        assert size(legend.list.header()) == text
        assert size(scan.view.title) == pytest.approx(1.2 * text, abs=0.6)
        assert size(panels["Export"].view.path) == text
        assert size(panels["Open a scan"].view.search) == text


def test_the_tabs_keep_their_names_and_scroll(main, panels):
    direct = Qt.FindChildOption.FindDirectChildrenOnly
    bars = [bar for bar in main.findChildren(QTabBar, options=direct) if bar.count() > 1]
    assert bars
    for bar in bars:
        assert bar.usesScrollButtons()
        assert bar.elideMode() == Qt.TextElideMode.ElideNone
    names = {bar.tabText(number) for bar in bars for number in range(bar.count())}
    assert {panel.tab for panel in panels.values()} <= names


def test_the_content_to_export_is_elided_and_not_cut(window, main, small_ct, qtbot):
    window.add_layer(Layer.create(*volume_layer(long_name(small_ct))))
    panel = ExportPanel(window)
    window.window.add_dock_widget(panel, name="Export")
    settle(qtbot)
    box = panel.view.content
    assert box.currentText() == LONG
    shown = elided(box, box.currentText(), box.width())
    assert shown != LONG and "…" in shown
    assert shown.startswith("Thorax") and shown.endswith("more")


# The widgets


@pytest.fixture
def column(qtbot):
    """An empty widget on screen."""
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


def buttons(*texts):
    return [QPushButton(text) for text in texts]


def test_a_row_wraps_only_when_it_must(column, qtbot):
    first, second, third = made = buttons("Register", "Cancel", "Load a transform")
    column.setLayout(WrappingRow((first, 2), (second, 1), (third, 2)))
    column.resize(900, 100)
    column.show()
    settle(qtbot)
    assert len({button.y() for button in made}) == 1
    assert first.width() == pytest.approx(2 * second.width(), abs=3)
    column.resize(column.minimumSizeHint().width() + 10, 300)
    settle(qtbot)
    assert first.y() < second.y() < third.y()
    assert {button.width() for button in made} == {column.width()}
    second.hide()
    settle(qtbot)
    assert first.y() < third.y() < 3 * first.height()


def test_a_row_never_squeezes_a_button(column, qtbot):
    made = buttons("A", "A much longer text than the others have", "B")
    column.setLayout(WrappingRow(*((button, 1) for button in made)))
    column.show()
    for width in range(column.minimumSizeHint().width(), 700, 23):
        column.resize(width, 200)
        settle(qtbot)
        for button in made:
            assert button.width() >= button.minimumSizeHint().width()
            assert button.geometry().right() < width


def test_a_combo_box_shrinks_and_its_list_is_as_wide_as_its_items(column, qtbot):
    box = ElidedComboBox(column)
    box.addItems([LONG, "short"])
    column.show()
    assert box.minimumSizeHint().width() < box.fontMetrics().horizontalAdvance(LONG) / 3
    box.resize(150, 24)
    assert box.grab().width() > 0  # it is drawn
    box.showPopup()
    assert box.view().width() >= box.fontMetrics().horizontalAdvance(LONG)
    box.hidePopup()


def test_a_button_shrinks(column):
    button = ElidedButton(LONG, column)
    assert button.text() == LONG
    assert button.minimumSizeHint().width() < button.sizeHint().width() / 3
    button.resize(100, 24)
    column.show()
    assert button.grab().width() > 0


@pytest.mark.parametrize(
    "text",
    [
        "Saved /home/user/a_very_long_folder_name/and-another.one/with_a_long_file_name.nii.gz",
        r"Saved C:\Users\name\Documents\case-2024.11.25_with_contrast\volume_colored.nrrd",
        "x" * 90,
        "1.2.840.113619.2.55.3.604688119.971.1234567890.123",
        "words that are short need no break",
    ],
)
def test_a_message_never_widens_the_panel_and_is_copied_as_it_was(column, text):
    label = MessageLabel("plain", column)
    label.say(text)
    assert label.text() == text
    assert label.minimumSizeHint().width() < 260
    label.setSelection(0, 10_000)
    label.copy()
    assert QGuiApplication.clipboard().text() == text


def test_a_number_is_never_squeezed_beside_its_slider(column, qtbot):
    slider = ValueSlider(-1000, 1500, suffix=" HU", value=-1000, parent=column)
    column.show()
    slider.resize(slider.minimumSizeHint().width(), 30)
    settle(qtbot)
    box = slider.box
    assert box.width() >= box.fontMetrics().horizontalAdvance("-1000 HU")
    assert box.mapTo(slider, QPoint(box.width(), 0)).x() <= slider.width()
