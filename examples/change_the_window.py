"""Change window and saturation without running the model again."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import tomochrome as tc
from tomochrome.phantom import make_patient


def main(folder: str = ".") -> None:
    """Write one contact sheet per window from the same chroma map."""
    volume = make_patient(3, "chest", (6.0, 2.0, 2.0), phase="arterial").ct
    chroma = tc.colorize(volume, model="transfer-function")
    for window in ("lung", "mediastinum", "bone", "40/350", "auto"):
        start = time.perf_counter()
        image = tc.light(volume, chroma, window, saturation=0.8)
        seconds = time.perf_counter() - start
        sheet = Path(folder) / f"chest-{window.replace('/', '-')}.png"
        tc.write(image, sheet, force=True)
        print(f"{sheet}: lit in {1000 * seconds:.0f} ms")


if __name__ == "__main__":
    main(*sys.argv[1:2])
