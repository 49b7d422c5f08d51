"""Windowing: Hounsfield units to luminance (DICOM PS3.3 C.11.2.1.2)."""

from tomochrome.windowing.auto import auto_window, opening_choice, opening_window
from tomochrome.windowing.presets import PRESETS, scanner_windows
from tomochrome.windowing.window import Window, WindowFunction, luminance
from tomochrome.windowing.window_text import DEFAULT, describe_window, needs_volume, parse_window

__all__ = [
    "DEFAULT",
    "PRESETS",
    "Window",
    "WindowFunction",
    "auto_window",
    "describe_window",
    "luminance",
    "needs_volume",
    "opening_choice",
    "opening_window",
    "parse_window",
    "scanner_windows",
]
