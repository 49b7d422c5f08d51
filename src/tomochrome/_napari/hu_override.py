"""The box by which a user says that values without a unit are Hounsfield units."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QCheckBox, QFrame, QWidget

from tomochrome._napari.controls import MessageLabel, stacked

_CLAIM = "These values are Hounsfield units"
_CAUTION = (
    "Tick this only if you know it: water is 0 and air is -1000 in this volume, as in a CT whose "
    "header was lost on export. Then press Colorize again. In MR, PET or any other picture "
    "every color would be wrong."
)


class HUOverride(QFrame):
    """Hidden until a layer was refused for want of a unit; ticked for that one layer only.

    It is never there before the refusal was read, and forgets its tick when another layer is
    chosen, so that nobody colors an MR by habit.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.claim = QCheckBox(_CLAIM, self)
        self.caution = MessageLabel("warning", self)
        self.caution.say(_CAUTION)
        stacked(self, self.claim, self.caution, margins=0)
        self._layer: Any = None
        self.follow(None)

    @property
    def is_claimed(self) -> bool:
        """Whether the user says that the refused layer holds Hounsfield units."""
        return self._layer is not None and self.claim.isChecked()

    def offer(self, layer: Any) -> None:
        """Offer to override the refusal of a layer."""
        if layer is not self._layer:
            self.claim.setChecked(False)
        self._layer = layer
        self.setVisible(True)

    def follow(self, layer: Any) -> None:
        """Go away, tick and all, if another layer than the refused one is chosen now."""
        if layer is None or layer is not self._layer:
            self._layer = None
            self.claim.setChecked(False)
            self.setVisible(False)
