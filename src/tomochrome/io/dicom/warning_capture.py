"""Capture of pydicom's warnings in each thread, instead of showing or logging them."""

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
    """Drop pydicom's log records while warnings are captured: they quote values, even names."""
    return getattr(_thread, "notes", None) is None


logging.getLogger("pydicom").addFilter(_may_be_logged)


@contextmanager
def captured_warnings() -> Iterator[list[str]]:
    """Capture the messages of warnings in this thread; log records of pydicom are dropped.

    Python's warning filters are global and not thread-safe. So the first thread to enter changes
    them and the last one to leave restores them; warnings of other threads are shown as usual.
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
