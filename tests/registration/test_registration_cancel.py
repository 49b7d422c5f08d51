"""A registration stops at any check, and does not check again."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.errors import Cancelled
from tomochrome.registration.pairwise import register
from tomochrome.runtime import Task, running
from tomochrome.volume import Volume, default_affine

SHAPE = (16, 18, 20)
PLACES = 6
"""How many looks of those that a registration takes are tried."""


class After(Task):
    """Cancels at the check with a certain number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.looks = number, 0

    @property
    def cancelled(self) -> bool:
        self.looks += 1
        return self.looks >= self.number


def picture(seed: int) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.normal(size=SHAPE), 2)
    return (smooth / np.abs(smooth).max()).astype(np.float32)


def run(cancel: Task, model: str | None, refine: int, init: str) -> None:
    affine = default_affine((2.0, 1.5, 1.5))
    first = picture(0)
    other = ndimage.shift(first, (0.7, -1.2, 0.9), mode="nearest")
    labels = [Volume((v > 0.1).astype(np.uint8) + (v > 0.4), affine) for v in (first, other)]
    with running(cancel):
        register(
            Volume(first, affine, "unknown"), Volume(other, affine, "unknown"),
            model=model, refine=refine, init=init,
            fixed_labels=labels[0], moving_labels=labels[1],
        )  # fmt: skip


@pytest.mark.parametrize(("model", "refine", "init"), [(None, 3, "rigid"), ("symnet", 1, "none")])
def test_it_stops_at_any_look(model: str | None, refine: int, init: str) -> None:
    counted = After(10**9)
    run(counted, model, refine, init)
    assert counted.looks > 200  # rare checks would delay the cancellation
    for number in np.linspace(2, counted.looks - 2, PLACES).astype(int):
        token = After(int(number))
        with pytest.raises(Cancelled):
            run(token, model, refine, init)
        # `Cancelled` passes through the way back of a loss and whatever else lies in between (an
        # optimizer of ITK is asked to stop, and it is looked once more when it has; three of them
        # run side by side when the mirrored image is tried)
        assert token.looks <= number + 5
