"""Files that are not encoded as their transfer syntax says, and syntaxes that nobody decodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from io_cases import ct, series
from openjpeg.utils import encode_array
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from tomochrome.errors import InputError
from tomochrome.io import find, read
from tomochrome.notices import texts

SHAPE = (5, 100, 104)
VOLUME = ct(SHAPE)


def encoded(path: Path, dataset, declared: str, *, implicit: bool = False) -> None:
    """Write a data set as little endian, under the name of another transfer syntax."""
    dataset.file_meta.TransferSyntaxUID = declared
    fresh = pydicom.Dataset(dataset)
    meta = dataset.file_meta
    body = pydicom.filebase.DicomBytesIO()
    body.is_little_endian, body.is_implicit_VR = True, implicit
    pydicom.filewriter.write_dataset(body, fresh)
    head = pydicom.filebase.DicomBytesIO()
    head.is_little_endian, head.is_implicit_VR = True, False
    pydicom.filewriter.write_file_meta_info(head, meta)
    path.write_bytes(bytes(128) + b"DICM" + head.getvalue() + body.getvalue())


def as_j2k(dataset) -> None:
    values = np.frombuffer(dataset.PixelData, "<i2").reshape(dataset.Rows, dataset.Columns)
    dataset.PixelData = encapsulate([bytes(encode_array(values, bits_stored=16))])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


CASES = {
    "implicit, is explicit": (ImplicitVRLittleEndian, False, None),
    "explicit, is implicit": (ExplicitVRLittleEndian, True, None),
    "big endian, is little": (ExplicitVRBigEndian, False, None),
    "deflated, is not": (DeflatedExplicitVRLittleEndian, False, None),
    "JPEG 2000, is not compressed": (JPEG2000Lossless, False, None),
    "JPEG-LS, is not compressed": (JPEGLSLossless, False, None),
    "RLE, is not compressed": (RLELossless, False, None),
    "explicit, is JPEG 2000": (ExplicitVRLittleEndian, False, as_j2k),
    "JPEG-LS, is JPEG 2000": (JPEGLSLossless, False, as_j2k),
}


@pytest.mark.parametrize("which", ["all", "one"])
@pytest.mark.parametrize("case", CASES)
def test_the_values_are_read_as_they_are_encoded(tmp_path: Path, case: str, which: str) -> None:
    declared, implicit, edit = CASES[case]
    folder = series(tmp_path / "s", VOLUME)
    for path in sorted(folder.iterdir())[0 if which == "all" else 3 :]:
        dataset = pydicom.dcmread(path)
        if edit:
            edit(dataset)
        encoded(path, dataset, declared, implicit=implicit)
    (item,) = find(folder).items
    volume = read(folder)
    np.testing.assert_array_equal(volume.voxels, VOLUME.voxels)
    assert item.verdict == volume.provenance.verdict == "regular"
    if "JPEG-LS, is JPEG" not in case:  # which shows only when it is decoded
        assert any("violate the DICOM standard" in text for text in texts(item.warnings))


def test_the_reported_series(shared_data: Path) -> None:
    folder = shared_data / "cases" / "05_wrong_transfer_syntax_small" / "series"
    volume = read(folder)
    for i, path in enumerate(sorted(folder.iterdir())):
        with pytest.warns(UserWarning, match="explicit VR"):
            stored = pydicom.dcmread(path).pixel_array.astype(int)
        np.testing.assert_array_equal(volume.voxels[i], stored - 1024)


RETIRED = {
    "1.2.840.10008.1.2.4.52": "Process 3 and 5",
    "1.2.840.10008.1.2.4.66": "Process 29",
    "1.2.840.10008.1.2.4.92": "JPEG 2000 Part 2",
    "1.2.840.10008.1.2.4.94": "on a server",
    "1.2.840.10008.1.2.4.102": "a video",
    "1.2.840.10008.1.2.4.110": "4.110",
    "1.2.840.113619.5.2": "113619",
}


@pytest.mark.parametrize("syntax", RETIRED)
def test_a_syntax_that_no_decoder_reads_is_named(tmp_path: Path, syntax: str) -> None:
    """Before anything is decoded, in one sentence that does not ask for another copy."""
    folder = series(tmp_path / "s", VOLUME, compress="j2k")
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        (code,) = generate_frames(dataset.PixelData, number_of_frames=1)
        dataset.PixelData = encapsulate([b"\xff\xd8\xff\xc9" + code])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        encoded(path, dataset, syntax)
    (item,) = find(folder).items
    assert item.verdict == "unreadable"
    for source in (folder, next(folder.iterdir())):
        with pytest.raises(InputError, match=RETIRED[syntax]) as caught:
            read(source)
        for part in ("copy", "\n"):
            assert part not in str(caught.value)
        assert any(word in str(caught.value) for word in ("convert", "fetch", "choose"))
        assert syntax in str(caught.value)


@pytest.mark.parametrize("keep", [0.15, 0.5, 0.9, 0.99])
def test_a_stream_that_was_cut_before_it_was_packed(tmp_path: Path, keep: float) -> None:
    """The file is whole, so another copy of it would be no better, and half a picture is none."""
    folder = series(tmp_path / "s", VOLUME, compress="j2k")
    victim = sorted(folder.iterdir())[2]
    for path in (victim, *folder.iterdir()):
        dataset = pydicom.dcmread(path)
        (code,) = generate_frames(dataset.PixelData, number_of_frames=1)
        dataset.PixelData = encapsulate([code[: int(keep * len(code))]])
        dataset.save_as(path)
        if path == victim:
            volume = read(folder)
            assert volume.provenance.verdict == "incomplete"
            named = [t for t in texts(volume.provenance.warnings) if victim.name in t]
            assert named
            assert "JPEG 2000 Image Compression (Lossless Only)" in named[0]
            assert "truncated" in named[0]
    for source in (folder, victim):
        with pytest.raises(InputError, match="JPEG 2000") as caught:
            read(source)
        assert "copy" not in str(caught.value)
        assert "export" in str(caught.value)
