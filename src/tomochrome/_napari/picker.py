"""The "Choose a series" panel: lists the series in a folder, file or CD, and opens them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QFileDialog, QSizePolicy

from tomochrome._napari import wording
from tomochrome._napari.jobs import JobRunner, Work
from tomochrome._napari.opening import Opened, announce, only_choice, open_item
from tomochrome._napari.panel import JobPanel
from tomochrome._napari.picker_view import PickerView
from tomochrome._napari.series_list import PICTURE
from tomochrome._napari.series_order import Identities, can_be_opened
from tomochrome._napari.viewer_setup import prepare_viewer
from tomochrome.errors import Cancelled, TomochromeError
from tomochrome.runtime import Task, check, current, report

if TYPE_CHECKING:
    from tomochrome.io import Found, Item

_NAPARI: Final = ("napari", "npe2")
_EVENT_LOOP: Final = "napari._qt.qt_event_loop"
_CHECK_MS: Final = 200


class SameCall:
    """Remembers a stack frame of napari and tells whether that call is still running.

    napari opens the paths of one drop one after the other, each with a separate call of the
    reader, and does not mark them as belonging together. However, all of these calls come from
    one call of `open`, which stays on the stack until the last path has been opened. Elapsed time
    is no criterion: searching a folder on a slow disk can take longer than the user needs for the
    next drop.
    """

    def __init__(self) -> None:
        self._frame: FrameType | None = None

    def is_running(self) -> bool:
        """Whether the remembered frame is on the current stack."""
        return self._frame is not None and any(frame is self._frame for frame in _stack())

    def remember(self) -> None:
        """Remember the frame of napari that led to this call, if there is one."""
        self._frame = _outermost_of_napari()
        QTimer.singleShot(0, self._forget_when_over)

    def _forget_when_over(self) -> None:
        """Drop the frame, and all that it refers to, as soon as the call has returned."""
        if self.is_running():  # napari processes events meanwhile to draw its progress bar
            QTimer.singleShot(_CHECK_MS, self._forget_when_over)
        else:
            self._frame = None


def _stack() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _outermost_of_napari() -> FrameType | None:
    """Return the outermost frame of napari on the stack, not counting its event loop."""
    found = None
    for frame in _stack():
        module = str(frame.f_globals.get("__name__", ""))
        if module == _EVENT_LOOP:
            break
        if module.partition(".")[0] in _NAPARI:
            found = frame
        elif found is not None:
            break
    return found


_LOG = logging.getLogger(__name__)
DOCK_NAME = "Choose a series"


def show_picker(viewer: Any, found: Found) -> SeriesPicker:
    """List found series in the viewer's picker, docking one if there is none yet.

    A new request replaces the current list and stops a running search. Only folders that were
    dropped together are listed together.
    """
    docked = viewer.window.dock_widgets.values()
    picker = next((widget for widget in docked if isinstance(widget, SeriesPicker)), None)
    if picker is None:
        picker = SeriesPicker(viewer)
        viewer.window.add_dock_widget(picker, name=DOCK_NAME, area="right")
    else:
        picker.parentWidget().show()
        picker.parentWidget().raise_()
    picker.show_dropped(found)
    return picker


def _merge(first: Found | None, second: Found) -> Found:
    """Merge the search results of two paths, without duplicates."""
    if first is None:
        return second
    known = {(item.path, item.name) for item in first.items}
    items = [item for item in second.items if (item.path, item.name) not in known]
    skipped = dict.fromkeys((*first.skipped, *second.skipped))
    return replace(first, items=(*first.items, *items), skipped=tuple(skipped))


@dataclass(frozen=True, eq=False)
class _Result:
    """The result of opening one item: its layer, or the error."""

    item: Item
    opened: Opened | TomochromeError
    layer: Any = None


def _open(item: Item) -> _Result:
    """Read one of several items; an error does not affect the others."""
    from napari.layers import Layer

    try:
        opened = open_item(item)
    except Cancelled:
        raise
    except TomochromeError as error:
        return _Result(item, error)
    # Creating a layer slices it and renders its thumbnail; only adding it needs the GUI thread.
    return _Result(item, opened, Layer.create(*opened.layer))


def _identities(first: Mapping[str, Item]) -> dict[str, Mapping[str, str]]:
    """Read the patient's identity for each study, leaving out studies that cannot be read."""
    from tomochrome.io.dicom.header_reader import identity_of

    found = {}
    for done, (study, item) in enumerate(first.items()):
        check()
        report(done, len(first), "reading patient names")
        with suppress(TomochromeError):
            found[study] = identity_of(item)
    return found


class Previews(JobRunner):
    """Renders previews and emits each one; a new request stops the previous one."""

    made = Signal(object, object)  #: item, picture uint8 (y, x)
    _sent = Signal(object, object, object)  # with the request's task

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__("tomochrome previews", parent)
        self._sent.connect(self._pass_on)

    def make(self, items: Sequence[Item], size: int) -> None:
        """Render the previews of these items in the given order."""

        def work() -> None:
            # Imported here, in the worker: the decoders take a while to load.
            from tomochrome.io.preview import preview

            task = current()
            for item in items:
                check()
                try:
                    picture = preview(item, size)
                except Exception as error:
                    if task.cancelled:
                        raise
                    # The list already shows what is wrong with a series; a preview is optional,
                    # and one that fails must not stop the others.
                    _LOG.debug("no preview (%s)", type(error).__name__)
                    continue
                with suppress(RuntimeError):  # the panel may be gone already
                    self._sent.emit(task, item, picture)

        self.start(work, lambda _: None)

    def _pass_on(self, task: Task, item: Item, picture: object) -> None:
        if not task.cancelled:
            self.made.emit(item, picture)


