"""``tomochrome register``: what it writes, what it says, what it refuses, and that it is whole."""

from __future__ import annotations

import gzip
import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from cli_cases import Run, make_series
from PIL import Image

import tomochrome.registration.register as pipeline
from tomochrome.cli.folder import write_together
from tomochrome.cli.register import FILES
from tomochrome.errors import OutputError
from tomochrome.io import write
from tomochrome.io.points import write_points
from tomochrome.phantom import make_patient
from tomochrome.volume import Volume

Capture = pytest.CaptureFixture[str]
QUICK = ("--model", "none", "--refine", 4, "--device", "cpu")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patient as DICOM would have it and again, moved, with labels, masks and landmarks."""
    folder = tmp_path_factory.mktemp("register")
    patient = make_patient(1, "abdomen", (9.0, 9.0, 9.0))
    write(patient.ct, folder / "fixed.nii.gz")
    moved = patient.ct.affine.copy()
    moved[:3, 3] += (14.0, -8.0, 11.0)
    write(replace(patient.ct, affine=moved), folder / "moving.nii.gz")
    write(patient.tissue, folder / "fixed_labels.nii.gz")
    write(replace(patient.tissue, affine=moved), folder / "moving_labels.nii.gz")
    body = (np.asarray(patient.tissue.voxels) > 0).astype(np.uint8)
    write(Volume(body, patient.ct.affine, "unknown"), folder / "mask.nii.gz")
    middle = patient.ct.affine[:3, 3] + 100
    points = middle + np.random.default_rng(0).uniform(-40, 40, (5, 3))
    write_points(points, folder / "fixed.fcsv")
    write_points(points + np.array([14.0, -8.0, 11.0]), folder / "moving.csv")
    write_points(points[:3], folder / "three.csv")
    return folder


@pytest.fixture(scope="module")
def done(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one full run."""
    from tomochrome.cli import main

    out = tmp_path_factory.mktemp("done") / "result"
    words = ["register", inputs / "fixed.nii.gz", inputs / "moving.nii.gz", "-o", out, *QUICK]
    for role in ("fixed", "moving"):
        words += [f"--{role}-labels", inputs / f"{role}_labels.nii.gz"]
    words += ["--fixed-points", inputs / "fixed.fcsv", "--moving-points", inputs / "moving.csv"]
    words += ["--fixed-mask", inputs / "mask.nii.gz", "--init", "rigid"]
    assert main([str(word) for word in words]) == 0
    return out


def test_every_file_is_there_and_nothing_else(inputs: Path, done: Path) -> None:
    assert names_in(done) == sorted(FILES)
    assert names_in(done.parent) == ["result"]
    fixed, moved = nib.load(inputs / "fixed.nii.gz"), nib.load(done / "moved.nii.gz")
    np.testing.assert_allclose(moved.affine, fixed.affine, atol=1e-4)
    assert moved.shape == fixed.shape
    assert b"not for diagnosis" in bytes(moved.header["descrip"])
    back, moving = nib.load(done / "moved_inverse.nii.gz"), nib.load(inputs / "moving.nii.gz")
    np.testing.assert_allclose(back.affine, moving.affine, atol=1e-4)
    jacobian = nib.load(done / "jacobian.nii.gz")
    assert jacobian.get_data_dtype() == np.float32
    assert abs(np.median(np.asarray(jacobian.dataobj)) - 1) < 0.1
    with Image.open(done / "checkerboard.png") as sheet:
        assert np.asarray(sheet.convert("RGB")).std() > 5
        assert "not for diagnosis" in " ".join(map(str, sheet.info.values()))


def test_simpleitk_alone_makes_moved_out_of_the_files(inputs: Path, done: Path) -> None:
    images = {
        name: SimpleITK.ReadImage(str(folder / f"{name}.nii.gz"))
        for folder, names in ((inputs, ("fixed", "moving")), (done, ("moved", "moved_inverse")))
        for name in names
    }
    for source, onto, name, way in (
        ("moving", "fixed", "moved", "forward"),
        ("fixed", "moving", "moved_inverse", "inverse"),
    ):
        transform = SimpleITK.ReadTransform(str(done / f"{way}.h5"))
        theirs = SimpleITK.Resample(
            images[source], images[onto], transform, SimpleITK.sitkLinear, -1024.0
        )
        ours, theirs = (
            SimpleITK.GetArrayFromImage(i).astype(float) for i in (images[name], theirs)
        )
        assert np.abs(ours - theirs).mean() < 0.005 * np.ptp(ours)


