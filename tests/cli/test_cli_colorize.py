"""``tomochrome colorize``: outputs, messages and errors."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from cli_cases import AFFINE, SHAPE, Run, make_series, small_ct
from PIL import Image

from tomochrome.errors import Cancelled
from tomochrome.geometry.affine import from_nifti_affine
from tomochrome.tissue import TISSUE_NAMES

Capture = pytest.CaptureFixture[str]
MODEL = ("--model", "transfer-function")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_series(tmp_path_factory.mktemp("input") / "series")


def test_json_by_the_contract(series: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "color.nii.gz"
    run = Run(capfd, "colorize", series, "-o", out, *MODEL, "--window=liver", "--json")
    assert run.status == 0, run.err
    assert run.out.count("\n") == 1
    data = json.loads(run.out)
    assert set(data) == {
        "input",
        "output",
        "model",
        "device",
        "window",
        "shape",
        "seconds",
        "mean_chroma",
        "mean_confidence",
        "warnings",
    }
    assert data["input"] == str(series)
    assert data["output"] == str(out)
    assert data["model"] == "transfer-function"
    assert data["device"] == "cpu"
    assert data["window"] == {"center": 60.0, "width": 160.0}
    assert data["shape"] == list(SHAPE)
    assert set(data["seconds"]) == {"read", "predict", "light", "write", "total"}
    assert data["seconds"]["total"] == pytest.approx(
        sum(v for k, v in data["seconds"].items() if k != "total"), abs=0.01
    )
    assert 1 < data["mean_chroma"] < 60
    assert 0 < data["mean_confidence"] <= 1


def test_an_earlier_name_of_the_default_model_is_accepted(
    series: Path, tmp_path: Path, capfd: Capture
) -> None:
    for number, chosen in enumerate([("--model", "tissue3d"), ()]):
        out = tmp_path / f"{number}.nii.gz"
        run = Run(capfd, "colorize", series, "-o", out, *chosen, "--json")
        assert run.status == 0, run.err
        assert json.loads(run.out)["model"] == "tissue"
        assert "tissue3d" not in run.out + run.err
        assert b"model tissue, not" in bytes(nib.load(out).header["descrip"])


def test_a_head_in_nifti_is_lit_in_the_brain_window_and_gets_only_a_note(
    tmp_path: Path, capfd: Capture
) -> None:
    """The file stores no window and no unit, but its values are plainly Hounsfield units."""
    from tomochrome import write
    from tomochrome.phantom import make_patient

    write(make_patient(2, "head", (6.0, 2.0, 2.0)).ct, tmp_path / "head.nii.gz")
    image = nib.load(tmp_path / "head.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), tmp_path / "plain.nii.gz")
    paths = (tmp_path / "plain.nii.gz", "-o", tmp_path / "sheet.png")
    run = Run(capfd, "colorize", *paths, *MODEL, "--json")
    assert run.status == 0, run.err
    assert json.loads(run.out)["window"] == {"center": 40.0, "width": 80.0}
    assert "note: the file specifies no unit; read as Hounsfield units" in run.err
    assert "warning:" not in run.err


def test_a_body_cut_off_at_the_sides_is_told(tmp_path: Path, capfd: Capture) -> None:
    from tomochrome import write
    from tomochrome.phantom import make_patient

    ct = make_patient(2, "abdomen", (10.0, 4.0, 4.0), shape=(28, 83, 56)).ct
    write(ct, tmp_path / "narrow.nii.gz")
    paths = (tmp_path / "narrow.nii.gz", "-o", tmp_path / "sheet.png")
    run = Run(capfd, "colorize", *paths, *MODEL, "--json")
    told = "the body is cut off at the sides of the image: colors are less certain there"
    assert told in json.loads(run.out)["warnings"]
    assert f"warning: {told}" in run.err


def test_every_output_is_on_the_grid_of_the_input(
    series: Path, tmp_path: Path, capfd: Capture
) -> None:
    color, tissue, sure = (tmp_path / f"{n}.nii.gz" for n in ("color", "tissue", "confidence"))
    maps = ("--tissue-map", tissue, "--confidence-map", sure)
    assert Run(capfd, "colorize", series, "-o", color, *MODEL, *maps).status == 0
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    expected = to_ras @ AFFINE[:, [2, 1, 0, 3]]
    for path in (color, tissue, sure):
        image = nib.load(path)
        assert image.shape == SHAPE[::-1]
        np.testing.assert_allclose(image.affine, expected, atol=1e-4)
        assert b"transfer-function" in bytes(image.header["descrip"])
        assert b"not for diagnosis" in bytes(image.header["descrip"])
    assert nib.load(color).get_data_dtype().names == ("R", "G", "B", "A")
    labels = np.asarray(nib.load(tissue).dataobj)
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) <= {*range(len(TISSUE_NAMES)), 255}
    assert labels[0, 0, 0] == 0
    confidence = np.asarray(nib.load(sure).dataobj)
    assert confidence.min() >= 0
    assert confidence.max() <= 1


def test_without_saturation_it_is_the_windowed_ct(
    series: Path, tmp_path: Path, capfd: Capture
) -> None:
    out = tmp_path / "grey.nii.gz"
    extra = ("--saturation", 0, "--alpha", "opaque", "--window", "-100/600")
    assert Run(capfd, "colorize", series, "-o", out, *MODEL, *extra).status == 0
    rgb = np.asarray(nib.load(out).dataobj)
    assert rgb.dtype.names == ("R", "G", "B")
    assert (rgb["R"] == rgb["G"]).all()
    assert (rgb["G"] == rgb["B"]).all()
    hu = small_ct().voxels.transpose(2, 1, 0)
    assert (rgb["R"][hu < -402] == 0).all()
    assert (rgb["R"][hu > 202] == 255).all()


@pytest.mark.parametrize("ending", [".nrrd", ".png"])
def test_other_endings(ending: str, series: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / f"color{ending}"
    assert Run(capfd, "colorize", series, "-o", out, *MODEL).status == 0
    if ending == ".nrrd":
        image = SimpleITK.ReadImage(str(out))
        assert image.GetSize() == SHAPE[::-1]
        assert image.GetNumberOfComponentsPerPixel() == 4
        np.testing.assert_allclose(image.GetOrigin(), AFFINE[:3, 3], atol=1e-4)
        assert "not for diagnosis" in image.GetMetaData("description")
    else:
        with Image.open(out) as sheet:
            assert min(sheet.size) > 40
            assert "not for diagnosis" in " ".join(map(str, sheet.info.values()))


@pytest.mark.parametrize("window", ["auto", "default", "40/350", "-600/1500", "lung"])
def test_windows(window: str, series: Path, tmp_path: Path, capfd: Capture) -> None:
    argv = ("colorize", series, "-o", tmp_path / "a.nii.gz", *MODEL, "--window", window, "--json")
    found = json.loads(Run(capfd, *argv).out)["window"]
    wanted = {"40/350": (40, 350), "-600/1500": (-600, 1500), "lung": (-600, 1500)}.get(window)
    assert wanted is None or (found["center"], found["width"]) == wanted
    assert found["width"] > 0


def test_existing_outputs_are_kept_without_force(
    series: Path, tmp_path: Path, capfd: Capture
) -> None:
    out, tissue = tmp_path / "color.nii.gz", tmp_path / "tissue.nii.gz"
    tissue.write_bytes(b"precious")
    argv = ("colorize", series, "-o", out, *MODEL, "--tissue-map", tissue)
    run = Run(capfd, *argv)
    assert run.status == 2
    assert "--force" in run.complaint
    assert tissue.read_bytes() == b"precious"
    assert not out.exists()
    assert Run(capfd, *argv, "--force").status == 0
    assert out.exists()
    assert tissue.read_bytes() != b"precious"


def test_a_cancel_while_writing_leaves_nothing(
    series: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while the tissue map is written, the run does not keep the color file either."""
    written: list[str] = []

    def write_one(_volume: object, path: str, **_: object) -> None:
        if written:
            raise Cancelled("cancelled by the user")
        written.append(path)
        Path(path).write_bytes(b"whole")

    monkeypatch.setattr("tomochrome.io.write", write_one)
    maps = ("--tissue-map", tmp_path / "t.nii.gz")
    run = Run(capfd, "colorize", series, "-o", tmp_path / "a.nii.gz", *MODEL, *maps)
    assert run.status == 130
    assert written
    assert list(tmp_path.iterdir()) == []


