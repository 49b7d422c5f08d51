"""The panel "Register & checkerboard": it reads its fields, runs core functions, shows results."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QMessageBox

from tomochrome._napari.compare_control import CompareControl
from tomochrome._napari.docked import DockedPanel
from tomochrome._napari.jobs import Job, Work
from tomochrome._napari.metric_curve import Sample
from tomochrome._napari.register_job import (
    Alignment,
    Request,
    apply_in_worker,
    check_request,
    load_in_worker,
    register_in_worker,
    save_in_worker,
)
from tomochrome._napari.register_landmarks import add_landmark_layers
from tomochrome._napari.register_layers import look_of
from tomochrome._napari.register_pairs import PairResult
from tomochrome._napari.register_shown import ShownResult
from tomochrome._napari.register_view import RegisterView
from tomochrome._napari.register_warm_up import RegisterOffer, warm_up
from tomochrome._napari.viewer_setup import prepare_viewer
from tomochrome._napari.warm_up import let_go_of_removed
from tomochrome._napari.wording import sentence
from tomochrome.errors import TomochromeError

if TYPE_CHECKING:
    import napari.viewer

_LOG = logging.getLogger(__name__)
_CURVE_MS = 60
_SAVED_AS = "Transform for ITK, ANTs, 3D Slicer (*.h5);;Displacement field (*.nii.gz)"
_LOADED_FROM = (
    "Transforms (*.h5 *.hdf5 *.tfm *.txt *.mat *.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd);;"
    "All files (*)"
)


class RegisterWidget(DockedPanel):
    """Registers two layers and compares any two: fields, run, progress, cancel, results.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are registered.
    """

    tab = "Register"

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer: Any = napari_viewer
        prepare_viewer(napari_viewer)
        self.view = RegisterView(napari_viewer, self)
        self.comparing = CompareControl(napari_viewer, self.view.compare)
        self.shown = ShownResult(napari_viewer, self.view, self.comparing)
        self._job: Job | None = None
        self._busy_with: tuple[Any, ...] = ()
        self._started = 0.0
        self._samples: list[Sample] = []
        self._drawn = 0
        self._curve_timer = QTimer(self)
        self._curve_timer.setInterval(_CURVE_MS)
        self._curve_timer.timeout.connect(self._draw_curve)
        self._connect()
        self._choose_two(at_first=True)
        self._warm = Job(warm_up, name="tomochrome warm-up")
        self._warm.progressed.connect(self._warming)
        self._warm.returned.connect(self._offer)
        self._warm.failed.connect(self._show_error)
        self._warm.ended.connect(self._warmed_up)
        self._warm.start()

    def _connect(self) -> None:
        view = self.view
        view.run.clicked.connect(self.run)
        view.cancel.clicked.connect(self.cancel)
        view.load.clicked.connect(self._ask_load)
        view.use.save_asked.connect(self._ask_save)
        view.use.apply_asked.connect(self.apply_to)
        view.landmarks.create_asked.connect(self._new_landmarks)
        self.viewer.layers.events.inserted.connect(self._choose_two, position="last")
        self.viewer.layers.events.removed.connect(self._layer_removed)

    @property
    def alignment(self) -> Alignment | None:
        """The transform of the chosen pair with its report, None if it has none."""
        current = self.shown.current
        return None if current is None else current.alignment

    # Running

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._job is not None

    def run(self) -> None:
        """Register the chosen layers in a worker thread."""
        request = self._request()
        if self._job is not None or request is None:
            return
        self._samples, self._drawn = [], 0
        samples = self._samples
        settings = f"{self.view.init.currentText()}, {self.view.similarity.currentText()}"
        self.view.curve.clear()
        self._curve_timer.start()
        self._start(
            lambda progress, cancel: register_in_worker(
                request, samples, progress=progress, cancel=cancel
            ),
            lambda alignment: self._registered(request, alignment, "Registered", settings),
            (request.fixed, request.moving),
        )

    def load(self, path: str) -> None:
        """Load a transform in a worker thread, and apply it to the chosen pair."""
        request = self._request()
        if self._job is not None or request is None:
            return
        self._samples, self._drawn = [], 0
        self.view.curve.clear()
        name = Path(path).name
        done = f"Transform '{name}' loaded and applied"
        self._start(
            lambda progress, cancel: load_in_worker(
                path, request, progress=progress, cancel=cancel
            ),
            lambda alignment: self._registered(request, alignment, done, name),
            (request.fixed, request.moving),
        )

    def save(self, path: str, inverse: bool = False) -> None:
        """Save the transform in a worker thread."""
        alignment = self.alignment
        if self._job is not None or alignment is None:
            return
        self._start(
            lambda progress, cancel: save_in_worker(
                path, alignment, inverse, progress=progress, cancel=cancel
            ),
            lambda saved: self._say(f"Saved {saved.name}."),
        )

    def apply_to(self, layer: Any, to_fixed: bool = True) -> None:
        """Make a moved copy of a layer in a worker thread."""
        result = self.shown.current
        if self._job is not None or result is None:
            return
        alignment = result.alignment
        self._start(
            lambda progress, cancel: apply_in_worker(
                layer, alignment, to_fixed, progress=progress, cancel=cancel
            ),
            lambda moved: self._add_moved(result, layer, to_fixed, moved),
            (layer,),
        )

    def cancel(self) -> None:
        """Stop a run at its next check."""
        if self._job is not None:
            self.view.show_progress(0, 0, "Cancelling")
            self._job.cancel()

    def _request(self) -> Request | None:
        view = self.view
        fixed, moving = view.two
        marks = [p if p is None or p.ndim == 3 else None for p in view.landmarks.two]
        request = Request(
            fixed,
            moving,
            view.options,
            view.fixed_mask.layer(),
            view.moving_mask.layer(),
            marks[0],
            marks[1],
            {} if moving is None else look_of(moving),
            self.shown.number_for(fixed, moving, keep=view.keep.isChecked()),
        )
        try:
            check_request(request)
        except TomochromeError as error:
            self._show_error(error)
            return None
        return request

    def _start(
        self, work: Work, returned: Callable[[Any], None], layers: tuple[Any, ...] = ()
    ) -> None:
        """Run work in a thread; without these layers it makes no sense to go on."""
        self._started = time.perf_counter()
        self._busy_with = layers
        job = Job(work, name="tomochrome register")
        job.progressed.connect(self.view.show_progress)
        job.returned.connect(lambda result: self._returned(returned, result))
        job.failed.connect(self._show_error)
        job.cancelled.connect(self._was_cancelled)
        job.ended.connect(self._ended)
        self._job = job
        self.view.show_running(True)
        job.start()

    def _returned(self, action: Callable[[Any], None], result: Any) -> None:
        if not self._released:
            action(result)

    def _registered(self, request: Request, alignment: Alignment, done: str, settings: str) -> None:
        fixed, moving = request.fixed, request.moving
        if fixed not in self.viewer.layers or moving not in self.viewer.layers:
            self._say("An image was closed meanwhile; nothing was changed.")
            return
        message = f"{done} in {time.perf_counter() - self._started:.1f} s."
        result = PairResult(
            fixed, moving, alignment, message, settings, request.number, self._samples
        )
        self.shown.add(result, keep=self.view.keep.isChecked())

    def _add_moved(self, result: PairResult, layer: Any, to_fixed: bool, moved: Any) -> None:
        layers, earlier = self.viewer.layers, result.copy_of(layer, to_fixed)
        if earlier is not None and earlier in layers and not self.view.keep.isChecked():
            layers.remove(earlier)
        place = layers.index(layer) + 1 if layer in layers else len(layers)
        layers.insert(place, moved)
        result.add_copy(layer, to_fixed, moved)
        self._say(f"Added the layer '{moved.name}'.")

    def _was_cancelled(self) -> None:
        if not self._released:
            self._say("Cancelled; nothing was changed.")

    def _ended(self) -> None:
        self._job, self._busy_with = None, ()
        if self._released:
            return
        self._curve_timer.stop()
        self._samples, self._drawn = [], 0
        self.view.curve.clear()  # what is shown is the curve of the result that is shown
        if self.shown.current is not None:
            self.view.curve.add(self.shown.current.samples)
        self.view.show_running(False)

    def _draw_curve(self) -> None:
        fresh = self._samples[self._drawn :]
        if fresh:
            self._drawn += len(fresh)
            self.view.curve.add(fresh)

    def _say(self, text: str) -> None:
        self.view.message.say(text, "plain")

    def _show_error(self, error: Exception) -> None:
        if self._released:
            return
        if isinstance(error, TomochromeError):
            self.view.message.say(sentence(str(error)), "error")
            return
        _LOG.error("registration failed", exc_info=error)
        self.view.message.say(
            f"Registration failed unexpectedly ({type(error).__name__}: {error}); "
            "the log holds the details, please report it.",
            "error",
        )

    def _offer(self, offer: RegisterOffer) -> None:
        if not self._released:
            self.view.offer(offer.models, offer.devices)

    def _warming(self, done: int, total: int, stage: str) -> None:
        if self._job is None and not self._released:
            self.view.show_warming(done, total, stage)

    def _warmed_up(self) -> None:
        if self._job is None and not self._released:
            self.view.progress.setVisible(False)

    # Files

    def _ask_load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load a transform", "", _LOADED_FROM)
        if path:
            self.load(path)

    def _ask_save(self, inverse: bool) -> None:
        name = "inverse.h5" if inverse else "forward.h5"
        path, chosen = QFileDialog.getSaveFileName(self, "Save the transform", name, _SAVED_AS)
        if path:
            if not Path(path).suffix:
                path += ".nii.gz" if "nii" in chosen else ".h5"
                if Path(path).exists() and not self._may_replace(path):  # not the name asked about
                    return
            self.save(path, inverse)

    def _may_replace(self, path: str) -> bool:
        question = f"{Path(path).name} exists already. Replace it?"
        answer = QMessageBox.question(self, "Save the transform", question)
        return bool(answer == QMessageBox.StandardButton.Yes)

    # Following the viewer

    def _choose_two(self, _: object = None, *, at_first: bool = False) -> None:
        """Have two different layers chosen as soon as there are two: the older one is fixed."""
        view = self.view
        listed = view.fixed.layers()
        if at_first and listed:
            view.fixed.choose(listed[-1])
        fixed, moving = view.two
        others = [layer for layer in view.moving.layers() if layer is not fixed]
        if fixed is moving and others:
            view.moving.choose(others[0])
        first, second = view.compare.two
        if first is None or first is second:
            view.compare.choose(*view.two)

    def _layer_removed(self, event: Any) -> None:
        gone = event.value
        let_go_of_removed()
        if self._job is not None and any(gone is layer for layer in self._busy_with):
            self._job.cancel()
        self.shown.forget(gone)

    def _new_landmarks(self) -> None:
        fixed, moving = add_landmark_layers(self.viewer, *self.view.two)
        self.view.landmarks.fixed.choose(fixed)
        self.view.landmarks.moving.choose(moving)
        self.view.landmarks.place_next()

    # Closing

    def let_go(self) -> None:
        """Cancel a run and let go of the viewer: nothing of this panel is left behind."""
        for job in (self._job, self._warm):
            if job is not None:
                job.cancel()
        self._curve_timer.stop()
        self.viewer.layers.events.inserted.disconnect(self._choose_two)
        self.viewer.layers.events.removed.disconnect(self._layer_removed)
        self.comparing.release()
        self.shown.release()
        self.view.use.release()
        self.view.landmarks.release()
        self.view.each_choice(lambda choice: choice.release())
        self._busy_with, self.viewer = (), None