def test_the_report(done: Path) -> None:
    text = (done / "report.json").read_text(encoding="utf-8")
    report = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    for key in ("seconds", "before", "after", "jacobian", "inverse_consistency_mm", "warnings"):
        assert key in report
    assert {"read", "initialize", "refinement", "write", "total"} <= set(report["seconds"])
    assert report["model"] == "none"
    assert report["after"]["dice_mean"] > report["before"]["dice_mean"]
    assert report["after"]["tre_mm"]["mean"] < report["before"]["tre_mm"]["mean"]
    assert str(done.parent) not in text  # a path may hold a name


def test_json_words_and_force(inputs: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "out"
    words = ("register", inputs / "fixed.nii.gz", inputs / "moving.nii.gz", "-o", out)
    quick = ("--model", "none", "--refine", 0, "--init", "center")
    out.mkdir()
    (out / "mine.txt").write_text("stays")
    run = Run(capfd, *words, *quick, "--json")
    assert run.status == 0, run.err
    assert run.out.count("\n") == 1
    data = json.loads(run.out)
    assert data["files"] == list(FILES)
    assert data["fixed"] == str(inputs / "fixed.nii.gz")
    assert any("nothing is deformed" in w for w in data["warnings"])
    before = {name: (out / name).read_bytes() for name in FILES}
    again = Run(capfd, *words, *quick)
    assert again.status == 2
    assert "--force" in again.complaint
    assert {name: (out / name).read_bytes() for name in FILES} == before
    forced = Run(capfd, *words, *quick, "--force")
    assert forced.status == 0, forced.err
    assert "before" in forced.out
    assert "not for diagnosis" in forced.out
    assert names_in(out) == sorted([*FILES, "mine.txt"])


def test_worse_is_said_in_the_exit_message(inputs: Path, tmp_path: Path, capfd: Capture) -> None:
    run = Run(
        capfd, "register", inputs / "fixed.nii.gz", inputs / "fixed.nii.gz", "-o", tmp_path / "o",
        "--model", "none", "--refine", 0, "--init", "rigid",
        "--fixed-points", inputs / "fixed.fcsv", "--moving-points", inputs / "moving.csv",
        "--fixed-labels", inputs / "fixed_labels.nii.gz",
        "--moving-labels", inputs / "fixed_labels.nii.gz",
    )  # fmt: skip
    assert run.status == 0
    worse = json.loads((tmp_path / "o" / "report.json").read_text())["warnings"]
    for warning in worse:
        assert f"warning: {warning}" in run.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--refine", "-3"), "at least 0"),
        (("--refine", "many"), "at least 0"),
        (("--init", "magic"), "invalid choice"),
        (("--similarity", "ssd"), "invalid choice"),
        (("--model", "unheard-of"), "unknown registration model"),
        (("--threads", "0"), "at least 1"),
        (("--fixed-mask", "nowhere.nii.gz"), "there is no file"),
        (("--fixed-points", "FOLDER/fixed.fcsv"), "none for the moving"),
        (("--fixed-points", "FOLDER/fixed.fcsv", "--moving-points", "FOLDER/three.csv"), "but 3"),
        (("--fixed-labels", "FOLDER/fixed_labels.nii.gz"), "none for the moving"),
        (
            (
                "--fixed-labels", "FOLDER/fixed_labels.nii.gz",
                "--moving-labels", "FOLDER/fractions.nii.gz",
            ),
            "whole numbers",
        ),
        (("--moving-mask", "FOLDER/far.nii.gz"), "nowhere"),
        (("-o", "FOLDER"), "is an input"),
        (("-o", "FOLDER/fixed.nii.gz"), "exists already"),
        (("-o", "FOLDER/none/there"), "does not exist"),
    ],
)  # fmt: skip
def test_one_line_about_bad_options(
    words: tuple[str, ...], complaint: str, inputs: Path, tmp_path: Path, capfd: Capture
) -> None:
    fixed = nib.load(inputs / "fixed.nii.gz")
    far = fixed.affine.copy()
    far[:3, 3] += 5000
    ones = np.ones((4, 4, 4), np.float32)
    nib.save(nib.Nifti1Image(ones, far), inputs / "far.nii.gz")
    nib.save(nib.Nifti1Image(ones / 2, fixed.affine), inputs / "fractions.nii.gz")
    moving = inputs / "moving.nii.gz"
    if words == ("-o", "FOLDER"):  # one of the outputs' own names is the input
        folder = tmp_path / "in"
        folder.mkdir()
        moving = folder / "moved.nii.gz"
        moving.write_bytes((inputs / "moving.nii.gz").read_bytes())
        words = ("-o", str(folder), "--force")
    given = [word.replace("FOLDER", str(inputs)) for word in words]
    output = () if "-o" in given else ("-o", tmp_path / "out")
    run = Run(
        capfd, "register", inputs / "fixed.nii.gz", moving, "--model", "none", *output, *given
    )
    assert run.status == 2
    assert complaint in run.complaint
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("**/.tomochrome-*"))


