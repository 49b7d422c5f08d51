"""Small widgets: slider with number field, message label, progress bar, sections, and layouts."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QSize, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QBoxLayout,
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
from superqt import QDoubleSlider, QLabeledDoubleRangeSlider
from superqt.utils import signals_blocked

from tomochrome._napari.kit.narrow_widgets import MAX_MINIMUM_PX, BreakableLabel
from tomochrome._napari.kit.theme import Tone, ToneLabel

_SLIDER_MAX = 1000.0  # internal range of every slider
_LABEL_GAP = 14  # of a form, at most
_CURSOR = 4
_BOX_EDGES = _CURSOR + 6  # with padding and frame of a number field
_RESIZE_EVENTS = (QEvent.Type.LayoutRequest, QEvent.Type.StyleChange, QEvent.Type.Show)


def side_by_side(*parts: Any) -> QHBoxLayout:
    """Lay out widgets and layouts side by side; a part may be a tuple with its stretch factor."""
    layout = QHBoxLayout()
    _add(layout, parts)
    return layout


def stacked(parent: QWidget, *parts: Any, margins: int | None = None) -> QVBoxLayout:
    """Lay out widgets and layouts from top to bottom; None adds a stretch."""
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
    """Return a form layout; a row is a label with a field, or a single field."""
    layout = QFormLayout(parent) if parent is not None else QFormLayout()
    layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    if parent is not None:
        layout.setContentsMargins(0, 0, 0, 0)
    for parts in rows:
        layout.addRow(*(parts if isinstance(parts, tuple) else (parts,)))
    return layout


class NumberBox(QDoubleSpinBox):
    """A number field without arrows, as wide as ``widest``, a text, needs in the current font."""

    def __init__(self, parent: QWidget | None = None, widest: str = "-1000 HU") -> None:
        super().__init__(parent)
        self._widest = widest
        self.setKeyboardTracking(False)
        self.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        # Qt ignores a size hint below the minimum width of napari's style sheet.
        metrics = self.fontMetrics()
        width = (metrics.horizontalAdvance(widest) + _CURSOR) / metrics.height()
        self.setStyleSheet(f"QDoubleSpinBox {{ min-width: {width:.2f}em; padding: 1px 2px; }}")

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return the width of the text."""
        width = self.fontMetrics().horizontalAdvance(self._widest) + _BOX_EDGES
        return QSize(width, super().sizeHint().height())


class FieldRow(QWidget):
    """Widgets side by side as a field of a form; they always get the width that they need.

    A form with `QFormLayout.WrapLongRows` forgets the gap after the label when it decides whether
    label and field fit in one row.
    """

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return the size of the widgets with the gap."""
        hint = super().minimumSizeHint()
        return QSize(hint.width() + _LABEL_GAP, hint.height())


class ValueSlider(FieldRow):
    """A slider and a number field that show the same value.

    superqt's labeled sliders lack two features that window sliders need: a number field with a
    wider range than the slider, and a nonlinear scale.

    Parameters
    ----------
    low, high
        Range of the slider. ``box_low`` and ``box_high`` extend the range of the number field.
    decimals
        Digits shown after the decimal point.
    power
        Exponent of the slider's scale; with 2, small values get more of its length.
    suffix
        Unit shown in the number field.
    value
        Initial value.
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
        self.slider = QDoubleSlider(Qt.Orientation.Horizontal, self)
        self.slider.setRange(0.0, _SLIDER_MAX)
        self.slider.setMinimumWidth(60)
        self.box = NumberBox(self)
        self.box.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.set_range(low, high, decimals, suffix, box_low, box_high)
        self.box.setSingleStep(step)
        layout = side_by_side((self.slider, 1), self.box)
        layout.setContentsMargins(0, 0, 0, 0)
        self.setLayout(layout)
        self.slider.valueChanged.connect(self._slid)
        self.box.valueChanged.connect(self._typed)
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
        """Change the range, the decimals and the unit without emitting a signal."""
        self._low, self._high = low, high
        with signals_blocked(self.box):
            self.box.setDecimals(decimals)
            self.box.setSuffix(suffix)
            self.box.setSingleStep(max(10.0**-decimals, (high - low) / 1000 if decimals else 1.0))
            self.box.setRange(
                low if box_low is None else box_low, high if box_high is None else box_high
            )

    def value(self) -> float:
        """Return the value."""
        return float(self.box.value())

    def set_value(self, value: float) -> None:
        """Show a value without emitting a signal."""
        with signals_blocked(self.box):
            self.box.setValue(value)
        self._move_slider(value)

    def _slid(self, position: float) -> None:
        fraction = (position / _SLIDER_MAX) ** self._power
        with signals_blocked(self.box):
            self.box.setValue(self._low + fraction * (self._high - self._low))
        self.valueChanged.emit(self.value())

    def _typed(self, value: float) -> None:
        self._move_slider(value)
        self.valueChanged.emit(float(value))

    def _move_slider(self, value: float) -> None:
        fraction = min(1.0, max(0.0, (value - self._low) / (self._high - self._low)))
        with signals_blocked(self.slider):
            self.slider.setValue(_SLIDER_MAX * fraction ** (1 / self._power))


