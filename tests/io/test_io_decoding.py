"""Decoding processes that die, fail or cannot start; pixels that are damaged or not as claimed."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from io_cases import change, ct, series
from openjpeg.utils import encode_array as encode_jpeg_2000
from pixel_cases import PYDICOM, picture
from pydicom.pixels.encoders.native import _encode_segment
from pydicom.uid import JPEG2000Lossless, RLELossless

from tomochrome.errors import Cancelled, InputError
from tomochrome.io.dicom import decode
from tomochrome.io.dicom.frames import Source
from tomochrome.io.dicom.header_reader import read_header, read_headers
from tomochrome.io.dicom.pixels import read_slices, stored_values
from tomochrome.io.dicom.stored_values import read_compressed
from tomochrome.io.dicom.warning_capture import captured_warnings
from tomochrome.runtime import Task, running, sandbox


def frame(values: np.ndarray, syntax: str = JPEG2000Lossless) -> decode.Frame:
    rows, columns = values.shape
    return decode.Frame("x.dcm", syntax, rows, columns, 16, values.dtype.kind == "i")


@pytest.mark.parametrize("signed", [False, True])
def test_gdcm_decodes_jpeg_2000_where_openjpeg_fails_and_alike(monkeypatch, signed: bool) -> None:
    values = picture(signed=signed)
    code = encode_jpeg_2000(values, bits_stored=12)

    def fail(code: bytes) -> bytes:
        raise RuntimeError

    first = decode.decode(frame(values), code)
    monkeypatch.setattr(decode, "_openjpeg", fail)
    for decoded, precision, is_signed in (first, decode.decode(frame(values), code)):
        assert (precision, is_signed) == (12, signed)
        np.testing.assert_array_equal(np.frombuffer(decoded, values.dtype), values.ravel())
    with pytest.raises(RuntimeError):
        decode.decode(frame(values, "1.2.840.10008.1.2.4.201"), code)


def run_lengths(values: np.ndarray) -> bytes:
    """Encode (y, x) values, most significant bytes first, by pydicom's encoder."""
    planes = values.view(np.uint8).reshape(*values.shape, -1)[..., ::-1]
    segments = [
        bytes(
            _encode_segment(np.ascontiguousarray(planes[..., i]).tobytes(), columns=values.shape[1])
        )
        for i in range(planes.shape[-1])
    ]
    starts = 64 + np.cumsum([0, *map(len, segments[:-1])])
    offsets = [*starts.tolist(), *[0] * (15 - len(segments))]
    return struct.pack("<16I", len(segments), *offsets) + b"".join(segments)


def noise(width: int, flat: float) -> np.ndarray:
    rng = np.random.default_rng(width)
    values = rng.integers(0, 256**width, (13, 9), dtype=np.uint64).astype(f"<u{width}")
    values[rng.random((13, 9)) < flat] = 7
    return values


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("flat", [0, 0.5, 1])
def test_run_lengths_come_back(width: int, flat: float) -> None:
    values = noise(width, flat)
    task = frame(values, RLELossless)._replace(allocated=8 * width)
    decoded, precision, _ = sandbox.call(decode.decode, task, run_lengths(values))
    assert precision == 8 * width
    np.testing.assert_array_equal(np.frombuffer(decoded, values.dtype), values.ravel())


@pytest.mark.parametrize(
    "code",
    [
        b"",
        b"\0" * 63,
        struct.pack("<16I", 3, 64, 66, 68, *[0] * 12) + b"\0" * 20,
        struct.pack("<16I", 2, 64, 4000, *[0] * 13) + b"\0" * 20,
        struct.pack("<16I", 2, 70, 66, *[0] * 13) + b"\0" * 20,
        struct.pack("<16I", 2, 64, 66, *[0] * 13) + bytes([1, 2]),
        struct.pack("<16I", 2, 64, 64, *[0] * 13),
        run_lengths(noise(2, 0.5))[:-5],
    ],
)
def test_damaged_run_lengths_are_an_error(code: bytes) -> None:
    task = frame(noise(2, 0.5), RLELossless)
    with pytest.raises(sandbox.SandboxError):
        sandbox.call(decode.decode, task, code)


