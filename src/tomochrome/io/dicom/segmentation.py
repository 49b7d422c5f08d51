"""The mask of restored voxels as a DICOM segmentation in the folder of its series.

Sources: PS3.3 A.51 (Segmentation IOD) and C.8.20; only slices with restored voxels have a frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.pixels.utils import pack_bits
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage, generate_uid

from tomochrome.io.dicom.warning_capture import captured_warnings
from tomochrome.runtime import check
from tomochrome.volume import RESTORED, Volume

FILE: Final = "restored.dcm"
_RESTORED: Final = ("RESTORED", "99TOMOCHROME", RESTORED)
_SEGMENTED: Final = ("113076", "DCM", "Segmentation")
_SOURCE: Final = ("121322", "DCM", "Source image for image processing operation")
_COPIED: Final = (
    "SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "PatientIdentityRemoved", "DeidentificationMethod", "StudyInstanceUID", "StudyDate",
    "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID", "FrameOfReferenceUID",
    "PositionReferenceIndicator", "Manufacturer",
)  # fmt: skip
_SEGMENT_AT: Final = 0x0062000B  # ReferencedSegmentNumber
_POSITION_AT: Final = 0x00200032  # ImagePositionPatient
_ON_GRID: Final = 0.05  # voxels: positions are rounded to 16 characters


def write_segmentation(mask: NDArray[np.bool_], slices: Sequence[Dataset], path: Path) -> None:
    """Write a mask as a segmentation of the slices of a series.

    Parameters
    ----------
    mask
        Booleans (z, y, x).
    slices
        The data set of each slice, with or without pixels.
    path
        Destination.
    """
    first, marked = slices[0], np.flatnonzero(mask.any(axis=(1, 2))).tolist()
    dataset = Dataset()
    for keyword in _COPIED:
        if keyword in first:
            setattr(dataset, keyword, first.get(keyword))
    now = datetime.now()
    _set(
        dataset, SOPClassUID=SegmentationStorage, SOPInstanceUID=generate_uid(prefix=None),
        Modality="SEG", SeriesInstanceUID=generate_uid(prefix=None), SeriesNumber=2,
        SeriesDescription=RESTORED, InstanceNumber=1, ImageType=["DERIVED", "PRIMARY"],
        ContentDate=now.strftime("%Y%m%d"), ContentTime=now.strftime("%H%M%S"),
        ContentLabel="RESTORED", ContentDescription=RESTORED, ContentCreatorName="",
        ManufacturerModelName="Tomochrome", DeviceSerialNumber="0", SoftwareVersions="Tomochrome",
        SegmentationType="BINARY", LossyImageCompression="00", SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2", PixelRepresentation=0, BitsAllocated=1,
        BitsStored=1, HighBit=0, Rows=first.Rows, Columns=first.Columns,
        NumberOfFrames=len(marked), SegmentsOverlap="NO",
    )  # fmt: skip
    dataset.SegmentSequence = [
        _set(
            Dataset(), SegmentNumber=1, SegmentLabel=RESTORED, SegmentAlgorithmType="AUTOMATIC",
            SegmentAlgorithmName="tomochrome restore",
            SegmentedPropertyCategoryCodeSequence=[_code(*_RESTORED)],
            SegmentedPropertyTypeCodeSequence=[_code(*_RESTORED)],
        )
    ]  # fmt: skip
    organization = generate_uid(prefix=None)
    dataset.DimensionOrganizationSequence = [_set(Dataset(), DimensionOrganizationUID=organization)]
    dataset.DimensionIndexSequence = [
        _set(
            Dataset(), DimensionOrganizationUID=organization, DimensionIndexPointer=at,
            FunctionalGroupPointer=group,
        )
        for at, group in ((_SEGMENT_AT, 0x0062000A), (_POSITION_AT, 0x00209113))
    ]  # fmt: skip
    references = [
        _set(
            Dataset(), ReferencedSOPClassUID=one.SOPClassUID,
            ReferencedSOPInstanceUID=one.SOPInstanceUID,
        )
        for one in slices
    ]  # fmt: skip
    dataset.ReferencedSeriesSequence = [
        _set(
            Dataset(), SeriesInstanceUID=first.SeriesInstanceUID,
            ReferencedInstanceSequence=references,
        )
    ]  # fmt: skip
    measures = ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices")
    dataset.SharedFunctionalGroupsSequence = [
        _set(
            Dataset(),
            PixelMeasuresSequence=[_set(Dataset(), **{name: first.get(name) for name in measures})],
            PlaneOrientationSequence=[
                _set(Dataset(), ImageOrientationPatient=first.ImageOrientationPatient)
            ],
            SegmentIdentificationSequence=[_set(Dataset(), ReferencedSegmentNumber=1)],
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame(slices[z], references[z], number) for number, z in enumerate(marked, start=1)
    ]
    check()
    dataset.PixelData = pack_bits(mask[marked].astype(np.uint8))
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = _set(
        FileMetaDataset(), TransferSyntaxUID=ExplicitVRLittleEndian,
        MediaStorageSOPClassUID=dataset.SOPClassUID,
        MediaStorageSOPInstanceUID=dataset.SOPInstanceUID,
    )  # fmt: skip
    dataset.save_as(path, enforce_file_format=True)


def _set(dataset: Any, **values: Any) -> Any:
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _code(value: str, scheme: str, meaning: str) -> Any:
    return _set(Dataset(), CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _frame(one: Dataset, reference: Dataset, number: int) -> Any:
    source = Dataset()
    source.update(reference)
    source.PurposeOfReferenceCodeSequence = [_code(*_SOURCE)]
    derivation = _set(
        Dataset(), SourceImageSequence=[source], DerivationCodeSequence=[_code(*_SEGMENTED)]
    )
    return _set(
        Dataset(),
        FrameContentSequence=[_set(Dataset(), DimensionIndexValues=[1, number])],
        PlanePositionSequence=[_set(Dataset(), ImagePositionPatient=one.ImagePositionPatient)],
        DerivationImageSequence=[derivation],
    )


def find_mask(volume: Volume, series_uid: str, files: Iterable[Path]) -> NDArray[np.bool_] | None:
    """Return the mask of a series that lies in the folders of its files, or None.

    Parameters
    ----------
    volume
        The series as read.
    series_uid
        Its SeriesInstanceUID.
    files
        Its files.
    """
    own = set(files)
    for folder in {path.parent for path in own}:
        for path in sorted(folder.iterdir()):
            check()
            if path in own or not path.is_file():
                continue
            try:
                with captured_warnings():
                    mask = _mask(path, volume, series_uid)
            except Exception:  # any other file, or a damaged one
                continue
            if mask is not None:
                return mask
    return None


def _mask(path: Path, volume: Volume, series_uid: str) -> NDArray[np.bool_] | None:
    """Return the mask in a file if it is a segmentation of restored voxels of a series."""
    head = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    if head.get("SOPClassUID") != SegmentationStorage:
        return None
    dataset = dcmread(path)
    labels = [segment.SegmentLabel for segment in dataset.SegmentSequence]
    referenced = [series.SeriesInstanceUID for series in dataset.ReferencedSeriesSequence]
    syntax = dataset.file_meta.TransferSyntaxUID
    if labels != [RESTORED] or series_uid not in referenced or syntax.is_encapsulated:
        return None
    if (dataset.Rows, dataset.Columns) != volume.shape[1:]:
        return None
    to_index, mask = np.linalg.inv(volume.affine), np.zeros(volume.shape, np.bool_)
    frames = dataset.pixel_array.reshape(-1, *volume.shape[1:])
    for frame, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        position = [*groups.PlanePositionSequence[0].ImagePositionPatient, 1.0]
        index = to_index @ np.array(position, np.float64)
        z = round(float(index[0]))
        if np.abs(index[:3] - (z, 0, 0)).max() > _ON_GRID or not 0 <= z < len(mask):
            return None
        mask[z] |= frame != 0
    return mask
