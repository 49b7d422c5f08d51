"""The photograph whose colors are carried over, and optional pictures of its tissues and body."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QPushButton, QSizePolicy, QToolButton, QWidget

from tomochrome._napari.controls import side_by_side, stacked

_PHOTOGRAPH: Final = (
    "A section or an anatomical photograph (PNG, JPEG, TIFF) of the same region. Blue gel, black "
    "and white around the body are left out."
)
_LABELS: Final = (
    "Optional: an 8-bit picture (PNG, TIFF) of the tissues in the photograph, of the same size: "
    "indices as in 'tomochrome palette', 0 background, 255 unknown. With it colors are carried "
    "over tissue by tissue."
)
_MASK: Final = (
    "Optional: an 8-bit picture (PNG, TIFF) of the same size as the photograph that is not 0 where "
    "its colors may be used. Without it, blue gel, black and white are left out."
)
_READ: Final = "Pictures (*.png *.jpg *.jpeg *.tif *.tiff)"
_LETTERS: Final = 24


class PictureChoice(QPushButton):
    """A button that names a picture and asks for another.

    Its path is kept as long as the panel lives, and never stored.

    Parameters
    ----------
    nothing
        What it says while there is none.
    title
        Of the dialog.
    about
        Its tooltip.
    parent
        Qt's parent.
    """

    changed = Signal()

    def __init__(self, nothing: str, title: str, about: str, parent: QWidget | None = None) -> None:
        super().__init__(nothing, parent)
        self.path: Path | None = None
        self._nothing, self._title, self._about = nothing, title, about
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setToolTip(about)
        self.clicked.connect(self.ask)

    def ask(self) -> None:
        """Open a dialog and take what is chosen in it."""
        folder = "" if self.path is None else str(self.path.parent)
        path, _ = QFileDialog.getOpenFileName(self, self._title, folder, _READ)
        if path:
            self.choose(Path(path))

    def choose(self, path: Path | None) -> None:
        """Take a picture, or none."""
        self.path = path
        name = self._nothing if path is None else path.name
        self.setText(name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…")
        self.setToolTip(self._about if path is None else f"{path}\n{self._about}")
        self.changed.emit()


class PhotographChoice(QWidget):
    """The photograph, and below it the optional pictures of its tissues and of its body."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.photograph = PictureChoice("Photograph…", "Colors of a photograph", _PHOTOGRAPH, self)
        self.labels = PictureChoice("Its tissues (optional)…", "Its tissues", _LABELS, self)
        self.mask = PictureChoice("Its mask (optional)…", "Its mask", _MASK, self)
        self.clear_labels = _clear_button(self.labels, "Use no picture of the tissues")
        self.clear_mask = _clear_button(self.mask, "Use no mask")
        stacked(
            self,
            self.photograph,
            side_by_side((self.labels, 1), self.clear_labels),
            side_by_side((self.mask, 1), self.clear_mask),
            margins=0,
        )
        self.photograph.changed.connect(self._photograph_changed)
        self._photograph_changed()

    @property
    def paths(self) -> tuple[Path, Path | None, Path | None] | None:
        """Photograph, label picture and mask, for `Reference.read`; None without a photograph."""
        photograph = self.photograph.path
        return None if photograph is None else (photograph, self.labels.path, self.mask.path)

    def _photograph_changed(self) -> None:
        for optional in (self.labels, self.mask):
            optional.choose(None)  # the tissues of one photograph are not those of another
            optional.setEnabled(self.photograph.path is not None)


def _clear_button(choice: PictureChoice, about: str) -> QToolButton:
    """Return a button that clears a choice; hidden while there is nothing to clear."""
    button = QToolButton(choice.parentWidget())
    button.setText("×")
    button.setToolTip(about)
    button.hide()
    button.clicked.connect(lambda: choice.choose(None))
    choice.changed.connect(lambda: button.setVisible(choice.path is not None))
    return button
