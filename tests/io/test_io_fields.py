"""Transforms of other tools and hostile ones: what 3D Slicer, ANTs and ITK write, and what lies."""

from __future__ import annotations

import gzip
import shutil
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from transform_cases import grid, smooth_field, turned

from tomochrome.errors import GeometryError, InputError
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.io.transforms import read_parts
from tomochrome.transform import Transform

SHAPE = (12, 14, 16)
AFFINE = grid(SHAPE, (3.0, 2.0, 2.5), oblique=0.2)
FIELD = smooth_field(SHAPE, AFFINE, 3.0)
NEAR = np.random.default_rng(5).uniform(-7, 7, (60, 3))


def by_itk(transform: SimpleITK.Transform, at: np.ndarray = NEAR) -> np.ndarray:
    return np.array([transform.TransformPoint(p.tolist()) for p in at])


def itk_field() -> SimpleITK.DisplacementFieldTransform:
    return SimpleITK.DisplacementFieldTransform(
        SimpleITK.Cast(FIELD.to_sitk(), SimpleITK.sitkVectorFloat64)
    )


def image(pixel: int = SimpleITK.sitkVectorFloat64) -> SimpleITK.Image:
    return SimpleITK.Cast(FIELD.to_sitk(), pixel)


@pytest.mark.parametrize("pixel", [SimpleITK.sitkVectorFloat32, SimpleITK.sitkVectorFloat64])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_fields_in_images_are_those_that_itk_reads(
    flips: tuple[int, ...], ending: str, pixel: int, tmp_path: Path
) -> None:
    affine = AFFINE @ np.diag([*flips, 1.0])
    whole = smooth_field(SHAPE, affine, 3.0)
    path = tmp_path / f"Warp{ending}"
    SimpleITK.WriteImage(SimpleITK.Cast(whole.to_sitk(), pixel), str(path))
    theirs = DisplacementField.from_sitk(SimpleITK.ReadImage(str(path)))
    (ours,) = read_parts(path)
    assert isinstance(ours, DisplacementField)
    np.testing.assert_array_equal(ours.vectors, theirs.vectors)
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-5)


def test_a_field_is_not_mistaken_for_the_one_beside_it(tmp_path: Path) -> None:
    """ITK reads the header of ``Warp.nii.gz``, and the voxels of a ``Warp.nii`` beside it."""
    SimpleITK.WriteImage(image(), str(tmp_path / "Warp.nii.gz"))
    nothing = DisplacementField(np.zeros_like(FIELD.vectors), AFFINE).to_sitk()
    nothing = SimpleITK.Cast(nothing, SimpleITK.sitkVectorFloat64)
    SimpleITK.WriteImage(nothing, str(tmp_path / "Warp.nii"))
    np.testing.assert_allclose(
        Transform.load(tmp_path / "Warp.nii.gz").points(NEAR), by_itk(itk_field()), atol=1e-4
    )


def test_vectors_of_slicers_nifti_are_ras_and_scaled_integers_are_numbers(tmp_path: Path) -> None:
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE @ np.eye(4)[[2, 1, 0, 3]]
    stored = np.moveaxis(FIELD.vectors, -1, 0).transpose(3, 2, 1, 0)[:, :, :, None]
    ras = nib.Nifti1Image(stored * np.float32([-1, -1, 1]), affine)
    ras.header.set_intent(1006)
    nib.save(ras, tmp_path / "Slicer.nii.gz")
    np.testing.assert_allclose(
        Transform.load(tmp_path / "Slicer.nii.gz").points(NEAR), by_itk(itk_field()), atol=1e-4
    )
    small = nib.Nifti1Image(np.rint(stored * 100).astype(np.int16), affine)
    small.header.set_intent(1007)
    small.header.set_slope_inter(0.01, 0.0)
    nib.save(small, tmp_path / "packed.nii")
    np.testing.assert_allclose(
        Transform.load(tmp_path / "packed.nii").points(NEAR), by_itk(itk_field()), atol=0.02
    )


def test_a_modeling_field_of_slicer_is_followed_backwards(tmp_path: Path) -> None:
    path = tmp_path / "modeling.nrrd"
    SimpleITK.WriteImage(image(), str(path))
    head, _, voxels = path.read_bytes().partition(b"\n\n")
    for kind in (b"resampling", b"modeling"):
        path.write_bytes(head + b"\ndisplacement field type:=" + kind + b"\n\n" + voxels)
        ours = Transform.load(path)
        if kind == b"resampling":
            np.testing.assert_allclose(ours.points(NEAR), by_itk(itk_field()), atol=1e-4)
        else:
            np.testing.assert_allclose(ours.points(by_itk(itk_field())), NEAR, atol=0.01)
            np.testing.assert_allclose(ours.inverse().points(NEAR), by_itk(itk_field()), atol=1e-4)


