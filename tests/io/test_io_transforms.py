from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from transform_cases import grid, smooth_field, texture, turned

from tomochrome.errors import Cancelled, InputError, OutputError
from tomochrome.geometry import to_sitk
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.io import transforms
from tomochrome.runtime import Task, running
from tomochrome.transform import Transform

SHAPE = (16, 20, 24)
AFFINE = grid(SHAPE, (3.0, 2.0, 2.5), oblique=0.2)


@pytest.fixture(scope="module")
def chain() -> Transform:
    field = smooth_field(SHAPE, AFFINE, 5.0)
    return Transform.from_fields(field, affine=turned(0.15, (3.0, -2.0, 4.0)))


@pytest.fixture(scope="module")
def saved(chain: Transform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("transforms") / "forward.h5"
    chain.save(path)
    return path


def points(count: int = 60, reach: float = 25.0) -> np.ndarray:
    return np.random.default_rng(5).uniform(-reach, reach, (count, 3))


def by_itk(transform: SimpleITK.Transform, at: np.ndarray) -> np.ndarray:
    return np.array([transform.TransformPoint(p.tolist()) for p in at])


def test_the_saved_file_applied_by_simpleitk_alone_gives_our_image(
    chain: Transform, saved: Path
) -> None:
    moving, fixed = texture((18, 24, 22), grid((18, 24, 22), (3, 2, 2.5))), texture(SHAPE, AFFINE)
    theirs = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(
            to_sitk(moving), to_sitk(fixed), SimpleITK.ReadTransform(str(saved)),
            SimpleITK.sitkLinear, -1024.0,
        )
    )  # fmt: skip
    ours = np.asarray(chain.apply(moving, fixed).voxels)
    assert np.abs(ours - theirs).mean() < 0.005 * np.ptp(np.asarray(moving.voxels))
    labels = moving.with_voxels((np.asarray(moving.voxels) > 20).astype(np.uint8), unit="unknown")
    theirs = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(
            to_sitk(labels), to_sitk(fixed), SimpleITK.ReadTransform(str(saved)),
            SimpleITK.sitkNearestNeighbor, 0,
        )
    )  # fmt: skip
    assert (chain.apply(labels, fixed, order="nearest").voxels == theirs).mean() > 0.999


def test_a_saved_transform_comes_back(chain: Transform, saved: Path) -> None:
    again = Transform.load(saved)
    np.testing.assert_allclose(again.points(points()), chain.points(points()), atol=1e-5)
    assert len(again.steps) == len(chain.steps)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="cannot reserve room here")
def test_a_disk_too_full_is_said_and_leaves_nothing(
    chain: Transform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int, _offset: int, size: int) -> None:
        assert size >= 8 * 3 * np.prod(SHAPE)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match=r"forward\.h5': No space left"):
        chain.save(tmp_path / "forward.h5")
    assert list(tmp_path.iterdir()) == []


def test_the_inverse_is_saved_too(chain: Transform, tmp_path: Path) -> None:
    chain.inverse().save(tmp_path / "inverse.h5")
    back = Transform.load(tmp_path / "inverse.h5")
    near = points(60, 10.0)
    assert np.abs(back.points(chain.points(near)) - near).mean() < 0.15


def test_the_identity_and_affines_in_every_ending(tmp_path: Path) -> None:
    Transform.identity().save(tmp_path / "nothing.h5")
    assert Transform.load(tmp_path / "nothing.h5").steps == ()
    there = Transform.from_affine(turned(0.4, (1.0, 2.0, 3.0)))
    for ending in ("h5", "tfm", "txt", "mat"):
        there.save(tmp_path / f"affine.{ending}")
        np.testing.assert_allclose(
            Transform.load(tmp_path / f"affine.{ending}").affine, there.affine, atol=1e-9
        )
        theirs = by_itk(SimpleITK.ReadTransform(str(tmp_path / f"affine.{ending}")), points())
        np.testing.assert_allclose(theirs, there.points(points()), atol=1e-8)


