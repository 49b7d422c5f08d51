"""The box that lists some of a viewer's layers, and keeps up with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy, QWidget

from tomochrome._napari.layers import behind, grey_layer


def is_grey(layer: Any) -> bool:
    """Whether a layer is a grey image: no colored one, no labels, nothing made to look at."""
    known = behind(layer.metadata)
    grey = layer._type_string == "image" and not layer.rgb
    return grey and (known is None or known.role == "ct")


class LayerChoice(QComboBox):
    """Lists layers, the newest first; tells of another choice.

    Parameters
    ----------
    viewer
        The viewer whose layers are listed.
    accepts
        Says of a layer whether it is listed.
    nothing
        What the choice of no layer is called; empty if there is no such choice.
    rank
        Layers of a lower rank are listed first.
    follow
        Choose the layer that is selected in the viewer, or the scan that it colors.
    """

    chosen = Signal()

    def __init__(
        self,
        viewer: Any,
        parent: QWidget | None = None,
        *,
        accepts: Callable[[Any], bool] = is_grey,
        nothing: str = "",
        rank: Callable[[Any], int] | None = None,
        follow: bool = False,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._accepts = accepts
        self._nothing = nothing
        self._rank = rank
        self._follow = follow
        self._listed: list[Any] = []
        self._last: Any = None
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        for event in self._events():
            event.connect(self._refresh)
        if follow:
            viewer.layers.selection.events.active.connect(self._selected)
        self.currentIndexChanged.connect(self._tell)
        self._refresh()
        if not nothing:
            self.choose(viewer.layers.selection.active)
        if follow:
            self._selected()

    def layer(self) -> Any:
        """Return the layer chosen, or None."""
        index = self.currentIndex()
        return self._listed[index] if 0 <= index < len(self._listed) else None

    def layers(self) -> list[Any]:
        """Return the layers listed, the newest first."""
        return [layer for layer in self._listed if layer is not None]

    def refresh(self) -> None:
        """List the layers again, after another answer of what is accepted or comes first."""
        self._refresh()

    def choose(self, layer: Any) -> None:
        """Choose a layer, if it is listed."""
        if layer in self._listed:
            self.setCurrentIndex(self._listed.index(layer))

    def release(self) -> None:
        """Let go of the viewer."""
        for event in self._events():
            event.disconnect(self._refresh)
        if self._follow:
            self._viewer.layers.selection.events.active.disconnect(self._selected)
        self._unfollow()
        self._listed, self._last, self._viewer = [], None, None

    def _selected(self, _: object = None) -> None:
        """Choose what is selected in the viewer; not while the choice is locked."""
        layer = self._viewer.layers.selection.active
        known = None if layer is None else behind(layer.metadata)
        if layer is None or not self.isEnabled():
            return
        self.choose(layer if known is None else grey_layer(self._viewer.layers, layer, known))

    def _unfollow(self) -> None:
        for layer in self._listed:
            if layer is not None:
                layer.events.name.disconnect(self._refresh)

    def _events(self) -> tuple[Any, ...]:
        events = self._viewer.layers.events
        return events.inserted, events.removed, events.reordered

    def _refresh(self, _: object = None) -> None:
        before = self.layer()
        self._unfollow()
        # Newest first: what was opened last is what one wants to work with.
        found = [x for x in reversed(self._viewer.layers) if self._accepts(x)]
        if self._rank is not None:
            found.sort(key=self._rank)
        self._listed = [None, *found] if self._nothing else found
        self.blockSignals(True)
        self.clear()
        for layer in self._listed:
            name = self._nothing if layer is None else layer.name
            self.addItem(name)
            self.setItemData(self.count() - 1, name, 3)  # 3 is Qt.ToolTipRole
            if layer is not None:
                layer.events.name.connect(self._refresh)
        if before in self._listed:
            self.setCurrentIndex(self._listed.index(before))
        self.blockSignals(False)
        self._tell()

    def _tell(self, _: object = None) -> None:
        if self.layer() is not self._last:
            self._last = self.layer()
            self.chosen.emit()