def slicers(path: Path, *, one_way: bool = True) -> SimpleITK.CompositeTransform:
    """Write what 3D Slicer does of a grid transform that it knows to the parent; what is inside."""
    smooth = itk_field()
    smooth.SetSmoothingGaussianOnUpdate()  # a class with a longer name, to be written over
    affine = SimpleITK.AffineTransform(3)
    affine.SetTranslation((1.0, -2.0, 3.0))
    whole = SimpleITK.CompositeTransform([affine, smooth] if one_way else [itk_field(), smooth])
    SimpleITK.WriteTransform(whole, str(path))
    old = b"GaussianSmoothingOnUpdateDisplacementFieldTransform_double_3_3"
    new = b"InverseDisplacementFieldTransform_double_3_3"
    content = path.read_bytes()
    assert content.count(old) == 1
    pad = b"" if path.suffix == ".tfm" else b"\0" * (len(old) - len(new))
    path.write_bytes(content.replace(old, new + pad))
    return whole


@pytest.mark.parametrize("ending", ["h5", "tfm"])
def test_the_inverse_classes_of_slicer_are_followed_backwards(ending: str, tmp_path: Path) -> None:
    slicers(tmp_path / f"grid.{ending}")
    ours = Transform.load(tmp_path / f"grid.{ending}")
    # the composite's last one comes first: backwards through the field, then the shift
    there = ours.points(by_itk(itk_field())) - (1.0, -2.0, 3.0)
    np.testing.assert_allclose(there, NEAR, atol=0.01)
    slicers(tmp_path / f"both.{ending}", one_way=False)
    both = Transform.load(tmp_path / f"both.{ending}")  # there and back again
    np.testing.assert_allclose(both.points(by_itk(itk_field())), by_itk(itk_field()), atol=0.01)


@pytest.mark.parametrize("scalar", ["double", "float"])
def test_the_affine_of_older_ants(scalar: str, tmp_path: Path) -> None:
    path = tmp_path / "Affine.txt"
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\n"
        f"Transform: MatrixOffsetTransformBase_{scalar}_3_3\n"
        "Parameters: 1.1 0.1 0 0 0.9 0.05 0.02 0 1 3 4 5\nFixedParameters: 1 2 3\n"
    )
    theirs = by_itk(SimpleITK.ReadTransform(str(path)))
    np.testing.assert_allclose(Transform.load(path).points(NEAR), theirs, atol=1e-9)


