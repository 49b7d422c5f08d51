"""The panel "Export": a layer of ours, or a map behind it, in any format that we write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
)

from tomochrome._napari.controls import Notice, StageBar
from tomochrome._napari.docked import DockedPanel
from tomochrome._napari.jobs import Job
from tomochrome._napari.layers import NOT_FOR_DIAGNOSIS, Behind, behind
from tomochrome._napari.writer import layer_volume, may_replace
from tomochrome.errors import TomochromeError
from tomochrome.formats import FORMATS, Format
from tomochrome.runtime import CancelToken, Progress
from tomochrome.volume import Volume

if TYPE_CHECKING:
    import napari.viewer

Part = Literal["layer", "tissue map", "confidence map"]


@dataclass(frozen=True, eq=False)
class Choice:
    """Something that can be exported: a layer of ours, or a map behind a colored one."""

    layer: Any
    known: Behind
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

    def volume(self, progress: Progress | None = None, cancel: CancelToken | None = None) -> Volume:
        """Return what is to be written, on the grid that the scan was stored on."""
        if self.part == "layer":
            meta = {"name": self.layer.name, "metadata": self.layer.metadata}
            return layer_volume(self.layer.data, meta, progress=progress, cancel=cancel)
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
        known = behind(layer.metadata)
        if known is None or layer._type_string != "image":
            continue
        found.append(Choice(layer, known))
        if known.chroma is not None:
            found += [Choice(layer, known, "tissue map"), Choice(layer, known, "confidence map")]
    return found


def export(
    choice: Choice,
    path: str,
    *,
    force: bool = False,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> None:
    """Write a choice by the ending of ``path``, in a worker. Raises as `tomochrome.write`."""
    from tomochrome import io

    io.check_output(path, force=force)
    volume = choice.volume(progress, cancel)
    io.write(volume, path, force=force, progress=progress, cancel=cancel)


class ExportPanel(DockedPanel):
    """Chooses what to write, in which format and where; writes it in a worker.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered.
    """

    tab: ClassVar[str] = "Export"

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer: Any = napari_viewer
        self.what, self.format = QComboBox(self), QComboBox(self)
        self.place = QLineEdit(self)
        self.browse = QPushButton("Browse…", self)
        self.run = QPushButton("Export", self)
        self.cancel = QPushButton("Cancel", self)
        self.progress, self.message = StageBar(self), Notice("plain", self)
        self._choices: list[Choice] = []
        self._job: Job | None = None
        self._lay_out()
        self._show_running(False)
        self.what.currentIndexChanged.connect(self._offer_formats)
        self.format.currentIndexChanged.connect(self._format_changed)
        self.browse.clicked.connect(self.ask_place)
        self.run.clicked.connect(self.start)
        self.cancel.clicked.connect(self.stop)
        for event in (self.viewer.layers.events.inserted, self.viewer.layers.events.removed):
            event.connect(self._refill)
        self._refill()

    def _lay_out(self) -> None:
        self.place.setPlaceholderText("file or, for DICOM, folder")
        self.what.setToolTip("Layers of Tomochrome, and the maps behind colored ones")
        self.what.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        where = QHBoxLayout()
        where.addWidget(self.place, 1)
        where.addWidget(self.browse)
        fields = QFormLayout()
        fields.addRow("What", self.what)
        fields.addRow("Format", self.format)
        fields.addRow("Save as", where)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run, 2)
        buttons.addWidget(self.cancel, 1)
        column = QVBoxLayout(self)
        column.addWidget(Notice("caution", self))
        column.itemAt(0).widget().say(NOT_FOR_DIAGNOSIS.capitalize())
        column.addLayout(fields)
        column.addLayout(buttons)
        column.addWidget(self.progress)
        column.addWidget(self.message)
        column.addStretch(1)

    # What is offered

    @property
    def choice(self) -> Choice | None:
        """What is chosen to be exported."""
        index = self.what.currentIndex()
        return self._choices[index] if 0 <= index < len(self._choices) else None

    @property
    def wanted(self) -> Format | None:
        """The format chosen."""
        return self.format.currentData()

    def choose(self, layer: Any) -> None:
        """Choose a layer to export."""
        for index, choice in enumerate(self._choices):
            if choice.layer is layer and choice.part == "layer":
                self.what.setCurrentIndex(index)

    def _refill(self, _: object = None) -> None:
        before = self.choice
        self._choices = choices(list(self.viewer.layers))
        self.what.blockSignals(True)
        self.what.clear()
        self.what.addItems([choice.label for choice in self._choices])
        kept = [i for i, c in enumerate(self._choices) if before is not None and c.same(before)]
        self.what.setCurrentIndex(kept[0] if kept else 0 if self._choices else -1)
        self.what.blockSignals(False)
        self._offer_formats()
        if not self._choices:
            self.message.say("Open or color a scan first; there is nothing to export.", "plain")
        elif self.message.text().startswith("Open or color"):
            self.message.say("")
        self.run.setEnabled(bool(self._choices) and self._job is None)

    def _offer_formats(self, _: object = None) -> None:
        chosen, choice = self.wanted, self.choice
        self.format.blockSignals(True)
        self.format.clear()
        for known in () if choice is None else choice.formats():
            ending = "a folder" if known.is_folder else known.ending
            name = known.name
            if known.is_folder and choice is not None and choice.layer.rgb:
                name += ", Secondary Capture"
            self.format.addItem(f"{name} ({ending})", known)
        self.format.setCurrentIndex(max(0, self.format.findData(chosen)))
        self.format.blockSignals(False)
        self._format_changed()

    def _format_changed(self, _: object = None) -> None:
        """Give the place the ending of the format."""
        text, wanted = self.place.text().strip(), self.wanted
        if text and wanted is not None:
            self.place.setText(wanted.complete(_without_ending(text)))

    # Where

    def ask_place(self) -> None:
        """Ask for the file or folder in a dialog, which asks before it takes one that is there."""
        wanted, choice = self.wanted, self.choice
        if wanted is None or choice is None:
            return
        start = self.place.text().strip().rstrip("/") or choice.label.replace("/", "_")
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
            self.place.setText(wanted.complete(name))

    # Running

    def start(self) -> None:
        """Write what is chosen, in a worker."""
        choice, wanted = self.choice, self.wanted
        if self._job is not None or choice is None or wanted is None:
            return
        if not self.place.text().strip():
            self.ask_place()
        text = self.place.text().strip()
        if not text:
            return
        path = wanted.complete(str(Path(text).expanduser()))
        self.place.setText(path)
        there = Path(path).exists()
        if there and not may_replace(path):
            return
        job = Job(
            lambda progress, cancel: export(
                choice, path, force=there, progress=progress, cancel=cancel
            ),
            name="tomochrome export",
        )
        job.progressed.connect(self.progress.say)
        job.returned.connect(lambda _: self.message.say(f"Saved {path}", "good"))
        job.failed.connect(self._show_error)
        job.cancelled.connect(lambda: self.message.say("Cancelled; nothing was saved.", "plain"))
        job.ended.connect(self._ended)
        self._job = job
        self._show_running(True)
        job.start()

    def stop(self) -> None:
        """Stop writing at the next check."""
        if self._job is not None:
            self.progress.say(0, 0, "Cancelling")
            self._job.cancel()

    @property
    def running(self) -> bool:
        """Whether something is being written."""
        return self._job is not None

    def _show_error(self, error: Exception) -> None:
        if isinstance(error, TomochromeError):
            text = str(error).replace("use --force (force=True) to replace it", "choose another")
        else:
            text = f"the export failed unexpectedly ({type(error).__name__}: {error})"
        self.message.say(text[:1].upper() + text[1:] + ".", "error")

    def _ended(self) -> None:
        self._job = None
        if not self._released:
            self._show_running(False)

    def _show_running(self, running: bool) -> None:
        self.run.setEnabled(not running and bool(self._choices))
        self.cancel.setEnabled(running)
        for field in (self.what, self.format, self.place, self.browse):
            field.setEnabled(not running)
        self.progress.setVisible(running)
        if running:
            self.message.say("")
            self.progress.say(0, 0, "Starting")

    def let_go(self) -> None:
        """Cancel a run and let go of the viewer."""
        if self._job is not None:
            self._job.cancel()
        for event in (self.viewer.layers.events.inserted, self.viewer.layers.events.removed):
            event.disconnect(self._refill)
        self._choices, self.viewer = [], None


def _without_ending(text: str) -> str:
    """Return a path without the ending of any of our formats."""
    text = text.rstrip("/")
    for known in FORMATS:
        for ending in known.endings:
            if text.lower().endswith(ending):
                return text[: -len(ending)]
    return text
