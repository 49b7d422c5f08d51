"""A small body with organs and labels, and a displaced copy, for registration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from transform_cases import grid

from tomochrome.registration.checked_input import CheckedScan
from tomochrome.volume import Volume

STEP = 5.5  # mm: a registration takes seconds
SHAPE = (19, 22, 23)
AFFINE = grid(SHAPE, (STEP, STEP, STEP))
FINER = ((26, 30, 32), 4.0)  # of the same body, for what a refinement must resolve


def blobs(shape: tuple[int, int, int] = SHAPE, step: float = STEP) -> Volume:
    """A body of soft tissue with organs, in air."""
    z, y, x = (np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2) * step
    hu = np.full(shape, -1000.0)
    hu[(z / 55) ** 2 + (y / 46) ** 2 + (x / 52) ** 2 < 1] = 40
    hu[((z - 10) / 20) ** 2 + (y / 16) ** 2 + ((x + 20) / 18) ** 2 < 1] = -700
    hu[((z + 12) / 14) ** 2 + ((y - 8) / 18) ** 2 + ((x - 16) / 15) ** 2 < 1] = 300
    hu[((z - 14) / 9) ** 2 + ((y + 18) / 9) ** 2 + ((x - 22) / 10) ** 2 < 1] = 900
    hu += np.random.default_rng(2).normal(0, 12, shape)
    return Volume(np.rint(hu).astype(np.int16), grid(shape, (step, step, step)))


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


def without_noise_in_air(volume: Volume) -> Volume:
    voxels = np.asarray(volume.voxels)
    return replace(volume, voxels=np.where(voxels < -900, -1000, voxels).astype(np.int16))


BODY = without_noise_in_air(blobs())
