"""The index of a CD: what it lists is read, what leads out of its folder is not opened."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from io_cases import ct, series
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tomochrome.errors import Cancelled, InputError
from tomochrome.io import find, read
from tomochrome.io.dicom import dicomdir
from tomochrome.io.dicom.warning_capture import captured_warnings
from tomochrome.runtime import Task, running

INDEX = "1.2.840.10008.1.3.10"


def index(path: Path, references: list[list[str] | str], *, implicit: bool = False) -> Path:
    """Write a DICOMDIR that lists files; other records stand between them."""
    with captured_warnings():
        return _index(path, references, implicit)


def _index(path: Path, references: list[list[str] | str], implicit: bool) -> Path:
    records = []
    for reference in references:
        patient = Dataset()
        patient.DirectoryRecordType, patient.PatientName = "PATIENT", "Muster^Erika"
        image = Dataset()
        image.DirectoryRecordType, image.ReferencedFileID = "IMAGE", reference
        records += [patient, image]
    dataset = Dataset()
    dataset.FileSetID = ""
    dataset.DirectoryRecordSequence = records
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = INDEX
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def cd(tmp_path) -> Path:
    """A CD with a series of seven slices in DICOM/S1 and one in DICOM/S2 that is not listed."""
    (tmp_path / "cd" / "DICOM").mkdir(parents=True)
    series(tmp_path / "cd" / "DICOM" / "S1", ct(seed=1), series_uid="1.2.3")
    series(tmp_path / "cd" / "DICOM" / "S2", ct(seed=2), series_uid="1.2.4")
    return tmp_path / "cd"


def listed(cd: Path) -> list[list[str]]:
    return [["DICOM", "S1", p.name.upper()] for p in sorted((cd / "DICOM/S1").iterdir())]


@pytest.mark.parametrize("implicit", [False, True])
def test_what_is_listed_is_found_whatever_the_case_of_names(cd, implicit):
    path = index(cd / "DICOMDIR", listed(cd), implicit=implicit)
    found = find(path)
    (item,) = found.items
    assert (item.series_uid, item.shape[0], item.kind) == ("1.2.3", 7, "dicom-series")
    assert item.path == str(cd / "DICOM" / "S1")
    assert found.skipped == ()
    np.testing.assert_array_equal(read(path).voxels, ct(seed=1).voxels)


def test_old_names_end_in_a_version(cd):
    for file in (cd / "DICOM" / "S1").iterdir():
        file.rename(file.with_name(file.stem.lower() + ".;1"))
    references = [["DICOM", "S1", f"{i + 1:04d}"] for i in range(7)]
    assert find(index(cd / "DICOMDIR", references)).items[0].shape[0] == 7


ADDED = {
    "dcm": "{}.dcm",
    "capitals": "{}.DCM",
    "another ending": "{}.ima",
    "version": "{}.dcm;1",
    "two endings": "{}.dicom.dcm",
}


@pytest.mark.parametrize("name", ADDED)
def test_names_with_added_endings_are_found(cd, name):
    for file in sorted((cd / "DICOM" / "S1").iterdir()):
        file.rename(file.with_name(ADDED[name].format("im" + file.stem)))
    references = [["DICOM", "S1", f"IM{i + 1:04d}"] for i in range(7)]
    found = find(index(cd / "DICOMDIR", references))
    assert [item.shape[0] for item in found.items] == [7]
    assert found.skipped == ()


def test_folders_in_small_letters_and_endings_that_were_removed(cd):
    (cd / "DICOM").rename(cd / "dicom")
    for file in sorted((cd / "dicom" / "S1").iterdir()):
        file.rename(file.with_suffix(""))
    references = [["DICOM", "S1", f"{i + 1:04d}.DCM"] for i in range(7)]
    assert find(index(cd / "DICOMDIR", references)).items[0].shape[0] == 7


def test_of_several_files_with_an_added_ending_the_image_is_taken(cd):
    folder = cd / "DICOM" / "S1"
    references = [["DICOM", "S1", file.stem] for file in sorted(folder.iterdir())]
    for file in sorted(folder.iterdir()):
        file.with_suffix(".jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(600))
        file.with_suffix(".txt").write_bytes(b"notes")
    (folder / "0001.old").write_bytes((cd / "DICOM" / "S2" / "0001.dcm").read_bytes())
    found = find(index(cd / "DICOMDIR", references))
    assert [(i.series_uid, i.shape[0]) for i in found.items] == [("1.2.3", 7)]
    # Which of two images is meant cannot be known: neither is opened.
    (folder / "0002.dcm").rename(folder / "0002.ima")
    (folder / "0002.old").write_bytes((cd / "DICOM" / "S2" / "0002.dcm").read_bytes())
    found = find(index(cd / "DICOMDIR", references))
    assert [Path(file.path).name for file in found.skipped] == ["0002"]


def long_index(path: Path, files: list[list[str]], icon: int = 0, *, undefined: bool = False):
    """Write a DICOMDIR whose records have all that they have on ordinary CDs."""
    with captured_warnings():
        return _long_index(path, files, icon, undefined)


def _long_index(path: Path, files: list[list[str]], icon: int, undefined: bool) -> Path:
    records = []
    for i, reference in enumerate(files):
        image = Dataset()
        image.OffsetOfTheNextDirectoryRecord = image.OffsetOfReferencedLowerLevelDirectoryEntity = 0
        image.RecordInUseFlag, image.DirectoryRecordType = 0xFFFF, "IMAGE"
        image.ReferencedFileID = reference
        image.ReferencedSOPClassUIDInFile = "1.2.840.10008.5.1.4.1.1.2"
        image.ReferencedSOPInstanceUIDInFile = f"1.2.3.{i}"
        image.ReferencedTransferSyntaxUIDInFile = ExplicitVRLittleEndian
        image.ImageType, image.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], i
        image.ImagePositionPatient, image.Rows, image.Columns = [0, 0, i], 4, 4
        image.ImageOrientationPatient, image.PixelSpacing = [1, 0, 0, 0, 1, 0], [1, 1]
        if icon:
            small = Dataset()
            small.Rows = small.Columns = icon
            small.BitsAllocated, small.PixelData = 8, bytes(icon * icon)
            small["PixelData"].VR = "OB"
            image.IconImageSequence = [small]
        image.is_undefined_length_sequence_item = undefined
        records.append(image)
    dataset = Dataset()
    dataset.FileSetID, dataset.DirectoryRecordSequence = "", records
    dataset["DirectoryRecordSequence"].is_undefined_length = undefined
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = INDEX
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("count", "icon", "undefined"),
    [(500, 0, False), (700, 0, True), (300, 64, False), (2000, 0, False)],
)
def test_an_index_of_many_images_is_read(cd, count, icon, undefined):
    references = [["CD", f"IM{i:06d}"] for i in range(count)]
    path = long_index(cd / "DICOMDIR", [*references, *listed(cd)], icon, undefined=undefined)
    found = find(path)
    assert [(i.series_uid, i.shape[0]) for i in found.items] == [("1.2.3", 7)]
    assert f"{count - 20} more files that are missing" in found.skipped[-1].reason


CASES = Path(__file__).parents[3] / "shared" / "data" / "cases"


@pytest.mark.parametrize(
    ("name", "slices"), [("01_dicomdir_500", 500), ("25_dicomdir_dcm_names", 6)]
)
def test_the_reported_indexes(name, slices):
    path = CASES / name / "cd" / "DICOMDIR"
    if not path.exists():
        pytest.skip(f"{name} is not here")
    (item,) = find(path).items
    assert (item.verdict, item.shape[0]) == ("regular", slices)


def test_in_a_folder_the_index_is_only_left_aside(cd):
    index(cd / "DICOMDIR", listed(cd))
    found = find(cd)
    assert [item.series_uid for item in found.items] == ["1.2.3", "1.2.4"]
    (skipped,) = found.skipped
    assert skipped.reason.startswith("an index of the files beside it")


def test_missing_files_are_named(cd):
    references = [*listed(cd), ["DICOM", "S9", "0001"], ["NOWHERE"]]
    found = find(index(cd / "DICOMDIR", references))
    assert found.items[0].shape[0] == 7
    assert [Path(s.path).name for s in found.skipped] == ["0001", "NOWHERE"]
    assert all("missing" in s.reason for s in found.skipped)
    many = [*listed(cd), *(["S9", f"I{i}"] for i in range(50))]
    found = find(index(cd / "DICOMDIR", many))
    assert len(found.skipped) == 21
    assert "30 more files that are missing" in found.skipped[-1].reason


def test_an_index_alone_says_so(cd, tmp_path):
    (tmp_path / "desk").mkdir()
    path = index(tmp_path / "desk" / "DICOMDIR", listed(cd))
    with pytest.raises(
        InputError, match=r"only the index of 7 files.*open the folder of the images"
    ):
        read(path)
    with pytest.raises(InputError, match="lists no file"):
        find(index(path, []))


@pytest.mark.parametrize(
    "reference",
    [
        ["..", "secret"],
        ["DICOM", "..", "..", "secret"],
        "/etc/passwd",
        "../secret",
        ["", "etc", "passwd"],
        ["C:", "secret"],
        [".", "secret"],
    ],
)
def test_references_that_lead_out_are_not_opened(cd, reference):
    (cd.parent / "secret").write_bytes((cd / "DICOM" / "S2" / "0001.dcm").read_bytes())
    found = find(index(cd / "DICOMDIR", [*listed(cd), reference]))
    assert [item.series_uid for item in found.items] == ["1.2.3"]
    (skipped,) = found.skipped
    assert "outside its folder" in skipped.reason


def test_links_that_lead_out_are_not_opened(cd):
    (cd.parent / "secret").write_bytes((cd / "DICOM" / "S2" / "0001.dcm").read_bytes())
    (cd / "LINK").symlink_to(cd.parent / "secret")
    found = find(index(cd / "DICOMDIR", [*listed(cd), ["LINK"]]))
    assert [item.series_uid for item in found.items] == ["1.2.3"]
    assert "outside the folder" in found.skipped[0].reason


def test_a_file_that_is_listed_twice_counts_once(cd):
    found = find(index(cd / "DICOMDIR", [*listed(cd), *listed(cd)]))
    assert found.items[0].shape[0] == 7
    assert found.items[0].warnings == ()


def test_damaged_and_endless_indexes_end_in_a_sentence(cd):
    path = index(cd / "DICOMDIR", listed(cd))
    whole = path.read_bytes()
    rng = np.random.default_rng(4)
    for _ in range(60):
        broken = bytearray(whole)
        for where in rng.integers(132, len(broken), 5):
            broken[where] = rng.integers(0, 256)
        path.write_bytes(bytes(broken[: rng.integers(200, len(broken))]))
        try:
            find(path)
        except InputError as error:
            assert "\n" not in str(error)
    head = whole[: whole.index(struct.pack("<HH", 0x0004, 0x1220))]
    sequence = struct.pack("<HH2sHI", 0x0004, 0x1220, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHIHHI", 0xFFFE, 0xE000, 0xFFFFFFFF, 0xFFFE, 0xE00D, 0)
    path.write_bytes(head + sequence + item * 60_000)
    with pytest.raises(InputError, match=r"longer than that of any image|lists no file|damaged"):
        find(path)


def test_cancel(cd):
    token = Task()
    token.cancel()
    path = index(cd / "DICOMDIR", listed(cd))
    with running(token), pytest.raises(Cancelled):
        dicomdir.files(path, lambda file, reason: None)


def test_an_image_is_no_index(cd):
    head = (cd / "DICOM" / "S1" / "0001.dcm").read_bytes()[:4096]
    assert not dicomdir.is_index(head)
    assert not dicomdir.is_index(b"")
    assert dicomdir.is_index(index(cd / "X", listed(cd)).read_bytes()[:4096])
    assert pydicom.dcmread(cd / "X").file_meta.MediaStorageSOPClassUID == INDEX
