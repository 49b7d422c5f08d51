"""Where the fields of "Register & checkerboard" lie. It draws and holds no logic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from tomochrome._napari.compare_panel import ComparePanel
from tomochrome._napari.controls import Notice, ScrollColumn, StageBar
from tomochrome._napari.layer_choice import LayerChoice
from tomochrome._napari.layers import NOT_FOR_DIAGNOSIS, behind
from tomochrome._napari.metric_curve import MetricCurve
from tomochrome._napari.register_landmarks import LandmarkPanel
from tomochrome._napari.register_pairs import PairResult
from tomochrome._napari.register_result import ResultPanel, UsePanel

INITS: Final = {
    "affine": "Affine (rotation, translation, scale, shear)",
    "rigid": "Rigid (rotation, translation)",
    "center": "Image centers (translation)",
    "mass": "Centers of mass (translation)",
    "none": "None (already aligned)",
}
MODELS: Final = {"symnet": "Deformable network (SYMNet)", "none": "None (no network)"}
SIMILARITIES: Final = {
    "lncc": "Local cross-correlation (same modality)",
    "mi": "Mutual information (different contrast)",
    "mind": "MIND (different modality, such as CT and MR)",
    "mse": "Mean squared difference (same scanner and units)",
}
DEVICES: Final = {"auto": "Automatic", "cpu": "CPU", "cuda": "NVIDIA GPU", "mps": "Apple GPU"}
#: Stages of the core as they are shown.
STAGES: Final = {
    "network": "Predicting the deformation",
    "refining": "Refining the deformation",
    "integrating": "Computing the transform",
    "applying the transform": "Applying the transform",
    "sampling the field": "Writing the transform",
    "measuring": "Measuring the result",
}
_MOST_ITERATIONS: Final = 1000
_WIDTH: Final = 360


class Section(QFrame):
    """A heading that opens and shuts what lies below it."""

    def __init__(self, title: str, content: QWidget, *, opened: bool = True) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.button = QToolButton(self)
        self.button.setText(title)
        self.button.setCheckable(True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.button.setStyleSheet(
            "QToolButton { border: none; font-weight: 600; text-align: left; padding: 3px 2px; }"
        )
        self.content = content
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 2, 0, 2)
        layout.setSpacing(4)
        layout.addWidget(self.button)
        layout.addWidget(content)
        self.button.toggled.connect(self.open)
        self.button.setChecked(opened)
        self.open(opened)

    def open(self, opened: bool) -> None:
        """Open or shut it."""
        self.button.setChecked(opened)
        self.button.setArrowType(Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow)
        self.content.setVisible(opened)


class RegisterView(QFrame):
    """From top to bottom: caution, what to register, run, result, comparison, use, landmarks."""

    def __init__(self, viewer: Any, parent: QWidget) -> None:
        super().__init__(parent)
        self.caution = Notice("caution", self)
        self.caution.say(NOT_FOR_DIAGNOSIS.capitalize())
        self.fixed = LayerChoice(viewer, self)
        self.moving = LayerChoice(viewer, self)
        self.fixed.setToolTip(
            "Fixed (reference) image: it stays in place, and results lie on its grid"
        )
        self.moving.setToolTip("Moving image: it is aligned with the fixed image")
        self.init = _described(INITS, self)
        self.init.setToolTip("Alignment before the image is deformed")
        self.model = _described({}, self)
        self.model.setToolTip("Network that predicts the deformation in one step")
        self.similarity = _described(SIMILARITIES, self)
        self.refine = QSpinBox(self)
        self.refine.setRange(-1, _MOST_ITERATIONS)
        self.refine.setSpecialValueText("Automatic")
        self.refine.setSuffix(" iterations")
        self.refine.setValue(-1)
        self.refine.setToolTip(
            "Largest number of iterations that fit the deformation to this pair; 0 switches it off"
        )
        self.fixed_mask = LayerChoice(viewer, self, accepts=is_mask, nothing="None")
        self.moving_mask = LayerChoice(viewer, self, accepts=is_mask, nothing="None")
        for mask in (self.fixed_mask, self.moving_mask):
            mask.setToolTip("Only voxels inside the mask are used for the registration")
        self.device = _described({}, self)
        self.device.setToolTip("Processor or graphics card that does the computation")
        self.keep = QCheckBox("Keep earlier results of this pair", self)
        self.keep.setToolTip("Otherwise a new run replaces the last result of the same two images")
        self.run = QPushButton("Register", self)
        self.cancel = QPushButton("Cancel", self)
        self.load = QPushButton("Load transform …", self)
        self.load.setToolTip(
            "A transform from Tomochrome, ANTs, SimpleITK or 3D Slicer for these two images"
        )
        self.progress = StageBar(self)
        self.progress.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.curve = MetricCurve(self)
        self.message = Notice("plain", self)
        self.kept = _described({}, self)
        self.kept.setToolTip("Results of this pair that were kept")
        self.result = ResultPanel(self)
        self.use = UsePanel(viewer, self)
        self.compare = ComparePanel(viewer, self)
        self.landmarks = LandmarkPanel(viewer, lambda: self.two, self)
        self._lay_out(parent)
        self.offer(("symnet", "none"), ("auto",))
        self.show_running(False)

    def _lay_out(self, parent: QWidget) -> None:
        top, more = QWidget(self), QWidget(self)
        form, rest = QFormLayout(top), QFormLayout(more)
        for layout in (form, rest):
            layout.setContentsMargins(0, 0, 0, 0)
        form.addRow("Fixed (reference)", self.fixed)
        form.addRow("Moving", self.moving)
        form.addRow("Initial alignment", self.init)
        form.addRow("Network", self.model)
        form.addRow("Refinement", self.refine)
        rest.addRow("Similarity", self.similarity)
        rest.addRow("Fixed mask", self.fixed_mask)
        rest.addRow("Moving mask", self.moving_mask)
        rest.addRow("Device", self.device)
        rest.addRow(self.keep)
        self.more = Section("More options", more, opened=False)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run, 2)
        buttons.addWidget(self.cancel, 1)
        buttons.addWidget(self.load, 2)
        body = QWidget(self)
        inside = QVBoxLayout(body)
        inside.setContentsMargins(0, 0, 0, 0)
        for part in (top, self.more):
            inside.addWidget(part)
        inside.addLayout(buttons)
        for widget in (self.progress, self.curve, self.message, self.kept, self.result):
            inside.addWidget(widget)
        self.sections = {
            "registration": Section("Registration", body),
            "comparison": Section("Comparison", self.compare),
            "use": Section("Transform", self.use, opened=False),
            "landmarks": Section("Landmarks", self.landmarks, opened=False),
        }
        column = QVBoxLayout(self)
        column.addWidget(self.caution)
        for section in self.sections.values():
            column.addWidget(section)
        column.addStretch(1)
        self.sections["use"].setVisible(False)
        outer = QVBoxLayout(parent)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(ScrollColumn(self, parent))

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """As wide from the beginning as with a result: a dock does not grow with its panel."""
        hint = super().minimumSizeHint()
        return QSize(max(hint.width(), _WIDTH), hint.height())

    @property
    def two(self) -> tuple[Any, Any]:
        """The fixed and the moving layer chosen, each a layer or None."""
        return self.fixed.layer(), self.moving.layer()

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of `tomochrome.register` that the fields say."""
        refine = self.refine.value()
        return {
            "init": self.init.currentData(),
            "model": self.model.currentData(),
            "refine": None if refine < 0 else refine,
            "similarity": self.similarity.currentData(),
            "device": self.device.currentData(),
        }

    def offer(self, models: tuple[str, ...], devices: tuple[str, ...]) -> None:
        """Fill the boxes with what there is, keeping what is chosen."""
        _refill(self.model, {name: MODELS.get(name, name) for name in models})
        _refill(self.device, {name: DEVICES.get(name, name) for name in devices})

    def show_running(self, running: bool) -> None:
        """Switch the fields between running and not."""
        self.run.setEnabled(not running)
        self.load.setEnabled(not running)
        self.cancel.setEnabled(running)
        for field in self._fields():
            field.setEnabled(not running)
        self.use.show_busy(running)
        self.progress.setVisible(running)
        if running:
            self.message.say("")
            self.show_progress(0, 0, "Preparing")

    def show_result(self, result: PairResult | None) -> None:
        """Show what came of a registration; None hides what is shown of another."""
        self.curve.clear()
        self.sections["use"].setVisible(result is not None)
        if result is None:
            self.result.hide_report()
            self.message.say("")
        else:
            self.curve.add(result.samples)
            self.result.show_report(result.alignment.report, loaded=result.alignment.loaded)
            self.message.say(result.message, "plain")
        self.use.show_result(result)
        self.landmarks.set_alignment(None if result is None else result.alignment)

    def show_kept(self, names: list[str], index: int) -> None:
        """Offer the results of a pair if there are several."""
        _refill(self.kept, {name: name for name in names})
        self.kept.setCurrentIndex(index)
        self.kept.setVisible(len(names) > 1)

    def show_progress(self, done: int, total: int, stage: str) -> None:
        """Show how far the work is; a total of 0 means that nobody knows."""
        self.progress.say(done, total, STAGES.get(stage, stage))

    def show_warming(self, done: int, total: int, stage: str) -> None:
        """Show what is loaded before the first run."""
        self.progress.setVisible(True)
        self.show_progress(done, total, stage)

    def each_choice(self, action: Callable[[LayerChoice], None]) -> None:
        """Do something with each box of layers of the registration itself."""
        for choice in (self.fixed, self.moving, self.fixed_mask, self.moving_mask):
            action(choice)

    def _fields(self) -> tuple[QWidget, ...]:
        return (
            self.fixed, self.moving, self.init, self.model, self.similarity, self.refine,
            self.fixed_mask, self.moving_mask, self.device, self.keep, self.kept,
        )  # fmt: skip


def is_mask(layer: Any) -> bool:
    """Whether a layer can be a mask."""
    known = behind(layer.metadata)
    plain = layer._type_string == "labels" or (layer._type_string == "image" and not layer.rgb)
    return plain and (known is None or known.role != "derived")


def _described(choices: dict[str, str], parent: QWidget) -> QComboBox:
    """Return a box whose items have plain words, and the core's names as data."""
    box = QComboBox(parent)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)
    _refill(box, choices)
    return box


def _refill(box: QComboBox, choices: dict[str, str]) -> None:
    """Offer other choices, keeping the one that is chosen if it is still there."""
    before = box.currentData()
    box.clear()
    for name, words in choices.items():
        box.addItem(words, name)
        box.setItemData(box.count() - 1, words, Qt.ItemDataRole.ToolTipRole)
    view = box.view()
    if view is not None:  # the list may be wider than the box, so that it can be read
        view.setMinimumWidth(view.sizeHintForColumn(0) + 2 * box.fontMetrics().height())
    box.setCurrentIndex(max(0, box.findData(before)))
