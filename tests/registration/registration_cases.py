"""A small body with organs and labels, and a displaced copy, for registration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from transform_cases import grid

from tomochrome.registration.checked_input import CheckedScan
from tomochrome.volume import Volume

SHAPE = (26, 30, 32)
AFFINE = grid(SHAPE, (4.0, 4.0, 4.0))


def blobs(affine: np.ndarray = AFFINE, shape: tuple[int, int, int] = SHAPE) -> Volume:
    """A body of soft tissue with organs, in air."""
    z, y, x = np.indices(shape) * 4.0 - (np.array(shape)[:, None, None, None] - 1) * 2.0
    hu = np.full(shape, -1000.0)
    hu[(z / 55) ** 2 + (y / 46) ** 2 + (x / 52) ** 2 < 1] = 40
    hu[((z - 10) / 20) ** 2 + (y / 16) ** 2 + ((x + 20) / 18) ** 2 < 1] = -700
    hu[((z + 12) / 14) ** 2 + ((y - 8) / 18) ** 2 + ((x - 16) / 15) ** 2 < 1] = 300
    hu[((z - 14) / 9) ** 2 + ((y + 18) / 9) ** 2 + ((x - 22) / 10) ** 2 < 1] = 900
    hu += np.random.default_rng(2).normal(0, 12, shape)
    return Volume(np.rint(hu).astype(np.int16), affine)


def labels_of(volume: Volume) -> Volume:
    values = np.asarray(volume.voxels)
    found = np.digitize(values, (-850, -300, 170, 600)).astype(np.uint8)
    return Volume(found, volume.affine, "unknown")


def shifted(volume: Volume, mm: float) -> Volume:
    affine = volume.affine.copy()
    affine[:3, 3] += mm
    return replace(volume, affine=affine)


def scans(
    fixed: Volume,
    moving: Volume,
    *,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
) -> tuple[CheckedScan, CheckedScan]:
    """Return two volumes, and masks that are not checked, in the form that registration takes."""
    return CheckedScan.of(fixed, "fixed", fixed_mask), CheckedScan.of(moving, "moving", moving_mask)


_NOISY = blobs()
BODY = replace(  # in air without noise
    _NOISY,
    voxels=np.where(_NOISY.voxels < -900, -1000, _NOISY.voxels).astype(np.int16),
)
