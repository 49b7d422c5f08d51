"""The panel "Choose a series": what a folder, a file or a CD holds, to open with a double click."""

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
    """Remembers a call of napari's, and tells whether it is still under way.

    napari opens the paths of one drop one after the other, each with a call of the reader, and
    does not say that they belong together; but all of these calls come from one call of
    `open`, which is on the stack until the last path was opened. A clock cannot tell: a folder
    on a slow disk takes longer to look through than a user takes to drop the next.
    """

    def __init__(self) -> None:
        self._frame: FrameType | None = None

    def goes_on(self) -> bool:
        """Whether the call that was remembered leads to this one too."""
        return self._frame is not None and any(frame is self._frame for frame in _stack())

    def remember(self) -> None:
        """Remember napari's call that leads here; nothing where a reader is called directly."""
        self._frame = _outermost_of_napari()
        QTimer.singleShot(0, self._forget_when_over)

    def _forget_when_over(self) -> None:
        """Let go of the call as soon as it is over, and with it of all that it worked on."""
        if self.goes_on():  # napari runs the event loop meanwhile, to draw its progress
            QTimer.singleShot(_CHECK_MS, self._forget_when_over)
        else:
            self._frame = None


def _stack() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _outermost_of_napari() -> FrameType | None:
    """Return the outermost of the calls within napari that lead here, inside its event loop."""
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
    """Show what was found in the viewer's picker, docking one if there is none yet.

    The last request wins: it takes the place of what is listed, and stops a search that is
    under way. Only folders that were dropped together are listed together.
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


def _together(first: Found | None, second: Found) -> Found:
    """Return what was found at two paths; a folder that was dropped twice is listed once."""
    if first is None:
        return second
    known = {(item.path, item.name) for item in first.items}
    items = [item for item in second.items if (item.path, item.name) not in known]
    skipped = dict.fromkeys((*first.skipped, *second.skipped))
    return replace(first, items=(*first.items, *items), skipped=tuple(skipped))


@dataclass(frozen=True, eq=False)
class _Result:
    """What became of one item: its layer, or why not."""

    item: Item
    opened: Opened | TomochromeError
    layer: Any = None


def _open(item: Item) -> _Result:
    """Read one item of several; one that cannot be read must not cost the others."""
    from napari.layers import Layer

    try:
        opened = open_item(item)
    except Cancelled:
        raise
    except TomochromeError as error:
        return _Result(item, error)
    # Making a layer slices it and draws its thumbnail; only adding it is for the window.
    return _Result(item, opened, Layer.create(*opened.layer))


def _identities(first: Mapping[str, Item]) -> dict[str, Mapping[str, str]]:
    """Read of each study who the patient is; a study that cannot be read keeps its number."""
    from tomochrome.io.dicom.headers import identity_of

    found = {}
    for done, (study, item) in enumerate(first.items()):
        check()
        report(done, len(first), "reading patient names")
        with suppress(TomochromeError):
            found[study] = identity_of(item)
    return found


class Previews(JobRunner):
    """Makes previews and emits each; a new request stops the one before it."""

    made = Signal(object, object)  #: item, picture uint8 (y, x)
    _sent = Signal(object, object, object)  # with the request's task

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__("tomochrome previews", parent)
        self._sent.connect(self._pass_on)

    def make(self, items: Sequence[Item], size: int) -> None:
        """Make the previews of these items, in this order."""

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
                    # The list says what is wrong with a series; a preview is only a help, and
                    # the one that fails must not cost the others.
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
    what = "This"

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        # The list takes all the height there is.
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
        view.series.series.modelReset.connect(self._selection_changed)  # tells of no change
        view.folder.clicked.connect(self._ask_for_folder)
        view.file.clicked.connect(self._ask_for_file)
        view.names.toggled.connect(self._show_names)
        self._selection_changed()

    def make_view(self) -> PickerView:
        """Make the parts of the panel."""
        return PickerView(self)

    # Finding

    def look_at(self, path: Path) -> None:
        """List what is at a path, in a worker; open it at once if there is no choice.

        A search that is under way is stopped, and what it finds is not shown.
        """

        def work() -> tuple[Found, Item | None]:
            from tomochrome import io

            found = io.find(path)
            return found, only_choice(found, path)

        self._begin(work, self._found, "Looking for series", self._not_found, searching=True)

    def show_found(self, found: Found) -> None:
        """List what was found, instead of what is listed and of what a search may still find."""
        if self._searching and self.running:
            self.jobs.drop()
            self.ended()
        self.previews.drop()
        self.found = found
        self.view.show_found(found)
        self._selection_changed()
        self._make_previews()

    def show_dropped(self, found: Found) -> None:
        """List what was found at a dropped path, together with those dropped with it."""
        self.show_found(_together(self.found, found) if self._drop.goes_on() else found)
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
        # What is listed is of another folder than the one that the message is about.
        from tomochrome.io import Found  # the worker has imported it

        self.show_found(Found(()))
        self.show_error(error)

    def _make_previews(self) -> None:
        size = round(PICTURE * self.devicePixelRatioF())
        missing = self.view.series.series.without_picture()
        if missing:
            self.previews.make(missing, size)

    def _show_names(self, shown: bool) -> None:
        """Say in the headings who the patients are, or say it no more; only shown, never kept."""
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
        """Read the series that are chosen in the list."""
        self.open(self.view.series.chosen())

    def open(self, items: list[Item]) -> None:
        """Read these items in a worker and add them to the viewer."""
        items = [item for item in items if can_be_opened(item)]
        if not items or self.running or self._released:
            return
        self._failed = []
        # Reading takes all processors there are; the previews go on afterwards.
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
            # Each in a turn of the event loop of its own: napari takes a while over one layer.
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
        """Do work in a thread, instead of what is under way: the last request wins."""
        self._searching = searching
        self.view.show_running(True, searching=searching)
        self.view.show_progress(0, 0, stage)
        self.jobs.start(work, done, failed)

    def was_cancelled(self) -> None:
        """Say what the cancel left."""
        done = "the list is as it was" if self._searching else "nothing was opened"
        self.say(f"Cancelled; {done}.")
        self.view.names.setChecked(False)

    def ended(self) -> None:
        """Switch the parts back, and go on with the previews."""
        super().ended()
        self._selection_changed()
        if not self.previews.running:
            self._make_previews()

    def _selection_changed(self, *_: object) -> None:
        self.view.run.setEnabled(not self.running and bool(self.view.series.chosen()))

    def let_go(self) -> None:
        """Stop what is under way and let go of the viewer."""
        self.previews.drop()
        super().let_go()
