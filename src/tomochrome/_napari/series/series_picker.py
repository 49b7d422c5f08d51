"""The "Choose a series" panel: lists the series in a folder, file or CD, and opens them."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from napari.layers import Layer
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QWidget,
)
from superqt.utils import signals_blocked

from tomochrome import io
from tomochrome._napari.kit.controls import MessageLabel, stacked
from tomochrome._napari.kit.jobs import JobRunner, Work
from tomochrome._napari.kit.narrow_widgets import ElidedComboBox, WrappingRow, elided
from tomochrome._napari.kit.panel_bases import JobPanel, JobView
from tomochrome._napari.kit.theme import mixed, text_and_background
from tomochrome._napari.series import recent_scans
from tomochrome._napari.series import scan_wording as wording
from tomochrome._napari.series.opening import (
    Opened,
    announce,
    only_choice,
    open_calls,
    open_item,
)
from tomochrome._napari.series.series_list import PICTURE, SeriesList
from tomochrome._napari.series.series_order import ORDERS, Identities, can_be_opened, counts
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.errors import Cancelled, TomochromeError
from tomochrome.notices import sentence
from tomochrome.runtime import Task, check, current, report

_LOG = logging.getLogger(__name__)
DOCK_NAME = "Choose a series"
_HINT = "Open a folder, a scan, a DICOMDIR or a zip file from a CD."
_MAX_MENU_PX = 420
_LIST_KEYS = (Qt.Key.Key_Down, Qt.Key.Key_Up, Qt.Key.Key_PageDown, Qt.Key.Key_PageUp)


def show_picker(viewer: Any, listing: io.Listing) -> SeriesPicker:
    """List the series of a search in the viewer's picker, docking one if there is none yet.

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
    picker.show_dropped(listing)
    return picker


def _merge(first: io.Listing | None, second: io.Listing) -> io.Listing:
    """Merge the search results of two paths, without duplicates."""
    if first is None:
        return second
    listed = {(item.path, item.name) for item in first.items}
    items = [item for item in second.items if (item.path, item.name) not in listed]
    skipped = dict.fromkeys((*first.skipped, *second.skipped))
    return replace(first, items=(*first.items, *items), skipped=tuple(skipped))


@dataclass(frozen=True, eq=False)
class _Result:
    """The result of opening one item: its layer, or the error."""

    item: io.Item
    opened: Opened | TomochromeError
    layer: Any = None


def _open(item: io.Item) -> _Result:
    """Read one of several items; an error does not affect the others."""
    try:
        opened = open_item(item)
    except Cancelled:
        raise
    except TomochromeError as error:
        return _Result(item, error)
    # Creating a layer slices it and renders its thumbnail; only adding it needs the GUI thread.
    return _Result(item, opened, Layer.create(*opened.layer))


def _identities(first: Mapping[str, io.Item]) -> dict[str, Mapping[str, str]]:
    """Read the patient's identity for each study, leaving out studies that cannot be read."""
    from tomochrome.io.dicom.header_reader import identity_of

    identities = {}
    for done, (study, item) in enumerate(first.items()):
        check()
        report(done, len(first), "reading patient names")
        with suppress(TomochromeError):
            identities[study] = identity_of(item)
    return identities


class Previews(JobRunner):
    """Renders previews and emits each one; a new request stops the previous one."""

    made = Signal(object, object)  #: item, picture uint8 (y, x)
    _sent = Signal(object, object, object)  # with the request's task

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__("tomochrome previews", parent)
        self._sent.connect(self._pass_on)

    def make(self, items: Sequence[io.Item], size: int) -> None:
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

    def _pass_on(self, task: Task, item: io.Item, picture: object) -> None:
        if not task.cancelled:
            self.made.emit(item, picture)


