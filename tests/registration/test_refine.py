from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from tomochrome.errors import OptionError
from tomochrome.registration.checked_input import SIMILARITIES
from tomochrome.registration.penalties import least_determinant
from tomochrome.registration.refine import (
    FINE_VOXELS,
    FINEST_VOXELS,
    Stage,
    TensorAdam,
    refine,
    stages,
)
from tomochrome.registration.validation import random_diffeomorphism
from tomochrome.registration.velocity import flow, integrate

SHAPE = (24, 26, 28)
QUICK = (Stage(4, 2, 10, 0.25, name="coarse"), Stage(2, 1, 8, 0.2, smooth=1, name="fine"))


def picture(seed: int = 0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), 2.0)
    return np.asarray((noise - noise.min()) / np.ptp(noise), np.float32)


def tensor(voxels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(voxels, np.float32))[None, None]


def length(field: torch.Tensor) -> float:
    return float(field[:, :, 3:-3, 3:-3, 3:-3].square().sum(1).sqrt().mean())


@pytest.mark.parametrize("measure", SIMILARITIES)
def test_each_measure_lowers_the_error_of_a_known_deformation(measure: str) -> None:
    truth = random_diffeomorphism(SHAPE, (1.0, 1.0, 1.0), mean_mm=1.5, smooth_mm=14.0, seed=2)
    moved = truth.apply(picture())
    if measure in ("mi", "mind"):  # these are invariant to inverted contrast
        moved = 1.0 - moved
    done = refine(tensor(picture()), tensor(moved), plan=QUICK, measure=measure)
    fields = integrate(done.velocities, SHAPE)
    before = length(truth.forward)
    assert length(fields.forward - truth.forward) < 0.75 * before
    assert length(fields.inverse - truth.inverse) < 0.75 * before


def test_steps_are_those_of_torch() -> None:
    ours, theirs = (torch.linspace(-1, 1, 24).requires_grad_() for _ in range(2))
    optimizers = TensorAdam(ours), torch.optim.Adam([theirs], betas=(0.9, 0.99))
    for rate in (0.25, 0.1, 0.04):
        optimizers[1].param_groups[0]["lr"] = rate
        for tensor in (ours, theirs):
            (tensor.sin() * tensor.detach().flip(0)).square().sum().backward()
        optimizers[0].step(rate)
        optimizers[1].step()
        optimizers[1].zero_grad()
        assert torch.equal(ours, theirs)
    assert float((ours - torch.linspace(-1, 1, 24)).detach().abs().max()) > 0.1


def test_no_optimizer_of_torch_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one imports torch's compiler, which takes longer than this refinement."""
    monkeypatch.delattr(torch.optim.Optimizer, "__init__")
    with pytest.raises(TypeError):
        torch.optim.Adam([torch.zeros(1)])
    assert refine(tensor(picture()), tensor(picture(1)), plan=QUICK[:1]).curve


def test_what_masks_leave_out_does_not_drive_it() -> None:
    still, there = np.zeros(SHAPE, np.float32), picture()
    fixed, moving = still + there, still + there
    fixed[:, 18:21], moving[:, 21:24] = 1.0, 1.0  # a couch that is three voxels lower
    mask = np.ones(SHAPE, np.float32)
    mask[:, 16:] = 0.0
    moves = []
    for masks in (None, torch.cat([tensor(mask), tensor(mask)])):
        done = refine(tensor(fixed), tensor(moving), plan=QUICK, masks=masks)
        field = integrate(done.velocities, SHAPE).forward
        moves.append(float(field[:, :, 3:-3, 3:14, 3:-3].square().sum(1).sqrt().mean()))
    assert moves[1] < 0.05 < moves[0]


def test_a_start_is_improved_and_opposite_velocities_come_back() -> None:
    truth = random_diffeomorphism(SHAPE, (1.0, 1.0, 1.0), mean_mm=1.5, smooth_mm=14.0, seed=2)
    fixed, moved = tensor(picture()), tensor(truth.apply(picture()))
    first = refine(fixed, moved, plan=QUICK[:1])
    again = refine(fixed, moved, first.velocities, plan=QUICK[1:])
    assert torch.equal(again.velocities[0], -again.velocities[1])
    errors = [
        length(integrate(done.velocities, SHAPE).forward - truth.forward) for done in (first, again)
    ]
    assert errors[1] < errors[0]
    assert {stage for stage, _ in again.curve} == {"fine"}


def test_a_start_that_folds_is_smoothed_and_not_thrown_away() -> None:
    truth = random_diffeomorphism(SHAPE, (1.0, 1.0, 1.0), mean_mm=3.0, smooth_mm=14.0, seed=2)
    fixed, moved = tensor(picture()), tensor(truth.apply(picture()))
    good = refine(fixed, moved, plan=QUICK[:1]).velocities
    tremor = torch.zeros_like(good)
    tremor[0, 0, ::2], tremor[0, 0, 1::2] = 2.0, -2.0  # from slice to slice: they cross
    folding = good + tremor - tremor.flip(0)
    whole, _ = flow(folding[1:])
    assert bool((least_determinant(whole.permute(0, 4, 1, 2, 3)) <= 0).any())
    one = (Stage(4, 2, 1, 0.001, name="coarse"),)
    errors = []
    for start in (torch.zeros_like(good), folding):
        done = refine(fixed, moved, start, plan=one)
        errors.append(length(integrate(done.velocities, SHAPE).forward - truth.forward))
    assert errors[1] < 0.5 * errors[0]


def test_a_rough_answer_costs_more_than_a_smooth_one() -> None:
    fixed, moving = tensor(picture()), tensor(picture(1))
    sizes = []
    for weight in (0.05, 20.0):
        done = refine(fixed, moving, plan=QUICK[:1], weight=weight)
        sizes.append(float(done.velocities.abs().mean()))
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize("count", [0, 1, 2, 4, 7, 50, 333])
@pytest.mark.parametrize("started", [False, True])
def test_iterations_are_shared_out_without_rest(count: int, started: bool) -> None:
    for shape in (SHAPE, (120, 160, 180), (160, 192, 224)):
        plan = stages(count, shape, started=started)
        assert sum(stage.iterations for stage in plan) == count
        assert all(stage.iterations > 0 for stage in plan)
        close = 2 if math.prod(shape) > FINE_VOXELS else 1
        assert all(stage.image >= close for stage in plan if stage.name != "finest")
        between = FINE_VOXELS < math.prod(shape) <= FINEST_VOXELS
        assert [s.image for s in plan if s.name == "finest"] == [1] * (between and count > 3)
    with pytest.raises(OptionError, match="0 or more"):
        stages(-1, SHAPE)


def test_fine_features_are_compared_at_full_resolution_at_last() -> None:
    for shape in ((60, 64, 64), (120, 160, 180)):
        plan = stages(80, shape, started=True, measure="features", fine=True)
        assert sum(stage.iterations for stage in plan) == 80
        assert [(s.image, s.features) for s in plan] == [(2, 2), (1, 2), (1, 2), (1, 1)]


def test_only_local_correlation_looks_at_images_of_middling_size_as_they_are() -> None:
    names = [[s.name for s in stages(40, (120, 160, 180), measure=m)] for m in ("lncc", "mind")]
    assert names == [["coarse", "middle", "fine", "finest"], ["coarse", "middle", "fine"]]
