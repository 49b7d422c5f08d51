"""The largest overlap of two patients that an oracle with all labels reaches without folds.

    python benchmarks/registration_bound.py [--region abdomen chest pelvis]

This is not a registration method: it uses both label maps but no grey values, and maximizes the
Dice overlap directly (the mean over all structures of both patients, and over those above 30 ml).
After the flow of a coarse velocity it optimizes the displacement of every voxel, independent of
the others except for a barrier against small tetrahedra; steps that invert a tetrahedron are
reverted. So no iterate folds. This is a stricter condition than positive determinants at the eight
corners of each cell, which do not exclude folds inside it. Only the forward direction is optimized.

A map without folds can reach the overlap found, which is a local maximum; a higher one may exist.
It is not a realistic goal for a registration, which has no labels and must be smooth. A structure
of only one patient has a Dice of 0, as in ``registration.py``. It takes ten minutes per region.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numba import njit, prange

from registration import PATIENTS, SPACING, nearest, say, whole_organs
from tomochrome.evaluate import jacobian_measures, overlap
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.geometry.resample import resample
from tomochrome.phantom import Structure, make_patient
from tomochrome.registration.checked_input import checked_pair
from tomochrome.registration.initialize import initialize
from tomochrome.registration.penalties import roughness, small_jacobian
from tomochrome.registration.velocity import (
    flow,
    resize_field,
    shrink,
    smaller,
    smooth,
    to_mm,
    warp,
)
from tomochrome.registration.working_pair import WorkingPair, make_pair
from tomochrome.transform import Transform, jacobian_map
from tomochrome.volume import Volume

LABELS = 128  # more than the phantom has
ROUGHNESS, FOLDS, MIN_JACOBIAN = 0.01, 100.0, 0.2  # of the coarse flow
FLOOR, UNTANGLED = 0.005, 0.05  # smallest volumes accepted, in the result and in the start
#: Tetrahedra of a cell between eight voxels: one at each corner, and the two between four of them.
#: Five fill a cell, and the two patterns alternate between cells to form a mesh without gaps.
TETS = np.array(
    [[(i, j, k), (1 - i, j, k), (i, 1 - j, k), (i, j, 1 - k)] for i, j, k in np.ndindex(2, 2, 2)]
    + [[(1, 1, 1), (0, 0, 1), (0, 1, 0), (1, 0, 0)], [(0, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1)]]
)
SHARE = 1 / np.linalg.det(TETS[:, 1:] - TETS[:, :1])
ML = float(np.prod(SPACING)) / 1000


@dataclass(frozen=True)
class Fine:
    """A stage of the displacement: grids of its steps, iterations, and the barrier."""

    grids: tuple[int, ...]
    iterations: int
    rate: float
    barrier: float
    least: float
    smooth: int


#: Iterations, learning rate, blur of the label maps (None: exact, at every voxel).
COARSE = ((100, 0.25, 5), (100, 0.25, 2), (80, 0.2, 0), (40, 0.15, None))
FINE = (
    Fine((2, 1), 80, 0.05, 0.2, 0.2, smooth=1),
    Fine((1,), 100, 0.1, 0.12, 0.12, smooth=1),
    Fine((1,), 60, 0.06, 0.05, 0.1, smooth=0),
    Fine((1,), 40, 0.06, 0.01, 0.05, smooth=0),
)


@njit(inline="always")
def _point(field, linear, origin, z, y, x):  # type: ignore[no-untyped-def]
    """Return the mapped position of a voxel, in voxels of the moving patient."""
    a, b, c = z + field[0, 0, z, y, x], y + field[0, 1, z, y, x], x + field[0, 2, z, y, x]
    return (
        linear[0, 0] * a + linear[0, 1] * b + linear[0, 2] * c + origin[0],
        linear[1, 0] * a + linear[1, 1] * b + linear[1, 2] * c + origin[1],
        linear[2, 0] * a + linear[2, 1] * b + linear[2, 2] * c + origin[2],
    )


@njit(cache=True, fastmath=True)
def sums(fixed, moving, linear, origin, field, inter, volume):  # type: ignore[no-untyped-def]
    """Sum the volume of each label of ``moving`` warped by ``field``, and its intersection."""
    depth, height, width = moving.shape
    for z in range(len(fixed)):
        for y in range(fixed.shape[1]):
            for x in range(fixed.shape[2]):
                p, q, r = _point(field, linear, origin, z, y, x)
                i, j, k = int(np.floor(p)), int(np.floor(q)), int(np.floor(r))
                for corner in range(8):
                    ci, cj, ck = i + (corner >> 2), j + ((corner >> 1) & 1), k + (corner & 1)
                    if 0 <= ci < depth and 0 <= cj < height and 0 <= ck < width:
                        label = moving[ci, cj, ck]
                        share = (1 - abs(p - ci)) * (1 - abs(q - cj)) * (1 - abs(r - ck))
                        volume[label] += share
                        if label == fixed[z, y, x]:
                            inter[label] += share


@njit(parallel=True, cache=True, fastmath=True)
def slopes(fixed, moving, linear, origin, field, of_inter, of_volume, out):  # type: ignore[no-untyped-def]
    """Compute the gradient of the sums, weighted by label, with respect to ``field``."""
    depth, height, width = moving.shape
    for z in prange(len(fixed)):
        for y in range(fixed.shape[1]):
            for x in range(fixed.shape[2]):
                p, q, r = _point(field, linear, origin, z, y, x)
                i, j, k = int(np.floor(p)), int(np.floor(q)), int(np.floor(r))
                dp, dq, dr = 0.0, 0.0, 0.0
                for corner in range(8):
                    ci, cj, ck = i + (corner >> 2), j + ((corner >> 1) & 1), k + (corner & 1)
                    if 0 <= ci < depth and 0 <= cj < height and 0 <= ck < width:
                        label = moving[ci, cj, ck]
                        gain = of_volume[label]
                        if label == fixed[z, y, x]:
                            gain += of_inter[label]
                        wp, wq, wr = 1 - abs(p - ci), 1 - abs(q - cj), 1 - abs(r - ck)
                        dp += gain * wq * wr * (1.0 if corner & 4 else -1.0)
                        dq += gain * wp * wr * (1.0 if corner & 2 else -1.0)
                        dr += gain * wp * wq * (1.0 if corner & 1 else -1.0)
                for a in range(3):
                    out[0, a, z, y, x] = linear[0, a] * dp + linear[1, a] * dq + linear[2, a] * dr


@njit(fastmath=True)
def _at(field, z, y, x, t, n):  # type: ignore[no-untyped-def]
    """Return the mapped position of a vertex of a tetrahedron."""
    i, j, k = z + TETS[t, n, 0], y + TETS[t, n, 1], x + TETS[t, n, 2]
    return i + field[0, 0, i, j, k], j + field[0, 1, i, j, k], k + field[0, 2, i, j, k]


@njit(fastmath=True)
def _sides(field, z, y, x, t):  # type: ignore[no-untyped-def]
    """Return three edges of a tetrahedron of a cell, and its volume relative to the original."""
    p, q, r = _at(field, z, y, x, t, 0)
    a, b, c = _at(field, z, y, x, t, 1), _at(field, z, y, x, t, 2), _at(field, z, y, x, t, 3)
    a = a[0] - p, a[1] - q, a[2] - r
    b = b[0] - p, b[1] - q, b[2] - r
    c = c[0] - p, c[1] - q, c[2] - r
    volume = a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2])
    return a, b, c, (volume + a[2] * (b[0] * c[1] - b[1] * c[0])) * SHARE[t]


@njit(fastmath=True)
def _push(slope, z, y, x, t, a, b, c, f):  # type: ignore[no-untyped-def]
    """Add ``f`` times the gradient of a tetrahedron's volume."""
    for m in range(3):
        n, o = (m + 1) % 3, (m + 2) % 3
        ways = b[n] * c[o] - b[o] * c[n], c[n] * a[o] - c[o] * a[n], a[n] * b[o] - a[o] * b[n]
        for v in range(4):
            way = ways[v - 1] if v > 0 else -ways[0] - ways[1] - ways[2]
            slope[0, m, z + TETS[t, v, 0], y + TETS[t, v, 1], x + TETS[t, v, 2]] += f * way


