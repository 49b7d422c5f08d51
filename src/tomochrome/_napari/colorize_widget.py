"""The panel "Colorize volume": it reads its fields, runs one core function, shows the result."""

from __future__ import annotations

import logging
import time
import weakref
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLabel, QMainWindow

from tomochrome._napari.beside_grey import BesideGrey
from tomochrome._napari.color_panel import COLOR_KEY
from tomochrome._napari.coloring import (
    Colored,
    Coloring,
    color_in_worker,
    lighting,
)
from tomochrome._napari.colorize_view import ColorizeView
from tomochrome._napari.ct_source import UnknownUnitError, check_layer
from tomochrome._napari.docked import DockedPanel
from tomochrome._napari.grey_window import show_window
from tomochrome._napari.jobs import Job
from tomochrome._napari.layers import NOT_FOR_DIAGNOSIS, layer_position
from tomochrome._napari.readout import voxel_in
from tomochrome._napari.saving import PLUGIN
from tomochrome._napari.settings import (
    remember,
    remember_choice,
    remembered,
    remembered_fraction,
)
from tomochrome._napari.solids import solids_of
from tomochrome._napari.throttle import Throttle
from tomochrome._napari.viewer_setup import prepare_viewer
from tomochrome._napari.warm_up import Offer, let_go_of_removed, warm_up
from tomochrome.colorization.cards import model_title
from tomochrome.errors import TomochromeError

if TYPE_CHECKING:
    import napari.viewer

_LOG = logging.getLogger(__name__)
# In 3D the whole volume is lit again, so that waits until the slider rests.
_REST_IN_3D_MS = 250
# Thumbnails and the shares of a plane may come a little later than the picture.
_REST_MS = 300