def test_a_displacement_field_of_nifti_is_what_itk_and_ants_mean_by_it(
    chain: Transform, tmp_path: Path
) -> None:
    path = tmp_path / "field.nii.gz"
    chain.save(path)
    image = nib.load(path)
    assert image.shape == (*SHAPE[::-1], 1, 3)
    assert int(image.header["intent_code"]) == 1007
    field = SimpleITK.DisplacementFieldTransform(
        SimpleITK.Cast(SimpleITK.ReadImage(str(path)), SimpleITK.sitkVectorFloat64)
    )
    near = points(60, 8.0)
    np.testing.assert_allclose(by_itk(field, near), chain.points(near), atol=0.05)
    np.testing.assert_allclose(Transform.load(path).points(near), by_itk(field, near), atol=1e-4)
    # as the standard has intent 1006: vectors in RAS
    standard = nib.Nifti1Image(
        np.asarray(image.dataobj) * np.float32([-1, -1, 1]), image.affine, image.header
    )
    standard.header["intent_code"] = 1006
    nib.save(standard, tmp_path / "standard.nii.gz")
    np.testing.assert_allclose(
        Transform.load(tmp_path / "standard.nii.gz").points(near), by_itk(field, near), atol=1e-4
    )


def test_a_field_on_sheared_axes_is_saved_exactly(tmp_path: Path) -> None:
    affine = grid(SHAPE, (3.0, 2.0, 2.5))
    affine[1, 0] = 0.8  # a tilted gantry
    tilted = Transform.from_fields(smooth_field(SHAPE, affine), affine=turned(0.1))
    tilted.save(tmp_path / "tilted.h5")
    near = points(80, 10.0)
    theirs = by_itk(SimpleITK.ReadTransform(str(tmp_path / "tilted.h5")), near)
    np.testing.assert_allclose(theirs, tilted.points(near), atol=1e-4)


def other_tools() -> list[SimpleITK.Transform]:
    center = (5.0, -3.0, 2.0)
    similarity = SimpleITK.Similarity3DTransform()
    similarity.SetCenter(center)
    similarity.SetScale(1.1)
    similarity.SetRotation((0.0, 0.6, 0.8), 0.3)
    euler = SimpleITK.Euler3DTransform(center, 0.1, -0.2, 0.3, (4.0, 5.0, 6.0))
    affine = SimpleITK.AffineTransform(3)
    affine.SetMatrix((1.1, 0.1, 0, 0, 0.9, 0.05, 0.02, 0, 1))
    affine.SetCenter(center)
    inner = SimpleITK.CompositeTransform([euler, affine])
    field = SimpleITK.DisplacementFieldTransform(
        SimpleITK.Cast(smooth_field(SHAPE, AFFINE).to_sitk(), SimpleITK.sitkVectorFloat64)
    )
    several = SimpleITK.CompositeTransform(3)
    several.AddTransform(similarity)
    several.AddTransform(field)
    several.AddTransform(affine)
    several.AddTransform(euler)
    return [similarity, euler, affine, SimpleITK.TranslationTransform(3, (1, 2, 3)), inner, several]


@pytest.mark.parametrize("number", range(6))
def test_transforms_of_other_tools(number: int, tmp_path: Path) -> None:
    theirs = other_tools()[number]
    endings = ("h5",) if number >= 4 else ("h5", "tfm", "txt", "mat")
    for ending in endings:
        path = tmp_path / f"theirs.{ending}"
        SimpleITK.WriteTransform(theirs, str(path))
        ours = Transform.load(path)
        np.testing.assert_allclose(ours.points(points()), by_itk(theirs, points()), atol=1e-5)


