"""``tomochrome colorize``: outputs, messages and errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from cli_cases import AFFINE, SHAPE, Run, make_series, small_ct
from PIL import Image

from tomochrome.bundles import weights_folder
from tomochrome.errors import Cancelled
from tomochrome.geometry.affine import from_nifti_affine
from tomochrome.io import write
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


@pytest.mark.parametrize("window", ["auto", "40/350", "-600/1500", "lung"])
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


def test_sheared_axes_are_rejected_for_dicom_before_coloring(
    tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("colored")

    monkeypatch.setattr("tomochrome.colorization.colorize", never)
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[1, 2] = 0.9
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), 40, np.int16), affine), tmp_path / "ct.nii.gz")
    run = Run(capfd, "colorize", tmp_path / "ct.nii.gz", "-o", f"{tmp_path}/out/", *MODEL)
    assert run.status == 2
    assert "not orthogonal" in run.err
    assert not (tmp_path / "out").exists()


def test_values_of_unknown_unit_are_colored_with_as_hu(tmp_path: Path, capfd: Capture) -> None:
    folder, out = mr(tmp_path), tmp_path / "a.nii.gz"
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


# Bad input: each a function that prepares it in a folder and returns the arguments, and words
# that the sentence must hold. Every one is refused with 2, one line, and nothing written.

Case = Callable[[Path], tuple[object, ...]]


def good(folder: Path) -> Path:
    return make_series(folder / "series")


def empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def no_images(folder: Path) -> Path:
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("hello")
    return folder / "texts"


def text_named_dcm(folder: Path) -> Path:
    (folder / "a.dcm").write_text("this is no DICOM file\n" * 40)
    return folder / "a.dcm"


def truncated_dicom(folder: Path) -> Path:
    slices = sorted(good(folder).iterdir())
    data = slices[2].read_bytes()
    slices[2].write_bytes(data[: len(data) * 2 // 3])
    return folder / "series"


def truncated_nifti(folder: Path) -> Path:
    write(small_ct(), folder / "a.nii.gz")
    data = (folder / "a.nii.gz").read_bytes()
    (folder / "a.nii.gz").write_bytes(data[: len(data) // 2])
    return folder / "a.nii.gz"


def mr(folder: Path) -> Path:
    return make_series(folder / "mr", "MR")


def picture(folder: Path) -> Path:
    Image.new("RGB", (32, 32)).save(folder / "a.png")
    return folder / "a.png"


def two_series(folder: Path) -> Path:
    both = folder / "both"
    both.mkdir()
    make_series(both / "one")
    write_other(both / "two")
    return both


def write_other(folder: Path) -> None:
    from tomochrome.io.dicom.write import write_series

    write_series(small_ct(), folder, series_uid="1.2.826.0.1.3680043.8.498.78")


def bundle(folder: Path) -> Path:
    return Path(shutil.copytree(weights_folder() / "transfer-function", folder / "bundle"))


def damaged_weights(folder: Path) -> Path:
    weights = bundle(folder) / "models" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    return folder / "bundle"


def foreign_weights(folder: Path) -> Path:
    (bundle(folder) / "configs" / "metadata.json").write_text('{"name": "spleen_ct"}')
    return folder / "bundle"


def no_bundle(folder: Path) -> Path:
    (folder / "pickle").mkdir()
    (folder / "pickle" / "model.pt").write_bytes(b"\x80\x04.")
    return folder / "pickle"


def parent_is_a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file" / "a.nii.gz"


def with_input(prepare: Callable[[Path], Path]) -> Case:
    return lambda folder: (prepare(folder), "-o", folder / "out" / "a.nii.gz", *MODEL)


def with_options(*options: object) -> Case:
    return lambda folder: (good(folder), "-o", folder / "out" / "a.nii.gz", *MODEL, *options)


def with_model(prepare: Callable[[Path], Path]) -> Case:
    return lambda folder: (
        *(good(folder), "-o", folder / "out" / "a.nii.gz"),
        *("--model", prepare(folder)),
    )


def with_output(name: str | Callable[[Path], Path]) -> Case:
    def argv(folder: Path) -> tuple[object, ...]:
        out = name(folder) if callable(name) else str(folder / name)
        return good(folder), "-o", out, *MODEL

    return argv


BAD: dict[str, tuple[Case, str]] = {
    "missing path": (with_input(lambda f: f / "nothing"), "nothing"),
    "empty folder": (with_input(empty), "empty"),
    "folder without images": (with_input(no_images), "texts"),
    "text named .dcm": (with_input(text_named_dcm), "a.dcm"),
    "truncated slice": (with_input(truncated_dicom), ""),
    "truncated NIfTI": (with_input(truncated_nifti), "a.nii.gz"),
    "MR series": (with_input(mr), "--as-hu"),
    "2D PNG": (with_input(picture), "a.png"),
    "several series": (with_input(two_series), "--series"),
    "empty path": (lambda f: ("", "-o", f / "out" / "a.nii.gz", *MODEL), "empty"),
    "unknown series": (with_options("--series", "1.2.3"), "1.2.3"),
    "unknown model": (with_options("--model", "nobody"), "nobody"),
    "damaged weights": (with_model(damaged_weights), "damaged"),
    "foreign weights": (with_model(foreign_weights), "not a Tomochrome model"),
    "no bundle": (with_model(no_bundle), "bundle"),
    "unknown window": (with_options("--window", "kitchen"), "kitchen"),
    "window of no width": (with_options("--window", "40/0"), "width"),
    "window of negative width": (with_options("--window", "40/-350"), "width"),
    "window without numbers": (with_options("--window", "a/b"), "a/b"),
    "window that is no number": (with_options("--window", "nan/400"), "nan/400"),
    "saturation too high": (with_options("--saturation", "1.5"), "0 to 1"),
    "saturation below 0": (with_options("--saturation", "-0.1"), "0 to 1"),
    "saturation no number": (with_options("--saturation", "nan"), "0 to 1"),
    "confidence out of range": (with_options("--min-confidence", "2"), "0 to 1"),
    "unknown palette": (with_options("--palette", "neon"), "neon"),
    "unknown alpha": (with_options("--alpha", "marble"), "marble"),
    "unknown device": (with_options("--device", "tpu"), "tpu"),
    "no threads": (with_options("--threads", "0"), "at least 1"),
    "unknown ending": (with_output("a.jpg"), "a.jpg"),
    "no ending": (with_output("a"), ".nii.gz"),
    "folder of output missing": (with_output("no/a.nii.gz"), "does not exist"),
    "file as folder of output": (with_output(parent_is_a_file), "not a folder"),
    "output on /proc": (with_output(lambda _: Path("/proc/a.nii.gz")), "/proc"),
    "output is a folder": (with_output("out"), "out"),
    "map in a picture": (with_options("--tissue-map", "t.png"), "t.png"),
    "map into nowhere": (with_options("--confidence-map", "no/c.nii.gz"), "does not exist"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gives_a_one_sentence_error(
    name: str, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    case, words = BAD[name]
    run = Run(capfd, "colorize", *case(tmp_path), "--json")
    assert run.status == 2, run.err
    assert words in run.complaint
    assert list((tmp_path / "out").iterdir()) == []


def test_cuda_requested_but_missing(series: Path, tmp_path: Path, capfd: Capture) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this computer has CUDA")
    run = Run(capfd, "colorize", series, "-o", tmp_path / "a.nii.gz", "--device", "cuda", *MODEL)
    assert run.status == 2
    assert "cuda" in run.complaint


def test_the_same_name_for_two_outputs(series: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "a.nii.gz"
    run = Run(capfd, "colorize", series, "-o", out, *MODEL, "--tissue-map", out)
    assert run.status == 2
    assert "twice" in run.complaint


def test_the_input_is_never_replaced(tmp_path: Path, capfd: Capture) -> None:
    ct = tmp_path / "ct.nii.gz"
    write(small_ct(), ct)
    before = ct.read_bytes()
    run = Run(capfd, "colorize", ct, "-o", ct, *MODEL, "--force")
    assert run.status == 2
    assert "is the input" in run.complaint
    assert ct.read_bytes() == before
