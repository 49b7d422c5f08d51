"""Zip archives: unpacked as `unzip` would, and hostile ones refused with nothing left behind."""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from io_cases import ct, series

from effort import calls_of
from tomochrome.errors import Cancelled, InputError, TomochromeError
from tomochrome.io import archive, find, read, write
from tomochrome.io.archive import display_path, skipped_entries, unpack
from tomochrome.runtime import Task, running


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A temporary folder of the test's own, in which leftovers can be seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def zipped(path: Path, files: dict[str, bytes], **options) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as packed:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.filename = name  # as it is, backslashes and all
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, data)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if not path.is_dir())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def refused(path: Path, temporary: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        unpack(path)
    assert "\n" not in str(caught.value)
    assert list(temporary.iterdir()) == []


FILES = {"DICOM/S1/IM1": b"one" * 50_000, "DICOM/S1/IM2": b"", "readme \u00fc.txt": b"x"}


def test_unpacks_what_was_packed_into_a_private_folder(tmp_path, temporary):
    path = zipped(tmp_path / "cd.zip", FILES)
    steps = []
    with running(Task(lambda *step: steps.append(step))):
        folder = unpack(path)
    assert contents(folder) == FILES
    assert folder.parent == temporary.resolve()
    assert folder.name.startswith("tomochrome-")
    assert steps[-1][0] == steps[-1][1] > 0
    if os.name == "posix":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_same_file_is_unpacked_once_and_a_changed_one_again(tmp_path):
    path = zipped(tmp_path / "cd.zip", FILES)
    first = unpack(path)
    assert unpack(path) == first
    zipped(path, {"other": b"y"})
    assert contents(unpack(path)) == {"other": b"y"}


def test_paths_are_shown_below_the_archive(tmp_path):
    path = zipped(tmp_path / "cd.zip", FILES)
    folder = unpack(path)
    assert display_path(folder / "DICOM" / "S1") == str(path / "DICOM" / "S1")
    assert display_path(folder) == str(path)
    assert display_path(tmp_path / "else") == str(tmp_path / "else")


def test_archives_opened_before_make_no_path_slower(tmp_path):
    """Comparing all its parents with 60 archives took 20,000 calls with Python 3.13."""
    path = tmp_path / "else" / "DICOM" / "S1"
    few = calls_of(lambda: display_path(path))
    for k in range(20):
        unpack(zipped(tmp_path / f"{k}.zip", {"a": b"x"}))
    assert calls_of(lambda: display_path(path)) - few <= 20 * 5


def test_backslashes_of_windows_programs_are_folders(tmp_path):
    path = zipped(tmp_path / "cd.zip", {"DICOM\\S1\\IM1": b"a", "DICOM\\S2\\": b"", "./b": b"c"})
    assert contents(unpack(path)) == {"DICOM/S1/IM1": b"a", "b": b"c"}


def test_zip64_and_data_before_the_archive(tmp_path):
    path = tmp_path / "big.zip"
    with zipfile.ZipFile(path, "w") as packed, packed.open("a", "w", force_zip64=True) as entry:
        entry.write(b"abc")
    path.write_bytes(b"#! a starter\n" + path.read_bytes())
    assert contents(unpack(path)) == {"a": b"abc"}


@pytest.mark.parametrize(
    "name",
    [
        "../evil", "a/../../evil", "..\\evil", "/etc/passwd", "\\\\server\\share", "C:evil",
        "C:\\evil", "a\x00b", "line\nbreak", "n" * 300, "d/" * 40 + "f", "/".join(["x" * 200] * 6),
        ".",
    ],
)  # fmt: skip
def test_names_that_lead_astray_are_refused(tmp_path, temporary, name):
    before = contents(tmp_path)
    path = tmp_path / "evil.zip"
    plain = "".join("~" if letter in "\0\n" else letter for letter in name)
    zipped(path, {"good": b"1", plain: b"2"})
    path.write_bytes(path.read_bytes().replace(plain.encode(), name.encode()))
    refused(path, temporary, "outside its folder|invalid name|too deeply|name that is too long")
    assert contents(tmp_path) == before | {"evil.zip": path.read_bytes()}


def test_links_and_devices_are_left_out_and_said(tmp_path):
    path = tmp_path / "links.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, mode in {
            "link": stat.S_IFLNK,
            "pipe": stat.S_IFIFO,
            "file": stat.S_IFREG,
        }.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (mode | 0o777) << 16
            packed.writestr(entry, "/etc/passwd")
    folder = unpack(path)
    assert contents(folder) == {"file": b"/etc/passwd"}
    assert {(Path(skip.path).name, skip.reason) for skip in skipped_entries(folder)} == {
        ("link", "a link in a zip archive"),
        ("pipe", "not a regular file in a zip archive"),
    }


