"""NRRD and MetaImage against SimpleITK."""

from __future__ import annotations

import gzip
import zlib

import numpy as np
import pytest
import SimpleITK
from io_cases import ct
from itk_cases import image, meta, nrrd_file, refused

from tomochrome.geometry import from_sitk, same_grid
from tomochrome.io import find, read
from tomochrome.notices import texts

ENDINGS = [".mha", ".mhd", ".nrrd", ".nhdr"]
TYPES = [
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dtype", TYPES)
def test_equals_simpleitk(tmp_path, ending, dtype):
    rng = np.random.default_rng(1)
    values = rng.normal(0, 50, (4, 5, 6))
    values = (np.abs(values) if dtype.startswith("u") else values).astype(dtype)
    for packed in (False, True):
        path = tmp_path / f"v{packed}{ending}"
        SimpleITK.WriteImage(image(values), str(path), packed)
        volume, expected = read(path), from_sitk(SimpleITK.ReadImage(str(path)))
        np.testing.assert_array_equal(volume.voxels, expected.voxels.astype(np.float32))
        assert same_grid(volume, expected, tolerance_mm=1e-6)


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_colors(tmp_path, ending):
    colors = np.random.default_rng(0).integers(0, 255, (3, 4, 5, 4), dtype=np.uint8)
    for channels in (3, 4):
        path = tmp_path / f"c{channels}{ending}"
        SimpleITK.WriteImage(image(colors[..., :channels], vector=True), str(path))
        volume = read(path)
        assert volume.unit == "RGBA"
        np.testing.assert_array_equal(volume.voxels[..., :channels], colors[..., :channels])
        assert channels == 4 or (volume.voxels[..., 3] == 255).all()


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_each_volume_of_several_is_an_item_of_its_own(tmp_path, ending, capfd):
    hu = np.stack([ct().voxels + i for i in range(3)])
    path = tmp_path / f"many{ending}"
    SimpleITK.WriteImage(image(hu), str(path))
    assert_three(path, hu, capfd)


def test_a_slicer_sequence_is_several_volumes(tmp_path, capfd):
    hu = np.stack([ct().voxels + i for i in range(3)])
    path = tmp_path / "sequence.nrrd"
    SimpleITK.WriteImage(image(np.moveaxis(hu, 0, -1), vector=True), str(path))
    content = path.read_bytes()
    refused(path, "3 values in each voxel", capfd)
    assert content.count(b"kinds: vector") == 1
    path.write_bytes(content.replace(b"kinds: vector", b"kinds: list"))
    assert_three(path, hu, capfd)


def assert_three(path, hu, capfd):
    items = find(path).items
    assert [(item.phase, item.name) for item in items] == [
        (f"{i} of 3", f"{path}#{i}") for i in (1, 2, 3)
    ]
    for index, item in enumerate(items):
        for volume in (read(item), read(path, series=f"#{index + 1}")):
            np.testing.assert_array_equal(volume.voxels, hu[index])
    refused(path, "3 volumes in one file; choose one", capfd)


def test_ras_is_turned_and_missing_orientation_is_said(tmp_path):
    hu = ct().voxels
    place = "space directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (5,6,7)\n"
    lps = read(nrrd_file(tmp_path / "a.nrrd", hu, "space: left-posterior-superior\n" + place))
    ras = read(nrrd_file(tmp_path / "b.nrrd", hu, "space: RAS\n" + place))
    np.testing.assert_array_equal(ras.affine, np.diag([-1, -1, 1, 1]) @ lps.affine)
    assert "orientation" not in " ".join(texts(lps.provenance.warnings + ras.provenance.warnings))
    bare = read(nrrd_file(tmp_path / "c.nrrd", hu, "spacings: 1 2 3\n"))
    assert "stores no orientation" in bare.provenance.warnings[0].text
    assert bare.spacing == (3, 2, 1)
    other = read(nrrd_file(tmp_path / "d.nrrd", hu, "space: scanner-xyz\n" + place))
    assert "does not define its axes" in other.provenance.warnings[0].text
    assert "stores no orientation" in read(meta(tmp_path / "e.mha", hu)).provenance.warnings[0].text


def test_units_that_itk_drops_are_turned_into_mm(tmp_path):
    hu = ct().voxels
    place = "space directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (5,6,7)\n"
    lps = "space: left-posterior-superior\n" + place
    plain = read(nrrd_file(tmp_path / "a.nrrd", hu, lps + 'space units: "mm" "mm" "mm"\n'))
    assert "positions" not in " ".join(texts(plain.provenance.warnings))
    in_cm = read(nrrd_file(tmp_path / "b.nrrd", hu, lps + 'space units: "cm" "cm" "cm"\n'))
    np.testing.assert_allclose(in_cm.affine[:3], 10 * plain.affine[:3])
    assert (
        in_cm.provenance.warnings[0].text
        == "positions in the file are in cm; they were converted to mm"
    )
    feet = read(nrrd_file(tmp_path / "c.nrrd", hu, lps + 'space units: "ft" "ft" "ft"\n'))
    np.testing.assert_array_equal(feet.affine, plain.affine)
    assert "unknown unit; taken as mm" in feet.provenance.warnings[0].text
    tiny = read(meta(tmp_path / "d.mha", hu, "DistanceUnits = um\n"))
    np.testing.assert_allclose(tiny.spacing, (0.003, 0.002, 0.001))


def test_a_packed_metaimage_that_does_not_say_how_large_it_is(tmp_path, capfd):
    """ITK would inflate from the beginning of the file, and take what it finds."""
    hu = ct().voxels
    packed = zlib.compress(hu.astype("<i2").tobytes())
    path = meta(tmp_path / "z.mha", hu, "CompressedData = True\n", packed)
    np.testing.assert_array_equal(read(path).voxels, hu)
    path = meta(
        tmp_path / "wrong.mha", hu, "CompressedData = True\nCompressedDataSize = 1\n", packed
    )
    refused(path, "damaged", capfd)
    path = meta(tmp_path / "cut.mha", hu, "CompressedData = True\n", packed[:-3])
    refused(path, "damaged", capfd)


@pytest.mark.parametrize(
    ("code", "words"), [("MET_MOD_MR", "magnetic resonance"), ("MET_MOD_NM", "nuclear medicine")]
)
def test_a_modality_that_is_not_ct_is_named(tmp_path, code, words):
    volume = read(meta(tmp_path / "a.mha", ct().voxels, f"Modality = {code}\n"))
    assert volume.unit == "unknown"
    assert volume.provenance.verdict == "not-ct"
    assert volume.provenance.modality == code[-2:]
    assert words in volume.provenance.warnings[-1].text
    assert find(tmp_path).items[0].modality == code[-2:]
    assert read(meta(tmp_path / "b.mha", ct().voxels, "Modality = MET_MOD_CT\n")).unit == "HU"


def test_voxels_without_a_number_are_outside_the_scan(tmp_path):
    hu = ct().voxels.astype(np.float32) + 0.5
    hu[0] = np.nan
    for ending in (".mha", ".nrrd"):
        SimpleITK.WriteImage(image(hu), str(tmp_path / f"a{ending}"))
        volume = read(tmp_path / f"a{ending}")
        assert volume.outside is not None
        np.testing.assert_array_equal(volume.outside, np.isnan(hu))


def test_forms_of_metaimage(tmp_path):
    hu = ct().voxels
    (tmp_path / "v.raw").write_bytes(b"skip" + hu.astype(">i2").tobytes())
    path = meta(tmp_path / "v.mhd", hu, "ElementByteOrderMSB = True\nHeaderSize = 4\n", b"")
    for size in ("4", "-1"):
        text = path.read_text().replace("LOCAL", "v.raw").replace("Size = 4", f"Size = {size}")
        path.write_text(text)
        np.testing.assert_array_equal(read(path).voxels, hu)
    packed = zlib.compress(hu.astype("<i2").tobytes())
    path = meta(tmp_path / "z.mha", hu, "CompressedData = True\n", packed)
    np.testing.assert_array_equal(read(path).voxels, hu)


def test_encodings_of_nrrd(tmp_path, capfd):
    hu = ct().voxels
    stored = hu.astype("<i2").tobytes()
    text = " ".join(map(str, hu.ravel())).encode()
    cases = {
        "raw": stored,
        "gzip": gzip.compress(stored),
        "ascii": text,
        "hex": stored.hex().encode(),
    }
    for encoding, data in cases.items():
        path = nrrd_file(tmp_path / f"{encoding}.nrrd", hu, "", encoding, data)
        np.testing.assert_array_equal(read(path).voxels, hu)
    for skip, data in (("3", b"abc" + stored), ("-1", b"12345" + stored)):
        path = nrrd_file(tmp_path / "skip.nrrd", hu, f"byte skip: {skip}\n", data=data)
        np.testing.assert_array_equal(read(path).voxels, hu)
    path = nrrd_file(tmp_path / "b.nrrd", hu, "", "bzip2", b"BZh9")
    refused(path, "compressed with bzip2", capfd)


@pytest.mark.parametrize("geometry", [
    "", "spacings: nan nan nan\n", "spacings: 1 1 nan\n", "space: lps\nspace origin: (0,0,0)\n",
    "space: ras\nspace directions: none none none\n", "thicknesses: 1 1 2\n",
    "space: lps\nspace directions: (1,0,0) (0,1,0) (nan,nan,nan)\n",
])  # fmt: skip
@pytest.mark.parametrize("detached", [False, True])
def test_a_nrrd_without_voxel_size_says_so(tmp_path, geometry, detached):
    voxels = ct((6, 24, 20)).voxels
    path = tmp_path / ("a.nhdr" if detached else "a.nrrd")
    if detached:
        (tmp_path / "a.raw").write_bytes(voxels.astype("<i2").tobytes())
        nrrd_file(path, voxels, f"{geometry}data file: a.raw\n", data=b"")
    else:
        nrrd_file(path, voxels, geometry)
    volume = read(path)
    assert volume.spacing == (1, 1, 1)
    said = [notice.text for notice in volume.provenance.warnings if notice.code == "geometry"]
    assert "the file stores no voxel size; taken as 1 mm" in said


@pytest.mark.parametrize("geometry", [
    "spacings: 1 1 2\n", "space: lps\nspace directions: (1,0,0) (0,1,0) (0,0,2)\n",
    "spacings: -1 1 2\n",
])  # fmt: skip
def test_a_nrrd_with_voxel_size_does_not_say_that_it_has_none(tmp_path, geometry):
    volume = read(nrrd_file(tmp_path / "a.nrrd", ct((6, 24, 20)).voxels, geometry))
    assert volume.spacing == (2, 1, 1)
    assert not any("voxel size" in notice.text for notice in volume.provenance.warnings)


@pytest.mark.parametrize("name", ["a.nrrd", "nan.nrrd"])
def test_the_nrrd_case_without_spacing(shared_data, name):
    warnings = find(shared_data / "cases" / "22_nrrd_no_spacing" / name).items[0].warnings
    assert "the file stores no voxel size; taken as 1 mm" in map(str, warnings)
