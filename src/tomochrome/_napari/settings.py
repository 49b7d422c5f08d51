"""What the panel remembers between starts: choices of the user, nothing of any patient.

Values are kept in one INI file of the user's (`QSettings`) and are not trusted: who reads one
checks that the choice still exists.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from qtpy.QtCore import QSettings

from tomochrome._napari.named_choice import NamedChoice

Key = Literal["model", "device", "palette", "alpha", "opacity", "window"]

#: All that is kept. ``window`` is the kind of window, never numbers that were made for one scan.
KEYS: Final[tuple[Key, ...]] = ("model", "device", "palette", "alpha", "opacity", "window")
_GROUP: Final = "colorize"


def remember(key: Key, value: str | float) -> None:
    """Keep a choice for the next start."""
    _store().setValue(f"{_GROUP}/{key}", str(value))


def remembered(key: Key) -> str:
    """Return what was kept, empty if nothing was."""
    value = _store().value(f"{_GROUP}/{key}")
    return value if isinstance(value, str) else ""


def remember_choice(key: Key, box: NamedChoice) -> None:
    """Choose what was kept, as far as it still is offered, and keep what the user chooses."""
    box.choose(remembered(key))
    box.activated.connect(lambda _: remember(key, box.name))


def remembered_fraction(key: Key, default: float) -> float:
    """Return a number from 0 to 1 that was kept, or the default if there is none."""
    try:
        value = float(remembered(key))
    except ValueError:
        return default
    return value if math.isfinite(value) and 0.0 <= value <= 1.0 else default


def _store() -> QSettings:
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "Tomochrome", "napari")
