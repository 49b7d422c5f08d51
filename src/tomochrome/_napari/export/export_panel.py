"""The "Export" panel: writes a layer of this plugin, or one of its maps, in any output format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
from napari.layers import Image
from qtpy.QtWidgets import QCheckBox, QFileDialog, QLineEdit, QPushButton, QWidget
from superqt.utils import signals_blocked

from tomochrome import io
from tomochrome._napari.export.layer_writers import layer_volume, may_replace, save_layer
from tomochrome._napari.kit.controls import form
from tomochrome._napari.kit.events import Connections
from tomochrome._napari.kit.narrow_widgets import ElidedComboBox, WrappingRow
from tomochrome._napari.kit.panel_bases import JobPanel, JobView, caution
from tomochrome._napari.kit.theme import Tone
from tomochrome._napari.layers.volume_layers import (
    MEASUREMENTS,
    NOT_SAVED,
    REGIONS,
    LayerSource,
    grey_layer,
    source_of,
)
from tomochrome.color.photograph_look import as_photograph
from tomochrome.errors import ExistsError, OutputError
from tomochrome.formats import (
    COLORED_SCAN,
    DICOM,
    FORMATS,
    LOOK_FORMATS,
    PAGE,
    PLY,
    SEGMENTATION,
    STL,
    TISSUE_FORMATS,
    Format,
    format_of,
)
from tomochrome.geometry import reorient_like
from tomochrome.geometry.measurement import Measurement
from tomochrome.notices import Notice, sentence
from tomochrome.runtime import write_whole
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume

_JOINING: Final = (DICOM, SEGMENTATION)
_JOIN: Final = (
    "Join the scan's study, with the patient's name",
    "An archive then shows the result beside the scan. Otherwise it is anonymous.",
)
_NAME: Final = (
    "With the patient's name, ID and study date",
    "The page then names the patient. Otherwise it is anonymous.",
)

Part = Literal["layer", "tissue map", "confidence map"]


@dataclass(frozen=True, eq=False)
class Choice:
    """A layer of this plugin, or a map of a colored one, that can be exported."""

    layer: Any
    source: LayerSource
    part: Part = "layer"

    @property
    def label(self) -> str:
        """Text shown in the panel."""
        name = str(self.layer.name)
        return name if self.part == "layer" else f"{name}: {self.part}"

    def same(self, other: Choice) -> bool:
        """Whether this is the same part of the same layer."""
        return self.layer is other.layer and self.part == other.part

    def formats(self) -> tuple[Format, ...]:
        """Return the formats that can store it."""
        if self.part == "layer" and self.layer.rgb:
            return FORMATS if self.source.chroma is None else (*FORMATS, COLORED_SCAN)
        hounsfield = self.part == "layer" and self.source.shown.unit == "HU"
        plain = tuple(f for f in FORMATS if not f.only_color and (hounsfield or not f.is_folder))
        return (*plain, *TISSUE_FORMATS) if self.part == "tissue map" else plain

    def can_name(self, output: Format | None) -> bool:
        """Whether the output can have the identity of the patient: join the study, or a page."""
        if not self.source.stored.provenance.kind.startswith("dicom"):
            return False
        if output == PAGE:
            return self.part == "layer" and self.source.chroma is not None
        return output in _JOINING and (self.part == "tissue map" or bool(self.layer.rgb))

    def can_be_photograph(self, output: Format | None) -> bool:
        """Whether the output can have the look of a photograph."""
        chroma = self.source.chroma
        has_tissues = chroma is not None and chroma.has_tissues
        return self.part == "layer" and has_tissues and output in LOOK_FORMATS

    def colored(
        self, measured: Sequence[Measurement] = (), regions: Sequence[Any] = ()
    ) -> io.ColoredScan:
        """Return scan, colors, settings and what was measured, on the stored grid of the scan."""
        assert self.source.chroma is not None
        stored, settings = self.source.stored, self.layer.data.settings
        painted = [Volume(labels, self.source.shown.affine, "unknown") for labels in regions]
        return io.ColoredScan(
            stored, self.source.chroma.on_grid(stored), settings, tuple(measured),
            tuple(reorient_like(labels, stored).voxels for labels in painted),
        )  # fmt: skip

    def volume(self) -> Volume:
        """Return the volume to write, on the stored grid of the scan."""
        if self.part == "layer":
            meta = {"name": self.layer.name, "metadata": self.layer.metadata}
            return layer_volume(self.layer.data, meta)
        chroma = self.source.chroma
        assert chroma is not None
        if self.part == "confidence map":
            made = chroma.confidence_volume()
        else:
            made = chroma.tissue_volume(self.layer.data.settings.palette.name)
        made = replace(made, restored=self.source.shown.restored)
        return reorient_like(made, self.source.stored)


def choices(layers: Sequence[Any]) -> list[Choice]:
    """Return everything that can be exported from a viewer's layers, topmost layer first."""
    listed: list[Choice] = []
    for layer in reversed(layers):
        source = source_of(layer.metadata)
        if source is None or not isinstance(layer, Image):
            continue
        listed.append(Choice(layer, source))
        if source.chroma is not None:
            listed += [Choice(layer, source, "tissue map"), Choice(layer, source, "confidence map")]
    return listed


