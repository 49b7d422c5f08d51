"""Gradient descent with Polyak's step."""

from __future__ import annotations

import torch

from tomochrome.training.polyak import PolyakSGD


def test_one_step_on_a_parabola_goes_to_its_minimum() -> None:
    # f(x) = x^2 / 2: the loss over half the squared gradient is 1, the exact step
    x = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = PolyakSGD([x], 10.0)
    loss = 0.5 * x.square().sum()
    loss.backward()
    assert optimizer.step(lambda: float(loss.detach())) == 6.5
    torch.testing.assert_close(x.detach(), torch.zeros(2))


def test_the_learning_rate_bounds_the_step() -> None:
    x = torch.nn.Parameter(torch.tensor([3.0]))
    optimizer = PolyakSGD([x], 0.1)
    (0.5 * x.square().sum()).backward()
    optimizer.step(lambda: 4.5)
    torch.testing.assert_close(x.detach(), torch.tensor([2.7]))
    x.grad = None
    optimizer.step(lambda: 4.0)  # without a gradient nothing moves
    torch.testing.assert_close(x.detach(), torch.tensor([2.7]))
