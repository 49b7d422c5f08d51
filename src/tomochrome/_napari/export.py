"""The panel "Export": a layer of ours, or a map behind it, in any format that we write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from qtpy.QtWidgets import QComboBox, QFileDialog, QLineEdit, QPushButton, QWidget
from superqt.utils import signals_blocked

from tomochrome._napari.controls import compact, form, side_by_side
from tomochrome._napari.layers import LayerSource, source_of
from tomochrome._napari.panel import JobPanel, JobView, caution
from tomochrome._napari.writer import layer_volume, may_replace
from tomochrome.errors import ExistsError, OutputError
from tomochrome.formats import FORMATS, Format
from tomochrome.volume import Volume

Part = Literal["layer", "tissue map", "confidence map"]


@dataclass(frozen=True, eq=False)
class Choice:
    """Something that can be exported: a layer of ours, or a map behind a colored one."""

    layer: Any
    known: LayerSource
    part: Part = "layer"

    @property
    def label(self) -> str:
        """What the panel calls it."""
        name = str(self.layer.name)
        return name if self.part == "layer" else f"{name}: {self.part}"

    def same(self, other: Choice) -> bool:
        """Whether this is the same part of the same layer."""
        return self.layer is other.layer and self.part == other.part

    def formats(self) -> tuple[Format, ...]:
        """Return the formats that can hold it."""
        if self.part == "layer" and self.layer.rgb:
            return FORMATS
        hounsfield = self.part == "layer" and self.known.shown.unit == "HU"
        return tuple(f for f in FORMATS if not f.only_color and (hounsfield or not f.is_folder))

    def volume(self) -> Volume:
        """Return what is to be written, on the grid that the scan was stored on."""
        if self.part == "layer":
            meta = {"name": self.layer.name, "metadata": self.layer.metadata}
            return layer_volume(self.layer.data, meta)
        from tomochrome.geometry import reorient_like

        chroma = self.known.chroma
        assert chroma is not None
        is_tissue = self.part == "tissue map"
        made = chroma.tissue_volume() if is_tissue else chroma.confidence_volume()
        return reorient_like(made, self.known.stored)


def choices(layers: Sequence[Any]) -> list[Choice]:
    """Return what can be exported of a viewer's layers, the topmost first."""
    found: list[Choice] = []
    for layer in reversed(layers):
        known = source_of(layer.metadata)
        if known is None or layer._type_string != "image":
            continue
        found.append(Choice(layer, known))
        if known.chroma is not None:
            found += [Choice(layer, known, "tissue map"), Choice(layer, known, "confidence map")]
    return found


def export(choice: Choice, path: str, *, force: bool = False) -> None:
    """Write a choice by the ending of ``path``, in a worker. Raises as `tomochrome.write`."""
    from tomochrome import io

    io.check_output(path, force=force)
    volume = choice.volume()
    io.write(volume, path, force=force)


