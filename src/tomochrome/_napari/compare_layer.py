"""A comparison as a layer: made by a worker, then changed as often as one likes."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomochrome._napari import grey_window
from tomochrome._napari.compare_modes import Fields, Screen, make_view
from tomochrome._napari.layers import LayerSource, color_layer, source_of
from tomochrome._napari.lazy_picture import LazyPicture, Rendering
from tomochrome._napari.register_place import moved_by_hand, place
from tomochrome._napari.renderer_3d import renderer_of
from tomochrome.compare.region import Region
from tomochrome.geometry.blocks import Steps
from tomochrome.runtime import check, report
from tomochrome.volume import Volume
from tomochrome.windowing import Window

if TYPE_CHECKING:
    from tomochrome.compare import Pair, View


class ComparePicture(LazyPicture):
    """A view that can be exchanged for another of the same pair.

    Parameters
    ----------
    view
        Of a pair made with ``color=True``: always RGBA.
    """

    def __init__(self, view: View[Any]) -> None:
        super().__init__(view.pair.shape)
        self._view = view

    @property
    def view(self) -> View[Any]:
        """The comparison shown; assign another to change it."""
        return self._view

    @view.setter
    def view(self, view: View[Any]) -> None:
        self._view = view
        self.outdate()

    def compute(self, region: Region) -> NDArray[np.uint8]:
        """Return RGBA of a region."""
        return self._view.compute(region)

    def render(self, steps: Steps) -> Rendering:
        """Compute all of it, clear where it is dark: air would be a black box about the body.

        The opacity goes with the square of the brightness: noise, seen along a whole ray, would
        be a fog.
        """
        rendering = super().render(steps)
        opacity = np.rint(np.arange(256) ** 2 / 255).astype(np.uint8)
        for plane in rendering.rgba:
            check()
            np.minimum(plane[..., 3], opacity[plane[..., :3].max(axis=-1)], out=plane[..., 3])
        return rendering

    def __deepcopy__(self, memo: Any) -> LazyPicture:
        """Return a picture that stays as it is when this one is changed, as a duplicate should."""
        twin: Any = super().__deepcopy__(memo)
        twin._view = copy.copy(self._view)
        twin._view.pair = copy.copy(self._view.pair)
        return twin


NAME = "Comparison"


@dataclass(frozen=True, eq=False)
class Made:
    """What the worker hands to the GUI thread."""

    pair: Pair
    layer: Any
    note: str = ""  #: what the user should know of where the two lie


def make_in_worker(
    first: Any, second: Any, fields: Fields, windows: tuple[Window | None, Window | None]
) -> Made:
    """Make the layer that compares two others. Runs in a worker and touches no widget.

    Parameters
    ----------
    first, second
        napari layers of volumes; they are only read.
    fields
        What the fields of the comparison say.
    windows
        How the two are shown, None where they are in color or it is not known.

    Raises
    ------
    TomochromeError
        If the two cannot be compared so.
    Cancelled
        If the task was cancelled.
    """
    from napari.layers import Layer

    from tomochrome.compare import Pair

    report(0, 0, "Reading the layers")
    a, b = place(first), place(second)
    check()
    report(0, 0, "Preparing the comparison")
    pair = Pair(a.source, b.source, color=True)
    pair.windows = windows
    view = make_view(fields, pair)
    view.prepare()
    picture = ComparePicture(view)
    # The slow firsts of each plane happen here, so that no scrolling waits for them.
    for axis in range(3):
        check()
        _ = picture[(*[slice(None)] * axis, picture.shape[axis] // 2)]
    shown = Volume(picture, a.volume.affine, "RGBA", a.volume.provenance)  # type: ignore[arg-type]
    parts = color_layer(picture, LayerSource("derived", a.stored, shown), a.transform, NAME)
    return Made(pair, Layer.create(*parts), moved_by_hand(a, b))


class Comparison:
    """The comparison layer of two others, as long as it is shown.

    Parameters
    ----------
    viewer
        The viewer that shows it.
    layers
        The two layers compared.
    made
        What the worker made.
    hidden
        What the comparison before this one hid and has not shown again.
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
    def view(self) -> View[Any]:
        """The view shown."""
        return self.picture.view

    def _show(self, hidden: tuple[Any, ...]) -> None:
        """Add the layer above the two and all that would hide it, and hide the two."""
        layers = self.viewer.layers
        below = [i for i, x in enumerate(layers) if x in self.layers or covers(x)]
        top = max(below, default=len(layers) - 1)
        for layer in self.layers:
            if layer in layers and layer.visible:
                layer.visible = False
                self._hidden.append(layer)
        self._hidden += [layer for layer in hidden if layer in layers]
        layers.insert(top + 1, self.layer)

    def leave_hidden(self, layer: Any) -> None:
        """Do not show a layer again that was hidden for the comparison."""
        if layer in self._hidden:
            self._hidden.remove(layer)

    def close(self) -> tuple[Any, ...]:
        """Take the layer away; return the layers that it hid and that are still there."""
        hidden, self._hidden = self._hidden, []
        if self.layer in self.viewer.layers:
            self.viewer.layers.remove(self.layer)
        return tuple(layer for layer in hidden if layer in self.viewer.layers)

    def set_fields(self, fields: Fields) -> None:
        """Compare in another way.

        Raises
        ------
        TomochromeError
            If the pair cannot be compared so; then the layer shows what it showed.
        """
        self.picture.view = make_view(fields, self.pair, self.view, self._screen)
        self.refresh()

    def set_screen(self, screen: Screen) -> None:
        """Follow axes that were rolled or turned: left stays left on the screen."""
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
        """Show the two in other windows."""
        if windows != self.pair.windows:
            self.pair.windows = windows
            self.refresh()

    def refresh(self) -> None:
        """Compute again what is on screen, no more."""
        self.picture.outdate()
        if not self.picture.in_3d:
            self.layer.refresh(extent=False, highlight=False, thumbnail=False)


def covers(layer: Any) -> bool:
    """Whether a layer hides what lies below it, unlike points, outlines or a heat map."""
    known = source_of(layer.metadata)
    overlaid = known is not None and known.role == "derived"
    solid = layer._type_string == "image" and layer.opacity == 1 and not overlaid
    return bool(solid and layer.blending in ("translucent", "translucent_no_depth", "opaque"))


def screen_of(viewer: Any, layer: Any) -> Screen:
    """Return how a viewer lays a 3D layer's plane on the screen."""
    extra = viewer.dims.ndim - layer.ndim
    shown = [axis - extra for axis in viewer.dims.displayed]
    origin = layer.data_to_world((0, 0, 0))
    ends = [layer.data_to_world(end) for end in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    mirrored = [bool(end[axis] < origin[axis]) for axis, end in enumerate(ends)]
    if len(shown) != 2 or min(shown) < 0:  # in 3D a wipe is that of the slices
        return Screen(False, (mirrored[0], mirrored[1], mirrored[2]))
    for axis, runs, usual in zip(
        shown, viewer.scene.camera.orientation2d, ("down", "right"), strict=True
    ):
        mirrored[axis] ^= str(runs) != usual
    return Screen(shown[0] > shown[1], (mirrored[0], mirrored[1], mirrored[2]))


def window_of(layer: Any) -> Window | None:
    """Return the window that a grey layer is shown in, None for others."""
    window = grey_window.window_of(layer)
    if window is None or window.function == "SIGMOID":
        return window
    return replace(window, function="LINEAR_EXACT")  # as napari draws it
