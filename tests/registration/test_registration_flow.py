from __future__ import annotations

import numpy as np
import torch

from tomochrome.registration import velocity as f
from tomochrome.registration import velocity as v


def smooth(shape: tuple[int, int, int], size: float, seed: int = 0) -> torch.Tensor:
    noise = np.random.default_rng(seed).standard_normal((1, 3, 4, 4, 4), dtype=np.float32)
    field = v.resize(torch.from_numpy(noise), shape)
    return field * (size / float(field.square().sum(1).sqrt().mean()))


def test_one_velocity_moves_both_ways_as_two_opposite_ones_do() -> None:
    velocity = smooth((10, 12, 14), 0.7)
    whole, half = f.flow(velocity, 4)
    pair = v.pair_fields(f.both_velocities(velocity), 4)
    for ours, theirs in (
        (whole[:1], pair.forward),
        (whole[1:], pair.inverse),
        (half[:1], pair.to_moving),
        (half[1:], pair.to_fixed),
    ):
        assert torch.allclose(ours.permute(0, 4, 1, 2, 3), theirs, atol=1e-5)


def test_the_velocity_of_a_balanced_pair_is_itself() -> None:
    velocity = smooth((6, 7, 8), 0.5)
    assert torch.allclose(f.antisymmetric(f.both_velocities(velocity)), velocity)
    drift = torch.full((2, 3, 6, 7, 8), 0.3)
    assert torch.allclose(f.antisymmetric(f.both_velocities(velocity) + drift), velocity, atol=1e-6)


def test_the_compiled_flow_and_its_derivative_agree_with_torch() -> None:
    rng = np.random.default_rng(5)
    ups = [torch.from_numpy(rng.standard_normal((2, 7, 8, 9, 3))) for _ in range(2)]
    gradients = []
    for dtype in (torch.float32, torch.float64):
        velocity = smooth((7, 8, 9), 0.6).to(dtype).requires_grad_()
        fields = f.flow(velocity, 3)
        total = sum((field * up.to(dtype)).sum() for field, up in zip(fields, ups, strict=True))
        (slope,) = torch.autograd.grad(total, velocity)  # type: ignore[arg-type]
        gradients.append(slope.double())
    assert float((gradients[0] - gradients[1]).abs().max()) < 1e-3


def test_sampling_through_a_coarse_field_agrees_with_enlarging_it() -> None:
    rng = np.random.default_rng(6)
    images = torch.from_numpy(rng.standard_normal((2, 1, 11, 16, 13), dtype=np.float32))
    up = torch.from_numpy(rng.standard_normal((2, 1, 11, 16, 13)))
    coarse = torch.cat([smooth((5, 9, 6), 0.63), smooth((5, 9, 6), 0.57, seed=1)])
    values, gradients = [], []
    for dtype in (torch.float32, torch.float64):
        field = coarse.permute(0, 2, 3, 4, 1).contiguous().to(dtype).requires_grad_()
        value = f.sample_through(images.to(dtype), field)
        (slope,) = torch.autograd.grad((value * up.to(dtype)).sum(), field)
        values.append(value.detach().double())
        gradients.append(slope.double())
    assert torch.allclose(values[0], values[1], atol=1e-4)
    # if a point is on a voxel's border, rounding decides between two gradients
    assert float((gradients[0] - gradients[1]).abs().quantile(0.99)) < 1e-3