def test_a_b_spline_is_sampled(tmp_path: Path) -> None:
    image = to_sitk(texture(SHAPE, AFFINE))
    spline = SimpleITK.BSplineTransformInitializer(image, [6, 6, 6])
    random = np.random.default_rng(0)
    spline.SetParameters(random.normal(0, 2, len(spline.GetParameters())).tolist())
    SimpleITK.WriteTransform(spline, str(tmp_path / "spline.tfm"))
    ours, near = Transform.load(tmp_path / "spline.tfm"), points(60, 10.0)
    np.testing.assert_allclose(ours.points(near), by_itk(spline, near), atol=0.1)


def test_damaged_and_foreign_files_are_refused_in_a_sentence(
    saved: Path, chain: Transform, tmp_path: Path
) -> None:
    whole = saved.read_bytes()
    cases = {
        "cut.h5": whole[: len(whole) // 2],
        "text.h5": b"not a transform at all, but a letter" * 5,
        "empty.h5": b"",
        "empty.tfm": b"",
        "letter.txt": b"Dear Sir or Madam,\n",
        "many.tfm": b"#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\n"
        b"Parameters: 1 0 0 0 1 0 0 0 1 0 0 0 9\nFixedParameters: 0 0 0\n",
        "half.tfm": b"#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\n",
        "flat.tfm": b"#Insight Transform File V1.0\nTransform: AffineTransform_double_2_2\n"
        b"Parameters: 1 0 0 1 0 0\nFixedParameters: 0 0\n",
        "nan.tfm": b"#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\n"
        b"Parameters: nan 0 0 0 1 0 0 0 1 0 0 0\nFixedParameters: 0 0 0\n",
        "singular.tfm": b"#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\n"
        b"Parameters: 1 0 0 0 1 0 0 0 0 0 0 0\nFixedParameters: 0 0 0\n",
        "junk.mat": bytes(range(256)) * 3,
        "junk.nii.gz": b"junk" * 100,
        "picture.png": b"\x89PNG",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        try:
            loaded = Transform.load(tmp_path / name)
        except InputError as error:
            said = str(error)
        else:
            pytest.fail(f"{name} was read as {loaded}")
        assert name in said, said
        assert "\n" not in said
        assert len(said) < 400 + len(str(tmp_path)), said
    with pytest.raises(InputError, match="no transform file"):
        Transform.load(tmp_path / "absent.h5")
    for volume in (texture(SHAPE, AFFINE),):
        SimpleITK.WriteImage(to_sitk(volume), str(tmp_path / "scalar.nii.gz"))
    with pytest.raises(InputError, match="not a displacement field"):
        Transform.load(tmp_path / "scalar.nii.gz")


def test_a_damaged_hdf5_file_is_refused_in_one_line_to_the_very_end(
    saved: Path, tmp_path: Path
) -> None:
    """ITK leaves such a file open, and HDF5 would complain about it when the process ends."""
    damaged = bytearray(saved.read_bytes())
    start = damaged.find(b"TransformParameters")
    while start >= 0:  # the names of the data sets
        damaged[start : start + 4] = b"XXXX"
        start = damaged.find(b"TransformParameters")
    (tmp_path / "damaged.h5").write_bytes(damaged)
    code = (
        "import sys\n"
        "from tomochrome.errors import InputError\n"
        "from tomochrome.io.transforms import read_parts\n"
        "try:\n    read_parts(sys.argv[1])\n"
        "except InputError as error:\n    print(error, file=sys.stderr)\n"
    )
    words = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "damaged.h5")]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert "cannot be read as a transform" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "H5" not in done.stderr


