"""The display window: preset, scanner's or automatic window, VOI function, center and width."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from tomochrome._napari.kit.controls import ValueSlider, form
from tomochrome._napari.kit.narrow_widgets import ElidedComboBox
from tomochrome._napari.layers.grey_window import RANGE_KEY, choice_of, window_of
from tomochrome._napari.layers.volume_layers import source_of
from tomochrome._napari.viewer.window_labels import HELP, add_choice, function_name, window_label
from tomochrome.errors import OptionError
from tomochrome.volume import Volume
from tomochrome.windowing import (
    PRESETS,
    Window,
    WindowFunction,
    auto_window,
    describe_window,
    parse_window,
    scanner_windows,
)

AUTO = "auto"
_CUSTOM = "custom"
_SIGMOID = "/sigmoid"
_CENTERS = (-1000.0, 1500.0)  # slider ranges in HU
_WIDTHS = (1.0, 4000.0)
_FUNCTIONS: tuple[WindowFunction, ...] = ("LINEAR", "SIGMOID")


class WindowPanel(QWidget):
    """Fields for the display window of a layer; emits `changed` on every change.

    The fields show the window that the layer has on screen (`set_layer`, `follow`), by the rule of
    `tomochrome.windowing.opening_window` as long as the user has not chosen another one.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layer: Any = None
        self._volume: Volume | None = None
        self._choice = AUTO
        self._window = PRESETS["soft-tissue"]
        self.preset = ElidedComboBox(self)
        self.preset.setToolTip(HELP)
        self.function = ElidedComboBox(self)
        self.function.setToolTip(
            "Linear: values outside the window are black or white.\n"
            "Sigmoid: a smooth transition to black and white, so that bright vessels keep some "
            "color."
        )
        self.center = ValueSlider(*_CENTERS, parent=self)
        self.width = ValueSlider(*_WIDTHS, power=2, parent=self)
        self.center.setToolTip("Window center (level): the value shown as middle grey")
        self.width.setToolTip("Window width: the range of values from black to white")
        sliders = ("Center", self.center), ("Width", self.width)
        form(("Preset", self.preset), ("Function", self.function), *sliders, parent=self)
        self.set_layer(None)
        self.preset.activated.connect(self._chosen)
        self.function.activated.connect(self._function_chosen)
        self.center.valueChanged.connect(self._slide)
        self.width.valueChanged.connect(self._slide)

    @property
    def window(self) -> Window:
        """The selected window."""
        return self._window

    @property
    def choice(self) -> str:
        """The selected window as text for `tomochrome.windowing.parse_window`.

        ``"auto"``, the name of a preset, ``"scanner:1"`` or numbers such as ``"50/400"``, each
        optionally followed by ``"/sigmoid"``.
        """
        return self._choice

    def set_layer(self, layer: Any) -> None:
        """Follow a layer, or None: offer its scanner windows and adapt the slider ranges."""
        source = None if layer is None else source_of(layer.metadata)
        volume = None if source is None or source.shown.is_rgba else source.shown
        self._layer, self._volume = layer, volume
        self._set_ranges()
        self._fill()
        self.setEnabled(layer is not None)
        if layer is None:
            self._show(PRESETS["soft-tissue"], AUTO)
        self.follow()

    def follow(self, _: object = None) -> None:
        """Show the layer's window."""
        window = None if self._layer is None else window_of(self._layer)
        if window is None:
            return
        choice = choice_of(self._layer)
        if choice is None:
            self.set_window(window)
        else:
            self._show(window, choice)

    def set_window(self, window: Window) -> None:
        """Show a window without emitting a signal, under the name of a preset if it is one."""
        if window.function == "LINEAR_EXACT" and self._is_ct and window.width >= 1:
            # Contrast limits set by hand are shown as linear; only the scanner's can be exact.
            scanner = scanner_windows(self._volume) if self._volume else []
            if window not in [replace(each, name=window.name) for each in scanner]:
                window = replace(window, function="LINEAR")
        self._show(window, self._name_of(window) or describe_window(window))

    def _name_of(self, window: Window) -> str:
        """Return the choice with this center and width, or an empty string."""
        for choice in map(self.preset.itemData, range(self.preset.count())):
            preset = None if choice == _CUSTOM else self._window_of_choice(choice)
            if (
                preset is not None
                and math.isclose(preset.center, window.center, rel_tol=1e-6)
                and math.isclose(preset.width, window.width, rel_tol=1e-6)
            ):
                if preset.function == window.function:
                    return str(choice)
                if window.function == "SIGMOID":
                    return f"{choice}{_SIGMOID}"
        return ""

    def _window_of_choice(self, choice: str) -> Window | None:
        """Return the window of a choice; None if the layer has no such window."""
        try:
            if choice.removesuffix(_SIGMOID) == AUTO and self._volume is None:
                return parse_window(choice.replace(AUTO, "soft-tissue"))
            return parse_window(choice, self._volume)
        except OptionError:
            return None

    def _show(self, window: Window, choice: str) -> None:
        self._window, self._choice = window, choice
        self.center.set_value(window.center)
        self.width.set_value(window.width)
        index = self.preset.findData(choice.removesuffix(_SIGMOID))
        self.preset.setCurrentIndex(index if index >= 0 else self.preset.count() - 1)
        offered = list(_FUNCTIONS)
        if window.function == "LINEAR_EXACT":
            offered[0] = "LINEAR_EXACT"
        self.function.clear()
        for each in offered:
            # Images other than CT have only one linear function.
            plain = each == "LINEAR_EXACT" and not self._is_ct
            self.function.addItem(function_name("LINEAR" if plain else each), each)
        self.function.setCurrentIndex(offered.index(window.function))

    # Choices

    @property
    def _is_ct(self) -> bool:
        return self._volume is None or self._volume.unit == "HU"

    def _fill(self) -> None:
        self.preset.clear()
        add_choice(self.preset, AUTO, "Automatic")
        scanner = [] if self._volume is None else scanner_windows(self._volume)
        for number, window in enumerate(scanner, 1):
            label = window_label(window, of_scanner=True)
            add_choice(self.preset, f"scanner:{number}", *label)
        for name, window in PRESETS.items() if self._is_ct else ():
            add_choice(self.preset, name, *window_label(window))
        add_choice(self.preset, _CUSTOM, "Custom")

    def _set_ranges(self) -> None:
        """Set the slider ranges: fixed for HU, otherwise those of the data."""
        if self._is_ct or self._layer is None:
            self.center.set_range(*_CENTERS, suffix=" HU", box_low=-4096, box_high=4096)
            self.width.set_range(*_WIDTHS, suffix=" HU", box_low=1, box_high=16384)
            return
        low, high = self._layer.metadata.get(RANGE_KEY, self._layer.contrast_limits)
        usual = auto_window(self._volume).width if self._volume is not None else high - low
        size = high - low if low < high else usual
        decimals = min(9, max(0, 3 - math.floor(math.log10(min(size, usual)))))
        self.center.set_range(low, low + size, decimals=decimals, suffix="")
        self.width.set_range(size / 1000, size, decimals=decimals, suffix="")

    # User actions

    def _chosen(self, index: int) -> None:
        choice = self.preset.itemData(index)
        if choice == _CUSTOM:
            return
        if self._window.function == "SIGMOID":
            choice += _SIGMOID
        window = self._window_of_choice(choice)
        if window is not None:
            self._show(window, choice)
            self.changed.emit()

    def _function_chosen(self, index: int) -> None:
        function = self.function.itemData(index)
        if function == self._window.function:
            return
        base = self._choice.removesuffix(_SIGMOID)
        window = replace(self._window, function=function)
        if function == "SIGMOID" and not _is_numbers(base):
            choice = base + _SIGMOID
        else:
            choice = describe_window(window) if _is_numbers(base) else base
        self._show(window, choice)
        self.changed.emit()

    def _slide(self) -> None:
        function = self._window.function
        self.set_window(Window(self.center.value(), self.width.value(), function))
        self.changed.emit()


def _is_numbers(choice: str) -> bool:
    return choice[:1].isdigit() or choice[:1] in "+-."
