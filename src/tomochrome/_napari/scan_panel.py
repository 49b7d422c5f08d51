"""The panel "Scan": what the selected layer is, how it lies, and the scanner's windows."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from tomochrome._napari import wording
from tomochrome._napari.docked import DockedPanel
from tomochrome._napari.grey_window import show_window, value_range
from tomochrome._napari.jobs import Job
from tomochrome._napari.layers import behind, display_name, grey_layer, world_affine
from tomochrome._napari.scan_view import ScanView
from tomochrome.errors import TomochromeError
from tomochrome.runtime import CancelToken, Progress
from tomochrome.volume import Volume
from tomochrome.windowing import parse_window, scanner_windows

if TYPE_CHECKING:
    import napari.viewer

_LOG = logging.getLogger(__name__)
_VALUES = "Values"
_OTHERS = "Opened by another reader; no information from the scanner is available."


class ScanPanel(DockedPanel):
    """Tells about the selected layer, and follows the selection.

    Parameters
    ----------
    napari_viewer
        The viewer whose selected layer is described.
    """

    tab = "Scan"

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer: Any = napari_viewer
        self.view = ScanView(self)
        self._layer: Any = None
        self._job: Job | None = None
        self._request = 0
        self.view.window_chosen.connect(self._show_window)
        napari_viewer.layers.selection.events.active.connect(self._selected)
        napari_viewer.layers.events.removed.connect(self._selected)
        self._selected()

    @property
    def layer(self) -> Any:
        """The layer that is described, or None."""
        return self._layer

    @property
    def running(self) -> bool:
        """Whether the range of values is still being found."""
        return self._job is not None and self._job.running

    def _selected(self, _: object = None) -> None:
        if self._released:
            return
        layer = self.viewer.layers.selection.active
        if layer is self._layer and layer is not None:
            return
        self._layer = layer
        if self._job is not None:
            self._job.cancel()
            self._job = None
            self._request += 1
        known = None if layer is None else behind(layer.metadata)
        if layer is None:
            self._tell_nothing("Select a layer to see what it is.")
        elif known is not None:
            self._tell(
                known.stored, () if known.chroma is None else known.chroma.provenance.warnings
            )
        else:
            self._tell_of_others(layer)

    def _tell_nothing(self, text: str) -> None:
        self.view.show_facts("No scan", ())
        self.view.show_verdict(None, text, ())
        self.view.show_windows(None)

    def _tell(self, volume: Volume, further: tuple[str, ...] = ()) -> None:
        """Tell about a volume that this plugin read or made; ``further`` warns of its colors."""
        provenance = volume.provenance
        facts = [
            ("Modality", wording.modality_of(provenance.modality)),
            ("Matrix", wording.size_of(volume.shape)),
            ("Slices", wording.orientation_of(volume.affine)),
            ("Spacing", wording.spacing_of(volume.spacing)),
            ("Extent", wording.extent_of(volume.shape, volume.spacing)),
            ("Unit", wording.unit_of(volume.unit)),
        ]
        if not volume.is_rgba:
            facts.append((_VALUES, "…"))
        remark = wording.verdict_in_words(provenance.verdict, provenance.warnings, volume.shape[0])
        said = dict.fromkeys((*provenance.warnings, *further))
        warnings = [wording.sentence(text) for text in said]
        self.view.show_facts(display_name(volume), facts)
        self.view.show_verdict(provenance.verdict, remark, warnings)
        is_ct = volume.unit == "HU"
        # What is no CT has a window of its own, which the presets would not fit.
        stored = scanner_windows(volume)
        self.view.show_windows(stored if is_ct or stored else None, is_ct=is_ct)
        if not volume.is_rgba:
            self._find_range(volume.voxels, " HU" if is_ct else "")

    def _tell_of_others(self, layer: Any) -> None:
        """Tell what a layer of another reader says of itself."""
        data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
        shape = tuple(getattr(data, "shape", ()))
        facts = [("Kind", layer._type_string)]
        plain = layer._type_string in ("image", "labels")
        if plain and layer.ndim == 3:
            spacing = np.linalg.norm(world_affine(layer)[:3, :3], axis=0)
            facts.append(("Matrix", wording.size_of(shape[:3])))
            facts.append(("Spacing", wording.spacing_of(tuple(map(float, spacing)))))
            facts.append(("Extent", wording.extent_of(shape[:3], tuple(map(float, spacing)))))
        elif plain:
            facts.append(("Matrix", " × ".join(map(str, shape))))
        scalar = plain and not getattr(layer, "rgb", False)
        if scalar:
            facts.append(("Unit", wording.unit_of("unknown")))
        # Values of lazy layers may lie on a disk far away: they are not fetched for this.
        in_memory = isinstance(data, np.ndarray)
        if scalar and in_memory:
            facts.append((_VALUES, "…"))
        self.view.show_facts(layer.name, facts)
        self.view.show_verdict(None, _OTHERS, ())
        self.view.show_windows(None)
        if scalar and in_memory:
            self._find_range(data, "")

    def _find_range(self, voxels: Any, suffix: str) -> None:
        """Find the range of values in a worker: it takes a while in a large volume."""
        self._request += 1
        request = self._request

        def work(progress: Progress, cancel: CancelToken) -> tuple[int, str]:
            low, high = value_range(voxels, cancel)
            return request, f"{low:g} to {high:g}{suffix}" if low <= high else "none"

        self._job = Job(work, name="tomochrome value range")
        self._job.returned.connect(self._show_range)
        self._job.failed.connect(self._range_failed)
        self._job.start()

    def _show_range(self, result: tuple[int, str]) -> None:
        request, text = result
        if request == self._request and not self._released:
            self.view.set_fact(_VALUES, text)

    def _range_failed(self, error: Exception) -> None:
        _LOG.error("the range of values was not found", exc_info=error)

    def _show_window(self, choice: str) -> None:
        """Show the CT of the selected layer in a window; panels that follow it follow."""
        known = None if self._layer is None else behind(self._layer.metadata)
        if known is None:
            return
        layer = grey_layer(self.viewer.layers, self._layer, known)
        if layer is None:
            return
        try:
            show_window(layer, parse_window(choice, known.shown), choice)
        except TomochromeError as error:
            self.view.remark.say(wording.sentence(str(error)))

    def let_go(self) -> None:
        """Stop what is under way and let go of the viewer."""
        if self._job is not None:
            self._job.cancel()
        layers = self.viewer.layers
        layers.selection.events.active.disconnect(self._selected)
        layers.events.removed.disconnect(self._selected)
        self._layer = self.viewer = None
