"""Pixels of every transfer syntax, with pydicom's decoders as the judge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from jpeg_ls import encode_array as encode_jpeg_ls
from openjpeg.utils import encode_array as encode_jpeg_2000
from pixel_cases import PYDICOM, file, oracle, picture
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from tomochrome.errors import InputError
from tomochrome.io.dicom.frames import Source
from tomochrome.io.dicom.header_reader import read_header
from tomochrome.io.dicom.pixels import read_slices, stored_values

GREY = [
    "693_J2KI", "CT_small", "J2K_pixelrep_mismatch", "JPEG2000", "JPEGLSNearLossless_08",
    "JPEGLSNearLossless_16", "MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_expb",
    "MR_small_implicit", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless",
    "MR_small_padded", "examples_overlay", "image_dfl",
]  # fmt: skip
SHARED = [
    "syntaxes/693_J2KR", "syntaxes/693_UNCI", "syntaxes/693_UNCR", "syntaxes/CT1_JLSN",
    "syntaxes/ELSCINT1_JP2vsJ2K", "syntaxes/MR_small_RLE", "syntaxes/MR_small_bigendian",
    "syntaxes/MR_small_jpeg_ls_lossless", "syntaxes/TOSHIBA_J2K_SIZ0_PixRep1",
    "syntaxes/bad_sequence", "odd/CT_small", "odd/image_dfl", "ct_with_seg/ct_image",
]  # fmt: skip


@pytest.mark.parametrize("name", GREY)
def test_pydicoms_files_decode_as_pydicom_does(name: str) -> None:
    path = PYDICOM / f"{name}.dcm"
    np.testing.assert_array_equal(stored_values(read_header(path)), oracle(path))


@pytest.mark.parametrize("name", SHARED)
def test_shared_files_decode_as_pydicom_does(shared_data: Path, name: str) -> None:
    path = shared_data / "dicom" / f"{name}.dcm"
    np.testing.assert_array_equal(stored_values(read_header(path)), oracle(path))


@pytest.mark.parametrize("name", ["JPEG-lossy", "JPGExtended"])
def test_jpeg_extended_of_12_bits(name: str) -> None:
    # pydicom's own decoders refuse these; the values are those its test suite holds
    stored = stored_values(read_header(PYDICOM / f"{name}.dcm"))
    assert stored.shape == (1024, 256)
    assert (stored[420, 140], stored[230, 120]) == (244, 95)


def test_jpeg2000_equals_uncompressed(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "syntaxes"
    packed, plain = (
        read_slices([read_header(folder / f"693_{kind}.dcm")]) for kind in ("J2KR", "UNCR")
    )
    np.testing.assert_array_equal(packed.voxels, plain.voxels)
    np.testing.assert_array_equal(packed.outside, plain.outside)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 13, 16])
@pytest.mark.parametrize(
    "syntax",
    [None, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless,
     JPEG2000Lossless, JPEGLSLossless],
)  # fmt: skip
def test_every_lossless_syntax_gives_back_what_was_written(tmp_path, syntax, bits, signed) -> None:
    values, code = picture(bits, signed=signed), None
    if syntax == RLELossless and bits == 8:  # its encoder takes 8 bits in bytes only
        values = values.astype(np.int8 if signed else np.uint8)
    if syntax == JPEG2000Lossless:
        code = [encode_jpeg_2000(values, bits_stored=bits)]
    if syntax == JPEGLSLossless:
        if bits == 8:
            pytest.skip("its encoder takes 8 bits in bytes only")
        pattern = (values.view(np.uint16) & (2**bits - 1)).astype(np.uint16)
        code = [bytes(encode_jpeg_ls(pattern))]
    path = file(tmp_path, values, syntax=syntax, code=code, bits=bits)
    stored = stored_values(read_header(path))
    assert stored.dtype.kind == values.dtype.kind
    np.testing.assert_array_equal(stored, values)


@pytest.mark.parametrize("process", ["57", "70"])
def test_jpeg_lossless(tmp_path: Path, process: str) -> None:
    import gdcm

    values = picture(12)
    source = file(tmp_path, values, bits=12)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    changer = gdcm.ImageChangeTransferSyntax()
    kind = gdcm.TransferSyntax.GetTSType(f"1.2.840.10008.1.2.4.{process}")
    changer.SetTransferSyntax(gdcm.TransferSyntax(kind))
    changer.SetInput(reader.GetImage())
    assert changer.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(tmp_path / "packed.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(changer.GetOutput())
    assert writer.Write()
    header = read_header(tmp_path / "packed.dcm")
    assert header.transfer_syntax.endswith(process)
    np.testing.assert_array_equal(stored_values(header), values)


def test_jpeg_of_8_bits(tmp_path: Path) -> None:
    from io import BytesIO

    from PIL import Image

    smooth = (picture(8) // 2 + 60).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(smooth).save(buffer, "JPEG", quality=95)
    code = [buffer.getvalue()]
    path = file(tmp_path, smooth, syntax="1.2.840.10008.1.2.4.50", code=code, bits=8)
    np.testing.assert_array_equal(stored_values(read_header(path)), oracle(path))


def test_the_stream_tells_what_the_header_does_not(tmp_path: Path) -> None:
    signed = picture(13, signed=True)
    # The stream says signed, the header says unsigned: the stream's values are meant.
    code = [encode_jpeg_2000(signed, bits_stored=13)]
    path = file(tmp_path, signed.view(np.uint16), syntax=JPEG2000Lossless, code=code, bits=16)
    np.testing.assert_array_equal(stored_values(read_header(path)), signed)
    # The other way round they are two's complements, of as many bits as the stream has.
    pattern = signed.view(np.uint16) & 0x1FFF
    code = [encode_jpeg_2000(pattern, bits_stored=13)]
    path = file(tmp_path, signed, syntax=JPEG2000Lossless, code=code, bits=16, name="other")
    np.testing.assert_array_equal(stored_values(read_header(path)), signed)


def test_a_file_without_preamble_and_meta_information(tmp_path: Path) -> None:
    values = picture()
    whole = file(tmp_path, values).read_bytes()
    start = whole.index(b"\x08\x00\x05\x00") if b"\x08\x00\x05\x00" in whole[:600] else 0
    start = start or whole.index(b"\x08\x00\x08\x00CS")
    bare = tmp_path / "bare"
    bare.write_bytes(whole[start:])
    np.testing.assert_array_equal(stored_values(read_header(bare)), values)


@pytest.mark.parametrize("table", ["basic", "none", "extended", "pieces"])
def test_one_frame_of_many_is_decoded_alone(tmp_path: Path, table: str) -> None:
    frames = np.stack([picture() // (i + 1) for i in range(4)])
    code = [encode_jpeg_2000(frame, bits_stored=12) for frame in frames]
    path = file(tmp_path, frames, syntax=JPEG2000Lossless, code=code, bits=12)
    dataset = pydicom.dcmread(path)
    if table == "none":
        dataset.PixelData = encapsulate(code, has_bot=False)
    elif table == "pieces":
        dataset.PixelData = encapsulate(code, fragments_per_frame=3)
    elif table == "extended":
        dataset.PixelData, offsets, lengths = encapsulate_extended(code)
        dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
    dataset.save_as(path)
    header = read_header(path)
    for i in (3, 0, 2):
        stored = stored_values(replace(header, frame=i))
        np.testing.assert_array_equal(stored, frames[i])
    slices = read_slices([replace(header, frame=i) for i in (2, 1, 3, 0)])
    np.testing.assert_array_equal(slices.voxels, frames[[2, 1, 3, 0]])
    with pytest.raises(InputError, match="one"):
        stored_values(replace(header, frame=4))


def test_a_file_of_many_frames_is_opened_once(tmp_path: Path, monkeypatch) -> None:
    frames = np.stack([picture() // (i + 1) for i in range(5)])
    header = read_header(file(tmp_path, frames))
    opened = []
    find = Source._find
    monkeypatch.setattr(Source, "_find", lambda s, f: opened.append(1) or find(s, f))
    slices = read_slices([replace(header, frame=i) for i in range(5)], threads=2)
    np.testing.assert_array_equal(slices.voxels, frames)
    assert len(opened) == 1
