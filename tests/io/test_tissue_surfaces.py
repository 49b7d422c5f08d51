"""Surfaces, ``.seg.nrrd``, color tables and names of tissues, judged by other readers."""

from __future__ import annotations

import json
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage
from tissue_file_cases import EXTRA, MARKERS, coloring, tissue_markers

from marker_cases import STORED, marked, places, stored_as, turned
from tomochrome.color.palettes import palette
from tomochrome.errors import Cancelled, OptionError, OutputError
from tomochrome.geometry import from_sitk, same_grid
from tomochrome.io import read, surface, surfaces, write, write_surfaces
from tomochrome.io.tissue_segments import color_table, names_json
from tomochrome.notices import Notice
from tomochrome.runtime import Task, running
from tomochrome.tissue import Tissue
from tomochrome.volume import Provenance, Volume, default_affine


def ball(spacing=(3.0, 1.0, 1.0), radius=20.0) -> Volume:
    shape = tuple(int(2.6 * radius / s) for s in spacing)
    affine = default_affine(spacing, (-100.0, 50.0, 7.0))
    grid = np.indices(shape).reshape(3, -1)
    at = (affine[:3, :3] @ grid).T
    inside = np.linalg.norm(at - at.mean(axis=0), axis=1) < radius
    labels = np.where(inside.reshape(shape), Tissue.LIVER, 0).astype(np.uint8)
    return Volume(labels, affine, "tissue", Provenance(extra=EXTRA))


def measured(points: np.ndarray, faces: np.ndarray) -> tuple[float, np.ndarray]:
    """Signed volume (positive if the triangles face outside) and center of what is enclosed."""
    a, b, c = (points[faces[:, i]].astype(float) for i in range(3))
    parts = np.einsum("ij,ij->i", a, np.cross(b, c)) / 6
    return parts.sum(), ((a + b + c) / 4 * parts[:, None]).sum(axis=0) / parts.sum()


def is_watertight(faces: np.ndarray) -> bool:
    """Whether each edge is run through as often in one direction as in the other."""
    edges = Counter(map(tuple, np.concatenate([faces[:, [i, (i + 1) % 3]] for i in range(3)])))
    return all(edges[b, a] == n for (a, b), n in edges.items())