@pytest.mark.parametrize("minutes", ["-3", "0", "nan", "inf", "soon"])
def test_a_training_of_no_time_is_refused_before_any_work(
    minutes: str, tmp_path: Path, capfd: Capture
) -> None:
    run = Run(capfd, "train", "symnet", "--out", tmp_path / "out", "--minutes", minutes)
    assert run.status == 2
    assert "minutes above 0" in run.complaint
    assert not names_in(tmp_path)


def bad_inputs(folder: Path) -> dict[str, str]:
    """Moving volumes that cannot be registered, and what is said of each."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 100, (12, 12, 12)).astype(np.float32)
    holes = noise.copy()
    holes[4, 4, 4] = np.nan
    color = np.zeros((12, 12, 12), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    images = {
        "constant": (np.zeros((12, 12, 12), np.int16), 5.0),
        "flat": (noise[:, :, :1], 5.0),
        "nan": (holes, 5.0),
        "color": (color, 5.0),
        "spacing": (noise, 400.0),
    }
    for name, (voxels, spacing) in images.items():
        affine = np.diag([spacing, spacing, spacing, 1])
        nib.save(nib.Nifti1Image(voxels, affine), folder / f"{name}.nii.gz")
    (folder / "noise.nii.gz").write_bytes(b"no volume at all")
    return {
        "constant": "constant", "flat": "flat", "nan": "NaN", "color": "color",
        "spacing": "absurd spacing", "noise": "noise.nii.gz",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["constant", "flat", "nan", "color", "spacing", "noise"])
def test_one_line_about_bad_volumes(
    name: str, inputs: Path, tmp_path: Path, capfd: Capture
) -> None:
    words = bad_inputs(tmp_path)[name]
    bad = tmp_path / f"{name}.nii.gz"
    run = Run(capfd, "register", inputs / "fixed.nii.gz", bad, "-o", tmp_path / "out", *QUICK)
    assert run.status == 2
    assert words in run.complaint
    assert not (tmp_path / "out").exists()


def test_no_overlap(inputs: Path, tmp_path: Path, capfd: Capture) -> None:
    image = nib.load(inputs / "moving.nii.gz")
    far = image.affine.copy()
    far[:3, 3] += 3000
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), far), tmp_path / "far.nii.gz")
    words = ("register", inputs / "fixed.nii.gz", tmp_path / "far.nii.gz", "-o", tmp_path / "out")
    run = Run(capfd, *words, "--init", "none", *QUICK)
    assert run.status == 2
    assert "do not overlap" in run.complaint


@pytest.mark.parametrize("stage", ["initial alignment", "refining", "measuring", "drawing slices"])
def test_a_cancelled_run_leaves_nothing(
    stage: str, inputs: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tomochrome.cli.session import ProgressLine

    def press(self: ProgressLine, done: int, total: int, now: str) -> None:
        if now == stage and threading.current_thread() is threading.main_thread():
            os.kill(os.getpid(), signal.SIGINT)
            monkeypatch.setattr(ProgressLine, "__call__", lambda *_: None)

    monkeypatch.setattr(ProgressLine, "__call__", press)
    out = tmp_path / "out"
    run = Run(
        capfd, "register", inputs / "fixed.nii.gz", inputs / "moving.nii.gz", "-o", out, *QUICK,
        "--init", "rigid",
    )  # fmt: skip
    assert run.status == 130
    assert "cancelled" in run.err
    assert run.out == ""
    assert not names_in(tmp_path)


def test_a_failing_run_leaves_old_results_as_they_were(
    inputs: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in FILES:
        (tmp_path / name).write_text("old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pipeline.Transform, "save", fail)
    run = Run(
        capfd, "register", inputs / "fixed.nii.gz", inputs / "moving.nii.gz", "-o", tmp_path,
        "--force", "--model", "none", "--refine", 0, "--init", "none",
    )  # fmt: skip
    assert run.status == 2
    assert "No space left" in run.complaint
    assert names_in(tmp_path) == sorted(FILES)
    assert all((tmp_path / name).read_text() == "old" for name in FILES)


def test_a_full_disk_names_the_folder_that_was_asked_for(
    inputs: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, path: Path) -> None:
        raise OutputError(f"cannot write '{path}': No space left on device")

    monkeypatch.setattr(pipeline.Transform, "save", fail)
    run = Run(
        capfd, "register", inputs / "fixed.nii.gz", inputs / "moving.nii.gz", "-o",
        tmp_path / "out", "--model", "none", "--refine", 0, "--init", "none",
    )  # fmt: skip
    assert run.status == 2
    assert f"cannot write '{tmp_path / 'out' / 'forward.h5'}'" in run.complaint
    assert not names_in(tmp_path)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="cannot reserve room here")
def test_a_disk_too_full_for_a_transform_is_found_before_hdf5_meets_its_end(
    inputs: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int, _offset: int, size: int) -> None:
        assert size > 10_000
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    run = Run(
        capfd, "register", inputs / "fixed.nii.gz", inputs / "moving.nii.gz", "-o",
        tmp_path / "out", *QUICK, "--init", "none",
    )  # fmt: skip
    assert run.status == 2
    assert "No space left" in run.complaint
    assert not names_in(tmp_path)


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("FIXED", "SERIES"), "choose one with --series-moving: "),
        (("SERIES", "FIXED"), "choose one with --series: "),
        (("FIXED", "FIXED", "--fixed-mask", "SERIES"), "give a file of one volume"),
    ],
)
def test_of_several_volumes_one_is_chosen_by_the_right_option(
    words: tuple[str, ...], advice: str, inputs: Path, tmp_path: Path, capfd: Capture
) -> None:
    image = nib.load(inputs / "fixed.nii.gz")
    twice = np.stack([np.asarray(image.dataobj)] * 2, axis=3)
    nib.save(nib.Nifti1Image(twice, image.affine), tmp_path / "series.nii.gz")
    paths = {"FIXED": inputs / "fixed.nii.gz", "SERIES": tmp_path / "series.nii.gz"}
    run = Run(
        capfd,
        "register",
        *(paths.get(word, word) for word in words),
        "-o",
        tmp_path / "out",
        *QUICK,
    )
    assert run.status == 2
    assert advice in run.complaint


def test_files_move_together_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "c").write_text("old")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name == "c" and self.parent.name == "new":
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    names = ("a", "b", "c")
    with (
        pytest.raises(OutputError, match="Permission denied"),
        write_together(tmp_path, names, force=True) as place,
    ):
        for name in names:
            (place / name).write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old", "c": "old"}


def test_no_file_says_who_the_patient_is(tmp_path: Path, capfd: Capture) -> None:
    series = make_series(tmp_path / "series")
    for path in series.iterdir():
        slice_ = pydicom.dcmread(path)
        slice_.PatientName, slice_.PatientID = "Grosvenor^Araminta", "PID-4711-XYZ"
        slice_.PatientBirthDate = "19570304"
        slice_.save_as(path)
    out = tmp_path / "out"
    words = ("register", series, series, "-o", out, "--model", "none", "--refine", 2)
    run = Run(capfd, *words, "--init", "none", "--json")
    assert run.status == 0, run.err
    said = [run.out.encode(), run.err.encode()]
    for name in FILES:
        content = (out / name).read_bytes()
        said.append(gzip.decompress(content) if name.endswith(".gz") else content)
    for secret in (b"Grosvenor", b"Araminta", b"PID-4711", b"19570304"):
        assert not any(secret in part for part in said)
