"""Combo boxes of panels: the layers of a viewer, and titles for the ids used in files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QSizePolicy, QWidget
from superqt.utils import signals_blocked

from tomochrome._napari.kit.events import Connections
from tomochrome._napari.kit.narrow_widgets import ElidedComboBox
from tomochrome._napari.layers.grey_window import is_grey_image
from tomochrome._napari.layers.volume_layers import grey_layer, source_of
from tomochrome.errors import DeviceError
from tomochrome.runtime import DEVICE_NAMES, choose_device


def is_grey(layer: Any) -> bool:
    """Whether a layer is a grey image, not a colored, labels or derived layer."""
    source = source_of(layer.metadata)
    return is_grey_image(layer) and (source is None or source.role == "ct")


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
        source = None if layer is None else source_of(layer.metadata)
        if layer is None or not self.isEnabled():
            return
        self.choose(layer if source is None else grey_layer(self._viewer.layers, layer, source))

    def refresh(self, _: object = None) -> None:
        """Update the list, also after a change of ``accepts`` or ``rank``."""
        before = self.layer()
        layers = [x for x in reversed(self._viewer.layers) if self._accepts(x)]
        if self._rank is not None:
            layers.sort(key=self._rank)
        self._listed = [None, *layers] if self._nothing else layers
        self._names.release()
        self._names.add(self.refresh, *(layer.events.name for layer in layers))
        with signals_blocked(self):
            self.clear()
            for layer in self._listed:
                name = self._nothing if layer is None else layer.name
                self.add(name, tip=name)
            if before in self._listed:
                self.setCurrentIndex(self._listed.index(before))
        self._tell()

    def _tell(self, _: object = None) -> None:
        if self.layer() is not self._last:
            self._last = self.layer()
            self.chosen.emit()


@dataclass(frozen=True)
class Named:
    """One choice."""

    name: str  #: id in the command line and in files
    title: str  #: text shown to the user
    about: str = ""  #: description in one line

    @property
    def tip(self) -> str:
        """Tooltip with the id and the description."""
        return f"{self.name}: {self.about}" if self.about else self.name


class NamedChoice(ElidedComboBox):
    """A combo box of titles; `name` is the id of the selected one.

    If a name is not offered yet because a worker is still listing the choices, it is selected as
    soon as it is offered, unless the user has selected another one by then.
    """

    def __init__(
        self, choices: Sequence[Named] = (), parent: QWidget | None = None, *, tip: str = ""
    ) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._awaited = ""
        self._tip = tip
        self.offer(choices)
        self.currentIndexChanged.connect(self._chosen)

    def offer(self, choices: Sequence[Named]) -> None:
        """Replace the choices without emitting a signal, keeping the current one if possible."""
        before = self.name
        with signals_blocked(self):
            self.clear()
            for choice in choices:
                self.add(choice.title, choice.name, choice.tip)
            indices = [self.findData(name) for name in (self._awaited, before)]
            self.setCurrentIndex(next((index for index in indices if index >= 0), 0))
        if self.name == self._awaited:
            self._awaited = ""
        self._show_tip()

    @property
    def name(self) -> str:
        """The id of the current choice, empty if there are no choices."""
        return self.currentData() or ""

    def choose(self, name: str) -> None:
        """Select a choice by id, now or as soon as it is offered."""
        index = self.findData(name)
        if index >= 0:
            self.setCurrentIndex(index)
        else:
            self._awaited = name

    def show_name(self, name: str) -> None:
        """Select a choice that is offered, without emitting a signal."""
        index = self.findData(name)
        if index >= 0:
            with signals_blocked(self):
                self.setCurrentIndex(index)
            self._show_tip()

    def _chosen(self, _: int) -> None:
        self._awaited = ""
        self._show_tip()

    def _show_tip(self) -> None:
        own = self.itemData(self.currentIndex(), Qt.ItemDataRole.ToolTipRole)
        self.setToolTip(self._tip or own or "")


_DEVICES: Final = {
    "auto": "Automatic",
    "cpu": "Processor (CPU)",
    "cuda": "Graphics card (CUDA)",
    "mps": "Graphics card (Apple)",
}


@dataclass(frozen=True)
class Offer:
    """The choices of a panel by name; tuples that a panel does not use are empty.

    ``with_photograph`` are the models that take their colors from a photograph.
    """

    models: tuple[str, ...]
    devices: tuple[str, ...]
    palettes: tuple[str, ...] = ()
    alphas: tuple[str, ...] = ()
    with_photograph: tuple[str, ...] = ()


def device_choices(names: Sequence[str]) -> list[Named]:
    """Return the choices for computing devices."""
    about = {"auto": "a GPU if there is one, otherwise the CPU"}
    return [Named(name, _DEVICES.get(name, name), about.get(name, "")) for name in names]


def usable_devices() -> tuple[str, ...]:
    """Return the names of the devices available on this computer."""
    devices = []
    for name in DEVICE_NAMES:
        with suppress(DeviceError):
            choose_device(name)
            devices.append(name)
    return tuple(devices)
