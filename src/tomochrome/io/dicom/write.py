"""Writing a volume in Hounsfield units as a classic CT series."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from tomochrome.errors import OutputError
from tomochrome.geometry.affine import decompose, is_orthogonal
from tomochrome.io.dicom.quiet import quiet
from tomochrome.runtime import CancelToken, Progress, check, check_writable, report, write_whole
from tomochrome.volume import Volume

ANONYMOUS: Final = "TOMOCHROME^ANONYMOUS"
_INTERCEPT: Final = -1024
_LEAST_J2K: Final = 32  # OpenJPEG makes six resolutions, each half as large as the last


def write_series(
    volume: Volume,
    folder: str | os.PathLike[str],
    *,
    description: str = "",
    series_uid: str | None = None,
    compress: Literal["j2k"] | None = None,
    force: bool = False,
    modality: str = "CT",
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Path:
    """Write a volume as a series of CT images, one file a slice, in the stored orientation.

    The patient is clearly nobody: name ``TOMOCHROME^ANONYMOUS``. Values are rounded to whole
    Hounsfield units.

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

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        If the volume cannot be a CT series or the folder cannot be written.
    Cancelled
        If ``cancel`` was set; nothing is left behind.
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
    with quiet(), write_whole(target, force=True) as temporary:
        temporary.mkdir()
        depth = volume.shape[0]
        for z in range(depth):
            check(cancel)
            report(progress, z, depth, "writing slices")
            dataset = slice_dataset(template, volume, z)
            _set_hounsfield(dataset, np.asarray(volume.voxels[z]))
            if compress == "j2k":
                _compress(dataset)
            dataset.save_as(temporary / f"{z + 1:04d}.dcm", enforce_file_format=True)
        report(progress, depth, depth, "writing slices")
    return target


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
    dataset.SeriesDescription = (description or "Tomochrome")[:64]
    dataset.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    dataset.KVP = None
    dataset.AcquisitionNumber = None
    dataset.RescaleSlope, dataset.RescaleType = "1", "HU"
    dataset.WindowCenter, dataset.WindowWidth = ["50", "-600"], ["400", "1500"]
    dataset.WindowCenterWidthExplanation = ["SOFT TISSUE", "LUNG"]
    return dataset


def base_dataset(volume: Volume, sop_class: UID, series_uid: str | None, modality: str) -> Dataset:
    """Return the elements of patient, study, series and frame of reference (PS3.3 A.3, A.8).

    Raises
    ------
    OutputError
        If the volume's axes do not stand at right angles, which one slice plane and a stack
        of parallel slices cannot express.
    """
    if not is_orthogonal(volume.affine):
        raise OutputError(
            "the volume's axes do not stand at right angles, which a DICOM series cannot "
            "express; resample it onto an upright grid first"
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


def slice_dataset(template: Dataset, volume: Volume, z: int) -> Dataset:
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
    dataset.SliceThickness = _decimal(spacing[0])
    _, dataset.Rows, dataset.Columns = volume.shape
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _decimal(value: float) -> str:
    """Return a number in the 16 characters that a decimal string may have."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value) + 0.0)


def _set_hounsfield(dataset: Dataset, plane: np.ndarray[Any, Any]) -> None:
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
