"""The jobs of ``tomochrome batch``, run on this computer or by the workers of a Dask scheduler."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from tomochrome.colorization.coloring_request import ColoringRequest, Outputs, Source
from tomochrome.colorization.file_coloring import colorize_file
from tomochrome.errors import Cancelled, OptionError, TomochromeError
from tomochrome.runtime import check, report
from tomochrome.runtime.task import Task, running

_POLL_SECONDS: Final = 0.5
_ASK_SECONDS: Final = 1.0
_CONNECT_SECONDS: Final = 10


@dataclass(frozen=True)
class Job:
    """One volume to color."""

    source: Source
    outputs: Outputs


def run_job(job: Job, request: ColoringRequest) -> dict[str, Any]:
    """Color one volume; return what ``colorize --json`` prints, or ``input`` and ``error``.

    Raises `Cancelled` only: no volume ends the others.
    """
    try:
        with _folders(Path(job.outputs.color).parent):
            return colorize_file(job.source, job.outputs, request).to_json()
    except Cancelled:
        raise
    except TomochromeError as error:
        text = str(error)
    except MemoryError:
        text = "there is not enough memory for this volume"
    except Exception as error:
        text = f"unexpected error, please report it: {type(error).__name__}: {error}"
    return {"input": str(job.source.path), "series": job.source.series, "error": text}


@contextmanager
def _folders(folder: Path) -> Iterator[None]:
    """Create a folder with its parents; remove those that are still empty at the end."""
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for path in missing:
            with suppress(OSError):  # it is not empty
                path.rmdir()


def run_here(jobs: Sequence[Job], request: ColoringRequest) -> list[dict[str, Any]]:
    """Run jobs one after another, each with all threads.

    Raises `Cancelled` if the user cancelled; finished results are kept.
    """
    results = []
    for number, job in enumerate(jobs, start=1):
        check()
        report(number - 1, len(jobs), f"volume {number} of {len(jobs)}")
        results.append(run_job(job, request))
    return results


def run_on_cluster(
    jobs: Sequence[Job], request: ColoringRequest, address: str
) -> list[dict[str, Any]]:
    """Run jobs on the workers of a Dask scheduler; return the results in the order of the jobs.

    Raises `OptionError` if the package is missing or the scheduler cannot be reached; `Cancelled`
    if the user cancelled: running jobs are stopped, and finished results are kept.
    """
    try:
        dask: Any = import_module("distributed")
    except ImportError as error:
        raise OptionError(
            "--scheduler needs the package distributed; install it with pip install distributed"
        ) from error
    try:
        dask.comm.get_address_host_port(address)  # with a bad address, Client waits and complains
        client = dask.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise OptionError(
            f"the Dask scheduler '{address}' cannot be reached; check the address, for example "
            "tcp://host:8786"
        ) from error
    name = f"tomochrome-{uuid.uuid4().hex}"
    with client, client.as_current():
        stop = dask.Event(name, client=client)
        work = partial(run_on_worker, request=request, stop_name=name)
        keys = [f"{name}-{number}" for number in range(len(jobs))]
        futures = client.map(work, jobs, key=keys, pure=False)
        pending = set(futures)
        try:
            while pending:
                check()
                report(len(jobs) - len(pending), len(jobs), "volumes colored")
                with suppress(TimeoutError):
                    pending = dask.wait(pending, _POLL_SECONDS, "FIRST_COMPLETED").not_done
        except BaseException:
            stop.set()
            with suppress(TimeoutError):  # jobs that have not begun end at once
                dask.wait(pending, _CONNECT_SECONDS)
            raise
        return [_result(job, future) for job, future in zip(jobs, futures, strict=True)]


def _result(job: Job, future: Any) -> dict[str, Any]:
    """Return the result of a finished job, also if its worker was lost."""
    if future.status == "finished":
        result: dict[str, Any] = future.result()
        return result
    text = f"the worker ended with an error: {future.exception()}"
    return {"input": str(job.source.path), "series": job.source.series, "error": text}


def run_on_worker(job: Job, request: ColoringRequest, stop_name: str) -> dict[str, Any]:
    """Run a job in a worker; stop at the next check after the event ``stop_name`` was set."""
    dask: Any = import_module("distributed")
    stop, asked = dask.Event(stop_name), 0.0
    if stop.is_set():
        raise Cancelled("cancelled by the user")

    def progress(done: int, total: int, stage: str) -> None:
        nonlocal asked
        now = time.monotonic()
        if now - asked >= _ASK_SECONDS:
            asked = now
            if stop.is_set():
                task.cancel()

    task = Task(progress)
    with running(task):
        return run_job(job, request)
