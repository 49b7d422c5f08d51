"""The panel "Colorize volume": it reads its fields, runs one core function, shows the result."""

from __future__ import annotations

import logging
import time
import weakref
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLabel, QMainWindow

from tomochrome._napari.color_panel import COLOR_KEY
from tomochrome._napari.coloring import (
    Colored,
    Coloring,
    color_in_worker,
    lighting,
    show_window,
)
from tomochrome._napari.colorize_view import ColorizeView
from tomochrome._napari.ct_source import UnknownUnitError, check_layer
from tomochrome._napari.docked import DockedPanel
from tomochrome._napari.jobs import Job
from tomochrome._napari.layers import NOT_FOR_DIAGNOSIS, behind
from tomochrome._napari.saving import PLUGIN
from tomochrome._napari.solids import solids_of
from tomochrome._napari.throttle import Throttle
from tomochrome._napari.viewer_setup import prepare_viewer
from tomochrome._napari.warm_up import Offer, let_go_of_removed, warm_up
from tomochrome.errors import TomochromeError

if TYPE_CHECKING:
    import napari.viewer

_LOG = logging.getLogger(__name__)
# In 3D the whole volume is lit again, so that waits until the slider rests.
_REST_IN_3D_MS = 250


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
        self.viewer.layers.events.removed.connect(self._layer_removed)
        self.viewer.cursor.events.position.connect(self._point)
        self.viewer.bind_key(COLOR_KEY, _Toggle(self), overwrite=True)
        self._solids.said.connect(self._say_3d)

    # Running

    def run(self) -> None:
        """Color the chosen layer in a worker thread."""
        layer = self.view.layer.layer()
        if self._job is not None:
            return
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
        model, device = self.view.model.currentText(), self.view.device.currentText()
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
        older = [known.layer for known in self._colorings if known.ct_layer is layer]
        for below in older:
            below.visible = False
        # The fields may have moved since the run began.
        colored.layer.data.settings = lighting(self.fields)
        colored.layer.opacity = self.view.color.opacity
        coloring = Coloring.add(self.viewer, layer, colored, older)
        self._colorings.append(coloring)
        self.view.layer.choose(layer)
        self._layer_chosen()
        show_window(layer, self.view.window.window)
        seconds = time.perf_counter() - self._started
        self.view.message.say(f"Colored by {colored.chroma.model} in {seconds:.1f} s.", "plain")

    def _was_cancelled(self) -> None:
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
        if layer is not None and not layer.rgb:
            self._pushing = True
            try:
                show_window(layer, self.view.window.window)
            finally:
                self._pushing = False

    def _say_3d(self, text: str) -> None:
        """Say how far the 3D picture is: it is drawn coarse first."""
        self.view.message.say(text, "plain")

    def _opacity_changed(self, opacity: float) -> None:
        if self.coloring is not None:
            self.coloring.layer.opacity = opacity

    # Following the viewer

    def _layer_chosen(self) -> None:
        layer, coloring = self.view.layer.layer(), self.coloring
        self._watch(layer, None if coloring is None else coloring.layer)
        self.view.insist.follow(layer)
        known = None if layer is None else behind(layer.metadata)
        self.view.window.set_volume(known.shown if known else None)
        if known is not None:
            self._limits_moved()
        if coloring is not None:
            self._opacity_moved()
        model = coloring.chroma.model if coloring is not None else ""
        self.view.show_model(model)
        self._mark.setText(f"Colors by {model}: {NOT_FOR_DIAGNOSIS}" if model else "")

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
            self.view.window.set_limits(*self._watched.contrast_limits)
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
        """Say what lies under the cursor."""
        coloring = self.coloring
        if coloring is None or self.viewer.dims.ndisplay != 2:
            self.view.info.say("")
            return
        voxel = coloring.voxel_at(self.viewer.cursor.position)
        self.view.info.say("" if voxel is None else coloring.describe(voxel))

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
        self._solids.said.disconnect(self._say_3d)
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
