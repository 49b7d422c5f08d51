from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage

from tomochrome.errors import OptionError
from tomochrome.registration import penalties
from tomochrome.registration import similarity_losses as similarity
from tomochrome.registration.checked_input import SIMILARITIES


def picture(seed: int, shape: tuple[int, int, int] = (12, 14, 16)) -> torch.Tensor:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    return torch.from_numpy(noise.astype(np.float32))[None, None]


@pytest.mark.parametrize("radius", [1, 3, 20])
def test_box_sums_agree_with_scipy_on_every_device_path(radius: int) -> None:
    values = np.random.default_rng(0).standard_normal((2, 9, 10, 11), dtype=np.float32)
    size = 2 * radius + 1
    theirs = [
        ndimage.uniform_filter(v.astype(float), size, mode="constant") * size**3 for v in values
    ]
    ours = similarity.box_sums(torch.from_numpy(values), radius).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    sums = similarity.cumulative_box_sums(torch.from_numpy(values), radius).numpy()
    np.testing.assert_allclose(sums, theirs, atol=1e-3)


def plain_local_correlation(
    a: torch.Tensor, b: torch.Tensor, w: torch.Tensor, radius: int
) -> torch.Tensor:
    """The definition, differentiated by torch."""
    kernel = torch.ones(1, 1, *(2 * radius + 1,) * 3, dtype=a.dtype)

    def box(values: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv3d(values, kernel, padding=radius)

    n = box(w).clamp(min=1e-3)
    mean_a, mean_b = box(w * a) / n, box(w * b) / n
    var_a = (box(w * a * a) / n - mean_a**2).clamp(min=0)
    var_b = (box(w * b * b) / n - mean_b**2).clamp(min=0)
    cross = box(w * a * b) / n - mean_a * mean_b
    return (w * cross**2 / (var_a * var_b + similarity._EPSILON)).sum() / w.sum()


@pytest.mark.parametrize("masked", [False, True])
def test_local_correlation_and_its_derivative_are_those_of_the_definition(masked: bool) -> None:
    a, b = picture(1).requires_grad_(), picture(2).requires_grad_()
    weight = (picture(3) > 0.4).float() if masked else None
    value = similarity.local_correlation(a, b, weight, radius=2)
    value.backward()  # type: ignore[no-untyped-call]
    p, q = (x.detach().double().requires_grad_() for x in (a, b))
    ones = torch.ones_like(p) if weight is None else weight.double()
    plain = plain_local_correlation(p, q, ones, 2)
    plain.backward()  # type: ignore[no-untyped-call]
    assert float(value.detach()) == pytest.approx(float(plain.detach()), rel=1e-3)
    for ours, theirs in ((a.grad, p.grad), (b.grad, q.grad)):
        assert ours is not None and theirs is not None
        assert float((ours - theirs).abs().max()) < 0.01 * float(theirs.abs().max())


def test_local_correlation_does_not_depend_on_memory_addresses() -> None:
    rng = np.random.default_rng(0)
    p, q = (picture(seed, (12, 16, 30))[0, 0].numpy() for seed in (1, 2))
    images = similarity.Images(p, q, p, False, 2)
    found, held = set(), [np.empty(0, np.uint8)] * 20
    for k in range(3000):
        held[k % 20] = np.empty(rng.integers(1, 60_000), np.uint8)  # moves later allocations
        parts = np.empty((3, *p.shape), np.float32)
        value = similarity.correlate(images, np.float32(p.size), np.float32(1e-7), parts)
        found.add((value, parts.tobytes()))
    assert len(found) == 1


@pytest.mark.parametrize("masked", [False, True])
def test_both_ways_to_local_correlation_agree(masked: bool) -> None:
    weight = (picture(3) > 0.4).float() if masked else None
    found = []
    for dtype in (torch.float32, torch.float64):  # float64 does not use the compiled kernels
        a, b = (picture(k).to(dtype) for k in (1, 2))
        b.requires_grad_()
        w = None if weight is None else weight.to(dtype)
        value = similarity.local_correlation(a, b, w)
        value.backward()  # type: ignore[no-untyped-call]
        assert b.grad is not None
        found.append((float(value.detach()), b.grad.double()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-3)
    assert float((found[0][1] - found[1][1]).abs().max()) < 0.01 * float(found[1][1].abs().max())


@pytest.mark.parametrize("name", SIMILARITIES)
def test_each_measure_prefers_the_picture_itself_to_a_shifted_one(name: str) -> None:
    loss, _ = similarity.similarity(name)
    a = picture(4)
    values = [float(loss(a, a.roll(k, 3))) for k in (0, 1, 3)]
    assert values[0] < values[1] < values[2]


@pytest.mark.parametrize("name", SIMILARITIES)
def test_each_measure_can_be_differentiated_and_masked(name: str) -> None:
    loss, _ = similarity.similarity(name)
    a, b = picture(5), picture(6).requires_grad_()
    weight = torch.ones_like(a)
    weight[..., 8:] = 0
    value = loss(a, b, weight)
    value.backward()
    assert b.grad is not None and torch.isfinite(b.grad).all() and float(b.grad.abs().max()) > 0
    if name in ("lncc", "mse", "features"):  # masked voxels have no effect
        other = b.detach().clone()
        other[..., 12:] += 0.3
        assert float(loss(a, other, weight)) == pytest.approx(float(value.detach()), rel=1e-4)


def test_mutual_information_of_a_picture_with_itself_is_its_entropy() -> None:
    levels = torch.tensor([0.0, 0.5, 1.0]).repeat(500)[:1440].view(1, 1, 10, 12, 12)
    found = -float(similarity.mutual_information(levels, levels, bins=3))
    assert found == pytest.approx(np.log(3), rel=0.02)
    noise = picture(7, (24, 24, 24))
    assert -float(similarity.mutual_information(noise, picture(8, (24, 24, 24)))) < 0.2


@pytest.mark.parametrize("measure", [similarity.mind, similarity.mutual_information])
def test_inverted_contrast_changes_little(measure: Callable[..., torch.Tensor]) -> None:
    a, b = picture(9), picture(9).roll(1, 2)
    assert float(measure(a, 1 - b)) == pytest.approx(float(measure(a, b)), rel=0.02, abs=1e-4)


def test_an_unknown_measure_is_refused_by_name() -> None:
    with pytest.raises(OptionError, match="'ssd'"):
        similarity.similarity("ssd")


def test_the_jacobian_of_a_linear_field_is_its_determinant() -> None:
    matrix = np.array([[0.1, 0.2, 0.0], [0.0, -0.3, 0.1], [0.05, 0.0, 0.2]], np.float32)
    index = np.indices((5, 6, 7), dtype=np.float32)
    field = torch.from_numpy(np.einsum("ij,jzyx->izyx", matrix, index)[None])
    found = penalties.jacobian_determinant(field)
    assert torch.allclose(found, torch.tensor(np.linalg.det(np.eye(3) + matrix)).float(), atol=1e-4)


def test_penalties_are_zero_at_rest_and_grow() -> None:
    rest = torch.zeros(2, 3, 6, 6, 6)
    wild = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (2, 3, 6, 6, 6)))
    for penalty in (penalties.roughness, penalties.small_jacobian):
        assert float(penalty(rest)) == 0.0
        assert float(penalty(wild)) > 0.01
    opposite = torch.cat([wild[:1], -wild[:1]])
    assert float(penalties.imbalance(opposite)) == 0.0
    assert float(penalties.imbalance(wild)) > 0.1


