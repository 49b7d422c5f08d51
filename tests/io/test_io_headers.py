"""Headers: what pydicom's own conversion says, titles without the patient, hostile files."""

from __future__ import annotations

import os
import socket
import struct
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from io_cases import change, ct, series
from pydicom.dataset import Dataset

from tomochrome.errors import Cancelled, InputError
from tomochrome.io import find, read
from tomochrome.io import walk as walking
from tomochrome.io.dicom import parse, values
from tomochrome.io.dicom.headers import _NUMBERS, Header, HeaderReader, read_header, read_headers
from tomochrome.io.dicom.plain import Plain
from tomochrome.io.dicom.quiet import quiet
from tomochrome.io.dicom.title import Secrets, clean_title
from tomochrome.runtime import CancelToken

FILES = [
    "dicom/syntaxes/693_UNCI.dcm", "dicom/syntaxes/CT1_JLSN.dcm", "dicom/syntaxes/bad_sequence.dcm",
    "dicom/syntaxes/MR_small_bigendian.dcm", "dicom/syntaxes/TOSHIBA_J2K_SIZ0_PixRep1.dcm",
    "dicom/odd/CT_small.dcm", "dicom/odd/image_dfl.dcm", "dicom/dicomdir/77654033/CT2/17106",
]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_values_are_those_of_pydicom(shared_data, name):
    path = shared_data / name
    header = read_header(path, with_identity=True)
    with quiet():
        d = pydicom.dcmread(path, force=True)
        assert (header.rows, header.columns) == (d.Rows, d.Columns)
        assert header.sop_uid == d.get("SOPInstanceUID", "")
        assert header.series_uid == d.get("SeriesInstanceUID", "")
        assert header.modality == d.get("Modality", "")
        assert header.image_type == tuple(v.strip() for v in d.get("ImageType", ()))
        assert header.photometric == d.PhotometricInterpretation
        assert header.bits_stored == d.BitsStored
        assert header.pixel_representation == d.PixelRepresentation
        assert header.transfer_syntax == d.file_meta.TransferSyntaxUID
        for ours, keyword in (
            (header.position, "ImagePositionPatient"),
            (header.orientation, "ImageOrientationPatient"),
            (header.pixel_spacing, "PixelSpacing"),
        ):
            theirs = d.get(keyword)
            assert ours == (None if theirs is None else tuple(map(float, theirs)))
        for number, keyword in (
            (header.slope, "RescaleSlope"),
            (header.intercept, "RescaleIntercept"),
            (header.thickness, "SliceThickness"),
            (header.instance, "InstanceNumber"),
        ):
            assert number == (None if d.get(keyword) in (None, "") else float(d.get(keyword)))
        assert header.identity["PatientName"] == str(d.get("PatientName", ""))


def test_pixels_lie_where_the_header_says(shared_data):
    for name in ("dicom/syntaxes/693_UNCR.dcm", "dicom/syntaxes/MR_small_bigendian.dcm"):
        at = read_header(shared_data / name).pixels_at
        tag = (shared_data / name).read_bytes()[at : at + 4]
        assert tag in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")


def test_a_long_header_is_read_as_a_short_one(tmp_path):
    folder = series(tmp_path / "s", ct((1, 24, 20)))
    (path,) = folder.iterdir()
    short = read_header(path)
    for size in (100, parse.HEAD_BYTES, 5 << 20):
        change(folder, lambda d, i, size=size: d.add_new(0x00091010, "OB", b"x" * size))
        long = read_header(path)
        assert (long.position, long.sop_uid, long.rows) == (short.position, short.sop_uid, 24)
        assert read(path).shape == (1, 24, 20)


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=40), st.sampled_from(["DS", "IS", "CS", "US", "SS", "FD", "UN", "XX"]))
def test_any_bytes_give_a_value_or_none(data, vr):
    raw = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag("PixelSpacing"), vr, len(data), data, 0, False, True
    )
    found = values.floats({int(raw.tag): raw}, "PixelSpacing")
    assert found is None or np.isfinite(found).all()
    assert isinstance(values.text({int(raw.tag): raw}, "PixelSpacing"), str)
    assert isinstance(values.words({int(raw.tag): raw}, "PixelSpacing"), str)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=6),
    st.booleans(),
)
def test_numbers_come_back_from_text_and_from_bytes(numbers, little):
    order = "<" if little else ">"
    binary = struct.pack(f"{order}{len(numbers)}d", *numbers)
    text = "\\".join(f"{v!r}" for v in numbers).encode()
    for vr, data in (("FD", binary), ("DS", text + b" " * (len(text) % 2)), (None, text)):
        raw = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag("PixelSpacing"), vr, len(data), data, 0, vr is None, little
        )
        assert values.floats({int(raw.tag): raw}, "PixelSpacing") == tuple(numbers)


