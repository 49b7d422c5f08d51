"""Landmarks: two Points layers and their registration error, updated live."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QPushButton, QSizePolicy, QWidget
from superqt.utils import qdebounced, qthrottled

from tomochrome._napari.compare_layer import covers
from tomochrome._napari.controls import MessageLabel, form
from tomochrome._napari.events import Connections
from tomochrome._napari.layer_choice import LayerChoice
from tomochrome._napari.layers import mm_of, world_affine
from tomochrome._napari.register_job import Alignment
from tomochrome._napari.register_place import Placed
from tomochrome.errors import TomochromeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NONE = "None"
_COLORS = ("#00e6ff", "#ffaf54")  # cyan and orange: distinct for every color vision
_SIZE_MM = 6.0
_NUMBER = "landmark"  # feature of a Points layer


class LandmarkPanel(QWidget):
    """Selects two Points layers and shows their error in mm, updated live.

    Parameters
    ----------
    viewer
        The viewer whose Points layers are offered.
    layers
        Returns the selected fixed and moving layers, each a layer or None.
    """

    create_requested = Signal()

    def __init__(
        self, viewer: Any, layers: Callable[[], tuple[Any, Any]], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layers = layers
        self.alignment: Alignment | None = None
        self.fixed = LayerChoice(viewer, self, accepts=_is_points, nothing=_NONE)
        self.moving = LayerChoice(viewer, self, accepts=_is_points, nothing=_NONE)
        self.fixed.setToolTip("Points layer with the landmarks of the fixed image")
        self.moving.setToolTip("Points layer with the landmarks of the moving image")
        self.create = QPushButton("Place landmarks", self)
        self.create.setToolTip(
            "Add two layers and click corresponding points in the fixed and the moving image in "
            "turn. Landmarks are for evaluation only: the registration does not use them"
        )
        self.before = QLabel("", self)
        self.after = QLabel("", self)
        self.message = MessageLabel("plain", self)
        for label in (self.before, self.after):
            label.setWordWrap(True)
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._connections, self._followed = Connections(), Connections()
        self._refresh_soon = qthrottled(self.refresh, timeout=15)
        self._place_next_soon = qdebounced(self.place_next, timeout=1)
        form(
            ("In fixed image", self.fixed),
            ("In moving image", self.moving),
            self.create,
            ("Error before", self.before),
            ("Error after", self.after),
            self.message,
            parent=self,
        )
        self.create.clicked.connect(self.create_requested)
        for choice in (self.fixed, self.moving):
            choice.chosen.connect(self._chosen)
        self._connections.add(self._moved, viewer.layers.selection.events.active)
        self.refresh()

    @property
    def two(self) -> tuple[Any, Any]:
        """The two selected Points layers, each a layer or None."""
        return self.fixed.layer(), self.moving.layer()

    def set_alignment(self, alignment: Alignment | None) -> None:
        """Evaluate another transform."""
        self.alignment = alignment
        self.refresh()

    def refresh(self) -> None:
        """Update the errors and the message."""
        texts, note = self._texts()
        self.before.setText(texts[0] or "–")
        self.after.setText(texts[1] or "–")
        prompt = self._prompt()
        self.message.say(prompt or note, "warning" if note and not prompt else "plain")

    def _prompt(self) -> str:
        """Return which landmark to click next, while landmarks are being placed."""
        fixed, moving = self.two
        for layer, image in ((fixed, "fixed"), (moving, "moving")):
            active = layer is not None and layer is self._viewer.layers.selection.active
            if active and layer.mode == "add":
                return f"Click landmark {len(layer.data) + 1} in the {image} image."
        return ""

    def _texts(self) -> tuple[tuple[str, str], str]:
        fixed, moving = self.two
        if fixed is None or moving is None:
            return ("", ""), ""
        if fixed is moving:
            return ("", ""), "Choose two different landmark layers."
        if fixed.ndim != 3 or moving.ndim != 3:
            return ("", ""), "Landmarks need Points layers with 3 dimensions."
        count = min(len(fixed.data), len(moving.data))
        note = ""
        if len(fixed.data) != len(moving.data):
            measured = f" Only {_number(count)} measured." if count else ""
            note = (
                f"Landmarks in the fixed image: {len(fixed.data)}, in the moving image: "
                f"{len(moving.data)}; they must correspond one to one.{measured}"
            )
        if not count:
            return ("", ""), note
        points = self._points(fixed)[:count], self._points(moving, True)[:count]
        return self._measured(*points), note

    def _points(self, layer: Any, in_moving: bool = False) -> NDArray[Any]:
        """Return landmarks in LPS mm, in patient coordinates if the image's are known."""
        if self.alignment is not None:
            placed = self.alignment.moving if in_moving else self.alignment.fixed
            return placed.points_of(layer)
        image = self._layers()[1 if in_moving else 0]
        grid = None if image is None or image.ndim != 3 else _grid_of(image)
        if grid is not None:
            return grid.points_of(layer)
        from tomochrome.geometry.affine import apply

        return apply(world_affine(layer), layer.data)

    def _measured(self, fixed: NDArray[Any], moving: NDArray[Any]) -> tuple[str, str]:
        from tomochrome.evaluate import landmark_errors

        before = _words(landmark_errors(fixed, moving))
        if self.alignment is None:
            return before, ""
        try:
            return before, _words(landmark_errors(fixed, moving, self.alignment.forward))
        except TomochromeError as error:
            return before, str(error)

    def _chosen(self) -> None:
        self._followed.release()
        for layer in dict.fromkeys(filter(None, self.two)):
            show_numbers(layer)
            self._followed.add(self._edited, layer.events.data)
            self._followed.add(self._moved, layer.events.mode)
        self.refresh()

    def _edited(self, event: Any) -> None:
        layer = event.source
        show_numbers(layer)
        self._refresh_soon()
        if str(event.action) == "added" and layer.mode == "add":
            self._place_next_soon()  # napari is still processing the click

    def _moved(self, _: object = None) -> None:
        self._refresh_soon()

    def place_next(self) -> None:
        """Switch to the image in which the next point is to be placed."""
        fixed, moving = self.two
        if fixed is None or moving is None or fixed is moving:
            return
        next_fixed = len(moving.data) >= len(fixed.data)
        layer, other = (fixed, moving) if next_fixed else (moving, fixed)
        other.mode = "pan_zoom"
        layer.visible = True
        self._viewer.layers.selection = {layer}
        layer.mode = "add"
        self._show_image(self._layers()[0 if next_fixed else 1])
        self.refresh()

    def _show_image(self, image: Any) -> None:
        """Show only one image, unless both are hidden behind a comparison."""
        if image is None or not any(x is not None and x.visible for x in self._layers()):
            return
        for layer in self._viewer.layers:
            if layer is not image and layer.visible and covers(layer):
                layer.visible = False
        image.visible = True

    def release(self) -> None:
        """Disconnect from the viewer."""
        self._refresh_soon.cancel()
        self._place_next_soon.cancel()
        self._connections.release()
        self._followed.release()
        self.alignment = self._viewer = None
        self.fixed.release()
        self.moving.release()


