"""What is known of one DICOM image, as plain checked values."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from tomochrome.io.dicom.kinds import LOCALIZER, image_kind
from tomochrome.io.dicom.values import Source, floats, number, seconds, text, values, words
from tomochrome.volume import ScannerWindow

ENHANCED: Final = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("2.1", "2.2", "4.1", "4.4", "130", "128.1", "13.1.1")
)
"""SOP classes with functional groups: enhanced and converted CT, MR and PET, angiographic CT."""


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
    study_title: str = ""  #: StudyDescription, likewise
    patient: str = field(default="", repr=False)  #: see `tomochrome.io.dicom.patient`
    photometric: str = ""  #: PhotometricInterpretation, such as "MONOCHROME2"
    pixel_representation: int = 0  #: 1 if stored values are signed
    bits_allocated: int = 16
    bits_stored: int = 16
    high_bit: int = 15
    lut_type: str = ""  #: what a ModalityLUTSequence leads to: "HU", "US" (unspecified) ...
    instance: int | None = None  #: InstanceNumber
    pixels_at: int = 0  #: where in the file the pixel data element begins; 0 if not known
    flaws: int = 0  #: values that broke the standard and were read all the same
    identity: dict[str, str] | None = field(default=None, repr=False)

    @property
    def is_localizer(self) -> bool:
        """Whether this is a scout view, a projection and not a cross-section."""
        return image_kind(self.image_type) == LOCALIZER

    @property
    def is_multiframe(self) -> bool:
        """Whether one file holds several frames, or is of a kind that may."""
        return self.frames > 1 or self.sop_class in ENHANCED


def acquisition_of(elements: Source) -> tuple[tuple[str, str], ...]:
    """Return what differs between acquisitions or reconstructions of one series."""
    found = [
        (keyword, f"{value:g}")
        for keyword in (
            "AcquisitionNumber", "TemporalPositionIdentifier", "NominalPercentageOfCardiacPhase",
            "KVP",
        )
        if (value := number(elements, keyword)) is not None
    ]  # fmt: skip
    kernel = "/".join(str(v).strip() for v in values(elements, "ConvolutionKernel"))
    return (*found, ("ConvolutionKernel", kernel)) if kernel else tuple(found)


def times_of(elements: Source) -> tuple[tuple[str, float], ...]:
    """Return when the slice was scanned and made: seconds of the day, ms of the heart beat."""
    found = [
        (keyword, seconds(elements, keyword)) for keyword in ("AcquisitionTime", "ContentTime")
    ]
    found.append(("TriggerTime", number(elements, "TriggerTime")))
    return tuple((keyword, value) for keyword, value in found if value is not None)


def windows_of(elements: Source) -> tuple[ScannerWindow, ...]:
    """Return the windows that the scanner proposes, each once."""
    centers = floats(elements, "WindowCenter") or ()
    widths = floats(elements, "WindowWidth") or ()
    names = [
        "".join(filter(str.isprintable, name)).strip()[:64]
        for name in words(elements, "WindowCenterWidthExplanation").split("\\")
    ]
    return _named_windows(centers, widths, tuple(names), text(elements, "VOILUTFunction"))


@lru_cache(maxsize=256)
def _named_windows(
    centers: tuple[float, ...], widths: tuple[float, ...], names: tuple[str, ...], function: str
) -> tuple[ScannerWindow, ...]:
    windows = []
    for i, (center, width) in enumerate(zip(centers, widths, strict=False)):
        if width > 0:
            name = names[i] if i < len(names) and names[i] else f"{center:g}/{width:g}"
            windows.append(ScannerWindow(name, center, width, function or "LINEAR"))
    return tuple(dict.fromkeys(windows))
