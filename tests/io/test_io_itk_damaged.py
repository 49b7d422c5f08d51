"""Damaged and hostile NRRD and MetaImage files: in words and without a sound."""

from __future__ import annotations

import itertools
import sys

import bad_readers
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from io_cases import ct, reads_or_refuses
from itk_cases import image, meta, nrrd_file, refused

from tomochrome.errors import Cancelled
from tomochrome.geometry import to_sitk
from tomochrome.io import image_file, itk_image, read, sandboxed_itk
from tomochrome.io.image_file import describe, read_volume
from tomochrome.io.image_formats import open_image
from tomochrome.runtime import Task, current, running


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
        ("none.raw", "is missing"),
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
    monkeypatch.setattr(image_file, "LARGE_BYTES", 1 << 20)
    for ending in (".mha", ".nrrd"):
        SimpleITK.WriteImage(
            image(np.zeros((128, 128, 128), np.int16)), str(tmp_path / f"b{ending}"), True
        )
        refused(tmp_path / f"b{ending}", "decompression bomb", capfd)
    monkeypatch.setattr(itk_image, "_MAX_HEADER", 1000)
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
        stopping = Task(lambda *_: current().cancel())
        with running(stopping), pytest.raises(Cancelled):
            function(open_image(path, kind))


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
    reads_or_refuses(path)


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
