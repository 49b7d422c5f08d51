"""Hatching over the restored voxels of scans, and a line of text that says what it means."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from napari.components.overlays import TextOverlay
from napari.layers import Image, Layer
from numpy.typing import NDArray

from tomochrome._napari.kit.events import ViewerFollower
from tomochrome._napari.layers.volume_layers import (
    LayerSource,
    color_layer,
    layer_transform,
    source_of,
)
from tomochrome._napari.viewer.canvas_overlays import place_of_note
from tomochrome.color import Slab
from tomochrome.color.hatch import LEGEND, STRENGTH, hatch_lines
from tomochrome.geometry.affine import plane_distance
from tomochrome.geometry.computed import ComputedArray, full_index
from tomochrome.volume import RESTORED

OVERLAY: Final = "restored_legend"
_LEGEND_IN_3D: Final = f"partly {RESTORED} (hatched in 2D)"
_FONT_SIZE: Final = 11


class HatchPicture(ComputedArray):
    """Layer data, uint8 RGBA (z, y, x, 4): lines over the marked voxels of each plane, else clear.

    Parameters
    ----------
    mask
        Booleans (z, y, x).
    affine
        4x4, from (z, y, x) index to LPS mm.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> None:
        self.mask = mask
        self._distances = [plane_distance(affine, axis) for axis in range(3)]
        self.slab: Slab | None = None  #: a plane has the marked voxels of the slab around it

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (z, y, x, 4)."""
        return (*self.mask.shape, 4)

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Return the indexed voxels; a volume, which napari shows in 3D, is one clear voxel."""
        index = full_index(key, 4)
        spatial = list(index[:3])
        axes = [axis for axis, item in enumerate(spatial) if not isinstance(item, slice)]
        if self.slab is not None and len(axes) == 1:
            (axis,) = axes
            spatial[axis] = self.slab.slices(
                spatial[axis], self._distances[axis], self.mask.shape[axis]
            )
            marked = self.mask[tuple(spatial)].any(axis=axis)
        else:
            marked = self.mask[tuple(spatial)]
        if marked.ndim == 3:
            return np.zeros((1, 1, 1, 4), np.uint8)[..., index[3]]
        rgba = np.zeros((*marked.shape, 4), np.uint8)
        if marked.ndim == 2:
            light, dark = hatch_lines(marked)
            rgba[light | dark, 3] = round(255 * STRENGTH)
            rgba[light, :3] = 255
        return rgba[..., index[3]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the lines of all axial slices."""
        full = np.stack([self[z] for z in range(len(self))])
        return full if dtype is None else full.astype(dtype, copy=False)


class RestoredHatching(ViewerFollower):
    """Adds a hatched layer over each scan with restored voxels, as long as it is in the viewer.

    The layer lies above the images and is visible while one of the scan's layers is, in 2D; the
    user can hide it. A line of text on the canvas says what it means, in 3D too.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self._shown: dict[int, bool] = {}  # by the id of the mask
        self._changing = False
        self._legend: TextOverlay | None = None
        viewer.dims.events.ndisplay.connect(self.update, position="last")
        viewer.layers.events.removed.connect(self.update, position="last")
        viewer.canvas.events.size.connect(self._place_legend)
        self.each_layer(self._added)

    def _added(self, layer: Any) -> None:
        layer.events.visible.connect(self.update)
        self.update()

    def update(self, _: object = None) -> None:
        """Add, raise, show, hide and remove the hatched layers as the scans require."""
        if self._changing:
            return
        self._changing = True
        try:
            self._update(self.viewer)
        finally:
            self._changing = False

    def _update(self, viewer: Any) -> None:
        owners: dict[int, list[Any]] = {}
        for layer in viewer.layers:
            source = source_of(layer.metadata)
            if source is not None and source.role != "derived":
                mask = source.shown.restored
                if mask is not None and layer.ndim == 3:
                    owners.setdefault(id(mask), []).append(layer)
        hatches = {id(x.data.mask): x for x in viewer.layers if is_hatching(x)}
        for key in hatches.keys() - owners.keys():
            viewer.layers.remove(hatches[key])
        self._shown = {key: shown for key, shown in self._shown.items() if key in owners}
        any_visible = any(layer.visible and _compares(layer) for layer in viewer.layers)
        for key, layers in owners.items():
            visible = any(layer.visible for layer in layers)
            any_visible |= visible
            if key not in self._shown:
                hatches[key] = self._add(viewer, layers[0])
            elif key in hatches:
                _raise(viewer.layers, hatches[key])
            shown = visible and viewer.dims.ndisplay == 2
            if key in hatches and self._shown.get(key) != shown:
                self._shown[key] = hatches[key].visible = shown
        self._say(viewer, any_visible)

    def _add(self, viewer: Any, layer: Any) -> Any:
        source = source_of(layer.metadata)
        assert source is not None and source.shown.restored is not None
        picture = HatchPicture(source.shown.restored, source.shown.affine)
        origin = LayerSource("derived", source.stored, source.shown)
        data, keywords, kind = color_layer(picture, origin, layer_transform(layer), RESTORED)
        keywords |= {"interpolation2d": "nearest", "visible": False}
        active = viewer.layers.selection.active
        hatching = viewer.add_layer(Layer.create(data, keywords, kind))
        viewer.layers.selection.active = active
        return hatching

    def _say(self, viewer: Any, visible: bool) -> None:
        if self._legend is None:
            if not visible:
                return
            place = place_of_note(viewer)
            self._legend = TextOverlay(text=LEGEND, position=place, font_size=_FONT_SIZE, box=True)
            viewer.canvas.overlays[OVERLAY] = self._legend
        self._legend.text = LEGEND if viewer.dims.ndisplay == 2 else _LEGEND_IN_3D
        self._legend.visible = visible

    def _place_legend(self, _: object = None) -> None:
        if self._legend is not None:
            self._legend.position = place_of_note(self.viewer)


def is_hatching(layer: Any) -> bool:
    """Return whether a layer hatches restored voxels."""
    return isinstance(layer, Image) and isinstance(layer.data, HatchPicture)


def _compares(layer: Any) -> bool:
    """Return whether a layer is a comparison with a restored scan, which is hatched itself."""
    is_comparison = getattr(layer.data, "is_comparison", False)
    return is_comparison and layer.data.view.pair.restored is not None


def _raise(layers: Any, hatching: Any) -> None:
    """Move a hatched layer above the images; labels, which the user paints, may lie above it."""
    index = layers.index(hatching)
    above = [k for k, x in enumerate(layers) if isinstance(x, Image) and not is_hatching(x)]
    if above and above[-1] > index:
        layers.move(index, above[-1] + 1)
