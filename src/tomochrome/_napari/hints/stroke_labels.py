"""The meanings of the labels in a Labels layer of strokes: tissues, custom colors, or keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtGui import QColor

from tomochrome._napari.kit.choice_boxes import Named
from tomochrome.color.palettes import palette
from tomochrome.colorization.meanings import KEEP, KEEP_LABEL
from tomochrome.errors import OptionError
from tomochrome.tissue import Tissue

#: Key of a Labels layer's metadata for the custom colors, "#rrggbb" by label.
COLORS_KEY: Final = "tomochrome-stroke-colors"
_PALETTE: Final = "vivid"  # strokes must stand out from organs in natural colors
_KEEP_COLOR: Final = (0.0, 0.9, 1.0, 1.0)


def own_colors(strokes: Any) -> dict[int, str]:
    """Return the custom colors of a Labels layer, ``"#rrggbb"`` by label."""
    return {} if strokes is None else dict(strokes.metadata.get(COLORS_KEY, {}))


def add_color(strokes: Any, color: str) -> int:
    """Show a color (``"#rrggbb"``) in a Labels layer; return its label, new or existing.

    Raises `OptionError` if the layer's data type has no label left.
    """
    colors = own_colors(strokes)
    for label, existing in colors.items():
        if existing == color:
            return label
    label = max(colors, default=KEEP_LABEL) + 1
    if label > np.iinfo(strokes.data.dtype).max:
        raise OptionError(f"the layer '{strokes.name}' has no label left for another color")
    colors[label] = color
    strokes.metadata[COLORS_KEY] = colors
    strokes.colormap = label_colors(colors)
    strokes.features = label_names(colors)
    return label


def meanings(strokes: Any) -> dict[int, str]:
    """Return the meanings of labels that are not tissue numbers, for `apply_hints`."""
    return {KEEP_LABEL: KEEP, **own_colors(strokes)}


def check_meanings(labels: Iterable[int], allowed: Mapping[int, str]) -> None:
    """Check that each label is a tissue or one of the `meanings`; raises `OptionError`."""
    for label in map(int, labels):
        if label not in allowed and not Tissue.AIR < label < KEEP_LABEL:
            raise OptionError(
                f"the stroke label {label} means no tissue; erase these strokes, or paint over "
                "them with a choice of 'Paint with'"
            )


def choices(colors: dict[int, str]) -> list[Named]:
    """Return the choices for painting: tissues, custom colors and keep."""
    tissues = sorted((t for t in Tissue if t != Tissue.AIR), key=lambda tissue: tissue.title)
    return [
        *(Named(tissue.label, tissue.title) for tissue in tissues),
        *(Named(color, f"Color {color}", f"label {label}") for label, color in colors.items()),
        Named(KEEP, "Keep unchanged", "other strokes stop here"),
    ]


def label_of(name: str, colors: dict[int, str]) -> int:
    """Return the label of one of the `choices`."""
    if name == KEEP:
        return KEEP_LABEL
    for label, color in colors.items():
        if color == name:
            return label
    return int(Tissue[name.upper().replace("-", "_")])


def name_of(label: int, colors: dict[int, str]) -> str:
    """Return the name of a label among the `choices`, empty if there is none."""
    if label == KEEP_LABEL:
        return KEEP
    return Tissue(label).label if Tissue.AIR < label < KEEP_LABEL else colors.get(label, "")


def label_colors(colors: dict[int, str]) -> Any:
    """Return the colormap of a strokes layer."""
    rgb = palette(_PALETTE).rgb / 255
    shown: dict[int | None, Any] = {int(t): (*rgb[t], 1.0) for t in Tissue if t != Tissue.AIR}
    shown |= {None: (0, 0, 0, 0), 0: (0, 0, 0, 0), KEEP_LABEL: _KEEP_COLOR}
    shown |= {label: QColor(color).getRgbF() for label, color in colors.items()}
    return DirectLabelColormap(color_dict=shown)


def label_names(colors: dict[int, str]) -> dict[str, list[Any]]:
    """Return the features table from which napari's status bar shows the name of a label."""
    tissues = [t.title for t in Tissue if t != Tissue.AIR]
    names = ["no stroke", *tissues, "keep unchanged", *(f"color {c}" for c in colors.values())]
    return {"index": [*range(KEEP_LABEL + 1), *colors], "tissue": names}
