"""Register a follow-up to an earlier scan, evaluate the result, and save the transform.

Usage: ``python examples/register_two_scans.py FIXED MOVING``. Without arguments, two phantom
scans of the same patient are generated, the second in the arterial phase, rotated and shifted.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

import tomochrome as tc
from tomochrome.phantom import make_patient


def two_scans() -> tuple[tc.Volume, tc.Volume]:
    """Return a native scan, and an arterial one with another position of the patient."""
    spacing = (8.0, 8.0, 8.0)
    native = make_patient(3, "chest", spacing).ct
    arterial = make_patient(3, "chest", spacing, phase="arterial").ct
    angle = np.radians(10)
    motion = np.eye(4)
    motion[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    motion[:3, 3] = (30.0, -20.0, 15.0)
    return native, replace(arterial, affine=motion @ arterial.affine)


def main(*paths: str) -> None:
    """Register, print the report, save, and apply the transform to another volume."""
    fixed, moving = [tc.read(path) for path in paths] if paths else two_scans()
    result = tc.register(fixed, moving, init="affine", refine=20)

    before, after = result.report["before"], result.report["after"]
    print(f"correlation {before['ncc']:.2f} before, {after['ncc']:.2f} after")
    print(f"folded voxels: {result.report['jacobian']['folded_percent']:g} %")
    error = result.report["inverse_consistency_mm"]["mean"]
    print(f"mean inverse consistency error: {error:.2f} mm")
    for warning in result.warnings:
        print(f"note: {warning}")

    board = tc.checkerboard(fixed, result.moved, tile_mm=40, color=True)
    tc.write(board, "checkerboard.png", force=True)
    result.forward.save("forward.h5", force=True)

    # the transform applies to any volume in the moving scan's space: colors, labels, doses
    transform = tc.Transform.load("forward.h5")
    bone = replace(moving, voxels=(np.asarray(moving.voxels) > 200).astype(np.uint8))
    bone = replace(bone, unit="unknown", outside=None)
    tc.write(transform.apply(bone, fixed, order="nearest"), "bone.nii.gz", force=True)
    print("written: checkerboard.png, forward.h5, bone.nii.gz")


if __name__ == "__main__":
    main(*sys.argv[1:3])
