"""Doing something at once, but not more often than the window can draw."""

from __future__ import annotations

import time
from collections.abc import Callable

from qtpy.QtCore import QObject, QTimer

_LEAST_PAUSE_MS = 15


class Throttle(QObject):
    """Calls an action at once, then at most as often as leaves the event loop some air.

    The last request is never lost: whatever was asked for during a pause is done after it.

    Parameters
    ----------
    action
        What to do, in the GUI thread.
    """

    def __init__(self, action: Callable[[], None], parent: QObject | None) -> None:
        super().__init__(parent)
        self._action = action
        self._again = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._paused)

    def request(self, *, after_ms: int = 0) -> None:
        """Ask for the action; with ``after_ms``, only when no request came for that long."""
        if after_ms:
            self._again = True
            self._timer.start(after_ms)
        elif self._timer.isActive():
            self._again = True
        else:
            self._do()

    def stop(self) -> None:
        """Forget any request."""
        self._again = False
        self._timer.stop()

    def _paused(self) -> None:
        if self._again:
            self._do()

    def _do(self) -> None:
        self._again = False
        start = time.perf_counter()
        self._action()
        spent_ms = 1000 * (time.perf_counter() - start)
        self._timer.start(max(_LEAST_PAUSE_MS, round(spent_ms)))
