"""Being called before napari's own callbacks."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any


def before_napari(emitter: Any, method: Callable[[Any], None]) -> Callable[[Any], None]:
    """Connect a method so that napari calls it before what it does itself at an event.

    napari calls the callbacks of its own modules first, and a plugin's afterwards: a layer would
    be sliced for 3D before it can be hidden. Were napari to order callbacks in another way, the
    method would only be called later.

    Parameters
    ----------
    emitter
        napari's event emitter.
    method
        A bound method, called with the event; its object is not kept alive.

    Returns
    -------
    callable
        What was connected, for ``emitter.disconnect``.
    """
    ref = weakref.WeakMethod(method)

    def call(event: Any) -> None:
        alive = ref()
        if alive is not None:
            alive(event)

    call.__module__ = "napari.plugins"  # which is all that the order goes by
    emitter.connect(call, position="first")
    return call
