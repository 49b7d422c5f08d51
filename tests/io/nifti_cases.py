"""NIfTI files written by nibabel, bytes of them overwritten, and how they are refused."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from io_cases import ct

from tomochrome.errors import InputError
from tomochrome.io import read


def saved(path, voxels, affine=None, kind=nib.Nifti1Image, **fields):
    image = kind(voxels, np.diag([0.8, 0.9, 2.5, 1.0]) if affine is None else affine)
    for name, value in fields.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def patched(path, offset, data):
    """Overwrite bytes of the (unpacked) file."""
    packed = path.name.endswith(".gz")
    content = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    content[offset : offset + len(data)] = data
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


def refused(path, words, **options):
    with pytest.raises(InputError, match=words) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path.with_suffix("")) in str(caught.value)


def hounsfield():
    """A CT as nibabel holds it: (x, y, z)."""
    return ct((6, 24, 20)).voxels.T
