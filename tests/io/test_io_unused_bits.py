"""Values and bits beyond BitsStored: kept where they are the image, else cleared, and told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from enhanced_cases import frames_of, write_enhanced
from io_cases import change, ct, series
from pydicom.uid import RLELossless
from scipy.ndimage import gaussian_filter

from tomochrome.io import find, read
from tomochrome.notices import texts
from tomochrome.volume import Volume

KEPT, CLEARED = "values beyond the 12 bits", "bits beyond the 12"
SHAPE = (5, 40, 36)
METAL = (slice(None), slice(14, 20), slice(12, 17))


def body(metal: float = 5000.0, sigma: float = 0.0) -> np.ndarray:
    """A body in HU with a piece of metal, which fades over ``sigma`` pixels."""
    hu = ct(SHAPE).voxels.astype(float)
    piece = np.zeros(SHAPE)
    piece[METAL] = 1
    piece = gaussian_filter(piece, (0, sigma, sigma)) if sigma else piece
    return np.rint(hu + piece * (metal - hu)).astype(int)


def write(
    folder: Path, stored: np.ndarray, *, intercept: int = -1024, bits: int = 12, rle=False, **tags
) -> Path:
    """Write stored values with a header that gives them ``bits`` bits."""
    signed = stored.min() < 0

    def edit(dataset, i):
        dataset.PixelData = (stored[i] % 65536).astype("<u2").tobytes()
        dataset.PixelRepresentation = int(signed)
        dataset.BitsStored, dataset.HighBit = bits, bits - 1
        dataset.RescaleIntercept = str(intercept)
        for tag, value in tags.items():
            setattr(dataset, tag, value)
        if rle:
            dataset.compress(RLELossless, encoding_plugin="pydicom")

    return change(series(folder, ct(SHAPE)), edit)


def told(volume: Volume, words: str) -> bool:
    return any(text.startswith(words) for text in texts(volume.provenance.warnings))


VALUES = {
    "sharp metal": body(),
    "fading metal": body(6000, 1.5),
    "metal of 14 bits": body(14000),
    "gold of 15 bits": body(30000, 0.8),
    "a few bright pixels": np.where(np.arange(36) == 15, 3300, body(40)),
}


@pytest.mark.parametrize("rle", [False, True])
@pytest.mark.parametrize("case", VALUES)
def test_metal_is_kept_and_told(tmp_path: Path, case: str, rle: bool) -> None:
    hu = VALUES[case]
    folder = write(tmp_path / "s", hu + 1024, rle=rle)
    volume = read(folder)
    np.testing.assert_array_equal(volume.voxels, hu)
    assert told(volume, KEPT)
    (item,) = find(folder, pixels=True).items
    assert item.value_range == (hu.min(), hu.max())
    assert item.warnings == volume.provenance.warnings


def test_metal_in_signed_values(tmp_path: Path) -> None:
    volume = read(write(tmp_path / "s", body(), intercept=0))
    np.testing.assert_array_equal(volume.voxels, body())
    assert told(volume, KEPT)


def test_negative_values_under_a_header_that_says_unsigned(tmp_path: Path) -> None:
    volume = read(write(tmp_path / "s", body(1500), intercept=0, PixelRepresentation=0))
    np.testing.assert_array_equal(volume.voxels, body(1500))
    assert told(volume, KEPT)


def test_metal_in_a_multiframe_file(tmp_path: Path) -> None:
    def edit(dataset):
        values = (body() + 1024).astype("<u2")
        dataset.PixelData = values.tobytes()
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 0, 12, 11
        groups = dataset.SharedFunctionalGroupsSequence[0]
        groups.PixelValueTransformationSequence[0].RescaleIntercept = "-1024"

    path = write_enhanced(tmp_path / "e.dcm", frames_of(ct(SHAPE)), edit=edit)
    volume = read(path)
    assert volume.voxels.max() == 5000
    assert told(volume, KEPT)


def drawing() -> np.ndarray:
    bits = np.zeros(SHAPE, int)
    bits[:, 5:30, 10] = bits[:, 8, 5:30] = 0x1000
    return bits


FOREIGN = {
    "a drawing": drawing(),
    "two drawings": drawing() | np.roll(drawing(), 4, (1, 2)) << 2,
    "noise": np.random.default_rng(0).integers(0, 16, SHAPE) << 12,
    "one bit everywhere": np.full(SHAPE, 0x2000),
    "scattered bits": (np.random.default_rng(1).random(SHAPE) < 0.02) * 0x4000,
}


@pytest.mark.parametrize("case", FOREIGN)
def test_bits_that_are_no_part_of_the_image_are_cleared_and_told(tmp_path: Path, case) -> None:
    hu = body(1500)
    volume = read(write(tmp_path / "s", (hu + 1024) | FOREIGN[case]))
    np.testing.assert_array_equal(volume.voxels, hu)
    assert told(volume, CLEARED)
    assert not told(volume, KEPT)


@pytest.mark.parametrize("group", [0x6000, 0x6004])
def test_a_declared_overlay_is_cleared_without_a_word(tmp_path: Path, group: int) -> None:
    hu = body(1500)
    folder = write(tmp_path / "s", (hu + 1024) | drawing())

    def declare(dataset, i):
        dataset.add_new(group << 16 | 0x0100, "US", 16)
        dataset.add_new(group << 16 | 0x0102, "US", 12)

    volume = read(change(folder, declare))
    np.testing.assert_array_equal(volume.voxels, hu)
    assert not volume.provenance.warnings


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_padding_beyond_the_bits_is_padding(tmp_path: Path, vr: str) -> None:
    stored = body(1500) + 1024
    stored[:, :4] = 0xF830  # -2000

    def pad(dataset, i):
        dataset.add_new("PixelPaddingValue", vr, -2000 if vr == "SS" else 0xF830)

    folder = change(write(tmp_path / "s", stored), pad)
    volume = read(folder)
    assert volume.outside[:, :4].all()
    assert (volume.voxels[:, :4] == -1024).all()
    np.testing.assert_array_equal(volume.voxels[:, 4:], body(1500)[:, 4:])
    assert not volume.provenance.warnings


def test_the_reported_metal(shared_data: Path) -> None:
    folder = shared_data / "cases" / "09_metal_13_bits" / "series"
    volume = read(folder)
    for i, path in enumerate(sorted(folder.iterdir())):
        d = pydicom.dcmread(path)
        stored = np.frombuffer(d.PixelData, "<u2").reshape(d.Rows, d.Columns).astype(int)
        np.testing.assert_array_equal(volume.voxels[i], stored - 1024)
    assert volume.voxels.max() == 5000
    assert told(volume, KEPT)
