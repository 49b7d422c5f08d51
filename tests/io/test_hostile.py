"""Inputs made to do harm: each ends in a volume or in one sentence, and leaves nothing behind."""

from __future__ import annotations

import os
import struct
import tempfile
import zipfile
import zlib
from functools import cache
from pathlib import Path

import pytest
import torture as T
from pydicom.uid import ExplicitVRLittleEndian

from tomochrome.errors import InputError, TomochromeError
from tomochrome.io import find, read

pytest.importorskip("resource", reason="limits of memory and time need a POSIX system")
import dicom_elements
import fuzz_run
import fuzz_seeds
from fuzz_seeds import one


def ends_well(path: Path) -> tuple[bool, str]:
    """Run an input within time and memory; return whether a volume came."""
    with fuzz_run.bounded():
        came, fault = fuzz_run.check(path)
    assert fault == ""
    return came, fault


@pytest.mark.parametrize("syntax", ["uncompressed", *T.SYNTAXES])
def test_claimed_frames_of_60000_by_60000(tmp_path, syntax):
    path = T.save_one(one(), tmp_path / "a.dcm", T.SYNTAXES.get(syntax, ExplicitVRLittleEndian))
    body = path.read_bytes()
    if syntax == "deflated":
        return
    order = ">" if syntax == "big-endian" else "<"
    small, huge = struct.pack(f"{order}H", 32), struct.pack(f"{order}H", 60000)
    for number in (0x0010, 0x0011):  # Rows, Columns
        vr = b"" if syntax == "implicit" else b"US"
        length = struct.pack(f"{order}{'I' if syntax == 'implicit' else 'H'}", 2)
        head = struct.pack(f"{order}HH", 0x0028, number) + vr + length
        assert head + small in body
        body = body.replace(head + small, head + huge)
    path.write_bytes(body)
    came, _ = ends_well(path)
    assert not came


@pytest.mark.parametrize("syntax", ["uncompressed", "rle", "jpeg-ls", "jpeg-2000"])
def test_a_series_that_claims_a_terabyte(tmp_path, syntax):
    syntax = T.SYNTAXES.get(syntax, ExplicitVRLittleEndian)
    for i in range(40):
        d = one(SeriesInstanceUID="1.2.3", StudyInstanceUID="1.2")
        d.ImagePositionPatient = [0, 0, 5 * i]
        path = T.save_one(d, tmp_path / f"{i}", syntax)
        body = path.read_bytes()
        for number in (b"\x10", b"\x11"):
            body = body.replace(b"\x28\0" + number + b"\0US\x02\0\x20\0",
                                b"\x28\0" + number + b"\0US\x02\0\x60\xea")  # fmt: skip
        path.write_bytes(body)
    came, _ = ends_well(tmp_path)
    assert not came


@pytest.mark.parametrize("count", ["2147483647", "1000000"])
@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_claimed_numbers_of_frames(tmp_path, kind, count):
    d = fuzz_seeds.enhanced_dataset(fuzz_seeds.small(3)) if kind == "enhanced" else one()
    d.NumberOfFrames = count
    came, _ = ends_well(T.save_one(d, tmp_path / "a.dcm"))
    assert not came


@pytest.mark.parametrize("endless", [False, True], ids=["deep", "deep and never closed"])
def test_sequences_in_sequences(tmp_path, endless):
    whole = T.save_one(one(), tmp_path / "a.dcm").read_bytes()
    elements = dicom_elements.parse(whole[132:])
    at = next(i for i, e in enumerate(elements) if e.tag >= (0x0008, 0x1140))
    if endless:
        opened = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 1000
        body = b"".join(e.pack() for e in elements[:at]) + opened
    else:
        elements.insert(at, dicom_elements.nested(1000))
        body = b"".join(e.pack() for e in elements)
    (tmp_path / "a.dcm").write_bytes(whole[:132] + body)
    ends_well(tmp_path / "a.dcm")


def test_a_file_that_is_one_endless_sequence(tmp_path):
    whole = T.save_one(one(), tmp_path / "a.dcm").read_bytes()
    cut = whole.index(b"\x08\0\x16\0UI")
    item = b"\xfe\xff\0\xe0\0\0\0\0"
    (tmp_path / "a.dcm").write_bytes(
        whole[:cut] + b"\x08\0\x10\x11SQ\0\0\xff\xff\xff\xff" + item * 400_000
    )
    came, _ = ends_well(tmp_path / "a.dcm")
    assert not came


