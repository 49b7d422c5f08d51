"""Pictures written into DICOM files of any transfer syntax, with pydicom's decoders as judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from io_cases import ct, series
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from tomochrome.io.dicom.header_reader import read_header
from tomochrome.io.dicom.warning_capture import captured_warnings

PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"


def oracle(path: Path) -> np.ndarray:
    with captured_warnings():
        return pixel_array(pydicom.dcmread(path, force=True))


def picture(bits: int = 12, *, signed: bool = False, shape: tuple[int, int] = (40, 36)):
    """Smooth values with noise that use all of the bits."""
    rng = np.random.default_rng(bits + signed)
    y, x = np.mgrid[0 : 1 : shape[0] * 1j, 0 : 1 : shape[1] * 1j]
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values = least + (most - least) * (0.5 + 0.5 * np.sin(5 * x + 3 * y))
    values = np.clip(np.rint(values + rng.normal(0, 4, shape)), least, most)
    return values.astype(np.int16 if signed else np.uint16)


def file(
    tmp_path: Path,
    values: np.ndarray,
    *,
    syntax: str | None = None,
    code: list[bytes] | None = None,
    bits: int = 16,
    name: str = "one.dcm",
    **tags,
) -> Path:
    """Write values, or streams, into a CT image of one or several frames."""
    folder = series(tmp_path / f"template of {name}", ct((1, 40, 36)))
    dataset = pydicom.dcmread(next(folder.iterdir()))
    frames = values if values.ndim == 3 else values[None]
    dataset.Rows, dataset.Columns = frames.shape[1:]
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.BitsAllocated = 8 * values.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    if len(frames) > 1:
        dataset.NumberOfFrames = len(frames)
    dataset.PixelData = frames.astype(values.dtype.newbyteorder("<")).tobytes()
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
    if code is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate(code)
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    elif syntax == RLELossless:
        dataset.compress(RLELossless, encoding_plugin="pydicom")
    elif syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = frames.astype(values.dtype.newbyteorder(">")).tobytes()
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    fresh = pydicom.Dataset(dataset)  # which knows no encoding yet
    fresh.file_meta, dataset = dataset.file_meta, fresh
    path = tmp_path / name
    implicit = syntax == ImplicitVRLittleEndian
    with captured_warnings():
        dataset.save_as(
            path, implicit_vr=implicit, little_endian=syntax != ExplicitVRBigEndian,
            enforce_file_format=True,
        )  # fmt: skip
    return path


def plain(tmp_path: Path, values: np.ndarray, **tags):
    return read_header(file(tmp_path, values, **tags))
