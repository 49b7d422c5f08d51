"""Hounsfield units of DICOM series: slopes, padding, unused bits, and CT that is not in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from io_cases import change, ct, series

from tomochrome.colorization import colorize
from tomochrome.errors import NotCTError
from tomochrome.io import find, read
from tomochrome.windowing import auto_window, luminance


def test_slope_and_intercept_of_each_slice(tmp_path):
    volume = ct()

    def rescale(dataset, i):
        stored = np.frombuffer(dataset.PixelData, "<i2").astype(int)
        intercept = -1000 - i
        dataset.RescaleIntercept = str(intercept)
        dataset.PixelData = (stored - 1024 - intercept).astype("<i2").tobytes()

    back = read(change(series(tmp_path / "s", volume), rescale))
    np.testing.assert_array_equal(back.voxels, volume.voxels)

    def halve(dataset, i):
        if i == 2:
            dataset.RescaleSlope = "0.5"

    back = read(change(tmp_path / "s", halve))
    assert back.voxels.dtype == np.float32
    expected = volume.voxels.astype(np.float32)
    expected[2] = (expected[2] + 1002) * 0.5 - 1002
    np.testing.assert_allclose(back.voxels, expected)


def test_values_beyond_16_bits_become_floats(tmp_path):
    def lift(dataset, i):
        stored = np.frombuffer(dataset.PixelData, "<i2").copy()
        if i == 0:
            stored[0] = 32767
        dataset.PixelData, dataset.RescaleIntercept = stored.tobytes(), "1000"

    back = read(change(series(tmp_path / "s"), lift))
    assert back.voxels.dtype == np.float32
    assert back.voxels.max() == 33767


def test_padding_is_air_and_padding_that_could_be_tissue_is_left(tmp_path):
    volume = ct()

    def pad(dataset, i):
        stored = np.frombuffer(dataset.PixelData, "<i2").copy()
        stored[:3] = (-2000, -1999, -1990)
        dataset.PixelData = stored.tobytes()
        dataset.add_new("PixelPaddingValue", "SS", -2000)
        dataset.add_new("PixelPaddingRangeLimit", "SS", -1995)

    back = read(change(series(tmp_path / "s", volume), pad))
    assert back.voxels[0, 0, :3].tolist() == [-1024, -1024, -1990 - 1024]

    def wet(dataset, i):
        dataset.add_new("PixelPaddingValue", "SS", 1024)
        del dataset.PixelPaddingRangeLimit

    back = read(change(tmp_path / "s", wet))
    assert any("padding value equals 0 HU" in w.text for w in back.provenance.warnings)
    assert back.voxels[0, 0, 0] == -3024


def test_unused_high_bits_are_cleared(tmp_path):
    volume = ct()

    def dirty(dataset, i):
        stored = np.frombuffer(dataset.PixelData, "<i2").astype(np.uint16)
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
        dataset.PixelData = (stored | 0x5000).astype("<u2").tobytes()

    back = read(change(series(tmp_path / "s", volume), dirty))
    np.testing.assert_array_equal(back.voxels, volume.voxels)


def test_values_outside_the_field_break_nothing(tmp_path):
    def circle(dataset, i):
        pixels = dataset.pixel_array.copy()
        pixels[:4], pixels[-4:] = -2000, -1024  # -3024 and -2048 HU without a padding value
        dataset.PixelData = pixels.tobytes()

    plain = read(series(tmp_path / "plain"))
    volume = read(change(series(tmp_path / "s"), circle))
    assert volume.voxels.min() == -3024
    assert volume.unit == "HU"
    inside = slice(4, -4)
    np.testing.assert_array_equal(volume.voxels[:, inside], plain.voxels[:, inside])
    ours, usual = auto_window(volume), auto_window(plain)
    assert abs(ours.center - usual.center) <= 20
    assert abs(ours.width - usual.width) <= 20
    assert luminance(volume.voxels[:, :4], ours).max() == 0.0


def no_rescale(dataset, i):
    del dataset.RescaleSlope


def electron_density(dataset, i):
    dataset.RescaleType = "ED"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (no_rescale, "no rescale slope"),
        (electron_density, "in ED, not HU"),
    ],
)
def test_ct_without_hounsfield_units_is_called_so(tmp_path, edit, words):
    volume = read(change(series(tmp_path / "s"), edit))
    assert volume.unit == "unknown"
    assert volume.provenance.verdict == "not-ct"
    assert any(words in warning.text for warning in volume.provenance.warnings)


def test_an_unspecified_unit_is_read_as_hounsfield_and_said(tmp_path):
    def unspecified(dataset, i):
        dataset.RescaleType = "US"

    volume = read(change(series(tmp_path / "s"), unspecified))
    assert volume.unit == "HU"
    assert "unspecified" in volume.provenance.warnings[0].text


@pytest.mark.parametrize(
    "spelled",
    [
        "Houndsfield Unit", "HU", "hu", "Hounsfield Units", "HOUNSFIELD", "hounsfeld",
        "hounsefield", "Hounsfield", "hounsefeld unit", "Housfield Units", "[hnsf'U]", "H.U.",
        "Hounsfield_Unit", "HU (Hounsfield units)", "Hounsfiled", "Hunsfield units",
    ],
)  # fmt: skip
def test_every_spelling_of_hounsfield(tmp_path, spelled):
    def named(dataset, i):
        dataset.RescaleType = spelled if i % 2 else "HU"

    volume = read(change(series(tmp_path / "s"), named))
    assert volume.shape == ct().shape
    assert volume.unit == "HU"
    assert volume.provenance.verdict == "regular"
    assert not volume.provenance.warnings


@pytest.mark.parametrize("name", ["HU_MOD", "mg/cm3", "ED", "Z_EFF", "house", "Field units"])
def test_other_units_are_not_taken_for_it(tmp_path, name):
    def named(dataset, i):
        dataset.RescaleType = name

    volume = read(change(series(tmp_path / "s"), named))
    assert volume.unit == "unknown"
    assert any(f"in {name.upper()}, not HU" in str(w) for w in volume.provenance.warnings)


def test_a_lookup_table_spells_it_too(tmp_path):
    def table(dataset, i):
        item = pydicom.Dataset()
        item.add_new("LUTDescriptor", "US", [4096, 0, 16])
        item.ModalityLUTType = "Hounsfield Units"
        item.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
        dataset.ModalityLUTSequence = [item]
        stored = np.frombuffer(dataset.PixelData, "<i2").astype(int).clip(0, 4095)
        dataset.PixelRepresentation, dataset.PixelData = 0, stored.astype("<u2").tobytes()
        del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType

    item = find(change(series(tmp_path / "s"), table)).items[0]  # by its header
    assert item.unit == "HU"


def shifted_by_1000(dataset, i):
    dataset.RescaleIntercept = str(int(dataset.RescaleIntercept) + 1000)


def intercept_lost(dataset, i):
    dataset.RescaleIntercept = "0"


def intercept_applied_twice(dataset, i):
    dataset.RescaleIntercept = str(2 * int(dataset.RescaleIntercept))


def picture_of_a_window(dataset, i):
    hu = np.frombuffer(dataset.PixelData, "<i2").astype(int) + int(dataset.RescaleIntercept)
    dataset.PixelData = (np.clip((hu + 160) / 400, 0, 1) * 255).astype("<i2").tobytes()
    dataset.RescaleIntercept = "0"


def doubled(dataset, i):
    dataset.RescaleSlope = "2"
    dataset.RescaleIntercept = str(2 * int(dataset.RescaleIntercept))


def phase_image(dataset, i):
    size = dataset.Rows * dataset.Columns
    values = np.random.default_rng(i).integers(-4096, 4095, size)
    dataset.RescaleIntercept, dataset.PixelData = "0", values.astype("<i2").tobytes()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (shifted_by_1000, "CT shifted by 1000 "),
        (intercept_lost, "CT shifted by 1024 "),
        (intercept_applied_twice, "CT shifted by -1024 "),
        (picture_of_a_window, "the smallest value is 0"),
        (doubled, "below -1100"),
        (phase_image, "below -1100"),
    ],
)
def test_values_that_cannot_be_hounsfield_units_though_the_header_says_so(tmp_path, edit, words):
    folder = change(series(tmp_path / "s"), edit)
    assert find(folder).items[0].unit == "HU"  # without pixels only the header is known
    item = find(folder, pixels=True).items[0]
    assert (item.unit, item.verdict) == ("unknown", "not-ct")
    assert item.warnings[-1].text.startswith("the header says that the values are Hounsfield units")
    assert words in item.warnings[-1].text
    volume = read(folder)
    assert (volume.unit, volume.provenance.verdict) == ("unknown", "not-ct")
    with pytest.raises(NotCTError, match=f"{words}.*--as-hu"):
        colorize(volume, "transfer-function")
    insisted = colorize(volume, "transfer-function", force=True)
    assert "on request" in " ".join(map(str, insisted.provenance.warnings))


def test_unusual_values_are_told_and_stay_hounsfield_units(tmp_path):
    volume = ct((7, 24, 20))
    bare = replace(volume, voxels=np.where(volume.voxels < -200, 40, volume.voxels))
    back = read(series(tmp_path / "s", bare))  # a field of view within the body
    assert (back.unit, back.provenance.verdict) == ("HU", "regular")
    assert "a CT holds air or fat below -200" in back.provenance.warnings[-1].text


def test_the_case_of_air_at_0(shared_data):
    volume = read(shared_data / "cases" / "07_ct_air_at_0" / "series")
    assert volume.unit == "unknown"
    assert "shifted by 1000 " in volume.provenance.warnings[-1].text


def test_real_series_stay_ct(shared_data):
    for name in ("abdomen_contrast_j2k", "head_gantry_tilt"):
        volume = read(shared_data / "dicom" / name)
        assert volume.unit == "HU"
        assert not any(notice.code == "unit" for notice in volume.provenance.warnings)