def export(
    choice: Choice,
    path: str,
    *,
    force: bool = False,
    scan: str = "",
    photograph: bool = False,
    measured: Sequence[Measurement] = (),
    regions: Sequence[Any] = (),
    skipped: list[Notice] | None = None,
) -> None:
    """Write a choice in the format of ``path``, in a worker. Raises as `tomochrome.write`.

    With ``scan``, the folder of the scan, a DICOM output joins its study, with the identity of the
    patient, and a page names the patient. With ``photograph``, a picture or page has the look of a
    photograph. ``measured``, and ``regions`` on the grid on screen, are saved with a scan and its
    colors. ``skipped`` is as for `tomochrome.io.write_surfaces`.
    """
    io.check_output(path, force=force)
    series = choice.source.stored.provenance.series_uid or None
    identity = io.source_identity(scan, series) if scan and format_of(path) == PAGE else {}
    if photograph:
        colored = choice.colored()
        parts = colored.volume, colored.chroma, colored.settings
        if format_of(path) != PAGE:
            io.write(as_photograph(*parts), path, force=force)
            return
        from tomochrome.colorization.case_coloring import photograph_page  # imports pydicom

        page = photograph_page(*parts)
        page.name_patient(identity)
        with write_whole(path, force=force) as place:
            page.write(place)
        return
    if format_of(path) == PAGE:
        meta = {"name": choice.layer.name, "metadata": choice.layer.metadata}
        save_layer(path, choice.layer.data, meta, identity=identity, force=force)
        return
    if format_of(path) == COLORED_SCAN:
        io.save_colored(choice.colored(measured, regions), path, force=force)
        return
    if format_of(path) in (STL, PLY):
        shown = set(Tissue) - choice.layer.data.settings.tissues.hidden
        io.write_surfaces(choice.volume(), path, only=shown, force=force, skipped=skipped)
        return
    study = io.source_study(scan, series) if scan else None
    io.write(choice.volume(), path, study=study, force=force)


