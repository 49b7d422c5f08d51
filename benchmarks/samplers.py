"""Time of each trilinear sampler, against the general one or torch doing the same.

    python benchmarks/samplers.py [--repeats 3]

`tomochrome.geometry.sampling` samples any volume at any points; everything that is not listed here
uses it. The others stay because they are faster by the ratio that is printed, on the same data in
turns, the best of the repeats; and because of what it cannot do: gradients (registration), several
slices with positions of their own, HU that change with the structure of each corner (training).
The difference of their values, relative to the largest and smaller for 99.9 % of them, shows that
both do the same; at the faces of voxels a gradient depends on rounding. The limit is a ratio of
1.3.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tomochrome.geometry.sampling import Sampler
from tomochrome.io.dicom.regular import Plan, SliceGeometry, plan
from tomochrome.io.dicom.slice_resampling import resample_slices
from tomochrome.registration.velocity import (
    compose,
    flow,
    positions,
    resize_field,
    sample_through,
    warp,
)
from tomochrome.runtime.device import compute_threads
from tomochrome.training.augmentation_kernels import (
    Anatomy,
    Contrast,
    Noise,
    Planes,
    sample_planes,
)

FINE, COARSE = (128, 144, 160), (32, 36, 40)
LIMIT = 1.3


class Task(NamedTuple):
    """What two samplers do; each function returns the values that are compared."""

    name: str
    special: Callable[[], NDArray[Any]]
    general: Callable[[], NDArray[Any]]


def smooth(shape: tuple[int, ...], size: float, seed: int) -> torch.Tensor:
    """Return a smooth random field (1, n, z, y, x) of a standard deviation."""
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    values = gaussian_filter(values, (0, 4, 4, 4))
    return torch.from_numpy(values * np.float32(size / values.std()))[None]


def torch_warp(image: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
    """Warp as `tomochrome.registration.velocity.warp` does on other devices than the CPU."""
    size = torch.tensor(image.shape[2:]).view(1, 3, 1, 1, 1)
    at = (2 * positions(displacement) / (size - 1) - 1).flip(1).permute(0, 2, 3, 4, 1)
    return torch.nn.functional.grid_sample(image, at, padding_mode="border", align_corners=True)


def with_gradient(
    function: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor
) -> Callable[[], NDArray[Any]]:
    """Return a function for the gradient of the mean square of ``function``."""

    def gradient() -> NDArray[Any]:
        variable = start.clone().requires_grad_()
        function(variable).square().mean().backward()  # type: ignore[no-untyped-call]
        assert variable.grad is not None
        return variable.grad.numpy()

    return gradient


def registration() -> Iterator[Task]:
    """Yield warping and integration, with and without gradients."""
    image, displacement = smooth((1, *FINE), 1.0, 1), smooth((3, *FINE), 2.0, 2)
    moved = np.ascontiguousarray(displacement[0].flatten(1).T.double().numpy())

    def at_points() -> NDArray[Any]:
        done = 0

        def through(points: NDArray[np.float64]) -> NDArray[np.float64]:
            nonlocal done
            done += len(points)
            return points + moved[done - len(points) : done]

        sampler = Sampler(image[0, 0].numpy(), None, np.eye(4), order="linear", fill=0)
        values, inside = sampler.on_grid(FINE, np.eye(4), through)
        return np.where(inside, values, warp(image, displacement)[0, 0].numpy())

    yield Task("warp", lambda: warp(image, displacement)[0, 0].numpy(), at_points)
    yield Task(
        "warp, gradient; torch",
        with_gradient(lambda u: warp(image, u), displacement),
        with_gradient(lambda u: torch_warp(image, u), displacement),
    )
    velocity = smooth((3, *COARSE), 1.5, 3)

    def composed(v: torch.Tensor) -> torch.Tensor:
        half = torch.cat([v, -v]) / 8
        for _ in range(4):
            half = compose(half, half)
        return half

    yield Task(
        "flow, gradient; composed by warp",
        with_gradient(lambda v: flow(v, 3)[0], velocity),
        with_gradient(composed, velocity),
    )
    images, field = image.expand(2, -1, -1, -1, -1), flow(velocity, 3)[0]
    yield Task(
        "warp by a coarser field, gradient; resized, then warp",
        with_gradient(lambda u: sample_through(images, u), field),
        with_gradient(lambda u: warp(images, resize_field(u.permute(0, 4, 1, 2, 3), FINE)), field),
    )


def slices() -> Iterator[Task]:
    """Yield resampling of slices with uneven gaps."""
    rng = np.random.default_rng(4)
    heights = np.cumsum(rng.uniform(2.0, 4.0, 60))
    at = np.zeros((60, 3))
    at[:, 2] = heights
    x, y, z = np.eye(3)
    geometry = SliceGeometry(at, x, y, z, (0.7, 0.7), (512, 512))
    voxels = (1000 * smooth((1, 60, 512, 512), 1.0, 5)[0, 0].numpy()).astype(np.int16)
    grid = plan(geometry)
    assert isinstance(grid, Plan)
    affine = np.linalg.inv([[0, 0, 0.7, 0], [0, 0.7, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])

    def through(points: NDArray[np.float64]) -> NDArray[np.float64]:
        points[:, 2] = np.interp(points[:, 2], heights, np.arange(60))
        return points

    def in_general() -> NDArray[Any]:
        sampler = Sampler(voxels, None, affine, order="linear", fill=-1024)
        return sampler.on_grid(grid.shape, grid.affine, through)[0]

    yield Task("slices", lambda: resample_slices(voxels, None, grid, fill=-1024)[0], in_general)


def augmentation() -> Iterator[Task]:
    """Yield one sample of the training, HU and labels, from a patient with another contrast."""
    rng = np.random.default_rng(6)
    structures = rng.integers(0, 40, FINE).astype(np.uint8)
    hu = (1000 * smooth((1, *FINE), 0.3, 7)[0, 0].numpy()).astype(np.int16)
    table = rng.uniform(0.9, 1.1, 256).astype(np.float32)
    none = np.zeros(256, np.float32)
    contrast = Contrast(np.arange(256).astype(np.uint8), table, 10 * table, none, none + 1)
    count, size, step = 7, 112, 8
    center = (np.array(FINE) - 1) / 2
    turn = np.cos(0.1), np.sin(0.1)
    matrix = np.array([[1, 0, 0], [0, turn[0], -turn[1]], [0, turn[1], turn[0]]])
    offsets = 2.0 * (np.arange(count) - 3)
    coarse = np.zeros((count, size // step + 2, size // step + 2, 3), np.float32)
    where = Planes(center, matrix, offsets, np.zeros(1), 1.0, coarse, step, 0)
    noise = Noise(np.zeros((64, 64, 64), np.float32), np.zeros(3))
    values = np.empty((count, size, size), np.float32)
    labels = np.empty((count, size, size), np.uint8)

    anatomy = Anatomy(structures, hu, True, np.ones(3))

    def special() -> NDArray[Any]:
        sample_planes(anatomy, contrast, where, noise, values, labels)
        return values

    first = np.array([offsets[0], -(size - 1) / 2, -(size - 1) / 2])
    to_voxel = np.eye(4)
    to_voxel[:3, :3] = matrix * (2.0, 1.0, 1.0)
    to_voxel[:3, 3] = center + matrix @ first

    def in_general() -> NDArray[Any]:
        changed = contrast.gain[structures] * hu + contrast.shift[structures]
        nearest = Sampler(structures, None, to_voxel, order="nearest", fill=0)
        nearest.on_grid((count, size, size), np.eye(4))
        sampler = Sampler(changed, None, to_voxel, order="linear", fill=-1000)
        return sampler.on_grid((count, size, size), np.eye(4))[0]

    yield Task("augmentation, HU and labels", special, in_general)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    with compute_threads(None):
        for task in (*registration(), *slices(), *augmentation()):
            ways = task.special, task.general
            first, second = (np.asarray(way(), np.float64) for way in ways)  # compiles
            difference = np.percentile(np.abs(first - second), 99.9) / np.abs(first).max()
            best = [np.inf, np.inf]
            for _ in range(repeats):
                for k, way in enumerate(ways):
                    start = time.perf_counter()
                    way()
                    best[k] = min(best[k], time.perf_counter() - start)
            ratio = best[1] / best[0]
            stays = "stays" if ratio > LIMIT else "could go"
            print(
                f"{task.name:54} {best[0]:7.3f} s, general {best[1]:7.3f} s, ratio {ratio:5.1f}, "
                f"{stays}; difference {difference:.0e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
