"""Enhanced multi-frame files, written by pydicom alone, with every value known; their headers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from openjpeg.utils import encode_buffer
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

from tomochrome.io.dicom.header import Header
from tomochrome.io.dicom.header_reader import read_headers
from tomochrome.volume import Volume


@dataclass(frozen=True)
class Frame:
    """One frame: HU of a plane, its place, and what is said about it."""

    hu: np.ndarray
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixels: tuple[float, float]
    thickness: float
    place: int
    stack: str | None = "1"
    phase: int | None = None
    slope: float = 1.0
    intercept: float = -1024.0
    window: tuple[float, float] = (40.0, 400.0)
    told: tuple[tuple[str, str, object], ...] = ()  #: sequence, keyword, value


def frames_of(volume: Volume, **told: object) -> list[Frame]:
    """Cut a volume into frames; ``told`` are fields of `Frame`."""
    sz, sy, sx = volume.spacing
    row, column = volume.affine[:3, 2] / sx, volume.affine[:3, 1] / sy
    return [
        Frame(
            np.asarray(volume.voxels[z]),
            tuple(volume.affine[:3, 3] + z * volume.affine[:3, 0]),
            (*row, *column),
            (sy, sx),
            sz,
            z + 1,
            **told,
        )
        for z in range(volume.shape[0])
    ]


def shuffled(frames: Sequence[Frame], seed: int = 1) -> list[Frame]:
    """Put frames in another order."""
    return [frames[i] for i in np.random.default_rng(seed).permutation(len(frames))]


def each(frames: Sequence[Frame], change: Callable[[Frame, int], dict[str, object]]) -> list[Frame]:
    """Change fields of each frame."""
    return [replace(frame, **change(frame, i)) for i, frame in enumerate(frames)]


def item(**values: object) -> Dataset:
    """Return a data set of these elements; a data set as a value becomes a sequence of one."""
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, Items([value]) if isinstance(value, Dataset) else value)
    return dataset


def write_enhanced(
    path: Path,
    frames: Sequence[Frame],
    *,
    compress: str | None = None,
    sop_class: str = EnhancedCTImageStorage,
    modality: str = "CT",
    edit: Callable[[Dataset], None] | None = None,
) -> Path:
    """Write frames in the order given; what all of them agree in goes to the shared groups."""
    groups = [_groups(frame, modality) for frame in frames]
    common = {k for k in groups[0] if all(k in g and g[k] == groups[0][k] for g in groups)}
    common -= {"FrameContentSequence", "PlanePositionSequence"}
    dataset = _top(sop_class, modality)
    dataset.SharedFunctionalGroupsSequence = Items([item(**{k: groups[0][k] for k in common})])
    dataset.PerFrameFunctionalGroupsSequence = Items(
        [item(**{k: v for k, v in g.items() if k not in common}) for g in groups]
    )
    dimensions = ["StackID", "InStackPositionNumber"]
    if frames[0].phase is not None:
        dimensions.append("TemporalPositionIndex")
    dataset.DimensionIndexSequence = Items(
        [item(DimensionIndexPointer=pydicom.tag.Tag(name)) for name in dimensions]
    )
    dataset.NumberOfFrames = len(frames)
    dataset.Rows, dataset.Columns = frames[0].hu.shape
    stored = [np.rint((f.hu - f.intercept) / f.slope).astype("<i2") for f in frames]
    dataset.PixelData = np.stack(stored).tobytes()
    dataset["PixelData"].VR = "OW"
    if compress == "rle":
        dataset.compress(RLELossless, generate_instance_uid=False)
    elif compress in ("j2k", "j2k in fragments", "j2k in fragments without offsets"):
        streams = [
            bytes(encode_buffer(s.tobytes(), s.shape[1], s.shape[0], 1, 16, is_signed=True))
            for s in stored
        ]
        pieces = 1 if compress == "j2k" else 3
        dataset.PixelData = encapsulate(streams, pieces, has_bot="without" not in compress)
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    if edit:
        edit(dataset)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _top(sop_class: str, modality: str) -> Dataset:
    dataset = item(
        SOPClassUID=sop_class, SOPInstanceUID=generate_uid(None), Modality=modality,
        StudyInstanceUID=generate_uid(None), SeriesInstanceUID=generate_uid(None),
        FrameOfReferenceUID=generate_uid(None), PatientName="NOBODY^SECRET", PatientID="",
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], SeriesDescription="enhanced test",
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=1,
    )  # fmt: skip
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _groups(frame: Frame, modality: str) -> dict[str, Dataset]:
    digits = [f"{v:.10g}"[:16] for v in frame.position]
    kind = {"MR": "MRImageFrameTypeSequence", "PT": "PETFrameTypeSequence"}
    content = item(InStackPositionNumber=frame.place)
    indices = [1 if frame.stack is None else int(frame.stack), frame.place]
    if frame.stack is not None:
        content.StackID = frame.stack
    if frame.phase is not None:
        content.TemporalPositionIndex = frame.phase
        indices.append(frame.phase)
    content.DimensionIndexValues = indices
    groups = {
        "FrameContentSequence": content,
        "PixelMeasuresSequence": item(
            PixelSpacing=list(frame.pixels), SliceThickness=frame.thickness
        ),
        "PlanePositionSequence": item(ImagePositionPatient=digits),
        "PlaneOrientationSequence": item(
            ImageOrientationPatient=[f"{v:.12f}"[:16] for v in frame.orientation]
        ),
        "PixelValueTransformationSequence": item(
            RescaleSlope=frame.slope, RescaleIntercept=frame.intercept, RescaleType="HU"
        ),
        "FrameVOILUTSequence": item(WindowCenter=frame.window[0], WindowWidth=frame.window[1]),
        kind.get(modality, "CTImageFrameTypeSequence"): item(
            FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        ),
    }
    for sequence, keyword, value in frame.told:
        setattr(groups.setdefault(sequence, Dataset()), keyword, value)
    return groups


def headers_of(path) -> list[Header]:
    return read_headers(path)


def told(header: Header) -> dict[str, str]:
    return dict(header.acquisition)
