"""Reading DICOM (folders, files, DICOMDIR, zip), NIfTI, Analyze, NRRD and MetaImage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from tomochrome._napari.layers import VOLUME_ENDINGS, LayerTuple

PathOrPaths = str | Sequence[str]

_DICOM_ENDINGS = (".dcm", ".ima", ".dicom")
_FILES_TO_LOOK_AT = 200
#: npe2's sign for "read, but nothing to add".
_NOTHING: list[LayerTuple] = [(None,)]  # type: ignore[list-item]


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerTuple]] | None:
    """Return the function that reads ``path``, or None if it is not for us.

    Only names and the first bytes of files are looked at here; several files are left to
    others, because which of a folder's slices belong together is the reader's to find out.
    """
    single = _single(path)
    return read_layers if single is not None and _is_ours(single) else None


def read_layers(path: PathOrPaths) -> list[LayerTuple]:
    """Read the volume at a path in a worker thread and return its layer.

    Where there are several to choose from, the picker opens in the current viewer instead.
    Then, and when the user cancels, ``[(None,)]`` is returned: nothing to add.

    Raises
    ------
    TomochromeError
        If it cannot be read, in one sentence; without a viewer, also if there are several.
    """
    from napari import current_viewer

    from tomochrome._napari.jobs import run_waiting
    from tomochrome._napari.viewer_setup import prepare_viewer
    from tomochrome.errors import Cancelled, InputError

    single = _single(path)
    if single is None:
        raise InputError("several files were given at once; open the folder that holds them")

    def work() -> Any:
        # Imported here, in the worker: readers and decoders take a while to load.
        from tomochrome._napari.opening import find_or_read

        return _load_units(), find_or_read(single)

    viewer = current_viewer()
    if viewer is not None:
        prepare_viewer(viewer)  # first, because its letters are drawn while the file is read
    try:
        units, result = run_waiting(work, "Opening the scan")
    except Cancelled:
        return _NOTHING
    from tomochrome._napari.opening import Opened, announce

    _use_units(units)
    if isinstance(result, Opened):
        announce(result)
        return [result.layer]
    return _let_choose(viewer, result, single)


def _let_choose(viewer: Any, found: Any, path: Path) -> list[LayerTuple]:
    """Show the picker in the viewer; without one, take the only choice or refuse."""
    if viewer is None:
        from tomochrome._napari.opening import open_item
        from tomochrome.io.reading import choose

        return [open_item(choose(found, path)).layer]
    from tomochrome._napari.picker import show_picker

    show_picker(viewer, found)
    return _NOTHING


def _single(path: PathOrPaths) -> Path | None:
    if isinstance(path, str):
        return Path(path)
    return Path(path[0]) if len(path) == 1 else None


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        files = (entry for entry in path.rglob("*") if entry.is_file())
        return any(map(_is_our_file, islice(files, _FILES_TO_LOOK_AT)))
    is_zip = path.name.lower().endswith(".zip")  # what is in it shows on reading
    return path.is_file() and (_is_our_file(path) or (is_zip and _begins_as(path, "zip")))


def _is_our_file(path: Path) -> bool:
    name = path.name.lower()
    known = name == "dicomdir" or name.endswith((*VOLUME_ENDINGS, *_DICOM_ENDINGS))
    return known or _begins_as(path, "dicom")


def _begins_as(path: Path, kind: str) -> bool:
    """Whether a file's first bytes are those of a format, see `tomochrome.io.sniff`."""
    from tomochrome.io.sniff import sniff

    with suppress(OSError):
        return sniff(path) == kind
    return False


def _load_units() -> Any:
    """Return a registry of pint's own units, or None if the application has one already.

    napari needs them with the first layer, and reading them takes some tenths of a second. Call it
    in a worker, and `_use_units` in the GUI thread: pint's own registry must not be read by two
    threads at once.
    """
    from pint import UnitRegistry

    return UnitRegistry() if _unread() else None


def _use_units(registry: Any) -> None:
    """Make it the application's registry, unless that has been read or replaced meanwhile."""
    import pint

    if registry is not None and _unread():
        pint.set_application_registry(registry)


def _unread() -> bool:
    import pint
    from pint.registry import LazyRegistry

    return isinstance(pint.application_registry.get(), LazyRegistry)
