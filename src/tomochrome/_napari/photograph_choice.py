"""The photograph whose colors are carried over: a button that names it and asks for another."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QPushButton, QSizePolicy, QWidget

_NOTHING = "Photograph…"
_ABOUT = (
    "A section or an anatomical photograph (PNG, JPEG, TIFF) of the same region. Blue gel, black "
    "and white around the body are left out."
)
_READ = "Photographs (*.png *.jpg *.jpeg *.tif *.tiff)"
_LETTERS = 24


class PhotographChoice(QPushButton):
    """Asks for a photograph; its path is kept as long as the panel lives, and never stored."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(_NOTHING, parent)
        self.path: Path | None = None
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setToolTip(_ABOUT)
        self.clicked.connect(self.ask)

    def ask(self) -> None:
        """Open a dialog and take what is chosen in it."""
        folder = "" if self.path is None else str(self.path.parent)
        path, _ = QFileDialog.getOpenFileName(self, "Colors of a photograph", folder, _READ)
        if path:
            self.choose(Path(path))

    def choose(self, path: Path) -> None:
        """Take a photograph."""
        self.path = path
        name = path.name
        self.setText(name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…")
        self.setToolTip(f"{path}\n{_ABOUT}")
