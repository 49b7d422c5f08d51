"""Connections to napari's events that are released together and keep no viewer alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from napari.utils.events import EventEmitter


class Connections:
    """A group of event connections that `release` disconnects together."""

    def __init__(self) -> None:
        self._all: list[tuple[Any, Callable[..., Any]]] = []

    def add(self, callback: Callable[..., Any], *emitters: Any, last: bool = False) -> None:
        """Connect a callback to events; if ``last``, it is called after all other callbacks."""
        for emitter in emitters:
            emitter.connect(callback, position="last" if last else "first")
            self._all.append((emitter, callback))

    def release(self) -> None:
        """Disconnect all callbacks."""
        for emitter, callback in self._all:
            emitter.disconnect(callback)
        self._all.clear()


def unwrapped(viewer: Any) -> Any:
    """Return the viewer itself, not the proxy that napari gives to a plugin's widget.

    The proxy wraps each layer anew, so ``is`` fails between a layer from ``selection.active`` or an
    index and the same layer from an event.
    """
    return getattr(viewer, "__wrapped__", viewer)


class ViewerFollower:
    """Base class of objects that react to a viewer's events for as long as the viewer lives.

    A follower does not keep the viewer alive. It is itself kept alive by `follower_of`, because
    napari holds its callbacks weakly.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = weakref.ref(viewer)

    @property
    def viewer(self) -> Any:
        """The viewer."""
        return self._viewer()

    @property
    def settled(self) -> bool:
        """Whether everything that it adds to the canvas has been drawn."""
        return True

    def each_layer(self, action: Callable[[Any], None]) -> None:
        """Call a function for each layer, including those that are added later."""
        layers, act = self.viewer.layers, weakly(action)
        for layer in layers:
            action(layer)
        # After napari's own callbacks, when the visual of the layer exists.
        layers.events.inserted.connect(lambda event: act(event.value), position="last")


_Follower = TypeVar("_Follower", bound=ViewerFollower)
_FOLLOWERS: weakref.WeakKeyDictionary[Any, dict[type, Any]] = weakref.WeakKeyDictionary()


def follower_of(viewer: Any, kind: type[_Follower]) -> _Follower:
    """Return a viewer's follower of a class, created at the first call."""
    viewer = unwrapped(viewer)
    followers = _FOLLOWERS.setdefault(viewer, {})
    if kind not in followers:
        followers[kind] = kind(viewer)
    follower: _Follower = followers[kind]
    return follower


def is_settled(viewer: Any) -> bool:
    """Return whether everything that was added to the canvas of a viewer has been drawn."""
    return all(follower.settled for follower in _FOLLOWERS.get(unwrapped(viewer), {}).values())


def weakly(method: Callable[..., None]) -> Callable[..., None]:
    """Return a function that calls a bound method as long as its object is alive."""
    ref = weakref.WeakMethod(method)

    def call(*values: Any) -> None:
        bound = ref()
        if bound is not None:
            bound(*values)

    return call


def before_napari(emitter: Any, method: Callable[[Any], None]) -> EventEmitter:
    """Connect a bound method to an event so that it is called before napari's own callbacks.

    napari calls its own callbacks first, among them those of its event emitters, and those of
    plugins afterwards: a layer would be sliced for 3D before it can be hidden. The method is
    therefore connected through an emitter of its own.

    The object of the method is not kept alive. Returns that emitter, for ``emitter.disconnect``.
    """
    relay = EventEmitter(source=emitter.source)
    relay.connect(method)
    emitter.connect(relay, position="first")
    return relay
