"""Values without a unit: which are Hounsfield units, and what is said about shifted ones."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from io_cases import ct
from scipy import ndimage

from tomochrome.io import find, read
from tomochrome.io.units import Histogram, find_shift, infer_unit, unit_of, why_no_groups

SHAPE = (12, 48, 40)
REAL = (
    "abdomen_3mm", "abdomen_contrast_pancreas_5mm", "chest_effusion_tumor", "chest_lowdose",
    "chest_plain_a", "head_female_1mm", "kidneys_arterial_18slices", "thorax_cta_1p5mm",
    "torso_petct_couch",
)  # fmt: skip


def phase(half: int, *, masked: bool = False) -> np.ndarray:
    """A wrapped MR phase image from -half to half, with noise (or 0) around the head."""
    rng = np.random.default_rng(3)
    field = ndimage.gaussian_filter(rng.normal(0, 1, SHAPE), 5)
    angle = np.angle(np.exp(4j * field / field.std()))
    head = np.hypot(*np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE[1:]), indexing="ij")) < 0.8
    around = 0 if masked else rng.uniform(-np.pi, np.pi, SHAPE)
    return np.rint(np.where(head, angle, around) / np.pi * half)


def written(path, values):
    """Write values (z, y, x) in the format of the path's ending."""
    if ".nii" in path.name:
        nib.save(nib.Nifti1Image(values.T, np.diag([1, 1, 2, 1.0])), path)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(path))
    return path


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
@pytest.mark.parametrize("half", [4095, 2048, 3142])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_phase_image_is_no_ct(tmp_path, name, half, dtype):
    item = find(written(tmp_path / name, phase(half).astype(dtype))).items[0]
    assert (item.unit, item.verdict) == ("unknown", "not-ct")
    assert "below -1100" in item.warnings[-1].text


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("half", [180, 1000, 1024, 1800, 4096])
def test_no_phase_image_has_groups(half, masked):
    for values in (phase(half, masked=masked), phase(half, masked=masked) + half):
        unit, reason = unit_of(values.astype(np.int32))
        assert unit == "unknown"
        assert "shifted" not in reason


def test_the_phase_image_of_the_case(shared_data):
    item = find(shared_data / "cases" / "10_mr_phase_nifti" / "phase.nii.gz").items[0]
    assert item.verdict == "not-ct"


def test_differences_noise_and_scaled_values_are_no_ct():
    hu = ct((20, 60, 50)).voxels.astype(np.float32)
    moved = ct((20, 60, 50), seed=1).voxels.astype(np.float32)
    rng = np.random.default_rng(0)
    others = {
        "another scan subtracted": moved - hu,
        "the scan of a moved patient subtracted": hu - np.roll(hu, 6, axis=2),
        "edges": ndimage.laplace(hu),
        "unsharp": hu - ndimage.gaussian_filter(hu, 3),
        "doubled": 2 * hu,
        "halved": hu / 2,
        "ten times": 10 * hu,
        "standardized": (hu - hu.mean()) / hu.std() * 1000,
        "normal noise": rng.normal(0, 600, hu.shape),
        "uniform noise": rng.uniform(-1100, 1100, hu.shape),
    }
    for name, values in others.items():
        unit, reason = unit_of(values)
        assert unit == "unknown", name
        assert "shifted" not in reason, name


@pytest.mark.parametrize("sigma", [30, 100])
@pytest.mark.parametrize("padding", [None, -2048, -3024])
def test_noise_and_padding_are_no_hindrance(sigma, padding):
    rng = np.random.default_rng(0)
    hu = ct((20, 60, 50)).voxels + rng.normal(0, sigma, (20, 60, 50))
    if padding is not None:
        hu[:, :8] = padding
    assert unit_of(hu)[0] == "HU"
    assert unit_of(np.maximum(hu, -1024).astype(np.int16))[0] == "HU"


def test_a_ct_that_was_masked_with_0_is_a_ct():
    rng = np.random.default_rng(0)
    hu = ct((20, 60, 50)).voxels + rng.normal(0, 10, (20, 60, 50))
    grid = np.meshgrid(np.linspace(-1, 1, 60), np.linspace(-1, 1, 50), indexing="ij")
    hu[:, np.hypot(*grid) > 0.75] = 0
    assert unit_of(hu.astype(np.int16))[0] == "HU"