def test_elements_that_claim_gigabytes(tmp_path):
    whole = T.save_one(one(), tmp_path / "a.dcm").read_bytes()
    for tag in (b"\x08\0\x60\0CS", b"\x28\0\x10\0US", b"\x20\0\x32\0DS"):
        at = whole.index(tag)
        broken = whole[:at] + tag[:4] + b"UT\0\0\xf0\xff\xff\x7f" + whole[at + 8 :]
        (tmp_path / "b.dcm").write_bytes(broken)
        ends_well(tmp_path / "b.dcm")


def test_a_fragment_that_claims_gigabytes(tmp_path):
    path = T.save_one(one(), tmp_path / "a.dcm", T.SYNTAXES["jpeg-2000"])
    whole = path.read_bytes()
    at = whole.index(b"\xff\x4f\xff\x51") - 4  # the length before the codestream
    path.write_bytes(whole[:at] + b"\xf0\xff\xff\xf0" + whole[at + 4 :])
    came, _ = ends_well(path)
    assert not came
    with pytest.raises(InputError, match="truncated or damaged"):
        read(path)


def test_a_deflated_bomb(tmp_path):
    path = T.save_one(one(), tmp_path / "a.dcm", T.SYNTAXES["deflated"])
    whole = path.read_bytes()
    start = deflated_from(whole)
    path.write_bytes(whole[:start] + zeros(3000))
    came, _ = ends_well(path)
    assert not came


@pytest.mark.parametrize("vr", [b"OY", b"O\xa4", b"US"])
def test_deflated_pixels_of_another_type(tmp_path, vr):
    path = T.save_one(one(), tmp_path / "a.dcm", T.SYNTAXES["deflated"])
    whole = path.read_bytes()
    start = deflated_from(whole)
    dataset = zlib.decompress(whole[start:], -15)
    at = dataset.index(b"\xe0\x7f\x10\0OW") + 4
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(dataset[:at] + vr + dataset[at + 2 :]) + packer.flush()
    path.write_bytes(whole[:start] + packed)
    came, _ = ends_well(path)
    assert not came


def deflated_from(whole: bytes) -> int:
    """Return where a deflated file's data set begins, by the length of the file meta group."""
    return 132 + 12 + whole[140] + 256 * whole[141]


