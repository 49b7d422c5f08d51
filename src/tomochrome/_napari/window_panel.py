"""The window: a preset, a center and a width."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QWidget

from tomochrome._napari.controls import ValueSlider
from tomochrome.volume import Volume
from tomochrome.windowing import PRESETS, Window, auto_window, scanner_windows

_CUSTOM = "custom"
_AUTO = "auto"
DEFAULT_PRESET = "soft-tissue"


class WindowPanel(QWidget):
    """Preset, center and width of the window, in HU; tells of every change.

    It knows the volume only to offer the scanner's own windows and the automatic one.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._volume: Volume | None = None
        self._window = PRESETS[DEFAULT_PRESET]
        self.preset = QComboBox(self)
        # A long name of a scanner's window must not widen the panel.
        self.preset.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.preset.setMinimumContentsLength(14)
        self.center = ValueSlider(
            -1000, 1500, box_low=-4096, box_high=4096, suffix=" HU", parent=self
        )
        self.width = ValueSlider(
            1, 4000, power=2, box_low=1, box_high=16384, suffix=" HU", parent=self
        )
        self.center.setToolTip("Window center (level): the value shown as middle grey")
        self.width.setToolTip("Window width: the range of values from black to white")
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Preset", self.preset)
        form.addRow("Center", self.center)
        form.addRow("Width", self.width)
        self._fill()
        self.set_window(self._window)
        self.preset.activated.connect(self._choose)
        self.center.valueChanged.connect(self._slide)
        self.width.valueChanged.connect(self._slide)

    @property
    def window(self) -> Window:
        """The window chosen."""
        return self._window

    def set_volume(self, volume: Volume | None) -> None:
        """Offer the windows of this volume's scanner, and automatic windows of it."""
        if volume is not self._volume:
            self._volume = volume
            self._fill()
            self.set_window(self._window)

    def set_window(self, window: Window) -> None:
        """Show a window without telling anyone."""
        self._window = window
        self.center.set_value(window.center)
        self.width.set_value(window.width)
        found = self._index(window)
        self.preset.setCurrentIndex(found if found >= 0 else self.preset.count() - 1)

    def set_limits(self, low: float, high: float) -> None:
        """Show the window between two values, without telling anyone."""
        now = self._window
        center, width = (low + high) / 2, high - low
        if abs(now.center - center) > 0.5 or abs(now.width - width) > 0.5:
            self.set_window(Window(center, max(1.0, width), now.function))

    def _index(self, window: Window) -> int:
        for index in range(self.preset.count()):
            known = self.preset.itemData(index)
            if isinstance(known, Window) and (
                (known.center, known.width, known.function)
                == (window.center, window.width, window.function)
            ):
                return index
        return -1

    def _fill(self) -> None:
        self.preset.clear()
        for name, window in PRESETS.items():
            self.preset.addItem(f"{name.replace('-', ' ')}  {_numbers(window)}", window)
        if self._volume is not None:
            for window in scanner_windows(self._volume):
                self.preset.addItem(f"scanner: {window.name}  {_numbers(window)}", window)
        self.preset.addItem("automatic", _AUTO)
        self.preset.addItem(_CUSTOM, _CUSTOM)

    def _choose(self, index: int) -> None:
        chosen = self.preset.itemData(index)
        if chosen == _AUTO and self._volume is not None:
            window = auto_window(self._volume)
            self.set_window(window)
            self.preset.setCurrentIndex(index)
        elif isinstance(chosen, Window):
            self.set_window(chosen)
        else:
            return
        self.changed.emit()

    def _slide(self) -> None:
        function = self._window.function
        self.set_window(Window(self.center.value(), self.width.value(), function))
        self.changed.emit()


def _numbers(window: Window) -> str:
    return f"{window.center:g} / {window.width:g}"
