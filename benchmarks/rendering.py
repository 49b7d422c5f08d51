"""Time of a 3D picture in each quality, and of a film, for a phantom or a scan.

::

    python benchmarks/rendering.py [SCAN] [--frames 60]
"""

from __future__ import annotations

import argparse
import time

import tomochrome as tc
from tomochrome.phantom import make_patient
from tomochrome.rendering import RenderRequest, Stage, parse_view
from tomochrome.rendering.cinematic import turn


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", nargs="?")
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--frames", type=int, default=60)
    args = parser.parse_args()
    volume = tc.read(args.scan) if args.scan else make_patient(20, "thorax", (2.5, 1.0, 1.0)).ct
    chroma = tc.colorize(volume, force=True)
    for _ in range(2):  # the kernels are compiled in the first round
        for quality in ("draft", "final"):
            start = time.perf_counter()
            stage = Stage(volume, chroma, RenderRequest(quality=quality, preset=args.preset))
            prepared = time.perf_counter()
            stage.draw(parse_view("20/5"))
            drawn = time.perf_counter()
            print(f"{quality}: prepared {prepared - start:.1f} s, drawn {drawn - prepared:.1f} s")
    request = RenderRequest(quality="draft", size=(600, 600), preset=args.preset)
    start = time.perf_counter()
    count = sum(1 for _ in turn(Stage(volume, chroma, request), args.frames))
    print(f"film: {count} frames of 600 x 600 in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
