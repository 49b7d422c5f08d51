"""In 3D a colored scan hides its grey one, whose projection would show little but the table."""

from __future__ import annotations

import weakref
from typing import Any

from tomochrome._napari.events import ViewerFollower, before_napari
from tomochrome._napari.layers import source_of


def covered(layers: Any) -> list[Any]:
    """Return the grey layers over which a colored layer of ours is shown."""
    colored = [known.shown.voxels for layer in layers if (known := _colors(layer)) is not None]
    return [
        layer
        for layer in layers
        if layer._type_string == "image" and any(layer.data is voxels for voxels in colored)
    ]


def _colors(layer: Any) -> Any:
    """Return the source of a visible layer that colors a CT, otherwise None."""
    known = source_of(layer.metadata)
    shown = known is not None and known.role == "color" and known.chroma is not None
    return known if shown and layer.visible else None


class GreyIn3D(ViewerFollower):
    """Hides the grey layers below colored ones in 3D, and shows them again afterwards.

    A grey layer that the user shows or hides in 3D stays so until 3D is entered again.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self._hidden: weakref.WeakSet[Any] = weakref.WeakSet()
        self._by_user: weakref.WeakSet[Any] = weakref.WeakSet()
        self._setting = False
        # Hidden before napari draws its volume, which takes long; shown again after that.
        before_napari(viewer.dims.events.ndisplay, self._entering_3d)
        viewer.dims.events.ndisplay.connect(self._leaving_3d, position="last")
        viewer.layers.events.removed.connect(self._update, position="last")
        self.each_layer(self._follow)

    def _entering_3d(self, event: Any) -> None:
        if event.value == 3:
            self._by_user.clear()
            self._update()

    def _leaving_3d(self, event: Any) -> None:
        if event.value != 3:
            self._by_user.clear()
            self._update()

    def _follow(self, layer: Any) -> None:
        layer.events.visible.connect(self._visible_changed)
        self._update()

    def _visible_changed(self, event: Any) -> None:
        viewer, layer = self.viewer, event.source
        if self._setting or viewer is None or viewer.dims.ndisplay != 3:
            return
        self._hidden.discard(layer)
        self._by_user.add(layer)
        self._update()

    def _update(self, _: object = None) -> None:
        viewer = self.viewer
        if viewer is None:
            return
        wanted = covered(viewer.layers) if viewer.dims.ndisplay == 3 else []
        self._setting = True
        try:
            for layer in [*self._hidden]:
                if layer not in wanted:
                    self._hidden.discard(layer)
                    layer.visible = True
            for layer in wanted:
                if layer.visible and layer not in self._by_user:
                    self._hidden.add(layer)
                    layer.visible = False
        finally:
            self._setting = False