def test_archives_within_stay_packed(tmp_path):
    inner = zipped(tmp_path / "inner.zip", FILES).read_bytes()
    folder = unpack(zipped(tmp_path / "outer.zip", {"inner.zip": inner}))
    assert contents(folder) == {"inner.zip": inner}
    with pytest.raises(InputError, match=r"outer.zip.inner.zip' is a zip archive inside another"):
        unpack(folder / "inner.zip")


def test_encrypted_rare_and_doubled_entries_are_refused(tmp_path, temporary):
    path = zipped(tmp_path / "secret.zip", {"a": b"1"})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    refused(path, temporary, "password")
    with zipfile.ZipFile(tmp_path / "lzma.zip", "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("a", b"1")
    refused(tmp_path / "lzma.zip", temporary, "compression method")
    zipped(tmp_path / "twice.zip", {"a": b"1", "./a": b"2"})
    refused(tmp_path / "twice.zip", temporary, "two files with the name 'a'")
    zipped(tmp_path / "both.zip", {"a": b"1", "a/b": b"2"})
    refused(tmp_path / "both.zip", temporary, "cannot be unpacked")


def test_damage_is_refused(tmp_path, temporary):
    path = zipped(tmp_path / "cd.zip", {"a": os.urandom(2000)})
    whole = path.read_bytes()
    for data in (
        whole[:-30],
        whole[:500],
        whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
        b"PK\x03\x04",
        b"",
    ):
        path.write_bytes(data)
        refused(path, temporary, "damaged zip archive")


def test_what_is_no_file_is_refused(tmp_path, temporary):
    for path in (tmp_path / "none.zip", tmp_path, "a\0b"):
        with pytest.raises(InputError):
            unpack(path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.zip")
        refused(tmp_path / "pipe.zip", temporary, "not a regular file")


SIZE = 100_000
_packer = zlib.compressobj(9, zlib.DEFLATED, -15)
KERNEL = _packer.compress(bytes(SIZE)) + _packer.flush()


def local(name, data, packed):
    crc = zlib.crc32(data)
    sizes = (packed, len(data), len(name), 0)
    return struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 8, 0, 0, crc, *sizes) + name


def archive_of(body, *entries):
    """Close an archive by hand; an entry is (name, data, packed bytes, offset)."""
    directory = b"".join(
        struct.pack(
            "<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, zlib.crc32(data), packed, len(data),
            len(name), 0, 0, 0, 0, 0, offset,
        ) + name
        for name, data, packed, offset in entries
    )  # fmt: skip
    count = len(entries)
    sizes = (count, count, len(directory), len(body), 0)
    return body + directory + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, *sizes)


def test_overlapping_entries_are_refused(tmp_path, temporary):
    path, data, packed = tmp_path / "overlap.zip", bytes(SIZE), len(KERNEL)
    body = local(b"a", data, packed) + KERNEL
    path.write_bytes(archive_of(body, (b"a", data, packed, 0)))
    assert contents(unpack(path)) == {"a": data}  # the helper makes good archives
    path.write_bytes(archive_of(body, (b"a", data, packed, 0), (b"a", data, packed, 0)))
    with pytest.raises(InputError, match="overlap"):
        unpack(path)


def test_quoted_overlap_is_refused(tmp_path, temporary):
    """Each entry's packed bytes quote the next entry's local header (Fifield 2019)."""
    inner, packed = bytes(SIZE), len(KERNEL)
    second = local(b"b", inner, packed)
    quote = struct.pack("<BHH", 0, len(second), len(second) ^ 0xFFFF) + second
    outer = second + inner
    assert zlib.decompress(quote + KERNEL, -15) == outer
    first = local(b"a", outer, len(quote) + packed)
    path = tmp_path / "quoted.zip"
    entries = (b"a", outer, len(quote) + packed, 0), (b"b", inner, packed, len(first) + 5)
    path.write_bytes(archive_of(first + quote + KERNEL, *entries))
    with zipfile.ZipFile(path) as known:
        assert known.namelist() == ["a", "b"]
    refused(path, temporary, "overlap")


