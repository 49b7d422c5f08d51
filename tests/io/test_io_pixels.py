"""Pixels of every transfer syntax, with pydicom's decoders as the judge; values; hostile files."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from io_cases import change, ct, series
from jpeg_ls import encode_array as encode_jpeg_ls
from openjpeg.utils import encode_array as encode_jpeg_2000
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from tomochrome.errors import Cancelled, InputError
from tomochrome.io.dicom import crew, decoder
from tomochrome.io.dicom.crew import Crew
from tomochrome.io.dicom.decoder import Job
from tomochrome.io.dicom.frames import Source
from tomochrome.io.dicom.headers import read_header, read_headers
from tomochrome.io.dicom.pixels import read_slices, stored_values
from tomochrome.io.dicom.quiet import quiet
from tomochrome.io.dicom.rescale import DoesNotFitError, rescale
from tomochrome.runtime import CancelToken

PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"
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


def oracle(path: Path) -> np.ndarray:
    with quiet():
        return pixel_array(pydicom.dcmread(path, force=True))


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
    with quiet():
        dataset.save_as(
            path, implicit_vr=implicit, little_endian=syntax != ExplicitVRBigEndian,
            enforce_file_format=True,
        )  # fmt: skip
    return path


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


# --- values


def plain(tmp_path: Path, values: np.ndarray, **tags):
    return read_header(file(tmp_path, values, **tags))


@settings(deadline=None, max_examples=80)
@given(
    stored=st.lists(st.integers(-32768, 32767), min_size=4, max_size=4),
    unsigned=st.booleans(),
    slope=st.integers(1, 40),
    intercept=st.integers(-40000, 40000),
)
def test_whole_factors_give_exact_int16_or_say_that_they_cannot(
    stored, unsigned, slope, intercept
) -> None:
    header = _template()
    values = np.array(stored, np.int16).reshape(2, 2)
    values = values.view(np.uint16) if unsigned else values
    exact = values.astype(np.int64) * slope + intercept
    out = np.empty((2, 2), np.int16)
    header = replace(header, slope=float(slope), intercept=float(intercept))
    try:
        outside = rescale(values.copy(), header, out)
    except DoesNotFitError:
        assert exact.min() < -32768 or exact.max() > 32767
        return
    kept = ~outside if outside is not None else np.ones((2, 2), bool)
    np.testing.assert_array_equal(out[kept], exact[kept])


_HEADER = []


def _template():
    if not _HEADER:
        path = PYDICOM / "CT_small.dcm"
        _HEADER.append(replace(read_header(path), padding=None))
    return _HEADER[0]


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_hounsfield_units_do_not_depend_on_how_they_are_shown(tmp_path, kind) -> None:
    values = picture()
    header = plain(
        tmp_path, values, bits=12, PhotometricInterpretation=kind, RescaleIntercept=-1024
    )
    np.testing.assert_array_equal(read_slices([header]).voxels[0], values.astype(int) - 1024)


def test_fractions_and_changing_slopes_become_floats(tmp_path: Path) -> None:
    values = picture()
    headers = [
        plain(tmp_path, values, bits=12, name=f"{i}", RescaleSlope=slope, RescaleIntercept=b)
        for i, (slope, b) in enumerate([("1", "-1024"), ("0.5", "-512.25")])
    ]
    slices = read_slices(headers)
    assert slices.voxels.dtype == np.float32
    np.testing.assert_array_equal(slices.voxels[0], values - 1024.0)
    np.testing.assert_array_equal(slices.voxels[1], values * 0.5 - 512.25)
    whole = read_slices([headers[0], replace(headers[1], slope=2.0, intercept=-1000.0)])
    assert whole.voxels.dtype == np.int16
    np.testing.assert_array_equal(whole.voxels[1], values.astype(int) * 2 - 1000)


def test_a_lookup_table_is_applied(tmp_path: Path) -> None:
    values = picture(8)
    item = pydicom.Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [100, 50, 16], "US"
    table = (np.arange(100) ** 2 * 3).astype(np.uint16)
    item.LUTData = table.tolist()
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    header = plain(tmp_path, values, bits=8, ModalityLUTSequence=[item])
    expected = table[np.clip(values.astype(int) - 50, 0, 99)]  # PS3.3 C.11.1.1.1
    voxels = read_slices([header]).voxels
    np.testing.assert_array_equal(voxels[0], expected)
    assert voxels.dtype == np.int16
    item.LUTData = item.LUTData[:10]
    with pytest.raises(InputError, match="lookup table"):
        read_slices([plain(tmp_path, values, bits=8, name="torn", ModalityLUTSequence=[item])])


def round_field(value: int, radius: float = 20.0, centre: tuple[float, float] = (19.5, 19.5)):
    y, x = np.mgrid[:40, :40]
    outside = np.hypot(y - centre[0], x - centre[1]) > radius
    body = picture(12, shape=(40, 40)).astype(np.int16) - 1024
    return np.where(outside, value, np.clip(body, -1024, 3071)).astype(np.int16), outside


@pytest.mark.parametrize("value", [-2000, -2048, -3024, -1025])
@pytest.mark.parametrize("radius", [17.0, 20.0, 24.0])
def test_the_outside_of_a_round_field_is_air_and_marked(tmp_path, value, radius) -> None:
    values, outside = round_field(value, radius)
    header = plain(tmp_path, values)
    slices = read_slices([header, replace(header, frame=0)])
    assert slices.outside is not None
    np.testing.assert_array_equal(slices.outside, [outside, outside])
    assert (slices.voxels[slices.outside] == -1024).all()
    np.testing.assert_array_equal(slices.voxels[0][~outside], values[~outside])


def not_low_enough(values, outside):
    values[outside] = -1024


def another_corner(values, outside):
    values[0, 0] = -2001


def noise(values, outside):
    values[outside] += np.arange(outside.sum(), dtype=np.int16) % 2


def hole(values, outside):
    values[20, 20] = values[0, 0]


def square(values, outside):
    values[:] = 0
    values[:3] = values[-3:] = values[:, :3] = values[:, -3:] = -2000


@pytest.mark.parametrize("edit", [not_low_enough, another_corner, noise, hole, square])
def test_what_is_not_surely_the_outside_of_a_circle_stays(tmp_path, edit) -> None:
    values, outside = round_field(-2000)
    edit(values, outside)
    slices = read_slices([plain(tmp_path, values)])
    assert slices.outside is None
    np.testing.assert_array_equal(slices.voxels[0], values)


def test_padding_is_marked_and_only_then_a_mask_is_made(tmp_path: Path) -> None:
    values, outside = round_field(-2000, centre=(15, 22))
    tags = {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}
    first = plain(tmp_path, values, name="0", **tags)
    second = plain(tmp_path, np.maximum(values, -1000), name="1")
    slices = read_slices([first, second])
    assert slices.outside is not None
    np.testing.assert_array_equal(slices.outside, [outside, np.zeros_like(outside)])
    assert (slices.voxels[slices.outside] == -1024).all()
    assert read_slices([second]).outside is None
    blank = plain(tmp_path, np.full((40, 40), -2000, np.int16), name="2", **tags)
    slices = read_slices([blank])
    assert slices.outside is not None
    assert slices.outside.all()
    assert (slices.voxels == -1024).all()


def test_padding_does_not_decide_which_values_fit(tmp_path: Path) -> None:
    values, _ = round_field(-32768)
    header = plain(tmp_path, values, PixelPaddingValue=-32768, RescaleIntercept=-1024)
    assert read_slices([header]).voxels.dtype == np.int16


def test_the_real_round_field(shared_data: Path) -> None:
    path = shared_data / "dicom" / "syntaxes" / "TOSHIBA_J2K_SIZ0_PixRep1.dcm"
    slices = read_slices([read_header(path)])
    raw = oracle(path)
    assert raw.min() == -2048
    if slices.outside is None:
        assert slices.voxels.min() == -2048
    else:
        np.testing.assert_array_equal(slices.outside[0], raw == -2048)


# --- hostile files


def test_sizes_that_cannot_be_true_take_no_memory(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(np, "empty", lambda *a, **k: pytest.fail("memory was taken"))
    header = read_header(PYDICOM / "MR_small.dcm")
    packed = read_header(PYDICOM / "MR_small_jp2klossless.dcm")
    for source in (header, packed):
        with pytest.raises(InputError, match="more than any CT holds"):
            read_slices([replace(source, rows=60000, columns=60000)])
        with pytest.raises(InputError, match="more than any CT holds"):
            read_slices([replace(source, rows=4096, columns=4096)] * 1000)
    with pytest.raises(InputError, match="truncated"):
        read_slices([replace(header, rows=8000, columns=8000)])
    with pytest.raises(InputError, match="too small for the 5 slices"):
        read_slices([replace(packed, rows=8000, columns=8000)] * 5)


@pytest.mark.parametrize("name", ["MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"])
def test_a_stream_of_another_size_than_the_header_says_is_refused(name: str) -> None:
    header = read_header(PYDICOM / f"{name}.dcm")
    with pytest.raises(InputError, match="64x64 pixels although"):
        stored_values(replace(header, rows=8000, columns=8000))


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError):
        stored_values(replace(read_header(PYDICOM / "CT_small.dcm"), path=pipe))


def mutations(code: bytes, count: int, seed: int = 3):
    rng = np.random.default_rng(seed)
    for i in range(count):
        damaged = bytearray(code if i % 4 else code[: rng.integers(4, len(code))])
        reach = min(len(damaged), 200) if i % 2 else len(damaged)
        for _ in range(rng.integers(1, 12)):
            damaged[rng.integers(2, reach) if reach > 2 else 0] = rng.integers(256)
        yield bytes(damaged)


@pytest.mark.parametrize(
    "name", ["MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_RLE", "JPEG-lossy"]
)
def test_damaged_streams_end_in_a_sentence_or_in_pixels(name: str, monkeypatch, capfd) -> None:
    header = read_headers(PYDICOM / f"{name}.dcm")[0]
    with Source(header) as source:
        code = source.read_code(0)
    damaged = list(mutations(code, 60))
    monkeypatch.setattr(Source, "read_code", lambda self, frame: damaged[frame])
    from tomochrome.io.dicom.stored import read_compressed

    with Crew() as workers, Source(header) as source, quiet():
        for i in range(len(damaged)):
            try:
                stored = read_compressed(replace(header, frame=i), source, workers)
            except InputError as error:
                assert name in str(error)
                assert "\n" not in str(error)
            else:
                assert stored.shape == (header.rows, header.columns)
    assert capfd.readouterr() == ("", "")
    assert not psutil.Process().children()


# --- decoding processes


JOB = Job(0, 40, 36, 16, 12, 0, JPEG2000Lossless.encode())


def job() -> tuple[Job, bytes, np.ndarray]:
    values = picture()
    code = encode_jpeg_2000(values, bits_stored=12)
    return JOB._replace(length=len(code)), code, values


@pytest.mark.parametrize("signed", [False, True])
def test_gdcm_decodes_jpeg_2000_where_openjpeg_fails_and_alike(monkeypatch, signed: bool) -> None:
    values = picture(signed=signed)
    code = encode_jpeg_2000(values, bits_stored=12)
    task = JOB._replace(length=len(code), signed=int(signed))

    def fail(code: bytes) -> bytes:
        raise RuntimeError

    first = decoder.decode(task, code)
    monkeypatch.setattr(decoder, "_openjpeg", fail)
    for decoded in (first, decoder.decode(task, code)):
        np.testing.assert_array_equal(np.frombuffer(decoded, values.dtype), values.ravel())
    with pytest.raises(RuntimeError):
        decoder.decode(task._replace(syntax=b"1.2.840.10008.1.2.4.201"), code)


def test_processes_are_used_again_and_gone_at_the_end() -> None:
    task, code, values = job()
    with Crew() as workers:
        for _ in range(3):
            decoded = workers.decode(task, code).view("<u2").reshape(values.shape)
            np.testing.assert_array_equal(decoded, values)
        assert len(psutil.Process().children()) == 1
    assert not psutil.Process().children()
    with pytest.raises(crew.DecodeError):
        workers.decode(task, code)


def test_a_process_that_dies_costs_one_frame_only() -> None:
    task, code, values = job()
    with Crew() as workers:
        workers.decode(task, code)
        (process,) = psutil.Process().children()
        process.kill()
        process.wait()
        with pytest.raises(crew.DecodeError, match="broke down"):
            workers.decode(task, code)
        decoded = workers.decode(task, code).view("<u2").reshape(values.shape)
        np.testing.assert_array_equal(decoded, values)


@pytest.mark.parametrize("executable", ["", "/opt/napari/napari", "/nowhere/python3"])
def test_where_no_process_can_be_started_this_one_decodes(monkeypatch, executable: str) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    task, code, values = job()
    with Crew() as workers:
        decoded = workers.decode(task, code).view("<u2").reshape(values.shape)
        np.testing.assert_array_equal(decoded, values)
        with pytest.raises(crew.DecodeError):
            workers.decode(task._replace(length=50), code[:50])


def test_a_program_that_is_no_decoder_is_left_alone(monkeypatch, tmp_path: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text("print('hello')")
    monkeypatch.setattr(decoder, "__file__", str(other))
    task, code, values = job()
    with Crew() as workers:
        decoded = workers.decode(task, code).view("<u2").reshape(values.shape)
        np.testing.assert_array_equal(decoded, values)
    assert not psutil.Process().children()


def test_a_cancelled_reading_leaves_no_process_and_no_thread(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", ct((12, 40, 36)), compress="j2k")
    headers = [read_header(path) for path in sorted(folder.iterdir())]
    threads = threading.active_count()
    token = CancelToken()

    def stop(done: int, total: int, stage: str) -> None:
        if done == 2:
            token.cancel()

    with pytest.raises(Cancelled):
        read_slices(headers, progress=stop, cancel=token)
    assert not psutil.Process().children()
    assert threading.active_count() == threads


def test_a_slice_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    def damage(dataset, i):
        if i == 3:
            dataset.PixelData = dataset.PixelData[:60] + bytes(len(dataset.PixelData) - 60)

    folder = series(tmp_path / "s", ct((6, 40, 36)), compress="j2k")
    paths = sorted(change(folder, damage).iterdir())
    with pytest.raises(InputError, match=paths[3].name):
        read_slices([read_header(path) for path in paths])
    assert not psutil.Process().children()
