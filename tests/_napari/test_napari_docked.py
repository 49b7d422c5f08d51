"""Panels become tabs of one dock, and the user's arrangement is kept."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

from tomochrome._napari.kit.panel_bases import DockedPanel

pytestmark = pytest.mark.gui

LEFT = Qt.DockWidgetArea.LeftDockWidgetArea


class Panel(DockedPanel):
    tab = "Short"


@pytest.fixture
def main(window):
    yield window.window._qt_window
    for widget in list(window.window.dock_widgets.values()):
        if isinstance(widget, DockedPanel):
            widget.release()
    window.window.remove_dock_widget("all")


@pytest.fixture
def dock(window, qtbot):
    """A function that docks a widget, by default a panel of this plugin."""

    def add(name, widget=None, **options):
        widget = widget or Panel()
        added = window.window.add_dock_widget(widget, name=name, **options)
        if isinstance(widget, Panel):
            placed(widget, qtbot)
        return added

    return add


def placed(panel, qtbot):
    qtbot.waitUntil(lambda: panel.parentWidget().windowTitle() == panel.tab, timeout=5000)
    qtbot.wait(20)


def in_front(dock):
    return not dock.visibleRegion().isEmpty()


def test_the_panels_from_the_menu_are_tabs_and_the_last_is_in_front(window, main, qtbot):
    docks = []
    for name in ("Scan", "Register & checkerboard", "Colorize volume"):
        added, panel = window.window.add_plugin_dock_widget("napari-tomochrome", name)
        placed(panel, qtbot)
        assert set(main.tabifiedDockWidgets(added)) == set(docks)
        qtbot.waitUntil(lambda added=added: in_front(added))
        docks.append(added)
    scan, _, colorize = docks
    assert [dock.windowTitle() for dock in docks] == ["Scan", "Register", "Colorize"]
    assert not in_front(scan)
    qtbot.waitUntil(lambda: colorize.height() > 0.7 * main.height())


def test_other_widgets_and_sides_are_unchanged(main, dock):
    foreign = dock("Foreign", QLabel("someone else's"), area="right")
    left = dock("First", area="left")
    right = dock("Second", area="right")
    assert not main.tabifiedDockWidgets(foreign)
    assert not main.tabifiedDockWidgets(left)
    third = dock("Third", area="left")
    assert main.tabifiedDockWidgets(third) == [left]
    assert not main.tabifiedDockWidgets(right)


def test_the_user_s_arrangement_is_kept(main, dock, qtbot):
    first, second = dock("First", area="right"), dock("Second", area="right")
    assert main.tabifiedDockWidgets(second) == [first]
    main.addDockWidget(LEFT, second)  # dragged to the other side
    second.hide()
    second.show()
    qtbot.wait(10)
    assert main.dockWidgetArea(second) == LEFT
    assert not main.tabifiedDockWidgets(second)
    second.setFloating(True)
    third = dock("Third", area="left")
    assert not main.tabifiedDockWidgets(third)
    assert second.isFloating()


def test_a_closed_panel_gets_no_tab(main, dock):
    first = dock("First", area="right")
    first.hide()
    second = dock("Second", area="right")
    assert not main.tabifiedDockWidgets(second)
    assert first.isHidden()


def test_the_menu_brings_a_panel_behind_another_tab_to_the_front(window, main, qtbot):
    def choose():  # what napari's menu does: it closes panels that are open, seen or not
        scan.setVisible(not scan.isVisible())

    for name in ("Scan", "Register & checkerboard"):
        _, panel = window.window.add_plugin_dock_widget("napari-tomochrome", name)
        placed(panel, qtbot)
    (scan,) = main.tabifiedDockWidgets(panel.parentWidget())
    qtbot.waitUntil(lambda: not in_front(scan))
    choose()
    qtbot.waitUntil(lambda: in_front(scan), timeout=5000)
    choose()
    qtbot.wait(20)
    assert scan.isHidden()
