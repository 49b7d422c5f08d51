"""Reading the headers of image files without their pixels, one `Header` for each frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from tomochrome.errors import InputError, NotAnImageError
from tomochrome.io.archive import file_error
from tomochrome.io.dicom import enhanced, parse
from tomochrome.io.dicom.elements import (
    Source,
    floats,
    integer,
    items,
    number,
    tag_of,
    text,
    unit,
    values,
    words,
)
from tomochrome.io.dicom.frames import examine
from tomochrome.io.dicom.header import Header, acquisition_of, times_of, windows_of
from tomochrome.io.dicom.kinds import other_than_image
from tomochrome.io.dicom.patient import BIRTH, NAMES, Secrets, patient_key, secrets_of, title
from tomochrome.io.dicom.warning_capture import captured_warnings
from tomochrome.io.series_item import Item
from tomochrome.io.walk import open_regular, readable

DICOMDIR = "1.2.840.10008.1.3.10"
IS_INDEX: Final = "an index of the files beside it (DICOMDIR)"

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
_CLOCKS: Final = frozenset(map(tag_of, ("AcquisitionTime", "ContentTime", "TriggerTime")))
_WINDOWS: Final = frozenset(
    map(tag_of, ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction"))
)
_OWN: Final = (
    _CLOCKS
    | _WINDOWS
    | frozenset(map(tag_of, ("SOPInstanceUID", "ImagePositionPatient", "InstanceNumber")))
)
"""Elements that usually differ between the slices of a series."""
_IDENTITY: Final = (
    "PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyDate",
)  # fmt: skip
_TITLES: Final = ("SeriesDescription", "StudyDescription")
HEADER_TAGS: Final = (*_TAGS, "SpecificCharacterSet", *_TITLES, *_IDENTITY, *NAMES, BIRTH)


class HeaderReader:
    """Reads the headers of many image files, and converts their common elements only once.

    The slices of a series differ in a few elements only. If no other element differs from the
    previous slice, its header is copied and only these elements are converted.

    Parameters
    ----------
    with_identity
        Keep patient name, id and birth date, accession number and study date.
    """

    def __init__(self, *, with_identity: bool = False) -> None:
        self._with_identity = with_identity
        self._selection = parse.Selection(map(tag_of, HEADER_TAGS))
        self._model: tuple[parse.Parsed, Header] | None = None

    def read(self, path: Path, file: BinaryIO, head: bytes, *, frames: bool = True) -> list[Header]:
        """Read the headers of an image file, one for each frame.

        Parameters
        ----------
        path
            The file.
        file, head
            The file, opened unbuffered, and its first bytes.
        frames
            Whether to return a header for each frame of a multi-frame file, or a single one.

        Raises
        ------
        InputError
            If the file is damaged or contains no image (`NotAnImageError`).
        """
        with captured_warnings() as caught:
            parsed = parse.parse(path, file, head, self._selection)
            if parsed.is_mislabeled:
                caught.append("transfer syntax")
            if parsed.media_class == DICOMDIR:
                raise NotAnImageError(IS_INDEX)
            try:
                changed = self._changed(parsed)
                if self._model and changed is not None and changed <= _OWN:
                    headers = [_next(self._model[1], path, parsed, changed)]
                else:
                    headers = self._whole(path, file, parsed, frames)
                    changed = None
                headers = examine(headers, file)
            except InputError:
                raise
            except Exception as error:  # a damaged value can raise anything
                raise file_error(path, "is damaged: its DICOM header is invalid") from error
        if caught:
            return [replace(header, flaws=len(caught) + header.flaws) for header in headers]
        one = headers[0]
        if changed is None and not (one.is_multiframe or one.damage or one.flaws):
            self._model = parsed, headers[0]
        return headers

    def _changed(self, parsed: parse.Parsed) -> set[int] | None:
        """Return the elements that differ from the model's; None if its set of tags differs."""
        if self._model is None:
            return None
        earlier, elements = self._model[0].elements, parsed.elements
        if earlier.keys() != elements.keys():
            return None
        return {tag for tag, value in elements.items() if value is not earlier[tag]}

    def _whole(
        self, path: Path, file: BinaryIO, parsed: parse.Parsed, frames: bool
    ) -> list[Header]:
        header = _header(path, parsed)
        if self._with_identity:
            identity = {keyword: words(parsed.elements, keyword) for keyword in _IDENTITY}
            header = replace(header, identity=identity)
        headers = [header]
        if frames and header.is_multiframe:
            dataset = parse.read_dataset(path, file, list(enhanced.TAGS))
            at = 0 if header.transfer_syntax == parse.DEFLATED else parse.pixels_at(file)
            headers = enhanced.frames(path, dataset, header)
            if headers[0] is not header:
                headers = [replace(frame, pixels_at=at) for frame in headers]
        secrets = secrets_of(parsed.elements)
        return [_without_secrets(header, secrets) for header in headers]


def _next(model: Header, path: Path, parsed: parse.Parsed, changed: set[int]) -> Header:
    """Return the header of a file that differs from ``model`` only in elements of `_OWN`."""
    elements = parsed.elements
    values: dict[str, Any] = {
        "path": path,
        "pixels_at": parsed.pixels_at,
        "sop_uid": text(elements, "SOPInstanceUID"),
        "position": floats(elements, "ImagePositionPatient", 3),
        "instance": integer(elements, "InstanceNumber"),
    }
    if not changed.isdisjoint(_CLOCKS):
        values["times"] = times_of(elements)
    # Ten times as fast as `replace`, which would validate the copied values again.
    header = object.__new__(Header)
    vars(header).update(vars(model), **values)
    if not changed.isdisjoint(_WINDOWS):
        header = replace(header, windows=windows_of(elements))
        header = _without_secrets(header, secrets_of(elements))
    return header


