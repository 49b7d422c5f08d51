"""The Jacobian map and the deformation grid, shown and taken away by their boxes."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QCheckBox

from tomochrome._napari.jobs import Job
from tomochrome._napari.register_job import Alignment
from tomochrome._napari.register_result import UsePanel
from tomochrome._napari.solids import solids_of


class DeformationLayers:
    """Two layers that belong to the alignment shown.

    Parameters
    ----------
    viewer
        The viewer that shows them.
    panel
        Has the boxes.
    """

    def __init__(self, viewer: Any, panel: UsePanel) -> None:
        self.viewer = viewer
        self.panel = panel
        self.alignment: Alignment | None = None
        self.jacobian: Any = None
        self.grid: Any = None
        self._job: Job | None = None
        panel.jacobian_toggled.connect(self._toggle_jacobian)
        panel.grid_toggled.connect(self._toggle_grid)
        viewer.layers.events.removed.connect(self._removed)

    def set_alignment(self, alignment: Alignment | None) -> None:
        """Belong to another alignment: layers of the last one are removed, the boxes cleared."""
        for box in (self.panel.jacobian, self.panel.grid):
            box.setChecked(False)
        self.alignment = alignment

    def _toggle_jacobian(self, on: bool) -> None:
        from napari.layers import Layer

        from tomochrome._napari.register_layers import jacobian_layer

        if not on:
            self._take_away(self.jacobian)
        elif self.alignment is not None:
            parts = jacobian_layer(self.alignment.jacobian, self.alignment.fixed)
            self.jacobian = self.viewer.add_layer(Layer.create(*parts))

    def _toggle_grid(self, on: bool) -> None:
        from napari.layers import Layer

        from tomochrome._napari.grid_picture import GridPicture
        from tomochrome._napari.register_layers import grid_layer

        if not on:
            self._take_away(self.grid)
        elif self.alignment is not None:
            picture = GridPicture(self.alignment.forward, self.alignment.fixed.volume)
            solids_of(self.viewer)
            self.grid = self.viewer.add_layer(
                Layer.create(*grid_layer(picture, self.alignment.fixed))
            )

    def _take_away(self, layer: Any) -> None:
        if layer is not None and layer in self.viewer.layers:
            self.viewer.layers.remove(layer)

    def _removed(self, event: Any) -> None:
        boxes: dict[str, QCheckBox] = {"jacobian": self.panel.jacobian, "grid": self.panel.grid}
        for name, box in boxes.items():
            if getattr(self, name) is not None and event.value is getattr(self, name):
                setattr(self, name, None)
                self.panel.uncheck(box)

    def release(self) -> None:
        """Let go of the viewer; the layers stay."""
        self.viewer.layers.events.removed.disconnect(self._removed)
        self.viewer = self.alignment = self.jacobian = self.grid = None