# --- titles ------------------------------------------------------------------------------------

ERIKA = Secrets(("Muster-Lang^Erika", "4711-0815", "", "A99887"), "19640812")


@pytest.mark.parametrize(
    "told",
    [
        "Abdomen Muster", "MUSTER thorax", "erika", "ct_4711_0815", "47110815", "PAT 0815",
        "born 12.08.1964", "born 12/8/64", "1964-08-12", "640812 head", "Acc A99887", "a99887",
        "MusterLang", "x\0Erika", "M\u00fcster lang",
    ],
)  # fmt: skip
def test_what_holds_anything_of_the_patient_is_no_title(told):
    assert clean_title(told, ERIKA) == ""


@pytest.mark.parametrize(
    "told",
    ["Abdomen 5.0 B30f", "THX 1.25mm lung", "Kopf nativ", "1964", "12.08", "Er", ""],
)
def test_a_title_that_tells_nothing_is_kept(told):
    assert clean_title(told, ERIKA) == told


def test_accents_hide_nobody():
    jurgen = Secrets(("M\u00fcller^J\u00fcrgen",))
    for told in ("Muller", "MUELLER", "m\u00fcller", "Mu\u0308ller", "JUERGEN", "jurgen"):
        assert clean_title(f"Abdomen {told}", jurgen) == ""
    assert clean_title("\u5f35\u5c0f\u660e head", Secrets(("\u5f35^\u5c0f\u660e",))) == ""


def test_titles_have_one_line_and_64_letters():
    assert clean_title("a\r\nb\x1b[31m  c", Secrets()) == "a b [31m c"
    assert len(clean_title("x" * 200, Secrets())) == 64
    assert clean_title("Tomochrome phantom", Secrets(("TOMOCHROME^ANONYMOUS", "ANONYMOUS"))) != ""


def test_the_title_of_a_series_is_in_its_character_set(tmp_path):
    def describe(dataset, i):
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.SeriesDescription = "Sch\u00e4del nativ"

    item = find(change(series(tmp_path / "s"), describe)).items[0]
    assert item.title == "Sch\u00e4del nativ"

    def betray(dataset, i):
        dataset.PatientName, dataset.PatientID = "Muster^Erika", "4711"
        dataset.SeriesDescription = "ERIKA MUSTER Abdomen"
        dataset.WindowCenterWidthExplanation = ["Muster", "LUNG"]
        dataset.RescaleType = "MUSTER"

    item = find(change(tmp_path / "s", betray)).items[0]
    assert item.title == ""
    assert "muster" not in repr(item).lower()
    assert item.windows[1].name == "LUNG"
    assert item.unit == "unknown"


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
    monkeypatch.setattr(parse, "MOST_SECONDS", 0.2)
    path = tmp_path / "x.dcm"
    path.write_bytes(HOSTILE[case]())
    start = time.process_time()
    with pytest.raises(InputError) as caught:
        read(path)
    assert time.process_time() - start < 2.0
    assert "\n" not in str(caught.value)


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


def test_pipes_sockets_and_devices_are_never_opened(tmp_path, monkeypatch):
    folder = series(tmp_path / "s")
    os.mkfifo(folder / "pipe")
    (folder / "zero").symlink_to("/dev/zero")
    monkeypatch.chdir(folder)  # paths of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        found = find(folder)
    assert found.items[0].shape[0] == 7
    assert {Path(s.path).name for s in found.skipped} == {"pipe", "zero", "socket"}
    for name in ("pipe", "zero"):
        with pytest.raises(InputError, match="not a"):
            walking.open_regular(folder / name)
        assert find(folder / name).items == ()


