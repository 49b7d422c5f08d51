"""Legible colors for napari's dark and light themes, and labels that follow the theme."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from qtpy.QtCore import QEvent
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QLabel, QWidget

Tone = Literal["plain", "good", "neutral", "caution", "warning", "error"]


class Colors(NamedTuple):
    """Colors of a text, its background and its border: ``"#rrggbb"``."""

    text: str
    background: str
    border: str


#: Each text has a contrast of at least 4.5 to its background (WCAG 2.2, 1.4.3).
ON_DARK: Final[dict[Tone, Colors]] = {
    "good": Colors("#a6e0bd", "#28483a", "#3f6d58"),
    "neutral": Colors("#c9ced8", "#3c4250", "#59616f"),
    "caution": Colors("#ffd479", "#3a3220", "#7a6532"),
    "warning": Colors("#ffd479", "#3a3220", "#7a6532"),
    "error": Colors("#ffb4a8", "#442522", "#8c4a42"),
}
ON_LIGHT: Final[dict[Tone, Colors]] = {
    "good": Colors("#14522f", "#cfe9d8", "#8fc3a3"),
    "neutral": Colors("#3a414d", "#d3d6dc", "#a9afb9"),
    "caution": Colors("#664200", "#fdecc0", "#d3aa4c"),
    "warning": Colors("#664200", "#fdecc0", "#d3aa4c"),
    "error": Colors("#8c1d13", "#fbdcd7", "#d8948b"),
}


def is_dark(widget: QWidget) -> bool:
    """Whether a widget has a dark background, judged by its text color."""
    text, _ = text_and_background(widget)
    return text.lightness() > 127


def colors_of(tone: Tone, dark: bool) -> Colors:
    """Return the colors of any tone except ``"plain"``, which has those of the theme."""
    return (ON_DARK if dark else ON_LIGHT)[tone]


def text_and_background(widget: QWidget) -> tuple[QColor, QColor]:
    """Return the text and background colors of a widget in napari's theme."""
    palette, group = widget.palette(), QPalette.ColorGroup.Active
    return (
        palette.color(group, QPalette.ColorRole.WindowText),
        palette.color(group, QPalette.ColorRole.Window),
    )


def mixed(text: QColor, background: QColor, weight: float) -> QColor:
    """Return a mixture of two colors, opaque; a weight of 1 gives the text color."""
    parts = zip(text.getRgb()[:3], background.getRgb()[:3], strict=True)
    return QColor(*(round(weight * a + (1 - weight) * b) for a, b in parts))


class ToneLabel(QLabel):
    """A label in the colors of a tone, which change with napari's theme.

    Parameters
    ----------
    tone
        Kind of text: ``"plain"`` has the theme's colors and no background; ``"caution"`` is a
        permanent notice in bold.
    style
        Additional style sheet for tones with a background.
    """

    def __init__(
        self, tone: Tone = "plain", style: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._tone: Tone = tone
        self._style = style
        self._apply()

    @property
    def tone(self) -> Tone:
        """Kind of text."""
        return self._tone

    def set_tone(self, tone: Tone) -> None:
        """Change the colors."""
        self._tone = tone
        self._apply()

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Update the colors: a new dialog gets the theme's palette only when it is shown."""
        super().showEvent(event)
        self._apply()

    def changeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Update the colors when napari's theme changes or the panel is docked."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange):
            self._apply()

    def _apply(self) -> None:
        sheet = ""
        if self._tone != "plain":
            # The label's palette holds the colors of the tone, its parent's those of the theme.
            parent = self.parentWidget()
            colors = colors_of(self._tone, is_dark(parent) if parent is not None else True)
            sheet = (
                f"color: {colors.text}; background: {colors.background};"
                f" border: 1px solid {colors.border}; border-radius: 3px; {self._style}"
            )
            if self._tone == "caution":
                sheet += " font-weight: 600;"
        if sheet != self.styleSheet():
            self.setStyleSheet(sheet)
