"""Register a follow-up to an earlier scan, judge it, and keep the transform.

Usage: ``python examples/register_two_scans.py FIXED MOVING``. Without arguments, two phantom
scans are made: the same patient, the second in the arterial phase, turned and shifted.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

import tomochrome as tc
from tomochrome.phantom import make_patient


def two_scans() -> tuple[tc.Volume, tc.Volume]:
    """Return a native scan, and an arterial one of the patient lying otherwise on the table."""
    spacing = (8.0, 8.0, 8.0)
    native = make_patient(3, "chest", spacing).ct
    arterial = make_patient(3, "chest", spacing, phase="arterial").ct
    angle = np.radians(10)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = (30.0, -20.0, 15.0)
    return native, replace(arterial, affine=turn @ arterial.affine)


def main(*paths: str) -> None:
    """Register, report, save, and apply the transform to something else."""
    fixed, moving = [tc.read(path) for path in paths] if paths else two_scans()
    result = tc.register(fixed, moving, init="affine", refine=20)

    before, after = result.report["before"], result.report["after"]
    print(f"correlation {before['ncc']:.2f} before, {after['ncc']:.2f} after")
    print(f"folded voxels: {result.report['jacobian']['folded_percent']:g} %")
    print(f"way back: {result.report['inverse_consistency_mm']['mean']:.2f} mm off on average")
    for warning in result.warnings:
        print(f"note: {warning}")

    board = tc.checkerboard(fixed, result.moved, tile_mm=40, color=True)
    tc.write(board, "checkerboard.png", force=True)
    result.forward.save("forward.h5", force=True)

    # any other volume in the moving scan's space goes the same way: colors, labels, doses
    transform = tc.Transform.load("forward.h5")
    bone = replace(moving, voxels=(np.asarray(moving.voxels) > 200).astype(np.uint8))
    bone = replace(bone, unit="unknown", outside=None)
    tc.write(transform.apply(bone, fixed, order="nearest"), "bone.nii.gz", force=True)
    print("written: checkerboard.png, forward.h5, bone.nii.gz")


if __name__ == "__main__":
    main(*sys.argv[1:3])
