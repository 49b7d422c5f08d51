"""The page on keys and mouse opens from its menu and names what is bound, and that is bound."""

from __future__ import annotations

import re

import pytest
from colorize_panel_cases import colorize
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDialogButtonBox

from tomochrome._napari.colorize import keys_help
from tomochrome._napari.colorize.colorize_view import COLOR_KEY
from tomochrome._napari.colorize.keys_help import OF_NAPARI, KeysHelp, rows
from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.layers.grey_window import window_of
from tomochrome._napari.viewer.linked_planes import (
    FIT_KEY,
    GREY_MODE,
    KEYS,
    OFF,
    PLANES_MODE,
    LinkedPlanes,
)
from tomochrome._napari.viewer.window_labels import KEYS as WINDOW_KEYS
from tomochrome.windowing import PRESETS

pytestmark = pytest.mark.gui

#: By hand: the row of the page for each function of this plugin that napari calls for the mouse.
MOUSE = {
    "SliceWheel.turned": {"Wheel", "Ctrl + wheel"},
    "WindowMouse.drag": {"Right button, drag"},
    "LinkedPlanes._drag": {"Left button, drag"},
    "drag_view": {"Middle button, drag"},
    "LinkedPlanes._enlarge": {"Double click"},
    "WipeHandle._drag": {"Left button on the line"},
    "Clipping3D._drag": {"Left button on the grip"},
}


def test_every_key_is_on_the_page(qtbot):
    actions = {action.replace(" + ", "-") for _, action, _ in rows()}
    assert {COLOR_KEY, FIT_KEY, *KEYS, *WINDOW_KEYS} <= actions
    page = KeysHelp()
    qtbot.addWidget(page)
    for _, action, meaning in rows():
        assert action in page.text.text()
        assert meaning in page.text.text()


@pytest.mark.parametrize("scrolls", [True, False])
def test_the_wheel_is_described_as_it_is_set(monkeypatch, scrolls):
    monkeypatch.setattr(keys_help, "wheel_scrolls", lambda: scrolls)
    meaning = {action: text for _, action, text in rows()}
    assert ("slice" in meaning["Wheel"]) is scrolls
    assert ("slice" in meaning["Ctrl + wheel"]) is not scrolls


# In a window


@pytest.fixture
def colored(painted, window, panel, qtbot):
    """The panel over a colored scan."""
    window.window.resize(1100, 700)
    colorize(panel, qtbot)
    yield panel
    follower_of(window, LinkedPlanes).open(OFF)


def pages():
    return [x for x in QApplication.topLevelWidgets() if isinstance(x, KeysHelp) and x.isVisible()]


def action_of(menu, text):
    """The entry of a menu, or of those below it, with a text; None without one."""
    for action in menu.actions():
        if action.text().replace("&", "").startswith(text):
            return action
        if action.menu() is not None:
            action.menu().aboutToShow.emit()
            if (found := action_of(action.menu(), text)) is not None:
                return found
    return None


def test_the_page_opens_from_its_menu_and_closes(window, qtbot):
    assert not pages()
    action_of(window.window._qt_window.menuBar(), "Keys and mouse").trigger()
    (page,) = pages()
    shown = re.sub(r"<[^>]+>", "\n", page.text.text())
    for _, action, meaning in rows():
        assert action in shown and meaning in shown
    assert page.rect().contains(page.text.geometry())
    assert page.text.sizeHint().width() <= page.text.width()
    button = page.findChild(QDialogButtonBox).buttons()[0]
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not pages())


def is_ours(action):
    owner = type(getattr(action, "__self__", action)).__module__
    return any(
        str(name).startswith("tomochrome") for name in (getattr(action, "__module__", ""), owner)
    )


def test_the_page_has_the_keys_that_are_bound_and_no_others(colored):
    viewer, layer = colored.viewer, colored.coloring.layer
    bound = {str(key) for keymap in (viewer.keymap, layer.keymap) for key, action in keymap.items()
             if is_ours(action)}  # fmt: skip
    others = ("Mouse", OF_NAPARI)
    listed = {action.replace(" + ", "+") for group, action, _ in rows() if group not in others}
    assert bound == listed


def test_the_page_has_what_the_mouse_does(colored, qtbot):
    viewer, link = colored.viewer, follower_of(colored.viewer, LinkedPlanes)
    colored.view.grey_split.mode.setCurrentText("Wipe")
    link.open(PLANES_MODE)
    qtbot.waitUntil(lambda: link.settled)
    called = [
        *viewer.mouse_drag_callbacks,
        *viewer.mouse_wheel_callbacks,
        *viewer.mouse_double_click_callbacks,
    ]
    names = {call.__qualname__ for call in called if is_ours(call)}
    listed = {action for group, action, _ in rows() if group == "Mouse"}
    assert names == set(MOUSE)
    assert set().union(*MOUSE.values()) == listed


def test_each_key_does_what_the_page_says(colored, qtbot):
    viewer, link = colored.viewer, follower_of(colored.viewer, LinkedPlanes)
    native = viewer.window._qt_window._qt_viewer.canvas.native

    def press(key):
        *modifiers, letter = key.split("-")
        shift = Qt.KeyboardModifier.ShiftModifier
        held = shift if modifiers == ["Shift"] else Qt.KeyboardModifier.NoModifier
        QTest.keyClick(native, getattr(Qt.Key, f"Key_{letter}"), held)

    for mode in (PLANES_MODE, GREY_MODE):
        (key,) = (key for key, opened in KEYS.items() if opened == mode)
        press(key)
        qtbot.waitUntil(lambda mode=mode: link.mode == mode and link.settled)
        press(key)
        qtbot.waitUntil(lambda: link.mode == OFF)
    switch = colored.view.color.color
    for on in (False, True):
        press(COLOR_KEY)
        assert switch.isChecked() is on
    zoom = viewer.scene.camera.zoom
    viewer.scene.camera.zoom = zoom / 5
    press(FIT_KEY)
    assert viewer.scene.camera.zoom > zoom / 2
    viewer.layers.selection.active = colored.coloring.layer
    for key, name in WINDOW_KEYS.items():
        press(key)
        if name in PRESETS:
            shown = window_of(colored.coloring.ct_layer)
            assert (shown.center, shown.width) == (PRESETS[name].center, PRESETS[name].width)
