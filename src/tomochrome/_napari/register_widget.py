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
from tomochrome._napari.register_extras import DeformationLayers
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
    "Transforms (*.h5 *.hdf5 *.tfm *.txt *.mat *.xfm *.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd);;"
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
        self.alignment: Alignment | None = None
        self.comparing = CompareControl(napari_viewer, self.view.compare)
        self.deformation = DeformationLayers(napari_viewer, self.view.use)
        self._job: Job | None = None
        self._busy_with: tuple[Any, ...] = ()
        self._fixed: Any = None
        self._moving: Any = None
        self._started = 0.0
        self._samples: list[Sample] = []
        self._drawn = 0
        self._curve_timer = QTimer(self)
        self._curve_timer.setInterval(_CURVE_MS)
        self._curve_timer.timeout.connect(self._draw_curve)
        self.view.curve.setVisible(False)
        self._connect()
        self._choose_two(at_first=True)
        self._warm = Job(warm_up, name="tomochrome warm-up")
        self._warm.returned.connect(self._offer)
        self._warm.failed.connect(self._show_error)
        self._warm.start()

    def _connect(self) -> None:
        view = self.view
        view.run.clicked.connect(self.run)
        view.cancel.clicked.connect(self.cancel)
        view.load.clicked.connect(self._ask_load)
        view.use.save_asked.connect(self._ask_save)
        view.use.apply_asked.connect(self.apply_to)
        view.landmarks.create_asked.connect(self._new_landmarks)
        view.compare.before.clicked.connect(lambda: self._show_moved(False))
        view.compare.after.clicked.connect(lambda: self._show_moved(True))
        view.compare.layers_changed.connect(self._mark_before_after)
        self.viewer.layers.events.inserted.connect(self._choose_two, position="last")
        self.viewer.layers.events.removed.connect(self._layer_removed)

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
        self.view.curve.clear()
        self.view.curve.setVisible(True)
        self._curve_timer.start()
        self._start(
            lambda progress, cancel: register_in_worker(
                request, samples, progress=progress, cancel=cancel
            ),
            lambda alignment: self._registered(alignment, "Registered"),
            (request.fixed, request.moving),
        )

    def load(self, path: str) -> None:
        """Load a transform in a worker thread and use it as if it had just been found."""
        request = self._request()
        if self._job is not None or request is None:
            return
        self.view.curve.setVisible(False)
        self._start(
            lambda progress, cancel: load_in_worker(
                path, request, progress=progress, cancel=cancel
            ),
            lambda alignment: self._registered(alignment, "Transform loaded and applied"),
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
        alignment = self.alignment
        if self._job is not None or alignment is None:
            return
        self._start(
            lambda progress, cancel: apply_in_worker(
                layer, alignment, to_fixed, progress=progress, cancel=cancel
            ),
            lambda moved: self._add_moved(layer, moved),
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

    def _registered(self, alignment: Alignment, done: str) -> None:
        fixed, moving = self._busy_with
        layers = self.viewer.layers
        if fixed not in layers or moving not in layers:
            self._say("A layer was closed meanwhile; nothing was changed.")
            return
        self.comparing.hide(moving)
        if self.alignment is not None and self.alignment.layer in layers:
            self.comparing.hide(self.alignment.layer)
        self.alignment = alignment
        self.deformation.set_alignment(alignment)
        layers.insert(max(layers.index(fixed), layers.index(moving)) + 1, alignment.layer)
        self._fixed, self._moving = fixed, moving
        self.view.result.show_report(alignment.report)
        self.view.sections["use"].setVisible(True)
        self.view.landmarks.set_alignment(alignment)
        for button in (self.view.compare.before, self.view.compare.after):
            button.setEnabled(True)
        self._say(f"{done} in {time.perf_counter() - self._started:.1f} s.")
        self.view.compare.choose(fixed, alignment.layer)
        self._mark_before_after()
        if self.comparing.comparison is None and not self.comparing.busy:
            self.comparing.start()

    def _add_moved(self, layer: Any, moved: Any) -> None:
        layers = self.viewer.layers
        place = layers.index(layer) + 1 if layer in layers else len(layers)
        layers.insert(place, moved)
        self._say(f"Added {moved.name}.")

    def _was_cancelled(self) -> None:
        if not self._released:
            self._say("Cancelled; nothing was changed.")

    def _ended(self) -> None:
        self._job, self._busy_with = None, ()
        if self._released:
            return
        self._curve_timer.stop()
        self._draw_curve()
        if not self._samples:
            self.view.curve.setVisible(False)
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
        if self.alignment is not None and gone is self._moving:
            self.view.compare.before.setEnabled(False)
        if self.alignment is not None and gone in (self.alignment.layer, self._fixed):
            for button in (self.view.compare.before, self.view.compare.after):
                button.setEnabled(False)

    def _show_moved(self, moved: bool) -> None:
        """Compare the fixed volume with the moving one as it was, or moved."""
        if self.alignment is None:
            return
        second = self.alignment.layer if moved else self._moving
        if self._fixed in self.viewer.layers and second in self.viewer.layers:
            self.view.compare.choose(self._fixed, second)
        self._mark_before_after()

    def _mark_before_after(self) -> None:
        if self.alignment is None:
            return
        second = self.view.compare.two[1]
        self.view.compare.before.setChecked(second is self._moving)
        self.view.compare.after.setChecked(second is self.alignment.layer)

    def _new_landmarks(self) -> None:
        fixed, moving = add_landmark_layers(self.viewer, *self.view.two)
        self.view.landmarks.fixed.choose(fixed)
        self.view.landmarks.moving.choose(moving)

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
        self.deformation.release()
        self.view.use.release()
        self.view.landmarks.release()
        self.view.each_choice(lambda choice: choice.release())
        self.alignment, self._busy_with, self.viewer = None, (), None
        self._fixed = self._moving = None
