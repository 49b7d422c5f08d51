"""NRRD and MetaImage against SimpleITK; hostile headers in words and without a sound."""

from __future__ import annotations

import gzip
import itertools
import sys
import zlib

import bad_readers
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from io_cases import ct
from scipy.spatial.transform import Rotation

from tomochrome.errors import Cancelled, InputError
from tomochrome.geometry import from_sitk, same_grid, to_sitk
from tomochrome.io import bounds, find, itk_image, read, sandboxed_itk
from tomochrome.io.image_file import describe, read_volume
from tomochrome.io.image_formats import open_image
from tomochrome.runtime import CancelToken

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


def image(voxels, vector=False):
    made = SimpleITK.GetImageFromArray(voxels, isVector=vector)
    made.SetSpacing([0.7, 0.8, 2.5, 1.0][: made.GetDimension()])
    if made.GetDimension() == 3:
        matrix = Rotation.from_euler("zyx", (20, -15, 30), degrees=True).as_matrix()
        made.SetOrigin([1, -2, 3.25])
        made.SetDirection(matrix.ravel().tolist())
    return made


def meta(path, voxels, text="", data=None):
    """Write a MetaImage by hand."""
    header = (
        "ObjectType = Image\nNDims = 3\n"
        f"DimSize = {' '.join(map(str, voxels.shape[::-1]))}\nElementSpacing = 1 2 3\n"
        f"{text}ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + (voxels.astype("<i2").tobytes() if data is None else data))
    return path


def nrrd_file(path, voxels, text="", encoding="raw", data=None):
    """Write a NRRD by hand."""
    header = (
        f"NRRD0004\ntype: int16\ndimension: 3\n{text}"
        f"sizes: {' '.join(map(str, voxels.shape[::-1]))}\nendian: little\nencoding: {encoding}\n\n"
    )
    path.write_bytes(header.encode() + (voxels.astype("<i2").tobytes() if data is None else data))
    return path


def refused(path, words, capfd, **options):
    capfd.readouterr()
    with pytest.raises(InputError, match=words) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")


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
    assert "orientation" not in " ".join(lps.provenance.warnings + ras.provenance.warnings)
    bare = read(nrrd_file(tmp_path / "c.nrrd", hu, "spacings: 1 2 3\n"))
    assert "stores no orientation" in bare.provenance.warnings[0]
    assert bare.spacing == (3, 2, 1)
    other = read(nrrd_file(tmp_path / "d.nrrd", hu, "space: scanner-xyz\n" + place))
    assert "does not place its axes" in other.provenance.warnings[0]
    assert "stores no orientation" in read(meta(tmp_path / "e.mha", hu)).provenance.warnings[0]


def test_units_that_itk_drops_are_turned_into_mm(tmp_path):
    hu = ct().voxels
    place = "space directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (5,6,7)\n"
    lps = "space: left-posterior-superior\n" + place
    plain = read(nrrd_file(tmp_path / "a.nrrd", hu, lps + 'space units: "mm" "mm" "mm"\n'))
    assert "positions" not in " ".join(plain.provenance.warnings)
    in_cm = read(nrrd_file(tmp_path / "b.nrrd", hu, lps + 'space units: "cm" "cm" "cm"\n'))
    np.testing.assert_allclose(in_cm.affine[:3], 10 * plain.affine[:3])
    assert (
        in_cm.provenance.warnings[0] == "positions in the file are in cm; they were converted to mm"
    )
    feet = read(nrrd_file(tmp_path / "c.nrrd", hu, lps + 'space units: "ft" "ft" "ft"\n'))
    np.testing.assert_array_equal(feet.affine, plain.affine)
    assert "unknown unit; taken as mm" in feet.provenance.warnings[0]
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
    assert words in volume.provenance.warnings[-1]
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
    refused(path, "packed by bzip2", capfd)


def test_flipped_bits_in_packed_voxels_are_noticed(tmp_path, capfd):
    for ending in (".mha", ".nrrd"):
        path = tmp_path / f"a{ending}"
        SimpleITK.WriteImage(to_sitk(ct()), str(path), True)
        whole = path.read_bytes()
        for back in (1, 2, 7, 50, 500, 900):
            flipped = bytearray(whole)
            flipped[-back - 1] ^= 4
            path.write_bytes(flipped)
            refused(path, "damaged, truncated", capfd)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../secret.raw",
        "a/../../secret.raw",
        "C:\\secret.raw",
        "..\\secret.raw",
        "\\\\h\\s",
    ],
)
@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_headers_that_point_outside_their_folder_are_refused(tmp_path, capfd, ending, name):
    hu = ct().voxels
    (tmp_path / "secret.raw").write_bytes(hu.tobytes())
    folder = tmp_path / "inner"
    folder.mkdir()
    path = folder / f"v{ending}"
    if ending == ".mhd":
        meta(path, hu, data=b"")
        path.write_text(path.read_text().replace("LOCAL", name))
    else:
        nrrd_file(path, hu, f"data file: {name}\n", data=b"")
    refused(path, "outside its own folder", capfd)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LIST", "several files"),
        ("v%03d.raw 1 9 1", "several files"),
        ("none.raw", "without its data"),
    ],
)
def test_data_files_that_are_many_or_missing(tmp_path, capfd, name, words):
    path = meta(tmp_path / "v.mhd", ct().voxels, data=b"")
    path.write_text(path.read_text().replace("LOCAL", name))
    refused(path, words, capfd)
    refused(
        nrrd_file(tmp_path / "v.nhdr", ct().voxels, f"data file: {name}\n", data=b""), words, capfd
    )


