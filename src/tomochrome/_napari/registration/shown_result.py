"""Shows the result of the selected pair of images and hides that of the previous pair."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from napari.layers import Image, Labels, Layer
from qtpy.QtWidgets import QCheckBox
from superqt.utils import signals_blocked

from tomochrome._napari.compare.compare_control import CompareControl
from tomochrome._napari.compare.compare_layer import is_comparison
from tomochrome._napari.kit.events import Connections
from tomochrome._napari.layers.volume_layers import LayerTuple, covers
from tomochrome._napari.registration.deformation_layers import (
    change_layer,
    grid_layer,
    jacobian_layer,
)
from tomochrome._napari.registration.register_view import RegisterView, belongs_to
from tomochrome._napari.registration.register_work import Alignment, PairResult
from tomochrome._napari.viewer.renderer_3d import renderer_of


class MapLayer:
    """A layer made from the current alignment, which exists while its checkbox is ticked."""

    def __init__(
        self, viewer: Any, box: QCheckBox, make: Callable[[Alignment], LayerTuple]
    ) -> None:
        self.viewer, self.box, self.make = viewer, box, make
        self.alignment: Alignment | None = None
        self.layer: Any = None
        self._connections = Connections()
        self._connections.add(self._removed, viewer.layers.events.removed)
        box.toggled.connect(self._toggle)

    def set_alignment(self, alignment: Alignment | None) -> None:
        """Remove the layer and use another alignment from now on."""
        self.box.setChecked(False)
        self.alignment = alignment

    def _toggle(self, on: bool) -> None:
        if on and self.alignment is not None:
            renderer_of(self.viewer)
            self.layer = self.viewer.add_layer(Layer.create(*self.make(self.alignment)))
        elif self.layer is not None and self.layer in self.viewer.layers:
            self.viewer.layers.remove(self.layer)

    def _removed(self, event: Any) -> None:
        if event.value is self.layer:
            self.layer = None
            with signals_blocked(self.box):
                self.box.setChecked(False)

    def release(self) -> None:
        """Disconnect from the viewer; the layer stays."""
        self._connections.release()
        self.viewer = self.alignment = self.layer = None


def show_common(viewer: Any, result: PairResult) -> None:
    """Go to a slice that shows both images of a pair, unless the current one does."""
    after = result.alignment.report.get("after", {})
    coverage = after.get("coverage") or {}
    if not coverage.get("common_slices") or result.fixed not in viewer.layers:
        return
    fixed, center = result.fixed, coverage["common_center"]
    hidden = viewer.dims.ndim - 3
    index = fixed.world_to_data(viewer.dims.point[-fixed.ndim :])[-3:]
    at = [
        now if first <= now <= last else middle
        for now, (first, last), middle in zip(index, coverage["common_slices"], center, strict=True)
    ]
    for axis, value in enumerate(fixed.data_to_world((*[0] * (fixed.ndim - 3), *at))[-3:]):
        viewer.dims.set_point(hidden + axis, value)


class ShownResult:
    """The result on screen: verdict, table, curve, transform, landmarks, maps and comparison."""

    def __init__(self, viewer: Any, view: RegisterView, comparing: CompareControl) -> None:
        self.viewer = viewer
        self.view = view
        self.comparing = comparing
        self.maps = {
            "jacobian": MapLayer(
                viewer, view.use.jacobian, lambda x: jacobian_layer(x.jacobian, x.fixed)
            ),
            "change": MapLayer(
                viewer, view.use.change, lambda x: change_layer(x.layer, x.fixed, x.spread)
            ),
            "grid": MapLayer(viewer, view.use.grid, lambda x: grid_layer(x.forward, x.fixed)),
        }
        self.results: list[PairResult] = []  #: results of all pairs, oldest first
        self.current: PairResult | None = None
        # Layers that were moved onto an image. Layers and images are not kept alive.
        self._moved: weakref.WeakKeyDictionary[Any, weakref.ref[Any]] = weakref.WeakKeyDictionary()
        view.use.belongs = self.belongs
        view.landmarks.chosen.connect(view.use.refresh)
        view.fixed.chosen.connect(self.follow)
        view.moving.chosen.connect(self.follow)
        view.kept.activated.connect(self._choose_kept)
        view.compare.before.clicked.connect(lambda: self._compare_with(moved=False))
        view.compare.after.clicked.connect(lambda: self._compare_with(moved=True))
        view.compare.layers_changed.connect(self.mark_before_after)

    def follow(self) -> None:
        """Show the newest result of the selected pair; called when the selection changes."""
        self.view.landmarks.follow_pair()
        results = self.of(*self.view.two)
        if self.current is None or self.current not in results:
            self._show(results[-1] if results else None)
        self.view.landmarks.refresh()

    def of(self, fixed: Any, moving: Any) -> list[PairResult]:
        """Return the results of a pair, oldest first."""
        return [result for result in self.results if result.is_of(fixed, moving)]

    def add(self, result: PairResult, *, keep: bool) -> None:
        """Add a new result and its layer, and show it if its pair is selected.

        Unless ``keep``, it replaces the earlier result of the pair.
        """
        layers = self.viewer.layers
        earlier = None if keep else self.earlier(result.fixed, result.moving)
        if earlier is not None:
            if earlier is self.current:
                self._show(None)
            self.results.remove(earlier)
            result.copies = earlier.copies
            result.shown |= earlier.shown
            if earlier.alignment.layer in layers:
                layers.remove(earlier.alignment.layer)
        for other in self.of(result.fixed, result.moving):
            if other.alignment.layer is not None:
                self.comparing.hide(other.alignment.layer)
        self.comparing.hide(result.moving)
        place = max(layers.index(result.fixed), layers.index(result.moving)) + 1
        self._moved[result.alignment.layer] = weakref.ref(result.fixed)
        layers.insert(place, result.alignment.layer)
        self.results.append(result)
        if result.is_of(*self.view.two):
            show_common(self.viewer, result)
            self._show(result)

    def add_copy(self, result: PairResult, layer: Any, to_fixed: bool, copy: Any) -> None:
        """Add a moved copy of a layer, above everything that could cover it."""
        layers, keep = self.viewer.layers, self.view.keep.isChecked()
        earlier = result.copy_of(layer, to_fixed)
        if earlier is not None and earlier in layers and not keep:
            layers.remove(earlier)
        below = [x for x in layers if x is layer or covers(x) or is_comparison(x)]
        self._moved[copy] = weakref.ref(result.fixed if to_fixed else result.moving)
        layers.insert(1 + max(map(layers.index, below), default=len(layers) - 1), copy)
        result.add_copy(layer, to_fixed, copy)

    def belongs(self, layer: Any, image: Any) -> bool:
        """Whether a layer is known to belong to an image, or to a copy moved onto that image."""
        if belongs_to(layer, image) or self.view.landmarks.are_of(layer, image):
            return True
        moved = [x for x, onto in self._moved.items() if onto() is image]
        return layer in moved or any(
            belongs_to(layer, x) for x in moved if isinstance(x, (Image, Labels))
        )

    def earlier(self, fixed: Any, moving: Any) -> PairResult | None:
        """Return the result that a new one replaces: the current one of the pair, or the newest."""
        results = self.of(fixed, moving)
        return self.current if self.current in results else (results[-1] if results else None)

    def number_for(self, fixed: Any, moving: Any, *, keep: bool) -> int:
        """Return the number of the next result of a pair."""
        earlier = None if keep else self.earlier(fixed, moving)
        if earlier is not None:
            return earlier.number
        return 1 + max((result.number for result in self.of(fixed, moving)), default=0)

    def forget(self, layer: Any) -> None:
        """Drop references to a removed layer and the results of its pairs."""
        self.results = [x for x in self.results if layer is not x.fixed and layer is not x.moving]
        for result in self.results:
            result.forget(layer)
        if self.current is not None and self.current not in self.results:
            self._show(None)
            self.follow()
        elif self.current is not None:
            for shown in self.maps.values():
                shown.alignment = self.current.alignment
            self.view.landmarks.set_alignment(self.current.alignment)
            self.view.use.layer.refresh()
        self._enable_before_after()

    def _show(self, result: PairResult | None) -> None:
        view, before = self.view, self.current
        if before is not None:
            before.shown = self._on_screen(before)
            if "comparison" in before.shown:
                self.comparing.stop()
        self.current = result
        alignment = None if result is None else result.alignment
        for shown in self.maps.values():
            shown.set_alignment(alignment)
        view.show_result(result)
        kept = [] if result is None else self.of(result.fixed, result.moving)
        view.show_kept([x.name for x in kept], kept.index(result) if result in kept else -1)
        self._enable_before_after()
        if result is None:
            if before is not None and self._is_compared(before):
                view.compare.choose(*view.two)
            return
        self._compare_with(moved=True)
        for name, shown in self.maps.items():
            shown.box.setChecked(name in result.shown)
        idle = self.comparing.comparison is None and not self.comparing.busy
        if "comparison" in result.shown and idle:
            self.comparing.start()

    def _on_screen(self, result: PairResult) -> frozenset[str]:
        """Return the views of a result that are on screen."""
        compared = self.comparing.comparison is not None or self.comparing.busy
        parts = {name for name, shown in self.maps.items() if shown.box.isChecked()}
        if compared and self._is_compared(result):
            parts.add("comparison")
        return frozenset(parts)

    def _is_compared(self, result: PairResult) -> bool:
        """Whether both layers selected for comparison belong to this result."""
        own = (result.fixed, result.moving, result.alignment.layer)
        return all(any(layer is x for x in own) for layer in self.view.compare.two)

    def _choose_kept(self, index: int) -> None:
        results = self.of(*self.view.two)
        if 0 <= index < len(results) and results[index] is not self.current:
            self._show(results[index])

    def _compare_with(self, *, moved: bool) -> None:
        """Compare the fixed image with the moving image before or after registration."""
        result = self.current
        if result is None:
            return
        second = result.alignment.layer if moved else result.moving
        if second is not None:
            self.view.compare.choose(result.fixed, second)
        self.mark_before_after()

    def mark_before_after(self) -> None:
        """Update the Before and After buttons from the current comparison."""
        compare, result = self.view.compare, self.current
        second = compare.two[1]
        moved = None if result is None else result.alignment.layer
        compare.before.setChecked(result is not None and second is result.moving)
        compare.after.setChecked(moved is not None and second is moved)

    def _enable_before_after(self) -> None:
        view, alignment = self.view, None if self.current is None else self.current.alignment
        view.compare.before.setEnabled(alignment is not None)
        view.compare.after.setEnabled(alignment is not None and alignment.layer is not None)
        view.use.change.setEnabled(
            alignment is not None and alignment.layer is not None and alignment.spread is not None
        )
        self.mark_before_after()

    def release(self) -> None:
        """Drop all results and the reference to the viewer."""
        for shown in self.maps.values():
            shown.release()
        self.results.clear()
        self.current = self.viewer = None
