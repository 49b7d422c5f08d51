"""The box that lists a viewer's image layers, and keeps up with them."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy, QWidget

from tomochrome._napari.layers import behind


class LayerChoice(QComboBox):
    """Lists the grey image layers, no colored ones and no labels; tells of another choice."""

    chosen = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._listed: list[Any] = []
        self._last: Any = None
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        for event in self._events():
            event.connect(self._refresh)
        self.currentIndexChanged.connect(self._tell)
        self._refresh()
        self.choose(viewer.layers.selection.active)

    def layer(self) -> Any:
        """Return the layer chosen, or None."""
        index = self.currentIndex()
        return self._listed[index] if 0 <= index < len(self._listed) else None

    def choose(self, layer: Any) -> None:
        """Choose a layer, if it is listed."""
        if layer in self._listed:
            self.setCurrentIndex(self._listed.index(layer))

    def release(self) -> None:
        """Let go of the viewer."""
        for event in self._events():
            event.disconnect(self._refresh)
        for layer in self._listed:
            layer.events.name.disconnect(self._refresh)
        self._listed, self._last, self._viewer = [], None, None

    def _events(self) -> tuple[Any, ...]:
        events = self._viewer.layers.events
        return events.inserted, events.removed, events.reordered

    def _refresh(self, _: object = None) -> None:
        before = self.layer()
        for layer in self._listed:
            layer.events.name.disconnect(self._refresh)
        # Newest first: what was opened last is what one wants to color.
        self._listed = [x for x in reversed(self._viewer.layers) if _is_candidate(x)]
        self.blockSignals(True)
        self.clear()
        for layer in self._listed:
            layer.events.name.connect(self._refresh)
            self.addItem(layer.name)
            self.setItemData(self.count() - 1, layer.name, 3)  # 3 is Qt.ToolTipRole
        if before in self._listed:
            self.setCurrentIndex(self._listed.index(before))
        self.blockSignals(False)
        self._tell()

    def _tell(self, _: object = None) -> None:
        if self.layer() is not self._last:
            self._last = self.layer()
            self.chosen.emit()


def _is_candidate(layer: Any) -> bool:
    known = behind(layer.metadata)
    grey = layer._type_string == "image" and not layer.rgb
    return grey and (known is None or known.role == "ct")
