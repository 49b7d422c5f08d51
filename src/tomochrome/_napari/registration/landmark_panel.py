"""Landmarks: two Points layers of a pair of images and their error, updated live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari.layers import Points
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QPushButton, QSizePolicy, QWidget
from superqt.utils import qdebounced, qthrottled

from tomochrome import evaluate
from tomochrome._napari.kit.choice_boxes import LayerChoice
from tomochrome._napari.kit.controls import MessageLabel, form, side_by_side
from tomochrome._napari.kit.events import Connections
from tomochrome._napari.layers.layer_volumes import Placed, check_two, check_volume_layer
from tomochrome._napari.layers.volume_layers import (
    layer_transform,
    mm_of,
    source_of,
    world_affine,
)
from tomochrome._napari.registration.landmark_placing import Placing
from tomochrome._napari.registration.register_work import Alignment
from tomochrome.errors import TomochromeError
from tomochrome.geometry.affine import apply
from tomochrome.notices import sentence

_NONE = "None"
_COLORS = ("#00e6ff", "#ffaf54")  # cyan and orange: distinct for every color vision
_SIZE_MM = 6.0
_NUMBER = "landmark"  # feature of a Points layer
_NAME_LENGTH = 18  # characters by which the names of the two layers differ
_PAUSED = "Landmarks:\nselect the tool to add\npoints, or press Done"


@dataclass(eq=False)
class _PairPoints:
    """The Points layers of a pair of images."""

    images: tuple[Any, Any]
    points: tuple[Any, Any]


class LandmarkPanel(QWidget):
    """Selects two Points layers and shows their error in mm, updated live.

    Each pair of images has Points layers of its own. While landmarks are placed, the fixed and the
    moving image are shown alone and in turn: see `Placing`.

    Parameters
    ----------
    viewer
        The viewer whose Points layers are offered.
    layers
        Returns the selected fixed and moving layers, each a layer or None.
    """

    chosen = Signal()  # other landmarks belong to the images
    placing_begins = Signal()  # before anything on screen changes
    placing_ended = Signal()

    def __init__(
        self, viewer: Any, layers: Callable[[], tuple[Any, Any]], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layers = layers
        self.alignment: Alignment | None = None
        self.fixed, self.moving = (
            LayerChoice(viewer, self, accepts=lambda x: isinstance(x, Points), nothing=_NONE)
            for _ in range(2)
        )
        for choice in (self.fixed, self.moving):
            choice.setMinimumContentsLength(_NAME_LENGTH)
        self.fixed.setToolTip("Points layer with the landmarks of the fixed image")
        self.moving.setToolTip("Points layer with the landmarks of the moving image")
        self.create = QPushButton("Place landmarks", self)
        self.create.setToolTip(
            "Click corresponding points in the fixed and the moving image, which are shown in "
            "turn. Landmarks are for evaluation, unless they drive the registration (More options)"
        )
        self.done = QPushButton("Done", self)
        self.done.setToolTip("Show again what was on screen before")
        self.before = QLabel("", self)
        self.after = QLabel("", self)
        self.message = MessageLabel("plain", self)
        for label in (self.before, self.after):
            label.setWordWrap(True)
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._placing = Placing(viewer, self._ended)
        self._pairs: list[_PairPoints] = []
        self._pair = layers()  #: the images of the selected landmarks
        self._connections, self._followed = Connections(), Connections()
        self._refresh_soon = qthrottled(self.refresh, timeout=15)
        self._place_next_soon = qdebounced(self.place_next, timeout=1)
        form(
            ("In fixed image", self.fixed),
            ("In moving image", self.moving),
            side_by_side(self.create, self.done),
            ("Error before", self.before),
            ("Error after", self.after),
            self.message,
            parent=self,
        )
        self.done.setVisible(False)
        self.create.clicked.connect(self.begin)
        self.done.clicked.connect(self.end)
        for choice in (self.fixed, self.moving):
            choice.chosen.connect(self._chosen)
            choice.activated.connect(self.end)
        self._connections.add(self._moved, viewer.layers.selection.events.active)
        self._connections.add(self._removed, viewer.layers.events.removed)
        self._connections.add(self._inserted, viewer.layers.events.inserted)
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
        if not self._placing.active:
            return ""
        for layer, image, color in zip(self.two, ("fixed", "moving"), _COLORS, strict=True):
            active = layer is not None and layer is self._viewer.layers.selection.active
            if active and layer.mode == "add":
                text = f"Click landmark {len(layer.data) + 1}", f"in the {image} image"
                self._placing.prompt("\n".join(text), color)
                return f"{' '.join(text)}."
        self._placing.prompt(_PAUSED)
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
            first = "the first is" if count == 1 else f"the first {count} are"
            measured = f" Only {first} measured." if count else ""
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
        source = None if image is None or image.ndim != 3 else source_of(image.metadata)
        if source is None:
            return apply(world_affine(layer), layer.data)
        transform, world = layer_transform(image), world_affine(image)
        return Placed(image.name, source.shown, source.stored, transform, world).points_of(layer)

    def _measured(self, fixed: NDArray[Any], moving: NDArray[Any]) -> tuple[str, str]:
        before = _words(evaluate.landmark_errors(fixed, moving))
        if self.alignment is None:
            return before, ""
        try:
            return before, _words(evaluate.landmark_errors(fixed, moving, self.alignment.forward))
        except TomochromeError as error:
            return before, str(error)

    def follow_pair(self) -> None:
        """Select the landmarks of the selected pair of images; called when that changes."""
        pair = self._layers()
        if _same(pair, self._pair):
            return
        self.end()
        # Points layers that were selected before there were two images are those of the pair.
        other = self.two if None in self._pair or self._pair[0] is self._pair[1] else (None, None)
        own = next((x.points for x in self._pairs if _same(x.images, pair)), other)
        self._pair = (None, None)  # nothing is recorded while the selection changes
        self.fixed.choose(own[0])
        self.moving.choose(own[1])
        self._pair = pair
        self._record()
        self.refresh()

    def _chosen(self) -> None:
        self._record()
        self._followed.release()
        for layer in dict.fromkeys(filter(None, self.two)):
            show_numbers(layer)
            self._followed.add(self._edited, layer.events.data)
            self._followed.add(self._moved, layer.events.mode)
        self.refresh()

    def _record(self) -> None:
        """Remember the selected layers as those of the pair of images."""
        if None in self._pair:
            return
        self._pairs = [x for x in self._pairs if not _same(x.images, self._pair)]
        if self.two != (None, None):
            self._pairs.append(_PairPoints(self._pair, self.two))
        self.chosen.emit()

    def are_of(self, points: Any, image: Any) -> bool:
        """Whether a layer holds landmarks of an image, in any pair."""
        each = (x for pair in self._pairs for x in zip(pair.images, pair.points, strict=True))
        return any(own is image and layer is points for own, layer in each)

    def _removed(self, event: Any) -> None:
        layer = event.value
        self._pairs = [x for x in self._pairs if layer not in (*x.images, *x.points)]

    def _inserted(self, _: object) -> None:
        if self._placing.active:
            self._place_next_soon()  # napari will select the new layer

    def _edited(self, event: Any) -> None:
        layer = event.source
        show_numbers(layer)
        self._refresh_soon()
        if str(event.action) == "added" and layer.mode == "add":
            self._place_next_soon()  # napari is still processing the click

    def _moved(self, _: object = None) -> None:
        self._refresh_soon()

    # Placing

    def begin(self) -> None:
        """Show the fixed and the original moving image in turn, to click points in them."""
        self.follow_pair()
        images = self._layers()
        try:
            check_two(*images, "place landmarks in")
            for image in images:
                check_volume_layer(image)
        except TomochromeError as error:
            self.message.say(sentence(error), "error")
            return
        chosen = [layer for layer in self.two if layer is not None]
        usable = len(set(chosen)) == len(chosen) and all(layer.ndim == 3 for layer in chosen)
        if self._placing.active or not usable:  # the message says why they are not
            return
        self.placing_begins.emit()
        self._placing.begin()
        for choice, role, image, color in zip(
            (self.fixed, self.moving), ("fixed", "moving"), images, _COLORS, strict=True
        ):
            if choice.layer() is None:
                choice.choose(_add_points(self._viewer, role, image, color))
        self._placing.follow(*images, *self.two)
        self.create.setVisible(False)
        self.done.setVisible(True)
        self._place_next_soon.cancel()  # called for the layers added here
        self.place_next()

    def place_next(self) -> None:
        """Show the image in which the next point is to be placed."""
        if not self._placing.active:
            return
        fixed, moving = self.two
        index = 0 if len(moving.data) >= len(fixed.data) else 1
        self._placing.show(self._layers()[index], self.two[index])
        self.refresh()

    def end(self, _: object = None) -> None:
        """Show again what was on screen before landmarks were placed."""
        self._place_next_soon.cancel()
        self._placing.end()

    def _ended(self) -> None:
        self.create.setVisible(True)
        self.done.setVisible(False)
        self.refresh()
        self.placing_ended.emit()

    def release(self) -> None:
        """Disconnect from the viewer."""
        self._refresh_soon.cancel()
        self._place_next_soon.cancel()
        self._placing.release()
        self._connections.release()
        self._followed.release()
        self.alignment = self._viewer = None
        self._pairs, self._pair = [], (None, None)
        self.fixed.release()
        self.moving.release()


def _add_points(viewer: Any, role: str, volume: Any, color: str) -> Any:
    """Add an empty Points layer with the units of a volume."""
    return viewer.add_points(
        name=f"Landmarks {role} image",
        ndim=3,
        face_color=color,
        border_color="black",
        symbol="disc" if role == "fixed" else "cross",
        projection_mode="rescale_spherical",
        units=volume.units,
        axis_labels=volume.axis_labels,
        size=_SIZE_MM / mm_of(volume.units[-1]),
    )


def _same(first: tuple[Any, Any], second: tuple[Any, Any]) -> bool:
    return all(a is b for a, b in zip(first, second, strict=True))


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


def _words(errors: dict[str, float]) -> str:
    return (
        f"mean {errors['mean']:.2f} mm, maximum {errors['max']:.2f} mm "
        f"({errors['count']:.0f} landmark{'' if errors['count'] == 1 else 's'})"
    )
