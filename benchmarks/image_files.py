"""Time to read NIfTI, NRRD and MetaImage, compared with another checkout of Tomochrome.

    python benchmarks/image_files.py [--before OTHER/src] [--slices 150] [--rounds 3] [--json]

Writes a noisy body of 512x512 slices in each format, uncompressed and compressed, and reads each in
a new process, alternating between this checkout and the other one: once, which includes starting a
child process and importing libraries, and a second time. The medians of wall-clock and CPU seconds
are reported, including child processes.

Limit: 1.3 times the other checkout's time plus half a second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import SimpleITK

_NAMES = ("a.nii", "a.nii.gz", "a.nrrd", "b.nrrd", "a.mha", "b.mha")
_PACKED = ("a.nii.gz", "b.nrrd", "b.mha")
_READ = """
import os, sys, time
from tomochrome.io import read

def used():
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system

def end():
    try:
        from tomochrome.runtime import sandbox
    except ImportError:
        return
    sandbox.close()

for _ in range(2):
    start = time.perf_counter()
    volume = read(sys.argv[1])
    print(time.perf_counter() - start)
    assert volume.unit == "HU"
    del volume
end()
print(used())
"""


def write(folder: Path, slices: int) -> None:
    """Write a noisy body in air, as int16, in each format."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    body = np.where((x / 0.85) ** 2 + (y / 0.6) ** 2 < 1, 40.0, -1000.0)
    noise = rng.normal(0, 12, (slices, 512, 512))
    image = SimpleITK.GetImageFromArray(np.rint(body + noise).astype(np.int16))
    image.SetSpacing((0.7, 0.7, 1.0))
    for name in _NAMES:
        SimpleITK.WriteImage(image, str(folder / name), name in _PACKED, compressionLevel=1)


def timed(path: Path, source: Path) -> tuple[float, float, float]:
    """Return seconds of the first and second reading, and the total CPU seconds."""
    paths = os.pathsep.join((str(source), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(path)],
        env={**os.environ, "PYTHONPATH": paths},
        check=True,
        capture_output=True,
        text=True,
    )
    first, second, used = map(float, done.stdout.split())
    return first, second, used


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="src folder of another checkout")
    parser.add_argument("--slices", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sources = {"now": Path(__file__).resolve().parents[1] / "src"}
    if options.before:
        sources["before"] = options.before.resolve()
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder, options.slices)
        for name in _NAMES:
            runs: dict[str, list[tuple[float, float, float]]] = {which: [] for which in sources}
            for _ in range(options.rounds):
                for which, source in sources.items():
                    runs[which].append(timed(folder / name, source))
            results[name] = {
                which: dict(
                    zip(
                        ("first_s", "second_s", "processor_s"),
                        (round(median(column), 2) for column in zip(*rows, strict=True)),
                        strict=True,
                    )
                )
                for which, rows in runs.items()
            }
    if options.json:
        print(json.dumps(results))
        return
    for name, found in results.items():
        packed = "packed" if name in _PACKED else "plain"
        for which, values in found.items():
            print(f"{name:9} {packed:6} {which:6} ", *(f"{k} {v:.2f}" for k, v in values.items()))


if __name__ == "__main__":
    main()
