"""Help on what keys and mouse do in the viewer, on one page."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QDialog, QDialogButtonBox, QLabel, QMainWindow, QVBoxLayout

from tomochrome._napari.colorize.colorize_view import COLOR_KEY
from tomochrome._napari.viewer.linked_planes import FIT_KEY, GREY_MODE, KEYS, PLANES_MODE
from tomochrome._napari.viewer.slice_wheel import wheel_scrolls
from tomochrome._napari.viewer.window_labels import KEYS as WINDOW_KEYS

_MODES: Final = {
    PLANES_MODE: "Three linked planes, or one",
    GREY_MODE: "Grayscale beside color, or color alone",
}


#: Heading of keys that are napari's own.
OF_NAPARI: Final = "Measurements and strokes, while their layer is selected"
_NAPARI_KEYS: Final = [
    ("Delete", "Remove the measurement just drawn, or those selected"),
    ("Ctrl-Z", "Undo a stroke of the brush, not a measurement"),
]


def rows() -> list[tuple[str, str, str]]:
    """Return the group, the key or mouse action, and what it does."""
    scrolls, zooms = ("Wheel", "Ctrl + wheel") if wheel_scrolls() else ("Ctrl + wheel", "Wheel")
    mouse = [
        (scrolls, "Next or previous slice"),
        (zooms, "Zoom"),
        ("Right button, drag", "Window: to the right wider, up brighter"),
        ("Left button, drag", "Move the image; in linked planes, move the crosshair"),
        ("Middle button, drag", "In linked planes, move the image"),
        ("Double click", "In linked planes, enlarge a plane, or show all again"),
        ("Left button on the line", "In a wipe, move the line"),
        ("Left button on the grip", "In 3D, move the clipping plane"),
    ]
    keys = [(COLOR_KEY, "Color on or off"), *((key, _MODES[mode]) for key, mode in KEYS.items())]
    keys.append((FIT_KEY, "Fit the body into the view"))
    windows = [
        (key, name.replace("-", " ").replace("auto", "automatic").capitalize())
        for key, name in WINDOW_KEYS.items()
    ]
    groups = {
        "Mouse": mouse,
        "Keys": keys,
        "Window, while the scan is selected": windows,
        OF_NAPARI: _NAPARI_KEYS,
    }
    return [
        (group, action if group == "Mouse" else action.replace("-", " + "), meaning)
        for group, actions in groups.items()
        for action, meaning in actions
    ]


class KeysHelp(QDialog):
    """The page, which stays open beside the viewer."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys and mouse")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        lines, last = [], ""
        for group, action, meaning in rows():
            if group != last:
                lines.append(f'<tr><td colspan="2"><br><b>{escape(group)}</b></td></tr>')
                last = group
            lines.append(
                f'<tr><td style="padding-right: 16px">{escape(action)}</td>'
                f"<td>{escape(meaning)}</td></tr>"
            )
        self.text = QLabel(f"<table>{''.join(lines)}</table>", self)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        buttons.rejected.connect(self.close)
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        layout.addWidget(buttons)


def show_keys() -> None:
    """Show what keys and mouse do: a menu entry."""
    windows = [w for w in QApplication.topLevelWidgets() if isinstance(w, QMainWindow)]
    KeysHelp(QApplication.activeWindow() or next(iter(windows), None)).show()
