"""Execution of compiled kernels in threads; `test_runtime_kernels` tests their cache."""

from __future__ import annotations

import numpy as np
import pytest

from ctphantom.compiling import run_in_threads


@pytest.mark.parametrize("threads", [1, 2, 5, None])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_every_slice_is_worked_on_once(count: int, threads: int | None) -> None:
    seen = np.zeros(50, int)

    def work(step: int, z0: int, z1: int) -> None:
        seen[z0:z1] += step

    run_in_threads(work, 4, 4 + count, 2, threads=threads)
    assert (seen[4 : 4 + count] == 2).all()
    assert seen.sum() == 2 * count


def test_an_exception_in_a_thread_is_raised() -> None:
    def work(z0: int, z1: int) -> None:
        if z0 <= 7 < z1:
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        run_in_threads(work, 0, 20, threads=2)
