"""Parallel kernels let one thread in at a time, and say every error they meet."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from tomochrome.errors import Cancelled
from tomochrome.runtime import Task, running
from tomochrome.runtime.kernels import one_at_a_time, plain_numbers


def test_no_two_threads_are_inside_at_once() -> None:
    inside: list[int] = []
    most = 0

    @one_at_a_time
    def kernel(name: int) -> int:
        nonlocal most
        inside.append(name)
        most = max(most, len(inside))
        time.sleep(0.005)
        inside.remove(name)
        return name

    threads = [threading.Thread(target=kernel, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_the_gate_opens_again_after_an_error() -> None:
    @one_at_a_time
    def kernel(value: float) -> float:
        return 1.0 / value

    with pytest.raises(ZeroDivisionError):
        kernel(0.0)
    assert kernel(2.0) == 0.5


def test_every_parallel_kernel_stands_behind_the_gate() -> None:
    import ast
    from pathlib import Path

    import tomochrome

    package = Path(tomochrome.__file__).parent
    open_kernels = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                decorators = [ast.unparse(d) for d in node.decorator_list]
                parallel = any("njit" in d and "parallel=True" in d for d in decorators)
                if parallel and decorators[0] != "one_at_a_time":
                    open_kernels.append(f"{path.name}:{node.name}")
    assert not open_kernels


def test_who_was_told_to_stop_does_not_enter() -> None:
    entered: list[int] = []
    kernel = one_at_a_time(entered.append)
    token = Task()
    with running(token):
        kernel(1)
        token.cancel()
        with pytest.raises(Cancelled):
            kernel(2)
    kernel(3)
    assert entered == [1, 3]


@pytest.mark.parametrize(
    "dtype", ["?", "u1", "<i2", ">i2", ">u4", "<i8", "<f2", ">f4", ">f8", "longdouble"]
)
def test_numbers_become_what_compiled_loops_read(dtype: str) -> None:
    given = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    plain = plain_numbers(given)
    assert plain.dtype.isnative
    assert plain.dtype.kind in "iuf"
    assert plain.dtype.itemsize in ((4, 8) if plain.dtype.kind == "f" else (1, 2, 4, 8))
    np.testing.assert_array_equal(plain, given)


def test_plain_numbers_are_not_copied() -> None:
    for dtype in ("?", "i2", "f4"):
        given = np.zeros(5, dtype)
        assert np.shares_memory(plain_numbers(given), given)
