"""Writing a volume in the format given by the file ending."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from tomochrome.errors import OutputError
from tomochrome.formats import GIF, NIFTI, NRRD, SHEET, VIDEO, ZARR, Format, format_of
from tomochrome.io.dicom.dicom_write import (
    check_folder,
    check_slices,
    write_capture,
    write_series,
)
from tomochrome.io.image_write import check_store, write_nifti, write_nrrd, write_ome_zarr
from tomochrome.io.restored_mask import companions, mask_volume
from tomochrome.io.slice_pictures import write_contact_sheet, write_gif, write_mp4
from tomochrome.runtime import check_writable, write_group
from tomochrome.volume import Volume

Writer = Callable[..., None]

_WRITERS: dict[Format, Writer] = {
    NIFTI: write_nifti,
    NRRD: write_nrrd,
    SHEET: write_contact_sheet,
    VIDEO: write_mp4,
    GIF: write_gif,
    ZARR: write_ome_zarr,
}


def check_output(path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Check, before a long computation, that `write` supports the format and can write there.

    Parameters
    ----------
    path, force
        As for `tomochrome.runtime.check_writable`.

    Returns
    -------
    Path
        ``path`` as a `Path`.

    Raises
    ------
    OutputError
        If the format is unknown or needs a package that is not installed, or the path cannot be
        written.
    """
    wanted = format_of(path)
    check_package(wanted)
    if wanted.is_folder:
        check_folder(Path(path), force=force)
        return Path(path)
    if wanted == ZARR:
        return check_store(Path(path), force=force)
    target = check_writable(path, force=force)
    if target.is_dir():
        raise OutputError(f"'{target}' is a folder; end the path in / or name a file in it")
    return target


def check_package(wanted: Format) -> None:
    """Check that the package that a format needs is installed.

    Raises
    ------
    OutputError
        If it is not.
    """
    if wanted.package and find_spec(wanted.package) is None:
        raise OutputError(
            f"{wanted.ending} needs the package {wanted.package}; install it with "
            f"pip install {wanted.package}, or choose another format"
        )


def check_fits(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Check, before a long computation, that the output format can hold such a volume.

    Parameters
    ----------
    volume
        A volume with the unit and number of channels of the output.
    path
        As `write` takes it.

    Raises
    ------
    OutputError
        If the format holds only colors, or only colors and Hounsfield units, or is DICOM and the
        volume's axes are not orthogonal.
    """
    wanted = format_of(path)
    if wanted.is_folder:
        if not volume.is_rgba and volume.unit != "HU":
            raise OutputError(
                f"a volume of unit {volume.unit} cannot be written as DICOM; use .nii.gz or .nrrd"
            )
        check_slices(volume)
    elif wanted.only_color and not volume.is_rgba:
        raise OutputError(
            f"{wanted.detail} ({wanted.ending}) needs a colored volume; light the volume first, "
            "or write .nii.gz or .nrrd"
        )


def write(volume: Volume, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write a volume in the format given by the ending of ``path``, atomically.

    Parameters
    ----------
    volume
        RGBA or scalar. ``volume.provenance.extra`` may hold ``model``, ``window`` and
        ``description`` (strings), which are written into the file's metadata. The mask of restored
        voxels is kept: beside NIfTI and NRRD in a file of its own
        (`tomochrome.io.restored_mask.mask_path`), in a DICOM folder as a segmentation, in
        OME-Zarr as labels; pictures are hatched.
    path
        ``.nii.gz`` or ``.nii`` (RGBA32, RGB24 if lit opaque, or scalar), ``.nrrd``,
        ``.png`` (contact sheet), ``.mp4`` or ``.gif`` (cine of all slices; these three RGBA only),
        ``.zarr`` (OME-Zarr), or a folder ending in ``/`` (DICOM: Secondary
        Capture for RGBA, CT for Hounsfield units).
    force
        Replace an existing output.

    Raises
    ------
    OutputError
        If the format is unknown or does not fit the volume, or the path cannot be written.
    Cancelled
        If the task was cancelled.
    """
    check_fits(volume, path)
    if format_of(path).is_folder:
        (write_capture if volume.is_rgba else write_series)(volume, Path(path), force=force)
        return
    writer = _WRITERS[format_of(path)]
    target = check_output(path, force=force)
    masks = companions(volume, target)
    with write_group([target, *masks], force=force) as (temporary, *places):
        writer(volume, temporary)
        for place in places:
            _WRITERS[format_of(place)](mask_volume(volume), place)
