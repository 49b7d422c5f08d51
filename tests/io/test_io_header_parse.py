"""Headers parsed by a table of their elements as by pydicom; hostile and damaged ones."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from io_cases import ct, series

from effort import calls_of
from tomochrome.errors import InputError
from tomochrome.io import find, read
from tomochrome.io.dicom import parse
from tomochrome.io.dicom.elements import tag_of
from tomochrome.io.dicom.header import Header
from tomochrome.io.dicom.header_reader import HEADER_TAGS, HeaderReader, read_header
from tomochrome.io.dicom.warning_capture import captured_warnings

WANTED = tuple(map(tag_of, HEADER_TAGS))
CHARSET = tag_of("SpecificCharacterSet")


def both_ways(head: bytes, folder: Path) -> tuple[parse.Parsed | None, parse.Parsed | None]:
    """Parse a head by the table of its elements, and by pydicom; None where that fails."""
    is_usual = head[128:134] == b"DICM\x02\0"
    table = parse.parse_explicit(head, parse.Selection(WANTED)) if is_usual else None
    path = folder / "head.dcm"
    path.write_bytes(head)
    with (
        pytest.MonkeyPatch.context() as patch,
        path.open("rb", buffering=0) as file,
        captured_warnings(),
    ):
        patch.setattr(parse, "parse_explicit", lambda *a: None)
        try:
            return table, parse.parse(path, file, head, parse.Selection(WANTED))
        except InputError:
            return table, None


def facts(parsed):
    elements = {tag: parsed.elements[tag] for tag in parsed.elements if tag in WANTED}
    values = {tag: (found.VR, found.value or b"") for tag, found in elements.items()}
    values.pop(CHARSET, None)  # which pydicom converts at once
    return parsed.transfer_syntax, parsed.media_class, parsed.pixels_at, values


def test_the_usual_slice_is_parsed_as_pydicom_does(tmp_path):
    for path in series(tmp_path / "s", ct()).iterdir():
        table, general = both_ways(path.read_bytes()[: parse.HEAD_BYTES], tmp_path)
        assert facts(table) == facts(general)


@pytest.mark.parametrize("folder", ["syntaxes", "odd", "abdomen_contrast_j2k", "head_gantry_tilt"])
def test_real_slices_are_parsed_as_pydicom_does(shared_data, tmp_path, folder):
    usual = 0
    for path in sorted((shared_data / "dicom" / folder).iterdir()):
        table, general = both_ways(path.read_bytes()[: parse.HEAD_BYTES], tmp_path)
        if table is not None and general is not None:
            usual += 1
            assert facts(table) == facts(general)
    assert usual


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_damage_is_left_to_pydicom_or_parsed_alike(tmp_path_factory, data):
    heads = HEADS or slice_heads(tmp_path_factory)
    head = bytearray(heads[0])
    for _ in range(data.draw(st.integers(1, 4))):
        head[data.draw(st.integers(132, len(head) - 1))] = data.draw(st.integers(0, 255))
    table, general = both_ways(bytes(head), tmp_path_factory.getbasetemp())
    if table is not None and general is not None:
        ours, theirs = facts(table), facts(general)
        # Where damage hides the syntax from pydicom, it guesses another way of encoding.
        assert ours[2:] == theirs[2:] or ours[0] != theirs[0]


def in_turn(files) -> list[Header]:
    """Read headers one after the other, each with the help of the ones before."""
    reader, headers = HeaderReader(), []
    for path in files:
        with path.open("rb", buffering=0) as file:
            headers += reader.read(path, file, file.read(parse.HEAD_BYTES))
    return headers


def test_headers_read_in_turn_are_those_read_alone(tmp_path):
    files = sorted(series(tmp_path, ct((12, 16, 16))).iterdir())
    changes: list[dict[str, Any]] = [
        {"WindowCenter": [50, 400], "WindowWidth": [100, 1500]}, {"RescaleSlope": 2},
        {"PatientName": "Modality^CT", "WindowCenterWidthExplanation": ["CT", "LUNG"]},
        {"ImagePositionPatient": None}, {"AcquisitionTime": "101112.5"}, {"Rows": 0},
        {"SeriesDescription": "another one"}, {"SOPInstanceUID": ""},
    ]  # fmt: skip
    for path, edit in zip(files[3:], changes, strict=False):
        dataset = pydicom.dcmread(path)
        for keyword, value in edit.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    readable = [path for i, path in enumerate(files) if i != 3 + changes.index({"Rows": 0})]
    assert in_turn(readable) == [read_header(path) for path in readable]
    again = [*files[:6], *files[:6]]
    assert in_turn(again) == [read_header(path) for path in again]


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_damage_is_noticed_beside_the_slices_before(tmp_path_factory, data):
    heads = HEADS or slice_heads(tmp_path_factory)
    head = bytearray(heads[3])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(132, len(head) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        if kind == "flip":
            head[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del head[at : at + data.draw(st.integers(1, 40))]
        else:
            head[at:at] = data.draw(st.binary(min_size=1, max_size=40))
    wanted = parse.Selection(WANTED)
    assert all(parse.parse_explicit(known, wanted) for known in heads[:3])
    alone = parse.parse_explicit(bytes(head), parse.Selection(WANTED))
    beside = parse.parse_explicit(bytes(head), wanted)
    assert (alone is None) == (beside is None)
    if alone is not None and beside is not None:
        assert facts(alone) == facts(beside)


HEADS: list[bytes] = []


def slice_heads(tmp_path_factory) -> list[bytes]:
    """Return the heads of four slices, the same in each run: a writer's identifiers are random."""
    folder = series(tmp_path_factory.mktemp("heads"), ct())
    for i, path in enumerate(sorted(folder.iterdir())[:4]):
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.11", "2.25.12"
        dataset.FrameOfReferenceUID = "2.25.13"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"2.25.{20 + i}"
        dataset.save_as(path)
        data = path.read_bytes()
        HEADS.append(data[: data.index(b"\xe0\x7f\x10\x00") + 40])
    return HEADS


