"""Surfaces of tissues as STL or PLY, in mm of the patient's LPS system.

3D Slicer reads the words ``SPACE=LPS`` in the header, and takes LPS if there are none, as do most
programs for 3D printing no system at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.errors import OutputError
from tomochrome.formats import PLY, STL, check_package, format_of
from tomochrome.geometry.morphology import large_parts
from tomochrome.io.tissue_segments import Segment, in_short, segments_of
from tomochrome.notices import Notice
from tomochrome.runtime import check, check_writable, report, write_whole
from tomochrome.tissue import Tissue
from tomochrome.volume import OF_RESTORED, Volume

_NOTE: Final = "SPACE=LPS mm, Tomochrome, not for diagnosis"
_BLUR: Final = 0.7  # voxels: removes the steps of the labels, keeps vessels of three voxels
_PASS_BAND: Final = 0.02  # of the windowed sinc filter (Taubin et al. 1996)
_ROUNDS: Final = 30
_MIN_VOXELS: Final = 8  # specks smaller than this have no surface
_TRIANGLE: Final = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("note", "<u2")])
_POINT: Final = np.dtype([("place", "<f4", 3), ("color", "u1", 3)])
_FACE: Final = np.dtype([("count", "u1"), ("points", "<i4", 3)])

Mesh = tuple[NDArray[np.float32], NDArray[np.int32]]
"""Points (n, 3) in LPS mm, and triangles (m, 3): indices of points, counterclockwise outside."""
_EMPTY: Final[Mesh] = np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)


def surface(volume: Volume, tissues: Iterable[Tissue | int]) -> Mesh:
    """Return the closed surface of some tissues together.

    The surface is that of the mask, smoothed over about a voxel, without isolated specks of a few
    voxels; where it meets the border of the volume it is closed there.

    Parameters
    ----------
    volume
        A tissue map.
    tissues
        The tissues inside the surface.

    Returns
    -------
    tuple
        Points (n, 3) in LPS mm and triangles (m, 3); both empty if there is no such voxel.
    """
    from vtkmodules.util import numpy_support
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D, vtkWindowedSincPolyDataFilter

    to_vtk: Any = numpy_support.numpy_to_vtk
    to_numpy: Any = numpy_support.vtk_to_numpy
    mask = np.isin(volume.voxels, [int(t) for t in tissues])
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    if not boxes or boxes[0] is None:
        return _EMPTY
    box = boxes[0]
    start = np.array([part.start for part in box]) - 3
    inside = np.pad(mask[box], 3).astype(np.float32)
    check()
    soft = ndimage.gaussian_filter(inside, _BLUR)  # does not reach the padding
    check()
    kept = ndimage.binary_dilation(soft >= 0.5, iterations=2)
    # what is thinner than the blur would vanish
    soft[large_parts((inside > 0) & ~kept, _MIN_VOXELS)] = 0.51
    if soft.max() < 0.5:
        return _EMPTY
    check()
    image = vtkImageData()
    image.SetDimensions(*soft.shape[::-1])
    image.GetPointData().SetScalars(to_vtk(soft.ravel(), deep=True))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.5)
    edges.ComputeNormalsOff()
    edges.ComputeScalarsOff()
    smooth = vtkWindowedSincPolyDataFilter()
    smooth.SetInputConnection(edges.GetOutputPort())
    smooth.SetNumberOfIterations(_ROUNDS)
    smooth.SetPassBand(_PASS_BAND)
    smooth.NormalizeCoordinatesOn()
    smooth.BoundarySmoothingOff()
    smooth.Update()
    check()
    made = smooth.GetOutput()
    index = to_numpy(made.GetPoints().GetData())[:, ::-1] + start  # z, y, x
    places = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    faces = to_numpy(made.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return places.astype(np.float32), _outward(places, faces.astype(np.int32))


def _outward(places: NDArray[np.float64], faces: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the triangles, all turned over if the volume inside would be negative."""
    a, b, c = (places[faces[:, i]] - places.mean(axis=0) for i in range(3))
    negative = np.einsum("ij,ij->", a, np.cross(b, c)) < 0
    return np.ascontiguousarray(faces[:, ::-1]) if negative else faces