def test_the_decoder_is_there_soon() -> None:
    """A child that decodes waits for neither numpy nor pydicom."""
    code = (
        "import sys, tomochrome.io.dicom.decode; "
        "print([name for name in ('numpy', 'pydicom', 'numba') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("executable", ["", "/opt/napari/napari", "/nowhere/python3"])
def test_where_no_process_can_be_started_this_one_decodes(
    monkeypatch, tmp_path: Path, executable: str
) -> None:
    sandbox.close()
    monkeypatch.setattr(sys, "executable", executable)
    folder = series(tmp_path / "s", ct((2, 40, 36)), compress="j2k")
    headers = [read_header(path) for path in sorted(folder.iterdir())]
    np.testing.assert_array_equal(read_slices(headers).voxels, ct((2, 40, 36)).voxels)
    headers[1].path.write_bytes(headers[1].path.read_bytes()[:-400])
    assert list(read_slices(headers).damaged) == [1]


def test_a_cancelled_reading_leaves_no_thread(tmp_path: Path, monkeypatch) -> None:
    folder = series(tmp_path / "s", ct((12, 40, 36)), compress="j2k")
    headers = [read_header(path) for path in sorted(folder.iterdir())]
    threads = threading.active_count()
    token, decoded = Task(), []

    def read_and_cancel(header, source):
        if len(decoded) >= 2:
            token.cancel()
        decoded.append(header.path)
        return read_compressed(header, source)

    monkeypatch.setattr("tomochrome.io.dicom.pixels.read_compressed", read_and_cancel)
    with running(token), pytest.raises(Cancelled):
        read_slices(headers)
    assert threading.active_count() == threads
    assert len(decoded) < len(headers)


def test_a_slice_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    def damage(dataset, i):
        if i == 3:
            dataset.PixelData = dataset.PixelData[:60] + bytes(len(dataset.PixelData) - 60)

    folder = series(tmp_path / "s", ct((6, 40, 36)), compress="j2k")
    paths = sorted(change(folder, damage).iterdir())
    assert list(read_slices([read_header(path) for path in paths]).damaged) == [3]
    with pytest.raises(InputError, match=paths[3].name):
        read_slices([read_header(paths[3])])


# --- hostile files -----------------------------------------------------------------------------


def test_sizes_that_cannot_be_true_take_no_memory(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(np, "empty", lambda *a, **k: pytest.fail("memory was taken"))
    header = read_header(PYDICOM / "MR_small.dcm")
    packed = read_header(PYDICOM / "MR_small_jp2klossless.dcm")
    for source in (header, packed):
        with pytest.raises(InputError, match="more than any CT has"):
            read_slices([replace(source, rows=60000, columns=60000)])
        with pytest.raises(InputError, match="more than any CT has"):
            read_slices([replace(source, rows=4096, columns=4096)] * 1000)
    with pytest.raises(InputError, match="truncated"):
        read_slices([replace(header, rows=8000, columns=8000)])
    with pytest.raises(InputError, match="too small for the 5 slices"):
        read_slices([replace(packed, rows=8000, columns=8000)] * 5)


@pytest.mark.parametrize("name", ["MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"])
def test_a_stream_of_another_size_than_the_header_says_is_refused(name: str) -> None:
    header = read_header(PYDICOM / f"{name}.dcm")
    with pytest.raises(InputError, match="64x64 pixels, but"):
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
    with closing(Source(header)) as source:
        code = source.read_code(0)
    damaged = list(mutations(code, 60))
    monkeypatch.setattr(Source, "read_code", lambda self, frame: damaged[frame])
    from tomochrome.io.dicom.stored_values import read_compressed

    with closing(Source(header)) as source, captured_warnings():
        for i in range(len(damaged)):
            try:
                stored = read_compressed(replace(header, frame=i), source)
            except InputError as error:
                assert name in str(error)
                assert "\n" not in str(error)
            else:
                assert stored.shape == (header.rows, header.columns)
    assert capfd.readouterr() == ("", "")