def test_a_missing_slice_is_reported_and_interpolated_unless_raw(
    tmp_path: Path, capfd: Capture
) -> None:
    folder = make_series(tmp_path / "series")
    sorted(folder.iterdir())[3].unlink()
    for words, slices in (((), 6), (("--raw",), 5)):
        out = tmp_path / f"{slices}.nii.gz"
        run = Run(capfd, "colorize", folder, "-o", out, *MODEL, "--json", *words)
        facts = json.loads(run.out)
        assert facts["shape"] == [slices, *SHAPE[1:]]
        assert "missing" in " ".join(facts["warnings"])
        image = nib.load(out)
        assert image.shape[2] == slices
        if not words:
            np.testing.assert_allclose(from_nifti_affine(image.affine), AFFINE, atol=1e-3)


def test_values_of_unknown_unit_are_colored_with_as_hu(tmp_path: Path, capfd: Capture) -> None:
    folder, out = make_series(tmp_path / "mr", "MR"), tmp_path / "a.nii.gz"
    facts = json.loads(Run(capfd, "colorize", folder, "-o", out, *MODEL, "--as-hu", "--json").out)
    assert "not known to be Hounsfield units" in " ".join(facts["warnings"])
    assert facts["mean_chroma"] > 1
    assert out.is_file()


def test_threads(series: Path, tmp_path: Path, capfd: Capture) -> None:
    for threads in (1, 2):
        out = tmp_path / f"{threads}.nii.gz"
        assert Run(capfd, "colorize", series, "-o", out, *MODEL, "--threads", threads).status == 0
    one, two = (np.asarray(nib.load(tmp_path / f"{n}.nii.gz").dataobj) for n in (1, 2))
    assert (one == two).all()


def test_the_default_window_is_the_one_stored_in_the_scan(tmp_path: Path, capfd: Capture) -> None:
    scan = make_series(tmp_path / "scan")
    for file in scan.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.WindowCenter, dataset.WindowWidth = ["40", "300"], ["300", "1500"]
        dataset.save_as(file)
    cases = (), ("--window", "scanner:2"), ("--window", "50/400")
    for options, expected in zip(cases, ((40, 300), (300, 1500), (50, 400)), strict=True):
        argv = ("colorize", scan, "-o", tmp_path / "a.nii.gz", *MODEL, "--json", "--force")
        window = json.loads(Run(capfd, *argv, *options).out)["window"]
        assert (window["center"], window["width"]) == expected


def test_mean_chroma_is_that_of_the_output(series: Path, tmp_path: Path, capfd: Capture) -> None:
    means = []
    for saturation in ("0", "0.5", "1"):
        argv = ("colorize", series, "-o", tmp_path / "a.nii.gz", *MODEL, "--json", "--force")
        run = Run(capfd, *argv, "--saturation", saturation)
        means.append(json.loads(run.out)["mean_chroma"])
    assert means[0] == pytest.approx(0, abs=0.05)
    assert means[1] == pytest.approx(means[2] / 2, rel=0.1)
