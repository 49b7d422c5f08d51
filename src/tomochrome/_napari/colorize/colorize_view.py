"""The fields of the "Colorize volume" panel and their layout; no application logic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFrame,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QWidget,
)
from superqt.utils import signals_blocked

from tomochrome import colorization
from tomochrome._napari.colorize.grey_split import GreySplitPanel
from tomochrome._napari.colorize.legend import Legend
from tomochrome._napari.colorize.window_panel import WindowPanel
from tomochrome._napari.kit.choice_boxes import (
    LayerChoice,
    Named,
    NamedChoice,
    Offer,
    device_choices,
    usable_devices,
)
from tomochrome._napari.kit.controls import (
    MessageLabel,
    Section,
    ValueSlider,
    form,
    side_by_side,
    stacked,
)
from tomochrome._napari.kit.narrow_widgets import WrappingRow, shortened
from tomochrome._napari.kit.panel_bases import JobView
from tomochrome._napari.layers.volume_layers import NOT_FOR_DIAGNOSIS
from tomochrome._napari.viewer.clip_controls import ClipControls
from tomochrome._napari.viewer.readout import CursorReadout
from tomochrome._napari.viewer.slice_wheel import settings_store
from tomochrome._napari.viewer.view_controls import ViewControls
from tomochrome.bundles import current_name
from tomochrome.color.alpha import ALPHA_PRESETS
from tomochrome.color.palettes import palette_names
from tomochrome.colorization.cards import find_model, models
from tomochrome.colorization.predictor import needs_reference
from tomochrome.errors import ModelError
from tomochrome.rendering import RENDER_PRESETS
from tomochrome.runtime import check

_CLAIM = "These values are Hounsfield units"
_CAUTION = (
    "Tick this only if you are sure that water is 0 and air is -1000 in this volume, as in a CT "
    "whose header was lost on export. Then press Colorize again. In MR, PET or any other image, "
    "all colors would be wrong."
)


class HUOverride(QFrame):
    """A checkbox that declares the values of one layer with an unknown unit to be HU.

    It is hidden until that layer has been rejected, and is unticked when another layer is
    selected, so that nobody colors an MR by habit.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.claim = QCheckBox(_CLAIM, self)
        self.caution = MessageLabel("warning", self)
        self.caution.say(_CAUTION)
        stacked(self, self.claim, self.caution, margins=0)
        self._layer: Any = None
        self.follow(None)

    @property
    def is_claimed(self) -> bool:
        """Whether the user has declared the rejected layer to be in Hounsfield units."""
        return self._layer is not None and self.claim.isChecked()

    def offer(self, layer: Any) -> None:
        """Show the checkbox for a rejected layer."""
        if layer is not self._layer:
            self.claim.setChecked(False)
        self._layer = layer
        self.setVisible(True)

    def follow(self, layer: Any) -> None:
        """Hide and untick the checkbox unless the rejected layer is still selected."""
        if layer is None or layer is not self._layer:
            self._layer = None
            self.claim.setChecked(False)
            self.setVisible(False)


_PHOTOGRAPH: Final = (
    "Photograph of an anatomical section (PNG, JPEG, TIFF) of the same region. Blue gel, black "
    "and white around the body are ignored."
)
_LABELS: Final = (
    "Optional: an 8-bit label image (PNG, TIFF) of the tissues in the photograph, of the same "
    "size: indices as in 'tomochrome palette', 0 background, 255 unknown. Colors are then "
    "transferred tissue by tissue."
)
_MASK: Final = (
    "Optional: an 8-bit mask (PNG, TIFF) of the same size as the photograph, nonzero where its "
    "colors may be used. Without it, blue gel, black and white are ignored."
)
_FILTER: Final = "Images (*.png *.jpg *.jpeg *.tif *.tiff)"
_MAX_CHARACTERS: Final = 24


class PictureChoice(QPushButton):
    """A button that shows the name of an image file and opens a dialog to choose another.

    The path is never stored between sessions.

    Parameters
    ----------
    nothing
        Text of the button while no file is chosen.
    title
        Title of the dialog.
    about
        Tooltip.
    parent
        Parent widget.
    """

    changed = Signal()

    def __init__(self, nothing: str, title: str, about: str, parent: QWidget | None = None) -> None:
        super().__init__(nothing, parent)
        self.path: Path | None = None
        self._nothing, self._title, self._about = nothing, title, about
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setToolTip(about)
        self.clicked.connect(self.ask)

    def ask(self) -> None:
        """Open a dialog to choose a file."""
        folder = "" if self.path is None else str(self.path.parent)
        path, _ = QFileDialog.getOpenFileName(self, self._title, folder, _FILTER)
        if path:
            self.choose(Path(path))

    def choose(self, path: Path | None) -> None:
        """Set the file, or None."""
        self.path = path
        name = self._nothing if path is None else path.name
        self.setText(shortened(name, _MAX_CHARACTERS))
        self.setToolTip(self._about if path is None else f"{path}\n{self._about}")
        self.changed.emit()


