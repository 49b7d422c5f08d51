"""Small controls: a slider with its value, a notice, a progress bar, sections, and layouts."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QSize, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QBoxLayout,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLayout,
    QProgressBar,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QDoubleSlider
from superqt.utils import signals_blocked

from tomochrome._napari.theme import Tone, ToneLabel

_LENGTH = 1000.0  # of a slider, whatever its range
_CHANGES_OF_SIZE = (QEvent.Type.LayoutRequest, QEvent.Type.StyleChange, QEvent.Type.Show)


def side_by_side(*parts: Any) -> QHBoxLayout:
    """Return widgets and layouts side by side; a part is one, or one with its stretch."""
    layout = QHBoxLayout()
    _add(layout, parts)
    return layout


def stacked(parent: QWidget, *parts: Any, margins: int | None = None) -> QVBoxLayout:
    """Lay out widgets and layouts from top to bottom; None is empty space that stretches."""
    layout = QVBoxLayout(parent)
    if margins is not None:
        layout.setContentsMargins(margins, margins, margins, margins)
    _add(layout, parts)
    return layout


def _add(layout: QBoxLayout, parts: Any) -> None:
    for part in parts:
        item, stretch = part if isinstance(part, tuple) else (part, 0)
        if item is None:
            layout.addStretch(1)
        elif isinstance(item, QLayout):
            layout.addLayout(item, stretch)
        else:
            layout.addWidget(item, stretch)


def form(*rows: Any, parent: QWidget | None = None) -> QFormLayout:
    """Return fields below each other; a row is a label with a field, or a field alone."""
    layout = QFormLayout(parent) if parent is not None else QFormLayout()
    if parent is not None:
        layout.setContentsMargins(0, 0, 0, 0)
    for parts in rows:
        layout.addRow(*(parts if isinstance(parts, tuple) else (parts,)))
    return layout


def compact(box: QComboBox, letters: int = 8) -> None:
    """Let a box be narrower than its longest choice, which must not widen the panel."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(letters)


class ValueSlider(QWidget):
    """A slider and a box that hold one number between them.

    superqt's labeled sliders cannot do what a window needs: a box that goes further than the
    slider, and small widths on more of the slider's length.

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
    value
        The number at first.
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
        value: float | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._power = power
        self._slider = QDoubleSlider(Qt.Orientation.Horizontal, self)
        self._slider.setRange(0.0, _LENGTH)
        self._slider.setMinimumWidth(60)
        self._box = QDoubleSpinBox(self)
        self._box.setKeyboardTracking(False)
        self._box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self._box.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._box.setFixedWidth(66)
        self.set_range(low, high, decimals, suffix, box_low, box_high)
        self._box.setSingleStep(step)
        layout = side_by_side((self._slider, 1), self._box)
        layout.setContentsMargins(0, 0, 0, 0)
        self.setLayout(layout)
        self._slider.valueChanged.connect(self._slid)
        self._box.valueChanged.connect(self._typed)
        if value is not None:
            self.set_value(value)

    def set_range(
        self,
        low: float,
        high: float,
        decimals: int = 0,
        suffix: str = "",
        box_low: float | None = None,
        box_high: float | None = None,
    ) -> None:
        """Change the ends, the digits and the unit, without telling anyone."""
        self._low, self._high = low, high
        with signals_blocked(self._box):
            self._box.setDecimals(decimals)
            self._box.setSuffix(suffix)
            self._box.setSingleStep(max(10.0**-decimals, (high - low) / 1000 if decimals else 1.0))
            self._box.setRange(
                low if box_low is None else box_low, high if box_high is None else box_high
            )

    def value(self) -> float:
        """Return the number."""
        return float(self._box.value())

    def set_value(self, value: float) -> None:
        """Show a number without telling anyone."""
        with signals_blocked(self._box):
            self._box.setValue(value)
        self._place(value)

    def _slid(self, position: float) -> None:
        share = (position / _LENGTH) ** self._power
        with signals_blocked(self._box):
            self._box.setValue(self._low + share * (self._high - self._low))
        self.valueChanged.emit(self.value())

    def _typed(self, value: float) -> None:
        self._place(value)
        self.valueChanged.emit(float(value))

    def _place(self, value: float) -> None:
        """Put the slider where a value is."""
        share = min(1.0, max(0.0, (value - self._low) / (self._high - self._low)))
        with signals_blocked(self._slider):
            self._slider.setValue(_LENGTH * share ** (1 / self._power))


class MessageLabel(ToneLabel):
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
        body = side_by_side(content)
        body.setContentsMargins(4, 0, 0, 6)
        stacked(self, self.heading, body, margins=0).setSpacing(2)
        self.heading.toggled.connect(self._fold)
        self.heading.setChecked(opened)
        self._fold(opened)

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
