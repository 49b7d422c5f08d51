"""Whether paths were opened by one and the same call: dropped together, or listed in one call."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import FrameType
from typing import Final

from qtpy.QtCore import QTimer

_NAPARI: Final = ("napari", "npe2")
_EVENT_LOOP: Final = "napari._qt.qt_event_loop"
_CHECK_MS: Final = 200


class SameCall:
    """Remembers a call of napari's, and tells whether it is still under way.

    napari opens the paths of one drop one after the other, each with a call of the reader, and
    does not say that they belong together; but all of these calls come from one call of
    `open`, which is on the stack until the last path was opened. A clock cannot tell: a folder
    on a slow disk takes longer to look through than a user takes to drop the next.
    """

    def __init__(self) -> None:
        self._frame: FrameType | None = None

    def goes_on(self) -> bool:
        """Whether the call that was remembered leads to this one too."""
        return self._frame is not None and any(frame is self._frame for frame in _stack())

    def remember(self) -> None:
        """Remember napari's call that leads here; nothing where a reader is called directly."""
        self._frame = _outermost_of_napari()
        QTimer.singleShot(0, self._forget_when_over)

    def _forget_when_over(self) -> None:
        """Let go of the call as soon as it is over, and with it of all that it worked on."""
        if self.goes_on():  # napari runs the event loop meanwhile, to draw its progress
            QTimer.singleShot(_CHECK_MS, self._forget_when_over)
        else:
            self._frame = None


def _stack() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _outermost_of_napari() -> FrameType | None:
    """Return the outermost of the calls within napari that lead here, inside its event loop."""
    found = None
    for frame in _stack():
        module = str(frame.f_globals.get("__name__", ""))
        if module == _EVENT_LOOP:
            break
        if module.partition(".")[0] in _NAPARI:
            found = frame
        elif found is not None:
            break
    return found
