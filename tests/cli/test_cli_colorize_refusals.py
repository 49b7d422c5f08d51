"""``tomochrome colorize``: what it refuses, with one sentence and without output."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cli_cases import Run, make_series, small_ct
from PIL import Image

from tomochrome.bundles import weights_folder
from tomochrome.io import write

Capture = pytest.CaptureFixture[str]
MODEL = ("--model", "transfer-function")

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
    from tomochrome.io.dicom.dicom_write import write_series

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
    "truncated slice": (
        lambda f: (truncated_dicom(f), "-o", f / "out" / "a.nii.gz", *MODEL, "--strict"),
        "0003.dcm",
    ),
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
    "slab mode without a slab": (with_options("--slab-mode", "mean"), "with --slab"),
    "kind of no segmentation": (with_options("--segmentation", "fractional"), "ends in .dcm"),
    "kind of another map": (
        with_options("--tissue-map", "out/t.nrrd", "--segmentation", "binary"),
        "ends in .dcm",
    ),
    "window of a photograph": (
        with_options("-o", "out/a.png", "--look", "photograph", "--window", "lung"),
        "omit --window or --look",
    ),
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


def test_cuda_requested_but_missing(tmp_path: Path, capfd: Capture) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this computer has CUDA")
    run = Run(capfd, "colorize", *with_options("--device", "cuda")(tmp_path))
    assert run.status == 2
    assert "cuda" in run.complaint


def test_the_same_name_for_two_outputs(tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "a.nii.gz"
    run = Run(capfd, "colorize", good(tmp_path), "-o", out, *MODEL, "--tissue-map", out)
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


def test_sheared_axes_are_rejected_for_dicom_before_coloring(
    tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("colored")

    monkeypatch.setattr("tomochrome.colorization.predict.colorize", never)
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[1, 2] = 0.9
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), 40, np.int16), affine), tmp_path / "ct.nii.gz")
    run = Run(capfd, "colorize", tmp_path / "ct.nii.gz", "-o", f"{tmp_path}/out/", *MODEL)
    assert run.status == 2
    assert "not orthogonal" in run.err
    assert not (tmp_path / "out").exists()