class SeriesPicker(JobPanel):
    """Lists the series of a folder, a file, a DICOMDIR or a zip, and opens those chosen."""

    tab = "Series"
    job_name = "Opening the series"

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        # The list takes all available height.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self._searching = False
        self._failed: list[str] = []
        self.found: Found | None = None  #: what is listed
        self._drop = SameCall()
        self.previews = Previews(self)
        self.previews.made.connect(self.view.series.series.set_picture)
        view = self.view
        view.series.opened.connect(self.run)
        view.series.selectionModel().selectionChanged.connect(self._selection_changed)
        # A model reset clears the selection without emitting `selectionChanged`.
        view.series.series.modelReset.connect(self._selection_changed)
        view.folder.clicked.connect(self._ask_for_folder)
        view.file.clicked.connect(self._ask_for_file)
        view.names.toggled.connect(self._show_names)
        self._selection_changed()

    def make_view(self) -> PickerView:
        """Create the fields."""
        return PickerView(self)

    # Finding

    def look_at(self, path: Path) -> None:
        """List the series at a path in a worker; open the series at once if there is only one.

        A running search is stopped and its results are discarded.
        """

        def work() -> tuple[Found, Item | None]:
            from tomochrome import io

            found = io.find(path)
            return found, only_choice(found, path)

        self._begin(work, self._found, "Looking for series", self._not_found, searching=True)

    def show_found(self, found: Found) -> None:
        """List found series, replacing the current list and stopping a running search."""
        if self._searching and self.running:
            self.jobs.drop()
            self.ended()
        self.previews.drop()
        self.found = found
        self.view.show_found(found)
        self._selection_changed()
        self._make_previews()

    def show_dropped(self, found: Found) -> None:
        """List the series found at a dropped path, merged with those of the same drop."""
        self.show_found(_merge(self.found, found) if self._drop.is_running() else found)
        self._drop.remember()
        self.view.series.setFocus()

    def _found(self, result: tuple[Found, Item | None]) -> None:
        found, only = result
        self.show_found(found)
        if only is not None:
            QTimer.singleShot(0, partial(self._open_only, only))

    def _open_only(self, item: Item) -> None:
        if self.found is not None and item in self.found.items:
            self.open([item])

    def _not_found(self, error: Exception) -> None:
        # The current list is of another folder than the one that the message is about.
        from tomochrome.io import Found  # already imported by the worker

        self.show_found(Found(()))
        self.show_error(error)

    def _make_previews(self) -> None:
        size = round(PICTURE * self.devicePixelRatioF())
        missing = self.view.series.series.without_picture()
        if missing:
            self.previews.make(missing, size)

    def _show_names(self, shown: bool) -> None:
        """Show or hide the patients' identities in the headings; they are never stored."""
        if not shown or self.found is None:
            self._name({})
            return
        first = {item.study: item for item in reversed(self.found.items) if item.study}

        def work() -> Identities:
            return _identities(first)

        self._begin(work, self._name, "Reading patient names")

    def _name(self, identities: Identities) -> None:
        chosen = self.view.series.chosen()
        self.view.series.series.show_identities(identities)
        self.view.series.choose_items(chosen)

    def _ask_for_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open the scans in a folder")
        if path:
            self.look_at(Path(path))

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a scan, a DICOMDIR or a zip from a CD")
        if path:
            self.look_at(Path(path))

    # Opening

    def run(self) -> None:
        """Read the series selected in the list."""
        self.open(self.view.series.chosen())

    def open(self, items: list[Item]) -> None:
        """Read these items in a worker and add them to the viewer."""
        items = [item for item in items if can_be_opened(item)]
        if not items or self.running or self._released:
            return
        self._failed = []
        # Reading uses all processors; the previews resume afterwards.
        self.previews.drop()

        def work() -> list[_Result]:
            return [_open(item) for item in items]

        self._begin(work, self._read, "Reading")

    def _read(self, results: list[_Result]) -> None:
        for result in results:
            if isinstance(result.opened, Exception):
                self._failed.append(f"{wording.title_of(result.item)}: {result.opened}")
                continue
            announce(result.opened)
            # One layer per pass of the event loop, because adding a layer takes napari a while.
            QTimer.singleShot(0, partial(self._add, result.item, result.layer))
        if self._failed:
            self.view.message.say("\n".join(map(wording.sentence, self._failed)), "error")

    def _add(self, item: Item, layer: Any) -> None:
        if self._released:
            return
        self.viewer.add_layer(layer)
        prepare_viewer(self.viewer)
        if item in self.view.series.series.found:
            self.view.series.series.mark_opened(item)
        if not self._failed:
            self.say(f"Opened {layer.name}.")

    # Running

    def _begin(
        self, work: Work, done: Any, stage: str, failed: Any = None, *, searching: bool = False
    ) -> None:
        """Run a job in a worker, replacing the one that is running."""
        self._searching = searching
        self.view.show_running(True, searching=searching)
        self.view.show_progress(0, 0, stage)
        self.jobs.start(work, done, failed)

    def was_cancelled(self) -> None:
        """Report the cancellation."""
        done = "the list is unchanged" if self._searching else "nothing was opened"
        self.say(f"Cancelled; {done}.")
        self.view.names.setChecked(False)

    def ended(self) -> None:
        """Enable the fields again and resume the previews."""
        super().ended()
        self._selection_changed()
        if not self.previews.running:
            self._make_previews()

    def _selection_changed(self, *_: object) -> None:
        self.view.run.setEnabled(not self.running and bool(self.view.series.chosen()))

    def cleanup(self) -> None:
        """Stop running work and drop the reference to the viewer."""
        self.previews.drop()
        super().cleanup()
