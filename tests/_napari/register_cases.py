"""Data of the registration tests: two bodies, and a fast replacement for the engine."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
from napari.layers import Layer
from scipy.spatial.transform import Rotation

from tomochrome._napari.layers.volume_layers import volume_layer
from tomochrome.runtime import check, report
from tomochrome.transform import Transform
from tomochrome.volume import Provenance, Volume, default_affine

SHIFT = np.array([3.0, -4.0, 5.0])  # LPS mm from fixed to moving points
REPORT = {
    "before": {"ncc": 0.61, "local_ncc": 0.3, "mutual_information": 0.5},
    "after": {"ncc": 0.93, "local_ncc": 0.5, "mutual_information": 0.9},
    "jacobian": {"folded_percent": 0.0, "sd_log": 0.1},
    "inverse_consistency_mm": {"mean": 0.01, "max": 0.3, "p99": 0.05},
}


def body(shift=(0.0, 0.0, 0.0), spacing=(6.0, 4.0, 4.0), shape=(14, 40, 36), affine=None):
    """A CT of a lopsided body with a bone, moved by LPS mm."""
    grid = default_affine(spacing, (-72.0, -80.0, 100.0)) if affine is None else affine
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    x, y, z = np.moveaxis(index @ grid[:3, :3].T + grid[:3, 3] - np.array(shift), -1, 0)
    z = z - 140
    radius = np.sqrt((x / 50) ** 2 + (y / 62) ** 2 + (z / 60) ** 2)
    voxels = np.full(shape, -1000, np.int16)
    voxels[radius < 1] = -90
    voxels[radius < 0.8] = 55
    voxels[np.sqrt((x - 12) ** 2 + (y - 20) ** 2 + (z / 2) ** 2) < 14] = 700
    provenance = Provenance(source="body", kind="phantom", modality="CT")
    return Volume(voxels, grid, "HU", provenance)


def layer_of(volume, name="scan"):
    return Layer.create(*volume_layer(volume, name))


def shift():
    matrix = np.eye(4)
    matrix[:3, 3] = SHIFT
    return Transform.from_affine(matrix)


def oblique():
    """A grid turned by 12 degrees about two axes."""
    affine = default_affine((6.0, 4.0, 4.0))
    turn = Rotation.from_euler("xz", [12, -9], degrees=True).as_matrix()
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = [0, 0, 140] - affine[:3, :3] @ ((np.array((14, 40, 36)) - 1) / 2)
    return affine


class QuickRegister:
    """Return the known shift with progress reports; can be paused."""

    def __init__(self, **report_changes):
        self.hold = threading.Event()
        self.hold.set()
        self.calls = []
        self.report = {**REPORT, **report_changes}
        self.warnings = ()

    def __call__(self, fixed, moving, *, metric=None, **options):
        from tomochrome.registration.pairwise import Registration

        self.calls.append((fixed, moving, options))
        for step in range(6):
            check()
            report(step, 6, "refining")
            metric("coarse" if step < 3 else "fine", step, 1.0 / (1 + step % 3))
        while not self.hold.wait(0.01):
            check()
        forward = shift()
        inverse = forward.inverse()
        ones = np.ones(fixed.shape, np.float32)
        jacobian = replace(fixed, voxels=ones, unit="unknown")
        moved, back = forward.apply(moving, fixed), inverse.apply(fixed, moving)
        return Registration(
            moved, back, forward, inverse, jacobian, dict(self.report), self.warnings
        )
