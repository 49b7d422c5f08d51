"""The environment of a running command: progress on stderr, cancellation, warnings, timing."""

from __future__ import annotations

import json
import math
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from unicodedata import category

from tomochrome.notices import Notice
from tomochrome.runtime.task import Task, running

_PACKAGE = str(Path(__file__).resolve().parents[1])
_QUIET_SECONDS = 5.0  # shorter work is not reported in a log
_LOG_EVERY = 10.0
_DRAW_EVERY = 0.1
_ESCAPED = ("Cc", "Cf", "Cs")  # Unicode categories: control, format, surrogate


def tell(text: str, stream: TextIO | None = None) -> None:
    """Write to stderr or ``stream`` and flush; a closed terminal is not an error."""
    stream = sys.stderr if stream is None else stream
    if stream is not None:  # None if the process was started without one
        with suppress(OSError):
            stream.write(text)
            stream.flush()


def legible(text: str) -> str:
    """Escape control and format characters.

    Names of files and series are untrusted and could otherwise control the terminal.
    """
    return "".join(
        c.encode("unicode_escape").decode("ascii") if category(c) in _ESCAPED and c != "\n" else c
        for c in text
    )


def one_line(message: str) -> str:
    """Return a message on one line, with escapes as in `legible`."""
    return legible(" ".join(message.split()))


@dataclass(frozen=True)
class Outcome:
    """The result of a command: an object for ``--json``, and text."""

    data: Mapping[str, Any]
    text: str
    after: Callable[[], None] | None = None  #: called after the result was printed
    silent: bool = False  #: another process prints the result


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
        share = f"{100 * done // total:3d} %" if total > 0 else f"{done or '...'}"
        if self._terminal:
            tell(f"\r\x1b[K{stage}: {share}", self._stream)
            self._drawn = True
        else:
            tell(f"{stage}: {share.strip()}\n", self._stream)
        self._next = now + (_DRAW_EVERY if self._terminal else _LOG_EVERY)

    def clear(self) -> None:
        """Remove the progress line before other text is written."""
        if self._drawn:
            tell("\r\x1b[K", self._stream)
            self._drawn = False


@dataclass
class Session:
    """One run of one command."""

    progress: ProgressLine = field(default_factory=ProgressLine)
    warnings: list[str] = field(default_factory=list)
    task: Task = field(init=False)

    def __post_init__(self) -> None:
        """Create the task in which the command runs."""
        self.task = Task(self.progress)

    def warn(self, *notices: Notice | str) -> None:
        """Print warnings and notes on stderr and keep their texts for the result, each once."""
        for notice in notices:
            message = str(notice)
            if message not in self.warnings:
                is_note = isinstance(notice, Notice) and notice.severity == "info"
                self.warnings.append(message)
                self.progress.clear()
                tell(f"{'note' if is_note else 'warning'}: {one_line(message)}\n")


def json_text(data: Mapping[str, Any], encoding: str = "utf-8", indent: int | None = None) -> str:
    """Return an object as JSON: NumPy numbers as numbers, NaN and infinity as null.

    Characters that the encoding lacks are escaped: a file name can be in another one.
    """
    plain = _plain(data)
    text = json.dumps(plain, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = json.dumps(plain, indent=indent, allow_nan=False)
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def took(seconds: Mapping[str, float]) -> str:
    """Return the seconds of each stage as text."""
    return ", ".join(f"{stage} {taken:.1f} s" for stage, taken in seconds.items())


def size(shape: Sequence[int]) -> str:
    """Return the size of a volume (z, y, x) as text."""
    return f"{' x '.join(map(str, shape))} (z, y, x)"


@contextmanager
def listening(session: Session) -> Iterator[None]:
    """Run the session's task: handle Ctrl-C and collect Tomochrome's Python warnings.

    The first Ctrl-C cancels the task at its next check; the second interrupts it at once. SIGHUP
    of a closed terminal only cancels, because the system and the shell may both send it. Python
    warnings of other packages are not shown.
    """

    def stop(_number: int, _frame: object) -> None:
        if session.task.cancelled:
            raise KeyboardInterrupt
        session.task.cancel()

    def hang_up(_number: int, _frame: object) -> None:
        session.task.cancel()

    def show(message: Warning | str, _category: object, filename: str, *_: object) -> None:
        if filename.startswith(_PACKAGE):
            session.warn(str(message))

    handlers: dict[signal.Signals, Callable[[int, object], None]] = {
        signal.SIGINT: stop,
        signal.SIGTERM: stop,
    }
    # Windows has no SIGHUP, and nohup ignores it.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handlers[signal.SIGHUP] = hang_up
    previous = {}
    for number, handler in handlers.items():
        try:
            previous[number] = signal.signal(number, handler)
        except ValueError:  # not in the main thread: the caller handles signals
            break
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = show  # type: ignore[assignment]
            with running(session.task):
                yield
    finally:
        for number, old_handler in previous.items():
            signal.signal(number, old_handler)