@njit(parallel=True, cache=True, fastmath=True)
def barrier(field, least, weight, slope):  # type: ignore[no-untyped-def]
    """Add the gradient of the mean squared log of volumes below ``least`` to ``slope``."""
    depth, height, width = field.shape[2] - 1, field.shape[3] - 1, field.shape[4] - 1
    scale = 2.0 * weight / (len(TETS) * depth * height * width)
    for parity in range(2):  # layers in turn: no two threads write to the same voxel
        for job in prange((depth + 1 - parity) // 2):
            z = 2 * job + parity
            for y in range(height):
                for x in range(width):
                    for t in range(len(TETS)):
                        a, b, c, volume = _sides(field, z, y, x, t)
                        if volume < least:
                            f = scale * np.log(volume / least) / volume * SHARE[t]
                            _push(slope, z, y, x, t, a, b, c, f)


@njit(fastmath=True)
def _least(field, z, y, x):  # type: ignore[no-untyped-def]
    least = np.inf
    for t in range(len(TETS)):
        least = min(least, _sides(field, z, y, x, t)[3])
    return least


@njit(parallel=True, cache=True, fastmath=True)
def least_volume(field):  # type: ignore[no-untyped-def]
    """Return the smallest volume of the tetrahedra of each cell, (z - 1, y - 1, x - 1)."""
    _, _, depth, height, width = field.shape
    out = np.empty((depth - 1, height - 1, width - 1), np.float32)
    for z in prange(depth - 1):
        for y in range(height - 1):
            for x in range(width - 1):
                out[z, y, x] = _least(field, z, y, x)
    return out


@njit(cache=True)
def take_back(before, after, bad):  # type: ignore[no-untyped-def]
    """Revert steps of ``after`` that are too large, in place: by half at first, then completely.

    ``before`` (1, 3, z, y, x) has no volume below `FLOOR`, nor does the resulting ``after``.
    ``bad`` (n, 3) are the cells of ``after`` with such volumes.
    """
    depth, height, width = before.shape[2:]
    turns = np.zeros((2, depth, height, width), np.int16)  # when voxels and cells were seen last
    cells, turn = [(c[0], c[1], c[2]) for c in bad], 0
    while len(cells) > 0:
        turn += 1
        kept = np.float32(0.5 if turn < 5 else 0.0)
        moved = [(0, 0, 0) for _ in range(0)]
        for z, y, x in cells:
            for corner in range(8):
                i, j, k = z + (corner >> 2), y + ((corner >> 1) & 1), x + (corner & 1)
                if turns[0, i, j, k] >= min(turn, 5):  # done, now or for good
                    continue
                turns[0, i, j, k] = turn
                for axis in range(3):
                    old = before[0, axis, i, j, k]
                    after[0, axis, i, j, k] = old + kept * (after[0, axis, i, j, k] - old)
                moved.append((i, j, k))
        cells = [(0, 0, 0) for _ in range(0)]
        for i, j, k in moved:
            for z in range(max(i - 1, 0), min(i + 1, depth - 1)):
                for y in range(max(j - 1, 0), min(j + 1, height - 1)):
                    for x in range(max(k - 1, 0), min(k + 1, width - 1)):
                        if turns[1, z, y, x] < turn and _least(after, z, y, x) < FLOOR:
                            cells.append((z, y, x))
                        turns[1, z, y, x] = turn


class Oracle:
    """Two patients' label maps, and their overlap after a displacement on the pair's grid."""

    def __init__(self, labels: Sequence[Volume], pair: WorkingPair) -> None:
        self.shape, theirs = pair.shape, labels[1]
        through = replace(pair.like, affine=pair.transform @ pair.affine)
        maps = [
            np.asarray(resample(volume, like, order="nearest", fill=0).voxels).astype(np.uint8)
            for volume, like in zip(labels, (pair.like, through), strict=True)
        ]
        self.fixed, self.moving = maps[0], np.asarray(theirs.voxels).astype(np.uint8)
        matrix = np.linalg.inv(theirs.affine) @ pair.transform @ pair.affine
        self.place = matrix[:3, :3].copy(), matrix[:3, 3].copy()
        self.count = np.bincount(self.fixed.ravel(), minlength=LABELS)
        both = (np.minimum(self.count, np.bincount(maps[1].ravel(), minlength=LABELS)) * ML) > 0.05
        both[0] = False
        large = both & (self.count * ML > 30)
        self.weights = (both / both.sum() + large / large.sum()) / 2
        kept = np.flatnonzero(both)
        quarter = smaller(self.shape, 4)
        self.coarse = torch.empty(2, len(kept), *quarter)  # share of each label
        for n, k in np.ndindex(2, len(kept)):
            label = torch.from_numpy(maps[n] == kept[k])[None, None].float()
            self.coarse[n, k] = shrink(label, quarter)[0, 0]
        self.kept = torch.from_numpy(self.weights[kept]).float()

    def slope(self, field: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the weighted mean of 1 - Dice, with linear interpolation."""
        inter, volume = np.zeros((2, LABELS))
        known = *self.place, field.numpy()
        sums(self.fixed, self.moving, *known, inter, volume)
        whole = self.count + volume + 1e-6
        dice, w = 2 * inter / whole, self.weights
        out = torch.empty_like(field)
        slopes(self.fixed, self.moving, *known, -2 * w / whole, w * dice / whole, out.numpy())
        return out

    def coarsely(self, field: torch.Tensor, blur: int) -> torch.Tensor:
        """Return 1 - Dice of smoothed labels for a field (1, 3, z, y, x) at quarter resolution."""
        both = smooth(self.coarse, blur) if blur else self.coarse
        ours, theirs = both[:1], warp(both[1:], field)
        common = (ours * theirs).sum((2, 3, 4))
        whole = ours.square().sum((2, 3, 4)) + theirs.square().sum((2, 3, 4)) + 1e-6
        return ((1 - 2 * common / whole) * self.kept).sum()

    def flow(self) -> torch.Tensor:
        """Return an initial displacement (1, 3, z, y, x) of a coarse velocity, without folds."""
        velocity = torch.zeros(1, 3, *smaller(self.shape, 4))
        for iterations, rate, blur in COARSE:
            start, step = velocity, torch.zeros_like(velocity, requires_grad=True)
            optimizer = torch.optim.Adam([step], betas=(0.9, 0.99))
            for k in range(iterations):
                optimizer.param_groups[0]["lr"] = rate * (1 - 0.7 * k / iterations)
                optimizer.zero_grad(set_to_none=True)
                velocity = start + smooth(step, 1)
                field = flow(velocity, 5)[0][:1].permute(0, 4, 1, 2, 3)
                if blur is None:
                    full = resize_field(field, self.shape)
                    lost = (full * self.slope(full.detach())).sum()  # its derivative is meant
                else:
                    lost = self.coarsely(field, blur)
                paid = ROUGHNESS * roughness(velocity) + FOLDS * small_jacobian(field, MIN_JACOBIAN)
                (lost + paid).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            velocity = velocity.detach()
        return untangled(resize_field(flow(velocity, 6)[0][:1].permute(0, 4, 1, 2, 3), self.shape))

    def best(self, field: torch.Tensor) -> torch.Tensor:
        """Return the best displacement (1, 3, z, y, x) found from a start, without folds."""
        for stage in FINE:
            sizes = [smaller(self.shape, n) for n in stage.grids]
            steps = [torch.zeros(1, 3, *size, requires_grad=True) for size in sizes]
            optimizer = torch.optim.Adam(steps, betas=(0.9, 0.99), eps=1e-12)
            for k in range(stage.iterations):
                optimizer.param_groups[0]["lr"] = stage.rate * (1 - 0.8 * k / stage.iterations)
                slope = self.slope(field)
                barrier(field.numpy(), stage.least, stage.barrier, slope.numpy())
                self.sum_of(steps, stage.smooth).backward(slope)  # type: ignore[no-untyped-call]
                optimizer.step()
                with torch.no_grad():
                    after = field + self.sum_of(steps, stage.smooth)
                    for step in steps:
                        step.zero_()
                optimizer.zero_grad(set_to_none=True)
                bad = np.argwhere(least_volume(after.numpy()) < FLOOR)
                take_back(field.numpy(), after.numpy(), bad)
                field = after
        return field

    def sum_of(self, steps: Sequence[torch.Tensor], passes: int) -> torch.Tensor:
        """Return the sum of steps resampled to the full grid; the last, finest one is smoothed."""
        onto = [resize_field(step, self.shape) for step in steps]
        return torch.stack([*onto[:-1], smooth(onto[-1], passes)]).sum(0)


def untangled(field: torch.Tensor) -> torch.Tensor:
    """Smooth a displacement (1, 3, z, y, x) only where it folds or nearly folds."""
    turn = 0
    while (marks := least_volume(field.numpy()) < UNTANGLED).any():
        near = torch.nn.functional.pad(torch.from_numpy(marks).float()[None, None], (1, 1) * 3)
        near = torch.nn.functional.max_pool3d(near, 2, stride=1)  # the corners of these cells
        for _ in range(1 + turn // 10):
            near = torch.nn.functional.max_pool3d(near, 3, stride=1, padding=1)
        field = torch.where(near > 0, smooth(field, 1), field)
        turn += 1
    return field


def structures(patient: Any) -> Volume:
    """Return a patient's label map."""
    return Volume(np.asarray(patient.structures, np.uint16), patient.ct.affine, "unknown")


def found_by(field: torch.Tensor, pair: WorkingPair) -> Any:
    """Return an object with a ``forward`` transform, like a registration."""
    lps = DisplacementField(to_mm(field, pair.affine).astype(np.float32), pair.affine)
    return argparse.Namespace(forward=Transform.from_fields(lps, None, pair.transform))


def judged(field: torch.Tensor, pair: WorkingPair, labels: Sequence[Volume]) -> dict[int, float]:
    """Print the overlap of a displacement (1, 3, z, y, x); return Dice by structure by size."""
    found = found_by(field, pair)
    brought = nearest(found, labels)
    dice = {int(label): value for label, value in overlap(labels[0], brought)["dice"].items()}
    ml, theirs = (np.bincount(np.asarray(v.voxels).ravel(), minlength=LABELS) * ML for v in labels)
    large = [k for k in dice if ml[k] > 30]
    say("mean Dice of all structures", float(np.mean(list(dice.values()))))
    say("mean Dice over 30 ml", float(np.mean([dice[k] for k in large])))
    say("  without what only one has", float(np.mean([dice[k] for k in large if theirs[k] > 0])))
    say("mean Dice of whole organs over 30 ml", whole_organs(labels[0], brought))
    for name, value in jacobian_measures(jacobian_map(found.forward, labels[0])).items():
        say(f"  {name}", value)
    say("  least volume of a tetrahedron", float(least_volume(field.numpy()).min()))
    return {k: dice[k] for k in sorted(dice, key=lambda k: -ml[k])}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--region", nargs="+", default=["abdomen", "chest", "pelvis"])
    asked = parser.parse_args(arguments)
    for region, one, other in PATIENTS:
        if region not in asked.region or one[0] == other[0]:
            continue
        print(f"{region}, patients {one[0]} and {other[0]}, an oracle that sees both label maps")
        patients = [make_patient(s, region, SPACING, noise=0.5, **how) for s, how in (one, other)]
        labels = [structures(p) for p in patients]
        scans = checked_pair(*(p.ct for p in patients))
        begun = time.perf_counter()
        pair = make_pair(*scans, transform=initialize(*scans, "affine").affine)
        oracle = Oracle(labels, pair)
        print(" coarse flow")
        start = oracle.flow()
        judged(start, pair, labels)
        print(" each voxel on its own")
        dice = judged(oracle.best(start), pair, labels)
        say("  seconds", time.perf_counter() - begun)
        for k, value in dice.items():
            if value < 0.85:
                say(f"  {Structure(k).name.lower().replace('_', ' ')}", value)


if __name__ == "__main__":
    main()
