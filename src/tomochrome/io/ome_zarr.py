"""Writing OME-Zarr (version 0.4), chunked and at several resolutions, for viewers on the web."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import OutputError
from tomochrome.runtime import check, check_writable, report
from tomochrome.volume import Volume, default_affine

_CHUNK: Final = 32, 256, 256
_SMALLEST: Final = 256  # y and x: no lower resolution is written below this
_COLORS: Final = (
    ("red", "FF0000", True), ("green", "00FF00", True), ("blue", "0000FF", True),
    ("alpha", "FFFFFF", False),
)  # fmt: skip
_MARKS: Final = (".zgroup", ".zattrs", "zarr.json")  # files of which a Zarr group has one


def check_store(path: Path, *, force: bool) -> Path:
    """Check that a Zarr store can be written, and return its path.

    Even with ``force``, a folder is only replaced if it is a Zarr group.

    Raises
    ------
    OutputError
        If the store cannot be written or replaced.
    """
    if path.is_dir() and not any((path / mark).is_file() for mark in _MARKS):
        raise OutputError(f"'{path}' is a folder that is not a Zarr group; choose another name")
    return check_writable(path, force=force)


def write_ome_zarr(volume: Volume, path: Path) -> None:
    """Write a volume as an OME-Zarr image.

    The axes are z, y and x in mm, for colors after the channels red, green, blue and alpha. Lower
    resolutions contain every second voxel along each longer axis, so that no value is invented.
    OME-Zarr 0.4 has no rotations: the attribute ``tomochrome`` contains the affine from the indices
    (z, y, x) to LPS mm, and the position is part of the image's transformation only if its axes are
    those of the patient. It needs the package zarr.
    """
    import zarr

    voxels: NDArray[Any] = np.asarray(volume.voxels)
    steps = _steps(volume.shape)
    group = zarr.create_group(store=str(path), zarr_format=2)
    for number, (z, y, x) in enumerate(steps):
        _write_array(group, str(number), voxels[::z, ::y, ::x], (number, len(steps)))
    group.attrs.update(_attributes(volume, steps))


def _steps(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the steps along z, y and x of each resolution, the finest first."""
    found: list[tuple[int, ...]] = [(1, 1, 1)]
    while True:
        sizes = [-(-n // step) for n, step in zip(shape, found[-1], strict=True)]
        if max(sizes[1:]) <= _SMALLEST:
            return found
        halved = (2 if 2 * n > max(sizes) else 1 for n in sizes)
        found.append(tuple(step * by for step, by in zip(found[-1], halved, strict=True)))


def _write_array(group: Any, name: str, voxels: NDArray[Any], of: tuple[int, int]) -> None:
    """Write one resolution, a few slices at a time."""
    channels = voxels.shape[3:]
    chunks = tuple(min(n, most) for n, most in zip(voxels.shape, _CHUNK, strict=False))
    array = group.create_array(
        name,
        shape=(*channels, *voxels.shape[:3]),
        dtype=voxels.dtype,
        chunks=(*(1 for _ in channels), *chunks),
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )
    depth = len(voxels)
    for start in range(0, depth, chunks[0]):
        check()
        slab = voxels[start : start + chunks[0]]
        array[..., start : start + len(slab), :, :] = np.moveaxis(slab, 3, 0) if channels else slab
        report(of[0] * depth + min(start + chunks[0], depth), of[1] * depth, "writing")


def _attributes(volume: Volume, steps: list[tuple[int, ...]]) -> dict[str, Any]:
    """Return the metadata of the image, with the steps (z, y, x) of each resolution."""
    color, affine = volume.is_rgba, volume.affine
    lead = [{"name": "c", "type": "channel"}] if color else []
    axes = [{"name": axis, "type": "space", "unit": "millimeter"} for axis in "zyx"]
    is_straight = np.allclose(affine[:3, :3], default_affine(volume.spacing)[:3, :3])
    datasets = []
    for number, step in enumerate(steps):
        scale = [float(size * k) for size, k in zip(volume.spacing, step, strict=True)]
        transforms: list[dict[str, Any]] = [{"type": "scale", "scale": [1.0] * len(lead) + scale}]
        if is_straight:
            first = [float(mm) for mm in affine[2::-1, 3]]  # LPS to z, y, x
            transforms.append({"type": "translation", "translation": [0.0] * len(lead) + first})
        datasets.append({"path": str(number), "coordinateTransformations": transforms})
    extra = volume.provenance.extra
    notes = {key: str(extra[key]) for key in ("model", "window", "palette") if extra.get(key)}
    attributes: dict[str, Any] = {
        "multiscales": [{"version": "0.4", "axes": lead + axes, "datasets": datasets}],
        "tomochrome": {
            "affine_zyx_to_lps_mm": affine.tolist(),
            "unit": volume.unit,
            "note": "not for diagnosis",
            **notes,
        },
    }
    if color:
        attributes["omero"] = {
            "channels": [
                {
                    "label": label,
                    "color": code,
                    "active": active,
                    "window": {"min": 0, "max": 255, "start": 0, "end": 255},
                }
                for label, code, active in _COLORS
            ],
            "rdefs": {"model": "color"},
        }
    return attributes
