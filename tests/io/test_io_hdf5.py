"""ITK's transform files in HDF5 and MATLAB: older layouts, packed ones, and damaged ones."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from tomochrome.errors import InputError
from tomochrome.transform import Transform

#: Written by h5py as HDF5 1.6 would have it: a composite of a translation and a field of floats in
#: chunks, shuffled, deflated and with check sums.
OLD = zlib.decompress(base64.b64decode(
    "eNrtml9IU1EYwM+9d9NNp6lJWhTOWiZhNHXBIMWJfx8kR0kMgtzN3bHBdGOboFBk5MOKIB962GNCD/amZCS9NEMoCM"
    "Kgh+jJoAefwiAp6MF2d87Zds/aH13ozO8H47vnfN+9d/e73/nO/c699/q7e8tKjpUgGY0GqVAFSmaLEGpXtqneTiRH"
    "ZIjIOZ72czFdLemvJMdn7YYu9/TI1lsM9Dxraiw1CDiI9Pd0WmVpI20aT295pd2QXxwLOL3+0T6/d9yXiEvLDs+bLn"
    "77Bdx2qXOL33Wt8n8DBzt+9TRfqpV2RiKbiWxh8qt5m+e9cmmwW45gmjf1gvJ4bBwD28sD1mLc9mlzywMWHcxjkAdS"
    "57EZbZp5bGjSJ6H85zGcB4R43DUWK/MAG8f0KTB8QmkXIe21OmY+0yvtwuewXDr/v+UBNb5GjraxBziOU1w/lUJUL2"
    "8f5bBPK+I6fCfUUSm3eR53a8jxBC5UprwTiHnCLgzY+cVYCmN8J8jDKlyWiJ2+rsEBLun2c0l2Ml3eUZ834A5K8UQx"
    "7PCO3/BIw63DrXI8Ebu65HziEYNu79hf9yCPAchAZLc74POII9KoNBbsdUseR2Ivp8crBslp4tgOwT0EAAAAAAAAAA"
    "AAgO2Sbr2ZXX/Ltt7sqscS1psPJnS9eZ60rUSuGjLHWb7rt7u3Tho+jY+wH9ZJhbif509mtqfv+SKnMtvRcW3TH5S8"
    "mDmuWGhcVeo7iK8syFSKTFtkwTMRVzwTV2wmLcy4yuYPIe6HfP0xR8ZZbUH7g8K+P4u3e90TksMq+sVRKSj5Ayn2jI"
    "pGlX2X/788vdP3AYlPXDY6aFogo99iSLITErtbqJ7kRiI3XjH7R5T2rIyfLw3Z9RPXR+z6KpPRbGoyb0x1WpYj9frZ"
    "x7Mjr3VF1y4a5/t4pP2mO/Lzxc0zMcvyJtuC+ObO4ZqxtonvX4qF0uKHU6HpB+1Vvike3V0o32x/f7UXWzbOudZrw7"
    "ZP5qWJX6rp7hXDE8dXs51DH8wlk2L42S1sVf1o6KPJ9HxxPLj5Y3nl+Awa0KHfU9rKl0+5d/B0AAAAABTc80u278ia"
    "oa6Huj61rp8z7W298e/q+si+rOtDLbnV9eHW3Op6oxHqepkqYleVdx27SuJqpsDr+qKM/uineSDFH3VIFevRoxoNqr"
    "mNGH8I2B+l0Ywhb3ACrTE1sZXAgGvc6fRI5Bgo9mWf3O+QnB4xmOgXyLiM2gZHXJK/tYXGLfEzz9su4K7q6E+VuLL8"
    "Anq/1PXy/M1FL5udv8+msbc3YEn11Yz+PtETgRoZ/SJR0GXFNkb/uUHZpnoVTKUAAAAAsGf8AY+mfJI="
))  # fmt: skip
POINTS = np.random.default_rng(0).uniform((-1.5, -3, -4), (1.5, 3, 4), (40, 3))


def by_itk(path: Path) -> np.ndarray:
    transform = SimpleITK.ReadTransform(str(path))
    return np.array([transform.TransformPoint(p.tolist()) for p in POINTS])


@pytest.fixture
def new(tmp_path: Path) -> bytes:
    """What ITK writes today."""
    spline = SimpleITK.BSplineTransform(3)
    spline.SetTransformDomainMeshSize((1, 1, 1))
    spline.SetTransformDomainPhysicalDimensions((9.0, 9.0, 9.0))
    euler = SimpleITK.Euler3DTransform((1.0, 2.0, 3.0), 0.1, 0.2, 0.3, (4.0, 5.0, 6.0))
    euler.SetComputeZYX(True)
    whole = SimpleITK.CompositeTransform([spline, euler, SimpleITK.TranslationTransform(3)])
    SimpleITK.WriteTransform(whole, str(tmp_path / "new.h5"))
    return (tmp_path / "new.h5").read_bytes()


def test_older_and_packed_files_are_what_itk_reads(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    path.write_bytes(OLD)
    np.testing.assert_allclose(Transform.load(path).points(POINTS), by_itk(path), atol=1e-6)


def test_what_itk_writes_today_is_what_it_reads(new: bytes, tmp_path: Path) -> None:
    path = tmp_path / "new.h5"
    ours = Transform.load(path)
    assert len(ours.fields) == 1  # the spline; what is linear keeps its center and its order
    np.testing.assert_allclose(ours.points(POINTS), by_itk(path), atol=1e-6)


@pytest.mark.parametrize("count", [7, 8, 12])
def test_many_transforms_lie_in_another_layout(count: int, tmp_path: Path) -> None:
    path = tmp_path / "many.h5"
    shifts = [SimpleITK.TranslationTransform(3, (2.0**n, 0.0, 0.0)) for n in range(count)]
    SimpleITK.WriteTransform(SimpleITK.CompositeTransform(shifts), str(path))
    np.testing.assert_allclose(Transform.load(path).points(POINTS), by_itk(path))


@pytest.mark.parametrize("which", ["old", "new"])
def test_flipped_bits_end_in_a_transform_or_a_sentence(
    which: str, new: bytes, tmp_path: Path
) -> None:
    """ITK itself crashes on some of these, and on others waits for ever."""
    content = OLD if which == "old" else new
    random = np.random.default_rng(1)
    refused = 0
    for number in range(250):
        damaged = bytearray(content)
        at = int(random.integers(len(damaged) - 8))
        if number % 4 == 0:
            damaged[at] ^= 1 << int(random.integers(8))
        elif number % 4 == 1:
            del damaged[at:]
        else:
            damaged[at : at + 8] = (b"\xff" if number % 4 == 2 else b"\0") * 8
        (tmp_path / "damaged.h5").write_bytes(damaged)
        try:
            Transform.load(tmp_path / "damaged.h5")
        except InputError as error:
            refused += 1
            assert "damaged.h5" in str(error)
            assert "\n" not in str(error)
    assert refused > 60


def test_numbers_that_are_none_do_not_hang(tmp_path: Path) -> None:
    affine = SimpleITK.AffineTransform(3)
    affine.SetTranslation((12345.0, 0.0, 0.0))
    path = tmp_path / "affine.h5"
    SimpleITK.WriteTransform(affine, str(path))
    one = np.array([1.0, 0, 0, 0, 1, 0, 0, 0, 1]).tobytes()
    content = path.read_bytes()
    assert content.count(one) == 1
    lost = np.array([1.0, 0, 0, 0, np.nan, 0, 0, 0, 1]).tobytes()
    path.write_bytes(content.replace(one, lost))
    with pytest.raises(InputError, match="not finite"):
        Transform.load(path)


@pytest.mark.parametrize("columns", [2, -1, 2**30])
@pytest.mark.parametrize("field", [2, 4])
def test_a_matlab_file_cannot_write_beyond_its_room(
    field: int, columns: int, tmp_path: Path
) -> None:
    """ITK reads rows times columns numbers into rows, and ends a name where it likes."""
    path = tmp_path / "affine.mat"
    SimpleITK.WriteTransform(SimpleITK.AffineTransform(3), str(path))
    content = bytearray(path.read_bytes())
    content[4 * field : 4 * field + 4] = columns.to_bytes(4, "little", signed=True)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"affine\.mat"):
        Transform.load(path)


def test_a_part_of_the_data_that_lies_elsewhere_does_no_harm(tmp_path: Path) -> None:
    """The place of each chunk is a number in a tree (HDF5 File Format Specification, III.A.1)."""
    tree = OLD.index(b"TREE\x01")
    (count,) = struct.unpack_from("<H", OLD, tree + 6)
    path = tmp_path / "moved.h5"
    for chunk in range(count):
        for bit in range(12):
            moved = bytearray(OLD)
            at = tree + 24 + 32 * chunk + 8
            (first,) = struct.unpack_from("<Q", OLD, at)
            struct.pack_into("<Q", moved, at, first ^ 1 << bit)
            path.write_bytes(moved)
            try:
                assert np.isfinite(Transform.load(path).points(POINTS)).all()
            except InputError as error:
                assert "\n" not in str(error)
