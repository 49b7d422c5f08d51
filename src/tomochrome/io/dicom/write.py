"""Writing a volume in Hounsfield units as a classic CT series.

The slices lie as the volume's axes do: axial, sagittal, coronal, oblique, mirrored or not. A
slice plane has no handedness, so any three axes at right angles can be written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    RE_VALID_UID,
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from tomochrome.errors import OutputError
from tomochrome.geometry.affine import decompose, is_orthogonal
from tomochrome.io.dicom.warning_capture import captured_warnings
from tomochrome.runtime import check, check_writable, clear_leftovers, report, write_whole
from tomochrome.volume import ScannerWindow, Volume

ANONYMOUS: Final = "TOMOCHROME^ANONYMOUS"
_INTERCEPT: Final = -1024
_LEAST_J2K: Final = 32  # OpenJPEG makes six resolutions, each half as large as the last
_MOST_PIXELS: Final = 65535  # Rows and Columns are 16-bit numbers
_PADDING: Final = (-2000, -32768)
"""Stored values for what lies outside the scan: what scanners write, or the least there is."""
_WINDOWS: Final = (
    ScannerWindow("SOFT TISSUE", 50.0, 400.0), ScannerWindow("LUNG", -600.0, 1500.0),
)  # fmt: skip
PatientPosition = Literal["", "HFS", "HFP", "HFDL", "HFDR", "FFS", "FFP", "FFDL", "FFDR"]


def write_series(
    volume: Volume,
    folder: str | os.PathLike[str],
    *,
    description: str = "",
    series_uid: str | None = None,
    compress: Literal["j2k"] | None = None,
    force: bool = False,
    modality: str = "CT",
    patient_position: PatientPosition = "",
) -> Path:
    """Write a volume as a series of CT images, one file a slice, in the stored orientation.

    The patient is clearly nobody: name ``TOMOCHROME^ANONYMOUS``. Values are rounded to whole
    Hounsfield units. The scanner's windows stay with the images (those of soft tissue and lung
    where there are none), and voxels outside the scan become padding.

    Parameters
    ----------
    volume
        Scalar volume in HU with axes at right angles.
    folder
        Folder to make; its parent must exist.
    description
        SeriesDescription.
    series_uid
        SeriesInstanceUID; a new one is made by default.
    compress
        ``"j2k"`` for JPEG 2000 lossless; None for uncompressed little endian.
    force
        Replace the folder if it is there and holds nothing but ``.dcm`` files.
    modality
        Modality of the series; the tests write others than CT with it.
    patient_position
        How the patient lay in the scanner, such as ``"HFS"`` (head first, supine). The affine
        does not tell (it says how voxels lie in the patient), so it is left open by default.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        If the volume cannot be a CT series or the folder cannot be written.
    Cancelled
        If the task was cancelled; nothing is left behind.
    """
    target = check_folder(Path(folder), force=force)
    if volume.is_rgba:
        raise OutputError("a color volume is no CT series; write it as Secondary Capture instead")
    if compress and min(volume.shape[1:]) < _LEAST_J2K:
        raise OutputError(
            f"slices of {volume.shape[1]}x{volume.shape[2]} voxels are too small for JPEG 2000, "
            f"which needs {_LEAST_J2K}; write them uncompressed"
        )
    template = _template(volume, description, series_uid, modality)
    template.PatientPosition = patient_position
    padding = _padding(volume)
    if padding is not None:
        template.add_new("PixelPaddingValue", "SS", padding)

    def set_pixels(dataset: Dataset, z: int) -> None:
        outside = None if volume.outside is None else volume.outside[z]
        _set_hounsfield(dataset, np.asarray(volume.voxels[z]), outside, padding)
        if compress == "j2k":
            _compress(dataset)

    return save_slices(target, template, volume, set_pixels)


def check_folder(folder: Path, *, force: bool) -> Path:
    """Check that a folder of DICOM files can be written, and return its path.

    Even with ``force`` only a folder is replaced that holds nothing but ``.dcm`` files: a
    slip of the hand must not cost anything else.

    Raises
    ------
    OutputError
        If it cannot.
    """
    target = Path(os.path.normpath(folder))
    clear_leftovers(target.parent)
    if target.is_dir():
        try:
            inside = list(target.iterdir())
        except OSError as error:
            raise OutputError(f"'{target}' cannot be opened: {error.strerror}") from error
        if any(entry.suffix != ".dcm" or not entry.is_file() for entry in inside):
            raise OutputError(
                f"'{target}' holds other things than .dcm files; choose a new or empty folder"
            )
        return check_writable(target, force=force or not inside)
    if target.exists():
        raise OutputError(f"'{target}' is a file; choose a folder")
    return check_writable(target, force=force)


def _template(volume: Volume, description: str, series_uid: str | None, modality: str) -> Dataset:
    """Return what all slices of the series share."""
    dataset = base_dataset(volume, CTImageStorage, series_uid, modality)
    dataset.SeriesDescription = plain_text(description) or "Tomochrome"
    dataset.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    dataset.KVP = None
    dataset.AcquisitionNumber = None
    dataset.RescaleSlope, dataset.RescaleType = "1", "HU"
    _set_windows(dataset, volume.provenance.windows)
    return dataset


def plain_text(value: str) -> str:
    """Return a text that an element of 64 characters can hold (backslashes part values)."""
    return "".join(c if c.isprintable() and c != "\\" else " " for c in value).strip()[:64]


def _set_windows(dataset: Dataset, stored: tuple[ScannerWindow, ...]) -> None:
    """Write the windows of a scanner; an image has one VOI LUT function for all (C.11.2.1.3)."""
    sound = [
        w
        for w in stored
        if np.isfinite([w.center, w.width]).all() and w.width >= (w.function == "LINEAR")
        if w.width > 0 and w.function in ("LINEAR", "LINEAR_EXACT", "SIGMOID")
    ]
    windows = [w for w in sound if w.function == sound[0].function] or list(_WINDOWS)
    dataset.WindowCenter = [_decimal(w.center) for w in windows]
    dataset.WindowWidth = [_decimal(w.width) for w in windows]
    dataset.WindowCenterWidthExplanation = [
        plain_text(w.name) or f"{w.center:g}/{w.width:g}" for w in windows
    ]
    if windows[0].function != "LINEAR":
        dataset.VOILUTFunction = windows[0].function


def base_dataset(volume: Volume, sop_class: UID, series_uid: str | None, modality: str) -> Dataset:
    """Return the elements of patient, study, series and frame of reference (PS3.3 A.3, A.8).

    Raises
    ------
    OutputError
        If the volume's axes are not orthogonal, which one slice plane and a stack
        of parallel slices cannot express, or something else does not fit into DICOM.
    """
    if max(volume.shape[1:]) > _MOST_PIXELS:
        raise OutputError(
            f"slices of {volume.shape[1]}x{volume.shape[2]} voxels are larger than a DICOM image "
            "can be; write .nii.gz or .nrrd instead"
        )
    if series_uid and not (len(series_uid) <= 64 and re.match(RE_VALID_UID, series_uid)):
        raise OutputError(f"'{series_uid}' is not a DICOM UID; leave it out for a new one")
    if not is_orthogonal(volume.affine):
        raise OutputError(
            "the volume's axes are not orthogonal, which a DICOM series cannot store; resample it "
            "onto an upright grid first"
        )
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = sop_class
    dataset.Modality = modality
    dataset.Manufacturer = "Tomochrome"
    dataset.PatientName, dataset.PatientID = ANONYMOUS, "ANONYMOUS"
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "never held an identity"
    dataset.StudyInstanceUID = generate_uid(prefix=None)
    dataset.SeriesInstanceUID = UID(series_uid) if series_uid else generate_uid(prefix=None)
    dataset.FrameOfReferenceUID = generate_uid(prefix=None)
    dataset.PositionReferenceIndicator = ""
    for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
        setattr(dataset, keyword, "")
    dataset.StudyID = dataset.PatientPosition = ""
    dataset.SeriesNumber = 1
    return dataset


def save_slices(
    target: Path, template: Dataset, volume: Volume, set_pixels: Callable[[Dataset, int], None]
) -> Path:
    """Write a folder of one file a slice; ``set_pixels`` is called with its data set and z.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    Cancelled
        If the task was cancelled; nothing is left behind.
    """
    with captured_warnings(), write_whole(target, force=True) as temporary:
        temporary.mkdir()
        depth = volume.shape[0]
        for z in range(depth):
            check()
            report(z, depth, "writing slices")
            dataset = _slice_dataset(template, volume, z)
            set_pixels(dataset, z)
            dataset.save_as(temporary / f"{z + 1:04d}.dcm", enforce_file_format=True)
        report(depth, depth, "writing slices")
    return target


def _slice_dataset(template: Dataset, volume: Volume, z: int) -> Dataset:
    """Return the data set of one slice with its place in space (PS3.3 C.7.6.2), no pixels yet."""
    dataset = Dataset()
    dataset.update(template)
    dataset.SOPInstanceUID = generate_uid(prefix=None)
    dataset.InstanceNumber = z + 1
    origin, directions, spacing = decompose(volume.affine)
    position = origin + directions[:, 0] * spacing[0] * z
    dataset.ImagePositionPatient = [_decimal(v) for v in position]
    dataset.ImageOrientationPatient = [_decimal(v) for v in (*directions[:, 2], *directions[:, 1])]
    dataset.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[2])]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = _decimal(spacing[0])
    _, dataset.Rows, dataset.Columns = volume.shape
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _decimal(value: float) -> str:
    """Return a number in the 16 characters that a decimal string may have."""
    return format_number_as_ds(float(value) + 0.0)


def _padding(volume: Volume) -> int | None:
    """Return a stored value for voxels outside the scan that no voxel inside it has."""
    if volume.outside is None:
        return None
    taken = set()
    for z in range(volume.shape[0]):
        inside = np.asarray(volume.voxels[z])[~volume.outside[z]]
        for value in _PADDING:
            if any(np.any(np.rint(inside) == value + shift) for shift in (0, _INTERCEPT)):
                taken.add(value)
    return next((value for value in _PADDING if value not in taken), None)


def _set_hounsfield(
    dataset: Dataset,
    plane: NDArray[Any],
    outside: NDArray[np.bool_] | None,
    padding: int | None,
) -> None:
    hu = plane if plane.dtype.kind in "iu" else np.rint(plane)
    if not np.isfinite(hu).all():
        raise OutputError("values that are not finite numbers cannot be written as DICOM")
    intercept = _INTERCEPT if hu.max() <= 32767 + _INTERCEPT else 0
    if hu.min() < -32768 or hu.max() > 32767:
        raise OutputError("the values do not fit 16 bits; write .nii.gz or .nrrd instead")
    dataset.RescaleIntercept = str(intercept)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 1
    stored = (hu.astype(np.int32) - intercept).astype("<i2")
    if outside is not None and padding is not None:
        stored[outside] = padding
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"


def _compress(dataset: Dataset) -> None:
    """Compress a slice's pixels by JPEG 2000 without loss (PS3.5 A.4.4)."""
    from openjpeg.utils import encode_buffer

    stream = encode_buffer(
        dataset.PixelData, dataset.Columns, dataset.Rows, 1, dataset.BitsStored, is_signed=True
    )
    dataset.PixelData = encapsulate([bytes(stream)])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