def test_nothing_is_left_behind_and_nothing_overwritten(
    chain: Transform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "there.h5"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="already exists"):
        chain.save(path)
    chain.save(path, force=True)
    assert Transform.load(path).fields
    with pytest.raises(OutputError, match="displacement field"):
        chain.save(tmp_path / "field.tfm")

    def fail(*_: object) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(SimpleITK, "WriteTransform", fail)
    with pytest.raises(OutputError, match="disk may be full"):
        chain.save(tmp_path / "new.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["there.h5"]


def test_parts_know_their_kind(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        transforms.write_parts([], tmp_path / "x.nii.gz")
    with pytest.raises(OutputError):
        transforms.write_field(
            DisplacementField(np.zeros((2, 2, 2, 3), np.float32), np.eye(4)), tmp_path / "x.h5"
        )


def test_itk_says_nothing_on_the_screen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spline = SimpleITK.BSplineTransform(3)
    spline.SetTransformDomainMeshSize((2, 2, 2))
    spline.SetTransformDomainPhysicalDimensions((9.0, 9.0, 9.0))
    path = tmp_path / "spline.tfm"
    SimpleITK.WriteTransform(spline, str(path))
    *lines, fixed = path.read_text().splitlines()
    words = fixed.split(" ")
    for small in ("1e-200", "5e-324"):
        words[11] = small  # beside the diagonal of the directions
        path.write_text("\n".join([*lines, " ".join(words), ""]))
        capfd.readouterr()
        try:
            assert Transform.load(path).points([[1.0, 2.0, 3.0]]).tolist() == [[1.0, 2.0, 3.0]]
        except InputError:
            assert small == "5e-324"  # of which ITK makes a direction that is none
        assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha", ".h5", ".tfm", ".mat"])
def test_a_file_that_is_cut_off_is_not_taken_for_whole(
    ending: str, chain: Transform, tmp_path: Path
) -> None:
    """As on a disk that is full, which ITK does not notice in NIfTI and text files."""
    resource = pytest.importorskip("resource")
    if ending == ".h5" and not hasattr(os, "posix_fallocate"):
        pytest.skip("room cannot be reserved here, and HDF5 crashes")
    text = ending in (".tfm", ".mat")
    transform = Transform.from_affine(np.diag([1.0, 2.0, 3.0, 1.0])) if text else chain
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 if text else 20_000, hard))
    try:
        with pytest.raises(OutputError, match=r"cannot (write|be written)"):
            transform.save(tmp_path / f"a{ending}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_field_is_stopped_while_it_is_written(chain: Transform, tmp_path: Path) -> None:
    told = []

    def stop(done: int, total: int, stage: str) -> None:
        told.append((done, total, stage))
        if done == 3:
            token.cancel()

    token = Task(stop)
    with running(token), pytest.raises(Cancelled):
        transforms.write_field(chain.fields[0], tmp_path / "a.nii.gz")
    assert told[-1] == (3, 3 * chain.fields[0].shape[0], "writing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["TFM", "MAT", "Txt", "H5", "Hdf5"])
def test_endings_in_upper_case_are_read_and_written(ending: str, tmp_path: Path) -> None:
    """ITK itself knows a format by an ending in lower case only."""
    matrix = turned(0.2, (4.0, -5.0, 6.0))
    Transform.from_affine(matrix).save(tmp_path / f"lower.{ending.lower()}")
    (tmp_path / f"lower.{ending.lower()}").rename(tmp_path / f"A.B.{ending}")
    found = Transform.load(tmp_path / f"A.B.{ending}")
    np.testing.assert_allclose(found.affine, matrix, atol=1e-9)
    Transform.from_affine(matrix).save(tmp_path / f"WRITTEN.{ending}")
    assert (tmp_path / f"WRITTEN.{ending}").is_file()
    found = Transform.load(tmp_path / f"WRITTEN.{ending}")
    np.testing.assert_allclose(found.affine, matrix, atol=1e-9)


@pytest.mark.parametrize("ending", ["H5", "NII.GZ", "Nii", "NRRD", "MHA"])
def test_fields_with_endings_in_upper_case(chain: Transform, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"FIELD.{ending}"
    chain.save(path)
    at = points(10, 15.0)
    np.testing.assert_allclose(Transform.load(path).points(at), chain.points(at), atol=0.05)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
