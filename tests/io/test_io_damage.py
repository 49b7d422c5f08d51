"""Damaged slices among sound ones: missing slices, which are named, and refused on demand."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from enhanced_cases import frames_of, write_enhanced
from io_cases import ct, series
from openjpeg.utils import encode_array
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from tomochrome.errors import InputError
from tomochrome.io import find, read
from tomochrome.notices import texts

SHAPE = (7, 40, 36)


def cut(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:-count])


def cut_to_half(path: Path) -> None:
    cut(path, path.stat().st_size // 2)


def no_pixels(path: Path) -> None:
    cut(path, 2 * 40 * 36 + 12)


def edited(edit):
    def damage(path: Path) -> None:
        dataset = pydicom.dcmread(path)
        edit(dataset)
        dataset.save_as(path)

    return damage


@edited
def too_few_bytes(dataset) -> None:
    """The element's own length is too small; the file goes on behind it."""
    dataset.PixelData = dataset.PixelData[:1000]
    dataset.DataSetTrailingPadding = bytes(5000)


@edited
def corrupt_stream(dataset) -> None:
    (code,) = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([code[:60] + bytes(len(code) - 60)])


@edited
def short_stream(dataset) -> None:
    """The fragment is whole, but what it holds is not."""
    (code,) = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([code[:40]])


@edited
def stream_of_another_size(dataset) -> None:
    small = np.zeros((40, 32), np.int16)
    dataset.PixelData = encapsulate([bytes(encode_array(small, bits_stored=16))])


SEEN = {  # without decoding
    "cut short": (lambda path: cut(path, 60), None),
    "cut to half": (cut_to_half, None),
    "without pixels": (no_pixels, None),
    "too few bytes": (too_few_bytes, None),
    "compressed and cut short": (lambda path: cut(path, 60), "j2k"),
    "compressed and cut to half": (cut_to_half, "j2k"),
}
DECODED = {
    "corrupt stream": (corrupt_stream, "j2k"),
    "short stream": (short_stream, "j2k"),
    "stream of another size": (stream_of_another_size, "j2k"),
}


def scan(folder: Path, case: str, index: int = 3) -> tuple[Path, Path]:
    """Write a series with one damaged slice; return the folder and the slice."""
    damage, compress = (SEEN | DECODED)[case]
    series(folder, ct(SHAPE), compress=compress)
    victim = sorted(folder.iterdir())[index]
    damage(victim)
    return folder, victim


@pytest.mark.parametrize("case", SEEN)
def test_a_file_that_is_too_short_is_seen_without_decoding(tmp_path: Path, case: str) -> None:
    folder, victim = scan(tmp_path / "s", case)
    (item,) = find(folder).items
    assert item.verdict == "incomplete"
    assert not item.refusal
    (said,) = [w for w in item.warnings if w.code == "damaged"]
    for part in (victim.name, "image 4", "z = 107.8 mm", "1 of 7", "missing"):
        assert part in said.text
    assert "\n" not in said.text


@pytest.mark.parametrize("case", SEEN | DECODED)
def test_a_damaged_slice_is_a_missing_one(tmp_path: Path, case: str) -> None:
    folder, victim = scan(tmp_path / "s", case)
    volume = read(folder)
    without = tmp_path / "without"
    shutil.copytree(folder, without)
    (without / victim.name).unlink()
    expected = read(without)
    np.testing.assert_array_equal(volume.voxels, expected.voxels)
    np.testing.assert_array_equal(volume.affine, expected.affine)
    assert volume.provenance.verdict == expected.provenance.verdict == "incomplete"
    assert any(victim.name in text for text in texts(volume.provenance.warnings))
    assert set(expected.provenance.warnings) < set(volume.provenance.warnings)
    (item,) = find(folder, pixels=True).items
    assert (item.verdict, item.shape) == ("incomplete", volume.shape)
    assert item.warnings == volume.provenance.warnings
    assert item.value_range == (volume.voxels.min(), volume.voxels.max())


@pytest.mark.parametrize("case", SEEN | DECODED)
def test_strict_reading_refuses_it(tmp_path: Path, case: str) -> None:
    folder, victim = scan(tmp_path / "s", case)
    for source in (folder, find(folder).items[0]):
        with pytest.raises(InputError, match=rf"1 of 7, '{victim.name}'") as caught:
            read(source, strict=True)
        assert "\n" not in str(caught.value)
    assert read(series(tmp_path / "whole", ct(SHAPE)), strict=True).shape == SHAPE


