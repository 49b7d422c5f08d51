"""What holds of troubled series once they are read: their items, what is said, where voxels lie."""

from __future__ import annotations

import re

import numpy as np
import pydicom
import torture as T
from io_cases import same_in_space

from tomochrome.geometry.affine import apply
from tomochrome.io import find, read
from tomochrome.notices import texts
from tomochrome.volume import Volume

AIR = -1024


def base() -> list[pydicom.Dataset]:
    return T.slices(T.scan())


def single(path, series=None):
    """Return the only item at a path that is CT, and its volume."""
    items = [item for item in find(path).items if item.verdict != "not-ct"]
    assert len(items) == 1, items
    return items[0], read(items[0])


def said(item, *words: str) -> None:
    """Hold that the warnings speak of something, each in one sentence."""
    text = " | ".join(texts(item.warnings))
    assert item.warnings, "nothing was said"
    assert all("\n" not in w.text for w in item.warnings)
    assert any(re.search(word, text, re.IGNORECASE) for word in words), text


def settled(item, volume, expected=None) -> None:
    """Hold that the item is regular and that every voxel is at its place."""
    expected = T.scan() if expected is None else expected
    assert item.verdict == "regular"
    assert item.unit == volume.unit == "HU"
    assert volume.voxels.dtype == np.int16
    assert same_in_space(expected, volume)
    assert item.shape == volume.shape
    np.testing.assert_allclose(item.affine, volume.affine)


def inside(volume: Volume) -> np.ndarray:
    return np.ones(volume.shape, bool) if volume.outside is None else ~volume.outside


def holds_the_field(volume: Volume) -> None:
    """Hold that every voxel inside the scan measures the linear field, to rounding."""
    expected = T.ramp(volume.affine, volume.shape)
    kept = inside(volume)
    assert np.abs(volume.voxels - expected)[kept].max() <= 1.01
    if volume.outside is not None:
        assert (volume.voxels[volume.outside] == AIR).all()


def covers(volume: Volume, datasets: list[pydicom.Dataset]) -> None:
    """Hold that no pixel of any slice lies outside the volume's grid."""
    for d in datasets:
        row, column = np.array(d.ImageOrientationPatient, float).reshape(2, 3)
        down, across = map(float, d.PixelSpacing)
        corners = [
            np.array(d.ImagePositionPatient, float) + row * across * x + column * down * y
            for x in (0, d.Columns - 1)
            for y in (0, d.Rows - 1)
        ]
        index = apply(np.linalg.inv(volume.affine), np.array(corners))
        assert (index > -0.6).all()
        assert (index < np.array(volume.shape) - 0.4).all()
