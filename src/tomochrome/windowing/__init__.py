"""Windowing: Hounsfield units to luminance (DICOM PS3.3 C.11.2.1.2)."""

from tomochrome.windowing.presets import PRESETS, auto_window, parse_window, scanner_windows
from tomochrome.windowing.window import Window, WindowFunction, luminance

__all__ = [
    "PRESETS",
    "Window",
    "WindowFunction",
    "auto_window",
    "luminance",
    "parse_window",
    "scanner_windows",
]
