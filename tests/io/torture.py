"""Makers of troubled series: each is a small scan of the phantom with something wrong about it.

The writer here is the tests' own, on pydicom alone, so that nothing of what is tested writes
what it is tested with. A series is a list of data sets; a maker changes the list, `save` writes
it. Positions and values are known, so that each test can say where every voxel must come to lie.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
from openjpeg.utils import encode_buffer
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.fileset import FileSet
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tomochrome.geometry.affine import apply, compose, decompose
from tomochrome.volume import Volume

AXIAL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=float).T
CORONAL = np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]], dtype=float).T
SHAPE = (24, 48, 48)
SPACING = (5.0, 4.0, 4.0)
ORIGIN = (-96.0, -102.5, 530.25)
SECRETS = {
    "PatientName": "Musterfrau^Erika",
    "PatientID": "PID4711-0815",
    "PatientBirthDate": "19640812",
    "AccessionNumber": "ACC9988776",
}
"""What must never be told. Each value is found nowhere else in the files."""
PARTS = ("Musterfrau", "MUSTERFRAU", "Erika", "ERIKA", "4711-0815", "19640812", "9988776")
"""Pieces of the above; none may turn up, whatever is put around it."""


@cache
def scan() -> Volume:
    """Return the phantom's head: 24 axial slices of 48x48, whole HU, no two slices alike."""
    from tomochrome.phantom import make_patient

    head = make_patient(seed=3, region="head", spacing=SPACING, shape=SHAPE).ct.voxels
    voxels = np.clip(head, -1000, 3000).astype(np.int16)
    voxels.setflags(write=False)
    return Volume(voxels, compose(ORIGIN, AXIAL, SPACING), "HU")


