"""Small synthetic CT volumes, and series of them with something changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from scipy.spatial.transform import Rotation

from tomochrome.errors import InputError
from tomochrome.geometry.affine import apply, compose
from tomochrome.io import read
from tomochrome.io.dicom import write_series
from tomochrome.volume import Volume

SPACING = (2.5, 0.9, 0.8)
ORIENTATIONS = {
    # columns: where z, y, x of the index point in LPS
    "axial": np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]).T.astype(float),
    "feet-first": np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]]).T.astype(float),
    "sagittal": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]).T.astype(float),
    "coronal": np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]]).T.astype(float),
    "flipped rows": np.array([[0, 0, 1], [0, -1, 0], [1, 0, 0]]).T.astype(float),
    "oblique": Rotation.from_euler("zyx", (20, -15, 30), degrees=True).as_matrix()[:, ::-1],
}


def ct(shape=(7, 24, 20), orientation="axial", spacing=SPACING, seed=0) -> Volume:
    """A body of soft tissue with bone and lung in air: no two slices alike."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    radius = np.hypot(grid[1], grid[2])
    hu = (
        np.where(radius < 0.8, 50.0, -1000.0)
        + 400 * (radius < 0.15)
        - 900 * (grid[2] > 0.4) * (radius < 0.7)
    )
    hu = np.clip(hu + rng.normal(0, 8, shape) + 5 * grid[0], -1024, 3000)
    affine = compose((-30.0, 12.5, 100.25), ORIENTATIONS[orientation], spacing)
    return Volume(np.rint(hu).astype(np.int16), affine, "HU")


def series(folder: Path, volume: Volume | None = None, **options) -> Path:
    """Write a volume as a DICOM series."""
    return write_series(volume if volume is not None else ct(), folder, **options)


def change(folder: Path, edit: Callable[[pydicom.Dataset, int], bool | None]) -> Path:
    """Let ``edit`` change each file's data set; where it returns False, the file is removed."""
    for i, path in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(path)
        if edit(dataset, i) is False:
            path.unlink()
        else:
            dataset.save_as(path)
    return folder


def shuffle_names(folder: Path) -> Path:
    """Give the files names without ending that sort in another order."""
    order = np.random.default_rng(5).permutation(len(list(folder.iterdir())))
    for i, path in zip(order, sorted(folder.iterdir()), strict=True):
        path.rename(folder / f"IM{i:03d}")
    return folder


def same_in_space(a: Volume, b: Volume, tolerance: float = 1e-3) -> bool:
    """Whether two volumes hold the same values at the same places, in whatever order."""
    index = np.indices(a.shape).reshape(3, -1).T
    there = apply(np.linalg.inv(b.affine), apply(a.affine, index))
    rounded = np.rint(there).astype(int)
    if a.voxels.size != b.voxels.size or np.abs(there - rounded).max() > tolerance:
        return False
    if (rounded < 0).any() or (rounded >= b.shape).any():
        return False
    return np.array_equal(a.voxels[tuple(index.T)], b.voxels[tuple(rounded.T)])


def reads_or_refuses(path: Path) -> None:
    """A damaged file ends in a volume that has a place, or in one sentence."""
    try:
        volume = read(path)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert np.isfinite(volume.affine).all()
