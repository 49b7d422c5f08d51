"""What a scanner would have stored of a known volume: tilted, uneven or shifted slices of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from io_cases import change

from tomochrome.geometry import resample
from tomochrome.geometry.affine import compose
from tomochrome.io.dicom import write_series
from tomochrome.volume import Volume


def leaning(degrees: float, about: str = "x") -> np.ndarray:
    """Where z, y, x of a slice point in LPS whose gantry leans about the patient's x or y axis."""
    angle = np.radians(degrees)
    row, column = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    if about == "x":
        column = np.array([0, np.cos(angle), -np.sin(angle)])
    else:
        row = np.array([np.cos(angle), 0, -np.sin(angle)])
    return np.stack([np.cross(row, column), column, row], axis=1)


def scan(
    truth: Volume,
    directions: np.ndarray,
    positions: Sequence[Sequence[float]],
    matrix: tuple[int, int],
    pixel: float,
) -> np.ndarray:
    """Sample a volume at slices whose first pixels lie at LPS positions, by SimpleITK."""
    planes = []
    for position in positions:
        affine = compose(position, directions, (1.0, pixel, pixel))
        like = Volume(np.broadcast_to(np.uint8(0), (1, *matrix)), affine)
        planes.append(resample(truth, like, fill=-1000).voxels[0])
    return np.stack(planes)


def write_slices(
    folder: Path,
    voxels: np.ndarray,
    directions: np.ndarray,
    positions: Sequence[Sequence[float]],
    pixel: float,
) -> Path:
    """Write slices as a DICOM series with the positions given, whatever they are."""
    volume = Volume(voxels, compose(positions[0], directions, (1.0, pixel, pixel)), "HU")
    write_series(volume, folder)

    steps = np.linalg.norm(np.diff(np.asarray(positions), axis=0), axis=1)
    thickness = float(np.median(steps))

    def place(dataset, i):
        dataset.ImagePositionPatient = [f"{v:.6f}" for v in positions[i]]
        dataset.SliceThickness = f"{thickness:.2f}"

    return change(folder, place)


def gantry(
    folder: Path,
    truth: Volume,
    degrees: float,
    gaps: Sequence[float],
    pixel: float,
    about: str = "x",
) -> Path:
    """Write what a gantry leaning over a table that moves along z would have stored.

    ``gaps`` are the table's steps in mm. The slices are as large as the volume, and the
    middle one goes through its middle.
    """
    directions = leaning(degrees, about)
    spacing, shape = np.array(truth.spacing), np.array(truth.shape)
    middle = truth.affine[:3, :3] @ ((shape - 1) / 2) + truth.affine[:3, 3]
    matrix = tuple(int(v) for v in np.round(shape[1:] * spacing[1:] / pixel))
    half = directions[:, 1] * (matrix[0] - 1) + directions[:, 2] * (matrix[1] - 1)
    table = np.concatenate([[0], np.cumsum(gaps)])
    positions = [middle - half * pixel / 2 + (0, 0, t - table[-1] / 2) for t in table]
    return write_slices(
        folder, scan(truth, directions, positions, matrix, pixel), directions, positions, pixel
    )
