"""Windows by name, by numbers, from the scanner, and from the body's own histogram."""

from __future__ import annotations

import re
from typing import get_args

import numpy as np
from numpy.typing import NDArray

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

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_CENTER_WIDTH = re.compile(rf"\s*({_NUMBER})\s*/\s*({_NUMBER})\s*")


def parse_window(text: str | Window, volume: Volume | None = None) -> Window:
    """Return the window that ``text`` means.

    Parameters
    ----------
    text
        A preset's name (spaces and underscores count as hyphens), ``"CENTER/WIDTH"`` in HU such
        as ``"50/400"`` or ``"-600/1500"``, ``"auto"`` (the body's histogram) or ``"scanner"``
        (the first window stored in the image). A `Window` is returned as it is.
    volume
        The volume that ``"auto"`` and ``"scanner"`` look at.

    Raises
    ------
    OptionError
        If it is none of these, the numbers make no window, or the volume cannot answer.
    """
    if isinstance(text, Window):
        return text
    name = re.sub(r"[\s_]+", "-", str(text).strip().lower())
    if name in PRESETS:
        return PRESETS[name]
    if name in ("auto", "scanner"):
        if volume is None:
            raise OptionError(f"the window '{name}' needs a volume to look at")
        if name == "auto":
            return auto_window(volume)
        windows = scanner_windows(volume)
        if not windows:
            raise OptionError(
                "the image stores no window of its own; choose a preset or CENTER/WIDTH"
            )
        return windows[0]
    match = _CENTER_WIDTH.fullmatch(str(text))
    if match is None:
        raise OptionError(
            f"unknown window '{text}': choose {', '.join(PRESETS)}, auto, scanner "
            "or CENTER/WIDTH such as 50/400"
        )
    return Window(float(match[1]), float(match[2]))


def scanner_windows(volume: Volume) -> list[Window]:
    """Return the windows stored in the image's header; those that make no sense are left out."""
    windows = []
    for stored in volume.provenance.windows:
        function = str(stored.function).upper()
        kind: WindowFunction = function if function in get_args(WindowFunction) else "LINEAR"  # type: ignore[assignment]
        try:
            windows.append(Window(stored.center, stored.width, kind, stored.name or "scanner"))
        except OptionError:
            continue
    return windows


def auto_window(volume: Volume) -> Window:
    """Return the window that shows nearly all of the body's soft parts and bone.

    The histogram is that of the body: for CT, voxels from -250 to 2000 HU (air, lung and metal
    left out); for other units, all voxels above the smallest value. Its 1st and 99th
    percentiles become black and white, rounded to 5 units and at least 40 apart for CT. If less
    than 2 % of a CT is body (a lung crop), every voxel above -1000 HU counts.

    Parameters
    ----------
    volume
        Scalar volume; at most about a million voxels of it are looked at.

    Raises
    ------
    OptionError
        If the volume is RGBA.
    """
    if volume.is_rgba:
        raise OptionError("a color volume has no window; give the CT it was made from")
    values = _sample(volume)
    if values.size == 0:
        return PRESETS["soft-tissue"]
    if volume.unit == "HU":
        body = values[(values >= -250) & (values <= 2000)]
        if body.size < 0.02 * values.size:
            body = values[values > -1000]
        step, smallest = 5.0, 40.0
    else:
        body = values[values > values.min()]
        step, smallest = 0.0, 0.0
    if body.size == 0:
        body = values
    low, high = np.percentile(body, (1, 99))
    if step:
        low, high = step * np.floor(low / step), step * np.ceil(high / step)
    center, width = float(low + high) / 2, float(high - low)
    if width < smallest:
        width = smallest
    # Values such as 0..1 need the exact ramp: LINEAR is made for whole numbers.
    if width < 2:
        return Window(center, max(width, 1e-6), "LINEAR_EXACT", "auto")
    return Window(center, width, name="auto")


def _sample(volume: Volume, most: int = 1_000_000) -> NDArray[np.float32]:
    """Return finite values on a regular grid of at most about ``most`` voxels."""
    stride = max(1, int(np.ceil((np.prod(volume.shape, dtype=float) / most) ** (1 / 3))))
    steps = [slice(None, None, min(stride, max(1, n // 4))) for n in volume.shape]
    values = np.asarray(volume.voxels[tuple(steps)], dtype=np.float32).ravel()
    return values[np.isfinite(values)]