@pytest.mark.parametrize("index", [0, 6])
@pytest.mark.parametrize("case", ["cut short", "corrupt stream"])
def test_at_the_ends_the_volume_is_shorter_and_says_so(tmp_path, case: str, index: int) -> None:
    folder, victim = scan(tmp_path / "s", case, index)
    volume = read(folder)
    assert volume.shape == (6, 40, 36)
    assert volume.provenance.verdict == "incomplete"
    assert any(victim.name in text for text in texts(volume.provenance.warnings))
    np.testing.assert_array_equal(volume.voxels, np.delete(ct(SHAPE).voxels, index, 0))


def test_more_missing_slices_than_can_be_filled_are_left_empty(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", ct((11, 40, 36), spacing=(6.0, 0.9, 0.8)))
    for path in sorted(folder.iterdir())[4:7]:
        cut(path, 100)
    volume = read(folder)
    assert volume.shape == (11, 40, 36)
    assert volume.outside[4:7].all()
    assert not volume.outside[[3, 7]].any()
    assert volume.provenance.verdict == "incomplete"
    stored = read(folder, as_stored=True)
    assert stored.shape == (8, 40, 36)
    assert any(w.code == "damaged" for w in stored.provenance.warnings)


@pytest.mark.parametrize("case", ["cut short", "compressed and cut short", "corrupt stream"])
@pytest.mark.parametrize("count", [4, 7])
def test_a_scan_of_mostly_damaged_slices_is_refused(tmp_path: Path, case: str, count: int) -> None:
    damage, compress = (SEEN | DECODED)[case]
    folder = series(tmp_path / "s", ct(SHAPE), compress=compress)
    for path in sorted(folder.iterdir())[:count]:
        damage(path)
    words = r"most of the 7 slices in .* cannot be decoded; in '000[1-7]\.dcm'"
    with pytest.raises(InputError, match=words) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    (item,) = find(folder, pixels=True).items
    assert item.verdict == "unreadable"
    assert re.search(words, str(item.refusal))


def test_a_sound_copy_takes_the_place_of_a_damaged_slice(tmp_path: Path) -> None:
    for compress, damage in ((None, lambda path: cut(path, 60)), ("j2k", corrupt_stream)):
        folder = series(tmp_path / f"{compress}", ct(SHAPE), compress=compress)
        victim = sorted(folder.iterdir())[3]
        shutil.copy(victim, folder / "copy.dcm")
        damage(victim)
        for name in ("copy.dcm", "0000.dcm"):  # whichever comes first
            (folder / "copy.dcm").rename(folder / name)
            volume = read(folder, strict=True)
            assert volume.provenance.verdict == "regular"
            if name == "copy.dcm":  # else the damaged one is the copy, and never decoded
                assert any(victim.name in text for text in texts(volume.provenance.warnings))
            np.testing.assert_array_equal(volume.voxels, ct(SHAPE).voxels)
            (folder / name).rename(folder / "copy.dcm")


@pytest.mark.parametrize("compress", [None, "j2k", "rle"])
def test_the_frames_before_the_end_of_a_cut_file_are_read(tmp_path: Path, compress) -> None:
    """Whether or not the file says where its compressed frames begin."""
    path = write_enhanced(tmp_path / "e.dcm", frames_of(ct(SHAPE)), compress=compress)
    whole = read(path)
    cut(path, 1500 if compress is None else 400)
    volume = read(path)
    assert volume.provenance.verdict == "incomplete"
    assert volume.shape[0] in (5, 6)
    np.testing.assert_array_equal(volume.voxels, whole.voxels[: volume.shape[0]])
    (item,) = find(path).items
    assert item.verdict == "incomplete"
    assert any("frame 7" in text for text in texts(item.warnings))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_in_every_encoding(tmp_path: Path, syntax) -> None:
    folder = series(tmp_path / "s", ct(SHAPE))
    for path in sorted(folder.iterdir()):
        dataset = pydicom.dcmread(path)
        values = np.frombuffer(dataset.PixelData, "<i2")
        if syntax == RLELossless:
            dataset.compress(RLELossless, encoding_plugin="pydicom")
        else:
            dataset.file_meta.TransferSyntaxUID = syntax
            order = ">i2" if syntax == ExplicitVRBigEndian else "<i2"
            dataset.PixelData = values.astype(order).tobytes()
        fresh = pydicom.Dataset(dataset)
        fresh.file_meta = dataset.file_meta
        fresh.save_as(
            path, implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=syntax != ExplicitVRBigEndian, enforce_file_format=True,
        )  # fmt: skip
    assert read(folder).provenance.verdict == "regular"
    victim = sorted(folder.iterdir())[2]
    cut(victim, 40)
    (item,) = find(folder).items
    assert item.verdict == read(folder).provenance.verdict == "incomplete"
    assert any(victim.name in text for text in texts(item.warnings))


def test_a_decoder_that_crashes_loses_one_slice(tmp_path: Path, monkeypatch) -> None:
    from tomochrome.io.dicom import stored_values
    from tomochrome.runtime import sandbox

    folder = series(tmp_path / "s", ct(SHAPE), compress="j2k")
    victim = sorted(folder.iterdir())[5]
    call = sandbox.call

    def crash(function, frame, *args, **options):
        if frame.name == str(victim):
            raise sandbox.SandboxError("'x'", "the decoder crashed", "crash")
        return call(function, frame, *args, **options)

    monkeypatch.setattr(stored_values.sandbox, "call", crash)
    volume = read(folder)
    assert volume.provenance.verdict == "incomplete"
    assert any("crashed" in text for text in texts(volume.provenance.warnings))


def test_a_lack_of_memory_is_not_the_fault_of_a_slice(tmp_path: Path, monkeypatch) -> None:
    from tomochrome.io.dicom import stored_values
    from tomochrome.runtime import sandbox

    def fail(*args, **options):
        raise sandbox.SandboxError("'x'", "there is not enough memory", "memory")

    folder = series(tmp_path / "s", ct(SHAPE), compress="j2k")
    monkeypatch.setattr(stored_values.sandbox, "call", fail)
    with pytest.raises(InputError, match="memory"):
        read(folder)


def test_the_reported_series_with_a_cut_slice(shared_data) -> None:
    folder = shared_data / "dicom" / "reported" / "truncated_slice"
    (item,) = find(folder).items
    assert item.verdict == "incomplete"
    assert any("'000275.dcm' (image 145" in text for text in texts(item.warnings))
    volume = read(folder)
    assert volume.provenance.verdict == "incomplete"
    kept = [pydicom.dcmread(folder / f"00027{i}.dcm") for i in range(5)]
    kept.sort(key=lambda d: d.ImagePositionPatient[2])
    assert len(volume.provenance.stored_positions) == 5
    stored = read(folder, as_stored=True).voxels
    for voxels, d in zip(stored, kept, strict=True):
        inside = voxels > -1024
        hu = d.pixel_array.astype(int) * int(d.RescaleSlope) + int(d.RescaleIntercept)
        np.testing.assert_array_equal(voxels[inside], hu[inside])
    with pytest.raises(InputError, match=r"000275\.dcm"):
        read(folder, strict=True)


@pytest.mark.parametrize("index", [0, 3, 6])
@pytest.mark.parametrize("size", [900, 1100, 1300])
def test_a_file_cut_in_its_header_is_a_missing_slice(tmp_path, index: int, size: int) -> None:
    """Its beginning still names the series."""
    folder = series(tmp_path / "s", ct(SHAPE))
    victim = sorted(folder.iterdir())[index]
    whole = victim.read_bytes()
    uid = read(folder).provenance.series_uid.encode()
    assert uid in whole[:size]
    victim.write_bytes(whole[:size])
    (item,) = find(folder).items
    volume = read(folder)
    assert item.verdict == volume.provenance.verdict == "incomplete"
    for warnings in (item.warnings, volume.provenance.warnings):
        assert any(victim.name in text for text in texts(warnings))
    with pytest.raises(InputError, match=victim.name):
        read(folder, strict=True)
    for path in sorted(folder.iterdir())[:5]:
        path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match="most of the 7 slices") as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_of_another_series_changes_nothing(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", ct(SHAPE))
    other = series(tmp_path / "t", ct(SHAPE))
    whole = (other / "0001.dcm").read_bytes()
    uid = read(other).provenance.series_uid.encode()
    (folder / "other.dcm").write_bytes(whole[: whole.index(uid) + len(uid) + 8])
    assert read(folder, strict=True).provenance.verdict == "regular"
    assert [Path(file.path).name for file in find(folder).skipped] == ["other.dcm"]
