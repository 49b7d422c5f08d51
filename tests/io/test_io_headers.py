"""Headers: what pydicom's own conversion says, and titles without the patient."""

from __future__ import annotations

import struct

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from io_cases import change, ct, series
from pydicom.dataset import Dataset

from effort import calls_of
from tomochrome.io import find, read
from tomochrome.io.dicom import elements, parse
from tomochrome.io.dicom.header_reader import read_header, read_headers
from tomochrome.io.dicom.patient import Secrets, clean_title
from tomochrome.io.dicom.warning_capture import captured_warnings

FILES = [
    "dicom/syntaxes/693_UNCI.dcm", "dicom/syntaxes/CT1_JLSN.dcm", "dicom/syntaxes/bad_sequence.dcm",
    "dicom/syntaxes/MR_small_bigendian.dcm", "dicom/syntaxes/TOSHIBA_J2K_SIZ0_PixRep1.dcm",
    "dicom/odd/CT_small.dcm", "dicom/odd/image_dfl.dcm", "dicom/dicomdir/77654033/CT2/17106",
]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_values_are_those_of_pydicom(shared_data, name):
    path = shared_data / name
    header = read_header(path, with_identity=True)
    with captured_warnings():
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
    found = elements.floats({int(raw.tag): raw}, "PixelSpacing")
    assert found is None or np.isfinite(found).all()
    assert isinstance(elements.text({int(raw.tag): raw}, "PixelSpacing"), str)
    assert isinstance(elements.words({int(raw.tag): raw}, "PixelSpacing"), str)


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
        assert elements.floats({int(raw.tag): raw}, "PixelSpacing") == tuple(numbers)


def test_elements_in_sequences_are_read_alike():
    inner = Dataset()
    inner.PixelSpacing = ["0.5", "0.25"]
    inner.WindowCenterWidthExplanation = ["a", "b"]
    assert elements.floats(inner, "PixelSpacing", 2) == (0.5, 0.25)
    assert elements.words(inner, "WindowCenterWidthExplanation") == "a\\b"
    outer = Dataset()
    outer.PixelMeasuresSequence = [inner]
    (item,) = elements.items(outer, "PixelMeasuresSequence")
    assert item is inner


def test_a_header_is_read_with_little_work(tmp_path):
    """About 900 calls are a third of a millisecond; `benchmarks/reading.py` takes the time."""
    files = sorted(series(tmp_path / "s", ct((3, 64, 64))).iterdir())
    read_headers(files[0])  # the first one fills tables
    assert max(calls_of(lambda file=file: read_headers(file)) for file in files) < 1200


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
    assert clean_title("Head\0\0\x10\0\x10\0PN\f\0Musterfrau^E", Secrets()) == "Head"
    assert len(clean_title("x" * 200, Secrets())) == 64
    assert clean_title("Tomochrome phantom", Secrets(("TOMOCHROME^ANONYMOUS", "ANONYMOUS"))) != ""


@pytest.mark.parametrize("implicit", [False, True])
def test_the_title_of_a_series_is_in_its_character_set(tmp_path, implicit):
    def describe(dataset, i):
        if implicit:
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
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
