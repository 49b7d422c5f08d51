"""Decoding processes that die, fail or cannot start; pixels that are damaged or not as claimed."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from io_cases import change, ct, series
from openjpeg.utils import encode_array as encode_jpeg_2000
from pixel_cases import PYDICOM, picture
from pydicom.uid import JPEG2000Lossless

from tomochrome.errors import Cancelled, InputError
from tomochrome.io.dicom import crew, decoder
from tomochrome.io.dicom.crew import Crew
from tomochrome.io.dicom.decoder import Job
from tomochrome.io.dicom.frames import Source
from tomochrome.io.dicom.headers import read_header, read_headers
from tomochrome.io.dicom.pixels import read_slices, stored_values
from tomochrome.io.dicom.quiet import quiet
from tomochrome.runtime import CancelToken

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


# --- hostile files -----------------------------------------------------------------------------


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
