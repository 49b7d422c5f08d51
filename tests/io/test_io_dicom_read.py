"""Reading DICOM series, with SimpleITK's own series reader as the judge."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK
from io_cases import ORIENTATIONS, change, ct, same_in_space, series, shuffle_names

from tomochrome.errors import Cancelled, GeometryError, InputError
from tomochrome.geometry import from_sitk, same_grid
from tomochrome.io import find, read
from tomochrome.io.dicom.quiet import quiet
from tomochrome.runtime import CancelToken
from tomochrome.windowing import auto_window, luminance


def simpleitk(folder) -> SimpleITK.Image:
    names = [str(p) for p in folder.iterdir()]
    names.sort(key=lambda n: _along(n))
    return SimpleITK.ReadImage(names)


def _along(name: str) -> float:
    header = pydicom.dcmread(name, stop_before_pixels=True)
    cosines = np.array(header.ImageOrientationPatient, dtype=float)
    return float(np.cross(cosines[:3], cosines[3:]) @ np.array(header.ImagePositionPatient, float))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("compress", [None, "j2k"])
def test_written_series_reads_back_in_place(tmp_path, orientation, compress):
    volume = ct((7, 40, 36), orientation=orientation)
    folder = shuffle_names(series(tmp_path / "s", volume, compress=compress))
    back = read(folder)
    assert back.unit == "HU"
    assert back.voxels.dtype == np.int16
    assert back.provenance.verdict == "regular"
    assert same_in_space(volume, back)
    oracle = from_sitk(simpleitk(folder))
    assert same_grid(back, oracle, tolerance_mm=1e-4)
    np.testing.assert_array_equal(back.voxels, oracle.voxels)


def test_the_real_jpeg2000_series_equals_simpleitk(shared_data):
    folder = shared_data / "dicom" / "abdomen_contrast_j2k"
    volume = read(folder)
    oracle = from_sitk(simpleitk(folder))
    assert volume.shape == (20, 512, 512)
    assert volume.unit == "HU"
    assert volume.voxels.dtype == np.int16
    np.testing.assert_allclose(volume.spacing, (2.0, 0.9765625, 0.9765625))
    assert same_grid(volume, oracle, tolerance_mm=1e-4)
    np.testing.assert_array_equal(volume.voxels, oracle.voxels)
    assert [w[1:3] for w in volume.provenance.windows] == [(40, 300), (300, 1500)]
    assert volume.provenance.warnings == ()


SYNTAXES = {
    # file: shape (y, x), least and greatest HU, unit
    "693_UNCI.dcm": ((512, 512), None, "HU"),
    "693_UNCR.dcm": ((512, 512), (-1024, 1468), "HU"),
    "693_J2KR.dcm": ((512, 512), (-1024, 1468), "HU"),
    "ELSCINT1_JP2vsJ2K.dcm": ((512, 512), (-1000, 3095), "HU"),
    "CT1_JLSN.dcm": ((512, 512), (-1024, 1254), "HU"),
    "bad_sequence.dcm": ((512, 512), (-1011, 1243), "HU"),
    "TOSHIBA_J2K_SIZ0_PixRep1.dcm": ((512, 512), (-2048, 1717), "HU"),
    "MR_small_RLE.dcm": ((64, 64), (127, 2145), "unknown"),
    "MR_small_jpeg_ls_lossless.dcm": ((64, 64), (127, 2145), "unknown"),
    "MR_small_bigendian.dcm": ((64, 64), (127, 2145), "unknown"),
}


@pytest.mark.parametrize("name", SYNTAXES)
def test_transfer_syntaxes(shared_data, name):
    shape, value_range, unit = SYNTAXES[name]
    volume = read(shared_data / "dicom" / "syntaxes" / name)
    assert volume.shape == (1, *shape)
    assert volume.voxels.dtype == np.int16
    assert volume.unit == unit
    assert volume.provenance.verdict == ("regular" if unit == "HU" else "not-ct")
    if value_range:
        assert (volume.voxels.min(), volume.voxels.max()) == value_range


def test_jpeg2000_equals_uncompressed(shared_data):
    syntaxes = shared_data / "dicom" / "syntaxes"
    np.testing.assert_array_equal(
        read(syntaxes / "693_J2KR.dcm").voxels, read(syntaxes / "693_UNCR.dcm").voxels
    )


def test_the_order_of_slices_comes_from_positions(tmp_path):
    volume = ct()

    def mislead(dataset, i):
        dataset.InstanceNumber = 100 - i
        dataset.SliceThickness = "7"
        dataset.SeriesInstanceUID = dataset.SOPClassUID = ""

    folder = shuffle_names(change(series(tmp_path / "s", volume), mislead))
    back = read(folder)
    assert same_in_space(volume, back)
    np.testing.assert_allclose(back.spacing, volume.spacing)


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
    assert any("padding value equals 0 HU" in w for w in back.provenance.warnings)
    assert back.voxels[0, 0, 0] == -3024


def test_unused_high_bits_are_cleared(tmp_path):
    volume = ct()

    def dirty(dataset, i):
        stored = np.frombuffer(dataset.PixelData, "<i2").astype(np.uint16)
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
        dataset.PixelData = (stored | 0x5000).astype("<u2").tobytes()

    back = read(change(series(tmp_path / "s", volume), dirty))
    np.testing.assert_array_equal(back.voxels, volume.voxels)


def test_a_single_file_and_a_series_of_one(tmp_path):
    folder = series(tmp_path / "s")
    one = sorted(folder.iterdir())[3]
    volume = read(one)
    assert volume.shape == (1, 24, 20)
    assert volume.spacing[0] == 2.5
    assert volume.provenance.kind == "dicom-file"
    np.testing.assert_array_equal(volume.voxels[0], read(folder).voxels[3])


def test_cancel_and_progress(tmp_path):
    folder = series(tmp_path / "s")
    told = []
    read(folder, progress=lambda done, total, stage: told.append((stage, done, total)))
    assert ("looking at files", 7, 7) in told
    assert told[-1] == ("reading slices", 7, 7)
    token = CancelToken()

    def stop(done, total, stage):
        if stage == "reading slices":
            token.cancel()

    with pytest.raises(Cancelled):
        read(folder, progress=stop, cancel=token)


def no_position(dataset, i):
    if i == 2:
        del dataset.ImagePositionPatient


def no_spacing(dataset, i):
    del dataset.PixelSpacing


def blank(dataset, i):
    dataset.RescaleSlope = "0"


def upside_down(dataset, i):
    dataset.RescaleSlope = "-1" if i == 3 else "1"


def huge_intercept(dataset, i):
    dataset.RescaleIntercept = "1e30"


def far_away(dataset, i):
    dataset.ImagePositionPatient = [1e300, 1e300, 1e300 * i]


def huge_pixels(dataset, i):
    dataset.PixelSpacing = [1e12, 1e12]


BROKEN = {
    "no position": (no_position, "irregular", "1 of 7 slices say nothing usable"),
    "slope 0": (blank, "irregular", "rescale slope of 0 would blank"),
    "one negative slope": (upside_down, "irregular", "rescale slope of -1 would blank or invert"),
    "huge intercept": (huge_intercept, "irregular", "intercept makes no sense"),
    "a kilometre away": (far_away, "irregular", "7 of 7 slices say nothing usable"),
    "huge pixels": (huge_pixels, "irregular", "pixel spacing makes no sense"),
    "no pixel spacing": (no_spacing, "irregular", "pixel spacing is missing"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_one_volume_is_refused_in_words(tmp_path, case):
    edit, verdict, words = BROKEN[case]
    folder = change(series(tmp_path / "s"), edit)
    (item,) = find(folder).items
    assert item.verdict == verdict
    with pytest.raises(GeometryError, match=words) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    assert item.refusal in item.warnings


def tell(**values):
    def edit(dataset, i):
        for keyword, value in values.items():
            setattr(dataset, keyword, value(i))

    return edit


MIXED = {
    "acquisitions": tell(AcquisitionNumber=lambda i: 1 + i % 2),
    "overlapping acquisitions": tell(AcquisitionNumber=lambda i: int("1112121222"[i])),
    "temporal positions": tell(TemporalPositionIdentifier=lambda i: 1 + i % 3),
    "tube voltages": tell(KVP=lambda i: (80, 140)[i % 2]),
    "kernels": tell(ConvolutionKernel=lambda i: ("B30f", "B70f")[i % 2]),
    "content times": tell(ContentTime=lambda i: f"10{(0, 3)[i % 2]:02d}{i:02d}.25"),
    "three phases": tell(AcquisitionTime=lambda i: f"10{(0, 1, 7)[i % 3]:02d}00"),
    "heart beats": tell(TriggerTime=lambda i: (100.0, 700.0)[i % 2] + i),
}


@pytest.mark.parametrize("case", MIXED)
def test_phases_that_lie_between_each_other_are_parted(tmp_path, case):
    volume = ct((10, 24, 20))
    found = find(change(series(tmp_path / "s", volume), MIXED[case])).items
    count = 3 if case in ("temporal positions", "three phases") else 2
    assert [item.phase for item in found] == [f"{i + 1} of {count}" for i in range(count)]
    assert {item.series_uid for item in found} == {found[0].series_uid}
    assert [item.name[-2:] for item in found] == [f"#{i + 1}" for i in range(count)]
    with pytest.raises(InputError, match=f"holds {count} series; choose one.*#1 .*#2 "):
        read(tmp_path / "s")
    phases = [read(tmp_path / "s", series=item.name, as_stored=True) for item in found]
    words = f"the series holds {count} "
    assert all(any(words in w for w in p.provenance.warnings) for p in phases)
    if case != "overlapping acquisitions":
        for i, phase in enumerate(phases):
            np.testing.assert_array_equal(phase.voxels, volume.voxels[i::count])


STEADY = {
    "scan in steps": tell(
        AcquisitionNumber=lambda i: 9 - i // 2,
        AcquisitionTime=lambda i: f"10000{i // 2}",
        ContentTime=lambda i: f"1001{3 * (i // 2):02d}.{i % 2}",
    ),
    "one slice an acquisition": tell(
        AcquisitionNumber=lambda i: i, TriggerTime=lambda i: (i * 37) % 50
    ),
    "a slice that says nothing": tell(AcquisitionNumber=lambda i: None if i == 4 else 2),
    "feet first": tell(ContentTime=lambda i: f"1000{50 - 5 * i:02d}"),
    "made in no order": tell(
        ContentTime=lambda i: f"1000{(3, 14, 15, 9, 2, 6, 5, 35, 8, 7)[i]:02d}"
    ),
    "no times": tell(ContentTime=lambda i: "", AcquisitionTime=lambda i: "noon"[: 4 * (i % 2)]),
}


@pytest.mark.parametrize("case", STEADY)
def test_steady_numbers_and_times_are_one_volume(tmp_path, case):
    folder = series(tmp_path / "s", ct((10, 24, 20)))
    with quiet():
        change(folder, STEADY[case])
    assert read(folder).shape == (10, 24, 20)


def test_gaps_between_thin_slices_are_said(tmp_path):
    def thin(dataset, i):
        dataset.SliceThickness = 1.25  # 2.5 mm apart

    folder = change(series(tmp_path / "s"), thin)
    (warning,) = read(folder).provenance.warnings
    assert warning.startswith("the slices are 1.25 mm thick but 2.5 mm apart")
    assert read(series(tmp_path / "whole")).provenance.warnings == ()


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


def test_small_errors_of_positions_are_no_gap(tmp_path):
    rng = np.random.default_rng(3)

    def jitter(dataset, i):
        position = [float(v) for v in dataset.ImagePositionPatient]
        dataset.ImagePositionPatient = [*position[:2], round(position[2] + rng.normal(0, 0.01), 2)]

    volume = read(change(series(tmp_path / "s"), jitter))
    assert volume.provenance.verdict == "regular"


def test_one_sop_instance_uid_for_all_slices_loses_none(tmp_path):
    def anonymize(dataset, i):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"

    folder = change(series(tmp_path / "s"), anonymize)
    assert read(folder).shape == (7, 24, 20)


def test_copied_files_count_once(tmp_path):
    folder = series(tmp_path / "s")
    (folder / "copy of 1").write_bytes((folder / "0001.dcm").read_bytes())
    volume = read(folder)
    assert volume.shape == (7, 24, 20)
    assert "left out: 1" in volume.provenance.warnings[0]


def test_truncated_pixels(tmp_path, shared_data):
    with pytest.raises(InputError, match="truncated"):
        read(shared_data / "dicom" / "odd" / "MR_truncated.dcm")
    for compress in (None, "j2k"):
        folder = series(tmp_path / f"s{compress}", ct((6, 40, 36)), compress=compress)
        victim = sorted(folder.iterdir())[4]
        victim.write_bytes(victim.read_bytes()[:-60])
        with pytest.raises(InputError, match="truncated"):
            read(folder)


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
    assert any(words in warning for warning in volume.provenance.warnings)


def test_an_unspecified_unit_is_read_as_hounsfield_and_said(tmp_path):
    def unspecified(dataset, i):
        dataset.RescaleType = "US"

    volume = read(change(series(tmp_path / "s"), unspecified))
    assert volume.unit == "HU"
    assert "unspecified" in volume.provenance.warnings[0]


def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path):
    def boast(dataset, i):
        dataset.Rows = dataset.Columns = 60000

    folder = change(series(tmp_path / "s"), boast)
    with pytest.raises(InputError, match="more than any CT holds"):
        read(folder)


def test_several_frames_of_reference_are_said(tmp_path):
    def move(dataset, i):
        dataset.FrameOfReferenceUID = f"1.2.{i // 4 + 1}"

    volume = read(change(series(tmp_path / "s"), move))
    assert "different frames of reference" in volume.provenance.warnings[0]
