"""Outputs are whole or not there: nothing half-written, nothing replaced unasked."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tomochrome.errors import OutputError
from tomochrome.runtime import check_writable, write_whole
from tomochrome.runtime.work_folder import final_path


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_whole_file_appears_under_its_name(tmp_path: Path) -> None:
    with write_whole(tmp_path / "a.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"whole")
        assert not (tmp_path / "a.nii.gz").exists()
    assert (tmp_path / "a.nii.gz").read_bytes() == b"whole"
    assert leftovers(tmp_path) == ["a.nii.gz"]


def test_an_error_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    with (
        pytest.raises(ZeroDivisionError),
        write_whole(target, force=True) as temporary,
    ):
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    assert leftovers(tmp_path) == ["a.png"]


def test_existing_output_needs_force(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match=r"already exists.*--force"):
        check_writable(target)
    with write_whole(target, force=True) as temporary:
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"new"


def test_folders_are_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "series"
    target.mkdir()
    (target / "old").touch()
    with write_whole(target, force=True) as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    assert leftovers(target) == ["new"]
    assert leftovers(tmp_path) == ["series"]


def test_a_folder_takes_the_place_of_an_empty_one_only(tmp_path: Path) -> None:
    target, link = tmp_path / "series", tmp_path / "link"
    target.mkdir()
    link.symlink_to(target)
    with pytest.raises(OutputError, match="already exists"), write_whole(link):
        pass
    with write_whole(target) as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    assert leftovers(target) == ["new"]
    with pytest.raises(OutputError, match="already exists"), write_whole(target):
        pass
    assert leftovers(tmp_path) == ["link", "series"]


def test_a_file_never_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "scans.h5"
    target.mkdir()
    (target / "precious").write_text("kept")
    with (
        pytest.raises(OutputError, match="is a folder; choose another name"),
        write_whole(target, force=True) as temporary,
    ):
        temporary.write_text("new")
    assert (target / "precious").read_text() == "kept"
    assert list(tmp_path.iterdir()) == [target]


def test_a_missing_folder_is_said_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        check_writable(tmp_path / "no" / "a.png")


def test_a_file_in_place_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        check_writable(tmp_path / "file" / "a.png")


def test_an_output_in_a_work_folder_is_called_by_its_final_path(tmp_path: Path) -> None:
    assert final_path(tmp_path / "new" / "a.png") == tmp_path / "new" / "a.png"
    with write_whole(tmp_path / "a.h5") as outer, write_whole(outer) as inner:
        assert final_path(inner) == final_path(outer) == tmp_path / "a.h5"
        assert final_path(inner / "0") == tmp_path / "a.h5" / "0"
        inner.touch()
    with (
        pytest.raises(OutputError) as caught,
        write_whole(tmp_path / "b.h5") as outer,
        write_whole(outer),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value) == f"cannot write '{tmp_path / 'b.h5'}': No space left on device"


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 300 + ".png"])
def test_names_that_no_file_can_have_are_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="cannot be an output"):
        check_writable(tmp_path / name)
