"""The cache of compiled kernels, and their execution in threads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ctphantom.compiling import run_in_threads

CALLEE = """
from ctphantom.compiling import kernel

@kernel
def factor():
    return {factor}
"""
CALLER = """
from collections import namedtuple

import numpy as np
from ctphantom.compiling import kernel
from callee_kernels import factor

{name} = namedtuple("{name}", "values")

@kernel
def scaled(numbers):
    return numbers.values.sum() * factor()

print(scaled({name}(np.ones(3))))
"""


def result(folder: Path, *, factor: float = 2.0, name: str = "Numbers") -> str:
    """Write two files of kernels, one of which calls the other's, and run them in a process."""
    for file, text in (
        ("callee_kernels.py", CALLEE.format(factor=factor)),
        ("caller_kernels.py", CALLER.format(name=name)),
    ):
        if not (folder / file).exists() or (folder / file).read_text() != text:
            (folder / file).write_text(text)
    command = [sys.executable, "-c", "import caller_kernels"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_change_of_a_called_kernel_in_another_file_is_compiled(tmp_path: Path) -> None:
    assert result(tmp_path) == "6.0"
    files = set(tmp_path.rglob("*.nbc"))
    assert files
    assert result(tmp_path) == "6.0"
    assert set(tmp_path.rglob("*.nbc")) == files
    assert result(tmp_path, factor=10.0) == "30.0"


def test_a_cache_that_names_a_class_of_another_version_is_cleared(tmp_path: Path) -> None:
    assert result(tmp_path, name="Before") == result(tmp_path, name="After") == "6.0"


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
