"""MINC's .xfm: its world is RAS, ours LPS; what may mean either is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation

from tomochrome.errors import InputError
from tomochrome.registration.transform import Transform

HEAD = "MNI Transform File\n%Mon Nov 20 2023>>> minctracc a.mnc b.mnc out.xfm\n\n"
POINTS = np.random.default_rng(4).uniform(-80, 80, (20, 3))
RAS = POINTS * (-1, -1, 1)


def linear(matrix: np.ndarray, more: str = "") -> str:
    rows = "\n".join(" " + " ".join(map(repr, row)) for row in matrix[:3].tolist())
    return f"Transform_Type = Linear;\n{more}Linear_Transform =\n{rows};\n"


@pytest.fixture
def turned() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", (20, -35, 50), degrees=True).as_matrix() * 1.1
    matrix[:3, 3] = 10.0, 20.0, 30.0
    return matrix


def read(path: Path, text: str) -> np.ndarray:
    path.write_text(text)
    return Transform.load(path).points(POINTS) * (-1, -1, 1)


def test_points_of_mincs_world_go_where_minc_takes_them(turned, tmp_path: Path) -> None:
    path = tmp_path / "a.xfm"
    moved = apply_affine(turned, RAS)
    np.testing.assert_allclose(read(path, HEAD + linear(turned)), moved, atol=1e-9)
    back = read(path, HEAD + linear(turned, "Invert_Flag = True;\n"))
    np.testing.assert_allclose(apply_affine(turned, back), RAS, atol=1e-9)
    shift = np.eye(4)
    shift[:3, 3] = 1, 2, 3
    both = read(path, HEAD + linear(turned) + linear(shift))
    np.testing.assert_allclose(both, moved + np.array((1, 2, 3)), atol=1e-9)


def test_what_itk_wrote_may_mean_either(tmp_path: Path) -> None:
    path = tmp_path / "itk.xfm"
    SimpleITK.WriteTransform(SimpleITK.AffineTransform(3), str(path))
    with pytest.raises(InputError, match=r"written by ITK.* save the transform as \.tfm"):
        Transform.load(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 bytes"),
        ("x" * 100_000, "100000 bytes"),
        ("MNI Tag Point File\n", "another kind"),
        (HEAD, "damaged"),
        (HEAD + "Transform_Type = Linear;\n", "damaged"),
        (HEAD + "Transform_Type = Grid_Transform;\nDisplacement_Volume = a.mnc;\n", "Grid_Tra"),
        (HEAD + linear(np.eye(4)).replace("1.0", "one"), "damaged"),
        (HEAD + linear(np.eye(4)).replace("1.0", "nan"), "beyond all bounds"),
        (HEAD + linear(np.eye(4)).replace("1.0", "1e300"), "beyond all bounds"),
        (HEAD + linear(np.eye(4))[:-4], "damaged"),
        (HEAD + linear(np.eye(4)).replace("0.0", "inf", 1) * 2, "beyond all bounds"),
        (HEAD + linear(np.eye(4)).replace(";", "", 1), "damaged"),
        (HEAD + linear(np.zeros((4, 4))), "flattens"),
        (HEAD + linear(np.zeros((4, 4)), "Invert_Flag = True;\n"), "damaged"),
        (HEAD + linear(np.eye(4)) + "Surprise = 1;\n", "damaged"),
    ],
)
def test_what_is_no_linear_transform_is_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xfm"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as refused:
        Transform.load(path)
    assert "\n" not in str(refused.value)
