"""A combo box that lists some of a viewer's layers and follows changes of the layer list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QSizePolicy, QWidget
from superqt.utils import signals_blocked

from tomochrome._napari.events import Connections
from tomochrome._napari.layers.volume_layers import grey_layer, source_of
from tomochrome._napari.narrow import ElidedComboBox


def is_grey(layer: Any) -> bool:
    """Whether a layer is a grey image, not a colored, labels or derived layer."""
    known = source_of(layer.metadata)
    grey = layer._type_string == "image" and not layer.rgb
    return grey and (known is None or known.role == "ct")


class LayerChoice(ElidedComboBox):
    """Lists layers, newest first; emits `chosen` when the choice changes.

    Parameters
    ----------
    viewer
        The viewer whose layers are listed.
    accepts
        Returns whether a layer is listed.
    nothing
        Text of the entry for no layer; empty if a layer must be chosen.
    rank
        Sort key: layers of a lower rank are listed first.
    follow
        Whether to choose the layer selected in the viewer, or the scan that it colors.
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
        self._connections, self._names = Connections(), Connections()
        self._listed: list[Any] = []
        self._last: Any = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        events = viewer.layers.events
        self._connections.add(self.refresh, events.inserted, events.removed, events.reordered)
        if follow:
            self._connections.add(self._selected, viewer.layers.selection.events.active)
        self.currentIndexChanged.connect(self._tell)
        self.refresh()
        if not nothing:
            self.choose(viewer.layers.selection.active)
        if follow:
            self._selected()

    def layer(self) -> Any:
        """Return the current layer, or None."""
        index = self.currentIndex()
        return self._listed[index] if 0 <= index < len(self._listed) else None

    def layers(self) -> list[Any]:
        """Return the listed layers, newest first."""
        return [layer for layer in self._listed if layer is not None]

    def choose(self, layer: Any) -> None:
        """Choose a layer if it is listed."""
        if layer in self._listed:
            self.setCurrentIndex(self._listed.index(layer))

    def release(self) -> None:
        """Disconnect from the viewer."""
        self._connections.release()
        self._names.release()
        self._listed, self._last, self._viewer = [], None, None

    def _selected(self, _: object = None) -> None:
        """Choose the layer selected in the viewer, unless the box is disabled."""
        layer = self._viewer.layers.selection.active
        known = None if layer is None else source_of(layer.metadata)
        if layer is None or not self.isEnabled():
            return
        self.choose(layer if known is None else grey_layer(self._viewer.layers, layer, known))

    def refresh(self, _: object = None) -> None:
        """Update the list, also after a change of ``accepts`` or ``rank``."""
        before = self.layer()
        found = [x for x in reversed(self._viewer.layers) if self._accepts(x)]
        if self._rank is not None:
            found.sort(key=self._rank)
        self._listed = [None, *found] if self._nothing else found
        self._names.release()
        self._names.add(self.refresh, *(layer.events.name for layer in found))
        with signals_blocked(self):
            self.clear()
            for layer in self._listed:
                name = self._nothing if layer is None else layer.name
                self.addItem(name)
                self.setItemData(self.count() - 1, name, Qt.ItemDataRole.ToolTipRole)
            if before in self._listed:
                self.setCurrentIndex(self._listed.index(before))
        self._tell()

    def _tell(self, _: object = None) -> None:
        if self.layer() is not self._last:
            self._last = self.layer()
            self.chosen.emit()
