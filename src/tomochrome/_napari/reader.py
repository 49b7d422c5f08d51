"""Reading DICOM folders and files, NIfTI, NRRD and MetaImage into CT layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from tomochrome._napari.layers import LayerTuple, volume_layer
from tomochrome.runtime import CancelToken, Progress
from tomochrome.volume import Volume

PathOrPaths = str | Sequence[str]

_VOLUME_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_DICOM_ENDINGS = (".dcm", ".ima", ".dicom")
_FILES_TO_LOOK_AT = 200


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerTuple]] | None:
    """Return the function that reads ``path``, or None if it is not for us.

    Only names and the first bytes of files are looked at here; several files are left to
    others, because which of a folder's slices belong together is the reader's to find out.
    """
    single = _single(path)
    if single is None or not (_is_volume(single) or _is_dicom(single)):
        return None
    return read_layers


def read_layers(path: PathOrPaths) -> list[LayerTuple]:
    """Read a volume in a worker thread and return its layer, or ``[(None,)]`` if cancelled.

    Raises
    ------
    TomochromeError
        If it cannot be read, in one sentence.
    """
    from tomochrome._napari.waiting import run_waiting
    from tomochrome.errors import Cancelled, InputError

    single = _single(path)
    if single is None:
        raise InputError("several files were given at once; open the folder that holds them")

    def work(progress: Progress | None, cancel: CancelToken | None) -> Volume:
        from tomochrome import io

        return io.read(single, progress=progress, cancel=cancel)

    try:
        volume = run_waiting(work, f"Reading {single.name}")
    except Cancelled:
        return [(None,)]  # type: ignore[list-item]  # npe2's sign for "read, but nothing to add"
    return [volume_layer(volume)]


def _single(path: PathOrPaths) -> Path | None:
    if isinstance(path, str):
        return Path(path)
    return Path(path[0]) if len(path) == 1 else None


def _is_volume(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(_VOLUME_ENDINGS)


def _is_dicom(path: Path) -> bool:
    if path.is_dir():
        files = (entry for entry in path.rglob("*") if entry.is_file())
        return any(map(_is_dicom_file, islice(files, _FILES_TO_LOOK_AT)))
    return path.is_file() and _is_dicom_file(path)


def _is_dicom_file(path: Path) -> bool:
    if path.name.upper() == "DICOMDIR" or path.name.lower().endswith(_DICOM_ENDINGS):
        return True
    try:
        with path.open("rb") as file:
            # The preamble and prefix of DICOM PS3.10, section 7.1.
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
