"""Monitor and cancel a long operation with a task."""

from __future__ import annotations

import tomochrome as tc
from tomochrome.errors import Cancelled
from tomochrome.phantom import make_patient
from tomochrome.runtime import Task, running


def main() -> None:
    """Cancel as soon as progress is reported."""

    def progress(done: int, total: int, stage: str) -> None:
        print(f"{stage}: {done} of {total}")
        task.cancel()

    volume = make_patient(2, "head", (6.0, 2.0, 2.0)).ct
    task = Task(progress)
    try:
        with running(task):
            tc.colorize(volume, model="transfer-function")
    except Cancelled as stopped:
        print(stopped)


if __name__ == "__main__":
    main()
