"""Selection of the reference photograph and optional images of its tissues and body."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QPushButton, QSizePolicy, QToolButton, QWidget

from tomochrome._napari.kit.controls import side_by_side, stacked

_PHOTOGRAPH: Final = (
    "Photograph of an anatomical section (PNG, JPEG, TIFF) of the same region. Blue gel, black "
    "and white around the body are ignored."
)
_LABELS: Final = (
    "Optional: an 8-bit label image (PNG, TIFF) of the tissues in the photograph, of the same "
    "size: indices as in 'tomochrome palette', 0 background, 255 unknown. Colors are then "
    "transferred tissue by tissue."
)
_MASK: Final = (
    "Optional: an 8-bit mask (PNG, TIFF) of the same size as the photograph, nonzero where its "
    "colors may be used. Without it, blue gel, black and white are ignored."
)
_FILTER: Final = "Images (*.png *.jpg *.jpeg *.tif *.tiff)"
_MAX_CHARACTERS: Final = 24


class PictureChoice(QPushButton):
    """A button that shows the name of an image file and opens a dialog to choose another.

    The path is never stored between sessions.

    Parameters
    ----------
    nothing
        Text of the button while no file is chosen.
    title
        Title of the dialog.
    about
        Tooltip.
    parent
        Parent widget.
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
        """Open a dialog to choose a file."""
        folder = "" if self.path is None else str(self.path.parent)
        path, _ = QFileDialog.getOpenFileName(self, self._title, folder, _FILTER)
        if path:
            self.choose(Path(path))

    def choose(self, path: Path | None) -> None:
        """Set the file, or None."""
        self.path = path
        name = self._nothing if path is None else path.name
        self.setText(name if len(name) <= _MAX_CHARACTERS else f"{name[: _MAX_CHARACTERS - 1]}…")
        self.setToolTip(self._about if path is None else f"{path}\n{self._about}")
        self.changed.emit()


class PhotographChoice(QWidget):
    """Buttons for the photograph and, below it, its optional label image and mask."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.photograph = PictureChoice("Choose…", "Choose a photograph", _PHOTOGRAPH, self)
        self.labels = PictureChoice("Labels (optional)…", "Choose labels", _LABELS, self)
        self.mask = PictureChoice("Mask (optional)…", "Choose a mask", _MASK, self)
        self.clear_labels = _clear_button(self.labels, "Remove the label image")
        self.clear_mask = _clear_button(self.mask, "Remove the mask")
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
        """Photograph, label image and mask for `Reference.read`; None without a photograph."""
        photograph = self.photograph.path
        return None if photograph is None else (photograph, self.labels.path, self.mask.path)

    def _photograph_changed(self) -> None:
        for optional in (self.labels, self.mask):
            optional.choose(None)  # labels and mask belong to one photograph
            optional.setEnabled(self.photograph.path is not None)


def _clear_button(choice: PictureChoice, about: str) -> QToolButton:
    """Return a button that clears a choice, hidden while there is none."""
    button = QToolButton(choice.parentWidget())
    button.setText("×")
    button.setToolTip(about)
    button.hide()
    button.clicked.connect(lambda: choice.choose(None))
    choice.changed.connect(lambda: button.setVisible(choice.path is not None))
    return button
