"""Previews of series, made in a worker one after another while the list already stands."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from tomochrome._napari.jobs import Job
from tomochrome.runtime import CancelToken, Progress, check

if TYPE_CHECKING:
    from tomochrome.io import Item

_LOG = logging.getLogger(__name__)


class Previews(QObject):
    """Makes previews and emits each; a new request stops the one before it."""

    made = Signal(int, object, object)  #: number of the request, item, picture uint8 (y, x)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._job: Job | None = None
        self.request = 0

    def start(self, items: Sequence[Item], size: int) -> None:
        """Make the previews of these items, in this order."""
        self.stop()
        if not items:
            return
        number = self.request

        def work(progress: Progress, cancel: CancelToken) -> None:
            # Imported here, in the worker: the decoders take a while to load.
            from tomochrome.io.preview import preview

            for item in items:
                check(cancel)
                try:
                    picture = preview(item, size, cancel)
                except Exception as error:
                    if cancel.cancelled:
                        raise
                    # The list says what is wrong with a series; a preview is only a help, and
                    # the one that fails must not cost the others.
                    _LOG.debug("no preview (%s)", type(error).__name__)
                    continue
                with suppress(RuntimeError):  # the panel may be gone already
                    self.made.emit(number, item, picture)

        self._job = Job(work, name="tomochrome previews")
        self._job.start()

    def stop(self) -> None:
        """Stop; what is still under way is not emitted under the new number."""
        self.request += 1
        if self._job is not None:
            self._job.cancel()
            self._job = None

    @property
    def running(self) -> bool:
        """Whether previews are being made."""
        return self._job is not None and self._job.running
