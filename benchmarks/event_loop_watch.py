"""Monitoring of a window's event loop: its gaps and their causes."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any


class Driver:
    """Seconds that the GUI thread spends in OpenGL."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self._depth = 0

    def watch(self) -> None:
        """Wrap every OpenGL call of vispy."""
        import qtpy
        from vispy.app import use_app

        use_app(qtpy.API_NAME)
        from vispy.app.backends._qt import CanvasBackend
        from vispy.gloo import gl, glir

        for name in dir(gl):
            if name.startswith("gl") and callable(getattr(gl, name)):
                setattr(gl, name, self._timed(getattr(gl, name)))
        for name in ("glTexImage3D", "glTexSubImage3D"):
            setattr(glir, name, self._timed(getattr(glir, name)))
        paint = CanvasBackend.paintGL

        def paint_and_finish(backend: Any) -> None:
            paint(backend)
            gl.glFinish()

        CanvasBackend.paintGL = paint_and_finish

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **keywords: Any) -> Any:
            if self._depth or threading.current_thread() is not threading.main_thread():
                return call(*arguments, **keywords)
            self._depth, start, cpu = 1, time.perf_counter(), time.thread_time()
            try:
                return call(*arguments, **keywords)
            finally:
                self._depth = 0
                self.seconds += time.perf_counter() - start
                self.cpu_seconds += time.thread_time() - cpu

        return timed


class Collections:
    """Seconds of full garbage collections in any thread, since each stops all threads."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start = 0.0
        gc.callbacks.append(self._called)

    def _called(self, phase: str, found: dict[str, int]) -> None:
        if found["generation"] < 2:
            return
        if phase == "start":
            self._start = time.perf_counter()
        else:
            self.seconds += time.perf_counter() - self._start


class Places:
    """The code that the GUI thread executes, sampled every few milliseconds by another thread."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, list[CodeType]]] = deque(maxlen=20_000)
        self._lock = threading.Lock()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        main = threading.main_thread().ident
        while True:
            # Only the code objects: to look up source lines would hold the lock that is watched.
            frame, stack = sys._current_frames().get(main or 0), []
            while frame is not None:
                stack.append(frame.f_code)
                frame = frame.f_back
            with self._lock:
                self._seen.append((time.perf_counter(), stack))
            time.sleep(0.004)

    def between(self, start: float, end: float) -> str:
        """Return the most frequent code location of the thread."""
        with self._lock:
            seen = list(self._seen)
        found = Counter(self._named(stack) for when, stack in seen if start <= when <= end)
        return found.most_common(1)[0][0] if found else ""

    def _named(self, stack: list[CodeType]) -> str:
        """Return the innermost two functions, and the innermost two of Tomochrome."""
        names = [(Path(c.co_filename).stem + "." + c.co_name, c.co_filename) for c in stack]
        ours = [name for name, filename in names if "tomochrome" in filename]
        return " < ".join([*(name for name, _ in names[:2]), "...", *ours[:2]])


class Watch:
    """A timer in the event loop that records the gaps between its iterations."""

    def __init__(self, driver: Driver, collections: Collections) -> None:
        from qtpy.QtCore import QTimer

        self.gaps: list[dict[str, float]] = []
        self._driver = driver
        self._collections = collections
        self._timer = QTimer()
        self._timer.setInterval(2)
        self._timer.timeout.connect(self._tick)
        self._last = (0.0,) * 5

    def __enter__(self) -> Watch:
        self._last = self._now()
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._tick()
        self._timer.stop()

    def _now(self) -> tuple[float, ...]:
        cpu = time.thread_time() - self._driver.cpu_seconds
        apart = self._driver.seconds, waited_for_processor()
        return time.perf_counter(), *apart, cpu, self._collections.seconds

    def _tick(self) -> None:
        now = self._now()
        whole, driver, waited, cpu, collected = (
            b - a for a, b in zip(self._last, now, strict=True)
        )
        self.gaps.append({
            "whole_ms": 1000 * whole, "driver_ms": 1000 * driver, "waited_ms": 1000 * waited,
            "own_ms": 1000 * max(0.0, whole - driver - waited), "cpu_ms": 1000 * cpu,
            "collected_ms": 1000 * collected, "end": now[0],
        })  # fmt: skip
        self._last = self._now()

    def worst(self) -> dict[str, float]:
        """Return the gap with the longest part excluding driver and waiting."""
        return max(self.gaps, key=lambda gap: gap["own_ms"])


def waited_for_processor() -> float:
    """Return the seconds that the GUI thread waited for a CPU; 0 where they are not counted."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0
