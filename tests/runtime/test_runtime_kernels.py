"""Parallel kernels let one thread in at a time, and say every error they meet."""

from __future__ import annotations

import threading
import time

import pytest

from tomochrome.runtime.kernels import one_at_a_time


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