def test_bombs_are_refused_before_they_are_unpacked(tmp_path, temporary, monkeypatch):
    path = zipped(tmp_path / "bomb.zip", {"a": bytes(70 << 20)})
    refused(path, temporary, "zip bomb")
    monkeypatch.setattr(archive, "MAX_BYTES", 1 << 20)
    refused(path, temporary, "GiB, more than")
    monkeypatch.setattr(archive, "MAX_SHARE_OF_DISK", 0.0)
    monkeypatch.setattr(archive, "MAX_BYTES", 1 << 40)
    refused(path, temporary, "half of the free disk")


def test_an_archive_that_claims_less_than_it_holds_is_refused(tmp_path, temporary):
    path = zipped(tmp_path / "liar.zip", {"a": bytes(100_000)})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 100_000), struct.pack("<I", 10)))
    refused(path, temporary, "damaged zip archive")


def test_endless_tables_of_contents_are_refused(tmp_path, temporary, monkeypatch):
    path = zipped(tmp_path / "many.zip", {f"{i:04}/a": b"" for i in range(200)})
    monkeypatch.setattr(archive, "MAX_ENTRIES", 199)
    refused(path, temporary, "200 entries, more than 199")
    monkeypatch.setattr(archive, "MAX_ENTRIES", 200)
    refused(path, temporary, "more than 200 folders")
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 1 << 13)
    refused(path, temporary, "central directory")


def test_cancel_in_the_middle_of_a_big_entry(tmp_path, temporary):
    path = tmp_path / "big.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a", os.urandom(1 << 20) * 24)

    def stop(done, total, _stage):
        assert done < total
        cancel.cancel()

    cancel = Task(stop)
    with running(cancel), pytest.raises(Cancelled):
        unpack(path)
    assert list(temporary.iterdir()) == []


def test_waiting_for_another_thread_can_be_cancelled(tmp_path):
    class Impatient(Task):
        looks = 0

        @property
        def cancelled(self):
            self.looks += 1
            return self.looks > 2

    path = zipped(tmp_path / "cd.zip", FILES)
    with running(Impatient()), archive._lock, pytest.raises(Cancelled):
        unpack(path)


def test_the_folder_goes_when_the_process_ends(tmp_path):
    path = zipped(tmp_path / "cd.zip", FILES)
    code = "import sys; from tomochrome.io.archive import unpack; print(unpack(sys.argv[1]))"
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert Path(run.stdout.strip()).name.startswith("tomochrome-")
    assert not Path(run.stdout.strip()).exists()


def test_find_and_read_look_into_an_archive(tmp_path, temporary):
    folder, path = series(tmp_path / "series"), tmp_path / "cd.zip"
    write(ct(seed=3), tmp_path / "n.nii.gz")
    with zipfile.ZipFile(path, "w") as packed:
        for file in folder.iterdir():
            packed.write(file, f"DICOM/{file.name}")
        packed.write(tmp_path / "n.nii.gz", "other/n.nii.gz")
        packed.writestr("other/broken.nii.gz", b"\x1f\x8b broken")
        packed.writestr("other/inner.zip", b"PK\x03\x04")
    found = find(path)
    assert [item.path for item in found.items] == [
        str(path / "DICOM"),
        str(path / "other/n.nii.gz"),
    ]
    assert [skip.path for skip in found.skipped] == [
        str(path / "other/broken.nii.gz"),
        str(path / "other/inner.zip"),
    ]
    told = json.dumps(found.to_json())
    for item, expected in zip(found.items, (ct(), ct(seed=3)), strict=True):
        for volume in (read(item), read(path, series=item.name)):
            np.testing.assert_array_equal(volume.voxels, expected.voxels)
            told += repr(volume.provenance)
    with pytest.raises(InputError, match="holds 2 series; choose one") as caught:
        read(path)
    assert str(temporary) not in told + str(caught.value)


def test_errors_name_the_file_in_the_archive(tmp_path, temporary):
    files = {f"a/{file.name}": file.read_bytes() for file in series(tmp_path / "s").iterdir()}
    last = max(files)
    path = zipped(tmp_path / "cd.zip", {last: files[last][:-100]})
    with pytest.raises(TomochromeError, match=rf"cd\.zip.{last}") as caught:
        read(path)
    assert str(temporary) not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mutated_archives_unpack_or_are_refused(data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in FILES.items():
            packed.writestr(name, content[:500])
    whole = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.zip"
        path.write_bytes(
            whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole
        )
        try:
            unpacked = unpack(path)
        except InputError:
            return
        assert all(p.resolve().is_relative_to(unpacked) for p in unpacked.rglob("*"))
