"""One header, read without its pixels and turned into plain checked values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset

from tomochrome.errors import InputError
from tomochrome.io.dicom.quiet import quiet
from tomochrome.volume import ScannerWindow

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_CT = "1.2.840.10008.5.1.4.1.1.2.2"
DICOMDIR = "1.2.840.10008.1.3.10"

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType",
    "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber",
    "FrameOfReferenceUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelSpacing", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence",
    "PixelPaddingValue", "PixelPaddingRangeLimit",
    "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction",
    "LossyImageCompression",
    "AcquisitionNumber", "TemporalPositionIdentifier", "NominalPercentageOfCardiacPhase",
    "KVP", "ConvolutionKernel", "AcquisitionTime", "ContentTime", "TriggerTime",
]  # fmt: skip
_IDENTITY_TAGS = ["PatientName", "PatientID", "PatientBirthDate"]


@dataclass(frozen=True)
class Header:
    """What Tomochrome needs to know of one DICOM image. Missing or senseless values are None."""

    path: Path
    sop_class: str
    sop_uid: str
    modality: str
    image_type: tuple[str, ...]
    study_uid: str
    series_uid: str
    series_number: int | None
    frame_of_reference: str
    rows: int
    columns: int
    frames: int
    samples: int
    pixel_spacing: tuple[float, ...] | None  #: (down a column, along a row) in mm
    thickness: float | None
    position: tuple[float, ...] | None  #: LPS mm of the first voxel's centre
    orientation: tuple[float, ...] | None  #: direction cosines of the row, then of the column
    slope: float | None
    intercept: float | None
    rescale_type: str
    has_lut: bool
    padding: tuple[int, int] | None  #: least and greatest stored value that is padding
    transfer_syntax: str
    lossy: bool = False  #: the pixels were once compressed with loss
    windows: tuple[ScannerWindow, ...] = ()
    #: what tells acquisitions apart: (keyword, value), values that are missing left out
    acquisition: tuple[tuple[str, str], ...] = ()
    #: when it was made: (keyword, seconds of the day, or ms after the heart's beat)
    times: tuple[tuple[str, float], ...] = ()
    frame: int = 0  #: which frame of the file this is, counted from 0
    title: str = ""  #: SeriesDescription, with nothing of the patient in it
    photometric: str = ""  #: PhotometricInterpretation, such as "MONOCHROME2"
    pixel_representation: int = 0  #: 1 if stored values are signed
    bits_allocated: int = 16
    bits_stored: int = 16
    high_bit: int = 15
    lut_type: str = ""  #: what a ModalityLUTSequence leads to: "HU", "US" (unspecified) ...
    instance: int | None = None  #: InstanceNumber
    flaws: int = 0  #: values that broke the standard and were read all the same
    identity: dict[str, str] | None = field(default=None, repr=False)

    @property
    def is_localizer(self) -> bool:
        """Whether this is a scout view, a projection and not a cross-section."""
        return "LOCALIZER" in self.image_type

    @property
    def is_multiframe(self) -> bool:
        """Whether one file holds several frames, or is of a kind that may."""
        return self.frames > 1 or self.sop_class in (ENHANCED_CT, LEGACY_CT)


def open_dataset(path: Path, **options: Any) -> FileDataset:
    """Read a DICOM file, with or without preamble and file meta information.

    Raises
    ------
    InputError
        If it cannot be opened or parsed.
    """
    try:
        dataset = pydicom.dcmread(path, force=True, **options)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a parser fed with anything may raise anything
        raise InputError(f"'{path}' is damaged: its DICOM header cannot be parsed") from error
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = _guess_syntax(dataset)
    return dataset


def _guess_syntax(dataset: FileDataset) -> pydicom.uid.UID:
    implicit, little = dataset.original_encoding
    if implicit:
        return pydicom.uid.ImplicitVRLittleEndian
    return pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian


def read_header(path: Path, *, with_identity: bool = False) -> Header:
    """Read the header of an image file.

    Raises
    ------
    InputError
        If the file is damaged, or holds no image (its reason fits a list of skipped files).
    """
    tags: list[Any] = [*_TAGS, *(_IDENTITY_TAGS if with_identity else ())]
    with quiet() as caught:
        dataset = open_dataset(path, stop_before_pixels=True, specific_tags=tags)
        if _text(dataset.file_meta, "MediaStorageSOPClassUID") == DICOMDIR:
            raise InputError(f"'{path}' is a DICOMDIR, an index without images; open its folder")
        try:
            header = _header(path, dataset)
        except InputError:
            raise
        except Exception as error:  # values of a hostile header convert in unforeseen ways
            raise InputError(f"'{path}' is damaged: its DICOM header makes no sense") from error
        identity = (
            {tag: str(dataset.get(tag, "")) for tag in _IDENTITY_TAGS} if with_identity else None
        )
    return replace(header, flaws=len(caught), identity=identity)


def read_headers(path: Path, *, with_identity: bool = False) -> list[Header]:
    """Read the headers of an image file: one for each frame.

    Raises
    ------
    InputError
        If the file is damaged, or holds no image (its reason fits a list of skipped files).
    """
    return [read_header(path, with_identity=with_identity)]


def _header(path: Path, dataset: FileDataset) -> Header:
    rows, columns = _int(dataset, "Rows"), _int(dataset, "Columns")
    modality = _text(dataset, "Modality")
    if not rows or not columns:
        kind = {"SR": "a structured report", "PR": "a presentation state"}.get(modality)
        kind = kind or (f"a DICOM object of modality {modality}" if modality else "a DICOM file")
        raise InputError(f"'{path}' is {kind} without an image")
    allocated = _int(dataset, "BitsAllocated") or 16
    stored, high = _int(dataset, "BitsStored") or allocated, _int(dataset, "HighBit")
    return Header(
        path=path,
        sop_class=_text(dataset, "SOPClassUID"),
        sop_uid=_text(dataset, "SOPInstanceUID"),
        modality=modality,
        image_type=tuple(str(v).strip() for v in _values(dataset, "ImageType")),
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        series_number=_int(dataset, "SeriesNumber"),
        frame_of_reference=_text(dataset, "FrameOfReferenceUID"),
        rows=rows,
        columns=columns,
        frames=_int(dataset, "NumberOfFrames") or 1,
        samples=_int(dataset, "SamplesPerPixel") or 1,
        pixel_spacing=_floats(dataset, "PixelSpacing", 2),
        thickness=_float(dataset, "SliceThickness"),
        position=_floats(dataset, "ImagePositionPatient", 3),
        orientation=_floats(dataset, "ImageOrientationPatient", 6),
        slope=_float(dataset, "RescaleSlope"),
        intercept=_float(dataset, "RescaleIntercept"),
        rescale_type=_text(dataset, "RescaleType"),
        has_lut=bool(_values(dataset, "ModalityLUTSequence")),
        padding=_padding(dataset),
        transfer_syntax=str(dataset.file_meta.TransferSyntaxUID),
        lossy=_text(dataset, "LossyImageCompression") == "01",
        windows=_windows(dataset),
        photometric=_text(dataset, "PhotometricInterpretation"),
        pixel_representation=_int(dataset, "PixelRepresentation") or 0,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1 if high is None else high,
        lut_type=_lut_type(dataset),
        instance=_int(dataset, "InstanceNumber"),
        acquisition=_acquisition(dataset),
        times=_times(dataset),
    )


def _lut_type(dataset: Dataset) -> str:
    items = _values(dataset, "ModalityLUTSequence")
    return _text(items[0], "ModalityLUTType") if items and isinstance(items[0], Dataset) else ""


def _values(dataset: Dataset, keyword: str) -> list[Any]:
    """Return an element's values as a list; empty when it is missing or cannot be converted."""
    try:
        value = dataset.get(keyword)
    except Exception:  # conversion of a malformed value; to us it is as good as missing
        return []
    if value is None or value == "":
        return []
    if isinstance(value, str | bytes | int | float):
        return [value]
    return list(value) if hasattr(value, "__iter__") else [value]