def read_headers(path: Path, *, with_identity: bool = False, frames: bool = True) -> list[Header]:
    """Read the headers of an image file, one for each frame; see `HeaderReader`.

    Raises
    ------
    InputError
        If the file cannot be opened, is damaged, or contains no image.
    """
    reader = HeaderReader(with_identity=with_identity)
    with readable(path), open_regular(path) as file:
        return reader.read(path, file, file.read(parse.HEAD_BYTES), frames=frames)


def read_header(path: Path, *, with_identity: bool = False) -> Header:
    """Read the top-level header of a file, without those of its frames; see `read_headers`."""
    return read_headers(path, with_identity=with_identity, frames=False)[0]


def identity_of(item: Item) -> Mapping[str, str]:
    """Read the patient's identity from the first file of an item.

    Returns
    -------
    Mapping
        DICOM keyword to text: PatientName, PatientID, PatientBirthDate, AccessionNumber and
        StudyDate. Empty for files that are not DICOM.

    Raises
    ------
    InputError
        If the file can no longer be read.
    """
    if item.identity is not None:
        return item.identity
    headers = getattr(item.source, "headers", ())
    if not headers:
        return {}
    return read_header(headers[0].path, with_identity=True).identity or {}


def _without_secrets(header: Header, secrets: Secrets) -> Header:
    """Remove the patient's name from codes and window names, which are shown to the user."""
    shown = [header.modality, header.rescale_type, header.lut_type]
    codes = [*header.image_type, *(value for _, value in header.acquisition)]
    if not any(map(secrets.hidden_in, [*shown, *codes, *(w.name for w in header.windows)])):
        return header
    modality, rescaled, table = ("UNKNOWN" if secrets.hidden_in(text) else text for text in shown)
    windows = tuple(
        w._replace(name=f"{w.center:g}/{w.width:g}") if secrets.hidden_in(w.name) else w
        for w in header.windows
    )
    return replace(
        header, modality=modality, rescale_type=rescaled, lut_type=table, windows=windows
    )


def _header(path: Path, parsed: parse.Parsed) -> Header:
    elements = parsed.elements
    rows, columns = integer(elements, "Rows"), integer(elements, "Columns")
    modality = text(elements, "Modality")
    if not rows or not columns:
        reason = other_than_image(text(elements, "SOPClassUID"), modality)
        kind = f"a DICOM object of modality {modality}" if modality else "a DICOM file"
        if reason:
            raise NotAnImageError(reason)
        raise file_error(path, f"is {kind} without an image")
    allocated = integer(elements, "BitsAllocated") or 16
    stored, high = integer(elements, "BitsStored") or allocated, integer(elements, "HighBit")
    tables = items(elements, "ModalityLUTSequence")
    return Header(
        path=path,
        sop_class=text(elements, "SOPClassUID"),
        sop_uid=text(elements, "SOPInstanceUID"),
        modality=modality,
        image_type=tuple(str(v).strip() for v in values(elements, "ImageType")),
        study_uid=text(elements, "StudyInstanceUID"),
        series_uid=text(elements, "SeriesInstanceUID"),
        series_number=integer(elements, "SeriesNumber"),
        frame_of_reference=text(elements, "FrameOfReferenceUID"),
        rows=rows,
        columns=columns,
        frames=integer(elements, "NumberOfFrames") or 1,
        samples=integer(elements, "SamplesPerPixel") or 1,
        pixel_spacing=floats(elements, "PixelSpacing", 2),
        thickness=number(elements, "SliceThickness"),
        position=floats(elements, "ImagePositionPatient", 3),
        orientation=floats(elements, "ImageOrientationPatient", 6),
        slope=number(elements, "RescaleSlope"),
        intercept=number(elements, "RescaleIntercept"),
        rescale_type=unit(elements, "RescaleType"),
        has_lut=bool(tables),
        padding=_padding(elements),
        transfer_syntax=parsed.transfer_syntax,
        pixels_at=parsed.pixels_at,
        lossy=text(elements, "LossyImageCompression") == "01",
        windows=windows_of(elements),
        photometric=text(elements, "PhotometricInterpretation"),
        pixel_representation=integer(elements, "PixelRepresentation") or 0,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1 if high is None else high,
        lut_type=unit(tables[0], "ModalityLUTType") if tables else "",
        instance=integer(elements, "InstanceNumber"),
        acquisition=acquisition_of(elements),
        times=times_of(elements),
        title=title(elements),
        study_title=title(elements, "StudyDescription"),
        patient=patient_key(elements),
    )


def _padding(elements: Source) -> tuple[int, int] | None:
    """Return the range of stored values that mark pixels outside the field of view."""
    first = integer(elements, "PixelPaddingValue")
    if first is None:
        return None
    last = integer(elements, "PixelPaddingRangeLimit")
    signed, bits = integer(elements, "PixelRepresentation") == 1, integer(elements, "BitsAllocated")
    full = 2 ** min(bits or 16, 64)
    # Some writers store a signed value with the unsigned value representation.
    ends = [
        v - full if signed and v >= full // 2 else v
        for v in (first, first if last is None else last)
    ]
    return min(ends), max(ends)