def test_damage_is_refused_without_a_sound(tmp_path, capfd):
    hu = ct().voxels
    for ending, packed in itertools.product((".mha", ".nrrd"), (False, True)):
        path = tmp_path / f"v{ending}"
        SimpleITK.WriteImage(to_sitk(ct()), str(path), packed)
        whole = path.read_bytes()
        for size in (20, 200, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:size])
            refused(path, "damaged|truncated", capfd)
    for text in (
        "DimSize = 2 2\n",
        "NDims = 4\n",
        "ElementSpacing = 1 0 1\n",
        "Offset = 1 x 2\n",
        "TransformMatrix = 1 0\n",
        "no equals sign\n",
        "ElementSpacing = 1 nan 1\n",
        "DimSize = 20 -24 7\n",
    ):
        refused(meta(tmp_path / "a.mha", hu, text), "damaged, truncated", capfd)
    refused(
        meta(tmp_path / "a.mha", hu, "TransformMatrix = 1 0 0 1 0 0 0 0 1\n"), "geometry", capfd
    )
    refused(meta(tmp_path / "a.mha", hu, "BinaryData = False\n"), "as text", capfd)
    for text in ("dimension: 40\n", "a line without a colon\n", "space: nowhere\n"):
        refused(nrrd_file(tmp_path / "a.nrrd", hu, text), "damaged, truncated", capfd)


def test_claims_beyond_the_file_are_refused_before_memory_is_taken(tmp_path, capfd, monkeypatch):
    few = np.zeros((1, 1, 9), np.int16)
    for maker, name, key in ((meta, "a.mha", "DimSize = "), (nrrd_file, "a.nrrd", "sizes: ")):
        path = maker(tmp_path / name, few)
        content = path.read_bytes()
        for sizes, words in {
            "60000 60000 60000": "beyond",
            "900 900 900": "claims 1458000000",
        }.items():
            path.write_bytes(content.replace(f"{key}9 1 1".encode(), f"{key}{sizes}".encode()))
            refused(path, words, capfd)
    monkeypatch.setattr(bounds, "LARGE_BYTES", 1 << 20)
    for ending in (".mha", ".nrrd"):
        SimpleITK.WriteImage(
            image(np.zeros((128, 128, 128), np.int16)), str(tmp_path / f"b{ending}"), True
        )
        refused(tmp_path / f"b{ending}", "decompression bomb", capfd)
    monkeypatch.setattr(itk_image, "_HEADER_MOST", 1000)
    path = nrrd_file(tmp_path / "long.nrrd", few, "".join(f"# {i}\n" for i in range(999)))
    refused(path, "damaged, truncated", capfd)


def test_itks_own_warnings_are_shown_again_afterwards(tmp_path):
    SimpleITK.WriteImage(to_sitk(ct()), str(tmp_path / "a.nrrd"))
    before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    read(tmp_path / "a.nrrd")
    assert SimpleITK.ProcessObject.GetGlobalWarningDisplay() == before


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_a_big_file_can_be_cancelled_in_the_middle(tmp_path, ending):
    voxels = np.random.default_rng(0).integers(-1000, 1000, (1, 128, 128), dtype=np.int16)
    path = tmp_path / f"a{ending}"
    SimpleITK.WriteImage(image(voxels.repeat(512, axis=0)), str(path))
    kind = "nrrd" if ending == ".nrrd" else "metaimage"
    for function in (read_volume, describe):
        cancel = CancelToken()
        with pytest.raises(Cancelled):
            function(
                open_image(path, kind),
                progress=lambda *_, cancel=cancel: cancel.cancel(),
                cancel=cancel,
            )


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_flipped_bytes_end_in_a_volume_or_a_sentence(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    ending = data.draw(st.sampled_from([".mha", ".nrrd"]))
    path, whole = folder / f"flipped{ending}", folder / f"whole{ending}"
    if not whole.exists():
        SimpleITK.WriteImage(to_sitk(ct((2, 5, 6))), str(whole), True)
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(10, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        volume = read(path)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert np.isfinite(volume.affine).all()


@pytest.mark.parametrize("name", ["sizes", "space origin", "dimension", "labels", "Line Skip"])
def test_a_field_of_endless_length_is_refused_before_itk_crashes_over_it(tmp_path, capfd, name):
    voxels = np.zeros((2, 3, 4), np.int16)
    path = nrrd_file(tmp_path / "long.nrrd", voxels, f"{name}: {'(1,2,3) ' * 400}\n")
    refused(path, "damaged", capfd)
    path = nrrd_file(tmp_path / "notes.nrrd", voxels, f"content: {'x' * 3000}\nkey:={'y' * 3000}\n")
    np.testing.assert_array_equal(read(path).voxels, voxels)


def test_components_without_number_take_no_memory(tmp_path, capfd):
    path = tmp_path / "many.nrrd"
    path.write_bytes(
        b"NRRD0004\ntype: float\ndimension: 4\nsizes: 4000000000 2 2 2\n"
        b"kinds: vector domain domain domain\nencoding: gzip\nendian: little\n\n" + bytes(99)
    )
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path, "more than this reader allows|claims", capfd)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds a process's memory")
@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
@pytest.mark.parametrize(
    ("reader", "words"), [(bad_readers.killed, "crashed"), (bad_readers.endless, "GiB of memory")]
)
def test_a_child_that_goes_down_while_it_reads_is_one_sentence(
    tmp_path, capfd, monkeypatch, ending, reader, words
):
    path = tmp_path / f"a{ending}"
    SimpleITK.WriteImage(to_sitk(ct()), str(path))
    with monkeypatch.context() as patch:
        patch.setattr(sandboxed_itk, "image_voxels", reader)
        patch.setattr(itk_image, "MEMORY", 1 << 30)
        refused(path, words, capfd)
    np.testing.assert_array_equal(read(path).voxels, ct().voxels)