class RangeSlider(QLabeledDoubleRangeSlider):
    """A slider with two handles between two number fields."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.setHandleLabelPosition(self.LabelPosition.NoLabel)
        self.setEdgeLabelMode(self.EdgeLabelMode.LabelIsValue)
        self.setDecimals(0)

    def show_range(self, low: float, high: float, values: tuple[float, float]) -> None:
        """Change the limits and both values without emitting a signal."""
        with signals_blocked(self):
            self.setRange(low, high)
            self.setValue(values)


class MessageLabel(BreakableLabel, ToneLabel):
    """A word-wrapped text, optionally on a colored background; hidden when empty."""

    def __init__(self, tone: Tone = "plain", parent: QWidget | None = None) -> None:
        super().__init__(tone, "padding: 4px 6px;", parent)
        self.wrap()
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.say("", tone)

    def say(self, text: str, tone: Tone | None = None) -> None:
        """Show a text, optionally in another tone; an empty text hides the label."""
        if tone is not None:
            self.set_tone(tone)
        self.setText(text)
        self.setVisible(bool(text))


class StageBar(QProgressBar):
    """A progress bar that names the current stage, also while its progress is unknown."""

    def say(self, done: int, total: int, stage: str) -> None:
        """Show the progress of a stage; a total of 0 means that it is unknown.

        "100 %" is never shown: the name of a finished stage stays until the next one begins.
        """
        self.setRange(0, max(0, total))
        self.setValue(min(done, total))
        stage = stage[:1].upper() + stage[1:]
        self.setFormat(f"{stage}  %p%" if done < total else f"{stage} …")

    def text(self) -> str:
        """Return the text on the bar; Qt itself shows none while the progress is unknown."""
        return str(super().text() or self.format())


class Section(QWidget):
    """A collapsible section of a panel.

    superqt's QCollapsible keeps the arrow colors of the first theme and clips content that grows.
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
    """A scroll area for a column of fields, which it never makes wider than `MAX_MINIMUM_PX`.

    It scrolls horizontally only if the content cannot be that narrow, for example in a large font.
    """

    def __init__(self, content: QWidget, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidget(content)
        content.installEventFilter(self)

    def eventFilter(self, watched: Any, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Update the minimum width when the content or the style changes."""
        if event.type() in _RESIZE_EVENTS:
            QTimer.singleShot(0, self._widen)
        return bool(super().eventFilter(watched, event))

    def _widen(self) -> None:
        self.setMinimumWidth(self.minimumSizeHint().width())

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return the width of content, scroll bar and frame, and the height of a few rows."""
        return QSize(
            min(self.widget().minimumSizeHint().width() + self._extra(), MAX_MINIMUM_PX), 160
        )

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return the size at which all of the content is in view."""
        hint = self.widget().sizeHint()
        return QSize(hint.width() + self._extra(), hint.height())

    def _extra(self) -> int:
        return int(self.verticalScrollBar().sizeHint().width() + 2 * self.frameWidth())
