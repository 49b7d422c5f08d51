"""Parsing and formatting of windows as text."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from tomochrome.errors import OptionError
from tomochrome.volume import Volume
from tomochrome.windowing.auto import auto_window, opening_window
from tomochrome.windowing.presets import PRESETS, scanner_windows
from tomochrome.windowing.window import Window, WindowFunction

DEFAULT: Final = "default"
"""The text for `opening_window`."""

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_CENTER_WIDTH = re.compile(rf"\s*({_NUMBER})\s*/\s*({_NUMBER})\s*")
_FUNCTIONS: dict[str, WindowFunction] = {
    "linear": "LINEAR",
    "linear-exact": "LINEAR_EXACT",
    "sigmoid": "SIGMOID",
}
_SCANNER = re.compile(r"scanner(?::([1-9]\d*))?")


def parse_window(text: str | Window, volume: Volume | None = None) -> Window:
    """Parse a window.

    Parameters
    ----------
    text
        A preset's name (spaces and underscores count as hyphens); ``"CENTER/WIDTH"`` in HU such
        as ``"50/400"`` or ``"-600/1500"``; ``"scanner"``, the first window stored in the image,
        ``"scanner:2"`` the second one; ``"auto"``, by the content (see `auto_window`); or
        ``"default"``, the stored one or else the automatic one (see `opening_window`). Any of them
        may end in
        ``"/sigmoid"``, ``"/linear"`` or ``"/linear-exact"``, the function of DICOM PS3.3
        C.11.2.1.3: ``"50/400/sigmoid"``. A `Window` is returned as it is.
    volume
        The volume that ``"default"``, ``"auto"`` and ``"scanner"`` need.

    Returns
    -------
    Window
        Center and width in HU, or in the unit of the volume.

    Raises
    ------
    OptionError
        If the text or the numbers are invalid, or the volume is missing or has no such window.
    """
    if isinstance(text, Window):
        return text
    name = re.sub(r"[\s_]+", "-", re.sub(r"\s*/\s*", "/", str(text).strip().lower()))
    body, _, last = name.rpartition("/")
    if body and last in _FUNCTIONS:
        function = _FUNCTIONS[last]
        numbers = _CENTER_WIDTH.fullmatch(body)
        if numbers is not None:  # a width below 1 is valid for LINEAR_EXACT, but not for LINEAR
            return Window(float(numbers[1]), float(numbers[2]), function)
        return replace(parse_window(body, volume), function=function)
    if name in PRESETS:
        return PRESETS[name]
    if needs_volume(name):
        return _of_volume(name, volume)
    match = _CENTER_WIDTH.fullmatch(str(text))
    if match is None:
        raise OptionError(
            f"unknown window '{text}': choose {', '.join(PRESETS)}, default, auto, scanner "
            "or CENTER/WIDTH such as 50/400, or 50/400/sigmoid"
        )
    return Window(float(match[1]), float(match[2]))


def needs_volume(text: str | Window) -> bool:
    """Whether `parse_window` needs a volume for this text, such as ``"auto"``."""
    if isinstance(text, Window):
        return False
    name, _, function = str(text).strip().lower().partition("/")
    valid = not function or function in _FUNCTIONS
    return valid and (name in (DEFAULT, "auto") or _SCANNER.fullmatch(name) is not None)


def describe_window(window: Window) -> str:
    """Format a window for `parse_window`: ``"50/400"``, ``"50/400/sigmoid"``."""
    numbers = f"{window.center:.10g}/{window.width:.10g}"
    if window.function == "LINEAR":
        return numbers
    return f"{numbers}/{window.function.lower().replace('_', '-')}"


def _of_volume(name: str, volume: Volume | None) -> Window:
    if volume is None:
        raise OptionError(f"the window '{name}' needs a volume")
    if name == "auto":
        return auto_window(volume)
    if name == DEFAULT:
        return opening_window(volume)
    match = _SCANNER.fullmatch(name)
    number = int(match[1] or 1) if match else 1
    windows = scanner_windows(volume)
    if not windows:
        raise OptionError("the image stores no window of its own; choose a preset or CENTER/WIDTH")
    if number > len(windows):
        raise OptionError(f"the image stores {len(windows)} windows, there is no '{name}'")
    return windows[number - 1]
