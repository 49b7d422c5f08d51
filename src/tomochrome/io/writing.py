"""Writing a volume in the format given by the file ending."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tomochrome.errors import OutputError
from tomochrome.formats import (
    COLORED_SCAN,
    GIF,
    NIFTI,
    NRRD,
    PAGE,
    PLY,
    SEGMENTATION,
    SEGMENTS,
    SHEET,
    STL,
    TISSUE_FORMATS,
    VIDEO,
    ZARR,
    Format,
    check_package,
    format_of,
)
from tomochrome.geometry.planes import parse_position
from tomochrome.io.dicom.dicom_write import (
    check_folder,
    check_slices,
    write_capture,
    write_series,
)
from tomochrome.io.dicom.source_study import SourceStudy
from tomochrome.io.dicom.tissue_segmentation import write_segmentation
from tomochrome.io.image_write import check_store, write_nifti, write_nrrd, write_ome_zarr
from tomochrome.io.page import write_color_page
from tomochrome.io.restored_mask import mask_path, mask_volume
from tomochrome.io.slice_pictures import (
    write_contact_sheet,
    write_gif,
    write_mp4,
    write_slice_picture,
)
from tomochrome.io.surfaces import write_surfaces
from tomochrome.io.tissue_segments import names_json, names_path, slicer_segmentation
from tomochrome.runtime import check_writable, write_group
from tomochrome.volume import Volume, require_volume

Writer = Callable[..., object]

_WRITERS: dict[Format, Writer] = {
    NIFTI: write_nifti,
    NRRD: write_nrrd,
    SHEET: write_contact_sheet,
    VIDEO: write_mp4,
    GIF: write_gif,
    PAGE: write_color_page,
    ZARR: write_ome_zarr,
    SEGMENTS: lambda volume, path: write_nrrd(slicer_segmentation(volume), path),
    STL: lambda volume, path: write_surfaces(volume, path),
    PLY: lambda volume, path: write_surfaces(volume, path),
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
    target = format_of(path)
    check_package(target)
    if target.is_folder:
        check_folder(Path(path), force=force)
        return Path(path)
    if target == ZARR:
        return check_store(Path(path), force=force)
    output = check_writable(path, force=force)
    if output.is_dir():
        raise OutputError(f"'{output}' is a folder; end the path in / or name a file in it")
    return output


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
    require_volume(volume, "what is written")
    target = format_of(path)
    if target == COLORED_SCAN:
        raise OutputError(
            f"{target.ending} holds a scan with its colors; write it with tomochrome.save_colored"
        )
    other_labels = target == SEGMENTS and volume.unit == "unknown"
    if target in TISSUE_FORMATS and volume.unit != "tissue" and not other_labels:
        raise OutputError(
            f"{target.name} ({target.ending}) holds tissue maps only; write another format"
        )
    if target.is_folder:
        if not volume.is_rgba and volume.unit != "HU":
            raise OutputError(
                f"a volume of unit {volume.unit} cannot be written as DICOM; use .nii.gz or .nrrd"
            )
        check_slices(volume)
    elif target.only_color and not volume.is_rgba:
        raise OutputError(
            f"{target.detail} ({target.ending}) needs a colored volume; light the volume first, "
            "or write .nii.gz or .nrrd"
        )


def write(
    volume: Volume,
    path: str | os.PathLike[str],
    *,
    study: SourceStudy | None = None,
    force: bool = False,
) -> None:
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
        ``.html`` (page for web browsers: RGBA only, so without HU and tissues, which
        `tomochrome.colorize_file` adds),
        ``.zarr`` (OME-Zarr), or a folder ending in ``/`` (DICOM: Secondary
        Capture for RGBA, CT for Hounsfield units). Tissue maps also ``.seg.nrrd`` (3D Slicer),
        ``.dcm`` (DICOM Segmentation), ``.stl`` and ``.ply`` (surfaces); beside a tissue map in
        NIfTI lies a JSON of names.
    study
        What `tomochrome.io.source_study` returned for the scan, if the Secondary Capture or the
        DICOM Segmentation is to join its study, with the identity of the patient.
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
    output = format_of(path)
    if output.is_folder:
        if volume.is_rgba:
            write_capture(volume, Path(path), study=study, force=force)
        else:
            write_series(volume, Path(path), force=force)
        return
    target = check_output(path, force=force)
    if output == SEGMENTATION:
        write_segmentation(volume, target, study=study, force=force)
        return
    others = companions(volume, target)
    with write_group([target, *others], force=force) as (temporary, *places):
        _WRITERS[output](volume, temporary)
        for place in places:
            if place.suffix == ".json":
                place.write_text(names_json(str(volume.provenance.extra["palette"])), "utf-8")
            else:
                write_mask(volume, place)


def write_slice(
    volume: Volume, path: str | os.PathLike[str], position: str, *, force: bool = False
) -> None:
    """Write one slice of a colored volume as a picture, atomically.

    It has orientation letters, a scale bar, its position and a caption, and is radiological: the
    patient's right, or in sagittal slices the front, is on the left.

    Parameters
    ----------
    volume
        RGBA.
    path
        A file that ends in ``.png``.
    position
        ``"x=MM"`` (sagittal), ``"y=MM"`` (coronal) or ``"z=MM"`` (axial) in LPS mm; the nearest
        slice is drawn.
    force
        Replace an existing file.

    Raises
    ------
    OptionError
        If the position is invalid or outside the volume.
    OutputError
        If the path cannot be written or has another ending, or the volume is not colored.
    Cancelled
        If the task was cancelled.
    """
    if format_of(path) != SHEET:
        raise OutputError(f"a picture of one slice ends in {SHEET.ending}, unlike '{path}'")
    check_fits(volume, path)
    where = parse_position(position, "the slice")
    with write_group([check_output(path, force=force)], force=force) as (temporary,):
        write_slice_picture(volume, temporary, where)


def write_mask(volume: Volume, path: Path) -> None:
    """Write the mask of restored voxels of a volume."""
    (write_nrrd if path.suffix == ".nrrd" else write_nifti)(mask_volume(volume), path)


def companions(volume: Volume, path: str | os.PathLike[str]) -> list[Path]:
    """Return the files that `write` creates beside ``path`` for a volume.

    Parameters
    ----------
    volume
        The volume to write.
    path
        Its path, as `write` takes it.

    Returns
    -------
    list of Path
        The mask of restored voxels, and the JSON of names beside a tissue map in NIfTI.
    """
    mask = None if volume.restored is None else mask_path(path)
    is_tissue_map = volume.unit == "tissue" and "palette" in volume.provenance.extra
    names = names_path(Path(path)) if is_tissue_map else None
    return [other for other in (mask, names) if other is not None]
