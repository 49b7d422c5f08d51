"""One slice colored by every model, side by side; a click selects the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QDialog, QGridLayout, QScrollArea, QToolButton, QWidget

from tomochrome import colorization
from tomochrome._napari.kit.controls import MessageLabel, stacked
from tomochrome._napari.layers.layer_volumes import ct_source
from tomochrome._napari.layers.volume_layers import NOT_FOR_DIAGNOSIS, layer_position
from tomochrome.notices import sentence
from tomochrome.runtime import check, report

if TYPE_CHECKING:
    from PIL.Image import Image

    from tomochrome.colorization.side_by_side import Comparison

TILE: Final = 280  #: length of the longer edge of a picture in pixels
_LIGHT: Final = ("window", "palette", "saturation", "min_confidence")
_COLUMNS: Final = 4
_CHOSEN: Final = (
    "QToolButton { border: 2px solid transparent; }"
    "QToolButton:checked { border: 2px solid palette(highlight); }"
)


def compare_in_worker(
    layer: Any,
    voxel: Sequence[int],
    device: str,
    fields: Mapping[str, Any],
    as_hu: bool = False,
    pictures: tuple[Path, Path | None] | None = None,
) -> tuple[Comparison, list[Image]]:
    """Color one slice of a CT layer with all models. Runs in a worker, accesses no widget.

    The slice is the axial one through ``voxel`` (z, y, x). ``fields`` are keywords of
    `tomochrome.color.Lighting`; the tissue selection is ignored. With ``as_hu``, values of an
    unknown unit are treated as Hounsfield units. ``pictures`` are the photograph, label image and
    mask (the latter two may be None) for models that take their colors from a photograph; None
    leaves these models out.

    Returns the comparison, and its pictures with letters and a scale bar.
    """
    from tomochrome.colorization.side_by_side import compare_models, upright_slice
    from tomochrome.io.slice_pictures import tile_pictures

    report(0, 0, "Reading the layer")
    ct = ct_source(layer, as_hu=as_hu).shown
    check()
    compared = compare_models(
        ct,
        at=upright_slice(ct, voxel),
        reference=None if pictures is None else colorization.Reference.read(*pictures),
        device=device,
        force=as_hu and ct.unit != "HU",
        **{name: fields[name] for name in _LIGHT},
    )
    return compared, tile_pictures(compared.pictures, TILE)


def nearest_voxel(viewer: Any, layer: Any, point: Any) -> tuple[int, int, int]:
    """Return the voxel (z, y, x) of a layer nearest to a point in the viewer's world."""
    index = np.rint(layer.world_to_data(layer_position(viewer, layer, point)))[-3:]
    z, y, x = np.clip(index, 0, np.array(layer.data.shape[-3:]) - 1).astype(int).tolist()
    return z, y, x


class ModelGallery(QDialog):
    """A dialog with a button for each model that shows its picture and title."""

    chosen = Signal(str)  # name of a model

    def __init__(
        self,
        compared: Comparison,
        pictures: Sequence[Image],
        current: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Compare models")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        extra = compared.pictures.provenance.extra
        caution = MessageLabel("caution", self)
        caution.say(f"{NOT_FOR_DIAGNOSIS.capitalize()} · {extra['place']} · "
                    f"window {extra['window']}")  # fmt: skip
        hint = MessageLabel("plain", self)
        hint.say("Click a picture to select its model in the panel.")
        warnings = MessageLabel("warning", self)
        warnings.say(" ".join(map(sentence, compared.warnings)))
        tiles, grid = QWidget(self), QGridLayout()
        tiles.setLayout(grid)
        self.tiles: dict[str, QToolButton] = {}
        for number, (name, title, picture) in enumerate(
            zip(compared.names, compared.titles, pictures, strict=True)
        ):
            tile = self.tiles[name] = _tile(title, picture, tiles)
            if number:  # the first is grayscale
                tile.setCheckable(True)
                tile.setAutoExclusive(True)
                tile.setChecked(name == current)
                tile.setToolTip(f"Select the model {name}")
                tile.clicked.connect(lambda _=False, name=name: self.chosen.emit(name))
            grid.addWidget(tile, number // _COLUMNS, number % _COLUMNS)
        area = QScrollArea(self)
        area.setWidgetResizable(True)
        area.setWidget(tiles)
        stacked(self, caution, warnings, hint, (area, 1))
        needed = tiles.sizeHint()
        self.resize(min(needed.width(), 1200) + 60, min(needed.height(), 720) + 130)


def _tile(title: str, picture: Image, parent: QWidget) -> QToolButton:
    tile = QToolButton(parent)
    tile.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
    tile.setText(title)
    rgb = picture.convert("RGB")
    image = QImage(rgb.tobytes(), rgb.width, rgb.height, 3 * rgb.width,
                   QImage.Format.Format_RGB888)  # fmt: skip
    tile.setIcon(QIcon(QPixmap.fromImage(image)))  # `fromImage` copies the bytes
    tile.setIconSize(QSize(rgb.width, rgb.height))
    tile.setAutoRaise(True)
    tile.setStyleSheet(_CHOSEN)
    return tile