def test_unknown_kinds_are_named(tmp_path: Path) -> None:
    path = tmp_path / "spline.tfm"
    path.write_text(
        "#Insight Transform File V1.0\nTransform: ThinPlateSplineKernelTransform_double_3_3\n"
        "Parameters: 1 2 3\nFixedParameters: 1 2 3\n"
    )
    with pytest.raises(InputError, match="unsupported kind: ThinPlateSpline"):
        Transform.load(path)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("T.txt", '(Transform "EulerTransform")\n(NumberOfParameters 6)\n', "transformix"),
        ("flirt.mat", "1 0 0 2.5\n0 1 0 -3\n0 0 1 1e-3\n0 0 0 1 \n", "c3d_affine_tool"),
    ],
)
def test_of_other_tools_files_is_said_what_to_do(
    name: str, text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        Transform.load(tmp_path / name)


def test_a_sheared_field_says_where_it_can_go(tmp_path: Path) -> None:
    affine = AFFINE.copy()
    affine[1, 0] += 0.8
    sheared = Transform.from_fields(smooth_field(SHAPE, affine, 3.0))
    with pytest.raises(GeometryError, match=r"tilted gantry.*\.h5"):
        sheared.save(tmp_path / "sheared.nii.gz")
    assert not list(tmp_path.iterdir())


LIES = {
    "flipped.nii.gz": "damaged",
    "flipped.nrrd": "damaged",
    "cut.nii.gz": "damaged",
    "cut.mha": "truncated",
    "claims.nii": "claims",
    "claims.tfm": "damaged, of another kind, or too large",
    "away.mhd": "outside its own folder",
    "color.nrrd": "its values are uint8",
    "four.nii.gz": "this file has 1",
    "nan.nrrd": "not finite",
}


@pytest.fixture(scope="module")
def liars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("liars")
    for name in ("whole.nii.gz", "whole.nrrd", "whole.mha", "claims.nii", "away.mhd"):
        SimpleITK.WriteImage(image(), str(folder / name), useCompression=True)
    for ending in ("nii.gz", "nrrd"):
        content = bytearray((folder / f"whole.{ending}").read_bytes())
        content[len(content) // 2] ^= 255
        (folder / f"flipped.{ending}").write_bytes(content)
    (folder / "cut.nii.gz").write_bytes((folder / "whole.nii.gz").read_bytes()[:-500])
    plain = image()
    SimpleITK.WriteImage(plain, str(folder / "plain.mha"), useCompression=False)
    (folder / "cut.mha").write_bytes((folder / "plain.mha").read_bytes()[:-500])
    claims = bytearray((folder / "claims.nii").read_bytes())
    claims[42:48] = np.array([600, 600, 600], "<i2").tobytes()
    (folder / "claims.nii").write_bytes(claims)
    text = (folder / "away.mhd").read_text().replace("away.", "/etc/away.")
    (folder / "away.mhd").write_text(text)
    color = SimpleITK.Cast(image(), SimpleITK.sitkVectorUInt8)
    SimpleITK.WriteImage(color, str(folder / "color.nrrd"))
    four = nib.Nifti1Image(np.zeros((5, 6, 7, 3), np.float32), np.eye(4))
    nib.save(four, folder / "four.nii.gz")
    values = SimpleITK.GetArrayFromImage(image())
    values[1, 2, 3, 0] = np.nan
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values, isVector=True), folder / "nan.nrrd")
    (folder / "claims.tfm").write_text(
        "#Insight Transform File V1.0\nTransform: DisplacementFieldTransform_double_3_3\n"
        "Parameters: 1 2 3\nFixedParameters: 800 800 800 0 0 0 1 1 1 1 0 0 0 1 0 0 0 1\n"
    )
    return folder


@pytest.mark.parametrize("name", LIES)
def test_what_is_damaged_or_lies_is_refused_in_a_sentence(name: str, liars: Path) -> None:
    with pytest.raises(InputError, match=LIES[name]) as caught:
        Transform.load(liars / name)
    said = str(caught.value)
    assert name in said
    assert "\n" not in said


def test_a_small_file_cannot_claim_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "large.h5"
    SimpleITK.WriteTransform(itk_field(), str(path))
    content = path.read_bytes()
    sizes = np.array(SHAPE[::-1], np.float64).tobytes()
    assert content.count(sizes) == 1
    path.write_bytes(content.replace(sizes, np.array([700.0, 700, 700]).tobytes()))  # 8 GB
    tracemalloc.start()
    with pytest.raises(InputError, match="damaged, of another kind, or too large"):
        read_parts(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_gzipped_and_bare_are_told_by_their_bytes(tmp_path: Path) -> None:
    SimpleITK.WriteImage(image(), str(tmp_path / "a.nii"))
    with (tmp_path / "a.nii").open("rb") as bare, gzip.open(tmp_path / "b.nii.gz", "wb") as packed:
        shutil.copyfileobj(bare, packed)
    shutil.copy(tmp_path / "b.nii.gz", tmp_path / "c.nii")  # named as if it were not packed
    for name in ("b.nii.gz", "c.nii"):
        (part,) = read_parts(tmp_path / name)
        assert isinstance(part, DisplacementField)
        np.testing.assert_array_equal(part.vectors, FIELD.vectors)


def test_what_came_backwards_goes_on_as_a_field(tmp_path: Path) -> None:
    """3D Slicer's one-way field, with an affine map behind it, saved as ITK knows it."""
    path = tmp_path / "modeling.nrrd"
    SimpleITK.WriteImage(image(), str(path))
    head, _, voxels = path.read_bytes().partition(b"\n\n")
    path.write_bytes(head + b"\ndisplacement field type:=modeling\n\n" + voxels)
    ours = Transform.load(path).then(Transform.from_affine(turned(0.1)))
    ours.save(tmp_path / "forward.h5")
    theirs = by_itk(SimpleITK.ReadTransform(str(tmp_path / "forward.h5")), by_itk(itk_field()))
    back = Transform.from_affine(turned(0.1)).inverse().points(theirs)
    assert np.abs(back - NEAR).mean() < 0.1