# A damaged header can hold any other text where a code or a UID should be, the patient's name
# too, so what does not look like one counts as missing. Hexadecimal UIDs are not to the letter
# of the standard, but anonymizers write them.
_CODE = re.compile(r"[A-Z0-9_ -]{1,16}")
_CLOCK = re.compile(r"(\d\d):?(\d\d):?(\d\d(?:\.\d*)?)")
_UID = re.compile(r"[0-9A-Za-z._-]{1,64}")


def _text(dataset: Dataset, keyword: str) -> str:
    values = _values(dataset, keyword)
    text = str(values[0]).strip(" \0") if values else ""
    if keyword.endswith("UID"):
        return text if _UID.fullmatch(text) else ""
    return text.upper() if _CODE.fullmatch(text.upper()) else ""


def _floats(dataset: Dataset, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(v) for v in _values(dataset, keyword))
    except (TypeError, ValueError):
        return None
    if not numbers or (count is not None and len(numbers) != count):
        return None
    return numbers if np.isfinite(numbers).all() else None


def _float(dataset: Dataset, keyword: str) -> float | None:
    numbers = _floats(dataset, keyword)
    return numbers[0] if numbers else None


def _int(dataset: Dataset, keyword: str) -> int | None:
    number = _float(dataset, keyword)
    return None if number is None else int(number)


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    """Return the range of stored values that mark pixels outside the scanned field."""
    first = _int(dataset, "PixelPaddingValue")
    if first is None:
        return None
    last = _int(dataset, "PixelPaddingRangeLimit")
    signed, bits = _int(dataset, "PixelRepresentation") == 1, _int(dataset, "BitsAllocated") or 16
    # Some writers store a signed value with the unsigned value representation.
    ends = [
        v - 2**bits if signed and v >= 2 ** (bits - 1) else v
        for v in (first, first if last is None else last)
    ]
    return min(ends), max(ends)


