"""Outputs of the command line: nothing that is an input is replaced, an empty folder is free."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_cases import Run, make_series, small_ct

from tomochrome.cli.files import is_inside
from tomochrome.io import write
from tomochrome.transform import Transform

Capture = pytest.CaptureFixture[str]
MODEL = ("--model", "transfer-function")


def test_is_inside_follows_links(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert is_inside(tmp_path / "link" / "x.dcm", f"{tmp_path}/a/")
    assert is_inside(tmp_path / "link", tmp_path / "a")
    assert not is_inside(tmp_path / "ab", tmp_path / "a")
    assert not is_inside(tmp_path / "a", tmp_path / "a" / "x.dcm")


def test_a_folder_that_holds_the_input_is_never_replaced(tmp_path: Path, capfd: Capture) -> None:
    series = make_series(tmp_path / "series")
    files = sorted(series.iterdir())
    before = [file.read_bytes() for file in files]
    ct = small_ct()
    write(ct, tmp_path / "ct.nii.gz")
    Transform.from_affine(np.eye(4)).save(tmp_path / "t.h5")
    like = ("--like", tmp_path / "ct.nii.gz")
    for command in (
        ("colorize", files[0], *MODEL),
        ("transform", files[0], tmp_path / "t.h5", *like),
        ("checkerboard", tmp_path / "ct.nii.gz", files[0]),
    ):
        run = Run(capfd, *command, "-o", f"{series}/", "--force")
        assert run.status == 2
        assert f"holds the input '{files[0]}'" in run.complaint
    assert [file.read_bytes() for file in sorted(series.iterdir())] == before


@pytest.mark.parametrize(("out", "words"), [("", "the path is empty"), (".", "extension")])
def test_names_that_are_no_output(
    out: str, words: str, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(small_ct(), tmp_path / "ct.nii.gz")
    monkeypatch.chdir(tmp_path)
    run = Run(capfd, "colorize", "ct.nii.gz", "-o", out, *MODEL)
    assert run.status == 2
    assert words in run.complaint


def test_a_map_is_not_written_into_the_dicom_folder(tmp_path: Path, capfd: Capture) -> None:
    write(small_ct(), tmp_path / "ct.nii.gz")
    out = f"{tmp_path}/out/"
    run = Run(
        capfd, "colorize", tmp_path / "ct.nii.gz", "-o", out, *MODEL, "--tissue-map", f"{out}t.nrrd"
    )
    assert run.status == 2
    assert f"is inside the output '{out}'" in run.complaint


@pytest.mark.parametrize("map_too", [False, True])
def test_an_empty_folder_is_written_without_force(
    map_too: bool, tmp_path: Path, capfd: Capture
) -> None:
    series, out = make_series(tmp_path / "series"), tmp_path / "out"
    out.mkdir()
    words = ("--tissue-map", tmp_path / "t.nii.gz") if map_too else ()
    run = Run(capfd, "colorize", series, "-o", f"{out}/", *MODEL, *words)
    assert run.status == 0, run.err
    assert len(list(out.glob("*.dcm"))) == small_ct().shape[0]
    again = Run(capfd, "colorize", series, "-o", f"{out}/", *MODEL)
    assert again.status == 2
    assert "already exists" in again.complaint
