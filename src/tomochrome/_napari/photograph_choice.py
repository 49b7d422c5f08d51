"""The photograph whose colors are carried over, and the picture of the tissues in it."""

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
    """The photograph, and below it the picture of its tissues, which may be left out."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.photograph = PictureChoice("Photograph…", "Colors of a photograph", _PHOTOGRAPH, self)
        self.labels = PictureChoice("Its tissues (optional)…", "Its tissues", _LABELS, self)
        self.forget = QToolButton(self)
        self.forget.setText("×")
        self.forget.setToolTip("Do without the picture of the tissues")
        stacked(self, self.photograph, side_by_side((self.labels, 1), self.forget), margins=0)
        self.forget.clicked.connect(lambda: self.labels.choose(None))
        # The tissues of one photograph are not those of another.
        self.photograph.changed.connect(lambda: self.labels.choose(None))
        self.labels.changed.connect(self._show)
        self._show()

    @property
    def paths(self) -> tuple[Path, Path | None] | None:
        """Photograph and label picture, for `Reference.read`; None without a photograph."""
        photograph = self.photograph.path
        return None if photograph is None else (photograph, self.labels.path)

    def _show(self) -> None:
        self.labels.setEnabled(self.photograph.path is not None)
        self.forget.setVisible(self.labels.path is not None)
