"""Waiting for what ends some time after the user's last action: objects and threads."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any


def wait_until_freed(qtbot: Any, *gone: weakref.ref[Any]) -> None:
    """Wait until nothing refers to the objects any more.

    A thread that has emitted its last signal still holds what it worked on for a moment.
    """

    def freed() -> bool:
        gc.collect()
        return all(ref() is None for ref in gone)

    qtbot.waitUntil(freed)


def wait_until_threads_end(qtbot: Any) -> None:
    """Wait until no thread of the plugin runs any more."""
    qtbot.waitUntil(lambda: not [x for x in threading.enumerate() if "tomochrome" in x.name])
