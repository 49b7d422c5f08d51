"""Where the fields of "Register & checkerboard" lie. It draws and holds no logic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
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

from tomochrome._napari.color_panel import refill
from tomochrome._napari.compare_panel import ComparePanel
from tomochrome._napari.controls import Notice, ScrollColumn, StageBar
from tomochrome._napari.layer_choice import LayerChoice
from tomochrome._napari.layers import NOT_FOR_DIAGNOSIS, behind
from tomochrome._napari.metric_curve import MetricCurve
from tomochrome._napari.register_landmarks import LandmarkPanel
from tomochrome._napari.register_result import ResultPanel, UsePanel

INITS: Final = {
    "affine": "Affine: turn, shift, scale, shear",
    "rigid": "Rigid: turn and shift",
    "center": "Centers of the two volumes",
    "mass": "Centers of mass",
    "none": "None: they lie right already",
}
SIMILARITIES: Final = {
    "lncc": "Local correlation (same kind of scan)",
    "mi": "Mutual information (other contrast)",
    "mind": "MIND (other modality)",
    "mse": "Squared difference (same values)",
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
        self.fixed = LayerChoice(viewer, self, accepts=is_registrable)
        self.moving = LayerChoice(viewer, self, accepts=is_registrable)
        self.fixed.setToolTip("Stays where it is; results lie on its grid")
        self.moving.setToolTip("Is brought onto the fixed volume")
        self.init = _described(INITS, self)
        self.model = QComboBox(self)
        self.similarity = _described(SIMILARITIES, self)
        self.refine = QSpinBox(self)
        self.refine.setRange(-1, _MOST_ITERATIONS)
        self.refine.setSpecialValueText("automatic")
        self.refine.setValue(-1)
        self.refine.setToolTip("Iterations that fit the deformation to this pair at most; 0: none")
        self.fixed_mask = LayerChoice(viewer, self, accepts=is_mask, nothing="none")
        self.moving_mask = LayerChoice(viewer, self, accepts=is_mask, nothing="none")
        self.device = QComboBox(self)
        self.run = QPushButton("Register", self)
        self.cancel = QPushButton("Cancel", self)
        self.load = QPushButton("Load transform …", self)
        self.load.setToolTip("Of this program, ANTs, SimpleITK or 3D Slicer, for the two volumes")
        self.progress = StageBar(self)
        self.progress.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.curve = MetricCurve(self)
        self.message = Notice("plain", self)
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
        form.addRow("Fixed", self.fixed)
        form.addRow("Moving", self.moving)
        form.addRow("Start", self.init)
        form.addRow("Model", self.model)
        form.addRow("Refinement", self.refine)
        rest.addRow("Similarity", self.similarity)
        rest.addRow("Fixed mask", self.fixed_mask)
        rest.addRow("Moving mask", self.moving_mask)
        rest.addRow("Device", self.device)
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
        for widget in (self.progress, self.curve, self.message, self.result):
            inside.addWidget(widget)
        self.sections = {
            "registration": Section("Registration", body),
            "comparison": Section("Comparison", self.compare),
            "use": Section("Use the transform", self.use, opened=False),
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
            "model": self.model.currentText(),
            "refine": None if refine < 0 else refine,
            "similarity": self.similarity.currentData(),
            "device": self.device.currentText(),
        }

    def offer(self, models: tuple[str, ...], devices: tuple[str, ...]) -> None:
        """Fill the boxes with what there is, keeping what is chosen."""
        refill(self.model, models)
        refill(self.device, devices)

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
            self.show_progress(0, 0, "Starting")

    def show_progress(self, done: int, total: int, stage: str) -> None:
        """Show how far the work is; a total of 0 means that nobody knows."""
        self.progress.say(done, total, stage)

    def each_choice(self, action: Callable[[LayerChoice], None]) -> None:
        """Do something with each box of layers of the registration itself."""
        for choice in (self.fixed, self.moving, self.fixed_mask, self.moving_mask):
            action(choice)

    def _fields(self) -> tuple[QWidget, ...]:
        return (
            self.fixed, self.moving, self.init, self.model, self.similarity, self.refine,
            self.fixed_mask, self.moving_mask, self.device,
        )  # fmt: skip


def is_registrable(layer: Any) -> bool:
    """Whether a layer is listed: any image; one in color is refused with a reason."""
    known = behind(layer.metadata)
    return layer._type_string == "image" and (known is None or known.role != "derived")


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
    for name, words in choices.items():
        box.addItem(words, name)
        box.setItemData(box.count() - 1, words, Qt.ItemDataRole.ToolTipRole)
    return box
