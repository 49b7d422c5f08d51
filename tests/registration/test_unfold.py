from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from tomochrome.errors import Cancelled
from tomochrome.registration.penalties import least_determinant
from tomochrome.registration.unfold import settle, unfold
from tomochrome.registration.velocity import compose, integrate
from tomochrome.runtime import Task, running

SHAPE = (24, 26, 28)


@pytest.fixture
def velocities() -> torch.Tensor:
    """Return the velocities of a pair that folds at one position."""
    rng = np.random.default_rng(4)
    calm = torch.from_numpy(ndimage.gaussian_filter(rng.standard_normal((1, 3, 12, 13, 14)), 2))
    wild = calm.float() * 3
    wild[0, :, 5:8, 5:8, 5:8] += torch.from_numpy(rng.normal(0, 2.5, (3, 3, 3, 3))).float()
    return torch.cat([-wild, wild])


def apart(forward: torch.Tensor, inverse: torch.Tensor) -> float:
    """Return the mean inverse consistency error away from the border."""
    inside = compose(inverse, forward)[:, :, 4:-4, 4:-4, 4:-4]
    return float(inside.square().sum(1).sqrt().mean())


def test_folds_are_smoothed_away_and_nothing_else(velocities: torch.Tensor) -> None:
    assert float(least_determinant(integrate(velocities, SHAPE).forward).min()) < 0
    smoothed, fields = unfold(velocities, SHAPE)
    assert float(least_determinant(torch.cat(list(fields))).min()) > 0
    assert torch.equal(smoothed[:, :, :, :, -1], velocities[:, :, :, :, -1])
    assert torch.equal(unfold(smoothed, SHAPE)[0], smoothed)


def test_what_nearly_folds_is_smoothed_as_well(velocities: torch.Tensor) -> None:
    smoothed, _ = unfold(velocities, SHAPE, least=0.3)
    fields = integrate(smoothed, SHAPE)
    for field in (fields.forward, fields.inverse):
        assert float(least_determinant(field).min()) >= 0.3


def test_both_directions_become_more_exactly_inverse() -> None:
    rng = np.random.default_rng(4)
    noise = rng.standard_normal((1, 3, 12, 13, 14))
    strong = torch.from_numpy(10 * ndimage.gaussian_filter(noise, (0, 0, 2, 2, 2))).float()
    fields = integrate(torch.cat([-strong, strong]), SHAPE)
    settled = settle(fields)
    assert apart(settled.forward, settled.inverse) < 0.6 * apart(fields.forward, fields.inverse)
    assert apart(settled.inverse, settled.forward) < 0.6 * apart(fields.inverse, fields.forward)


def test_nothing_is_shared_out_where_it_would_fold(velocities: torch.Tensor) -> None:
    fields = integrate(0.5 * velocities, SHAPE)
    least = min(float(least_determinant(f).min()) for f in (fields.forward, fields.inverse))
    settled = settle(fields, 0.9 * least)
    for field in (settled.forward, settled.inverse):
        assert float(least_determinant(field).min()) >= 0.9 * least


def test_it_is_left_off_when_cancelled(velocities: torch.Tensor) -> None:
    cancel = Task()
    cancel.cancel()
    with running(cancel), pytest.raises(Cancelled):
        unfold(velocities, SHAPE)
