"""How far two people overlap at best: a registration that is told every label of both.

    python benchmarks/registration_bound.py [--region abdomen chest pelvis]

An oracle, no method: it sees both label maps and no grey value, and moves one patient onto the
other so as to make the Dice overlap itself as large as it gets (the mean over all structures that
both have, those over 30 ml counted twice), coarse to fine, down to a velocity at every voxel, with
next to no smoothness asked for. What stays in the way is that a map may not fold: bowel loops,
glands and vessels of two people have no partners. Figures are given before and after folds are
taken out. No registration that sees grey values alone can be asked for more.
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
from numpy.typing import NDArray

from registration import PATIENTS, SPACING, nearest, say, say_overlap, whole_organs
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.geometry.resample import resample
from tomochrome.phantom import make_patient
from tomochrome.registration.flow import both_velocities, flow
from tomochrome.registration.initialize import initialize
from tomochrome.registration.padding import without_padding
from tomochrome.registration.pair import WorkingPair, make_pair
from tomochrome.registration.penalties import least_determinant, roughness, small_jacobian
from tomochrome.registration.refine import smaller
from tomochrome.registration.transform import Transform
from tomochrome.registration.unfold import unfold
from tomochrome.registration.velocity import resize_field, shrink, smooth, warp
from tomochrome.volume import Volume

LABELS = 128  # more than the phantom has
ROUGHNESS, FOLDS, LEAST = 0.01, 50.0, 0.1
THREADS = 8  # sums that are kept side by side


@dataclass(frozen=True)
class Stage:
    """One resolution: of the velocities, of the label maps, how long, and how blurred they are."""

    velocity: int
    image: int
    iterations: int
    rate: float
    blur: int = 0
    smooth: int = 1


PLAN = (
    Stage(4, 4, 120, 0.25, blur=5),
    Stage(4, 4, 120, 0.25, blur=2),
    Stage(4, 4, 100, 0.2),
    Stage(4, 1, 60, 0.15),
    Stage(2, 1, 80, 0.15),
    Stage(1, 1, 80, 0.15, smooth=2),
)


@njit(inline="always")
def _corner(at, far):  # type: ignore[no-untyped-def]
    low = int(np.floor(at))
    return low + far, at - low if far else 1.0 - (at - low)


@njit(parallel=True, cache=True, fastmath=True)
def sums(fixed, moving, field, inter, volume):  # type: ignore[no-untyped-def]
    """How much of each label of ``moving``, brought along ``field``, is seen and in its like."""
    depth, height, width = fixed.shape
    for job in prange(len(inter)):
        for z in range(job, depth, len(inter)):
            for y in range(height):
                for x in range(width):
                    for k in range(8):
                        i, wz = _corner(z + field[z, y, x, 0], k >> 2)
                        j, wy = _corner(y + field[z, y, x, 1], (k >> 1) & 1)
                        h, wx = _corner(x + field[z, y, x, 2], k & 1)
                        if 0 <= i < depth and 0 <= j < height and 0 <= h < width:
                            label, weight = moving[i, j, h], wz * wy * wx
                            volume[job, label] += weight
                            if label == fixed[z, y, x]:
                                inter[job, label] += weight


@njit(parallel=True, cache=True, fastmath=True)
def slopes(fixed, moving, field, of_inter, of_volume, out):  # type: ignore[no-untyped-def]
    """Derivative of the sums, weighed by label, with respect to ``field``."""
    depth, height, width = fixed.shape
    for z in prange(depth):
        for y in range(height):
            for x in range(width):
                dz, dy, dx = 0.0, 0.0, 0.0
                for k in range(8):
                    i, wz = _corner(z + field[z, y, x, 0], k >> 2)
                    j, wy = _corner(y + field[z, y, x, 1], (k >> 1) & 1)
                    h, wx = _corner(x + field[z, y, x, 2], k & 1)
                    if 0 <= i < depth and 0 <= j < height and 0 <= h < width:
                        label = moving[i, j, h]
                        gain = of_volume[label]
                        if label == fixed[z, y, x]:
                            gain += of_inter[label]
                        dz += gain * wy * wx * (1.0 if k & 4 else -1.0)
                        dy += gain * wz * wx * (1.0 if k & 2 else -1.0)
                        dx += gain * wz * wy * (1.0 if k & 1 else -1.0)
                out[z, y, x, 0], out[z, y, x, 1], out[z, y, x, 2] = dz, dy, dx


class LostDice(torch.autograd.Function):
    """Weighted mean of 1 - Dice of label maps, linear between voxels."""

    @staticmethod
    def forward(ctx: Any, field: Any, fixed: Any, moving: Any, weights: Any) -> torch.Tensor:
        """Field (z, y, x, 3) in voxels, label maps, a weight for each label."""
        inter, volume = np.zeros((2, THREADS, LABELS))
        sums(fixed, moving, field.numpy(), inter, volume)
        whole = np.bincount(fixed.ravel(), minlength=LABELS) + volume.sum(axis=0) + 1e-6
        dice = 2 * inter.sum(axis=0) / whole
        ctx.known = fixed, moving, field.numpy(), -2 * weights / whole, weights * dice / whole
        return field.new_tensor((weights * (1 - dice)).sum())

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Derivative with respect to the field."""
        slope = np.empty_like(ctx.known[2])
        slopes(*ctx.known, slope)
        return torch.from_numpy(slope) * upstream[0], None, None, None