class _SearchField(QLineEdit):
    """The search field: arrow keys move in the list and Escape clears the text."""

    def __init__(self, picker: PickerView) -> None:
        super().__init__(picker)
        self._picker = picker
        self.setPlaceholderText("Search: title, modality, size …")
        self.setToolTip(
            "Searches title, modality, size, verdict, series number and study description"
        )
        self.setClearButtonEnabled(True)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Handle a key."""
        if event.key() in _LIST_KEYS:
            self._picker.series.setFocus()
            self._picker.series.keyPressEvent(event)
        elif event.key() == Qt.Key.Key_Escape and self.text():
            self.clear()
        else:
            super().keyPressEvent(event)


class PickerView(JobView):
    """The fields, from top to bottom: source, summary, search, list, skipped files, Open."""

    reopened = Signal(object)  #: a path of the list of recent scans

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, "Open")
        self.folder = QPushButton("Open folder …", self)
        self.file = QPushButton("Open file …", self)
        self.recent = QPushButton("Recent", self)
        self.recent.setToolTip("Folders and files that were opened last")
        self.recent.setMenu(QMenu(self.recent))
        self.recent.menu().setToolTipsVisible(True)
        self.recent.menu().aboutToShow.connect(self._list_recent)
        self.summary = QLabel(_HINT, self)
        self.summary.setWordWrap(True)
        self.search = _SearchField(self)
        self.order = ElidedComboBox(self)
        self.order.setToolTip("Sort order of the series in each study; by slices lists CT first")
        for order, words in ORDERS.items():
            self.order.addItem(words, order)
        self.names = QCheckBox("Show patient names", self)
        self.names.setToolTip(
            "Show name, birth date, ID and study date in this list only; they are not stored"
        )
        self.series = SeriesList(self)
        self.skipped = QToolButton(self)
        self.skipped.setCheckable(True)
        self.skipped.setAutoRaise(True)
        self.skipped.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.reasons = MessageLabel("plain", self)
        self.progress.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.locked = self.series, self.search, self.order, self.names
        self._items: tuple[io.Item, ...] = ()
        stacked(
            self,
            WrappingRow((self.folder, 1), (self.file, 1), (self.recent, 1)),
            self.summary,
            self.search,
            WrappingRow((self.order, 1), self.names),
            (self.series, 1),
            self.skipped,
            self.reasons,
            self.progress,
            self.message,
            self.buttons,
        )
        stacked(parent, self, margins=0)
        self.skipped.toggled.connect(self._show_reasons)
        self.search.textChanged.connect(self._search)
        self.search.returnPressed.connect(self.series.opened)
        self.order.activated.connect(self._sort)
        self.series.typed.connect(self._type)
        self._show_skipped("", [])
        self._show_tools()

    def show_listing(self, listing: io.Listing) -> None:
        """List the items, their number and the number of skipped files."""
        self._items = listing.items
        with signals_blocked(self.search), signals_blocked(self.names):
            self.search.clear()
            self.names.setChecked(False)
        self.series.series.search("")
        self.series.series.show(listing.items)
        self._show_tools()
        self._show_summary()
        self._show_skipped(*wording.describe_skipped(listing.skipped))
        self.message.say("", "plain")
        self.series.choose_items(())
        self.series.scrollToTop()
        # A panel that is being docked has no height yet, so scroll later.
        QTimer.singleShot(0, self.series.show_chosen)

    def changeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Make the placeholder text legible in a new theme; Qt's own color is half transparent."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange and hasattr(self, "search"):
            hint = mixed(*text_and_background(self.search), 0.8).name()
            style = f"placeholder-text-color: {hint};"
            if style != self.search.styleSheet():
                self.search.setStyleSheet(style)

    def _list_recent(self) -> None:
        menu = self.recent.menu()
        menu.clear()
        paths = recent_scans.recent_paths()
        for path in paths:
            name = elided(menu, f"{path.name}   ({path.parent})".replace("&", "&&"), _MAX_MENU_PX)
            action = menu.addAction(name, lambda path=path: self.reopened.emit(path))
            action.setToolTip(str(path))
        menu.addSeparator()
        menu.addAction("Clear the list", recent_scans.clear_recent).setEnabled(bool(paths))
        kept = menu.addAction("Keep a list")
        kept.setCheckable(True)
        kept.setChecked(recent_scans.keeps_recent())
        kept.triggered.connect(recent_scans.keep_recent)

    def _show_tools(self) -> None:
        several = len(self._items) > 1
        self.search.setVisible(several)
        self.order.setVisible(several)
        self.names.setVisible(any(item.patient for item in self._items))

    def _show_summary(self) -> None:
        shown, total = len(self.series.series.items), len(self._items)
        if shown < total:
            self.summary.setText(f"{shown} of {total} match the search.")
        else:
            self.summary.setText(_count(self._items))

    def _search(self, text: str) -> None:
        chosen = self.series.chosen()
        self.series.series.search(text)
        self.series.choose_items(chosen)
        self._show_summary()

    def _sort(self, index: int) -> None:
        chosen = self.series.chosen()
        self.series.series.sort_by(self.order.itemData(index))
        self.series.choose_items(chosen)

    def _type(self, text: str) -> None:
        if self.search.isVisible():
            self.search.setFocus()
            self.search.insert(text)

    def _show_skipped(self, line: str, reasons: list[tuple[int, str]]) -> None:
        self.skipped.setText(line)
        self.skipped.setVisible(bool(line))
        self.skipped.setChecked(False)
        self._reasons = "\n".join(f"{count} × {reason}" for count, reason in reasons)
        self.skipped.setToolTip(self._reasons)
        self._show_reasons(False)

    def _show_reasons(self, shown: bool) -> None:
        self.skipped.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
        self.reasons.say(self._reasons if shown else "")

    def show_running(self, running: bool, *, searching: bool = False) -> None:
        """Enable or disable the fields for a job; a running search can be replaced by another."""
        super().show_running(running)
        self.cancel.setVisible(running)
        for part in (self.folder, self.file, self.recent):
            part.setEnabled(searching or not running)


def _count(items: tuple[io.Item, ...]) -> str:
    """Return a summary: the number of series, studies and patients, and how to open one."""
    if not items:
        return "No scan that can be opened was found here."
    patients, studies = counts(items)
    noun = "series" if all(item.study for item in items) else "series and volumes"
    summary = f"{len(items)} {noun}"
    if studies > 1:
        of = f" of {patients} patients" if patients > 1 else " of one patient"
        summary += f", {studies} studies{of}"
    readable = sum(map(can_be_opened, items))
    if readable < len(items):
        summary += f"; {readable} can be opened"
    return f"{summary}. Double-click one to open it."


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
        self.listing: io.Listing | None = None  #: what is listed
        self._calls: weakref.WeakSet[Any] = weakref.WeakSet()  # that opened what is listed
        self.previews = Previews(self)
        self.previews.made.connect(self.view.series.series.set_picture)
        view = self.view
        view.series.opened.connect(self.run)
        view.series.selectionModel().selectionChanged.connect(self._selection_changed)
        # A model reset clears the selection without emitting `selectionChanged`.
        view.series.series.modelReset.connect(self._selection_changed)
        view.folder.clicked.connect(self._ask_for_folder)
        view.file.clicked.connect(self._ask_for_file)
        view.reopened.connect(self.look_at)
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

        def work() -> tuple[io.Listing, io.Item | None]:
            listing = io.find(path)
            return listing, only_choice(listing, path)

        def listed(result: tuple[io.Listing, io.Item | None]) -> None:
            recent_scans.note_opened(path)
            self._listed(result)

        self._begin(work, listed, "Looking for series", self._search_failed, searching=True)

    def show_listing(self, listing: io.Listing) -> None:
        """List the series of a search, replacing the current list and stopping a running search."""
        if self._searching and self.running:
            self.jobs.drop()
            self.ended()
        self.previews.drop()
        self.listing = listing
        self.view.show_listing(listing)
        self._selection_changed()
        self._make_previews()

    def show_dropped(self, listing: io.Listing) -> None:
        """List the series found at a dropped path, merged with those of the same drop."""
        calls = open_calls()
        same_drop = any(call in self._calls for call in calls)
        self.show_listing(_merge(self.listing, listing) if same_drop else listing)
        self._calls = weakref.WeakSet(calls)
        self.view.series.setFocus()

    def _listed(self, result: tuple[io.Listing, io.Item | None]) -> None:
        listing, only = result
        self.show_listing(listing)
        if only is not None:
            QTimer.singleShot(0, partial(self._open_only, only))

    def _open_only(self, item: io.Item) -> None:
        if self.listing is not None and item in self.listing.items:
            self.open([item])

    def _search_failed(self, error: Exception) -> None:
        # The current list is of another folder than the one that the message is about.
        self.show_listing(io.Listing(()))
        self.show_error(error)

    def _make_previews(self) -> None:
        size = round(PICTURE * self.devicePixelRatioF())
        missing = self.view.series.series.without_picture()
        if missing:
            self.previews.make(missing, size)

    def _show_names(self, shown: bool) -> None:
        """Show or hide the patients' identities in the headings; they are never stored."""
        if not shown or self.listing is None:
            self._name({})
            return
        first = {item.study: item for item in reversed(self.listing.items) if item.study}
        self._begin(partial(_identities, first), self._name, "Reading patient names")

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

    def open(self, items: list[io.Item]) -> None:
        """Read these items in a worker and add them to the viewer."""
        items = [item for item in items if can_be_opened(item)]
        if not items or self.running or self.released:
            return
        self._failed = []
        # Reading uses all processors; the previews resume afterwards.
        self.previews.drop()
        self._begin(lambda: [_open(item) for item in items], self._read, "Reading")

    def _read(self, results: list[_Result]) -> None:
        for result in results:
            if isinstance(result.opened, Exception):
                self._failed.append(f"{wording.title_of(result.item)}: {result.opened}")
                continue
            announce(result.opened)
            # One layer per pass of the event loop, because adding a layer takes napari a while.
            QTimer.singleShot(0, partial(self._add, result.item, result.layer))
        if self._failed:
            self.view.message.say("\n".join(map(sentence, self._failed)), "error")

    def _add(self, item: io.Item, layer: Any) -> None:
        if self.released:
            return
        self.viewer.add_layer(layer)
        prepare_viewer(self.viewer)
        if item in self.view.series.series.all_items:
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
