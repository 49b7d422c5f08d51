"""The "Color hints" panel: strokes painted on a Labels layer correct the colors of a scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtWidgets import QColorDialog, QPushButton, QWidget

from tomochrome import color
from tomochrome._napari.colorize.coloring import Coloring, finished_layer, unused_options
from tomochrome._napari.hints.stroke_labels import (
    add_color,
    check_meanings,
    choices,
    label_colors,
    label_names,
    label_of,
    meanings,
    name_of,
    own_colors,
)
from tomochrome._napari.kit.choice_boxes import LayerChoice, NamedChoice
from tomochrome._napari.kit.controls import form
from tomochrome._napari.kit.events import Connections
from tomochrome._napari.kit.narrow_widgets import WrappingRow
from tomochrome._napari.kit.panel_bases import JobPanel, JobView, caution
from tomochrome._napari.layers.grey_window import window_of
from tomochrome._napari.layers.layer_volumes import check_layer, ct_source, labels_on
from tomochrome._napari.layers.volume_layers import (
    colored_layers,
    layer_transform,
    source_of,
)
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.errors import InputError, TomochromeError
from tomochrome.tissue import Tissue

#: Key of a colored layer's metadata for the chroma before any hint was applied.
BEFORE_KEY: Final = "tomochrome-before-hints"
_FIRST: Final = Tissue.LIVER
_HELP: Final = "Paint a few strokes in an organ and apply them: the color spreads up to its edges."
_ERASED: Final = "There are no strokes any more: the colors are those of the model again."
_RECOLORED: Final = "The scan was colored again, without the strokes; apply them again."
_BRUSH: Final = 6  # voxels


def hint_in_worker(
    layer: Any,
    labels: NDArray[Any],
    meanings: Mapping[int, str],
    colored: Any,
    settings: color.Lighting | None,
) -> Any:
    """Return a new colored layer with the hints applied. Runs in a worker, accesses no widget.

    ``labels`` is the label image of the strokes (z, y, x) on the grid of the CT ``layer``, and
    ``meanings`` are those of labels that are not tissue numbers. ``colored`` is the layer to
    correct, or None to color from the strokes alone; hints applied to it earlier are replaced, and
    removed if all strokes were erased. By default, the lighting is that of a new colored layer in
    the window of the CT.
    """
    from tomochrome.colorization.hints import apply_hints

    source = None if colored is None else source_of(colored.metadata)
    ct = ct_source(layer) if source is None else source
    before: color.Chroma | None = None
    if source is not None:
        before = colored.metadata.get(BEFORE_KEY, source.chroma)
    used = np.unique(labels[labels != 0])
    check_meanings(used, meanings)
    if settings is None:
        window = window_of(layer)
        settings = color.Lighting() if window is None else color.Lighting(window=window)
    if not used.size and before is not None and BEFORE_KEY in colored.metadata:
        return finished_layer(layer, ct, before, settings)
    chroma = apply_hints(
        ct.shown,
        labels,
        meanings,
        chroma=before,
        palette_name=settings.palette,
        force=source is not None,
    )
    if not chroma.has_tissues:
        settings = settings.replace(tissues=color.TissueSelection())
    made = finished_layer(layer, ct, chroma, settings)
    made.metadata[BEFORE_KEY] = before
    return made


class HintsView(JobView):
    """The fields, from top to bottom: layers, strokes, run and result."""

    def __init__(self, viewer: Any, parent: QWidget) -> None:
        super().__init__(parent, "Apply strokes")
        self.layer = LayerChoice(viewer, self, follow=True)
        self.colored = LayerChoice(
            viewer, self, accepts=self._is_coloring, nothing="None (strokes only)"
        )
        self.colored.setToolTip(
            "Colored layer to correct. Without one, voxels that no stroke reaches stay grey"
        )
        self.strokes = LayerChoice(viewer, self, accepts=lambda x: isinstance(x, Labels))
        self.strokes.setToolTip("Labels layer of strokes; each label is the number of a tissue")
        self.new = QPushButton("New strokes layer", self)
        self.new.setToolTip("Add an empty Labels layer on the grid of the CT and start painting")
        self.tissue = NamedChoice(choices({}), self)
        self.tissue.choose(_FIRST.label)
        self.color = QPushButton("Color…", self)
        self.color.setToolTip("Paint with a custom color; the lightness still comes from the CT")
        self.locked = self.layer, self.colored, self.strokes, self.new, self.color
        self.fill(
            parent,
            caution(self),
            form(("CT", self.layer), ("Colored layer", self.colored), ("Strokes", self.strokes)),
            self.new,
            form(("Paint with", WrappingRow((self.tissue, 1), self.color))),
            self.buttons,
            self.progress,
            self.message,
        )

    def _is_coloring(self, layer: Any) -> bool:
        ct = self.layer.layer()
        return ct is not None and bool(colored_layers([layer], ct))

    @property
    def label(self) -> int:
        """The label of the selected tissue or color."""
        return label_of(self.tissue.name, own_colors(self.strokes.layer()))


class HintsPanel(JobPanel):
    """Lets the user paint strokes and propagates them through the scan."""

    tab = "Color hints"
    job_name = "Applying the strokes"

    def __init__(self, napari_viewer: Any) -> None:
        prepare_viewer(napari_viewer)
        super().__init__(napari_viewer)
        self._painted = Connections()
        self._applied = Connections()  # to the layer that was corrected last
        self._request: Any = None
        view = self.view
        view.new.clicked.connect(self.add_strokes)
        view.color.clicked.connect(self.choose_color)
        view.tissue.currentIndexChanged.connect(self._paint_with)
        view.layer.chosen.connect(self._layer_chosen)
        view.strokes.chosen.connect(self._strokes_chosen)
        self._layer_chosen()
        self._strokes_chosen()
        self.say(_HELP)

    def make_view(self) -> HintsView:
        """Create the fields."""
        return HintsView(self.viewer, self)

    def add_strokes(self) -> None:
        """Add an empty Labels layer over the CT and switch to painting."""
        layer = self.view.layer.layer()
        chosen = self.view.tissue.name
        try:
            check_layer(layer, as_hu=self.view.colored.layer() is not None)
        except TomochromeError as error:
            self.show_error(error)
            return
        strokes = self.viewer.add_labels(
            np.zeros(layer.data.shape, np.uint8),
            name=f"Strokes on {layer.name}",
            colormap=label_colors({}),
            features=label_names({}),
            opacity=0.9,
            **layer_transform(layer),
        )
        strokes.brush_size = _BRUSH
        strokes.mode = "paint"
        self.view.strokes.choose(strokes)
        strokes.selected_label = label_of(chosen, {}) if not chosen.startswith("#") else _FIRST
        self.say(_HELP)

    def choose_color(self) -> None:
        """Ask for a color and select it for painting."""
        color = QColorDialog.getColor(parent=self, title="Color of the strokes")
        if not color.isValid():
            return
        if self.view.strokes.layer() is None:
            self.add_strokes()
        strokes = self.view.strokes.layer()
        if strokes is None:
            return
        try:
            label = add_color(strokes, color.name())
        except TomochromeError as error:
            self.show_error(error)
            return
        self.view.tissue.offer(choices(own_colors(strokes)))
        strokes.selected_label = label

    def run(self) -> None:
        """Apply the strokes in a worker."""
        view = self.view
        layer, strokes, colored = (box.layer() for box in (view.layer, view.strokes, view.colored))
        if self.running:
            return
        try:
            # A layer that has been colored already was accepted as HU then.
            check_layer(layer, as_hu=colored is not None)
            if strokes is None:
                raise InputError("there are no strokes: press 'New strokes layer' and paint some")
            labels = labels_on(strokes, layer, "paint on a new strokes layer")
        except TomochromeError as error:
            self.show_error(error)
            return
        self._request = layer, colored
        settings = None if colored is None else colored.data.settings
        named = meanings(strokes)
        self.start(lambda: hint_in_worker(layer, labels, named, colored, settings), self._finished)

    def _finished(self, made: Any) -> None:
        (layer, colored), self._request = self._request, None
        if layer not in self.viewer.layers:
            self.say("The layer was closed while the strokes were being applied.")
            return
        if colored in self.viewer.layers:
            if made.data.chroma.has_tissues:  # the lighting may have changed meanwhile
                made.data.settings = colored.data.settings
            Coloring(layer, colored).replace(self.viewer, made)
        else:
            active = self.viewer.layers.selection.active
            colored = Coloring.add(self.viewer, layer, made, ()).layer
            self.viewer.layers.selection.active = active  # keep the strokes active for painting
        self.view.colored.refresh()
        self.view.colored.choose(colored)
        done = "Strokes applied." if BEFORE_KEY in made.metadata else _ERASED
        self.say(f"{done}{unused_options(made.data.chroma)}")
        self._applied.release()
        if BEFORE_KEY in made.metadata:
            self._applied.add(self._recolored, colored.events.data)

    def _recolored(self, _: object = None) -> None:
        """Say that the strokes are gone from the colors when another panel has replaced them."""
        if not self.running:
            self.say(_RECOLORED)

    def _layer_chosen(self) -> None:
        self.view.colored.refresh()
        layers = self.view.colored.layers()
        if self.view.colored.layer() is None and layers:
            self.view.colored.choose(layers[0])

    def _strokes_chosen(self) -> None:
        self._painted.release()
        strokes = self.view.strokes.layer()
        self.view.tissue.offer(choices(own_colors(strokes)))
        if strokes is not None:
            self._painted.add(self._label_changed, strokes.events.selected_label)
            self._label_changed()

    def _paint_with(self, _: object = None) -> None:
        strokes = self.view.strokes.layer()
        if strokes is not None:
            strokes.selected_label = self.view.label

    def _label_changed(self, _: object = None) -> None:
        """Follow a label selected in napari's own controls."""
        strokes = self.view.strokes.layer()
        label = 0 if strokes is None else int(strokes.selected_label)
        name = name_of(label, own_colors(strokes))
        if name:
            self.view.tissue.choose(name)

    def cleanup(self) -> None:
        """Drop all references to the viewer and its layers."""
        self._painted.release()
        self._applied.release()
        for box in (self.view.layer, self.view.colored, self.view.strokes):
            box.release()
        self._request = None
        super().cleanup()
