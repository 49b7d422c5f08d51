"""The DICOM library's warnings, noted for each thread instead of shown or logged."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

_lock = threading.Lock()
_thread = threading.local()
_users = 0
_installed = ExitStack()


def _may_be_logged(record: logging.LogRecord) -> bool:
    """Keep what the library says of damaged values out of logs: it quotes them, names too."""
    return getattr(_thread, "notes", None) is None


logging.getLogger("pydicom").addFilter(_may_be_logged)


@contextmanager
def captured_warnings() -> Iterator[list[str]]:
    """Collect the messages of warnings that this thread raises, instead of letting them out.

    What the library logs meanwhile is dropped: it is the same, and quotes damaged values.

    Python's warning filters belong to the whole process and are not safe to change from
    several threads. So the first thread to come here changes them and the last one to leave
    changes them back; warnings of threads that are not here are shown as ever.
    """
    outer: list[str] | None = getattr(_thread, "notes", None)
    notes: list[str] = []
    if outer is None:
        _enter()
    _thread.notes = notes
    try:
        yield notes
    finally:
        _thread.notes = outer
        if outer is None:
            _leave()


def _enter() -> None:
    global _users
    with _lock:
        if _users == 0:
            _installed.enter_context(warnings.catch_warnings())
            warnings.simplefilter("always")
            shown = warnings.showwarning

            def note(message: Any, *args: Any, **options: Any) -> None:
                notes: list[str] | None = getattr(_thread, "notes", None)
                if notes is None:
                    shown(message, *args, **options)
                else:
                    notes.append(str(message))

            warnings.showwarning = note
        _users += 1


def _leave() -> None:
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            _installed.close()