class PhotographChoice(QWidget):
    """Buttons for the photograph and, below it, its optional label image and mask."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.photograph = PictureChoice("Choose…", "Choose a photograph", _PHOTOGRAPH, self)
        self.labels = PictureChoice("Labels (optional)…", "Choose labels", _LABELS, self)
        self.mask = PictureChoice("Mask (optional)…", "Choose a mask", _MASK, self)
        self.clear_labels = _clear_button(self.labels, "Remove the label image")
        self.clear_mask = _clear_button(self.mask, "Remove the mask")
        stacked(
            self,
            self.photograph,
            side_by_side((self.labels, 1), self.clear_labels),
            side_by_side((self.mask, 1), self.clear_mask),
            margins=0,
        )
        self.photograph.changed.connect(self._photograph_changed)
        self._photograph_changed()

    @property
    def paths(self) -> tuple[Path, Path | None, Path | None] | None:
        """Photograph, label image and mask for `Reference.read`; None without a photograph."""
        photograph = self.photograph.path
        return None if photograph is None else (photograph, self.labels.path, self.mask.path)

    def _photograph_changed(self) -> None:
        for optional in (self.labels, self.mask):
            optional.choose(None)  # labels and mask belong to one photograph
            optional.setEnabled(self.photograph.path is not None)


def _clear_button(choice: PictureChoice, about: str) -> QToolButton:
    """Return a button that clears a choice, hidden while there is none."""
    button = QToolButton(choice.parentWidget())
    button.setText("×")
    button.setToolTip(about)
    button.hide()
    button.clicked.connect(lambda: choice.choose(None))
    choice.changed.connect(lambda: button.setVisible(choice.path is not None))
    return button


COLOR_KEY = "Shift-C"


class ColorPanel(QWidget):
    """Lighting fields other than window and tissues; emits `changed` on every change.

    Fractions are shown as percentages.
    """

    changed = Signal()
    opacity_changed = Signal(float)
    curve_in_3d_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.color = QCheckBox("Color", self)
        self.color.setChecked(True)
        self.color.setToolTip(
            f"Color on or off ({COLOR_KEY.replace('-', '+')}); the grey levels never change"
        )
        self.palette_box = NamedChoice(parent=self)
        self.alpha_box = NamedChoice(parent=self)
        self.photograph_in_3d = QCheckBox("Look of a photograph", self)
        self.photograph_in_3d.setToolTip(
            "3D with the lightness of the tissues to the eye, for teaching"
        )
        self.saturation_row = ValueSlider(0, 100, suffix=" %", value=100, parent=self)
        self.saturation_row.setToolTip("Color saturation; 0 % is grey")
        self.confidence_row = ValueSlider(0, 100, suffix=" %", value=0, parent=self)
        self.confidence_row.setToolTip(
            "Minimum confidence: where the model is less confident, the color fades to grey"
        )
        self.opacity_row = ValueSlider(0, 100, suffix=" %", value=100, parent=self)
        self.opacity_row.setToolTip("Opacity of the colored layer over the scan")
        form(
            ("", self.color),
            ("Palette", self.palette_box),
            ("Saturation", self.saturation_row),
            ("Confidence ≥", self.confidence_row),
            ("Opacity", self.opacity_row),
            parent=self,
        )
        self._slices_alpha = ""  # what slices show, while the box is for 3D
        self._for_slices: list[Named] = []
        self.color.toggled.connect(self.changed)
        self.palette_box.currentIndexChanged.connect(self.changed)
        self.alpha_box.currentIndexChanged.connect(self._alpha_chosen)
        for slider in (self.saturation_row, self.confidence_row):
            slider.valueChanged.connect(self.changed)
        self.opacity_row.valueChanged.connect(lambda value: self.opacity_changed.emit(value / 100))

    def offer(self, palettes: Sequence[str], alphas: Sequence[str]) -> None:
        """Offer these palettes and alpha curves, keeping the current selection."""
        self.palette_box.offer(palette_choices(palettes))
        self._for_slices = alpha_choices(alphas)
        if not self._slices_alpha:
            self.alpha_box.offer(self._for_slices)

    @property
    def saturation(self) -> float:
        """Saturation 0 to 1, and 0 while color is off."""
        return self.saturation_row.value() / 100 if self.color.isChecked() else 0.0

    @property
    def min_confidence(self) -> float:
        """Minimum confidence, 0 to 1, that is shown in color."""
        return self.confidence_row.value() / 100

    @property
    def opacity(self) -> float:
        """Opacity of the colored layer, 0 to 1."""
        return self.opacity_row.value() / 100

    @property
    def palette_name(self) -> str:
        """Name of the palette."""
        return self.palette_box.name

    @property
    def alpha(self) -> str:
        """Name of the alpha curve of slices."""
        return self._slices_alpha or self.alpha_box.name

    def _alpha_chosen(self, _: int) -> None:
        if self._slices_alpha:
            self.curve_in_3d_chosen.emit(self.alpha_box.name)
        else:
            self.changed.emit()

    def show_in_3d(self, name: str, *, by_tissue: bool = True, photograph: bool = False) -> None:
        """Let the choice "Show" be for 3D and show a name, or for slices if it is empty.

        In 3D, it offers the presets of pictures, or opacity curves if there are no tissues; and
        whether it has the look of a photograph can be chosen.
        """
        with signals_blocked(self.photograph_in_3d):
            self.photograph_in_3d.setChecked(photograph)
        self.photograph_in_3d.setVisible(bool(name) and by_tissue)
        slices = self.alpha
        self.alpha_box.offer(choices_in_3d(by_tissue) if name else self._for_slices)
        self.alpha_box.show_name(name or slices)
        self._slices_alpha = slices if name else ""


Key = Literal["model", "device", "palette", "alpha", "opacity"]

#: All stored settings. No window: it belongs to the scan.
KEYS: Final[tuple[Key, ...]] = ("model", "device", "palette", "alpha", "opacity")
_GROUP: Final = "colorize"


def remember(key: Key, value: str | float) -> None:
    """Store a user setting for the next session; never patient data.

    The settings are stored in the user's INI file (`QSettings`). They are not trusted: readers
    check that a choice still exists.
    """
    settings_store().setValue(f"{_GROUP}/{key}", str(value))


def remembered(key: Key) -> str:
    """Return a stored setting, or an empty string if there is none; a model by its present name."""
    value = settings_store().value(f"{_GROUP}/{key}")
    if not isinstance(value, str):
        return ""
    return current_name(value) if key == "model" else value


def remember_choice(key: Key, box: NamedChoice) -> None:
    """Restore a stored choice if it is still offered, and store each choice of the user."""
    box.choose(remembered(key))
    box.activated.connect(lambda _: remember(key, box.name))


def remember_curve(color: ColorPanel) -> None:
    """As `remember_choice`, for the opacity of slices; what is shown in 3D depends on the scan."""
    name = remembered("alpha")
    if name in ALPHA_PRESETS and ALPHA_PRESETS[name].for_slices:
        color.alpha_box.choose(name)
    color.alpha_box.activated.connect(lambda _: remember("alpha", color.alpha))


def remembered_fraction(key: Key, default: float) -> float:
    """Return a stored number from 0 to 1, or the default if there is none."""
    try:
        value = float(remembered(key))
    except ValueError:
        return default
    return value if math.isfinite(value) and 0.0 <= value <= 1.0 else default


def model_choices(names: Sequence[str]) -> list[Named]:
    """Return the choices for models, with titles from their cards."""
    choices = []
    for name in names:
        try:
            card = find_model(name)
        except ModelError:
            choices.append(Named(name, name))
        else:
            choices.append(Named(name, card.title, card.description))
    return choices


def palette_choices(names: Sequence[str]) -> list[Named]:
    """Return the choices for palettes."""
    return [Named(name, name.replace("-", " ").capitalize()) for name in names]


def alpha_choices(names: Sequence[str]) -> list[Named]:
    """Return the choices for the opacity of slices, among curves with these names."""
    curves = [ALPHA_PRESETS[name] for name in names if ALPHA_PRESETS[name].for_slices]
    return [Named(curve.name, curve.name.capitalize(), curve.about) for curve in curves]


#: Opacity curves that show what no preset of pictures shows.
_CURVES_BESIDE_PRESETS: Final = ("glass", "opaque")


def choices_in_3d(by_tissue: bool) -> list[Named]:
    """Return the presets of 3D: those of pictures, or opacity curves if there are no tissues."""
    presets = RENDER_PRESETS.values() if by_tissue else ()
    curves = _CURVES_BESIDE_PRESETS if by_tissue else ALPHA_PRESETS
    return [
        *(Named(preset.name, preset.title, preset.about) for preset in presets),
        *(Named(name, name.capitalize(), ALPHA_PRESETS[name].about) for name in curves),
    ]


def colorize_offer() -> Offer:
    """Import what coloring needs, to speed up the first run, and list the choices."""
    check()
    colorization.warm_up()
    check()
    cards = models()
    return Offer(
        tuple(card.name for card in cards),
        usable_devices(),
        tuple(palette_names()),
        tuple(ALPHA_PRESETS),
        tuple(card.name for card in cards if needs_reference(card)),
    )


# Offered until the worker has listed all choices; these always exist.
_FIRST_OFFER = Offer(("tissue", "transfer-function"), ("auto",), ("natural",), ("body", "opaque"))


class ColorizeView(JobView):
    """The fields, from top to bottom: notice, inputs, run, result and appearance."""

    def __init__(self, viewer: Any, parent: QWidget) -> None:
        super().__init__(parent, "Colorize")
        self.caution = MessageLabel("caution", self)
        self.layer = LayerChoice(viewer, self, follow=True)
        self.model = NamedChoice(parent=self)
        self.photograph = PhotographChoice(self)
        self.device = NamedChoice(parent=self)
        self.compare = QPushButton("Compare models…", self)
        self.compare.setToolTip("Color the current axial slice with every model, side by side")
        self.export = QPushButton("Export…", self)
        self.picture = QPushButton("Picture…", self)
        self.picture.setToolTip(
            "Save the slice on screen as a picture with a caption; in 3D, draw the view with light "
            "and soft shadows, or film a turn around the patient"
        )
        self.keep = QCheckBox("Keep earlier results", self)
        self.keep.setToolTip(
            "Add a new layer for each run instead of replacing the previous result"
        )
        self.override = HUOverride(self)
        self.export.setToolTip(
            "Save as a volume, DICOM, contact sheet or video; also the tissue and confidence maps"
        )
        self.readout = CursorReadout(self)
        self.window = WindowPanel(self)
        self.color = ColorPanel(self)
        self.legend = Legend(self)
        self.grey_split = GreySplitPanel(self)
        self.shown = QWidget(self)
        form(("Show", self.color.alpha_box), self.color.photograph_in_3d, parent=self.shown)
        self.view_controls = ViewControls(viewer, self)
        self.clip_controls = ClipControls(viewer, self)
        self.clipping = Section("Clipping (3D)", self.clip_controls, self)
        self.tissues = Section("Tissues", self.legend, self)
        self.wipe = Section("Color and grayscale", self.grey_split, self)
        self.locked = (
            *(self.layer, self.model, self.photograph, self.device, self.keep),
            *(self.compare, self.picture, self.override),
        )
        self.inputs = form(
            ("CT", self.layer),
            ("Model", self.model),
            ("Photograph", self.photograph),
            ("Device", self.device),
        )
        self.fill(
            parent,
            self.caution,
            self.inputs,
            self.buttons,
            self.keep,
            WrappingRow((self.compare, 1), (self.export, 1), (self.picture, 1)),
            self.progress,
            self.message,
            self.override,
            self.readout,
            self.shown,
            Section("View", self.view_controls, self),
            self.clipping,
            self.tissues,
            self.wipe,
            Section("Window", self.window, self),
            Section("Color", self.color, self),
        )
        self.model.currentIndexChanged.connect(self._show_photograph)
        self._with_photograph: tuple[str, ...] = ()
        self.offer(_FIRST_OFFER)
        self.show_model("")

    @property
    def remembered(self) -> dict[Key, NamedChoice]:
        """The combo boxes whose choice is stored between sessions."""
        return {
            "model": self.model,
            "device": self.device,
            "palette": self.color.palette_box,
        }

    def offer(self, offer: Offer) -> None:
        """Fill the combo boxes, keeping the current selections."""
        self.model.offer(model_choices(offer.models))
        self.device.offer(device_choices(offer.devices))
        self.color.offer(offer.palettes, offer.alphas)
        self._with_photograph = offer.with_photograph
        self._show_photograph()

    @property
    def needs_photograph(self) -> bool:
        """Whether the chosen model takes its colors from a photograph."""
        return self.model.name in self._with_photograph

    def _show_photograph(self, _: object = None) -> None:
        """Show the photograph field only if the model uses one."""
        shown = self.needs_photograph
        for part in (self.photograph, self.inputs.labelForField(self.photograph)):
            part.setVisible(shown)

    def show_model(self, title: str, tissues: bool = True) -> None:
        """Show the "not for diagnosis" notice with the model that made the colors on screen.

        The sections about colors are hidden while there are none (an empty ``title``); palette and
        legend need a model that predicts ``tissues``.
        """
        caution = NOT_FOR_DIAGNOSIS.capitalize()
        self.caution.say(f"{caution} · {title}" if title else caution)
        for part in (self.readout, self.tissues, self.wipe):
            part.setVisible(bool(title) and (tissues or part is not self.tissues))
        self.color.palette_box.setEnabled(tissues)
