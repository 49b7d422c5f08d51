"""The comparison layer: created by a worker, then updated in place."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray

from tomochrome import compare
from tomochrome._napari.compare.compare_modes import Fields, make_view
from tomochrome._napari.layers import grey_window
from tomochrome._napari.layers.layer_volumes import derived_layer, moved_by_hand, place
from tomochrome._napari.layers.lazy_picture import LazyPicture, Rendering
from tomochrome._napari.layers.volume_layers import covers
from tomochrome._napari.viewer.orientation import Screen
from tomochrome._napari.viewer.renderer_3d import renderer_of
from tomochrome.compare.region import Region
from tomochrome.geometry.block_grids import Steps
from tomochrome.runtime import check, report
from tomochrome.windowing import Window


class ComparePicture(LazyPicture):
    """Layer data computed from a view, which can be replaced by another view of the same pair.

    Parameters
    ----------
    view
        View of a pair created with ``color=True``, so that it is always RGBA.
    """

    is_comparison = True  #: see `tomochrome._napari.viewer.viewer_setup.GreyIn3D`

    def __init__(self, view: compare.View[Any]) -> None:
        super().__init__(view.pair.shape)
        self._view = view

    @property
    def view(self) -> compare.View[Any]:
        """The comparison shown; assign another to change it."""
        return self._view

    @view.setter
    def view(self, view: compare.View[Any]) -> None:
        self._view = view
        self.outdate()

    def compute(self, region: Region) -> NDArray[np.uint8]:
        """Return RGBA of a region."""
        return self._view.compute(region)

    def render(self, steps: Steps) -> Rendering:
        """Compute the 3D image, transparent where it is dark so that air does not hide the body.

        The opacity is proportional to the square of the brightness; otherwise noise, accumulated
        along each ray, would look like fog.
        """
        rendering = super().render(steps)
        opacity = np.rint(np.arange(256) ** 2 / 255).astype(np.uint8)
        for plane in rendering.rgba:
            check()
            np.minimum(plane[..., 3], opacity[plane[..., :3].max(axis=-1)], out=plane[..., 3])
        return rendering

    def __deepcopy__(self, memo: Any) -> LazyPicture:
        """Return an independent copy, for napari's "Duplicate layer"."""
        twin: Any = super().__deepcopy__(memo)
        twin._view = copy.copy(self._view)
        twin._view.pair = copy.copy(self._view.pair)
        return twin


NAME = "Comparison"


@dataclass(frozen=True, eq=False)
class Made:
    """The result that the worker returns to the GUI thread."""

    pair: compare.Pair
    layer: Any
    note: str = ""  #: warning about layers that were moved by hand


def make_in_worker(
    first: Any, second: Any, fields: Fields, windows: tuple[Window | None, Window | None]
) -> Made:
    """Create the layer that compares two layers. Runs in a worker and accesses no widget.

    ``windows`` are the display windows of the two, None for a colored layer or an unknown window.
    Raises `TomochromeError` if the two layers cannot be compared in this way; `Cancelled` if the
    task was cancelled.
    """
    report(0, 0, "Reading the layers")
    a, b = place(first), place(second)
    check()
    report(0, 0, "Preparing the comparison")
    pair = compare.Pair(a.source, b.source, color=True, hatch=True)
    pair.windows = windows
    view = make_view(fields, pair)
    view.prepare()
    picture = ComparePicture(view)
    # Compute one slice along each axis now, because the first one is slow.
    for axis in range(3):
        check()
        _ = picture[(*[slice(None)] * axis, picture.shape[axis] // 2)]
    layer = Layer.create(*derived_layer(picture, a, NAME))
    return Made(pair, layer, moved_by_hand(a, b))


class Comparison:
    """A comparison layer in a viewer.

    Parameters
    ----------
    viewer
        The viewer.
    layers
        The two layers compared.
    made
        The worker's result.
    hidden
        Layers hidden by the previous comparison and not shown again yet.
    """

    def __init__(
        self, viewer: Any, layers: tuple[Any, Any], made: Made, hidden: tuple[Any, ...] = ()
    ) -> None:
        self.viewer = viewer
        self.layers = layers
        self.pair = made.pair
        self.layer = made.layer
        self.note = made.note
        self._hidden: list[Any] = []
        self._screen = Screen()
        renderer_of(viewer)
        self._show(hidden)

    @property
    def picture(self) -> Any:
        """The layer's data, a `ComparePicture`."""
        return self.layer.data

    @property
    def view(self) -> compare.View[Any]:
        """The view shown."""
        return self.picture.view

    def _show(self, hidden: tuple[Any, ...]) -> None:
        """Add the comparison above the two layers and all others that cover it, and hide these.

        Another layer would show where one of the two has no voxels and the comparison is
        transparent, as if it were part of the comparison.
        """
        layers = self.viewer.layers
        below = [layer for layer in layers if layer in self.layers or covers(layer)]
        top = max(map(layers.index, below), default=len(layers) - 1)
        layers.insert(top + 1, self.layer)  # first: see `GreyIn3D`
        for layer in below:
            if layer.visible:
                layer.visible = False
                self._hidden.append(layer)
        self._hidden += [layer for layer in hidden if layer in layers]

    def leave_hidden(self, layer: Any) -> None:
        """Keep a layer hidden when the comparison ends."""
        if layer in self._hidden:
            self._hidden.remove(layer)

    def show_again(self) -> None:
        """Show the hidden layers, while the comparison still covers them."""
        hidden, self._hidden = self._hidden, []
        for layer in hidden:
            if layer in self.viewer.layers:
                layer.visible = True

    def close(self) -> tuple[Any, ...]:
        """Remove the layer; return the layers that it hid and that still exist."""
        hidden, self._hidden = self._hidden, []
        if self.layer in self.viewer.layers:
            self.viewer.layers.remove(self.layer)
        return tuple(layer for layer in hidden if layer in self.viewer.layers)

    def set_fields(self, fields: Fields) -> None:
        """Change the mode or the settings of the comparison.

        Raises `TomochromeError` if the pair cannot be compared in this way; the layer is then
        unchanged.
        """
        self.picture.view = make_view(fields, self.pair, self.view, self._screen)
        self.refresh()

    def set_screen(self, screen: Screen) -> None:
        """Adapt a wipe to rolled or transposed axes, so that left stays left on the screen."""
        before, self._screen = self._screen, screen
        if screen == before or self.view.mode != "wipe":
            return
        curtain = self.view.settings
        direction = curtain.direction
        if screen.transposed != before.transposed:
            direction = "horizontal" if direction == "vertical" else "vertical"
        self.set_settings(replace(curtain, direction=direction, mirrored=screen.mirrored))

    def set_settings(self, settings: Any) -> None:
        """Change the settings of the view shown."""
        self.view.settings = settings
        self.refresh()

    def set_windows(self, windows: tuple[Window | None, Window | None]) -> None:
        """Set the display windows of the two layers."""
        if windows != self.pair.windows:
            self.pair.windows = windows
            self.refresh()

    def refresh(self) -> None:
        """Recompute what is on screen."""
        self.picture.outdate()
        if not self.picture.in_3d:
            self.layer.refresh(extent=False, highlight=False, thumbnail=False)


def is_comparison(layer: Any) -> bool:
    """Whether a layer shows a comparison."""
    return bool(getattr(layer.data, "is_comparison", False))


def window_of(layer: Any) -> Window | None:
    """Return the display window of a grey layer, None for other layers."""
    window = grey_window.window_of(layer)
    if window is None or window.function == "SIGMOID":
        return window
    return replace(window, function="LINEAR_EXACT")  # as napari draws it