def write_surfaces(
    volume: Volume,
    path: str | os.PathLike[str],
    *,
    only: str | Iterable[str | Tissue] | None = None,
    force: bool = False,
    skipped: list[Notice] | None = None,
) -> Path:
    """Write the surface of each tissue of a tissue map, all in one STL or PLY file.

    Marrow has no surface of its own if cortical bone is written as well, but fills that of the
    bone, which is one solid.

    Coordinates are mm in the patient's LPS system, and the header says so. STL has no colors; PLY
    has those of the palette.

    Parameters
    ----------
    volume
        A tissue map, unit ``"tissue"``.
    path
        File that ends in ``.stl`` or ``.ply``.
    only
        The tissues to write, or their names; None for all.
    force
        Replace an existing file.
    skipped
        A list to which a warning is added that names the tissues with too few voxels for a
        surface.

    Returns
    -------
    Path
        ``path`` as a `Path`.

    Raises
    ------
    OutputError
        If VTK is not installed, it is not a tissue map, it has none of the tissues or only specks
        of a few voxels, or the file cannot be written or has another ending.
    OptionError
        If a tissue is unknown.
    Cancelled
        If the task was cancelled.
    """
    if format_of(path) not in (STL, PLY):
        raise OutputError(f"surfaces end in {STL.ending} or {PLY.ending}, unlike '{path}'")
    check_package(format_of(path))
    target = check_writable(path, force=force)
    segments = segments_of(volume, only)
    values = {segment.value for segment in segments}
    inner = {Tissue.MARROW} if values >= {Tissue.MARROW, Tissue.CORTICAL_BONE} else set()
    segments = [segment for segment in segments if segment.value not in inner]
    meshes: list[tuple[Segment, Mesh]] = []
    for done, segment in enumerate(segments):
        report(done, len(segments), "surfaces")
        filled = inner if segment.value == Tissue.CORTICAL_BONE else set()
        if filled:
            segment = replace(segment, name=f"{segment.name} with marrow")
        meshes.append((segment, surface(volume, {segment.value, *filled})))
    report(len(segments), len(segments), "surfaces")
    small = [Tissue(segment.value) for segment, (_, faces) in meshes if not len(faces)]
    meshes = [(segment, mesh) for segment, mesh in meshes if len(mesh[1])]
    if not meshes:
        raise OutputError(f"the tissues ({in_short(small)}) have too few voxels for a surface")
    if small and skipped is not None:
        text = f"no surface of {in_short(small)}: too few voxels"
        skipped.append(Notice("option-unused", "warning", text))
    restored = volume.restored is not None or volume.provenance.of_restored
    note = f"{_NOTE}, {OF_RESTORED}" if restored else _NOTE
    with write_whole(target, force=force) as temporary, temporary.open("wb") as file:
        (_write_ply if format_of(path) == PLY else _write_stl)(file, meshes, note)
    return target


def _write_stl(file: BinaryIO, meshes: list[tuple[Segment, Mesh]], note: str) -> None:
    count = sum(len(faces) for _, (_, faces) in meshes)
    file.write(note.encode().ljust(80) + np.uint32(count).astype("<u4").tobytes())
    for _, (places, faces) in meshes:
        check()
        triangles: NDArray[Any] = np.zeros(len(faces), _TRIANGLE)
        corners = places[faces]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        triangles["normal"], triangles["corners"] = normal / np.maximum(length, 1e-12), corners
        file.write(triangles.tobytes())


def _write_ply(file: BinaryIO, meshes: list[tuple[Segment, Mesh]], note: str) -> None:
    """Write binary PLY with a color for each point."""
    points, faces = (sum(len(mesh[i]) for _, mesh in meshes) for i in (0, 1))
    names = ", ".join(segment.name for segment, _ in meshes)
    properties = [f"property float {axis}" for axis in "xyz"]
    properties += [f"property uchar {color}" for color in ("red", "green", "blue")]
    lines = [
        "ply", "format binary_little_endian 1.0", f"comment {note}", f"comment {names}",
        f"element vertex {points}", *properties, f"element face {faces}",
        "property list uchar int vertex_indices", "end_header",
    ]  # fmt: skip
    file.write(("\n".join(lines) + "\n").encode("ascii", "replace"))
    for segment, (places, _) in meshes:
        check()
        block: NDArray[Any] = np.zeros(len(places), _POINT)
        block["place"], block["color"] = places, segment.rgb
        file.write(block.tobytes())
    first = 0
    for _, (places, triangles) in meshes:
        check()
        rows: NDArray[Any] = np.zeros(len(triangles), _FACE)
        rows["count"], rows["points"] = 3, triangles + first
        file.write(rows.tobytes())
        first += len(places)
