"""The fields of the "Register & checkerboard" panel and their layout; no application logic."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import numpy as np
from napari.layers import Image, Labels, Points, Shapes
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

from tomochrome import compare
from tomochrome._napari.compare.compare_panel import ComparePanel
from tomochrome._napari.kit.choice_boxes import (
    LayerChoice,
    Named,
    NamedChoice,
    Offer,
    device_choices,
    usable_devices,
)
from tomochrome._napari.kit.controls import Section, form, stacked
from tomochrome._napari.kit.events import Connections
from tomochrome._napari.kit.narrow_widgets import ElidedComboBox, WrappingRow
from tomochrome._napari.kit.panel_bases import JobView, caution
from tomochrome._napari.layers.grey_window import is_grey_image
from tomochrome._napari.layers.volume_layers import source_of, world_affine
from tomochrome._napari.registration.landmark_panel import LandmarkPanel
from tomochrome._napari.registration.register_work import PairResult
from tomochrome._napari.registration.result_panel import MetricCurve, ResultPanel
from tomochrome.bundles import REGISTRATION, list_cards
from tomochrome.errors import TomochromeError
from tomochrome.runtime import check, report

INITS: Final = {
    "affine": ("Affine", "rotation, translation, scale, shear"),
    "rigid": ("Rigid", "rotation, translation"),
    "center": ("Image centers", "translation"),
    "mass": ("Centers of mass", "translation"),
    "none": ("None", "already aligned"),
}
MODELS: Final = {
    "symnet": ("Deformable network", "SYMNet"),
    "none": ("No network", "initial alignment and refinement only"),
}
SIMILARITIES: Final = {
    "lncc": ("Local correlation", "same modality"),
    "mi": ("Mutual information", "different contrast"),
    "mind": ("MIND", "different modality, such as CT and MR"),
    "mse": ("Squared difference", "same scanner and units"),
    "features": ("Tissue features", "two CT, any contrast agent: of the tissue network"),
    "alexnet": ("AlexNet features", "two CT"),
    "vgg16": ("VGG16 features", "two CT"),
    "resnet18": ("ResNet18 features", "two CT"),
}
_BACKBONES: Final = ("alexnet", "vgg16", "resnet18")
#: Texts shown for the stages reported by the core.
STAGES: Final = {
    "network": "Predicting the deformation",
    "refining": "Refining the deformation",
    "integrating": "Computing the transform",
    "applying the transform": "Applying the transform",
    "sampling the field": "Writing the transform",
    "measuring": "Measuring the result",
}
_MAX_ITERATIONS: Final = 1000
_NO_LAYER: Final = "Select a layer"
_UNRELATED: Final = 3  # rank of an image that does not belong to the pair
_MOVABLE: Final = (Image, Labels, Points, Shapes)


def register_offer() -> Offer:
    """Import what registration and comparison need, and list the networks and devices."""
    report(0, 0, "Loading the registration software")
    from tomochrome.registration import align, pairwise  # noqa: F401
    from tomochrome.registration.symmetric_network import load_symnet

    _ = compare.checkerboard
    check()
    cards = list_cards(REGISTRATION)
    report(0, 0, "Loading the deformation network")
    with suppress(TomochromeError):  # a damaged model is reported when it is used
        if cards:
            load_symnet(cards[0].name)  # imports the libraries of the network
    check()
    return Offer((*(card.name for card in cards), "none"), usable_devices())


class UsePanel(QWidget):
    """Applies and saves the transform of the selected pair."""

    apply_requested = Signal(object, bool)  # the layer, and whether from moving to fixed
    save_requested = Signal(bool)  # whether to save the inverse

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._result: PairResult | None = None
        self._busy = False
        self.belongs: Callable[[Any, Any], bool] = belongs_to  #: layer, image
        self.jacobian = QCheckBox("Jacobian map", self)
        self.jacobian.setToolTip(
            "Local volume change. Blue: smaller in the moving image; orange: larger; red: folded"
        )
        self.change = QCheckBox("Change of HU", self)
        self.change.setToolTip(
            "Where the moved image differs from the fixed one beyond the noise. Blue: lower HU; "
            "orange: higher"
        )
        self.grid = QCheckBox("Deformation grid", self)
        self.grid.setToolTip("A regular grid of the moving image, deformed like the image")
        self.layer = LayerChoice(
            viewer, self, accepts=self._accepts, rank=self._rank, nothing=_NO_LAYER
        )
        self.direction = ElidedComboBox(self)
        self.direction.addItems(["onto the fixed image", "onto the moving image"])
        self.direction.setToolTip("Which image the copy is aligned with")
        self.apply = QPushButton("Apply", self)
        self.apply.setToolTip(
            "Add an aligned copy of this layer: image, color, labels, points or shapes"
        )
        self.save = QPushButton("Save transform …", self)
        self.save.setToolTip(
            "Maps points of the fixed image to the moving image, as SimpleITK, "
            "ANTs and 3D Slicer expect it"
        )
        self.save_inverse = QPushButton("Save inverse …", self)
        self.save_inverse.setToolTip("Maps points of the moving image to the fixed image")
        self._lay_out()
        self.apply.clicked.connect(self._apply)
        self.layer.chosen.connect(self._chosen)
        self._connections = Connections()
        self._connections.add(self._choose_added, viewer.layers.events.inserted)
        self.direction.currentIndexChanged.connect(self._choose_first)
        self.save.clicked.connect(lambda: self.save_requested.emit(False))
        self.save_inverse.clicked.connect(lambda: self.save_requested.emit(True))

    def _lay_out(self) -> None:
        for box in (self.layer, self.direction):
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        grid = QGridLayout()
        grid.addWidget(QLabel("Apply to", self), 0, 0)
        grid.addWidget(self.layer, 0, 1, 1, 2)
        grid.addWidget(self.direction, 1, 1, 1, 2)
        grid.addWidget(self.apply, 2, 1, 1, 2)
        grid.setColumnStretch(1, 1)
        checks, files = (
            WrappingRow(self.jacobian, self.change, self.grid),
            WrappingRow((self.save, 1), (self.save_inverse, 1)),
        )
        stacked(self, checks, grid, files, margins=0)

    @property
    def to_fixed(self) -> bool:
        """Whether a layer is to be moved from the moving image to the fixed one."""
        return self.direction.currentIndex() == 0

    def show_result(self, result: PairResult | None) -> None:
        """Offer the layers that the transform can be applied to, most likely first."""
        self._result = result
        self._choose_first()

    def refresh(self) -> None:
        """Update which layers are offered, after a change of what belongs to which image."""
        self.layer.refresh()
        self._choose_added()

    def show_busy(self, busy: bool) -> None:
        """Disable the buttons while a job is running."""
        self._busy = busy
        for button in (self.save, self.save_inverse):
            button.setEnabled(not busy)
        self._chosen()

    def release(self) -> None:
        """Disconnect from the viewer."""
        self._connections.release()
        self.layer.release()
        self._result = None

    def _choose_first(self, _: object = None) -> None:
        """Select a layer related to the image to be moved; never an image of another scan."""
        self.layer.refresh()
        related = [layer for layer in self.layer.layers() if self._rank(layer) < _UNRELATED]
        self.layer.choose(related[0] if related else None)

    def _choose_added(self, _: object = None) -> None:
        if self.layer.layer() is None:
            self._choose_first()

    def _chosen(self) -> None:
        self.apply.setEnabled(not self._busy and self.layer.layer() is not None)

    def _accepts(self, layer: Any) -> bool:
        """Whether a layer is offered: not if it belongs to the image that it would be moved onto.

        The moving image is not offered while its moved copy exists.
        """
        result = self._result
        if result is None or not is_movable(layer):
            return False
        source, target = self._source_and_target(result)
        if layer is target or (self.belongs(layer, target) and not self.belongs(layer, source)):
            return False
        return not (self.to_fixed and layer is source and result.alignment.layer is not None)

    def _source_and_target(self, result: PairResult) -> tuple[Any, Any]:
        """Return the image whose layers are moved, and the image onto which they are moved."""
        pair = (result.moving, result.fixed)
        return pair if self.to_fixed else pair[::-1]

    def _rank(self, layer: Any) -> int:
        """Rank a layer: first those of the image to be moved, then points and shapes."""
        if self._result is None:
            return 0
        image, _ = self._source_and_target(self._result)
        if layer is image:
            return 2
        if isinstance(layer, (Points, Shapes)):
            return 1
        return 0 if self.belongs(layer, image) else _UNRELATED

    def _apply(self) -> None:
        if self.layer.layer() is not None:
            self.apply_requested.emit(self.layer.layer(), self.to_fixed)


def is_movable(layer: Any) -> bool:
    """Whether a transform can be applied to a layer."""
    source = source_of(layer.metadata)
    return isinstance(layer, _MOVABLE) and (source is None or source.role != "derived")


def belongs_to(layer: Any, image: Any) -> bool:
    """Whether a layer belongs to an image: its coloring, or labels or RGB on the same grid."""
    source, of_image = source_of(layer.metadata), source_of(image.metadata)
    if source is not None and of_image is not None and source.role == "color":
        return source.stored is of_image.stored
    drawn = isinstance(layer, Labels) or getattr(layer, "rgb", False)
    if not drawn or layer.ndim != image.ndim:
        return False
    same = layer.data.shape[: layer.ndim] == image.data.shape[: image.ndim]
    return same and bool(np.allclose(world_affine(layer), world_affine(image), atol=1e-3))


def _compared(name: str) -> dict[str, Any]:
    """Return what the images are compared by, as keywords of `tomochrome.register`."""
    if name in _BACKBONES:
        return {"similarity": "features", "backbone": name}
    return {"similarity": name}


def is_mask(layer: Any) -> bool:
    """Whether a layer can be a mask."""
    source = source_of(layer.metadata)
    plain = isinstance(layer, Labels) or is_grey_image(layer)
    return plain and (source is None or source.role != "derived")


def _is_labels(layer: Any) -> bool:
    return isinstance(layer, Labels)


_IN_MASK: Final = "Only voxels inside the mask are used for the registration"
_LABELS: Final = "Labelled regions: their overlap and volumes are measured in both images"
#: Titles, tooltips and layers of the masks and labels, by keyword of `tomochrome.register`.
_VOLUMES: Final[dict[str, tuple[str, str, Callable[[Any], bool]]]] = {
    "fixed_mask": ("Fixed mask", _IN_MASK, is_mask),
    "moving_mask": ("Moving mask", _IN_MASK, is_mask),
    "fixed_labels": ("Fixed labels", _LABELS, _is_labels),
    "moving_labels": ("Moving labels", _LABELS, _is_labels),
    "rigid_mask": (
        "Rigid parts",
        "Labelled parts of the fixed image that move without deformation, such as bones or "
        "implants; each connected part by itself",
        _is_labels,
    ),
}


class RegisterView(JobView):
    """The fields, from top to bottom: inputs, run, result, comparison, transform, landmarks."""

    def __init__(self, viewer: Any, parent: QWidget) -> None:
        super().__init__(parent, "Register")
        self.fixed = LayerChoice(viewer, self)
        self.moving = LayerChoice(viewer, self)
        self.fixed.setToolTip(
            "Fixed (reference) image: it stays in place, and results are on its voxel grid"
        )
        self.moving.setToolTip("Moving image: it is aligned with the fixed image")
        self.init = _choice(INITS, "Alignment before the deformable registration", self)
        self.model = _choice({}, "Network that predicts the deformation in one step", self)
        self.similarity = _choice(SIMILARITIES, "", self)
        self.refine = QSpinBox(self)
        self.refine.setRange(-1, _MAX_ITERATIONS)
        self.refine.setSpecialValueText("Automatic")
        self.refine.setSuffix(" iterations")
        self.refine.setStyleSheet("QSpinBox { min-width: 8em; }")  # in a narrow panel too
        self.refine.setValue(-1)
        self.refine.setToolTip(
            "Maximum number of iterations that refine the deformation; 0 turns refinement off"
        )
        self.volumes = {
            role: LayerChoice(viewer, self, accepts=accepts, nothing="None")
            for role, (_, _, accepts) in _VOLUMES.items()
        }
        for role, (_, tip, _) in _VOLUMES.items():
            self.volumes[role].setToolTip(tip)
        self.device = _choice({}, "CPU or GPU used for the computation", self)
        self.keep = QCheckBox("Keep earlier results of this pair", self)
        self.keep.setToolTip("Otherwise a new run replaces the last result of these two images")
        self.use_points = QCheckBox("Landmarks drive the registration", self)
        self.use_points.setToolTip(
            "The landmarks below are drawn together, too; their error is then no evaluation"
        )
        self.use_labels = QCheckBox("Labels drive the registration", self)
        self.use_labels.setToolTip(
            "Regions with the same label are drawn together, too; their overlap is then no "
            "evaluation"
        )
        self.load = QPushButton("Load transform …", self)
        self.load.setToolTip(
            "A transform from Tomochrome, ANTs, SimpleITK or 3D Slicer for these two images"
        )
        self.progress.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.curve = MetricCurve(self)
        self.kept = _choice({}, "Results of this pair", self)
        self.result = ResultPanel(self)
        self.use = UsePanel(viewer, self)
        self.compare = ComparePanel(viewer, self)
        self.landmarks = LandmarkPanel(viewer, lambda: self.two, self)
        self.locked = (
            self.load, self.fixed, self.moving, self.init, self.model, self.similarity,
            self.refine, *self.volumes.values(), self.device, self.keep, self.kept,
            self.use_points, self.use_labels,
        )  # fmt: skip
        self._lay_out(parent)
        self.curve.clear()
        self.show_kept([], -1)
        self.offer(Offer(("symnet", "none"), ("auto",)))

    def _lay_out(self, parent: QWidget) -> None:
        top, more, body = QWidget(self), QWidget(self), QWidget(self)
        form(
            ("Fixed (reference)", self.fixed),
            ("Moving", self.moving),
            ("Initial alignment", self.init),
            ("Network", self.model),
            ("Refinement", self.refine),
            parent=top,
        )
        form(
            ("Similarity", self.similarity),
            *((title, self.volumes[role]) for role, (title, _, _) in _VOLUMES.items()),
            self.use_points,
            self.use_labels,
            ("Device", self.device),
            self.keep,
            parent=more,
        )
        self.more = Section("More options", more, self, opened=False)
        self.buttons.add(self.load, 2)
        outcome = (self.progress, self.curve, self.message, self.kept, self.result)
        stacked(body, top, self.more, self.buttons, *outcome, margins=0)
        self.sections = {
            "registration": Section("Registration", body, self),
            "comparison": Section("Comparison", self.compare, self),
            "use": Section("Transform", self.use, self, opened=False),
            "landmarks": Section("Landmarks", self.landmarks, self, opened=False),
        }
        self.fill(parent, caution(self), *self.sections.values())
        self.sections["use"].setVisible(False)

    @property
    def two(self) -> tuple[Any, Any]:
        """The selected fixed and moving layers, each a layer or None."""
        return self.fixed.layer(), self.moving.layer()

    @property
    def options(self) -> dict[str, Any]:
        """The settings as keywords of `tomochrome.register`."""
        refine = self.refine.value()
        return {
            "init": self.init.name,
            "model": self.model.name,
            "refine": None if refine < 0 else refine,
            **_compared(self.similarity.name),
            "use_points": self.use_points.isChecked(),
            "use_labels": self.use_labels.isChecked(),
            "device": self.device.name,
        }

    def offer(self, offer: Offer) -> None:
        """Fill the combo boxes, keeping the current selections."""
        self.model.offer(_named({name: MODELS.get(name, (name, "")) for name in offer.models}))
        self.device.offer(device_choices(offer.devices))

    def show_running(self, running: bool) -> None:
        """Enable or disable the fields for a running job."""
        super().show_running(running)
        self.use.show_busy(running)

    def show_result(self, result: PairResult | None) -> None:
        """Show the result of a registration; None hides the previous one."""
        self.curve.clear()
        self.sections["use"].setVisible(result is not None)
        if result is None:
            self.result.hide_report()
            self.message.say("")
        else:
            self.curve.add(result.samples)
            alignment = result.alignment
            self.result.show_report(alignment.report, alignment.warnings)
            self.message.say(result.message, "plain")
        self.use.show_result(result)
        self.landmarks.set_alignment(None if result is None else result.alignment)

    def show_kept(self, names: list[str], index: int) -> None:
        """Offer the results of a pair if there are several."""
        self.kept.offer(_named({name: (name, "") for name in names}))
        self.kept.setCurrentIndex(index)
        self.kept.setVisible(len(names) > 1)

    def show_progress(self, done: int, total: int, stage: str) -> None:
        """Show the progress of the job; a total of 0 means that it is unknown."""
        self.progress.say(done, total, STAGES.get(stage, stage))


def _named(choices: dict[str, tuple[str, str]]) -> list[Named]:
    return [Named(name, title, about) for name, (title, about) in choices.items()]


def _choice(choices: dict[str, tuple[str, str]], tip: str, parent: QWidget) -> NamedChoice:
    """Return a combo box with titles for the core's names."""
    return NamedChoice(_named(choices), parent, tip=tip)
