"""Monitoring of the GUI thread: long work that belongs in workers, and the voxels it computes.

How long the window stands still is measured by ``benchmarks/event_loop.py``; tests hold what
makes it short, which no busy machine changes.
"""

from __future__ import annotations

import functools
import sys
import threading
from contextlib import ExitStack
from importlib import import_module
from typing import Any
from unittest.mock import patch

#: Functions that take long: module or class, and attribute.
LONG = (
    ("tomochrome.io", "read"),
    ("tomochrome.io", "find"),
    ("tomochrome.io.preview", "preview"),
    ("tomochrome.colorization", "colorize"),
    ("tomochrome.registration.pairwise", "register"),
    ("tomochrome.color.view:LitVolume", "lit_in_3d"),
    ("tomochrome._napari.colorize.colored_picture", "body_field"),
    ("tomochrome.color.view:LitVolume", "prepare"),
    ("tomochrome._napari.layers.lazy_picture:LazyPicture", "compute_all"),
)
#: Packages that take long to import.
LARGE = ("torch", "monai", "numba", "SimpleITK", "pydicom", "nibabel")


class Imports:
    """Context manager that records the large packages that the GUI thread imports."""

    def __init__(self) -> None:
        self.large: list[str] = []

    def __enter__(self) -> Imports:
        sys.meta_path.insert(0, self)  # type: ignore[arg-type]
        return self

    def __exit__(self, *_: object) -> None:
        sys.meta_path.remove(self)  # type: ignore[arg-type]

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Record the importing thread; called by the import system before the next finder."""
        if name in LARGE and in_gui():
            self.large.append(name)


class GuiWork:
    """Context manager that records the work of the GUI thread.

    Attributes
    ----------
    long
        Functions of `LONG` called in the GUI thread.
    imported
        Packages of `LARGE` that the GUI thread began to import.
    lit
        Number of voxels lit at each call in the GUI thread.
    elsewhere
        Functions of `LONG` called in other threads.
    """

    def __init__(self) -> None:
        self.long: list[str] = []
        self.imported: list[str] = []
        self.lit: list[int] = []
        self.elsewhere: list[str] = []
        self._stack = ExitStack()

    def __enter__(self) -> GuiWork:
        for place, name in LONG:
            owner = object_at(place)
            call = getattr(owner, name)
            self._stack.enter_context(patch.object(owner, name, self._noted(call, name)))
        for place in ("tomochrome.color.view", "tomochrome.color.lighting"):
            owner = import_module(place)
            self._stack.enter_context(patch.object(owner, "relight", self._counted(owner.relight)))
        self.imported = self._stack.enter_context(Imports()).large
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _noted(self, call: Any, name: str) -> Any:
        @functools.wraps(call)
        def noted(*arguments: Any, **keywords: Any) -> Any:
            (self.long if in_gui() else self.elsewhere).append(name)
            return call(*arguments, **keywords)

        return noted

    def _counted(self, relight: Any) -> Any:
        @functools.wraps(relight)
        def counted(values: Any, *arguments: Any, **keywords: Any) -> Any:
            if in_gui():
                self.lit.append(int(values.size))
            return relight(values, *arguments, **keywords)

        return counted

    @property
    def idle(self) -> bool:
        """Whether all long work was done outside the GUI thread."""
        return not self.long and not self.imported


def in_gui() -> bool:
    """Whether this is the GUI thread."""
    return threading.current_thread() is threading.main_thread()


def object_at(place: str) -> Any:
    """Return a module, or a class in it: ``package.module:Class``."""
    module, _, name = place.partition(":")
    owner = import_module(module)
    return getattr(owner, name) if name else owner