class ExportView(JobView):
    """What to write, in which format and where."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, "Export")
        self.what, self.format = QComboBox(self), QComboBox(self)
        self.what.setToolTip("Layers of Tomochrome, and the maps behind colored ones")
        compact(self.what, 0)
        self.place = QLineEdit(self)
        self.place.setPlaceholderText("file or, for DICOM, folder")
        self.browse = QPushButton("Browse…", self)
        self.locked = self.what, self.format, self.place, self.browse
        where = side_by_side((self.place, 1), self.browse)
        fields = form(("What", self.what), ("Format", self.format), ("Save as", where))
        self.fill(parent, caution(self), fields, self.buttons, self.progress, self.message)


class ExportPanel(JobPanel):
    """Chooses what to write, in which format and where; writes it in a worker."""

    tab: ClassVar[str] = "Export"
    what = "The export"
    undone = "nothing was saved"

    def __init__(self, napari_viewer: Any) -> None:
        self._choices: list[Choice] = []
        super().__init__(napari_viewer)
        self.view.what.currentIndexChanged.connect(self._offer_formats)
        self.view.format.currentIndexChanged.connect(self._format_changed)
        self.view.browse.clicked.connect(self.ask_place)
        events = self.viewer.layers.events
        self.connections.add(self._refill, events.inserted, events.removed)
        self._refill()

    def make_view(self) -> ExportView:
        """Make the fields."""
        return ExportView(self)

    # What is offered

    @property
    def choice(self) -> Choice | None:
        """What is chosen to be exported."""
        index = self.view.what.currentIndex()
        return self._choices[index] if 0 <= index < len(self._choices) else None

    @property
    def wanted(self) -> Format | None:
        """The format chosen."""
        found: Format | None = self.view.format.currentData()
        return found

    def choose(self, layer: Any) -> None:
        """Choose a layer to export."""
        for index, choice in enumerate(self._choices):
            if choice.layer is layer and choice.part == "layer":
                self.view.what.setCurrentIndex(index)

    def _refill(self, _: object = None) -> None:
        before, had_choices, view = self.choice, bool(self._choices), self.view
        self._choices = choices(list(self.viewer.layers))
        with signals_blocked(view.what):
            view.what.clear()
            view.what.addItems([choice.label for choice in self._choices])
            kept = [i for i, c in enumerate(self._choices) if before is not None and c.same(before)]
            view.what.setCurrentIndex(kept[0] if kept else 0 if self._choices else -1)
        self._offer_formats()
        if not self._choices:
            self.say("Open or color a scan first; there is nothing to export.")
        elif not had_choices:
            self.say("")
        view.run.setEnabled(bool(self._choices) and not self.running)

    def _offer_formats(self, _: object = None) -> None:
        chosen, choice, box = self.wanted, self.choice, self.view.format
        with signals_blocked(box):
            box.clear()
            for known in () if choice is None else choice.formats():
                ending = "a folder" if known.is_folder else known.ending
                name = known.name
                if known.is_folder and choice is not None and choice.layer.rgb:
                    name += ", Secondary Capture"
                box.addItem(f"{name} ({ending})", known)
            box.setCurrentIndex(max(0, box.findData(chosen)))
        self._format_changed()

    def _format_changed(self, _: object = None) -> None:
        """Give the place the ending of the format."""
        text, wanted = self.view.place.text().strip(), self.wanted
        if text and wanted is not None:
            self.view.place.setText(wanted.complete(_without_ending(text)))

    # Where

    def ask_place(self) -> None:
        """Ask for the file or folder in a dialog."""
        wanted, choice = self.wanted, self.choice
        if wanted is None or choice is None:
            return
        start = self.view.place.text().strip().rstrip("/") or choice.label.replace("/", "_")
        pattern = "*" if wanted.is_folder else " ".join(f"*{end}" for end in wanted.endings)
        # What is there is asked about when the export starts: the name may still get an ending.
        name, _ = QFileDialog.getSaveFileName(
            self,
            "Export",
            start,
            f"{wanted.name} ({pattern})",
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if name:
            self.view.place.setText(wanted.complete(name))

    # Running

    def run(self) -> None:
        """Write what is chosen, in a worker."""
        choice, wanted, place = self.choice, self.wanted, self.view.place
        if self.running or choice is None or wanted is None:
            return
        if not place.text().strip():
            self.ask_place()
        text = place.text().strip()
        if not text:
            return
        path = wanted.complete(str(Path(text).expanduser()))
        place.setText(path)
        there = Path(path).exists()
        if there and not may_replace(path):
            return
        self.start(
            lambda: export(choice, path, force=there),
            lambda _: self.view.message.say(f"Saved {path}", "good"),
        )

    def show_error(self, error: Exception) -> None:
        """Show why nothing was saved; this panel asks, where the command line has ``--force``."""
        if isinstance(error, ExistsError):
            error = OutputError(f"'{error.args[0]}' exists already; choose another")
        super().show_error(error)

    def ended(self) -> None:
        """Switch the fields back."""
        super().ended()
        self.view.run.setEnabled(bool(self._choices))


def _without_ending(text: str) -> str:
    """Return a path without the ending of any of our formats."""
    text = text.rstrip("/")
    for known in FORMATS:
        for ending in known.endings:
            if text.lower().endswith(ending):
                return text[: -len(ending)]
    return text
