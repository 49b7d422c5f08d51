"""Compressed files as other programs leave them: with padding, several members, or more behind."""

from __future__ import annotations

import gzip
import zlib

import nibabel as nib
import numpy as np
import pytest
from io_cases import ct

from tomochrome.errors import InputError
from tomochrome.io import find, read

VOXELS = ct((6, 24, 20)).voxels
NRRD = (
    b"NRRD0005\ntype: int16\ndimension: 3\nspace: left-posterior-superior\n"
    b"space directions: (1,0,0) (0,1,0) (0,0,2)\nsizes: 20 24 6\nendian: little\nencoding: gzip\n"
)
META = (
    b"ObjectType = Image\nNDims = 3\nDimSize = 20 24 6\nElementSpacing = 1 1 2\n"
    b"CompressedData = True\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
)


def members(content: bytes, count: int) -> list[bytes]:
    size = -(-len(content) // count)
    return [gzip.compress(content[i : i + size]) for i in range(0, len(content), size)]


WAYS = {
    "text": lambda content: gzip.compress(content) + b"trailing text",
    "a line end": lambda content: gzip.compress(content) + b"\n",
    "a tape's padding": lambda content: gzip.compress(content) + bytes(10240),
    "padding and text": lambda content: gzip.compress(content) + bytes(100) + b"\x1f",
    "members": lambda content: b"".join(members(content, 5)),
    "members and text": lambda content: b"".join(members(content, 3)) + b"\x1f\x9dtext",
    "an empty member": lambda content: gzip.compress(content) + gzip.compress(b""),
    "an empty member first": lambda content: gzip.compress(b"") + gzip.compress(content),
    "another file": lambda content: gzip.compress(content) + gzip.compress(b"more"),
}


def nifti_bytes(tmp_path, kind=nib.Nifti1Image, ending=".nii"):
    path = tmp_path / f"plain{ending}"
    nib.save(kind(VOXELS.T, np.diag([1, 1, 2, 1.0])), path)
    return path.read_bytes()


@pytest.mark.parametrize("way", [*WAYS, "padded members"])
def test_nifti(tmp_path, way):
    content = nifti_bytes(tmp_path)
    packed = WAYS[way](content) if way in WAYS else bytes(77).join(members(content, 4))
    (tmp_path / "a.nii.gz").write_bytes(packed)
    np.testing.assert_array_equal(read(tmp_path / "a.nii.gz").voxels, VOXELS)
    assert find(tmp_path / "a.nii.gz").skipped == ()


@pytest.mark.parametrize("way", ["text", "a tape's padding", "members"])
def test_pairs(tmp_path, way):
    nib.save(nib.Nifti1Pair(VOXELS.T, np.eye(4)), tmp_path / "a.hdr")
    for ending in (".hdr", ".img"):
        plain = tmp_path / f"a{ending}"
        (tmp_path / f"a{ending}.gz").write_bytes(WAYS[way](plain.read_bytes()))
        plain.unlink()
    for ending in (".hdr.gz", ".img.gz"):
        np.testing.assert_array_equal(read(tmp_path / f"a{ending}").voxels, VOXELS)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("detached", [False, True])
def test_nrrd(tmp_path, way, detached):
    packed = WAYS[way](VOXELS.astype("<i2").tobytes())
    path = tmp_path / ("a.nhdr" if detached else "a.nrrd")
    path.write_bytes(NRRD + (b"data file: a.raw.gz\n\n" if detached else b"\n" + packed))
    (tmp_path / "a.raw.gz").write_bytes(packed)
    np.testing.assert_array_equal(read(path).voxels, VOXELS)


@pytest.mark.parametrize("behind", [b"", b"text", bytes(600), b"\n"])
@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
def test_metaimage(tmp_path, behind, pack):
    (tmp_path / "a.mha").write_bytes(META + pack(VOXELS.astype("<i2").tobytes()) + behind)
    np.testing.assert_array_equal(read(tmp_path / "a.mha").voxels, VOXELS)


def test_what_is_damaged_stays_refused(tmp_path):
    content = nifti_bytes(tmp_path)
    packed = gzip.compress(content)
    halves = b"".join(members(content, 2))
    path = tmp_path / "a.nii.gz"
    for damaged in (packed[:-9], packed[:-8] + b"sums" + packed[-4:], halves[:-4], halves[:-900]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged, truncated"):
            read(path)


def test_the_case(shared_data):
    found = find(shared_data / "cases" / "34_gz_trailing" / "a.nii.gz")
    assert (len(found.items), found.skipped) == (1, ())