def test_links_in_circles_are_walked_once(tmp_path):
    folder = series(tmp_path / "s")
    (folder / "in").mkdir()
    (folder / "in" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    (folder / "slice").symlink_to(folder / "0001.dcm")
    found = find(folder)
    assert found.items[0].shape[0] == 7
    assert {Path(s.path).name for s in found.skipped} == {"up", "self"}


def test_a_whole_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(walking, "MOST_FILES", 20)
    for i in range(30):
        (tmp_path / f"{i}").write_bytes(b"x")
    with pytest.raises(InputError, match="more than 20 files; choose a folder further down"):
        find(tmp_path)


def test_what_cannot_be_opened_is_said(tmp_path, monkeypatch):
    folder = series(tmp_path / "s")
    locked = folder / "0003.dcm"
    real = os.open

    def refuse(path, *args, **options):
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    (skipped,) = find(folder).skipped
    assert (skipped.path, skipped.reason) == (str(locked), "cannot be opened: Permission denied")


def test_walking_is_cancelled(tmp_path):
    token = CancelToken()
    for i in range(5):
        (tmp_path / f"{i}").write_bytes(b"x")
    walk = walking.walk(tmp_path, lambda path, reason: None, token)
    next(walk)
    token.cancel()
    with pytest.raises(Cancelled):
        next(walk)


def test_names_are_walked_in_a_steady_order(tmp_path):
    for name in ("b/2", "b/1", "a", "c/x/1", "c/0"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [p.relative_to(tmp_path).as_posix() for p in walking.walk(tmp_path, print)]
    assert found == ["a", "b/1", "b/2", "c/0", "c/x/1"]


def test_progress_is_told_a_few_hundred_times_at_most(tmp_path):
    for i in range(1000):
        (tmp_path / f"{i}").write_bytes(b"x")
    told = []
    find(tmp_path, progress=lambda done, total, stage: told.append((done, total)))
    assert told[0] == (0, 1000)
    assert told[-1] == (1000, 1000)
    assert len(told) <= 203
    assert told == sorted(told)


def test_a_header_is_read_in_less_than_a_millisecond(tmp_path):
    volume = ct((40, 64, 64))
    files = sorted(series(tmp_path / "s", volume).iterdir())
    best = np.inf
    for _ in range(5):
        start = time.process_time()
        for file in files:
            read_headers(file)
        best = min(best, (time.process_time() - start) / len(files))
    assert best < 1e-3


def test_elements_in_sequences_are_read_alike():
    inner = Dataset()
    inner.PixelSpacing = ["0.5", "0.25"]
    inner.WindowCenterWidthExplanation = ["a", "b"]
    assert values.floats(inner, "PixelSpacing", 2) == (0.5, 0.25)
    assert values.words(inner, "WindowCenterWidthExplanation") == "a\\b"
    outer = Dataset()
    outer.PixelMeasuresSequence = [inner]
    (item,) = values.items(outer, "PixelMeasuresSequence")
    assert item is inner


def both_ways(head: bytes):
    """Parse a head by the short walk over its elements, and by pydicom's own parser."""
    plain = Plain(_NUMBERS).parse(head) if head[128:132] == b"DICM" else None
    return plain, parse._parse_head(head, _NUMBERS, whole=False)


def facts(parsed):
    elements = {tag: found for tag, found in parsed.elements.items() if tag >> 16 != 2}
    values = {tag: (found.VR, found.value or b"") for tag, found in elements.items()}
    return parsed.transfer_syntax, parsed.media_class, parsed.pixels_at, values


def test_the_usual_slice_is_parsed_as_pydicom_does(tmp_path):
    for path in series(tmp_path, ct()).iterdir():
        plain, general = both_ways(path.read_bytes()[: parse.HEAD_BYTES])
        assert facts(plain) == facts(general)


@pytest.mark.parametrize("folder", ["syntaxes", "odd", "abdomen_contrast_j2k", "head_gantry_tilt"])
def test_real_slices_are_parsed_as_pydicom_does(shared_data, folder):
    usual = 0
    for path in sorted((shared_data / "dicom" / folder).iterdir()):
        plain, general = both_ways(path.read_bytes()[: parse.HEAD_BYTES])
        if plain is not None and general is not None:
            usual += 1
            assert facts(plain) == facts(general)
    assert usual


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_damage_is_left_to_pydicom_or_parsed_alike(tmp_path_factory, data):
    head = bytearray(SLICE[0] if SLICE else slice_bytes(tmp_path_factory))
    for _ in range(data.draw(st.integers(1, 4))):
        head[data.draw(st.integers(132, len(head) - 1))] = data.draw(st.integers(0, 255))
    with quiet():
        plain, general = both_ways(bytes(head))
    if plain is not None and general is not None:
        assert facts(plain)[2:] == facts(general)[2:]


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
    plain = Plain(_NUMBERS)
    assert all(plain.parse(known) for known in heads[:3])
    alone, beside = Plain(_NUMBERS).parse(bytes(head)), plain.parse(bytes(head))
    assert (alone is None) == (beside is None)
    if alone is not None and beside is not None:
        assert facts(alone) == facts(beside)


HEADS: list[bytes] = []


def slice_heads(tmp_path_factory) -> list[bytes]:
    for path in sorted(series(tmp_path_factory.mktemp("heads"), ct()).iterdir())[:4]:
        data = path.read_bytes()
        HEADS.append(data[: data.index(b"\xe0\x7f\x10\x00") + 40])
    return HEADS


SLICE: list[bytes] = []


def slice_bytes(tmp_path_factory) -> bytes:
    path = next(iter(series(tmp_path_factory.mktemp("slice"), ct()).iterdir()))
    data = path.read_bytes()
    SLICE.append(data[: data.index(b"\xe0\x7f\x10\x00") + 40])
    return SLICE[0]
