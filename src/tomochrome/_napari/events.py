"""Connections to napari's events: before napari's own, undone together, keeping no viewer alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any


class Connections:
    """Callbacks connected to events, disconnected together by `release`."""

    def __init__(self) -> None:
        self._all: list[tuple[Any, Callable[..., Any]]] = []

    def add(self, callback: Callable[..., Any], *emitters: Any, last: bool = False) -> None:
        """Call a callback at these events.

        Parameters
        ----------
        callback
            Called with the event.
        *emitters
            napari's event emitters.
        last
            Call it after what napari and others do at the event.
        """
        for emitter in emitters:
            emitter.connect(callback, position="last" if last else "first")
            self._all.append((emitter, callback))

    def release(self) -> None:
        """Disconnect all of them."""
        for emitter, callback in self._all:
            emitter.disconnect(callback)
        self._all.clear()


class ViewerFollower:
    """Something that reacts to a viewer's events for as long as the viewer lives.

    It does not keep the viewer alive, and is kept by whoever keeps things by viewer
    (`prepare_viewer`, `renderer_of`): napari itself keeps no follower alive, so none is called
    once the viewer is gone.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = weakref.ref(viewer)

    @property
    def viewer(self) -> Any:
        """The viewer."""
        return self._viewer()

    def each_layer(self, action: Callable[[Any], None]) -> None:
        """Do something with each layer, and with those that are added later."""
        layers, act = self.viewer.layers, weakly(action)
        for layer in layers:
            action(layer)
        # After napari's own: what draws a layer is there by then.
        layers.events.inserted.connect(lambda event: act(event.value), position="last")


def weakly(method: Callable[..., None]) -> Callable[..., None]:
    """Return a function that calls a bound method for as long as its object lives."""
    ref = weakref.WeakMethod(method)

    def call(*values: Any) -> None:
        alive = ref()
        if alive is not None:
            alive(*values)

    return call


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
    call = weakly(method)
    call.__module__ = "napari.plugins"  # which is all that the order goes by
    emitter.connect(call, position="first")
    return call
