"""Gradient descent with an automatic rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch.optim.optimizer import ParamsT

_SHARE: Final = 0.5


class PolyakSGD(torch.optim.Optimizer):
    """Stochastic gradient descent with Polyak's step: the loss over the squared gradient norm.

    N. Loizou, S. Vaswani, I. Laradji, S. Lacoste-Julien: Stochastic Polyak step-size for SGD.
    AISTATS (2021), with a lowest possible loss of 0.

    Parameters
    ----------
    parameters
        Parameters to optimize, or groups of them.
    lr
        Largest step; the schedule of the training changes it.
    """

    def __init__(self, parameters: ParamsT, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    def step(self, closure: Callable[[], float]) -> float:  # type: ignore[override]
        """Take a step.

        Parameters
        ----------
        closure
            Returns the loss of the gradients.
        """
        loss = float(closure())
        with torch.no_grad():
            for group in self.param_groups:
                weights = [w for w in group["params"] if w.grad is not None]
                squared = sum(float(w.grad.square().sum()) for w in weights)
                rate = min(max(loss, 0.0) / (_SHARE * squared + 1e-12), float(group["lr"]))
                for weight in weights:
                    weight.sub_(weight.grad, alpha=rate)
        return loss
