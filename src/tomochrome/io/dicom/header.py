"""The header of one DICOM image, as checked values."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from tomochrome.io.dicom.damage import Damage
from tomochrome.io.dicom.elements import Source, floats, number, seconds, text, values, words
from tomochrome.io.dicom.kinds import LOCALIZER, image_kind
from tomochrome.volume import ScannerWindow

ENHANCED: Final = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("2.1", "2.2", "4.1", "4.4", "130", "128.1", "13.1.1")
)
"""SOP classes with functional groups: enhanced and converted CT, MR and PET, angiographic CT."""


@dataclass(frozen=True)
class Header:
    """The properties of one DICOM image that are used. Missing or invalid values are None."""

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
    pixel_spacing: tuple[float, ...] | None  #: (y, x) in mm
    thickness: float | None
    position: tuple[float, ...] | None  #: center of the first voxel in LPS mm
    orientation: tuple[float, ...] | None  #: direction cosines of the rows, then of the columns
    slope: float | None
    intercept: float | None
    rescale_type: str
    has_lut: bool
    padding: tuple[int, int] | None  #: range of stored values that are padding
    transfer_syntax: str
    lossy: bool = False  #: whether the pixels have been compressed with loss
    windows: tuple[ScannerWindow, ...] = ()
    #: properties that distinguish acquisitions: (keyword, value), without missing ones
    acquisition: tuple[tuple[str, str], ...] = ()
    #: acquisition times: (keyword, seconds of the day, or ms after the R wave)
    times: tuple[tuple[str, float], ...] = ()
    frame: int = 0  #: index of the frame in the file
    title: str = ""  #: SeriesDescription without patient data
    study_title: str = ""  #: StudyDescription, likewise
    patient: str = field(default="", repr=False)  #: see `tomochrome.io.dicom.patient`
    photometric: str = ""  #: PhotometricInterpretation, such as "MONOCHROME2"
    pixel_representation: int = 0  #: 1 if stored values are signed
    bits_allocated: int = 16
    bits_stored: int = 16
    high_bit: int = 15
    lut_type: str = ""  #: unit of a ModalityLUTSequence: "HU", "US" (unspecified) ...
    instance: int | None = None  #: InstanceNumber
    pixels_at: int = 0  #: offset of the pixel data element in the file; 0 if unknown
    damage: Damage | None = None  #: why the pixels cannot be decoded, if that is known
    flaws: int = 0  #: number of values that violate the standard but could be read
    identity: dict[str, str] | None = field(default=None, repr=False)

    @property
    def is_localizer(self) -> bool:
        """Whether this is a localizer (scout view), not a cross-section."""
        return image_kind(self.image_type) == LOCALIZER

    @property
    def is_multiframe(self) -> bool:
        """Whether the file has several frames, or a SOP class that allows them."""
        return self.frames > 1 or self.sop_class in ENHANCED


def acquisition_of(elements: Source) -> tuple[tuple[str, str], ...]:
    """Return the properties that distinguish acquisitions or reconstructions of a series."""
    details = [
        (keyword, f"{value:g}")
        for keyword in (
            "AcquisitionNumber", "TemporalPositionIdentifier", "NominalPercentageOfCardiacPhase",
            "KVP",
        )
        if (value := number(elements, keyword)) is not None
    ]  # fmt: skip
    kernel = "/".join(str(v).strip() for v in values(elements, "ConvolutionKernel"))
    return (*details, ("ConvolutionKernel", kernel)) if kernel else tuple(details)


def times_of(elements: Source) -> tuple[tuple[str, float], ...]:
    """Return acquisition and content time (seconds of the day) and trigger time (ms)."""
    times = [
        (keyword, seconds(elements, keyword)) for keyword in ("AcquisitionTime", "ContentTime")
    ]
    times.append(("TriggerTime", number(elements, "TriggerTime")))
    return tuple((keyword, value) for keyword, value in times if value is not None)


def windows_of(elements: Source) -> tuple[ScannerWindow, ...]:
    """Return the windows stored by the scanner, without duplicates."""
    centers = floats(elements, "WindowCenter") or ()
    widths = floats(elements, "WindowWidth") or ()
    explained, _, _ = words(elements, "WindowCenterWidthExplanation").partition("\0")
    names = ["".join(filter(str.isprintable, name)).strip()[:64] for name in explained.split("\\")]
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
