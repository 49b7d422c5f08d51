"""NIfTI and Analyze in every shape that is met, against nibabel: places, volumes and values."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
import zlib

import nibabel as nib
import numpy as np
import pytest
from nifti_cases import hounsfield, patched, refused, saved
from scipy.spatial.transform import Rotation

from tomochrome.geometry import closest_axial, to_nifti_affine
from tomochrome.io import find, read
from tomochrome.notices import texts

ORIENTATIONS = [
    np.eye(3)[list(order)] * signs
    for order in itertools.permutations(range(3))
    for signs in ((1, 1, 1), (-1, 1, -1))
]


@pytest.mark.parametrize("matrix", ORIENTATIONS)
def test_upright_volumes_equal_nibabels_canonical_image(tmp_path, matrix):
    affine = np.eye(4)
    affine[:3, :3] = matrix * (0.7, 1.1, 3.0)
    affine[:3, 3] = (-40.5, 3.0, 12.25)
    path = saved(tmp_path / "a.nii.gz", np.arange(120, dtype=np.int16).reshape(4, 5, 6), affine)
    assert_canonical(path)


@pytest.mark.parametrize("angles", [(20, -15, 30), (-40, 5, 10)])
def test_oblique_volumes_equal_nibabels_canonical_image(tmp_path, angles):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("zyx", angles, degrees=True).as_matrix() * (1.5, 0.7, 2)
    path = saved(tmp_path / "a.nii", np.arange(120, dtype=np.int16).reshape(4, 5, 6), affine)
    assert_canonical(path)


def test_the_real_oblique_volume_equals_nibabels_canonical_image(shared_data):
    assert_canonical(shared_data / "nifti/oblique_uint8.nii.gz")
    assert_canonical(shared_data / "ct/abdomen_3mm.nii.gz")


def assert_canonical(path):
    canonical = nib.as_closest_canonical(nib.load(path))
    upright = closest_axial(read(path))
    # RAS against LPS: x and y run the other way.
    np.testing.assert_array_equal(upright.voxels, np.asanyarray(canonical.dataobj).T[:, ::-1, ::-1])
    affine = to_nifti_affine(upright.affine)
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = np.array(canonical.shape[:2]) - 1
    np.testing.assert_allclose(affine @ flip, canonical.affine, atol=1e-5)


def test_nifti_2_and_big_endian(tmp_path):
    path = saved(tmp_path / "two.nii.gz", hounsfield(), kind=nib.Nifti2Image)
    assert nib.load(path).header["sizeof_hdr"] == 540
    assert_canonical(path)
    image = nib.Nifti1Image(hounsfield(), np.eye(4))
    big = nib.Nifti1Image(image.dataobj, None, image.header.as_byteswapped(">"))
    nib.save(big, tmp_path / "big.nii")
    assert (tmp_path / "big.nii").read_bytes()[:4] == b"\x00\x00\x01\x5c"
    volume = read(tmp_path / "big.nii")
    np.testing.assert_array_equal(volume.voxels, hounsfield().T)
    assert volume.voxels.dtype.isnative


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("kind", [nib.nifti1.Nifti1Pair, nib.nifti2.Nifti2Pair])
def test_pairs_are_read_by_either_file_and_listed_once(tmp_path, kind, ending):
    image = kind(hounsfield(), np.diag([1.0, 2.0, 3.0, 1.0]))
    image.to_filename(tmp_path / f"a.img{ending}")
    for name in (f"a.hdr{ending}", f"a.img{ending}"):
        volume = read(tmp_path / name)
        np.testing.assert_array_equal(volume.voxels, hounsfield().T)
        np.testing.assert_allclose(to_nifti_affine(volume.affine), image.affine)
        assert len(find(tmp_path / name).items) == 1
    if not ending:
        assert len(find(tmp_path).items) == 1


def test_a_pair_with_a_file_missing_is_refused(tmp_path):
    nib.nifti1.Nifti1Pair(hounsfield(), np.eye(4)).to_filename(tmp_path / "a.img")
    (tmp_path / "a.img").unlink()
    refused(tmp_path / "a.hdr", "voxels of .* are missing")
    path = saved(tmp_path / "single.nii", hounsfield())
    refused(patched(path, 344, b"ni1"), "voxels of .* are missing")


@pytest.mark.parametrize("endian", ["<", ">"])
def test_analyze_says_that_left_and_right_are_uncertain(tmp_path, endian):
    header = nib.AnalyzeHeader(endianness=endian)
    header.set_data_dtype(np.int16)
    image = nib.AnalyzeImage(hounsfield(), None, header)
    image.header.set_zooms((0.8, 0.9, 2.5))
    image.to_filename(tmp_path / "a.img")
    volume = read(tmp_path / "a.img")
    np.testing.assert_array_equal(volume.voxels, hounsfield().T)
    np.testing.assert_allclose(to_nifti_affine(volume.affine), nib.load(tmp_path / "a.hdr").affine)
    assert "left and right are not certain" in volume.provenance.warnings[0].text
    (tmp_path / "a.mat").write_bytes(b"?")
    assert (
        "'a.mat' beside the file was not used"
        in read(tmp_path / "a.hdr").provenance.warnings[1].text
    )


@pytest.mark.parametrize("name", ["many.nii", "many.nii.gz"])
def test_each_volume_of_several_is_an_item_of_its_own(tmp_path, name):
    hu = np.stack([hounsfield() + i for i in range(3)], axis=-1)[:, :, :, :, None]
    path = saved(tmp_path / name, hu)
    items = find(tmp_path).items
    assert [item.phase for item in items] == ["1 of 3", "2 of 3", "3 of 3"]
    assert [item.name for item in items] == [f"{path}#{i}" for i in (1, 2, 3)]
    for index, item in enumerate(items):
        expected = hounsfield().T + index
        assert item.value_range == (expected.min(), expected.max())
        for volume in (
            read(item),
            read(path, series=item.name),
            read(tmp_path, series=item.name),
            read(path, series=f"#{index + 1}"),
        ):
            np.testing.assert_array_equal(volume.voxels, expected)
            assert f"volume {index + 1} of 3" in volume.provenance.history[0]
    refused(path, rf"3 volumes in one file; choose one .*{name}#1', .*{name}#3'")
    refused(path, "no volume 4", series="#4")
    refused(path, "no series '1.2.3'", series="1.2.3")


def test_a_series_named_for_a_single_volume(tmp_path):
    path = saved(tmp_path / "one.nii", hounsfield())
    for series in (str(path), "one.nii", "#1", f"{path}#1"):
        read(path, series=series)
    refused(path, "no volume 2", series="#2")


def forms(path, sform, qform):
    image = nib.Nifti1Image(hounsfield(), None)
    image.set_sform(sform, 1)
    image.set_qform(qform, 1)
    nib.save(image, path)
    return path


def test_disagreeing_forms_are_told_apart_in_millimetres_and_degrees(tmp_path):
    base = np.diag([1.0, 1.0, 2.0, 1.0])
    shifted = base.copy()
    shifted[:3, 3] = (3, 0, 4)
    volume = read(forms(tmp_path / "a.nii", base, shifted))
    assert (
        "by up to 5.0 mm and 0.0 degrees; the sform was used" in volume.provenance.warnings[0].text
    )
    np.testing.assert_allclose(to_nifti_affine(volume.affine), base)
    turned = base.copy()
    turned[:3, :3] = Rotation.from_euler("z", 10, degrees=True).as_matrix() @ base[:3, :3]
    assert (
        "10.0 degrees" in read(forms(tmp_path / "b.nii", base, turned)).provenance.warnings[0].text
    )
    mirrored = np.diag([-1.0, 1.0, 2.0, 1.0])
    assert "mirror" in read(forms(tmp_path / "c.nii", base, mirrored)).provenance.warnings[0].text
    near = base.copy()
    near[0, 3] = 0.05
    assert "sform" not in read(forms(tmp_path / "d.nii", base, near)).provenance.warnings[0].text


def test_an_unusable_form_gives_way_to_the_other(tmp_path):
    base = np.diag([1.0, 1.0, 2.0, 1.0])
    flat = np.diag([1.0, 0.0, 2.0, 1.0])
    path = forms(tmp_path / "a.nii", base, base)
    image = nib.load(path)
    image.header["srow_y"] = 0
    nib.save(nib.Nifti1Image(image.dataobj, None, image.header), tmp_path / "b.nii")
    volume = read(tmp_path / "b.nii")
    assert "the qform was used" in volume.provenance.warnings[0].text
    np.testing.assert_allclose(to_nifti_affine(volume.affine), base)
    patched(path, 256, np.float32([2, 2, 2]).tobytes())  # an impossible quaternion
    assert "qform of the file is unusable" in read(path).provenance.warnings[0].text
    image.header["qform_code"] = 0
    nib.save(nib.Nifti1Image(image.dataobj, None, image.header), tmp_path / "c.nii")
    refused(tmp_path / "c.nii", "unusable geometry")
    assert np.linalg.det(flat) == 0


def test_contents_count_and_not_the_ending(tmp_path):
    path = saved(tmp_path / "a.nii.gz", hounsfield())
    wrong = path.rename(tmp_path / "b.nii")
    np.testing.assert_array_equal(read(wrong).voxels, hounsfield().T)
    assert len(find(wrong).items) == 1


def test_a_gzip_file_of_several_members_is_read_whole(tmp_path):
    path = saved(tmp_path / "a.nii", hounsfield())
    plain = path.read_bytes()
    parts = [plain[i : i + 999] for i in range(0, len(plain), 999)]
    packed = tmp_path / "a.nii.gz"
    packed.write_bytes(b"".join(map(gzip.compress, parts)))
    np.testing.assert_array_equal(read(packed).voxels, hounsfield().T)
    assert zlib.decompress(packed.read_bytes(), 31) == parts[0]


# --- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slope", "intercept", "factor", "offset"),
    [
        (0, 7, 1, 0),
        (np.nan, 7, 1, 0),
        (np.inf, 7, 1, 0),
        (1, 0, 1, 0),
        (2, -1024, 2, -1024),
        (-1, 5, -1, 5),
    ],
)
def test_slopes(tmp_path, slope, intercept, factor, offset):
    path = patched(
        saved(tmp_path / "a.nii.gz", hounsfield()), 112, np.float32([slope, intercept]).tobytes()
    )
    volume = read(path)
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.voxels, hounsfield().T.astype(int) * factor + offset)
    expected = np.asanyarray(nib.load(path).dataobj)
    np.testing.assert_allclose(volume.voxels, expected.T)


def test_an_intercept_that_is_no_number_is_refused(tmp_path):
    path = saved(tmp_path / "a.nii", hounsfield())
    refused(patched(path, 112, np.float32([1, np.nan]).tobytes()), "intercept is not a number")


def test_slopes_that_leave_16_bits_give_floats_in_the_middle(tmp_path):
    stored = np.zeros((4, 4, 5), np.int16)
    stored[:, :, 3] = 20000
    path = saved(tmp_path / "a.nii", stored)
    patched(path, 112, np.float32([2, 0]).tobytes())
    volume = read(path)
    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.voxels, stored.T * 2.0)
    patched(path, 112, np.float32([3e38, 0]).tobytes())
    outside = read(path).outside
    assert outside is not None
    np.testing.assert_array_equal(outside, stored.T != 0)


def test_voxels_without_a_number_are_outside_the_scan(tmp_path):
    hu = hounsfield().astype(np.float32) + 0.5
    hu[:3] = np.nan
    hu[3, 0, 0] = -np.inf
    volume = read(saved(tmp_path / "a.nii.gz", hu))
    assert volume.unit == "HU"
    assert volume.outside is not None
    np.testing.assert_array_equal(volume.outside, ~np.isfinite(hu.T))
    assert (volume.voxels[volume.outside] == -1024).all()
    inside = ~volume.outside
    np.testing.assert_array_equal(volume.voxels[inside], hu.T[inside])
    assert f"{(~np.isfinite(hu)).sum()} voxels" in volume.provenance.warnings[0].text
    magnitude = np.abs(np.nan_to_num(hu)) % 150  # of MR: NaN must not become the darkest "air"
    mr = read(saved(tmp_path / "mr.nii.gz", np.where(np.isfinite(hu), magnitude, np.nan)))
    assert mr.unit == "unknown"
    assert mr.voxels.min() >= 0


@pytest.mark.parametrize("kind", [">f4", "<f4", "<f8", "<i4", "<i2", ">i2"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_of_what_is_stored_wider_only_a_slice_is_in_memory(tmp_path, name, kind):
    values = np.random.default_rng(0).integers(-1000, 1000, (60, 96, 96))
    image = nib.Nifti1Image(values.astype(kind).T, np.eye(4))
    image.header.set_data_dtype(kind)
    nib.save(image, tmp_path / name)
    read(tmp_path / name)  # what is imported on the way does not count
    tracemalloc.start()
    try:
        volume = read(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(np.asarray(closest_axial(volume).voxels).shape, values.shape)
    np.testing.assert_array_equal(np.sort(volume.voxels, axis=None), np.sort(values, axis=None))
    assert peak < 2.0 * volume.voxels.nbytes + (1 << 20)  # some hundred KiB are gzip's


def test_labels_are_no_measurement(tmp_path):
    volume = read(saved(tmp_path / "a.nii", hounsfield(), intent_code=1002))
    assert volume.unit == "unknown"
    assert volume.provenance.verdict == "not-ct"
    assert texts(volume.provenance.warnings) == [
        "the file says that its values are labels, not a measurement",
    ]


def sform_only(path, sizes, pixdim, kind=nib.Nifti1Image, shear=0.0):
    """Write a CT whose sform and pixdim (x, y, z) say different things."""
    affine = np.diag([*sizes, 1.0])
    affine[1, 2] = shear * sizes[2]
    image = kind(hounsfield(), None)
    image.set_sform(affine, 1)
    image.set_qform(None, 0)
    image.header["pixdim"][1:4] = pixdim
    nib.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr"])
@pytest.mark.parametrize("pixdim", [(4, 4, 2.5), (1, 1, 3), (0.7, 1, 2)])
def test_an_sform_against_pixdim_is_told(tmp_path, name, pixdim):
    kind = nib.Nifti1Pair if name.endswith(".hdr") else nib.Nifti1Image
    volume = read(sform_only(tmp_path / name, (1, 1, 2), pixdim, kind))
    assert volume.spacing == (2, 1, 1)
    sizes = " x ".join(f"{size:g}" for size in pixdim)
    expected = (
        f"the sform of the file says that voxels measure 1 x 1 x 2, its pixdim says {sizes}; the "
        "sform was used"
    )
    assert volume.provenance.warnings[0].text == expected


def test_an_sform_against_pixdim_is_told_of_nifti_2_and_of_a_flipped_sform(tmp_path):
    second = sform_only(tmp_path / "a.nii", (1, 1, 2), (2, 2, 2), nib.Nifti2Image)
    flipped = sform_only(tmp_path / "b.nii", (-1, 1, 2), (2, 1, 2))
    for path in (second, flipped):
        assert "its pixdim says 2 x" in read(path).provenance.warnings[0].text


def test_an_sform_that_agrees_with_pixdim_is_not_questioned(tmp_path):
    paths = [
        sform_only(tmp_path / "a.nii", (-0.8, 0.8, 2.5), (0.8, 0.8, 2.5)),
        sform_only(tmp_path / "b.nii", (0.8, 0.8, 2.5), (0.8, 0.8, 2.5), shear=0.33),  # distance
        sform_only(
            tmp_path / "c.nii", (0.8, 0.8, 2.5), (0.8, 0.8, 2.5 * np.hypot(1, 0.33)), shear=0.33
        ),
    ]
    for path in paths:
        assert not any("pixdim" in notice.text for notice in read(path).provenance.warnings)


def test_the_case_of_an_sform_against_pixdim(shared_data):
    path = shared_data / "cases" / "23_sform_against_pixdim" / "a.nii.gz"
    assert "its pixdim says 4 x 4 x 2.5" in read(path).provenance.warnings[0].text
