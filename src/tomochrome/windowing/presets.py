"""Named window presets, and the windows stored in an image header."""

from __future__ import annotations

from typing import get_args

from tomochrome.errors import OptionError
from tomochrome.volume import Volume
from tomochrome.windowing.window import Window, WindowFunction

PRESETS: dict[str, Window] = {
    name: Window(center, width, name=name)
    for name, center, width in (
        ("brain", 40, 80),
        ("subdural", 75, 215),
        ("stroke", 35, 40),
        ("temporal-bone", 600, 2800),
        ("soft-tissue", 50, 400),
        ("mediastinum", 50, 350),
        ("abdomen", 40, 350),
        ("liver", 60, 160),
        ("lung", -600, 1500),
        ("bone", 400, 1800),
        ("angiography", 300, 600),
    )
}
"""Presets by name; centers and widths in HU."""


def scanner_windows(volume: Volume) -> list[Window]:
    """Return the valid windows stored in the image header."""
    windows = []
    for stored in volume.provenance.windows:
        function = str(stored.function).upper()
        kind: WindowFunction = function if function in get_args(WindowFunction) else "LINEAR"  # type: ignore[assignment]
        try:
            windows.append(Window(stored.center, stored.width, kind, stored.name or "scanner"))
        except OptionError:
            continue
    return windows
