"""NRRD and MetaImage files, made by SimpleITK or by hand, and how they are refused."""

from __future__ import annotations

import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from tomochrome.errors import InputError
from tomochrome.io import read


def image(voxels, vector=False):
    made = SimpleITK.GetImageFromArray(voxels, isVector=vector)
    made.SetSpacing([0.7, 0.8, 2.5, 1.0][: made.GetDimension()])
    if made.GetDimension() == 3:
        matrix = Rotation.from_euler("zyx", (20, -15, 30), degrees=True).as_matrix()
        made.SetOrigin([1, -2, 3.25])
        made.SetDirection(matrix.ravel().tolist())
    return made


def meta(path, voxels, text="", data=None):
    """Write a MetaImage by hand."""
    header = (
        "ObjectType = Image\nNDims = 3\n"
        f"DimSize = {' '.join(map(str, voxels.shape[::-1]))}\nElementSpacing = 1 2 3\n"
        f"{text}ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + (voxels.astype("<i2").tobytes() if data is None else data))
    return path


def nrrd_file(path, voxels, text="", encoding="raw", data=None):
    """Write a NRRD by hand."""
    header = (
        f"NRRD0004\ntype: int16\ndimension: 3\n{text}"
        f"sizes: {' '.join(map(str, voxels.shape[::-1]))}\nendian: little\nencoding: {encoding}\n\n"
    )
    path.write_bytes(header.encode() + (voxels.astype("<i2").tobytes() if data is None else data))
    return path


def refused(path, words, capfd, **options):
    capfd.readouterr()
    with pytest.raises(InputError, match=words) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")
