"""Small dumb controls: a slider with its value, a notice, a bar of progress, a scrolled column."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QSize, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFrame,
    QHBoxLayout,
    QProgressBar,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from tomochrome._napari.theme import Tone, ToneLabel

_STEPS = 1000
_CHANGES_OF_SIZE = (QEvent.Type.LayoutRequest, QEvent.Type.StyleChange, QEvent.Type.Show)


class ValueSlider(QWidget):
    """A slider and a box that hold one number between them.

    Parameters
    ----------
    low, high
        Ends of the slider. The box may go further if ``box_low`` or ``box_high`` say so.
    decimals
        Digits shown after the point.
    power
        With 2, small values get more of the slider's length, as a window width needs.
    suffix
        Unit shown in the box.
    """

    valueChanged = Signal(float)  # noqa: N815 - Qt's own style for signals

    def __init__(
        self,
        low: float,
        high: float,
        *,
        decimals: int = 0,
        step: float = 1.0,
        power: float = 1.0,
        suffix: str = "",
        box_low: float | None = None,
        box_high: float | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._low, self._high, self._power = low, high, power
        self._slider = QSlider(Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, _STEPS)
        self._slider.setMinimumWidth(60)
        self._box = QDoubleSpinBox(self)
        self._box.setDecimals(decimals)
        self._box.setSingleStep(step)
        self._box.setRange(
            low if box_low is None else box_low, high if box_high is None else box_high
        )
        self._box.setSuffix(suffix)
        self._box.setKeyboardTracking(False)
        self._box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self._box.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._box.setFixedWidth(66)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._slider.valueChanged.connect(self._slid)
        self._box.valueChanged.connect(self._typed)

    def set_range(
        self,
        low: float,
        high: float,
        *,
        decimals: int,
        suffix: str,
        box_low: float | None = None,
        box_high: float | None = None,
    ) -> None:
        """Change the ends, the digits and the unit, without telling anyone."""
        self._low, self._high = low, high
        self._box.blockSignals(True)
        self._box.setDecimals(decimals)
        self._box.setSuffix(suffix)
        self._box.setSingleStep(max(10.0**-decimals, (high - low) / 1000 if decimals else 1.0))
        self._box.setRange(
            low if box_low is None else box_low, high if box_high is None else box_high
        )
        self._box.blockSignals(False)

    def value(self) -> float:
        """Return the number."""
        return float(self._box.value())

    def set_value(self, value: float) -> None:
        """Show a number without telling anyone."""
        for control in (self._slider, self._box):
            control.blockSignals(True)
        self._box.setValue(value)
        self._slider.setValue(self._position(value))
        for control in (self._slider, self._box):
            control.blockSignals(False)

    def _slid(self, position: int) -> None:
        share = (position / _STEPS) ** self._power
        self._box.blockSignals(True)
        self._box.setValue(self._low + share * (self._high - self._low))
        self._box.blockSignals(False)
        self.valueChanged.emit(self.value())

    def _typed(self, value: float) -> None:
        self._slider.blockSignals(True)
        self._slider.setValue(self._position(value))
        self._slider.blockSignals(False)
        self.valueChanged.emit(float(value))

    def _position(self, value: float) -> int:
        share = min(1.0, max(0.0, (value - self._low) / (self._high - self._low)))
        return round(_STEPS * share ** (1 / self._power))


class Notice(ToneLabel):
    """A line of text that wraps, plain or on a ground in color, and is hidden when empty."""

    def __init__(self, tone: Tone = "plain", parent: QWidget | None = None) -> None:
        super().__init__(tone, "padding: 4px 6px;", parent)
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.say("", tone)

    def say(self, text: str, tone: Tone | None = None) -> None:
        """Show a text (and with ``tone`` change the colors); an empty one hides the label."""
        if tone is not None:
            self.set_tone(tone)
        self.setText(text)
        self.setVisible(bool(text))


class StageBar(QProgressBar):
    """A bar that names what is being done, also while nobody knows how long it takes."""

    def say(self, done: int, total: int, stage: str) -> None:
        """Show how far a stage is; a total of 0 means that nobody knows.

        There is no "100 %": a stage that is finished is named until the next one begins.
        """
        self.setRange(0, max(0, total))
        self.setValue(min(done, total))
        stage = stage[:1].upper() + stage[1:]
        self.setFormat(f"{stage}  %p%" if done < total else f"{stage} …")

    def text(self) -> str:
        """Return what is written on the bar; Qt itself writes nothing on one without an end."""
        return str(super().text() or self.format())


class Section(QWidget):
    """A part of a panel under a heading that folds it away.

    (superqt's QCollapsible draws its arrows in the colors of the first theme, and cuts off
    content that grows.)
    """

    def __init__(
        self, title: str, content: QWidget, parent: QWidget | None = None, *, opened: bool = True
    ) -> None:
        super().__init__(parent)
        self.content = content
        self.heading = QToolButton(self)
        self.heading.setText(title)
        self.heading.setCheckable(True)
        self.heading.setAutoRaise(True)
        self.heading.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.heading.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.heading.setStyleSheet("QToolButton { font-weight: 600; text-align: left; }")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.heading)
        body = QVBoxLayout()
        body.setContentsMargins(4, 0, 0, 6)
        body.addWidget(content)
        column.addLayout(body)
        self.heading.toggled.connect(self._fold)
        self.heading.setChecked(opened)
        self._fold(opened)

    def open(self, opened: bool = True) -> None:
        """Show the content, or fold it away."""
        self.heading.setChecked(opened)

    def _fold(self, opened: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow
        self.heading.setArrowType(arrow)
        self.content.setVisible(opened)


class ScrollColumn(QScrollArea):
    """Scrolls up and down when the window is low, and is never narrower than what it holds."""

    def __init__(self, content: QWidget, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(content)
        content.installEventFilter(self)

    def eventFilter(self, watched: Any, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Have the dock made wide enough when the content or the style has changed."""
        if event.type() in _CHANGES_OF_SIZE:
            QTimer.singleShot(0, self._widen)
        return bool(super().eventFilter(watched, event))

    def _widen(self) -> None:
        self.setMinimumWidth(self.minimumSizeHint().width())

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """As wide as the content, its scroll bar and its frame, and a few rows high."""
        beside = self.verticalScrollBar().sizeHint().width() + 2 * self.frameWidth()
        return QSize(self.widget().minimumSizeHint().width() + beside, 160)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """As high as all of the content."""
        return QSize(self.minimumSizeHint().width(), self.widget().sizeHint().height())
