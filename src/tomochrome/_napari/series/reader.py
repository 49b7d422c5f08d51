"""Reading DICOM (folders, files, DICOMDIR, zip), NIfTI, Analyze, NRRD and MetaImage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pint
from napari import current_viewer
from pint.registry import LazyRegistry

from tomochrome._napari.kit.jobs import run_waiting
from tomochrome._napari.kit.notifications import show_message, unfold_messages
from tomochrome._napari.layers.volume_layers import VOLUME_ENDINGS, LayerTuple
from tomochrome._napari.series.opening import (
    Opened,
    announce,
    find_or_read,
    open_calls,
    open_item,
)
from tomochrome._napari.series.recent_scans import note_opened
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.errors import Cancelled, InputError, TomochromeError
from tomochrome.io.image_formats import sniff
from tomochrome.notices import sentence

PathOrPaths = str | Sequence[str]

_DICOM_ENDINGS = (".dcm", ".ima", ".dicom")
_MAX_FILES = 200
#: npe2's value for "read, but no layer to add".
_NOTHING: list[LayerTuple] = [(None,)]  # type: ignore[list-item]


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerTuple]] | None:
    """Return the function that reads ``path``, or None if this plugin does not read it.

    Only names and the first bytes of files are checked. Several files are not accepted: the
    reader needs the folder to find the slices that belong together. Of several items that are
    opened at once, each is: reading one then says what is wrong with it, where napari would show a
    traceback and not open those after it.
    """
    single = _single(path)
    if single is None:
        return None
    return read_layers if _is_readable(single) or _is_one_of_several() else None


def read_layers(path: PathOrPaths) -> list[LayerTuple]:
    """Read the volume at a path in a worker thread and return its layer.

    If there are several volumes, the picker opens in the current viewer instead. In this case, and
    if the user cancels, ``[(None,)]`` is returned, which adds no layer; also for a path that cannot
    be read if several are opened at once, because napari would not open those after it.

    Raises `TomochromeError` if the path cannot be read, or holds several volumes and there is no
    viewer.
    """
    single = _single(path)
    if single is None:
        raise InputError("several files were given at once; open the folder that contains them")

    def work() -> Any:
        # napari needs units for the first layer, and loading them takes a few tenths of a second.
        # pint's own registry must not be loaded by two threads at once, so it is set afterwards.
        return pint.UnitRegistry() if _units_missing() else None, find_or_read(single)

    viewer = current_viewer()
    if viewer is not None:
        unfold_messages()
        prepare_viewer(viewer)  # first, so that its overlays are drawn while the file is read
    try:
        units, result = run_waiting(work, "Opening the scan")
    except Cancelled:
        return _NOTHING
    except TomochromeError as error:
        if viewer is None or not _is_one_of_several():
            raise
        show_message(sentence(error), "error")
        return _NOTHING
    note_opened(single)
    if units is not None and _units_missing():  # unless loaded or replaced meanwhile
        pint.set_application_registry(units)
    if isinstance(result, Opened):
        announce(result)
        return [result.layer]
    if viewer is None:
        from tomochrome.io.reading import choose

        return [open_item(choose(result, single)).layer]
    from tomochrome._napari.series.series_picker import show_picker

    show_picker(viewer, result)
    return _NOTHING


def _single(path: PathOrPaths) -> Path | None:
    if isinstance(path, str):
        return Path(path)
    return Path(path[0]) if len(path) == 1 else None


def _is_one_of_several() -> bool:
    return any(call.total > 1 for call in open_calls())


def _is_readable(path: Path) -> bool:
    if path.is_dir():
        files = (entry for entry in path.rglob("*") if entry.is_file())
        return any(map(_is_readable_file, islice(files, _MAX_FILES)))
    is_zip = path.name.lower().endswith(".zip")  # its content is checked on reading
    return path.is_file() and (_is_readable_file(path) or (is_zip and _has_format(path, "zip")))


def _is_readable_file(path: Path) -> bool:
    name = path.name.lower()
    by_name = name == "dicomdir" or name.endswith((*VOLUME_ENDINGS, *_DICOM_ENDINGS))
    return by_name or _has_format(path, "dicom")


def _has_format(path: Path, kind: str) -> bool:
    """Whether the first bytes of a file are those of a format (`tomochrome.io.image_formats`)."""
    with suppress(OSError):
        return sniff(path) == kind
    return False


def _units_missing() -> bool:
    return isinstance(pint.application_registry.get(), LazyRegistry)
