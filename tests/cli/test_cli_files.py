"""Outputs of the command line: nothing that is an input is replaced, an empty folder is free."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_cases import Run, make_series, small_ct

from tomochrome.cli.files import as_json, is_inside
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


@pytest.fixture
def restored(tmp_path: Path) -> Path:
    """A restored scan whose name is that of the mask beside a file ``scan.nii``."""
    ct = small_ct()
    mask = np.zeros(ct.shape, bool)
    mask[2, 20:24, 20:24] = True
    write(replace(ct, restored=mask), tmp_path / "scan_restored.nii.gz")
    write(ct, tmp_path / "other.nii.gz")
    Transform.from_affine(np.eye(4)).save(tmp_path / "t.h5")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (("colorize", "scan_restored.nii.gz", *MODEL), ("-o", "scan.nii")),
        (
            ("colorize", "scan_restored.nii.gz", *MODEL),
            ("-o", "c.png", "--confidence-map", "scan.nii"),
        ),
        (
            ("transform", "scan_restored.nii.gz", "t.h5", "--like", "other.nii.gz"),
            ("-o", "scan.nii"),
        ),
        (("checkerboard", "scan_restored.nii.gz", "other.nii.gz"), ("-o", "scan.nii.gz")),
        (("checkerboard", "other.nii.gz", "scan_restored.nii.gz"), ("-o", "scan.nii.gz")),
    ],
    ids=lambda words: " ".join(words),
)
def test_the_mask_beside_an_output_replaces_no_input(
    words: tuple[str, ...],
    out: tuple[str, ...],
    restored: Path,
    capfd: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(restored)
    before = Path("scan_restored.nii.gz").read_bytes()
    run = Run(capfd, *words, *out, "--force")
    assert run.status == 2
    assert "scan_restored.nii.gz' is an input" in run.err
    assert Path("scan_restored.nii.gz").read_bytes() == before
    assert not any(Path(name).exists() for name in ("scan.nii", "scan.nii.gz", "c.png"))


def test_the_mask_of_a_moved_volume_replaces_no_input(restored: Path, capfd: Capture) -> None:
    scan = (restored / "scan_restored.nii.gz").rename(restored / "moved_restored.nii.gz")
    before = scan.read_bytes()
    run = Run(
        capfd, "register", restored / "other.nii.gz", scan, "-o", restored, "--force",
        "--init", "none", "--model", "none", "--refine", 0,
    )  # fmt: skip
    assert run.status == 2
    assert "is an input" in run.complaint
    assert scan.read_bytes() == before


def test_what_lies_beside_an_output_is_checked_before_the_work(
    restored: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tomochrome.colorization.file_coloring.color_scan", lambda *_, **__: pytest.fail("it began")
    )
    (restored / "t.json").write_text("mine")
    other, scan = restored / "other.nii.gz", restored / "scan_restored.nii.gz"
    run = Run(
        capfd, "colorize", other, "-o", restored / "c.nrrd", *MODEL,
        "--tissue-map", restored / "t.nii.gz",
    )  # fmt: skip
    assert run.status == 2
    assert f"'{restored / 't.json'}' already exists" in run.err
    (restored / "c_restored.seg.nrrd").write_text("mine")
    run = Run(capfd, "colorize", scan, "-o", restored / "c.nrrd", *MODEL)
    assert run.status == 2
    assert f"'{restored / 'c_restored.seg.nrrd'}' already exists" in run.err


def test_the_mask_of_a_moved_volume_is_checked_before_the_work(
    restored: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tomochrome.cli.register.register", lambda *_, **__: pytest.fail("it began")
    )
    out = tmp_path / "out"
    out.mkdir()
    (out / "moved_restored.nii.gz").write_text("mine")
    scan = restored / "scan_restored.nii.gz"
    run = Run(capfd, "register", restored / "other.nii.gz", scan, "-o", out)
    assert run.status == 2
    assert f"'{out / 'moved_restored.nii.gz'}' already exists" in run.err


def test_a_folder_named_like_a_file_has_its_mask_inside(restored: Path, capfd: Capture) -> None:
    run = Run(
        capfd, "colorize", restored / "scan_restored.nii.gz", "-o", f"{restored}/x.nii/", *MODEL
    )
    assert run.status == 0, run.err
    assert (restored / "x.nii" / "restored.dcm").is_file()
    assert not (restored / "x_restored.nii.gz").exists()


def test_no_output_is_the_mask_of_another(restored: Path, capfd: Capture) -> None:
    run = Run(
        capfd, "colorize", restored / "scan_restored.nii.gz", "-o", restored / "a.nii.gz", *MODEL,
        "--confidence-map", restored / "a_restored.nii.gz",
    )  # fmt: skip
    assert run.status == 2
    assert f"'{restored / 'a_restored.nii.gz'}' is another output" in run.err
    assert not (restored / "a.nii.gz").exists()


def test_a_report_is_valid_json_whatever_it_holds() -> None:
    data = {"path": "a\udcff", "name": "µ", "psnr": np.float32("inf"), "n": np.int64(3)}
    text = as_json(data)
    assert json.loads(text.encode()) == {"path": "a\udcff", "name": "µ", "psnr": None, "n": 3}
    assert "µ" in as_json({"name": "µ"})
