"""Pieces of compiled loops run in threads, and say every error they meet."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tomochrome
from tomochrome.errors import Cancelled
from tomochrome.runtime import Task, ThreadPool, kernels, running
from tomochrome.runtime.device import compute_threads, kernel_threads
from tomochrome.runtime.kernels import in_chunks, over_chunks, plain_numbers

SOURCES = Path(tomochrome.__file__).parent


@in_chunks
def count_points(first: int, last: int, out: Any) -> None:
    for n in range(first, last):
        out[n] += 1


@in_chunks(jobs=lambda values, out: len(values), least=1, fastmath=True)
def double_rows(first: int, last: int, values: Any, out: Any) -> None:
    for row in range(first, last):
        out[row] += 2 * values[row]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("n", [0, 1, 200_003])
def test_every_item_is_worked_on_once(n: int, count: int) -> None:
    out, doubled = np.zeros(n, np.int64), np.zeros(n)
    with compute_threads(count):
        count_points(n, out)
        double_rows(np.arange(float(n)), doubled)
    assert (out == 1).all()
    np.testing.assert_array_equal(doubled, 2 * np.arange(float(n)))


def test_the_compiled_function_keeps_its_name_and_options() -> None:
    assert count_points.__name__ == "count_points"
    assert double_rows.__wrapped__.targetoptions["fastmath"]
    assert not count_points.__wrapped__.targetoptions.get("fastmath")


def test_as_many_threads_as_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[tuple[int, int]] = []
    monkeypatch.setattr(kernels, "kernel", lambda function, **_: function)
    monkeypatch.setattr(kernels, "kernel_threads", lambda: 3)

    @in_chunks(jobs=lambda: 10, least=2)
    def note(first: int, last: int) -> None:
        pieces.append((first, last))

    note()
    assert sorted(pieces) == [(0, 3), (3, 6), (6, 10)]
    monkeypatch.setattr(kernels, "kernel_threads", kernel_threads)
    pieces.clear()
    with compute_threads(1), ThreadPool(1) as pool:
        pool.submit(note).result()  # the limit is that of the thread that asked
    assert pieces == [(0, 10)]


def test_kernels_leave_the_threads_of_openmp_alone() -> None:
    """`numba.get_num_threads` made torch use all cores, whatever the environment said."""
    code = (
        "import torch, tomochrome.runtime.kernels as k\n"
        "k.in_chunks(jobs=lambda: 9, least=1)(lambda first, last: None)()\n"
        "print(torch.get_num_threads())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout == "1\n"


def test_few_items_are_not_shared() -> None:
    seen: list[tuple[int, int, threading.Thread]] = []

    def work(first: int, last: int) -> None:
        seen.append((first, last, threading.current_thread()))

    over_chunks(work, 99, threads=4, least=50)
    assert seen == [(0, 99, threading.current_thread())]


def test_pieces_run_at_the_same_time_in_named_threads() -> None:
    meet = threading.Barrier(2, timeout=600)
    names: list[str] = []

    def work(first: int, last: int) -> None:
        names.append(threading.current_thread().name)
        meet.wait()

    over_chunks(work, 2, threads=2, least=1)
    assert sum(name.startswith("kernel") for name in names) == 1


def test_loops_within_loops_and_a_pool_without_threads_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[int] = []

    def outer(first: int, last: int) -> None:
        over_chunks(lambda start, stop: done.extend(range(start, stop)), 100, threads=9, least=1)

    over_chunks(outer, 20, threads=20, least=1)
    assert sorted(done) == sorted([*range(100)] * 20)
    ended = ThreadPoolExecutor(1)  # as all are while the interpreter exits
    ended.shutdown()
    monkeypatch.setattr(kernels, "_pool", lambda: ended)
    done.clear()
    outer(0, 1)
    assert sorted(done) == [*range(100)]


@pytest.mark.parametrize("bad", [0, 1])
def test_an_error_in_any_piece_is_raised(bad: int) -> None:
    meet = threading.Barrier(2, timeout=600)

    def work(first: int, last: int) -> None:
        meet.wait()
        if first == bad:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        over_chunks(work, 2, threads=2, least=1)
    over_chunks(lambda first, last: None, 2, threads=2, least=1)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    script = """
import os, threading
from tomochrome.runtime.kernels import over_chunks
def meet():
    barrier = threading.Barrier(2, timeout=600)
    over_chunks(lambda first, last: barrier.wait(), 2, threads=2, least=1)
meet()
child = os.fork()
if child == 0:
    meet()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=1200)


def test_no_kernel_is_one_of_numbas_parallel_loops() -> None:
    package = Path(tomochrome.__file__).parent
    texts = {path.name: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    assert texts
    assert not [name for name, text in texts.items() if "parallel=True" in text]


def test_who_was_told_to_stop_does_not_enter() -> None:
    values, out = np.ones(2), np.zeros(2)
    token = Task()
    with running(token):
        double_rows(values, out)
        token.cancel()
        with pytest.raises(Cancelled):
            double_rows(values, out)
    double_rows(values, out)
    np.testing.assert_array_equal(out, [4.0, 4.0])


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


NO_CACHE_FOLDER = """
import numba.core.caching
numba.core.caching.CacheImpl._locator_classes = []
from importlib import import_module
for name in {names}:
    import_module(name)
"""


def test_kernels_compile_where_no_folder_is_writable() -> None:
    folder = SOURCES.parent
    modules = (path.relative_to(folder) for path in folder.rglob("*kernels.py"))
    names = [".".join(path.with_suffix("").parts) for path in modules]
    assert {"tomochrome.color.color_kernels", "ctphantom.painting_kernels"} <= set(names)
    command = [sys.executable, "-c", NO_CACHE_FOLDER.format(names=names)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


STALE_INDEX = """
from collections import namedtuple
import numpy as np
from tomochrome.runtime.kernels import kernel

{name} = namedtuple("{name}", "values")

@kernel
def total(numbers):
    return numbers.values.sum()

print(total({name}(np.ones(3))))
"""


def test_an_index_that_names_a_class_of_another_version_is_dropped(tmp_path: Path) -> None:
    module = tmp_path / "versions.py"

    def run(name: str) -> str:
        module.write_text(STALE_INDEX.format(name=name))
        command = [sys.executable, "-c", "import versions"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("Before").startswith("3.0")
    assert list(tmp_path.rglob("*.nbi"))
    assert run("After").startswith("3.0")