@cache
def zeros(megabytes: int) -> bytes:
    """Return a deflated stream of megabytes of zeros, made of one block over and over."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = pack.compress(bytes(1 << 20)) + pack.flush(zlib.Z_FULL_FLUSH)
    return block * megabytes + pack.flush()


def archive_of(members: list[tuple[str, bytes, int, int]], overlapping: bool = False) -> bytes:
    """Build an archive by hand, so that it may say what no library would write."""
    out, central = b"", b""
    first = None
    for name, body, size, crc in members:
        raw = name.encode()
        offset = len(out) if first is None or not overlapping else first
        head = struct.pack("<HHHHHIIIHH", 20, 0x800, 8, 0, 33, crc, len(body), size, len(raw), 0)
        if first is None or not overlapping:
            first = len(out)
            out += b"PK\x03\x04" + head + raw + body
        central += b"PK\x01\x02" + struct.pack("<H", 20) + head
        central += struct.pack("<HHHII", 0, 0, 0, 0, offset) + raw
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(central), len(out), 0)
    return out + central + b"PK\x05\x06" + end


@pytest.mark.parametrize("kind", ["plain", "many", "overlapping", "lying", "nested"])
def test_zip_bombs(tmp_path, kind, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    path, size = tmp_path / "cd.zip", 20 << 20
    body, crc = zeros(20), zlib.crc32(bytes(size))
    if kind == "plain":
        path.write_bytes(archive_of([("0.dcm", zeros(3000), 3000 << 20, crc)]))
    elif kind == "many":
        path.write_bytes(archive_of([(f"{i}.dcm", body, size, crc) for i in range(500)]))
    elif kind == "overlapping":
        names = [(f"{i}.dcm", body, size, crc) for i in range(5000)]
        path.write_bytes(archive_of(names, overlapping=True))
    elif kind == "lying":
        path.write_bytes(archive_of([("0.dcm", zeros(3000), 100, crc)]))
    else:
        inner = archive_of([("0.dcm", body, size, crc)])
        for _ in range(12):
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("a.zip", inner)
                archive.writestr("b.zip", inner)
            inner = path.read_bytes()
    came, _ = ends_well(path)
    assert not came
    left = sum(p.stat().st_size for p in scratch.rglob("*") if p.is_file())
    assert left < 1 << 20  # archives in archives stay packed; nothing else was unpacked at all


@pytest.mark.parametrize(
    "name",
    ["../../escaped", "/tmp/escaped", "a/../../../escaped", "..\\..\\escaped", "C:\\escaped"],
)
def test_members_cannot_leave_their_folder(tmp_path, name):
    good = T.save_one(one(), tmp_path / "good").read_bytes()
    deep = tmp_path / "deep" / "er"
    deep.mkdir(parents=True)
    with zipfile.ZipFile(deep / "cd.zip", "w") as archive:
        archive.writestr("good.dcm", good)
        archive.writestr(zipfile.ZipInfo(name), good)
    before = set(tmp_path.rglob("*"))
    ends_well(deep / "cd.zip")
    assert set(tmp_path.rglob("*")) == before
    assert not Path("/tmp/escaped").exists()


def test_a_link_in_an_archive_is_not_followed(tmp_path):
    secret = T.save_one(one(), tmp_path / "secret.dcm")
    with zipfile.ZipFile(tmp_path / "cd.zip", "w") as archive:
        link = zipfile.ZipInfo("link.dcm")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, str(secret))
    came, _ = ends_well(tmp_path / "cd.zip")
    assert not came


def test_a_dicomdir_cannot_lead_out_of_its_folder(tmp_path):
    outside = T.save_one(one(), tmp_path / "OUTSIDE")
    path = T.dicomdir(T.slices(fuzz_seeds.small(2)), tmp_path / "cd")
    body = path.read_bytes()
    name = b"PT000000\\ST000000\\SE000000\\IM000000"
    assert name in body
    for evil in (
        b"..\\OUTSIDE",
        b"..\\cd\\..\\OUTSIDE",
        str(outside).encode().replace(b"/", b"\\"),
    ):
        if len(evil) <= len(name):
            path.write_bytes(body.replace(name, evil.ljust(len(name))))
            found = find(path)
            for item in found.items:
                assert all("OUTSIDE" not in str(h.path) for h in item.source.headers)


def test_strange_things_in_a_folder(tmp_path):
    folder = T.save(T.slices(fuzz_seeds.small(6)), tmp_path / "s")
    os.mkfifo(folder / "pipe.dcm")
    (folder / "dir.dcm").mkdir()
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "dir.dcm" / "up").symlink_to(tmp_path, target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "dangling").symlink_to(folder / "nothing")
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "one.dcm").write_bytes(b"\0")
    (folder / "DICOMDIR").write_bytes(b"")
    (folder / ("x" * 250)).write_text("a long name")
    (folder / "\n\t\u202e name").write_text("a name of several lines")
    if hasattr(os, "fsencode"):
        (folder / os.fsdecode(b"\xff\xfe.dcm")).write_bytes(b"not a name in any language")
    came, _ = ends_well(folder)
    assert came
    found = find(folder)
    assert [item.shape for item in found.items] == [(6, 16, 16)]
    names = {Path(s.path).name for s in found.skipped}
    assert {"pipe.dcm", "empty.dcm", "one.dcm", "zero", "self", "dangling", "x" * 250} <= names
    assert all("\n" not in s.reason for s in found.skipped)


@pytest.mark.parametrize("kind", ["pipe", "device", "empty", "byte", "loop"])
def test_strange_things_themselves(tmp_path, kind):
    path = tmp_path / "a.dcm"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.write_bytes(b"" if kind == "empty" else b"\0")
    with fuzz_run.alarm(fuzz_run.SECONDS), pytest.raises(TomochromeError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file(tmp_path):
    folder = T.save(T.slices(fuzz_seeds.small(3)), tmp_path / "s")
    (folder / "0001.dcm").chmod(0)
    found = find(folder)
    assert [Path(s.path).name for s in found.skipped] == ["0001.dcm"]
    with pytest.raises(InputError):
        read(folder / "0001.dcm")


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b", "/".join(["y" * 200] * 30)])
def test_paths_that_cannot_be(path):
    with pytest.raises(TomochromeError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
