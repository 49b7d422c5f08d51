"""Importing what coloring needs, in a thread, so that the first Run does not wait for it."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tomochrome.runtime import CancelToken, Progress


@dataclass(frozen=True)
class Offer:
    """What can be chosen in the widget once everything is imported."""

    models: tuple[str, ...]
    palettes: tuple[str, ...]
    alphas: tuple[str, ...]
    devices: tuple[str, ...]


def warm_up(progress: Progress, cancel: CancelToken) -> Offer:
    """Import and compile what coloring needs, and find the models, palettes and devices."""
    from tomochrome.color import ALPHA_PRESETS, palette_names
    from tomochrome.colorization import models as model_cards
    from tomochrome.colorization import warm_up as warm_engine
    from tomochrome.runtime import check

    check(cancel)
    load_torch_library()
    check(cancel)
    warm_engine()
    check(cancel)
    devices = usable_devices()
    models = tuple(card.name for card in model_cards())
    # What was imported stays for good. Taking it out of the garbage collector's sight keeps
    # later full collections, which stop the window, from walking over a million objects.
    gc.freeze()
    return Offer(models, tuple(palette_names()), tuple(ALPHA_PRESETS), devices)


def usable_devices() -> tuple[str, ...]:
    """Return the names of devices that this computer has."""
    from tomochrome.errors import DeviceError
    from tomochrome.runtime import DEVICE_NAMES, choose_device

    found = []
    for name in DEVICE_NAMES:
        with suppress(DeviceError):
            choose_device(name)
            found.append(name)
    return tuple(found)


def let_go_of_removed(_: object = None) -> None:
    """Let the garbage collector see again what was frozen: a removed scan must be freed."""
    gc.unfreeze()


def load_torch_library() -> None:
    """Load torch's big library without holding the interpreter's lock.

    Loading it takes 0.2 s in one go. An ``import`` would hold the lock for all of that, and the
    window would stand still; a foreign function called through ctypes gives the lock away. Where
    this does not work, the import that follows loads the library as ever.
    """
    found = importlib.util.find_spec("torch")
    if not sys.platform.startswith("linux") or found is None or found.origin is None:
        return
    load = ctypes.CDLL(None).dlopen
    load.argtypes, load.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    for name in ("libc10.so", "libtorch_cpu.so"):
        path = Path(found.origin).parent / "lib" / name
        if path.is_file():
            load(os.fsencode(path), os.RTLD_NOW)
