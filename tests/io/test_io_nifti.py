"""NIfTI and Analyze in every shape that is met, against nibabel; hostile headers in words."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
import zlib

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from io_cases import ct
from scipy.spatial.transform import Rotation

from tomochrome.errors import Cancelled, InputError
from tomochrome.geometry import closest_axial, to_nifti_affine
from tomochrome.io import bounds, find, read
from tomochrome.io.nifti import describe, read_nifti
from tomochrome.runtime import CancelToken


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
    assert "left and right are not certain" in volume.provenance.warnings[0]
    (tmp_path / "a.mat").write_bytes(b"?")
    assert "'a.mat' beside the file was not used" in read(tmp_path / "a.hdr").provenance.warnings[1]


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
    assert "by up to 5.0 mm and 0.0 degrees; the sform was used" in volume.provenance.warnings[0]
    np.testing.assert_allclose(to_nifti_affine(volume.affine), base)
    turned = base.copy()
    turned[:3, :3] = Rotation.from_euler("z", 10, degrees=True).as_matrix() @ base[:3, :3]
    assert "10.0 degrees" in read(forms(tmp_path / "b.nii", base, turned)).provenance.warnings[0]
    mirrored = np.diag([-1.0, 1.0, 2.0, 1.0])
    assert "mirror" in read(forms(tmp_path / "c.nii", base, mirrored)).provenance.warnings[0]
    near = base.copy()
    near[0, 3] = 0.05
    assert "sform" not in read(forms(tmp_path / "d.nii", base, near)).provenance.warnings[0]


def test_an_unusable_form_gives_way_to_the_other(tmp_path):
    base = np.diag([1.0, 1.0, 2.0, 1.0])
    flat = np.diag([1.0, 0.0, 2.0, 1.0])
    path = forms(tmp_path / "a.nii", base, base)
    image = nib.load(path)
    image.header["srow_y"] = 0
    nib.save(nib.Nifti1Image(image.dataobj, None, image.header), tmp_path / "b.nii")
    volume = read(tmp_path / "b.nii")
    assert "the qform was used" in volume.provenance.warnings[0]
    np.testing.assert_allclose(to_nifti_affine(volume.affine), base)
    patched(path, 256, np.float32([2, 2, 2]).tobytes())  # an impossible quaternion
    assert "qform of the file is unusable" in read(path).provenance.warnings[0]
    image.header["qform_code"] = 0
    nib.save(nib.Nifti1Image(image.dataobj, None, image.header), tmp_path / "c.nii")
    refused(tmp_path / "c.nii", "unusable geometry")
    assert np.linalg.det(flat) == 0


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
    refused(patched(path, 112, np.float32([1, np.nan]).tobytes()), "intercept that is no number")


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
    assert f"{(~np.isfinite(hu)).sum()} voxels" in volume.provenance.warnings[0]
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
    read_nifti(tmp_path / name)  # what is imported on the way does not count
    tracemalloc.start()
    try:
        volume = read_nifti(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(np.asarray(closest_axial(volume).voxels).shape, values.shape)
    np.testing.assert_array_equal(np.sort(volume.voxels, axis=None), np.sort(values, axis=None))
    assert peak < 2.0 * volume.voxels.nbytes + (1 << 20)  # some hundred KiB are gzip's


def test_a_file_that_ends_between_two_slices_is_refused(tmp_path):
    values = np.arange(5 * 6 * 7, dtype=np.float32).reshape(7, 6, 5)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")
    whole = (tmp_path / "a.nii").read_bytes()
    packed = gzip.compress(whole)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(whole[: 352 + 3 * 7 * 6 * 4]))
    (tmp_path / "c.nii.gz").write_bytes(packed[:-8] + bytes(4) + packed[-4:])  # a wrong check sum
    for name in ("b.nii.gz", "c.nii.gz"):
        with pytest.raises(InputError):
            read_nifti(tmp_path / name)


def test_what_is_no_volume_is_refused(tmp_path):
    refused(saved(tmp_path / "c.nii", np.zeros((3, 4, 5), np.complex64)), "not numbers of one")
    field = saved(tmp_path / "v.nii", np.zeros((3, 4, 5, 1, 3), np.float32))
    refused(field, "vector or deformation field")
    assert "vector" in find(tmp_path).skipped[1].reason
    path = saved(tmp_path / "z.nii", hounsfield())
    refused(patched(path, 40, np.int16([3, 20, -24, 6]).tobytes()), "empty|damaged")
    path = saved(tmp_path / "t.nii", hounsfield())
    refused(patched(path, 70, np.int16([1]).tobytes()), "damaged")


def test_labels_are_no_measurement(tmp_path):
    volume = read(saved(tmp_path / "a.nii", hounsfield(), intent_code=1002))
    assert volume.unit == "unknown"
    assert volume.provenance.verdict == "not-ct"
    assert volume.provenance.warnings == (
        "the file says that its values are labels, not a measurement",
    )


HUGE = np.int16([3, 32000, 32000, 32000]).tobytes()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_claims_beyond_the_file_are_refused_before_memory_is_taken(tmp_path, name):
    path = saved(tmp_path / name, hounsfield())
    refused(patched(path, 40, HUGE), "beyond the bounds")
    path = saved(tmp_path / f"b{name}", hounsfield())
    refused(patched(path, 40, np.int16([3, 1000, 1000, 500]).tobytes()), "header claims 1000000000")
    path = saved(tmp_path / f"c{name}", hounsfield())
    refused(patched(path, 40, np.int16([4, 20, 24, 6, 30000]).tobytes()), "30000 volumes")
    path = saved(tmp_path / f"d{name}", hounsfield())
    refused(patched(path, 108, np.float32([1e12]).tobytes()), "truncated|damaged")
    refused(patched(path, 108, np.float32([np.nan]).tobytes()), "damaged NIfTI header")


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "LARGE_BYTES", 1 << 20)
    path = saved(tmp_path / "bomb.nii.gz", np.zeros((128, 128, 128), np.int16))
    refused(path, "decompression bomb")


def test_truncated_and_flipped_gzip_is_refused(tmp_path):
    path = saved(tmp_path / "a.nii.gz", hounsfield())
    whole = path.read_bytes()
    for size in (1, 5, 300, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(path, "damaged|truncated")
    flipped = bytearray(whole)
    flipped[-6] ^= 1  # the check sum
    path.write_bytes(flipped)
    refused(path, "damaged, truncated")
    path.write_bytes(whole + bytes(100))  # padding
    assert read(path).unit == "HU"


def test_a_gzip_file_of_several_members_is_read_whole(tmp_path):
    path = saved(tmp_path / "a.nii", hounsfield())
    plain = path.read_bytes()
    parts = [plain[i : i + 999] for i in range(0, len(plain), 999)]
    packed = tmp_path / "a.nii.gz"
    packed.write_bytes(b"".join(map(gzip.compress, parts)))
    np.testing.assert_array_equal(read(packed).voxels, hounsfield().T)
    assert zlib.decompress(packed.read_bytes(), 31) == parts[0]


def test_contents_count_and_not_the_ending(tmp_path):
    path = saved(tmp_path / "a.nii.gz", hounsfield())
    wrong = path.rename(tmp_path / "b.nii")
    np.testing.assert_array_equal(read(wrong).voxels, hounsfield().T)
    assert len(find(wrong).items) == 1


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_big_file_can_be_cancelled_in_the_middle(tmp_path, name):
    rng = np.random.default_rng(0)
    voxels = rng.integers(-1000, 1000, (128, 128, 1), dtype=np.int16).repeat(512, axis=2)
    path = saved(tmp_path / name, voxels)
    for function in (read, describe, find):
        cancel, seen = CancelToken(), []

        def stop(done, total, stage, cancel=cancel, seen=seen):
            if stage == "reading":
                seen.append((done, total))
                cancel.cancel()

        with pytest.raises(Cancelled):
            function(path, progress=stop, cancel=cancel)
        assert len(seen) == 1
        assert seen[0][0] < seen[0][1]
    steps = []
    read(path, progress=lambda *step: steps.append(step))
    assert steps[-1][0] == steps[-1][1]
    assert [step[0] for step in steps] == sorted(step[0] for step in steps)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_header_bytes_end_in_a_volume_or_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "flipped.nii"
    if not path.exists():
        saved(path, hounsfield())
        path.with_suffix(".whole").write_bytes(path.read_bytes())
    content = bytearray(path.with_suffix(".whole").read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, 351))] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
    path.write_bytes(content)
    try:
        volume = read_nifti(path)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert np.isfinite(volume.affine).all()