def add_landmark_layers(viewer: Any, fixed: Any, moving: Any) -> tuple[Any, Any]:
    """Add two empty Points layers with the units of the two volumes."""
    added = []
    for role, volume, color in zip(("fixed", "moving"), (fixed, moving), _COLORS, strict=True):
        keywords: dict[str, Any] = {"size": _SIZE_MM}
        if volume is not None and volume.ndim == 3:
            keywords = {
                "units": volume.units,
                "axis_labels": volume.axis_labels,
                "size": _SIZE_MM / mm_of(volume.units[-1]),
            }
        added.append(
            viewer.add_points(
                name=f"Landmarks {role} image",
                ndim=3,
                face_color=color,
                border_color="black",
                symbol="disc" if role == "fixed" else "cross",
                projection_mode="rescale_spherical",
                **keywords,
            )
        )
    return added[0], added[1]


def show_numbers(layer: Any) -> None:
    """Number the points of a layer from 1, unless the layer already shows text."""
    numbers = list(range(1, len(layer.data) + 1))
    is_new = _NUMBER not in layer.features
    if is_new or list(layer.features[_NUMBER]) != numbers:
        layer.features = layer.features.assign(**{_NUMBER: numbers})
    if is_new and getattr(layer.text.string, "constant", None) == "":
        layer.text = {
            "string": f"{{{_NUMBER}}}",
            "size": 13,
            "color": layer.current_face_color,
            "anchor": "upper_left",
        }


def _grid_of(layer: Any) -> Placed | None:
    """Return a layer's placement without reading its voxels; None if it is not of this plugin."""
    from tomochrome._napari.layers import layer_transform, source_of

    known = source_of(layer.metadata)
    if known is None:
        return None
    transform = layer_transform(layer)
    return Placed(layer.name, known.shown, known.stored, transform, world_affine(layer))


def _is_points(layer: Any) -> bool:
    return bool(layer._type_string == "points")


def _number(count: int) -> str:
    return "the first is" if count == 1 else f"the first {count} are"


def _words(errors: dict[str, float]) -> str:
    return (
        f"mean {errors['mean']:.2f} mm, maximum {errors['max']:.2f} mm "
        f"({errors['count']:.0f} landmark{'' if errors['count'] == 1 else 's'})"
    )
