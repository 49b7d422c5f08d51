"""A combo box that shows titles and returns the ids used in files and commands."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy, QWidget
from superqt.utils import signals_blocked

from tomochrome._napari.narrow import ElidedComboBox
from tomochrome.runtime import check, report

_DEVICES: Final = {
    "auto": "Automatic",
    "cpu": "Processor (CPU)",
    "cuda": "Graphics card (CUDA)",
    "mps": "Graphics card (Apple)",
}


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
        self._wanted = ""
        self._tip = tip
        self.offer(choices)
        self.currentIndexChanged.connect(self._chosen)

    def offer(self, choices: Sequence[Named]) -> None:
        """Replace the choices without emitting a signal, keeping the current one if possible."""
        before = self.name
        with signals_blocked(self):
            self.clear()
            for number, choice in enumerate(choices):
                self.addItem(choice.title, choice.name)
                self.setItemData(number, choice.tip, Qt.ItemDataRole.ToolTipRole)
            found = [self.findData(name) for name in (self._wanted, before)]
            self.setCurrentIndex(next((index for index in found if index >= 0), 0))
        if self.name == self._wanted:
            self._wanted = ""
        self._show_tip()

    @property
    def name(self) -> str:
        """The id of the current choice, empty if there are no choices."""
        return self.currentData() or ""

    def choose(self, name: str) -> None:
        """Select a choice by id, now or as soon as it is offered."""
        found = self.findData(name)
        if found >= 0:
            self.setCurrentIndex(found)
        else:
            self._wanted = name

    def show_name(self, name: str) -> None:
        """Select a choice that is offered, without emitting a signal."""
        found = self.findData(name)
        if found >= 0:
            with signals_blocked(self):
                self.setCurrentIndex(found)
            self._show_tip()

    def _chosen(self, _: int) -> None:
        self._wanted = ""
        self._show_tip()

    def _show_tip(self) -> None:
        own = self.itemData(self.currentIndex(), Qt.ItemDataRole.ToolTipRole)
        self.setToolTip(self._tip or own or "")


def model_choices(names: Sequence[str]) -> list[Named]:
    """Return the choices for models, with titles from their cards."""
    from tomochrome.colorization.cards import find_model
    from tomochrome.errors import ModelError

    found = []
    for name in names:
        try:
            card = find_model(name)
        except ModelError:
            found.append(Named(name, name))
        else:
            found.append(Named(name, card.title, card.description))
    return found


def device_choices(names: Sequence[str]) -> list[Named]:
    """Return the choices for computing devices."""
    about = {"auto": "a GPU if there is one, otherwise the CPU"}
    return [Named(name, _DEVICES.get(name, name), about.get(name, "")) for name in names]


def palette_choices(names: Sequence[str]) -> list[Named]:
    """Return the choices for palettes."""
    return [Named(name, name.replace("-", " ").capitalize()) for name in names]


def alpha_choices(names: Sequence[str]) -> list[Named]:
    """Return the choices for opacity curves; those that depend on the HU value are for 3D."""
    from tomochrome.color.alpha import ALPHA_PRESETS

    found = []
    for name in names:
        curve = ALPHA_PRESETS.get(name)
        title = "Bones and vessels" if name == "vessels" else name.replace("-", " ").capitalize()
        if curve is not None and not curve.for_slices:
            title = f"{title} (3D)"
        about = "" if curve is None else curve.about
        if curve is not None and curve.shaded:
            about += "; in 3D, surfaces are shaded, independent of the window"
        found.append(Named(name, title, about))
    return found


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


def colorize_offer() -> Offer:
    """Import what coloring needs, to speed up the first run, and list the choices."""
    from tomochrome.color import ALPHA_PRESETS, palette_names
    from tomochrome.colorization import models, warm_up
    from tomochrome.colorization.predictor import needs_reference

    check()
    warm_up()
    check()
    cards = models()
    return Offer(
        tuple(card.name for card in cards),
        usable_devices(),
        tuple(palette_names()),
        tuple(ALPHA_PRESETS),
        tuple(card.name for card in cards if needs_reference(card)),
    )


def register_offer() -> Offer:
    """Import what registration and comparison need, and list the networks and devices."""
    report(0, 0, "Loading the registration software")
    from tomochrome import compare
    from tomochrome.bundles import REGISTRATION, list_cards
    from tomochrome.errors import TomochromeError
    from tomochrome.registration import align, pairwise  # noqa: F401
    from tomochrome.registration.symmetric_network import load_symnet

    _ = compare.checkerboard
    check()
    cards = list_cards(REGISTRATION)
    report(0, 0, "Loading the deformation network")
    with suppress(TomochromeError):  # a damaged model is reported when it is used
        if cards:
            load_symnet(cards[0].name)  # imports the libraries of the network
    check()
    return Offer((*(card.name for card in cards), "none"), usable_devices())


def usable_devices() -> tuple[str, ...]:
    """Return the names of the devices available on this computer."""
    from tomochrome.errors import DeviceError
    from tomochrome.runtime import DEVICE_NAMES, choose_device

    found = []
    for name in DEVICE_NAMES:
        with suppress(DeviceError):
            choose_device(name)
            found.append(name)
    return tuple(found)