class ColorizeWidget(DockedPanel):
    """Colors the CT of a layer and lights it: fields, run, progress, cancel.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are colored.
    """

    tab = "Colorize"

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer: Any = napari_viewer
        prepare_viewer(napari_viewer)
        self.view = ColorizeView(napari_viewer, self)
        self._colorings = Coloring.find(napari_viewer)
        self._job: Job | None = None
        self._started = 0.0
        self._target: Any = None
        self._watched: Any = None
        self._watched_color: Any = None
        self._pushing = False
        self._throttle = Throttle(self._relight, self)
        self._rest = Throttle(self._rested, self)
        self._beside = BesideGrey(napari_viewer, self.view.beside)
        self._message_of: Any = None
        self._mark = QLabel()
        self._mark.setObjectName("tomochrome-not-for-diagnosis")
        self._solids = solids_of(napari_viewer)
        self._connect()
        self._layer_chosen()
        self._warm = Job(warm_up, name="tomochrome warm-up")
        self._warm.returned.connect(self._offer)
        self._warm.failed.connect(self._show_error)
        self._warm.start()

    def _connect(self) -> None:
        view = self.view
        view.layer.chosen.connect(self._layer_chosen)
        view.run.clicked.connect(self.run)
        view.cancel.clicked.connect(self.cancel)
        view.export.clicked.connect(self.export)
        view.window.changed.connect(self._changed)
        view.color.changed.connect(self._changed)
        view.color.opacity_changed.connect(self._opacity_changed)
        view.legend.changed.connect(self._changed)
        for key, box in view.remembered.items():
            remember_choice(key, box)
        view.window.set_choice(remembered("window"))
        view.window.kind_chosen.connect(lambda kind: remember("window", kind))
        view.color.opacity_row.set_value(100 * remembered_fraction("opacity", 1.0))
        self.viewer.layers.events.removed.connect(self._layer_removed)
        self.viewer.cursor.events.position.connect(self._point)
        for emitter in self._plane_events:
            emitter.connect(self._plane_changed)
        self.viewer.bind_key(COLOR_KEY, _Toggle(self), overwrite=True)
        self._solids.said.connect(self._say_3d)

    @property
    def _plane_events(self) -> tuple[Any, ...]:
        dims = self.viewer.dims.events
        return dims.point, dims.order, dims.ndisplay

    # Running

    def run(self) -> None:
        """Color the chosen layer in a worker thread."""
        layer = self.view.layer.layer()
        if self._job is not None:
            return
        self._message_of = layer
        if layer is None:
            self.view.message.say("Open a CT first (File > Open Folder, or a sample).", "error")
            return
        as_hu = self.view.insist.insists
        self._target, self._started = layer, time.perf_counter()
        try:
            check_layer(layer, as_hu=as_hu)
        except TomochromeError as error:
            self._show_error(error)
            self._target = None
            return
        model, device = self.view.model.name, self.view.device.name
        fields = self.fields
        job = Job(
            lambda progress, cancel: color_in_worker(
                layer, model, device, fields, as_hu=as_hu, progress=progress, cancel=cancel
            ),
            name="tomochrome colorize",
        )
        job.progressed.connect(self.view.show_progress)
        job.returned.connect(self._finished)
        job.failed.connect(self._show_error)
        job.cancelled.connect(self._was_cancelled)
        job.ended.connect(self._ended)
        self._job = job
        self.view.show_running(True)
        job.start()

    def cancel(self) -> None:
        """Stop a run at its next check."""
        if self._job is not None:
            self.view.show_progress(0, 0, "Cancelling")
            self._job.cancel()

    def export(self) -> None:
        """Open the panel that writes files, on the colored layer if there is one."""
        dock, panel = self.viewer.window.add_plugin_dock_widget(PLUGIN, "Export")
        panel.choose(self.view.layer.layer() if self.coloring is None else self.coloring.layer)
        dock.show()
        dock.raise_()

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._job is not None

    def _finished(self, colored: Colored) -> None:
        if self._released:
            return
        layer, self._target = self._target, None
        if layer not in self.viewer.layers:
            self.view.message.say("The layer was closed while it was being colored.", "plain")
            return
        shown = self._show(layer, colored)
        seconds = time.perf_counter() - self._started
        hidden = "" if shown.layer.visible else " Its layer is hidden."
        title = model_title(colored.chroma.model)
        self.view.message.say(f"Colored by {title} in {seconds:.1f} s.{hidden}", "plain")

    def _show(self, ct_layer: Any, colored: Colored) -> Coloring:
        """Show a result in place of the one before, or above it if the user wants to keep both."""
        older = [known for known in self._colorings if known.ct_layer is ct_layer]
        tissues = older[-1].layer.data.settings.tissues if older else None
        # The fields may have moved since the run began.
        colored.layer.data.settings = lighting({**self.fields, "tissues": tissues}, colored.chroma)
        if older and not self.view.keep.isChecked():
            shown = older[-1]
            shown.replace(colored)
            let_go_of_removed()
        else:
            for below in older:
                below.layer.visible = False
            colored.layer.opacity = self.view.color.opacity
            above = [known.layer for known in older]
            shown = Coloring.add(self.viewer, ct_layer, colored, above)
            self._colorings.append(shown)
        self.view.layer.choose(ct_layer)
        self._message_of = ct_layer
        self._layer_chosen()
        show_window(ct_layer, self.view.window.window, self.view.window.choice)
        return shown

    def _was_cancelled(self) -> None:
        if not self._released and self._target in self.viewer.layers:
            self.view.message.say("Cancelled; nothing was changed.", "plain")

    def _show_error(self, error: Exception) -> None:
        if isinstance(error, UnknownUnitError) and self._target is self.view.layer.layer():
            self.view.insist.offer(self._target)
        if isinstance(error, TomochromeError):
            text = str(error)
            self.view.message.say(text[:1].upper() + text[1:] + ".", "error")
        else:
            _LOG.error("coloring failed", exc_info=error)
            self.view.message.say(
                f"Coloring failed unexpectedly ({type(error).__name__}: {error}); "
                "the log holds the details, please report it.",
                "error",
            )

    def _ended(self) -> None:
        self._job = self._target = None
        self.view.show_running(False)

    def _offer(self, offer: Offer) -> None:
        self.view.offer(offer)

    # Lighting

    @property
    def fields(self) -> dict[str, Any]:
        """The lighting that the fields ask for: keywords of `tomochrome.color.Lighting`."""
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
        """The newest coloring of the chosen layer."""
        layer = self.view.layer.layer()
        found = [known for known in self._colorings if known.ct_layer is layer]
        return found[-1] if found else None

    def _changed(self) -> None:
        in_3d = self.viewer.dims.ndisplay == 3
        self._throttle.request(after_ms=_REST_IN_3D_MS if in_3d else 0)

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

    def _say_3d(self, text: str) -> None:
        """Say how far the 3D picture is: it is drawn coarse first."""
        self.view.message.say(text, "plain")

    def _opacity_changed(self, opacity: float) -> None:
        remember("opacity", opacity)
        if self.coloring is not None:
            self.coloring.layer.opacity = opacity

    def _plane_changed(self, _: object = None) -> None:
        self._point()
        if self.coloring is not None:
            self._rest.request(after_ms=_REST_MS)

    def _rested(self) -> None:
        """Do what can wait until nobody slides: the thumbnail, and the legend's second column."""
        coloring = self.coloring
        if coloring is None:
            return
        in_2d = self.viewer.dims.ndisplay == 2
        if in_2d:  # the picture of a block would take long
            coloring.refresh_thumbnail()
        self.view.legend.set_plane(coloring.plane_shares(self.viewer.dims) if in_2d else None)

    # Following the viewer

    def _layer_chosen(self) -> None:
        layer, coloring = self.view.layer.layer(), self.coloring
        self._watch(layer, None if coloring is None else coloring.layer)
        self.view.insist.follow(layer)
        self.view.window.set_layer(layer)
        if layer is not self._message_of and self._job is None:
            self.view.message.say("")
        title, tissues = "", True
        if coloring is not None:
            title, tissues = model_title(coloring.chroma.model), coloring.chroma.has_tissues
            self._opacity_moved()
            legend = self.view.legend
            legend.set_shares(coloring.chroma.tissue_shares(), self.view.color.palette_name)
            legend.set_selection(coloring.layer.data.settings.tissues)
            self._rested()
        self._beside.follow(None if coloring is None else coloring.layer)
        self.view.show_model(title, tissues)
        self._mark.setText(f"Colors by {title}: {NOT_FOR_DIAGNOSIS}" if title else "")
        self._point()

    def _watch(self, ct_layer: Any, color_layer: Any) -> None:
        """Follow what the user does to these two in napari's own controls, and no others."""
        if self._watched is not None:
            self._watched.events.contrast_limits.disconnect(self._limits_moved)
        if self._watched_color is not None:
            self._watched_color.events.opacity.disconnect(self._opacity_moved)
        self._watched, self._watched_color = ct_layer, color_layer
        if ct_layer is not None:
            ct_layer.events.contrast_limits.connect(self._limits_moved)
        if color_layer is not None:
            color_layer.events.opacity.connect(self._opacity_moved)

    def _limits_moved(self, _: object = None) -> None:
        if not self._pushing and self._watched is not None:
            self.view.window.follow()
            if self.coloring is not None:
                self._changed()

    def _opacity_moved(self, _: object = None) -> None:
        if self._watched_color is not None:
            self.view.color.opacity_row.set_value(100 * self._watched_color.opacity)

    def _layer_removed(self, event: Any) -> None:
        gone = event.value
        let_go_of_removed()
        self._colorings = [
            known for known in self._colorings if gone not in (known.layer, known.ct_layer)
        ]
        if gone is self._target and self._job is not None:
            self._job.cancel()
        self._layer_chosen()

    def _point(self, _: object = None) -> None:
        """Say what lies under the cursor in the chosen scan."""
        coloring, finding = self.coloring, None
        if coloring is not None and self.viewer.dims.ndisplay == 2:
            here = layer_position(self.viewer, coloring.layer, self.viewer.cursor.position)
            voxel = voxel_in(coloring.layer, here)
            finding = None if voxel is None else coloring.finding(voxel)
        self.view.readout.say(finding)

    # Closing

    def entered(self, main_window: QMainWindow) -> None:
        """Put the caution into the status bar."""
        # Seen also while this panel is hidden. (The canvas's own text would be seen in
        # more screenshots, but napari 0.9.2 can crash when a layer is removed after that
        # text was hidden, and drawing its letters for the first time takes 0.3 s.)
        main_window.statusBar().addPermanentWidget(self._mark)

    def let_go(self) -> None:
        """Cancel a run and let go of the viewer: no binding of this panel is left behind."""
        for job in (self._job, self._warm):
            if job is not None:
                job.cancel()
        self._throttle.stop()
        self._rest.stop()
        self._beside.release()
        self._solids.said.disconnect(self._say_3d)
        for emitter in self._plane_events:
            emitter.disconnect(self._plane_changed)
        self._watch(None, None)
        self._mark.deleteLater()
        self.view.layer.release()
        self.view.insist.follow(None)
        self.viewer.layers.events.removed.disconnect(self._layer_removed)
        self.viewer.cursor.events.position.disconnect(self._point)
        self.viewer.bind_key(COLOR_KEY, None)
        self._colorings, self._target, self.viewer = [], None, None


class _Toggle:
    """The key's action; it must not keep the panel alive."""

    def __init__(self, panel: ColorizeWidget) -> None:
        self._panel = weakref.ref(panel)
        self.__name__ = "toggle_tomochrome_color"

    def __call__(self, _: object = None) -> None:
        panel = self._panel()
        if panel is not None:
            panel.view.color.color.toggle()
