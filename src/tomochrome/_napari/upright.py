"""Head up in every plane: napari lets the first axis of a plane run down the screen.

Our slider runs to superior, so in sagittal and coronal planes napari would show a patient standing
on the head. While a scan of ours lies in a viewer, those planes are shown with superior on top;
axial ones have anterior on top as they are. Rolling the axes, napari comes to coronal planes whose
rows run from side to side, and the patient lies on one; those are stood up as well.
"""

from __future__ import annotations

import weakref
from typing import Any, Final

from tomochrome._napari.layers import behind

_AXIAL: Final = (0, 1, 2)
_SAGITTAL: Final = (2, 0, 1)
_CORONAL: Final = (1, 0, 2)
#: What follows what when the axes are rolled, either way: order before, what napari makes of it.
_STOOD_UP: Final = {
    (_SAGITTAL, (1, 2, 0)): _CORONAL,
    (_AXIAL, (1, 2, 0)): _CORONAL,
    (_CORONAL, (2, 1, 0)): _AXIAL,
    (_CORONAL, (0, 2, 1)): _SAGITTAL,
}
_KEPT: weakref.WeakKeyDictionary[Any, _Upright] = weakref.WeakKeyDictionary()


def keep_upright(viewer: Any) -> None:
    """Show superior on top in a viewer's planes, from now on."""
    if viewer not in _KEPT:
        _KEPT[viewer] = _Upright(viewer)
    _KEPT[viewer].look()


class _Upright:
    """Follows the axes and layers of a viewer, which it does not keep alive."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = weakref.ref(viewer)
        self._turned = False  # what a user has turned is left as it is
        self._order = tuple(viewer.dims.order)
        viewer.dims.events.order.connect(self._rolled)
        for event in (
            viewer.dims.events.ndisplay,
            viewer.layers.events.inserted,
            viewer.layers.events.removed,
        ):
            event.connect(self.look)

    def _rolled(self, _: object = None) -> None:
        """Stand the patient up, and look again."""
        viewer = self._viewer()
        if viewer is None:
            return
        before, self._order = self._order, tuple(viewer.dims.order)
        better = _STOOD_UP.get((before, self._order))
        if better is not None and _holds_a_scan(viewer.layers):
            viewer.dims.order = better  # which is heard here once more
        else:
            self.look()

    def look(self, _: object = None) -> None:
        """Turn the screen, or turn it back."""
        viewer = self._viewer()
        if viewer is None:
            return
        shown, first = viewer.dims.displayed, viewer.dims.ndim - 3
        wanted = len(shown) == 2 and shown[0] == first and _holds_a_scan(viewer.layers)
        camera = viewer.scene.camera
        vertical, horizontal = (str(way) for way in camera.orientation2d)
        if wanted and vertical == "down":
            camera.orientation2d = ("up", horizontal)
            self._turned = True
        elif not wanted and self._turned:
            camera.orientation2d = ("down", horizontal)
            self._turned = False


def _holds_a_scan(layers: Any) -> bool:
    return any(behind(layer.metadata) is not None for layer in layers)