class ExportView(JobView):
    """The fields: content, format and destination."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, "Export")
        self.content, self.format = ElidedComboBox(self), ElidedComboBox(self)
        self.content.setToolTip(
            "Tomochrome layers, and the tissue and confidence maps of colored ones"
        )
        self.path = QLineEdit(self)
        self.path.setPlaceholderText("File, or folder for DICOM")
        self.browse = QPushButton("Browse…", self)
        self.join = QCheckBox(_JOIN[0], self)
        self.photograph = QCheckBox("Look of a photograph, for teaching", self)
        self.photograph.setToolTip(
            "Lightness of the tissues to the eye, not from the scanner; the picture says so"
        )
        self.locked = (
            *(self.content, self.format, self.path, self.browse), self.join, self.photograph,
        )  # fmt: skip
        where = WrappingRow((self.path, 1), self.browse)
        fields = form(("Content", self.content), ("Format", self.format), ("Save as", where))
        boxes = self.join, self.photograph
        self.fill(parent, caution(self), fields, *boxes, self.buttons, self.progress, self.message)


class ExportPanel(JobPanel):
    """Writes the selected content in a worker."""

    tab: ClassVar[str] = "Export"
    job_name = "The export"

    def __init__(self, napari_viewer: Any) -> None:
        self.choices: list[Choice] = []
        self._names = Connections()
        super().__init__(napari_viewer)
        self.view.content.currentIndexChanged.connect(self._offer_formats)
        self.view.format.currentIndexChanged.connect(self._format_changed)
        self.view.browse.clicked.connect(self.ask_place)
        events = self.viewer.layers.events
        self.connections.add(self._refill, events.inserted, events.removed)
        self._refill()

    def make_view(self) -> ExportView:
        """Create the fields."""
        return ExportView(self)

    # Choices

    @property
    def choice(self) -> Choice | None:
        """The selected content."""
        index = self.view.content.currentIndex()
        return self.choices[index] if 0 <= index < len(self.choices) else None

    @property
    def chosen_format(self) -> Format | None:
        """The selected format."""
        chosen: Format | None = self.view.format.currentData()
        return chosen

    def choose(self, layer: Any) -> None:
        """Select a layer to export."""
        for index, choice in enumerate(self.choices):
            if choice.layer is layer and choice.part == "layer":
                self.view.content.setCurrentIndex(index)

    def _refill(self, _: object = None) -> None:
        before, had_choices, view = self.choice, bool(self.choices), self.view
        self.choices = choices(list(self.viewer.layers))
        self._names.release()
        self._names.add(
            self._refill, *(x.layer.events.name for x in self.choices if x.part == "layer")
        )
        with signals_blocked(view.content):
            view.content.clear()
            view.content.addItems([choice.label for choice in self.choices])
            kept = [i for i, c in enumerate(self.choices) if before is not None and c.same(before)]
            view.content.setCurrentIndex(kept[0] if kept else 0 if self.choices else -1)
        self._offer_formats()
        if not self.choices:
            self.say("Open or color a scan first; there is nothing to export.")
        elif not had_choices:
            self.say("")
        view.run.setEnabled(bool(self.choices) and not self.running)

    def _offer_formats(self, _: object = None) -> None:
        chosen, choice, box = self.chosen_format, self.choice, self.view.format
        with signals_blocked(box):
            box.clear()
            for each in () if choice is None else choice.formats():
                ending = "a folder" if each.is_folder else each.ending
                name = each.name
                if each.is_folder and choice is not None and choice.layer.rgb:
                    name += ", Secondary Capture"
                box.addItem(f"{name} ({ending})", each)
            box.setCurrentIndex(max(0, box.findData(chosen)))
        self._format_changed()

    def _format_changed(self, _: object = None) -> None:
        """Replace the extension of the destination by that of the format."""
        text, chosen, choice = self.view.path.text().strip(), self.chosen_format, self.choice
        self._offer_identity(choice is not None and choice.can_name(chosen), chosen)
        self.view.photograph.setVisible(choice is not None and choice.can_be_photograph(chosen))
        if text and chosen is not None:
            self.view.path.setText(chosen.complete(_without_ending(text)))

    def _offer_identity(self, offered: bool, chosen: Format | None) -> None:
        """Show the box for the identity; what was ticked for archives does not hold for a page."""
        box, (text, tip) = self.view.join, _NAME if chosen == PAGE else _JOIN
        if box.text() != text:
            box.setChecked(False)
        box.setText(text)
        box.setToolTip(tip)
        box.setVisible(offered)

    # Destination

    def ask_place(self) -> None:
        """Ask for the file or folder in a dialog."""
        chosen, choice = self.chosen_format, self.choice
        if chosen is None or choice is None:
            return
        start = self.view.path.text().strip().rstrip("/") or choice.label.replace("/", "_")
        pattern = "*" if chosen.is_folder else " ".join(f"*{end}" for end in chosen.endings)
        # Overwriting is confirmed when the export starts, because an extension may be added.
        name, _ = QFileDialog.getSaveFileName(
            self,
            "Export",
            start,
            f"{chosen.name} ({pattern})",
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if name:
            self.view.path.setText(chosen.complete(name))

    # Running

    def run(self) -> None:
        """Write the selected content in a worker."""
        choice, chosen, place = self.choice, self.chosen_format, self.view.path
        if self.running or choice is None or chosen is None:
            return
        if not place.text().strip():
            self.ask_place()
        text = place.text().strip()
        if not text:
            return
        path = chosen.complete(str(Path(text).expanduser()))
        place.setText(path)
        exists = Path(path).exists()
        if exists and not may_replace(path):
            return
        scan = ""
        if self.view.join.isChecked() and choice.can_name(chosen):
            # layers do not keep the path of a scan, which can contain the patient's name
            scan = QFileDialog.getExistingDirectory(self, "The scan's DICOM folder")
            if not scan:
                return
        photograph = self.view.photograph.isChecked() and choice.can_be_photograph(chosen)
        grey = grey_layer(self.viewer.layers, choice.layer, choice.source) or choice.layer
        skipped: list[Notice] = []
        kept: dict[str, Any] = {"skipped": skipped}
        done = f"Saved {path}"
        tone: Tone = "good"
        if chosen == COLORED_SCAN:
            shapes = grey.metadata.get(MEASUREMENTS, ())
            kept["measured"] = [each for each in shapes if each is not None]
            painted = filter(np.any, grey.metadata.get(REGIONS, ()))
            kept["regions"] = [np.array(labels) for labels in painted]
            if lost := shapes.count(None):
                done, tone = f"{done}. {NOT_SAVED.format(lost)}", "warning"
        self.start(
            lambda: export(choice, path, force=exists, scan=scan, photograph=photograph, **kept),
            lambda _: self._saved(done, "warning" if skipped else tone, skipped),
        )

    def _saved(self, done: str, tone: Tone, skipped: Sequence[Notice]) -> None:
        self.view.message.say(". ".join([done, *map(sentence, skipped)]), tone)

    def show_error(self, error: Exception) -> None:
        """Show the error, without the hint to ``--force`` of the command line."""
        if isinstance(error, ExistsError):
            error = OutputError(f"'{error.args[0]}' already exists; choose another name")
        super().show_error(error)

    def was_cancelled(self) -> None:
        """Report that the export was cancelled."""
        self.say("Cancelled; nothing was saved.")

    def ended(self) -> None:
        """Enable the fields again."""
        super().ended()
        self.view.run.setEnabled(bool(self.choices))

    def cleanup(self) -> None:
        """Stop the export and disconnect from the layers."""
        self._names.release()
        super().cleanup()


def _without_ending(text: str) -> str:
    """Return a path without the extension of an output format."""
    text = text.rstrip("/")
    for output in (*TISSUE_FORMATS, COLORED_SCAN, *FORMATS):
        for ending in output.endings:
            if text.lower().endswith(ending):
                return text[: -len(ending)]
    return text
