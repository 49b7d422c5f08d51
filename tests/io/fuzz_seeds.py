"""One small healthy input of each kind that is read, to be damaged."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import SimpleITK
import torture as T
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import EnhancedCTImageStorage

from tomochrome.volume import Volume

NAME = "Musterfrau^Erika"


def small(depth: int = 1, side: int = 16) -> Volume:
    part = T.scan().voxels[8 : 8 + depth, 8 : 8 + side, 8 : 8 + side]
    return Volume(part.copy(), T.scan().affine, "HU")


def _dicom(kind: str) -> bytes:
    volume = small(1, 32 if kind == "jpeg-2000" else 16)
    d = T.slices(volume, PatientName=NAME, AcquisitionNumber=1, SeriesDescription="Head")[0]
    d.PixelPaddingValue = -1024
    d["PixelPaddingValue"].VR = "SS"
    code = Dataset()
    code.CodeValue, code.CodeMeaning = "1", "Head"
    d.ProcedureCodeSequence = Items([code])
    with TemporaryDirectory() as folder:
        syntax = T.SYNTAXES.get(kind, T.ExplicitVRLittleEndian)
        return T.save_one(d, Path(folder) / "a", syntax).read_bytes()


def enhanced_dataset(volume: Volume) -> Dataset:
    """Return an Enhanced CT image that holds a volume, geometry in the functional groups."""
    parts = T.slices(volume)
    d = Dataset()
    for keyword in (
        "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "Rows",
        "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
        "HighBit", "PixelRepresentation",
    ):  # fmt: skip
        setattr(d, keyword, parts[0][keyword].value)
    d.SOPClassUID, d.SOPInstanceUID = EnhancedCTImageStorage, T.new_uid()
    d.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    d.PatientName, d.NumberOfFrames = NAME, len(parts)
    shared, measures, plane, values = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = parts[0].PixelSpacing, "5"
    plane.ImageOrientationPatient = parts[0].ImageOrientationPatient
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "1", "-1024", "HU"
    shared.PixelMeasuresSequence = Items([measures])
    shared.PlaneOrientationSequence = Items([plane])
    shared.PixelValueTransformationSequence = Items([values])
    d.SharedFunctionalGroupsSequence = Items([shared])
    frames = []
    for i, part in enumerate(parts):
        frame, where, content = Dataset(), Dataset(), Dataset()
        where.ImagePositionPatient = part.ImagePositionPatient
        content.StackID, content.InStackPositionNumber = "1", i + 1
        content.DimensionIndexValues = [1, i + 1]
        frame.PlanePositionSequence = Items([where])
        frame.FrameContentSequence = Items([content])
        frames.append(frame)
    d.PerFrameFunctionalGroupsSequence = Items(frames)
    d.PixelData = b"".join(part.PixelData for part in parts)
    d["PixelData"].VR = "OW"
    return d


def _enhanced() -> bytes:
    with TemporaryDirectory() as folder:
        return T.save_one(enhanced_dataset(small(3)), Path(folder) / "a").read_bytes()


def _packed(pack: Callable[[Path], Path]) -> bytes:
    with TemporaryDirectory() as folder:
        return pack(Path(folder)).read_bytes()


def _nifti(folder: Path, name: str) -> Path:
    image = nib.Nifti1Image(small(4).voxels.T, np.diag([4.0, 4.0, 5.0, 1.0]))
    nib.save(image, folder / name)
    return folder / name


def _itk(folder: Path, name: str) -> Path:
    image = SimpleITK.GetImageFromArray(small(4).voxels)
    SimpleITK.WriteImage(image, str(folder / name))
    return folder / name


def _zip(folder: Path) -> Path:
    T.save(T.slices(small(3), PatientName=NAME), folder / "s")
    return T.zipped(folder / "s", folder / "a.zip")


def _zip_of_six(folder: Path) -> Path:
    T.save(T.slices(small(6), PatientName=NAME, AcquisitionNumber=1), folder / "s")
    return T.zipped(folder / "s", folder / "a.zip", top="")


def _dicomdir(folder: Path) -> Path:
    return T.dicomdir(T.slices(small(2), PatientName=NAME), folder / "cd")


SEEDS: dict[str, Callable[[], bytes]] = {
    "classic": lambda: _dicom("classic"),
    **{kind: (lambda k=kind: _dicom(k)) for kind in T.SYNTAXES},  # type: ignore[misc]
    "enhanced": _enhanced,
    "dicomdir": lambda: _packed(_dicomdir),
    "nifti": lambda: _packed(lambda f: _nifti(f, "a.nii")),
    "nifti-gz": lambda: gzip.compress(healthy("nifti"), 1, mtime=0),
    "nrrd": lambda: _packed(lambda f: _itk(f, "a.nrrd")),
    "metaimage": lambda: _packed(lambda f: _itk(f, "a.mha")),
    "zip": lambda: _packed(_zip),
    "series": lambda: _packed(_zip_of_six),  # unpacked before it is read
}

SUFFIX = {"nifti": ".nii", "nifti-gz": ".nii.gz", "nrrd": ".nrrd", "metaimage": ".mha",
          "zip": ".zip"}  # fmt: skip


@cache
def healthy(kind: str) -> bytes:
    """Return the undamaged input of a kind, the same in every process."""
    with T.numbered_from(1_000_000 * (1 + sorted(SEEDS).index(kind))):
        return SEEDS[kind]()


@cache
def _disc() -> dict[str, bytes]:
    with TemporaryDirectory() as folder:
        top = T.dicomdir(T.slices(small(2), PatientName=NAME), Path(folder) / "cd").parent
        return {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}


def beside_dicomdir(place: Path) -> None:
    for name, body in _disc().items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(body)


def one(**values) -> T.Dataset:
    """Return a small slice with changed elements."""
    d = T.slices(small(1, 32))[0]
    for keyword, value in values.items():
        setattr(d, keyword, value)
    return d