def stl(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A reader of binary STL: points (one for each different corner) and triangles."""
    data = path.read_bytes()
    (count,) = struct.unpack("<I", data[80:84])
    assert len(data) == 84 + 50 * count
    assert data[:80].startswith(b"SPACE=LPS")
    rows = np.frombuffer(data[84:], np.dtype("<12f4, <u2"))["f0"]
    points, index = np.unique(rows[:, 3:].reshape(-1, 3), axis=0, return_inverse=True)
    return points, index.reshape(-1, 3)


@pytest.mark.parametrize("spacing", [(3.0, 1.0, 1.0), (1.0, 1.0, 1.0), (5.0, 0.8, 0.8)])
def test_a_ball_is_round_closed_and_as_large_as_it_is(spacing) -> None:
    volume = ball(spacing)
    points, faces = surface(volume, [Tissue.LIVER])
    assert is_watertight(faces)
    enclosed, center = measured(points, faces)
    assert enclosed == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.06)
    radii = np.linalg.norm(points - center, axis=1)
    assert np.abs(radii - 20).max() < 0.55 * max(spacing)  # half a voxel: no steps are left
    assert np.std(radii) < 0.17 * max(spacing)


def test_any_mask_is_watertight_even_at_the_border_and_a_thin_one_is_there() -> None:
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.normal(size=(12, 30, 28)), 1.2) > 0.05
    labels = np.where(noise, Tissue.MUSCLE, 0).astype(np.uint8)
    labels[6, 5, :] = Tissue.VESSEL
    labels[0, :2, :] = Tissue.SKIN
    labels[11, 29, 27] = Tissue.EYE
    volume = Volume(labels, default_affine((2.0, 1.0, 1.0)), "tissue")
    for tissue in (Tissue.MUSCLE, Tissue.VESSEL, Tissue.SKIN):
        points, faces = surface(volume, [tissue])
        assert len(faces) > 3
        assert is_watertight(faces)
        assert measured(points, faces)[0] > 0
    for tissue in (Tissue.EYE, Tissue.BRAIN):  # a speck, and none at all
        assert len(surface(volume, [tissue])[1]) == 0


@pytest.mark.parametrize(("order", "flips"), STORED)
def test_surfaces_are_where_the_tissues_are_in_the_patient(tmp_path, order, flips) -> None:
    volume = stored_as(turned(marked(), 20, -15, 10), order, flips)
    true = places(volume)
    for name, tissue in MARKERS.items():
        write_surfaces(tissue_markers(volume), tmp_path / "t.stl", only=[tissue], force=True)
        enclosed, center = measured(*stl(tmp_path / "t.stl"))
        assert enclosed > 0  # triangles face outside in mirrored grids, too
        np.testing.assert_allclose(center, true[name], atol=0.4)


def test_ply_is_read_with_colors_by_vtk(tmp_path) -> None:
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOPLY import vtkPLYReader

    volume = tissue_markers()
    write(volume, tmp_path / "t.ply")
    assert b"comment SPACE=LPS" in (tmp_path / "t.ply").read_bytes()[:200]
    reader = vtkPLYReader()
    reader.SetFileName(str(tmp_path / "t.ply"))
    reader.Update()
    made = reader.GetOutput()
    points = vtk_to_numpy(made.GetPoints().GetData())
    colors = vtk_to_numpy(made.GetPointData().GetScalars())[:, :3]
    true = places(marked())
    for name, tissue in MARKERS.items():
        own = points[(colors == palette().rgb[tissue]).all(axis=1)]
        np.testing.assert_allclose((own.min(axis=0) + own.max(axis=0)) / 2, true[name], atol=0.5)


def test_stl_is_read_by_vtk(tmp_path) -> None:
    from vtkmodules.vtkIOGeometry import vtkSTLReader

    write(tissue_markers(), tmp_path / "t.stl")
    reader = vtkSTLReader()
    reader.SetFileName(str(tmp_path / "t.stl"))
    reader.Update()
    assert reader.GetOutput().GetNumberOfPolys() == len(stl(tmp_path / "t.stl")[1])


def test_a_bone_is_one_solid_with_its_marrow(tmp_path) -> None:
    labels = ball().voxels.copy()
    bone, marrow = Tissue.CORTICAL_BONE, Tissue.MARROW
    inner = ndimage.binary_erosion(labels > 0, iterations=3)
    labels[labels > 0] = bone
    labels[inner] = marrow
    volume = Volume(labels, ball().affine, "tissue", Provenance(extra=EXTRA))
    for only, name, filled in (
        ([bone, marrow], b"Cortical bone with marrow", [bone, marrow]),
        (None, b"Cortical bone with marrow", [bone, marrow]),
        ([bone], b"Cortical bone", [bone]),
        ([marrow], b"Bone marrow", [marrow]),
    ):
        write_surfaces(volume, tmp_path / "t.ply", only=only, force=True)
        write_surfaces(volume, tmp_path / "t.stl", only=only, force=True)
        header = (tmp_path / "t.ply").read_bytes().partition(b"end_header")[0].splitlines()
        assert b"comment " + name in header
        expected = np.isin(labels, filled).sum() * 3
        assert measured(*stl(tmp_path / "t.stl"))[0] == pytest.approx(expected, rel=0.1)


def test_absent_tissues_and_specks_are_named(tmp_path) -> None:
    volume = ball()
    labels = volume.voxels.copy()
    labels[1, 1, 1] = Tissue.ADRENAL
    volume = Volume(labels, volume.affine, "tissue", Provenance(extra=EXTRA))
    everything = set(Tissue) - {Tissue.LIVER, Tissue.ADRENAL}
    for only, words in (
        ([Tissue.EYE, Tissue.BRAIN], "has none of the chosen tissues (brain, eye)"),
        (everything, "marrow, cartilage, 15 more"),
        ([Tissue.AIR], "no tissue is chosen"),
        ([], "no tissue is chosen"),
        ([Tissue.ADRENAL, Tissue.EYE], "the tissues (adrenal) have too few voxels for a surface"),
    ):
        with pytest.raises(OutputError) as refused:
            write_surfaces(volume, tmp_path / "t.stl", only=only)
        assert words in str(refused.value)
    assert not list(tmp_path.iterdir())
    with pytest.raises(OutputError, match=r"surfaces end in \.stl or \.ply, unlike .*t\.nii\.gz"):
        write_surfaces(volume, tmp_path / "t.nii.gz")
    with pytest.raises(OptionError, match="unknown tissue 'livver'"):
        write_surfaces(volume, tmp_path / "t.stl", only=["livver"])
    skipped: list[Notice] = []
    write_surfaces(volume, tmp_path / "t.stl", only="liver, eye", skipped=skipped)
    assert len(stl(tmp_path / "t.stl")[1]) > 100
    assert not skipped
    write_surfaces(volume, tmp_path / "t.ply", skipped=skipped)
    assert [notice.text for notice in skipped] == ["no surface of adrenal: too few voxels"]
    assert (tmp_path / "t.ply").read_bytes().split(b"\n")[3] == b"comment Liver"


def slicer_segments(path: Path) -> list[dict[str, str]]:
    """A reader of the keys by which 3D Slicer reads a ``.seg.nrrd``."""
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    keys = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    assert keys["Segmentation_MasterRepresentation"] == "Binary labelmap"
    assert keys["Segmentation_ContainedRepresentationNames"].split("|")[0] == "Binary labelmap"
    assert keys["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"
    segments = []
    while (start := f"Segment{len(segments)}_") + "ID" in keys:
        names = ("ID", "Name", "Color", "LabelValue", "Layer", "Extent", "Tags")
        segments.append({name: keys[start + name] for name in names})
    return segments


@pytest.mark.parametrize(("order", "flips"), STORED[::5])
def test_seg_nrrd_has_names_colors_and_voxels_for_3d_slicer(tmp_path, order, flips) -> None:
    volume = tissue_markers(stored_as(turned(marked(), 20, -15, 10), order, flips))
    write(volume, tmp_path / "t.seg.nrrd")
    image = SimpleITK.ReadImage(str(tmp_path / "t.seg.nrrd"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), volume.voxels)
    assert same_grid(from_sitk(image), volume, tolerance_mm=1e-3)
    segments = slicer_segments(tmp_path / "t.seg.nrrd")
    assert {s["Name"] for s in segments} == {t.title for t in MARKERS.values()}
    for segment in segments:
        tissue = Tissue(int(segment["LabelValue"]))
        assert segment["Name"] == tissue.title
        rgb = np.asarray(segment["Color"].split(), float) * 255
        np.testing.assert_array_equal(np.rint(rgb), palette().rgb[tissue])
        assert segment["Layer"] == "0"
        last = [f"{0} {n - 1}" for n in image.GetSize()]
        assert segment["Extent"] == " ".join(last)
        tags = dict(tag.split(":", 1) for tag in segment["Tags"].rstrip("|").split("|"))
        terms = tags["TerminologyEntry"].split("~")
        assert len(terms) == 7
        assert [term.count("^") for term in (*terms[1:4], *terms[5:])] == [2] * 5
        assert terms[2].startswith("SCT^")


def test_color_table_and_names_are_those_of_the_palette(tmp_path) -> None:
    rows = [line.split() for line in color_table("colorblind-safe").splitlines() if line[0] != "#"]
    assert [int(row[0]) for row in rows] == list(map(int, Tissue))
    for row in rows[1:]:
        assert row[1].replace("_", " ") == Tissue(int(row[0])).title
        assert [int(v) for v in row[2:5]] == palette("colorblind-safe").rgb[int(row[0])].tolist()
        assert row[5] == "255"
    write(coloring()[1].tissue_volume("colorblind-safe"), tmp_path / "t.nii.gz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.json", "t.nii.gz"]
    assert (tmp_path / "t.json").read_text() == names_json("colorblind-safe")
    labels = {
        entry["value"]: entry for entry in json.loads(names_json("colorblind-safe"))["labels"]
    }
    assert labels[Tissue.KIDNEY]["name"] == "kidney"
    assert labels[Tissue.KIDNEY]["type"]["value"] == "64033007"
    assert read(tmp_path / "t.nii.gz").shape == coloring()[0].shape


def test_what_does_not_fit_is_refused_and_a_cancelled_surface_leaves_nothing(
    tmp_path, monkeypatch
) -> None:
    volume, chroma = coloring()
    for name in ("t.stl", "t.ply", "t.seg.nrrd"):
        with pytest.raises(OutputError, match="holds tissue maps only"):
            write(volume, tmp_path / name)
        empty = Volume(np.zeros(volume.shape, np.uint8), volume.affine, "tissue")
        with pytest.raises(OutputError, match="no tissue but air"):
            write(empty, tmp_path / name)
    task = Task(lambda done, total, stage: task.cancel() if done == 1 else None)
    with running(task), pytest.raises(Cancelled):
        write_surfaces(chroma.tissue_volume(), tmp_path / "t.stl")
    monkeypatch.setattr(surfaces, "check", lambda: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write_surfaces(chroma.tissue_volume(), tmp_path / "t.stl")
    assert list(tmp_path.iterdir()) == []
