"""The "Register & checkerboard" panel: reads its fields, runs core functions, shows the results."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog

from tomochrome._napari.compare.compare_control import CompareControl
from tomochrome._napari.export.layer_writers import may_replace
from tomochrome._napari.kit.jobs import Work
from tomochrome._napari.kit.panel_bases import JobPanel
from tomochrome._napari.registration.register_view import RegisterView, register_offer
from tomochrome._napari.registration.register_work import (
    Alignment,
    PairResult,
    Request,
    Sample,
    apply_in_worker,
    check_request,
    load_in_worker,
    look_of,
    register_in_worker,
    save_in_worker,
)
from tomochrome._napari.registration.shown_result import ShownResult
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.errors import TomochromeError

_CURVE_MS = 60
_SAVED_AS = "Transform for ITK, ANTs, 3D Slicer (*.h5);;Displacement field (*.nii.gz)"
_LOADED_FROM = (
    "Transforms (*.h5 *.hdf5 *.tfm *.txt *.mat *.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd);;"
    "All files (*)"
)


class RegisterWidget(JobPanel):
    """Registers two layers, shows and saves the results, and compares any two layers."""

    tab = "Register"
    job_name = "Registration"

    def __init__(self, napari_viewer: Any) -> None:
        prepare_viewer(napari_viewer)
        super().__init__(napari_viewer)
        self.comparing = CompareControl(self.viewer, self.view.compare)
        self.shown = ShownResult(self.viewer, self.view, self.comparing)
        self._busy_with: tuple[Any, ...] = ()
        self._started = 0.0
        self._samples: list[Sample] = []
        self._drawn = 0
        self._curve_timer = QTimer(self)
        self._curve_timer.setInterval(_CURVE_MS)
        self._curve_timer.timeout.connect(self._draw_curve)
        self._connect()
        self._choose_two(at_first=True)
        self.load_engine(register_offer)

    def make_view(self) -> RegisterView:
        """Create the fields."""
        return RegisterView(self.viewer, self)

    def _connect(self) -> None:
        view = self.view
        view.load.clicked.connect(self._ask_load)
        view.use.save_requested.connect(self._ask_save)
        view.use.apply_requested.connect(self.apply_to)
        view.landmarks.placing_begins.connect(self.comparing.pause)
        view.landmarks.placing_ended.connect(self.comparing.resume)
        self.comparing.changing.connect(view.landmarks.end)
        events = self.viewer.layers.events
        self.connections.add(self._choose_two, events.inserted, last=True)
        self.connections.add(self._layer_removed, events.removed)

    @property
    def alignment(self) -> Alignment | None:
        """The transform of the selected pair with its report; None if there is none."""
        current = self.shown.current
        return None if current is None else current.alignment

    # Running

    def run(self) -> None:
        """Register the selected layers in a worker thread."""
        view = self.view
        settings = f"{view.init.currentText()}, {view.similarity.currentText()}"
        self._align("Registered", settings, register_in_worker)
        if self.running:
            self._curve_timer.start()

    def load(self, path: str) -> None:
        """Load a transform in a worker thread and apply it to the selected pair."""
        name = Path(path).name
        self._align(f"Transform '{name}' loaded and applied", name, partial(load_in_worker, path))

    def _align(self, done: str, settings: str, align: Callable[..., Alignment]) -> None:
        """Compute or load the transform of the selected pair in a worker."""
        request = self._request()
        if self.running or request is None:
            return
        self.view.landmarks.end()
        self._drawn, self._samples = 0, []
        samples = self._samples
        self.view.curve.clear()
        self._begin(
            lambda: align(request, samples),
            lambda alignment: self._registered(request, alignment, done, settings),
            (request.fixed, request.moving),
        )

    def save(self, path: str, inverse: bool = False) -> None:
        """Save the transform in a worker thread."""
        alignment = self.alignment
        if self.running or alignment is None:
            return
        self._begin(
            lambda: save_in_worker(path, alignment, inverse),
            lambda saved: self.say(f"Saved {saved.name}."),
        )

    def apply_to(self, layer: Any, to_fixed: bool = True) -> None:
        """Add a moved copy of a layer, computed in a worker thread."""
        result = self.shown.current
        if self.running or result is None:
            return
        alignment = result.alignment
        self._begin(
            lambda: apply_in_worker(layer, alignment, to_fixed),
            lambda moved: self._add_moved(result, layer, to_fixed, moved),
            (layer,),
        )

    def _request(self) -> Request | None:
        view = self.view
        fixed, moving = view.two
        marks = [p if p is None or p.ndim == 3 else None for p in view.landmarks.two]
        request = Request(
            fixed,
            moving,
            view.options,
            {role: x for role, box in view.volumes.items() if (x := box.layer()) is not None},
            marks[0],
            marks[1],
            {} if moving is None else look_of(moving),
            self.shown.number_for(fixed, moving, keep=view.keep.isChecked()),
        )
        try:
            check_request(request)
        except TomochromeError as error:
            self.show_error(error)
            return None
        return request

    def _begin(
        self, work: Work, returned: Callable[[Any], None], layers: tuple[Any, ...] = ()
    ) -> None:
        """Start a job in a worker; it is cancelled if one of these layers is removed."""
        self._started = time.perf_counter()
        self._busy_with = layers
        self.start(work, returned)

    def _registered(self, request: Request, alignment: Alignment, done: str, settings: str) -> None:
        fixed, moving = request.fixed, request.moving
        if fixed not in self.viewer.layers or moving not in self.viewer.layers:
            self.say("One of the images was closed meanwhile; nothing was changed.")
            return
        self.view.landmarks.end()  # the new result is shown
        message = f"{done} in {time.perf_counter() - self._started:.1f} s."
        result = PairResult(
            fixed, moving, alignment, message, settings, request.number, self._samples
        )
        self.shown.add(result, keep=self.view.keep.isChecked())

    def _add_moved(self, result: PairResult, layer: Any, to_fixed: bool, moved: Any) -> None:
        self.shown.add_copy(result, layer, to_fixed, moved)
        self.say(f"Added the layer '{moved.name}'.")

    def ended(self) -> None:
        """Enable the fields again and show the metric curve of the current result."""
        self._busy_with = ()
        self._curve_timer.stop()
        self._samples, self._drawn = [], 0
        self.view.curve.clear()
        if self.shown.current is not None:
            self.view.curve.add(self.shown.current.samples)
        super().ended()

    def _draw_curve(self) -> None:
        fresh = self._samples[self._drawn :]
        if fresh:
            self._drawn += len(fresh)
            self.view.curve.add(fresh)

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
                if not may_replace(path):  # the dialog asked about the name without extension
                    return
            self.save(path, inverse)

    # Following the viewer

    def _choose_two(self, _: object = None, *, at_first: bool = False) -> None:
        """Select two different layers as soon as there are two; the older one is fixed."""
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
        if any(event.value is layer for layer in self._busy_with):
            self.jobs.cancel()
        self.shown.forget(event.value)

    # Closing

    def cleanup(self) -> None:
        """Cancel a run and remove everything that this panel added to the viewer."""
        view = self.view
        self._curve_timer.stop()
        view.landmarks.end()
        self.comparing.release()
        self.shown.release()
        for part in (view.use, view.landmarks, view.fixed, view.moving, *view.volumes.values()):
            part.release()
        self._busy_with = ()
        super().cleanup()