@pytest.mark.parametrize("name", REAL)
def test_every_real_scan_and_parts_of_it_are_ct(shared_data, name):
    hu = np.asanyarray(nib.load(shared_data / "ct" / f"{name}.nii.gz").dataobj)
    assert unit_of(np.ascontiguousarray(hu))[0] == "HU"
    rng = np.random.default_rng(0)
    for _ in range(20):
        size = [int(rng.integers(min(n, 16), min(n, 120) + 1)) for n in hu.shape]
        first = [int(rng.integers(0, n - m + 1)) for n, m in zip(hu.shape, size, strict=True)]
        part = hu[tuple(slice(a, a + n) for a, n in zip(first, size, strict=True))]
        air, soft = np.mean(part < -850), np.mean((part > -200) & (part < 300))
        if air > 0.005 and soft > 0.1:
            assert unit_of(np.ascontiguousarray(part))[0] == "HU", (first, size)


@pytest.mark.parametrize("shift", [1000, 1024, -1000, -1024, 2048, 8192, 32768, 300])
@pytest.mark.parametrize("water", [0.0, 50.0])
def test_a_shifted_ct_is_told_its_shift(shift, water):
    rng = np.random.default_rng(0)
    grid = np.hypot(*np.meshgrid(np.linspace(-1, 1, 50), np.linspace(-1, 1, 50)))
    exact = np.broadcast_to(np.where(grid < 0.7, water, -1000.0), (9, 50, 50))
    for hu in (exact, exact + rng.normal(0, 12, exact.shape)):
        unit, reason = unit_of((hu + shift).astype(np.int32))
        assert unit == "unknown"
        advice = f"subtract {shift} from" if shift > 0 else f"add {-shift} to"
        assert f"shifted by {shift} (" in reason
        assert f"{advice} them" in reason
        corrected = (hu + shift).astype(np.int32) - shift
        assert unit_of(corrected)[0] == "HU"


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("name", ["a.nii", "a.nrrd", "a.mha"])
def test_the_advice_about_a_file_puts_water_at_0(tmp_path, name, dtype):
    values = np.where(ct(SHAPE).voxels > -500, 1000, 0).astype(dtype)
    warnings = find(written(tmp_path / name, values)).items[0].warnings
    assert "shifted by 1000 (air is near 0, not near -1000); subtract 1000" in warnings[-1].text


def test_the_offset_of_the_case(shared_data):
    path = shared_data / "cases" / "26_offset_1000" / "a.nii.gz"
    assert "shifted by 1000 " in find(path).items[0].warnings[-1].text
    assert read(path).unit == "unknown"


@pytest.mark.parametrize("name", REAL)
def test_the_unit_of_every_real_scan_is_beyond_doubt(shared_data, name):
    hu = np.asanyarray(nib.load(shared_data / "ct" / f"{name}.nii.gz").dataobj)
    unit, notice = infer_unit(np.ascontiguousarray(hu))
    assert (unit, notice.severity) == ("HU", "info")


def test_a_unit_in_doubt_is_a_warning():
    rng = np.random.default_rng(0)
    groups = ((-1000, 30, 4000), (-750, 150, 4000), (-400, 200, 2500), (50, 120, 1500))
    values = np.concatenate([rng.normal(*group) for group in groups])  # lung with few vessels
    unit, notice = infer_unit(values.reshape(12, 25, 40))
    assert (unit, notice.severity) == ("HU", "warning")
    assert "do not form clear groups" in notice.text


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("shift", [1000, 1024, 32768])
def test_the_shift_of_real_scans(shared_data, name, shift):
    hu = np.asanyarray(nib.load(shared_data / "ct" / f"{name}.nii.gz").dataobj)[::2, ::2]
    found = find_shift(hu.astype(np.int32) + shift)
    assert found is not None
    assert found[0] == shift


def test_a_histogram_measures_masses_densities_and_modes():
    values = np.repeat([-3000, -1000, 40, 41], [10, 40, 30, 20]).astype(np.float32)
    histogram = Histogram.of(values.reshape(4, 5, 5))
    assert histogram.mass(-1000, 40) == pytest.approx(0.7)
    assert histogram.mass(-9000, -5000) == 0
    assert histogram.mode(-200, 200) == 40
    assert histogram.mode(-1100, -850) == -1000
    assert histogram.density(-20000, 20000).sum() == pytest.approx(1)
    bare = histogram.without_padding()
    assert bare.mass(-1000, -1000) == pytest.approx(40 / 90)
    assert bare.shifted(-24).mass(-976, -976) == pytest.approx(40 / 90)
    assert why_no_groups(bare) == ""
    assert Histogram.of(np.array([-5, 5, 0])).symmetry() == pytest.approx(1)
    assert find_shift(np.array([0.0, 1e9])) is None