def _acquisition(dataset: Dataset) -> tuple[tuple[str, str], ...]:
    """Return what differs between acquisitions or reconstructions of one series."""
    found = [
        (keyword, number)
        for keyword in (
            "AcquisitionNumber", "TemporalPositionIdentifier", "NominalPercentageOfCardiacPhase",
            "KVP",
        )
        if (number := _float(dataset, keyword)) is not None
    ]  # fmt: skip
    kernel = "/".join(str(v).strip() for v in _values(dataset, "ConvolutionKernel"))
    texts = [("ConvolutionKernel", kernel)] if kernel else []
    return (*((keyword, f"{number:g}") for keyword, number in found), *texts)


def _times(dataset: Dataset) -> tuple[tuple[str, float], ...]:
    """Return when the slice was scanned and made: seconds of the day, ms of the heart beat."""
    times = []
    for keyword in ("AcquisitionTime", "ContentTime"):
        values = _values(dataset, keyword)
        clock = _CLOCK.fullmatch(str(values[0]).strip(" \0")) if values else None
        if clock:
            hours, minutes, seconds = clock.groups()
            times.append((keyword, 3600.0 * int(hours) + 60.0 * int(minutes) + float(seconds)))
    trigger = _float(dataset, "TriggerTime")
    if trigger is not None:
        times.append(("TriggerTime", trigger))
    return tuple(times)


def _windows(dataset: Dataset) -> tuple[ScannerWindow, ...]:
    centers = _floats(dataset, "WindowCenter") or ()
    widths = _floats(dataset, "WindowWidth") or ()
    names = [
        "".join(filter(str.isprintable, str(v))).strip()[:64]
        for v in _values(dataset, "WindowCenterWidthExplanation")
    ]
    function = _text(dataset, "VOILUTFunction") or "LINEAR"
    windows = []
    for i, (center, width) in enumerate(zip(centers, widths, strict=False)):
        if width > 0:
            name = names[i] if i < len(names) and names[i] else f"{center:g}/{width:g}"
            windows.append(ScannerWindow(name, center, width, function))
    return tuple(dict.fromkeys(windows))
