"""What all parts of the phantom share with its callers: progress reports and errors.

A progress callback is called before each step of a longer piece of work and after the last. An
exception that it raises ends the work, and is the way to cancel it.
"""

from __future__ import annotations

from typing import Protocol


class PhantomError(ValueError):
    """An option or an array is invalid; the message is one sentence."""


class Progress(Protocol):
    """Progress callback; an exception that it raises ends the work."""

    def __call__(self, done: int, total: int, stage: str) -> None:
        """Take note that ``done`` of ``total`` steps of ``stage`` are finished."""


def silent(done: int, total: int, stage: str) -> None:
    """Take note of nothing: the default `Progress`."""
