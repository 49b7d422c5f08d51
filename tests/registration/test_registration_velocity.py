from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from tomochrome.errors import OptionError
from tomochrome.registration import velocity as v


def smooth(shape: tuple[int, int, int], size: float, seed: int = 0, count: int = 1) -> torch.Tensor:
    noise = np.random.default_rng(seed).standard_normal((count, 3, 4, 4, 4), dtype=np.float32)
    field = v.resize(torch.from_numpy(noise), shape)
    return field * (size / float(field.square().sum(1).sqrt().mean()))


def test_sampling_agrees_with_scipy_inside_and_beyond_the_grid() -> None:
    rng = np.random.default_rng(1)
    image = rng.standard_normal((2, 2, 7, 9, 11), dtype=np.float32)
    displacement = rng.normal(0, 4, (2, 3, 6, 8, 5)).astype(np.float32)
    ours = v.warp(torch.from_numpy(image), torch.from_numpy(displacement)).numpy()
    at = displacement + np.indices((6, 8, 5), dtype=np.float32)
    for n in range(2):
        for c in range(2):
            theirs = ndimage.map_coordinates(image[n, c], at[n], order=1, mode="nearest")
            np.testing.assert_allclose(ours[n, c], theirs, atol=2e-5)


def test_both_derivatives_of_sampling_agree_with_torch() -> None:
    rng = np.random.default_rng(2)
    image = torch.from_numpy(rng.standard_normal((2, 3, 8, 9, 10), dtype=np.float32))
    at = torch.from_numpy(rng.normal(0, 1.5, (2, 3, 8, 9, 10)).astype(np.float32))
    upstream = torch.from_numpy(rng.standard_normal((2, 3, 8, 9, 10), dtype=np.float32))
    found = []
    for dtype in (torch.float32, torch.float64):  # float64 uses torch's grid_sample
        a = image.clone().to(dtype).requires_grad_()
        d = at.clone().to(dtype).requires_grad_()
        (v.warp(a, d) * upstream.to(dtype)).sum().backward()  # type: ignore[no-untyped-call]
        assert a.grad is not None and d.grad is not None
        found.append((a.grad.double(), d.grad.double()))
    for ours, theirs in zip(*found, strict=True):
        assert float((ours - theirs).abs().max()) < 2e-4


def test_nearest_labels_are_moved_whole() -> None:
    labels = torch.arange(4 * 5 * 6, dtype=torch.int16).view(1, 1, 4, 5, 6)
    shift = torch.zeros(1, 3, 4, 5, 6)
    shift[:, 2] = 1.4
    moved = v.warp_nearest(labels, shift)
    assert moved.dtype == torch.int16
    assert torch.equal(moved[..., :-1], labels[..., 1:])
    assert torch.equal(moved[..., -1], labels[..., -1])


def test_a_constant_velocity_moves_by_itself() -> None:
    velocity = torch.full((1, 3, 12, 12, 12), 0.7)
    assert torch.allclose(v.exponential(velocity), velocity, atol=1e-5)


def test_a_velocity_integrated_back_and_forth_stands_still() -> None:
    velocity = smooth((24, 26, 28), 0.8)
    there, back = v.exponential(velocity), v.exponential(-velocity)
    left = v.compose(back, there)[:, :, 5:-5, 5:-5, 5:-5]
    assert float(left.square().sum(1).sqrt().mean()) < 0.02


def test_resizing_keeps_corners_and_linear_fields() -> None:
    shape = (5, 6, 7)
    linear = v.positions(torch.zeros(1, 3, *shape)) * 0.25
    finer = v.resize_field(linear, (9, 11, 13))
    assert torch.allclose(finer, v.positions(torch.zeros(1, 3, 9, 11, 13)) * 0.25, atol=1e-5)
    assert torch.allclose(v.resize_field(finer, shape), linear, atol=1e-5)
    image = torch.rand(1, 1, 9, 9, 9)
    assert torch.equal(v.resize(image, (9, 9, 9)), image)
    constant = torch.full((1, 1, 9, 9, 9), 0.3)
    assert torch.allclose(v.shrink(constant, (4, 5, 3)), torch.full((1, 1, 4, 5, 3), 0.3))


def test_exchanging_the_images_exchanges_the_directions() -> None:
    velocities = smooth((16, 18, 20), 1.0, count=2)
    one, other = v.pair_fields(velocities), v.pair_fields(velocities.flip(0))
    assert torch.equal(one.forward, other.inverse)
    assert torch.equal(one.inverse, other.forward)
    assert torch.equal(one.to_fixed, other.to_moving)


def test_directions_are_inverse_to_each_other_after_integration() -> None:
    fields = v.integrate(smooth((12, 14, 16), 0.4, count=2), (24, 28, 32))
    for outer, inner in ((fields.forward, fields.inverse), (fields.inverse, fields.forward)):
        left = v.compose(outer, inner)[:, :, 6:-6, 6:-6, 6:-6].square().sum(1).sqrt()
        assert float(left.mean()) < 0.05
    with pytest.raises(OptionError, match="velocities of a pair"):
        v.pair_fields(torch.zeros(1, 3, 4, 4, 4))


def test_the_way_through_the_middle_is_the_way_across() -> None:
    fields = v.pair_fields(smooth((20, 20, 20), 0.5, count=2))
    # forward o to_fixed = to_moving
    across = v.compose(fields.forward, fields.to_fixed)
    inner = (slice(None), slice(None), *(slice(5, -5),) * 3)
    assert float((across - fields.to_moving)[inner].abs().mean()) < 0.02


def test_voxels_become_millimeters_through_any_affine() -> None:
    rng = np.random.default_rng(3)
    affine = np.eye(4)
    affine[:3, :3] = rng.normal(size=(3, 3)) + 2 * np.eye(3)
    displacement = torch.from_numpy(rng.standard_normal((1, 3, 3, 4, 5), dtype=np.float32))
    field = v.to_mm(displacement, affine)
    assert field.shape == (3, 4, 5, 3)
    at = displacement[0, :, 1, 2, 3].double().numpy()
    np.testing.assert_allclose(field[1, 2, 3], affine[:3, :3] @ at, atol=1e-6)


def test_smoothing_averages_neighbors_and_its_derivative_is_its_transpose() -> None:
    values = torch.rand(2, 3, 5, 6, 7, requires_grad=True)
    once = v.smooth(values, 1)
    assert torch.allclose(once[0, 0, 2, 3, 3], values[0, 0, 1:4, 2:5, 2:5].mean())
    assert torch.allclose(once[0, 0, 0, 0, 0], values[0, 0, :2, :2, :2].mean())
    other = torch.rand_like(once)
    (slope,) = torch.autograd.grad((once * other).sum(), values)
    both = [float(x.detach()) for x in ((slope * values).sum(), (once * other).sum())]
    assert both[0] == pytest.approx(both[1], rel=1e-4)
    single = torch.zeros(
        1, 1, 9, 9, 9
    )  # large enough, because fewer voxels are averaged at the edge
    single[0, 0, 4, 4, 4] = 1.0
    assert float(v.smooth(single).sum()) == pytest.approx(1.0, rel=1e-4)