def ramp(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return what a field that is linear in space measures at each voxel.

    Linear interpolation reproduces it exactly, so that any resampling can be held to it.
    """
    return field(apply(affine, np.moveaxis(np.indices(shape), 0, -1)))


def field(points: np.ndarray) -> np.ndarray:
    """Return the linear field in HU at LPS positions (..., 3)."""
    return 40.0 + np.asarray(points) @ (1.5, -0.75, 2.0) - 900.0


_numbers = count(1)


def new_uid() -> UID:
    """Return a UID that this process has not had; the same ones in every process."""
    return UID(f"1.2.826.0.1.3680043.8.498.{next(_numbers)}")


@contextmanager
def numbered_from(first: int) -> Iterator[None]:
    """Count UIDs from a number on, so that what is made here is the same whenever it is made."""
    global _numbers
    before, _numbers = _numbers, count(first)
    try:
        yield
    finally:
        _numbers = before


# --- series ------------------------------------------------------------------------------------


def slices(volume: Volume, **values: object) -> list[Dataset]:
    """Return the data sets of a classic series: stored = HU + 1024, 16 bit signed.

    ``values`` are further elements that all slices have.
    """
    names = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    uids = {name: new_uid() for name in names}
    origin, directions, spacing = decompose(volume.affine)
    return [
        one_slice(
            volume.voxels[z],
            origin + directions[:, 0] * spacing[0] * z,
            directions,
            spacing,
            **{**uids, "InstanceNumber": z + 1, **values},
        )
        for z in range(volume.shape[0])
    ]


def same_series(datasets: Iterable[Dataset], first: Dataset) -> None:
    """Put data sets into the series of another."""
    for d in datasets:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            setattr(d, keyword, first[keyword].value)


def one_slice(
    plane: np.ndarray,
    position: Sequence[float],
    directions: np.ndarray,
    spacing: Sequence[float],
    *,
    slope: float = 1.0,
    intercept: float = -1024.0,
    **values: object,
) -> Dataset:
    """Return one CT image as a data set."""
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID, d.SOPInstanceUID, d.Modality = CTImageStorage, new_uid(), "CT"
    d.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    d.PatientName = d.PatientID = d.PatientBirthDate = d.AccessionNumber = ""
    d.StudyDate = d.StudyTime = ""
    d.SeriesNumber = 2
    d.ImagePositionPatient = [f"{v:.10g}" for v in position]
    d.ImageOrientationPatient = [f"{v:.10g}" for v in (*directions[:, 2], *directions[:, 1])]
    d.PixelSpacing = [f"{v:.8g}" for v in spacing[1:]]
    d.SliceThickness = f"{spacing[0]:.6g}"
    d.RescaleSlope, d.RescaleIntercept, d.RescaleType = f"{slope:g}", f"{intercept:g}", "HU"
    d.WindowCenter, d.WindowWidth = "40", "80"
    for keyword, value in values.items():
        setattr(d, keyword, value)
    put(d, np.rint((np.asarray(plane, dtype=float) - intercept) / slope))
    return d


def put(d: Dataset, stored: np.ndarray) -> None:
    """Store whole numbers as 16 bit signed pixels."""
    d.Rows, d.Columns = stored.shape
    d.SamplesPerPixel, d.PhotometricInterpretation = (
        1,
        d.get("PhotometricInterpretation", "MONOCHROME2"),
    )
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 1
    d.PixelData = stored.astype("<i2").tobytes()
    d["PixelData"].VR = "OW"


def stored(d: Dataset) -> np.ndarray:
    """Return the stored values of a data set that `put` filled."""
    return np.frombuffer(d.PixelData, "<i2").reshape(d.Rows, d.Columns).astype(int)


def along(directions: np.ndarray, offsets: Iterable[float], first: Sequence[float]) -> np.ndarray:
    """Return positions at the given distances along the slice normal."""
    return np.array([np.asarray(first) + directions[:, 0] * o for o in offsets])


def uneven(offsets: Sequence[float], shape: tuple[int, int] = (24, 20)) -> list[Dataset]:
    """Return axial slices of the linear field at the given heights."""
    affine = compose(ORIGIN, AXIAL, (1.0, 3.0, 3.0))
    uid, study = new_uid(), new_uid()
    return [
        one_slice(
            ramp(compose(p, AXIAL, (1.0, 3.0, 3.0)), (1, *shape))[0],
            p, AXIAL, (2.0, 3.0, 3.0), SeriesInstanceUID=uid, StudyInstanceUID=study,
        )
        for p in along(AXIAL, offsets, affine[:3, 3])
    ]  # fmt: skip


def tilted(degrees: float, count: int = 16, step: float = 4.0) -> list[Dataset]:
    """Return slices of the linear field as a tilted gantry makes them.

    The slice planes lean, the table moves along z: the normal is not the direction of travel.
    """
    angle = np.radians(degrees)
    directions = AXIAL.copy()
    directions[:, 1] = (0, np.cos(angle), -np.sin(angle))
    directions[:, 0] = np.cross(directions[:, 2], directions[:, 1])
    uid, study = new_uid(), new_uid()
    out = []
    for i in range(count):
        position = np.round(np.add(ORIGIN, (0, 0, step * i)), 3)
        affine = compose(position, directions, (1.0, 3.0, 3.0))
        plane = ramp(affine, (1, 32, 20))[0]
        out.append(
            one_slice(plane, position, directions, (step, 3.0, 3.0),
                      SeriesInstanceUID=uid, StudyInstanceUID=study, AcquisitionNumber=i + 1)
        )  # fmt: skip
    return out


def positions(datasets: Sequence[Dataset]) -> np.ndarray:
    """Return the positions of slices, shape (n, 3)."""
    return np.array([d.ImagePositionPatient for d in datasets], dtype=float)


def save(
    datasets: Sequence[Dataset],
    folder: Path,
    *,
    syntax: UID = ExplicitVRLittleEndian,
    name: str = "{:04d}.dcm",
    start: int = 0,
) -> Path:
    """Write each data set as a file of the folder, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, d in enumerate(datasets, start=start):
        save_one(d, folder / name.format(i), syntax)
    return folder


def save_one(d: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write one data set in a transfer syntax."""
    d = deepcopy(d)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = d.get("SOPClassUID") or CTImageStorage
    meta.MediaStorageSOPInstanceUID = d.get("SOPInstanceUID") or new_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.file_meta = meta
    if syntax in (RLELossless, JPEGLSLossless):
        d.compress(syntax, generate_instance_uid=False)
    elif syntax == JPEG2000Lossless:
        encoded = encode_buffer(d.PixelData, d.Columns, d.Rows, 1, d.BitsStored, is_signed=True)
        d.PixelData = encapsulate([bytes(encoded)])
        d["PixelData"].VR = "OB"
        d["PixelData"].is_undefined_length = True
    elif syntax == JPEGLosslessSV1:
        return _by_gdcm(d, path)
    elif syntax == ExplicitVRBigEndian and "PixelData" in d:
        d.PixelData = np.frombuffer(d.PixelData, "<u2").astype(">u2").tobytes()
        d["PixelData"].VR = "OW"
    d.file_meta.TransferSyntaxUID = syntax
    d.save_as(path, enforce_file_format=True)
    return path


def _by_gdcm(d: Dataset, path: Path) -> Path:
    """Compress by GDCM as JPEG lossless, which no other installed encoder can."""
    import gdcm

    d.save_as(path, enforce_file_format=True)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return path


SYNTAXES = {
    "implicit": ImplicitVRLittleEndian,
    "big-endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg-lossless": JPEGLosslessSV1,
    "jpeg-ls": JPEGLSLossless,
    "jpeg-2000": JPEG2000Lossless,
}


# --- objects beside the images -----------------------------------------------------------------

BESIDE = {
    "SR": "1.2.840.10008.5.1.4.1.1.88.33",
    "dose report": "1.2.840.10008.5.1.4.1.1.88.67",
    "KO": "1.2.840.10008.5.1.4.1.1.88.59",
    "PR": "1.2.840.10008.5.1.4.1.1.11.1",
    "SEG": "1.2.840.10008.5.1.4.1.1.66.4",
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
}


def beside(kind: str, like: Dataset) -> Dataset:
    """Return an object of the same study that is no image of the patient."""
    d = Dataset()
    d.SOPClassUID, d.SOPInstanceUID = UID(BESIDE[kind]), new_uid()
    d.StudyInstanceUID, d.SeriesInstanceUID = like.StudyInstanceUID, new_uid()
    d.Modality = "SR" if kind == "dose report" else kind
    d.PatientName = "TORTURE^NOBODY"
    if kind == "SEG":
        d.Rows, d.Columns, d.NumberOfFrames, d.SamplesPerPixel = 16, 16, 2, 1
        d.PhotometricInterpretation = "MONOCHROME2"
        d.BitsAllocated = d.BitsStored = 8
        d.HighBit, d.PixelRepresentation = 7, 0
        d.FrameOfReferenceUID = like.FrameOfReferenceUID
        d.PixelData = bytes(512)
        d["PixelData"].VR = "OB"
    if kind in ("SR", "dose report", "KO"):
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "DCM", "Report"
        d.ConceptNameCodeSequence = Items([code])
    return d


def with_secrets(datasets: Sequence[Dataset]) -> Sequence[Dataset]:
    """Plant a patient's name, id, birth date and accession number in every plausible place."""
    name = SECRETS["PatientName"]
    everything = " ".join(SECRETS.values())
    for d in datasets:
        for keyword, value in SECRETS.items():
            setattr(d, keyword, value)
        d.OtherPatientIDs = SECRETS["PatientID"]
        d.OtherPatientNames = d.PatientMotherBirthName = name
        d.PatientBirthName = name
        d.PatientComments = d.ImageComments = d.StudyComments = everything
        d.StudyID = SECRETS["AccessionNumber"]
        d.StudyDescription = f"CT head {everything}"
        d.SeriesDescription = f"Head 5.0 Erika Musterfrau {SECRETS['PatientID']}"
        d.ProtocolName = f"Head {name}"
        d.RequestedProcedureDescription = everything
        d.RequestedProcedureID = SECRETS["AccessionNumber"]
        d.ReferringPhysicianName = "Musterfrau^Erika"
        d.WindowCenterWidthExplanation = f"{name} 4711-0815"[:64]
        d.ConvolutionKernel = "MUSTERFRAU"
        d.RescaleType = "MUSTERFRAU"
        d.DerivationDescription = everything
        d.ContrastBolusAgent = "Musterfrau"
        d.add_new((0x0009, 0x0010), "LO", "MUSTERFRAU")
        d.add_new((0x0009, 0x1001), "LT", everything)
    return datasets


# --- containers --------------------------------------------------------------------------------


def dicomdir(datasets: Sequence[Dataset], folder: Path) -> Path:
    """Write the data sets and a DICOMDIR that lists them, by pydicom, and return its path."""
    files = FileSet()
    files.UID = new_uid()
    for d in datasets:
        d = deepcopy(d)
        d.PatientID = d.get("PatientID") or "NOBODY"
        d.StudyDate, d.StudyTime, d.StudyID = "20200101", "120000", "1"
        d.file_meta = FileMetaDataset()
        d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID
        d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID
        files.add(d)
    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder)
    files._stage["t"].cleanup()  # else it warns when it is collected
    return folder / "DICOMDIR"


def zipped(folder: Path, path: Path, *, top: str = "CD/") -> Path:
    """Pack a folder, and return the archive's path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                # ZipInfo by hand: with a file's own date no archive would be made twice alike.
                info = zipfile.ZipInfo(top + str(file.relative_to(folder)))
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, file.read_bytes())
    return path
