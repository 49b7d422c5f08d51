"""The time of each stage of a command."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Clock:
    """Measures the time of each stage of a command."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the time of a stage, which may be entered several times."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add({name: time.perf_counter() - start})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add times that were measured elsewhere."""
        for name, taken in seconds.items():
            self._seconds[name] = self._seconds.get(name, 0.0) + taken

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage, and ``total`` since the clock was created."""
        total = time.perf_counter() - self._start
        return {name: round(value, 3) for name, value in {**self._seconds, "total": total}.items()}
