"""Files of public bug reports, compared voxel by voxel with pydicom and GDCM (by SimpleITK)."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from tomochrome.errors import TomochromeError
from tomochrome.io import find, read

SYNTAXES = "one_slice_16_syntaxes"
BUGS = "reader_bugs"
SAME = [
    "BigEndianExplicit.dcm", "CTImage.dcm", "DeflatedExplicitVRLittleEndian.dcm",
    "JPEG2000LosslessOnly.dcm", "JPEGLSLossless.dcm", "JPEGProcess14.dcm", "JPEGProcess14SV1.dcm",
    "LittleEndianImplicit.dcm", "RLELossless.dcm",
]  # fmt: skip
LOSSY = {  # mean difference in HU that the compression makes
    "JPEG2000.dcm": 1, "JPEGLSLossy.dcm": 1, "JPEGProcess1.dcm": 18, "JPEGProcess2_4.dcm": 5,
    "JPEGProcess6_8.dcm": 5, "JPEGProcess10_12.dcm": 5,
}  # fmt: skip
OTHERS = [
    (SYNTAXES, "CT1_J2KR"), (SYNTAXES, "CT2_J2KR"), (BUGS, "CT1_J2KI"),
    (BUGS, "D_CLUNIE_CT1_RLE_FRAGS.dcm"), (BUGS, "GH1308.dcm"), (BUGS, "GH1728.dcm"),
    (BUGS, "GH177_D_CLUNIE_CT1_IVRLE_BigEndian_ELE_undefinded_length.dcm"),
    (BUGS, "IM-0001-0001-0001.dcm"), ("oblique", "0.dcm"), ("oblique", "1.dcm"),
    ("oblique", "2.dcm"),
]  # fmt: skip
REFUSED = {
    "FreezePattern.dcm": "a color image",
    "GH178.dcm": "a picture of a screen",  # screen saves without pixels
    "GH179A.dcm": "a picture of a screen",
    "GH179B.dcm": "a picture of a screen",
    "GH355.dcm": "no usable position or orientation",  # a 3D rendering
}


@pytest.fixture
def reported(shared_data: Path) -> Path:
    return shared_data / "dicom" / "reported"


def by_gdcm(path: Path) -> np.ndarray:
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


@pytest.mark.parametrize("name", SAME)
def test_one_slice_is_the_same_in_every_lossless_syntax(reported: Path, name: str) -> None:
    plain = read(reported / SYNTAXES / "LittleEndianExplicit.dcm")
    volume = read(reported / SYNTAXES / name)
    np.testing.assert_array_equal(volume.voxels, plain.voxels)
    np.testing.assert_array_equal(volume.outside, plain.outside)
    np.testing.assert_array_equal(volume.affine, plain.affine)
    assert volume.unit == "HU"
    assert volume.provenance.verdict == "regular"


@pytest.mark.parametrize("name", LOSSY)
def test_one_slice_is_nearly_the_same_in_every_lossy_syntax(reported: Path, name: str) -> None:
    plain = read(reported / SYNTAXES / "LittleEndianExplicit.dcm")
    volume = read(reported / SYNTAXES / name)
    np.testing.assert_array_equal(volume.outside, plain.outside)
    inside = ~plain.outside
    assert np.abs(volume.voxels.astype(float) - plain.voxels)[inside].mean() < LOSSY[name]
    np.testing.assert_allclose(
        volume.voxels[inside], by_gdcm(reported / SYNTAXES / name)[inside], atol=1e-3
    )


@pytest.mark.parametrize(("folder", "name"), OTHERS)
def test_values_are_those_of_pydicom_and_gdcm(reported: Path, folder: str, name: str) -> None:
    path = reported / folder / name
    volume = read(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these files bend the standard
        d = pydicom.dcmread(path)
        stored = d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept)
    inside = np.ones(volume.shape, bool) if volume.outside is None else ~volume.outside
    for values in (stored[None], by_gdcm(path)):
        np.testing.assert_allclose(volume.voxels[inside], values[inside], rtol=1e-6)
    assert (stored[None][~inside] < -1024).all()
    assert volume.unit == "HU"


def test_frames_in_fragments_without_an_offset_table(reported: Path) -> None:
    """A map of blood flow; its frames are stored from top to bottom."""
    path = reported / SYNTAXES / "CT0012.fragmented_no_bot_jpeg_baseline.51.dcm"
    volume = read(path)
    np.testing.assert_array_equal(volume.voxels, by_gdcm(path)[::-1])
    assert volume.provenance.verdict == "not-ct"


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_slice_is_refused_in_words(reported: Path, name: str) -> None:
    with pytest.raises(TomochromeError, match=REFUSED[name]) as caught:
        read(reported / BUGS / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_reported_file_is_in_this_table(reported: Path) -> None:
    known = {*SAME, *LOSSY, *REFUSED, *(name for _, name in OTHERS), "LittleEndianExplicit.dcm"}
    known.add("CT0012.fragmented_no_bot_jpeg_baseline.51.dcm")
    for folder in (SYNTAXES, BUGS, "oblique"):
        assert {path.name for path in (reported / folder).iterdir()} <= known


def test_repeated_positions_and_holes_are_told(reported: Path) -> None:
    folder = reported / "repeated_positions"
    (item,) = find(folder).items
    assert item.verdict == "incomplete"
    text = " ".join(map(str, item.warnings))
    for part in ("repeat the position of another: 1", "115.0 mm", "left empty"):
        assert part in text
    volume = read(folder)
    datasets = {d.ImagePositionPatient[2]: d for d in map(pydicom.dcmread, folder.iterdir())}
    for z, d in datasets.items():
        index = np.linalg.solve(volume.affine, [*d.ImagePositionPatient[:2], z, 1])[0]
        if abs(index - round(index)) < 1e-6 and d.InstanceNumber != 2:
            stored = d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept)
            kept = volume.voxels[round(index)] > -1024
            np.testing.assert_array_equal(volume.voxels[round(index)][kept], stored[kept])