class Oracle:
    """Both label maps on one grid, and how well a velocity lays them over each other."""

    def __init__(self, maps: Sequence[NDArray[np.uint8]], voxel_ml: float) -> None:
        self.maps = maps
        counts = np.stack([np.bincount(m.ravel(), minlength=LABELS) for m in maps]) * voxel_ml
        both = (counts > 0.05).all(axis=0)
        both[0] = False
        large = both & (counts[0] > 30)
        self.weights = (both / both.sum() + large / large.sum()) / 2
        kept = torch.from_numpy(np.flatnonzero(both))
        ones = torch.stack([(torch.from_numpy(m)[None] == kept.view(-1, 1, 1, 1)) for m in maps])
        z, y, x = maps[0].shape
        self.coarse = torch.cat(  # one label after the other, as all of them are large
            [shrink(ones[:, k : k + 1].float(), smaller((z, y, x), 4)) for k in range(len(kept))], 1
        )
        self.kept = torch.from_numpy(self.weights[both]).float()

    def coarsely(self, field: torch.Tensor, blur: int) -> torch.Tensor:
        """Lost Dice, both ways, of smoothed shares of the labels; field (2, 3, z, y, x)."""
        ours = smooth(self.coarse, blur) if blur else self.coarse
        theirs = warp(ours.flip(0), field)
        common = (ours * theirs).sum((2, 3, 4))
        whole = ours.square().sum((2, 3, 4)) + theirs.square().sum((2, 3, 4)) + 1e-6
        return ((1 - 2 * common / whole) * self.kept).sum(1).mean()

    def finely(self, field: torch.Tensor) -> torch.Tensor:
        """Lost Dice, both ways, of the maps as they are; field (2, 3, z, y, x) at every voxel."""
        last = field.permute(0, 2, 3, 4, 1).contiguous()
        a, b = self.maps
        there = LostDice.apply(last[0], a, b, self.weights)  # type: ignore[no-untyped-call]
        back = LostDice.apply(last[1], b, a, self.weights)  # type: ignore[no-untyped-call]
        return (there + back) / 2  # type: ignore[no-any-return]

    def best(self) -> torch.Tensor:
        """Velocity (1, 3, z, y, x) that loses least."""
        z, y, x = self.maps[0].shape
        velocity = torch.zeros(1, 3, *smaller((z, y, x), 4))
        for stage in PLAN:
            start = resize_field(velocity, smaller((z, y, x), stage.velocity))
            step = torch.zeros_like(start, requires_grad=True)
            optimizer = torch.optim.Adam([step], betas=(0.9, 0.99))
            least = np.inf
            for k in range(stage.iterations):
                optimizer.param_groups[0]["lr"] = stage.rate * (1 - 0.7 * k / stage.iterations)
                optimizer.zero_grad(set_to_none=True)
                now = start + smooth(step, stage.smooth)
                field = flow(now, 4)[0].permute(0, 4, 1, 2, 3)
                lost = (
                    self.coarsely(field, stage.blur)
                    if stage.image > 1
                    else self.finely(resize_field(field, (z, y, x)))
                )
                paid = ROUGHNESS * roughness(now) + FOLDS * small_jacobian(field, LEAST)
                value = float((lost + paid).detach())
                if value < least:
                    least, velocity = value, now.detach().clone()
                (lost + paid).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return velocity


def on_the_grid(patients: Sequence[Any], pair: WorkingPair) -> list[NDArray[np.uint8]]:
    """Both patients' structures on the pair's grid."""
    through = replace(pair.like, affine=pair.transform @ pair.affine)
    return [
        np.asarray(resample(structures(p), like, order="nearest", fill=0).voxels).astype(np.uint8)
        for p, like in zip(patients, (pair.like, through), strict=True)
    ]


def structures(patient: Any) -> Volume:
    """A patient's label map."""
    return Volume(np.asarray(patient.structures, np.uint16), patient.ct.affine, "unknown")


def found_by(field: torch.Tensor, pair: WorkingPair) -> Any:
    """Something with a ``forward`` transform, as a registration has it."""
    voxels = np.moveaxis(field[0].numpy(), 0, -1) @ pair.affine[:3, :3].T
    warp_ = DisplacementField(voxels.astype(np.float32), pair.affine)
    return argparse.Namespace(forward=Transform.from_fields(warp_, None, pair.transform))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--region", nargs="+", default=["abdomen", "chest", "pelvis"])
    asked = parser.parse_args(arguments)
    for region, one, other in PATIENTS:
        if region not in asked.region or one[0] == other[0]:
            continue
        print(f"{region}, patients {one[0]} and {other[0]}, an oracle that sees both label maps")
        begun = time.perf_counter()
        patients = [make_patient(s, region, SPACING, noise=0.5, **how) for s, how in (one, other)]
        fixed, moving = (without_padding(p.ct) for p in patients)
        pair = make_pair(fixed, moving, transform=initialize(fixed, moving, "affine").affine)
        velocity = Oracle(on_the_grid(patients, pair), float(np.prod(pair.spacing)) / 1000).best()
        with torch.no_grad():
            raw = resize_field(flow(velocity, 5)[0].permute(0, 4, 1, 2, 3), pair.shape)
            _, fields = unfold(both_velocities(velocity), pair.shape, least=0.05)
        labels = [structures(p) for p in patients]
        counts = np.bincount(np.asarray(labels[0].voxels).ravel()) * np.prod(SPACING)
        large = np.flatnonzero(counts > 30_000)
        for how, field in (("before unfolding", raw[:1]), ("unfolded", fields.forward)):
            brought = nearest(found_by(field, pair), labels)
            say_overlap(how, labels[0], brought, large)
            say(f"mean Dice of whole organs, {how}", whole_organs(labels[0], brought))
            determinants = least_determinant(field)
            say("  folded cells, %", 100 * float((determinants <= 0).float().mean()))
        say("  seconds", time.perf_counter() - begun)


if __name__ == "__main__":
    main()
