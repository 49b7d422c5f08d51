"""What a running command may use: progress on stderr, a cancel flag, a place for warnings."""

from __future__ import annotations

import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from unicodedata import category

from tomochrome.runtime.progress import CancelToken

_PACKAGE = str(Path(__file__).resolve().parents[1])
_QUIET_SECONDS = 5.0  # a log is not told about work that is over sooner
_LOG_EVERY = 10.0
_DRAW_EVERY = 0.1
_OBEYED = ("Cc", "Cf", "Cs")  # Unicode's categories of control, format and lone surrogate codes


def tell(text: str, stream: TextIO | None = None) -> None:
    """Write to stderr or ``stream`` at once; nobody is left to be told by a closed terminal."""
    stream = sys.stderr if stream is None else stream
    if stream is not None:  # of a process that was started without one
        with suppress(OSError):
            stream.write(text)
            stream.flush()


def legible(text: str) -> str:
    """Return text in which what a terminal would obey, or cannot show, is written as an escape.

    Names of files and series come from whoever made the CD.
    """
    return "".join(
        c.encode("unicode_escape").decode("ascii") if category(c) in _OBEYED and c != "\n" else c
        for c in text
    )


def one_line(message: str) -> str:
    """Return a message on one line, and `legible`."""
    return legible(" ".join(message.split()))


@dataclass(frozen=True)
class Outcome:
    """What a command found out: an object for ``--json``, and the same in words."""

    data: Mapping[str, Any]
    text: str
    after: Callable[[], None] | None = None  #: what is left to do once it was printed


class ProgressLine:
    """Progress on stderr: one line redrawn on a terminal, a few lines in a log."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream is not None and self._stream.isatty()
        self._started = time.monotonic()
        self._next = 0.0 if self._terminal else self._started + _QUIET_SECONDS
        self._drawn = False

    def __call__(self, done: int, total: int, stage: str) -> None:
        """Show that ``done`` of ``total`` steps of ``stage`` are finished."""
        now = time.monotonic()
        if now < self._next:
            return
        share = f"{100 * done // total:3d} %" if total > 0 else f"{done}"
        if self._terminal:
            tell(f"\r\x1b[K{stage}: {share}", self._stream)
            self._drawn = True
        else:
            tell(f"{stage}: {share.strip()}\n", self._stream)
        self._next = now + (_DRAW_EVERY if self._terminal else _LOG_EVERY)

    def clear(self) -> None:
        """Take the line away, so that the next thing written stands alone."""
        if self._drawn:
            tell("\r\x1b[K", self._stream)
            self._drawn = False


@dataclass
class Session:
    """One run of one command."""

    progress: ProgressLine = field(default_factory=ProgressLine)
    cancel: CancelToken = field(default_factory=CancelToken)
    warnings: list[str] = field(default_factory=list)

    def warn(self, message: str) -> None:
        """Tell the user once, on stderr, and remember it for the result."""
        if message not in self.warnings:
            self.warnings.append(message)
            self.progress.clear()
            tell(f"warning: {one_line(message)}\n")


@contextmanager
def listening(session: Session) -> Iterator[None]:
    """Turn Ctrl-C into a cancel, and Tomochrome's own Python warnings into the session's.

    The first Ctrl-C asks the work to stop at its next check; the second stops it at once.
    A closed terminal only asks, as the system and the shell may both say so.
    Warnings of other packages are about their own insides and are not shown.
    """

    def stop(_number: int, _frame: object) -> None:
        if session.cancel.cancelled:
            raise KeyboardInterrupt
        session.cancel.cancel()

    def hang_up(_number: int, _frame: object) -> None:
        session.cancel.cancel()

    def show(message: Warning | str, _category: object, filename: str, *_: object) -> None:
        if filename.startswith(_PACKAGE):
            session.warn(str(message))

    heard: dict[signal.Signals, Callable[[int, object], None]] = {
        signal.SIGINT: stop,
        signal.SIGTERM: stop,
    }
    # Windows has no such signal, and under nohup it is ignored.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        heard[signal.SIGHUP] = hang_up
    before = {}
    for number, handler in heard.items():
        try:
            before[number] = signal.signal(number, handler)
        except ValueError:  # not in the main thread: whoever runs us listens
            break
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = show  # type: ignore[assignment]
            yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
