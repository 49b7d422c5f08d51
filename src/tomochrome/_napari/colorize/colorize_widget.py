"""The "Colorize volume" panel: reads its fields, runs one core function and shows the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from qtpy.QtWidgets import QFileDialog, QLabel, QMainWindow
from superqt.utils import qdebounced, qthrottled

from tomochrome._napari.colorize.coloring import Coloring, color_in_worker, lighting, unused_options
from tomochrome._napari.colorize.colorize_view import (
    COLOR_KEY,
    ColorizeView,
    colorize_offer,
    remember,
    remember_choice,
    remember_curve,
    remembered_fraction,
)
from tomochrome._napari.colorize.grey_split import GreySplit
from tomochrome._napari.colorize.model_gallery import ModelGallery, compare_in_worker, nearest_voxel
from tomochrome._napari.colorize.screen_picture import picture_of_screen
from tomochrome._napari.export.saving import PLUGIN
from tomochrome._napari.kit.events import Connections, weakly
from tomochrome._napari.kit.panel_bases import JobPanel
from tomochrome._napari.layers.grey_window import show_window
from tomochrome._napari.layers.layer_volumes import UnknownUnitError, check_layer
from tomochrome._napari.layers.volume_layers import NOT_FOR_DIAGNOSIS, layer_position, source_of
from tomochrome._napari.viewer.readout import IN_3D, voxel_in
from tomochrome._napari.viewer.renderer_3d import renderer_of
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.colorization.cards import model_title
from tomochrome.errors import InputError, TomochromeError
from tomochrome.formats import GIF, SHEET, VIDEO

_REDRAW_INTERVAL_MS = 15  # keeps the event loop responsive
# In 3D the entire volume is relit, so the update waits until the slider stops.
_REDRAW_DELAY_3D_MS = 250
# The thumbnail and the tissue shares of the slice may lag behind the image.
_IDLE_DELAY_MS = 300


class ColorizeWidget(JobPanel):
    """Colors the CT of a layer and updates its appearance as the fields change."""

    tab = "Colorize"
    job_name = "Coloring"

    def __init__(self, napari_viewer: Any) -> None:
        prepare_viewer(napari_viewer)
        super().__init__(napari_viewer)
        self.colorings = Coloring.find(self.viewer)
        self._started = 0.0
        self._target: Any = None
        self._watching = Connections()  # to changes made in napari's own controls
        self._pushing = False
        self._relight_throttled = qthrottled(self._relight, timeout=_REDRAW_INTERVAL_MS)
        self._relight_debounced = qdebounced(self._relight, timeout=_REDRAW_DELAY_3D_MS)
        self._update_when_idle = qdebounced(self._idle, timeout=_IDLE_DELAY_MS)
        self.grey_split = GreySplit(self.viewer, self.view.grey_split)
        self._message_of: Any = None
        self._gallery: ModelGallery | None = None
        self._mark = QLabel()
        self._mark.setObjectName("tomochrome-not-for-diagnosis")
        self._renderer = renderer_of(self.viewer)
        self._connect()
        self._layer_chosen()
        self.load_engine(colorize_offer)

    def make_view(self) -> ColorizeView:
        """Make the fields."""
        return ColorizeView(self.viewer, self)

    def _connect(self) -> None:
        view, viewer, dims = self.view, self.viewer, self.viewer.dims.events
        view.layer.chosen.connect(self._layer_chosen)
        view.export.clicked.connect(self.export)
        view.picture.clicked.connect(self.picture)
        view.compare.clicked.connect(self.compare)
        for part in (view.window, view.color, view.legend):
            part.changed.connect(self._changed)
        view.color.curve_in_3d_chosen.connect(self._curve_chosen)
        view.color.photograph_in_3d.toggled.connect(self._look_chosen)
        view.color.opacity_changed.connect(self._opacity_changed)
        for key, box in view.remembered.items():
            remember_choice(key, box)
        remember_curve(view.color)
        view.color.opacity_row.set_value(100 * remembered_fraction("opacity", 1.0))
        self.connections.add(self._layer_removed, viewer.layers.events.removed)
        self.connections.add(self._layer_added, viewer.layers.events.inserted)
        self.connections.add(self._point, viewer.cursor.events.position)
        self.connections.add(self._show_curve, dims.ndisplay)
        self.connections.add(self._plane_changed, dims.point, dims.order, dims.ndisplay)
        toggle = weakly(self._toggle)
        toggle.__name__ = "toggle_tomochrome_color"
        viewer.bind_key(COLOR_KEY, toggle, overwrite=True)
        self._renderer.text_changed.connect(self.say)

    def _toggle(self, _: object = None) -> None:
        self.view.color.color.toggle()

    # Running

    def run(self) -> None:
        """Color the chosen layer in a worker thread."""
        layer, model, device = self.view.layer.layer(), self.view.model.name, self.view.device.name
        fields, uses_photograph = self.fields, self.view.needs_photograph
        pictures = self.view.photograph.paths if uses_photograph else None
        self._start(
            lambda as_hu: color_in_worker(
                layer, model, device, fields, as_hu=as_hu, pictures=pictures
            ),
            self._finished,
            lacks_photograph=uses_photograph and pictures is None,
        )

    def compare(self) -> None:
        """Color the current axial slice with every model and show the results side by side."""
        layer, device, fields = self.view.layer.layer(), self.view.device.name, self.fields
        pictures, viewer, point = self.view.photograph.paths, self.viewer, self.viewer.dims.point

        def work(as_hu: bool) -> Any:
            voxel = nearest_voxel(viewer, layer, point)
            return compare_in_worker(layer, voxel, device, fields, as_hu, pictures)

        self._start(work, self._compared)

    def _start(
        self,
        work: Callable[[bool], Any],
        returned: Callable[[Any], None],
        *,
        lacks_photograph: bool = False,
    ) -> None:
        """Start work on the selected layer, or show why it cannot be colored."""
        layer = self.view.layer.layer()
        if self.running:
            return
        self._target = self._message_of = layer
        as_hu = self.view.override.is_claimed
        try:
            check_layer(layer, as_hu=as_hu)
            if lacks_photograph:
                raise InputError("choose the photograph whose colors this model transfers")
        except TomochromeError as error:
            self.show_error(error)
            self._target = None
            return
        self._started = time.perf_counter()
        self.start(lambda: work(as_hu), returned)

    def _compared(self, result: Any) -> None:
        self._close_gallery()
        compared, pictures = result
        self._gallery = ModelGallery(compared, pictures, self.view.model.name, self.window())
        self._gallery.chosen.connect(self._choose_model)
        self._gallery.show()

    def _choose_model(self, name: str) -> None:
        self.view.model.choose(name)
        remember("model", name)

    def _close_gallery(self) -> None:
        if self._gallery is not None:
            with suppress(RuntimeError):  # the user has already closed it
                self._gallery.close()
            self._gallery = None

    def export(self) -> None:
        """Open the Export panel with the colored layer selected, or the CT if there is none."""
        dock, panel = self.viewer.window.add_plugin_dock_widget(PLUGIN, "Export")
        panel.choose(self.view.layer.layer() if self.coloring is None else self.coloring.layer)
        dock.show()
        dock.raise_()

    def picture(self) -> None:
        """Ask for a file, and draw what is shown of the coloring as a picture in a worker."""
        coloring = self.coloring
        if self.running or coloring is None:
            self.say("Color a scan first; a picture shows its colors.")
            return
        kinds = (SHEET, VIDEO, GIF) if self.viewer.dims.ndisplay == 3 else (SHEET,)
        titles = {f"{kind.ending[1:].upper()} (*{kind.ending})": kind for kind in kinds}
        name, title = QFileDialog.getSaveFileName(self, "Picture", "picture.png", ";;".join(titles))
        if not name:
            return
        if not name.lower().endswith(tuple(kind.ending for kind in kinds)):
            name = titles.get(title, SHEET).complete(name)
        try:
            draw = picture_of_screen(self.viewer, coloring.layer)
        except TomochromeError as error:
            self.show_error(error)
            return
        self._target = coloring.ct_layer
        self.start(lambda: draw(name), self.say)

    def _finished(self, colored: Any) -> None:
        layer, self._target = self._target, None
        if layer not in self.viewer.layers:
            self.say("The layer was closed while it was being colored.")
            return
        shown = self._show(layer, colored)
        seconds = time.perf_counter() - self._started
        hidden = "" if shown.layer.visible else " Its layer is hidden."
        title = model_title(shown.chroma.model)
        unused = unused_options(shown.chroma)
        self.say(f"Colored by {title} in {seconds:.1f} s.{hidden}{unused}")

    def _show(self, ct_layer: Any, colored: Any) -> Coloring:
        """Show a result, replacing the previous one unless earlier results are to be kept."""
        older = [coloring for coloring in self.colorings if coloring.ct_layer is ct_layer]
        tissues = older[-1].layer.data.settings.tissues if older else None
        # The user may have changed the fields since the run began.
        chroma = colored.data.chroma
        colored.data.settings = lighting({**self.fields, "tissues": tissues}, chroma)
        if older:
            colored.data.keep_preset(older[-1].layer.data)
        if older and not self.view.keep.isChecked():
            shown = older[-1]
            shown.replace(self.viewer, colored)
        else:
            for below in older:
                below.layer.visible = False
            colored.opacity = self.view.color.opacity
            above = [coloring.layer for coloring in older]
            shown = Coloring.add(self.viewer, ct_layer, colored, above)
            if shown.layer not in [coloring.layer for coloring in self.colorings]:
                self.colorings.append(shown)  # `_layer_added` misses CTs of other readers
        self.view.layer.choose(ct_layer)
        self._message_of = ct_layer
        self._layer_chosen()
        return shown

    def was_cancelled(self) -> None:
        """Report the cancellation, unless the removal of the layer caused it."""
        if self._target in self.viewer.layers:
            super().was_cancelled()

    def show_error(self, error: Exception) -> None:
        """Show the error; if the unit is unknown, offer to treat the values as HU."""
        if isinstance(error, UnknownUnitError) and self._target is self.view.layer.layer():
            self.view.override.offer(self._target)
        super().show_error(error)

    def ended(self) -> None:
        """Enable the fields again."""
        self._target = None
        super().ended()

    # Lighting

    @property
    def fields(self) -> dict[str, Any]:
        """The lighting set in the fields, as keywords of `tomochrome.color.Lighting`."""
        color = self.view.color
        return {
            "window": self.view.window.window,
            "saturation": color.saturation,
            "min_confidence": color.min_confidence,
            "palette": color.palette_name,
            "alpha": color.alpha,
            "tissues": self.view.legend.selection,
        }

    @property
    def coloring(self) -> Coloring | None:
        """The newest coloring of the selected layer."""
        layer = self.view.layer.layer()
        colorings = [coloring for coloring in self.colorings if coloring.ct_layer is layer]
        return colorings[-1] if colorings else None

    def _changed(self) -> None:
        in_3d = self.viewer.dims.ndisplay == 3
        (self._relight_debounced if in_3d else self._relight_throttled)()

    def _relight(self) -> None:
        coloring, layer = self.coloring, self.view.layer.layer()
        if coloring is not None:
            coloring.relight(self.fields)
            self.view.legend.set_palette(self.view.color.palette_name)
            self._plane_changed()
        if layer is not None and not layer.rgb:
            self._pushing = True
            try:
                show_window(layer, self.view.window.window, self.view.window.choice)
            finally:
                self._pushing = False

    def _show_curve(self, _: object = None) -> None:
        """Let "Show" hold the preset of the selected scan in 3D, or the opacity of slices."""
        coloring, in_3d = self.coloring, self.viewer.dims.ndisplay == 3
        self.view.clipping.setVisible(in_3d)
        if coloring is None or not in_3d:
            self.view.color.show_in_3d("")
            return
        data = coloring.layer.data
        self.view.color.show_in_3d(
            data.preset_in_3d.name,
            by_tissue=coloring.chroma.has_tissues,
            photograph=data.look_in_3d == "photograph",
        )

    def _curve_chosen(self, name: str) -> None:
        if self.coloring is not None:
            self.coloring.layer.data.preset_in_3d = name

    def _look_chosen(self, photograph: bool) -> None:
        if self.coloring is not None:
            look = "photograph" if photograph else "standard"
            self.coloring.layer.data.look_in_3d = look

    def _opacity_changed(self, opacity: float) -> None:
        remember("opacity", opacity)
        if self.coloring is not None:
            self.coloring.layer.opacity = opacity

    def _plane_changed(self, _: object = None) -> None:
        self._point()
        if self.coloring is not None:
            self._update_when_idle()

    def _idle(self) -> None:
        """Update the thumbnail and the tissue shares of the slice once the sliders stop moving."""
        coloring = self.coloring
        if coloring is None:
            return
        in_2d = self.viewer.dims.ndisplay == 2
        if in_2d:  # rendering the entire volume would take too long
            coloring.refresh_thumbnail()
        self.view.legend.set_plane(coloring.plane_shares(self.viewer.dims) if in_2d else None)

    # Following the viewer

    def _layer_chosen(self) -> None:
        layer, coloring = self.view.layer.layer(), self.coloring
        self._watching.release()
        if layer is not None:
            self._watching.add(self._limits_moved, layer.events.contrast_limits)
        if coloring is not None:
            self._watching.add(self._opacity_moved, coloring.layer.events.opacity)
            self._watching.add(self._recolored, coloring.layer.events.data)
        self.view.override.follow(layer)
        self.view.window.set_layer(layer)
        if layer is not self._message_of and not self.running:
            self.say("")
        title, tissues = "", True
        if coloring is not None:
            title, tissues = model_title(coloring.chroma.model), coloring.chroma.has_tissues
            self._opacity_moved()
            legend = self.view.legend
            legend.set_shares(coloring.chroma.tissue_shares(), self.view.color.palette_name)
            legend.set_selection(coloring.layer.data.settings.tissues)
            self._update_when_idle()
        self._show_curve()
        self.grey_split.follow(None if coloring is None else coloring.layer)
        self.view.show_model(title, tissues)
        self._update_mark()
        self._point()

    def _update_mark(self) -> None:
        """Name the models of all colored layers, also of those of another scan or a closed one."""
        sources = [source_of(layer.metadata) for layer in self.viewer.layers]
        made = [x.chroma for x in sources if x is not None and x.chroma is not None]
        titles = dict.fromkeys(model_title(chroma.model) for chroma in made)
        self._mark.setText(f"Colors by {', '.join(titles)}: {NOT_FOR_DIAGNOSIS}" if made else "")

    def _limits_moved(self, _: object = None) -> None:
        if not self._pushing:
            self.view.window.follow()
            if self.coloring is not None:
                self._changed()

    def _opacity_moved(self, _: object = None) -> None:
        if self.coloring is not None:
            self.view.color.opacity_row.set_value(100 * self.coloring.layer.opacity)

    def _recolored(self, _: object = None) -> None:
        """Update the legend after another panel has recolored the layer."""
        if not self.running:
            self._layer_chosen()

    def _layer_added(self, _: object = None) -> None:
        """Register a coloring added by this panel or another."""
        layers = [coloring.layer for coloring in self.colorings]
        new = [other for other in Coloring.find(self.viewer) if other.layer not in layers]
        if new:
            self.colorings += new
            self._layer_chosen()
        self._update_mark()

    def _layer_removed(self, event: Any) -> None:
        removed = event.value
        before = self.colorings
        self.colorings = [
            coloring for coloring in before if removed not in (coloring.layer, coloring.ct_layer)
        ]
        if before and not self.colorings and not self.running:
            self.say("")  # what it said of a coloring that is gone
        if removed is self._target:
            self.jobs.cancel()
        self._layer_chosen()

    def _point(self, _: object = None) -> None:
        """Show the values and the tissue under the cursor in the selected scan."""
        coloring = self.coloring
        texts: tuple[str, ...] = ()
        if self.viewer.dims.ndisplay == 3:
            texts = (IN_3D,)
        elif coloring is not None:
            position = layer_position(self.viewer, coloring.layer, self.viewer.cursor.position)
            voxel = voxel_in(coloring.layer, position)
            texts = () if voxel is None else coloring.finding(voxel)
        self.view.readout.say(*texts)

    # Closing

    def attached(self, main_window: QMainWindow) -> None:
        """Add the "not for diagnosis" notice to the status bar."""
        # It stays visible while this panel is hidden. (napari's text overlay would appear in
        # more screenshots, but napari 0.9.2 can crash when a layer is removed after the overlay
        # was hidden, and rendering its glyphs for the first time takes 0.3 s.)
        main_window.statusBar().addPermanentWidget(self._mark)

    def cleanup(self) -> None:
        """Cancel a run and remove all connections and key bindings to the viewer."""
        for delayed in (self._relight_throttled, self._relight_debounced, self._update_when_idle):
            delayed.cancel()
        self.grey_split.release()
        self._close_gallery()
        self._renderer.text_changed.disconnect(self.say)
        self._watching.release()
        self._mark.deleteLater()
        self.view.layer.release()
        self.view.view_controls.release()
        self.view.clip_controls.release()
        self.view.override.follow(None)
        self.viewer.bind_key(COLOR_KEY, None)
        self.colorings, self._target = [], None
        super().cleanup()