def test_the_compiled_fold_penalty_agrees_with_its_definition() -> None:
    rng = np.random.default_rng(11)
    field = torch.from_numpy(rng.normal(0, 0.4, (2, 3, 5, 6, 7)).astype(np.float32))
    corners = []
    field.requires_grad_()
    for flips in np.ndindex(2, 2, 2):  # a mirrored field's forward differences are one corner's
        axes = [axis + 2 for axis, flip in enumerate(flips) if flip]
        signs = torch.tensor([-1.0 if flip else 1.0 for flip in flips]).view(1, 3, 1, 1, 1)
        mirrored = field.flip(axes) * signs
        corners.append(penalties.jacobian_determinant(mirrored).flip([a - 1 for a in axes]))
    plain = (0.3 - torch.stack(corners)).clamp(min=0).square().mean()
    (theirs,) = torch.autograd.grad(plain, field)
    ours = penalties.small_jacobian(field, 0.3)
    (slope,) = torch.autograd.grad(ours, field)
    assert float(ours.detach()) == pytest.approx(float(plain.detach()), rel=1e-4)
    assert torch.allclose(slope, theirs, atol=1e-5)
    least = torch.stack(corners).amin(dim=0).detach()
    assert torch.allclose(penalties.least_determinant(field), least, atol=1e-5)
    # the implementation for GPUs
    assert torch.allclose(penalties.least_determinant(field.double()).float(), least, atol=1e-5)
    assert float(penalties.small_jacobian(field.double(), 0.3).detach()) == pytest.approx(
        float(plain.detach()), rel=1e-5
    )
    for bound in (0.0, 0.02, 0.5):
        marks = penalties.folded_cells(field[:1].detach(), bound)
        assert torch.equal(marks, (penalties.least_determinant(field[:1]) < bound).to(torch.uint8))
