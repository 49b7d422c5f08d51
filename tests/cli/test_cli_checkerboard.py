"""``tomochrome checkerboard``: outputs, messages and errors."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from cli_cases import AFFINE, SHAPE, Run, make_series, small_ct
from PIL import Image

from tomochrome.geometry.affine import from_nifti_affine
from tomochrome.io import write
from tomochrome.volume import Volume

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A series, and the same patient turned a little on a grid of its own."""
    folder = tmp_path_factory.mktemp("pair")
    a = make_series(folder / "series")
    moved = AFFINE.copy()
    moved[:3, 3] += (2.0, -1.0, 0.5)
    b = folder / "moved.nii.gz"
    ct = small_ct()
    write(Volume(ct.voxels[:, :, ::-1].copy(), moved, "HU"), b)
    return a, b


def test_numbers_survive_on_the_grid_of_the_first(inputs, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "board.nii.gz"
    run = Run(capfd, "checkerboard", *inputs, "-o", out, "--tile-mm", 12, "--json")
    assert run.status == 0, run.err
    assert run.out.count("\n") == 1
    data = json.loads(run.out)
    assert set(data) == {
        "inputs", "output", "mode", "tile_mm", "shape", "spacing_mm", "unit", "coverage",
        "seconds", "warnings",
    }  # fmt: skip
    assert data["inputs"] == [str(path) for path in inputs]
    assert (data["mode"], data["tile_mm"]) == ("checkerboard", 12.0)
    assert data["shape"] == list(SHAPE)
    assert 0.8 < data["coverage"] < 1
    assert any("field of view" in warning for warning in data["warnings"])
    assert set(data["seconds"]) == {"read", "compare", "write", "total"}
    image = nib.load(out)
    np.testing.assert_allclose(from_nifti_affine(image.affine), AFFINE, atol=1e-4)
    assert b"not for diagnosis" in bytes(image.header["descrip"])
    board = np.asarray(image.dataobj).transpose(2, 1, 0)
    ct = small_ct().voxels
    # Four slices of 3 mm, and eight voxels of 1.5 mm, make a tile of the first volume.
    np.testing.assert_array_equal(board[:4, :8, :8], ct[:4, :8, :8])
    assert data["unit"] in ("HU", "RGBA")


def test_words(inputs, tmp_path: Path, capfd: Capture) -> None:
    run = Run(capfd, "checkerboard", *inputs, "-o", tmp_path / "b.nrrd")
    assert run.status == 0, run.err
    assert "moved.nii.gz" in run.out
    assert "not for diagnosis" in run.out
    assert "% of the first one's field of view" in run.out
    assert SimpleITK.ReadImage(str(tmp_path / "b.nrrd")).GetSize() == SHAPE[::-1]


@pytest.mark.parametrize(
    "mode",
    [
        ("checkerboard", "--offset-mm", "-3,0,1.5"),
        ("wipe", "--direction", "horizontal", "--position", 0.3),
        ("blend", "--position", 0.7),
        ("red-cyan",),
        ("difference", "--range", 150),
        ("contour", "--levels", "-300,100"),
    ],
    ids=lambda mode: mode[0],
)
def test_every_mode_makes_a_picture(mode, inputs, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "sheet.png"
    run = Run(capfd, "checkerboard", *inputs, "-o", out, "--mode", *mode, "--json")
    assert run.status == 0, run.err
    assert json.loads(run.out)["unit"] == "RGBA"
    with Image.open(out) as sheet:
        assert np.asarray(sheet.convert("RGB")).std() > 5
        assert "not for diagnosis" in " ".join(map(str, sheet.info.values()))


def test_a_difference_in_numbers(inputs, tmp_path: Path, capfd: Capture) -> None:
    a, _ = inputs
    out = tmp_path / "difference.nii.gz"
    assert Run(capfd, "checkerboard", a, a, "-o", out, "--mode", "difference").status == 0
    apart = np.asarray(nib.load(out).dataobj)
    assert apart.dtype == np.float32
    assert (apart == 0).all()


def test_a_window_and_a_colored_twin_make_color(inputs, tmp_path: Path, capfd: Capture) -> None:
    a, _ = inputs
    color, out = tmp_path / "color.nii.gz", tmp_path / "board.nii.gz"
    assert Run(capfd, "colorize", a, "-o", color, "--model", "transfer-function").status == 0
    run = Run(capfd, "checkerboard", a, color, "-o", out, "--window", "-100/600", "--json")
    assert run.status == 0, run.err
    assert json.loads(run.out)["coverage"] == 1
    assert nib.load(out).get_data_dtype().names == ("R", "G", "B", "A")
    again = Run(capfd, "checkerboard", a, color, "-o", out)
    assert "--force" in again.complaint
    assert again.status == 2
    assert Run(capfd, "checkerboard", a, color, "-o", out, "--force").status == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--tile-mm", "0"), "positive number of mm"),
        (("--tile-mm", "1"), "smaller than the voxels"),
        (("--tile-mm", "wide"), "must be a number"),
        (("--offset-mm", "1,2"), "three numbers"),
        (("--offset-mm", "1e300,0,0"), "larger than any scanner"),
        (("--mode", "xray"), "invalid choice"),
        (("--mode", "wipe", "--tile-mm", "20"), "no effect with --mode wipe"),
        (("--mode", "wipe", "--position", "2"), "from 0 to 1"),
        (("--mode", "difference", "--range", "-4"), "positive number"),
        (("--mode", "contour", "--levels", "nan"), "must be a number"),
        (("--window", "nowhere"), "unknown window"),
    ],
)
def test_what_it_refuses(words, complaint: str, inputs, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "board.nii.gz"
    run = Run(capfd, "checkerboard", *inputs, "-o", out, *words)
    assert run.status == 2
    assert complaint in run.complaint
    assert not out.exists()


def test_paths_it_refuses(inputs, tmp_path: Path, capfd: Capture) -> None:
    a, b = inputs
    missing = Run(capfd, "checkerboard", a, tmp_path / "none.nii", "-o", tmp_path / "x.nrrd")
    assert (missing.status, "no file or folder" in missing.complaint) == (2, True)
    onto = Run(capfd, "checkerboard", a, b, "-o", b, "--force")
    assert (onto.status, "is an input" in onto.complaint) == (2, True)
    ending = Run(capfd, "checkerboard", a, b, "-o", tmp_path / "x.jpg")
    assert (ending.status, "supported extension" in ending.complaint) == (2, True)
    far = AFFINE.copy()
    far[:3, 3] += 4000
    write(Volume(small_ct().voxels, far), tmp_path / "far.nii.gz")
    apart = Run(capfd, "checkerboard", a, tmp_path / "far.nii.gz", "-o", tmp_path / "x.nrrd")
    assert (apart.status, "do not overlap" in apart.complaint) == (2, True)
    assert not (tmp_path / "x.nrrd").exists()


def test_of_several_volumes_one_is_chosen_by_the_right_option(
    inputs, tmp_path: Path, capfd: Capture
) -> None:
    one = nib.load(inputs[1])
    two = tmp_path / "two.nii.gz"
    nib.save(nib.Nifti1Image(np.stack([np.asarray(one.dataobj)] * 2, axis=3), one.affine), two)
    for pair, option in (((two, inputs[0]), "--series"), ((inputs[0], two), "--series-b")):
        run = Run(capfd, "checkerboard", *pair, "-o", tmp_path / "out.nrrd")
        assert run.status == 2
        assert f"choose one with {option}: '{two}#1'" in run.complaint


def test_it_can_be_stopped(inputs, tmp_path: Path, capfd: Capture, monkeypatch) -> None:
    from tomochrome.cli import session

    monkeypatch.setattr(session.Task, "cancelled", property(lambda _: True))
    run = Run(capfd, "checkerboard", *inputs, "-o", tmp_path / "x.nrrd")
    assert run.status == 130
    assert not list(tmp_path.iterdir())
