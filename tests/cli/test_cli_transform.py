"""``tomochrome transform``: volumes, labels, colors and points through saved transforms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from cli_cases import Run, small_ct
from transform_cases import smooth_field, turned

from tomochrome.geometry.displacement import DisplacementField
from tomochrome.io import read, write
from tomochrome.io.points import read_points, write_points
from tomochrome.transform import Transform
from tomochrome.volume import Volume

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transform")
    ct = small_ct()
    write(ct, folder / "fixed.nii.gz")
    transform = chain(ct)
    transform.save(folder / "forward.h5")
    transform.save(folder / "forward.nii.gz")
    moving = transform.inverse().apply(ct, ct)
    write(moving, folder / "moving.nii.gz")
    labels = (np.asarray(moving.voxels) > 300).astype(np.uint8) * 7
    write(Volume(labels, ct.affine, "unknown"), folder / "labels.nii.gz")
    color = np.zeros((*ct.shape, 4), np.uint8)
    color[..., 0], color[..., 3] = np.clip(np.asarray(moving.voxels), 0, 255), 255
    write(Volume(color, ct.affine, "RGBA"), folder / "color.nii.gz")
    return folder


def chain(ct: Volume) -> Transform:
    field = smooth_field(ct.shape, ct.affine, 2.0, seed=2)
    back = DisplacementField(-field.vectors, ct.affine)
    return Transform.from_fields(field, back, turned(0.05, (2.0, -1.0, 0.5)))


@pytest.mark.parametrize("ending", ["h5", "nii.gz"])
def test_a_volume(ending: str, inputs: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "moved.nii.gz"
    run = Run(
        capfd, "transform", inputs / "moving.nii.gz", inputs / f"forward.{ending}",
        "--like", inputs / "fixed.nii.gz", "-o", out, "--json",
    )  # fmt: skip
    assert run.status == 0, run.err
    data = json.loads(run.out)
    assert data["unit"] == "HU"
    assert 0.8 < data["coverage"] <= 1
    assert set(data["seconds"]) == {"load", "read", "apply", "write", "total"}
    theirs = SimpleITK.Resample(
        SimpleITK.ReadImage(str(inputs / "moving.nii.gz")),
        SimpleITK.ReadImage(str(inputs / "fixed.nii.gz")),
        SimpleITK.ReadTransform(str(inputs / "forward.h5")),
        SimpleITK.sitkLinear,
        -1024.0,
    )
    ours = np.asarray(nib.load(out).dataobj).transpose(2, 1, 0)
    apart = np.abs(ours - SimpleITK.GetArrayFromImage(theirs).astype(float))
    assert apart.mean() < 0.005 * np.ptp(ours)
    again = Run(
        capfd, "transform", inputs / "moving.nii.gz", inputs / "forward.h5",
        "--like", inputs / "fixed.nii.gz", "-o", out,
    )  # fmt: skip
    assert again.status == 2
    assert "--force" in again.complaint


def test_labels_and_colors_and_the_other_way(inputs: Path, tmp_path: Path, capfd: Capture) -> None:
    like = ("--like", inputs / "fixed.nii.gz")
    transform = inputs / "forward.h5"
    labels = tmp_path / "labels.nii.gz"
    run = Run(
        capfd, "transform", inputs / "labels.nii.gz", transform, *like, "-o", labels, "--labels"
    )
    assert run.status == 0, run.err
    assert "not for diagnosis" in run.out
    assert set(np.unique(nib.load(labels).dataobj)) == {0, 7}
    color = tmp_path / "color.nrrd"
    assert (
        Run(capfd, "transform", inputs / "color.nii.gz", transform, *like, "-o", color).status == 0
    )
    assert read(color).is_rgba
    there = tmp_path / "there.nii.gz"
    words = ("transform", inputs / "fixed.nii.gz", transform, "--inverse")
    assert Run(capfd, *words, "--like", inputs / "moving.nii.gz", "-o", there).status == 0
    moving = np.asarray(read(inputs / "moving.nii.gz").voxels, float)
    apart = np.abs(np.asarray(read(there).voxels) - moving)
    still = np.abs(np.asarray(read(inputs / "fixed.nii.gz").voxels) - moving)
    assert apart[1:-1, 4:-4, 4:-4].mean() < 0.5 * still[1:-1, 4:-4, 4:-4].mean()


def test_a_slab_thinner_than_the_probes_is_found(
    inputs: Path, tmp_path: Path, capfd: Capture
) -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])[[2, 1, 0, 3]]
    tall = Volume(np.full((300, 4, 5), 40, np.int16), affine, "HU")
    write(tall, tmp_path / "tall.nii.gz")
    at = affine.copy()
    at[2, 3] = 2.0 * 20
    write(Volume(tall.voxels[:1], at, "HU"), tmp_path / "slab.nii.gz")
    Transform.identity().save(tmp_path / "same.h5")
    run = Run(
        capfd, "transform", tmp_path / "slab.nii.gz", tmp_path / "same.h5",
        "--like", tmp_path / "tall.nii.gz", "-o", tmp_path / "out.nii.gz", "--json",
    )  # fmt: skip
    assert run.status == 0, run.err
    assert json.loads(run.out)["coverage"] == pytest.approx(1 / 300, rel=0.01)
    moved = np.asarray(nib.load(tmp_path / "out.nii.gz").dataobj)
    assert np.argwhere(moved[0, 0] == 40).ravel().tolist() == [20]


@pytest.mark.parametrize(
    ("largest", "dtype"),
    [(200, "int16"), (40_000, "uint16"), (100_000, "int32"), (16_777_217, "int32")],
)
def test_labels_stay_integers(
    largest: int, dtype: str, inputs: Path, tmp_path: Path, capfd: Capture
) -> None:
    labels = np.where(np.asarray(read(inputs / "moving.nii.gz").voxels) > 300, largest, 7)
    affine = nib.load(inputs / "moving.nii.gz").affine
    stored = nib.Nifti1Image(labels.astype(np.int32).transpose(2, 1, 0), affine)
    nib.save(stored, tmp_path / "labels.nii.gz")
    words = ("transform", tmp_path / "labels.nii.gz", inputs / "forward.h5", "--labels")
    out = ("--like", inputs / "fixed.nii.gz", "-o", tmp_path / "moved.nii.gz")
    run = Run(capfd, *words, *out)
    assert run.status == 0, run.err
    moved = nib.load(tmp_path / "moved.nii.gz")
    assert moved.get_data_dtype() == dtype
    theirs = SimpleITK.Resample(
        SimpleITK.ReadImage(str(tmp_path / "labels.nii.gz")),
        SimpleITK.ReadImage(str(inputs / "fixed.nii.gz")),
        SimpleITK.ReadTransform(str(inputs / "forward.h5")),
        SimpleITK.sitkNearestNeighbor,
        0,
    )
    same = SimpleITK.GetArrayFromImage(theirs) == np.asarray(moved.dataobj).transpose(2, 1, 0)
    assert same.mean() > 0.999


def test_labels_that_would_run_together_are_refused(
    inputs: Path, tmp_path: Path, capfd: Capture
) -> None:
    labels = np.full((4, 5, 6), 16_777_217, np.float64)
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "atlas.nii.gz")
    words = ("transform", tmp_path / "atlas.nii.gz", inputs / "forward.h5", "--labels")
    run = Run(capfd, *words, "--like", inputs / "fixed.nii.gz", "-o", tmp_path / "x.nii.gz")
    assert run.status == 2
    assert "renumber" in run.complaint
    assert not (tmp_path / "x.nii.gz").exists()


def test_a_volume_beyond_the_field_gives_a_warning(
    inputs: Path, tmp_path: Path, capfd: Capture
) -> None:
    field = chain(small_ct()).fields[0]
    half = DisplacementField(field.vectors[: field.shape[0] // 2], field.affine)
    Transform.from_fields(half).save(tmp_path / "half.nii.gz")
    words = ("transform", inputs / "moving.nii.gz", tmp_path / "half.nii.gz")
    run = Run(capfd, *words, "--like", inputs / "fixed.nii.gz", "-o", tmp_path / "moved.nii.gz")
    assert run.status == 0, run.err
    assert "outside the displacement field" in run.err
    assert "transform: a displacement field\n" in run.out


def test_points(inputs: Path, tmp_path: Path, capfd: Capture) -> None:
    ct = small_ct()
    points = np.array([[0.0, 0.0, 20.0], [5.0, -4.0, 18.0], [900.0, 0.0, 0.0]])
    write_points(points, tmp_path / "points.fcsv")
    words = ("transform", tmp_path / "points.fcsv", inputs / "forward.h5")
    run = Run(capfd, *words, "-o", tmp_path / "there.csv", "--json")
    assert run.status == 0, run.err
    data = json.loads(run.out)
    assert (data["points"], data["known"]) == (3, 2)
    assert "1 of 3 points" in data["warnings"][0]
    np.testing.assert_allclose(
        read_points(tmp_path / "there.csv"), chain(ct).points(points), atol=1e-3
    )
    refused = Run(capfd, *words, "-o", tmp_path / "there.nii.gz")
    assert "cannot store points" in refused.complaint
    for option in (("--labels",), ("--series", "1.2"), ("--series-like", "1.2")):
        refused = Run(capfd, *words, "-o", tmp_path / "x.csv", *option)
        assert option[0] in refused.complaint and "no effect on points" in refused.complaint


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("moving.nii.gz", "forward.h5"), "--like is missing"),
        (("moving.nii.gz", "nothing.h5", "--like", "fixed.nii.gz"), "there is no file"),
        (("nothing.nii.gz", "forward.h5", "--like", "fixed.nii.gz"), "there is no file"),
        (("moving.nii.gz", "moving.nii.gz", "--like", "fixed.nii.gz"), "not a displacement field"),
        (("moving.nii.gz", "forward.h5", "--like", "far.nii.gz"), "does not overlap"),
        (
            ("moving.nii.gz", "forward.h5", "--like", "fixed.nii.gz", "-o", "x.tiff"),
            "supported extension",
        ),
    ],
)
def test_one_line_about_bad_input(
    words: tuple[str, ...], complaint: str, inputs: Path, tmp_path: Path, capfd: Capture
) -> None:
    ct = small_ct()
    far = ct.affine.copy()
    far[:3, 3] += 4000
    write(Volume(ct.voxels, far, "HU"), inputs / "far.nii.gz", force=True)
    given = [str(inputs / word) if "." in word else word for word in words]
    output = () if "-o" in given else ("-o", tmp_path / "out.nii.gz")
    run = Run(capfd, "transform", *given, *output)
    assert run.status == 2
    assert complaint in run.complaint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("several", "option"), [("INPUT", "--series"), ("LIKE", "--series-like")])
def test_of_several_volumes_one_is_chosen_by_the_right_option(
    several: str, option: str, inputs: Path, tmp_path: Path, capfd: Capture
) -> None:
    image, two = nib.load(inputs / "moving.nii.gz"), tmp_path / "two.nii.gz"
    twice = np.stack([np.asarray(image.dataobj)] * 2, axis=3)
    nib.save(nib.Nifti1Image(twice, image.affine), two)
    one = inputs / "moving.nii.gz"
    scan, like = (two, one) if several == "INPUT" else (one, two)
    words = ("transform", scan, inputs / "forward.h5", "--like", like)
    run = Run(capfd, *words, "-o", tmp_path / "out.nii.gz")
    assert run.status == 2
    assert f"choose one with {option}: '{two}#1'" in run.err
    run = Run(capfd, *words, option, "#2", "-o", tmp_path / "out.nii.gz")
    assert run.status == 0, run.err


def test_an_input_is_never_replaced(inputs: Path, capfd: Capture) -> None:
    moving = inputs / "moving.nii.gz"
    like = ("--like", inputs / "fixed.nii.gz")
    run = Run(capfd, "transform", moving, inputs / "forward.h5", *like, "-o", moving, "--force")
    assert "is an input" in run.complaint


@pytest.mark.parametrize(("out", "words"), [("x.png", "colored volume"), ("x/", "as DICOM")])
def test_a_format_that_cannot_hold_it_is_refused_before_the_work(
    out: str,
    words: str,
    inputs: Path,
    tmp_path: Path,
    capfd: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(*_: object, **__: object) -> None:
        pytest.fail("the work began")

    monkeypatch.setattr(Transform, "apply", work)
    labels = replace(read(inputs / "moving.nii.gz"), unit="unknown")
    labels = labels.with_voxels((np.asarray(labels.voxels) > 0).astype(np.uint8))
    write(labels, tmp_path / "labels.nii.gz")
    run = Run(
        capfd, "transform", tmp_path / "labels.nii.gz", inputs / "forward.h5",
        "--like", inputs / "fixed.nii.gz", "-o", f"{tmp_path}/{out}",
    )  # fmt: skip
    assert run.status == 2
    assert words in run.complaint
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize("kind", ["float", "mask", "spread", "last-slices"])
def test_what_looks_like_labels_is_told_of(
    kind: str, inputs: Path, tmp_path: Path, capfd: Capture
) -> None:
    image = nib.load(inputs / "moving.nii.gz")
    hu = np.asarray(image.dataobj)
    few = np.digitize(hu, (-500, 0, 300))
    few[:, :, : hu.shape[2] - 2 if kind == "last-slices" else 0] = 0
    maps = {"float": few.astype(np.float32), "mask": (hu > 0).astype(np.uint8)}
    maps |= {"spread": (few * 37).astype(np.int16), "last-slices": few.astype(np.uint8)}
    nib.save(nib.Nifti1Image(maps[kind], image.affine), tmp_path / "map.nii.gz")
    words = ("transform", tmp_path / "map.nii.gz", inputs / "forward.h5")
    words += ("--like", inputs / "fixed.nii.gz", "-o")
    run = Run(capfd, *words, tmp_path / "a.nii.gz", "--json")
    assert run.status == 0, run.err
    assert any("looks like a label map" in text for text in json.loads(run.out)["warnings"])
    assert "--labels" in run.err
    run = Run(capfd, *words, tmp_path / "b.nii.gz", "--labels", "--json")
    assert not any("label map" in text for text in json.loads(run.out)["warnings"])


@pytest.mark.parametrize("name", ["moving", "color"])
def test_a_scan_or_colors_do_not_look_like_labels(
    name: str, inputs: Path, tmp_path: Path, capfd: Capture
) -> None:
    words = ("transform", inputs / f"{name}.nii.gz", inputs / "forward.h5")
    run = Run(capfd, *words, "--like", inputs / "fixed.nii.gz", "-o", tmp_path / "a.nii.gz")
    assert run.status == 0, run.err
    assert "label map" not in run.err