# --- hostile files -----------------------------------------------------------------------------


def begin(syntax: bytes = b"1.2.840.10008.1.2.1") -> bytes:
    """Preamble and file meta information."""
    syntax += b"\0" * (len(syntax) % 2)
    body = b"\x02\0\x02\0UI\x1a\x001.2.840.10008.5.1.4.1.1.2\0"
    body += b"\x02\0\x10\0UI" + struct.pack("<H", len(syntax)) + syntax
    return b"\0" * 128 + b"DICM\x02\0\0\0UL\x04\0" + struct.pack("<I", len(body)) + body


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


BIG = 3 << 20
SEQUENCE = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff"
ITEM, END = b"\xfe\xff\0\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0"
MATRIX = b"\x28\0\x10\0US\x02\0\x08\0\x28\0\x11\0US\x02\0\x08\0"
DEFLATED = b"1.2.840.10008.1.2.1.99"
HOSTILE = {
    "endless items": lambda: begin() + SEQUENCE + (ITEM + END) * (BIG // 16),
    "deep nesting": lambda: begin() + (SEQUENCE + ITEM) * (BIG // 20),
    "private items": lambda: begin() + b"\x09\0\x40\x11UN\0\0\xff\xff\xff\xff" + (ITEM + END) * BIG,
    "endless elements": lambda: begin() + b"\x08\0\x05\x10LO\0\0" * BIG,
    "endless meta": lambda: begin()[:132] + b"\x02\0\x12\0UI\x02\x001\0" * BIG,
    "four gigabytes": lambda: begin() + b"\x08\0\x60\0UN\0\0\xf0\xff\xff\xff" + b"x" * 999,
    "undefined length": lambda: begin() + b"\x09\0\x61\x10OB\0\0\xff\xff\xff\xff" + b"x" * BIG,
    "packed items": lambda: begin(DEFLATED) + deflate(SEQUENCE + (ITEM + END) * BIG),
    "a bomb": lambda: begin(DEFLATED) + deflate(b"\0" * (64 << 20)) * 20,
    "a long lookup table": lambda: begin() + MATRIX + b"\x28\0\0\x30SQ\0\0"
    + struct.pack("<I", BIG) + ITEM[:4] * (BIG // 4),
    "millions of frames": lambda: begin() + MATRIX.replace(b"\x28\0\x10", b"\x28\0\x08\0IS\x08\0"
    b"99999999\x28\0\x10"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_end_soon_and_in_a_sentence(tmp_path, monkeypatch, case):
    """The bound is on reads, and low here: what does not read would go on and on."""
    monkeypatch.setattr(parse, "MAX_READS", 5000)
    monkeypatch.setattr(parse, "BYTES_A_READ", BIG)
    path = tmp_path / "x.dcm"
    path.write_bytes(HOSTILE[case]())

    def refused():
        with pytest.raises(InputError) as caught:
            read(path)
        assert "\n" not in str(caught.value)

    assert calls_of(refused) < 1_000_000  # endless ones have millions of elements


def test_a_claim_takes_no_memory(tmp_path):
    path = tmp_path / "x.dcm"
    path.write_bytes(HOSTILE["four gigabytes"]())
    find(path)
    tracemalloc.start()
    try:
        find(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
