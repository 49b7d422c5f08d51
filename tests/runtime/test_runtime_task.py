"""Progress is optional, cancel is heard at the next check, and a task is its work's alone."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import pytest

import tomochrome
from tomochrome.errors import Cancelled
from tomochrome.runtime import Task, ThreadPool, check, current, quietly, report, running

SOURCES = Path(tomochrome.__file__).parent


def stopped() -> Task:
    task = Task()
    task.cancel()
    return task


def test_report_calls_whoever_listens() -> None:
    heard: list[tuple[int, int, str]] = []
    report(1, 2, "read")  # nobody does
    with running(Task(lambda done, total, stage: heard.append((done, total, stage)))):
        report(1, 2, "read")
        with running(Task()):
            report(2, 2, "read")
    report(2, 2, "read")
    assert heard == [(1, 2, "read")]


def test_check_raises_only_after_cancel() -> None:
    check()  # nothing runs
    with running(Task()) as task:
        check()
        task.cancel()
        assert task.cancelled
        with pytest.raises(Cancelled):
            check()
    check()


def test_the_inner_task_is_the_current_one() -> None:
    with running(stopped()) as outer:
        with running(Task()) as inner:
            check()
            assert current() is inner
        assert current() is outer


def test_an_error_ends_the_task() -> None:
    with pytest.raises(ZeroDivisionError), running(stopped()):
        1 / 0  # noqa: B018
    check()


def test_what_is_done_quietly_is_not_reported_but_stopped() -> None:
    heard: list[str] = []
    with running(Task(lambda done, total, stage: heard.append(stage))) as task:
        with quietly():
            report(0, 1, "a part")
            check()
            task.cancel()
            with pytest.raises(Cancelled):
                check()
        report(1, 1, "the whole")
    assert heard == ["the whole"]


def test_other_threads_have_tasks_of_their_own() -> None:
    heard: list[str] = []

    def work() -> None:
        check()
        heard.append("went on")

    with running(stopped()):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert heard == ["went on"]


def test_a_pool_works_for_whoever_hands_it_work() -> None:
    with ThreadPool(1) as pool:
        with running(stopped()) as first:
            assert list(pool.map(lambda _: current(), range(2))) == [first, first]
            with pytest.raises(Cancelled):
                pool.submit(check).result()
        with running(Task()) as second:
            assert pool.submit(current).result() is second
        pool.submit(check).result()


def test_a_gradient_is_stopped_in_the_middle() -> None:
    """torch calls a layer's way back in the calling thread where there is no GPU."""
    torch = pytest.importorskip("torch")

    class Layer(torch.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(_, values):
            return values * 2

        @staticmethod
        def backward(_, gradient):
            check()
            return gradient * 2

    values = torch.ones(3, requires_grad=True)
    with running(Task()) as task:
        Layer.apply(values).sum().backward()
        task.cancel()
        with pytest.raises(Cancelled):
            Layer.apply(values).sum().backward()
    assert values.grad.tolist() == [2, 2, 2]


def test_there_is_no_other_way_to_report_or_to_cancel() -> None:
    """No function takes a task's parts, and no pool of threads forgets whose work it does."""
    strangers = []
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = set()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                names = {argument.arg for argument in given} & {"progress", "cancel"}
            elif isinstance(node, ast.ImportFrom):
                names = {name.name for name in node.names} & {"ThreadPoolExecutor"}
            if names:
                strangers.append((path.relative_to(SOURCES).as_posix(), *names))
    assert sorted(strangers) == [
        ("runtime/task.py", "ThreadPoolExecutor"),
        ("runtime/task.py", "progress"),
    ]
