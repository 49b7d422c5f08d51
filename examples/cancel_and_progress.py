"""Follow long work and stop it: every long function takes ``progress`` and ``cancel``."""

from __future__ import annotations

import tomochrome as tc
from tomochrome.errors import Cancelled
from tomochrome.phantom import make_patient
from tomochrome.runtime import CancelToken


def main() -> None:
    """Stop as soon as the coloring has begun."""
    cancel = CancelToken()

    def progress(done: int, total: int, stage: str) -> None:
        print(f"{stage}: {done} of {total}")
        cancel.cancel()

    volume = make_patient(2, "head", (6.0, 2.0, 2.0)).ct
    try:
        tc.colorize(volume, model="transfer-function", progress=progress, cancel=cancel)
    except Cancelled as stopped:
        print(stopped)


if __name__ == "__main__":
    main()
