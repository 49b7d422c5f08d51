"""Compiled kernel of the augmentation: sampling a patient through a deformation.

It releases the GIL, so that a thread can prepare the next batch during a training step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomochrome.runtime.kernels import kernel


class Anatomy(NamedTuple):
    """A patient as input of the kernel.

    Parameters
    ----------
    structures, hu
        uint8 and int16 (z, y, x); ``hu`` is read only with ``use_hu``.
    use_hu
        Whether to use the patient's own HU.
    spacing
        Voxel spacing (z, y, x) in mm.
    """

    structures: NDArray[np.uint8]
    hu: NDArray[np.int16]
    use_hu: bool
    spacing: NDArray[np.float64]


class Contrast(NamedTuple):
    """Contrast and texture of each structure, arrays (256,).

    Parameters
    ----------
    remap
        The structure that replaces it.
    gain, shift
        ``HU = hu * gain + shift`` (``hu`` is 0 without ``use_hu``).
    texture, grain
        Standard deviation of the texture in HU, and its correlation length in mm.
    """

    remap: NDArray[np.uint8]
    gain: NDArray[np.float32]
    shift: NDArray[np.float32]
    texture: NDArray[np.float32]
    grain: NDArray[np.float32]


class Planes(NamedTuple):
    """Position of parallel planes in the patient.

    Parameters
    ----------
    center
        Voxel (z, y, x) at the center of the output.
    matrix
        3x3 from output mm to patient mm.
    offsets, parts
        Offsets of the planes, and of the subplanes averaged for each, in mm.
    pixel
        Size of an output pixel in mm.
    coarse, step
        Displacement in mm (plane, i, j, 3) on every ``step``-th pixel.
    first_labelled
        Index of the first plane to label.
    """

    center: NDArray[np.float64]
    matrix: NDArray[np.float64]
    offsets: NDArray[np.float64]
    parts: NDArray[np.float64]
    pixel: float
    coarse: NDArray[np.float32]
    step: int
    first_labelled: int


class Noise(NamedTuple):
    """Periodic unit-variance noise (n, n, n), correlated over about four voxels, and an offset."""

    tile: NDArray[np.float32]
    shift: NDArray[np.float64]


@kernel(fastmath=True)
def _displacement(coarse: Any, p: int, ci: float, cj: float, out: Any) -> None:
    """Interpolate the displacement of plane ``p`` at fractional coarse indices (ci, cj)."""
    i0, j0 = int(ci), int(cj)
    fi, fj = ci - i0, cj - j0
    for c in range(3):
        out[c] = (1 - fi) * ((1 - fj) * coarse[p, i0, j0, c] + fj * coarse[p, i0, j0 + 1, c]) + (
            fi * ((1 - fj) * coarse[p, i0 + 1, j0, c] + fj * coarse[p, i0 + 1, j0 + 1, c])
        )


@kernel(fastmath=True)
def sample_planes(
    anatomy: Anatomy, contrast: Contrast, where: Planes, noise: Noise, out: Any, labels: Any
) -> None:
    """Sample HU on parallel planes through a deformation, and structures on some of them.

    Parameters
    ----------
    anatomy, contrast, where, noise
        The patient, its contrast, the planes, and the texture noise.
    out, labels
        Outputs: float32 (plane, y, x) in HU, and uint8 (plane, y, x) from the first labelled
        plane on.
    """
    structures, hu, use_hu, spacing = anatomy
    remap, gain, shift, texture, grain = contrast
    center, matrix, planes, subplanes, pixel, coarse, step, first_labelled = where
    noise_tile, tile_shift = noise
    moved = np.empty(3)
    n_z, n_y, n_x = structures.shape
    n_p, height, width = out.shape
    size = noise_tile.shape[0]
    for p in range(n_p):
        k_label = p - first_labelled
        labelled = 0 <= k_label < labels.shape[0]
        for i in range(height):
            for j in range(width):
                _displacement(coarse, p, i / step, j / step, moved)
                dz, dy, dx = moved[0], moved[1], moved[2]
                py = (i - 0.5 * (height - 1)) * pixel
                px = (j - 0.5 * (width - 1)) * pixel
                total = 0.0
                for s in range(subplanes.shape[0]):
                    pz = planes[p] + subplanes[s]
                    qz = matrix[0, 0] * pz + matrix[0, 1] * py + matrix[0, 2] * px + dz
                    qy = matrix[1, 0] * pz + matrix[1, 1] * py + matrix[1, 2] * px + dy
                    qx = matrix[2, 0] * pz + matrix[2, 1] * py + matrix[2, 2] * px + dx
                    vz = min(max(center[0] + qz / spacing[0], 0.0), n_z - 1.001)
                    vy = center[1] + qy / spacing[1]
                    vx = center[2] + qx / spacing[2]
                    if vy < 0 or vx < 0 or vy > n_y - 1.001 or vx > n_x - 1.001:
                        total += -1000.0
                        if labelled and s == 0:
                            labels[k_label, i, j] = 0
                        continue
                    z0, y0, x0 = int(vz), int(vy), int(vx)
                    fz, fy, fx = vz - z0, vy - y0, vx - x0
                    nearest = remap[
                        structures[
                            z0 + (1 if fz > 0.5 else 0),
                            y0 + (1 if fy > 0.5 else 0),
                            x0 + (1 if fx > 0.5 else 0),
                        ]
                    ]
                    if labelled and s == 0:
                        labels[k_label, i, j] = nearest
                    value = 0.0
                    for k in range(8):
                        ez, ey, ex = k >> 2, (k >> 1) & 1, k & 1
                        w = (fz if ez else 1 - fz) * (fy if ey else 1 - fy) * (fx if ex else 1 - fx)
                        name = structures[z0 + ez, y0 + ey, x0 + ex]
                        corner = shift[name]
                        if use_hu:
                            corner += gain[name] * hu[z0 + ez, y0 + ey, x0 + ex]
                        value += w * corner
                    sd = texture[nearest]
                    if sd > 0:
                        g = 4.0 / grain[nearest]
                        tz = int(qz * g + tile_shift[0] + 1e4) % size
                        ty = int(qy * g + tile_shift[1] + 1e4) % size
                        tx = int(qx * g + tile_shift[2] + 1e4) % size
                        value += sd * noise_tile[tz, ty, tx]
                    total += value
                out[p, i, j] = total / subplanes.shape[0]
