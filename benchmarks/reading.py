"""Speed of listing and reading DICOM series, compared with SimpleITK on the same files.

    python benchmarks/reading.py [--slices 300] [--rounds 5] [--json]

Writes a series of 512x512 slices to a temporary folder, uncompressed and as JPEG 2000 lossless,
and times listing (`tomochrome.io.find`) and reading (`tomochrome.io.read`), alternating with
SimpleITK's ``ImageSeriesReader``, with the files in the system's cache: once with the file names
given (only decoding is timed), once with SimpleITK finding and sorting them. Reading by Tomochrome
always includes finding. Peak memory is that of a new process that reads, minus that of one that
only lists the files. The voxels are compared as well.

SimpleITK decodes each JPEG 2000 frame with as many threads as there are cores, and nearly all time
is spent in the same decoder (OpenJPEG), so that the possible gain is small: on two cores it is the
idle time of SimpleITK, an eighth. For the gain of two cores over one, SimpleITK is also restricted
to one core (Linux only).

Limits: uncompressed at least as fast as SimpleITK; listing at most a third of reading; JPEG 2000
at least as fast as SimpleITK, and at least 1.7 times as fast as SimpleITK on one core; peak memory
below 2.2 volumes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import SimpleITK
from scipy import ndimage

from tomochrome.io import find, read
from tomochrome.io.dicom import write_series
from tomochrome.runtime import thread_count
from tomochrome.volume import Volume, default_affine

SIZE = 512
_MEMORY = """
import resource, sys
from pathlib import Path
from tomochrome.io import find, read
folder, reading = Path(sys.argv[1]), sys.argv[2] == "read"
find(folder)
if reading:
    read(folder)
# On Linux a child inherits ru_maxrss from its parent, but not VmHWM.
status = Path("/proc/self/status")
if status.exists():
    lines = status.read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
print(peak)
"""


_ONE_CORE = """
import os, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import SimpleITK
reader = SimpleITK.ImageSeriesReader()
reader.SetFileNames(sys.argv[1:])
start = time.perf_counter()
reader.Execute()
print(time.perf_counter() - start)
"""


def body(slices: int) -> Volume:
    """Return a noisy body of smooth organs in air: int16, 512x512 per slice."""
    rng = np.random.default_rng(0)
    organs = ndimage.zoom(rng.normal(0, 1, (8, 16, 16)), (1, SIZE / 16, SIZE / 16), order=1)
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    inside = (x / 0.85) ** 2 + (y / 0.6) ** 2 < 1
    noise = ndimage.gaussian_filter(rng.normal(0, 1, (8, SIZE, SIZE)), (0, 0.8, 0.8))
    noise *= 12 / noise.std()
    voxels = np.empty((slices, SIZE, SIZE), np.int16)
    for z in range(slices):
        share = (z % 40) / 40
        tissue = 60 * ((1 - share) * organs[z // 40 % 8] + share * organs[(z // 40 + 1) % 8])
        plane = np.where(inside, 40 + tissue, -1000) + np.roll(noise[z % 8], 7 * z, axis=1)
        voxels[z] = np.clip(np.rint(plane), -1024, 3071)
    return Volume(voxels, default_affine((1.0, 0.7, 0.7), (-180.0, -180.0, 0.0)))


def seconds(work: Callable[[], object]) -> float:
    """Return the wall-clock time of one call; its result is released before the next call."""
    start = time.perf_counter()
    kept = work()
    taken = time.perf_counter() - start
    del kept
    return taken


def simpleitk(names: list[str]) -> SimpleITK.Image:
    """Read named files with SimpleITK's series reader."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(names)
    return reader.Execute()


def sorted_by_simpleitk(folder: Path) -> SimpleITK.Image:
    """Let SimpleITK find, sort and read the series of a folder."""
    return simpleitk(list(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))))


def measure(folder: Path, rounds: int) -> dict[str, Any]:
    """Time one series by both, alternating, and compare the voxels."""
    names = [str(path) for path in sorted(folder.iterdir())]
    ours, theirs = read(folder), simpleitk(names)
    same = np.array_equal(ours.voxels, SimpleITK.GetArrayViewFromImage(theirs))
    size = ours.voxels.nbytes
    del ours, theirs
    works: dict[str, Callable[[], object]] = {
        "list": lambda: find(folder),
        "read": lambda: read(folder),
        "SimpleITK": lambda: simpleitk(names),
        "SimpleITK sorted": lambda: sorted_by_simpleitk(folder),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    alone: list[float | None] = []
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
        alone.append(one_core(names))
    middle = {name: median(values) for name, values in times.items()}
    peak = memory(folder, "read") - memory(folder, "list")
    return {
        "seconds": middle,
        "same_voxels": same,
        "read_vs_simpleitk": median(
            b / a for a, b in zip(times["read"], times["SimpleITK"], strict=True)
        ),
        "read_vs_simpleitk_sorted": median(
            b / a for a, b in zip(times["read"], times["SimpleITK sorted"], strict=True)
        ),
        "read_vs_simpleitk_on_one_core": median(
            b / a for a, b in zip(times["read"], alone, strict=True) if b is not None
        )
        if None not in alone
        else None,
        "list_per_read": median(a / b for a, b in zip(times["list"], times["read"], strict=True)),
        "list_per_simpleitk": median(
            a / b for a, b in zip(times["list"], times["SimpleITK"], strict=True)
        ),
        "peak_memory_per_volume": peak / size,
    }


def one_core(names: list[str]) -> float | None:
    """Return seconds of SimpleITK on one core, in a separate process; None except on Linux."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    command = [sys.executable, "-c", _ONE_CORE, *names]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def memory(folder: Path, what: str) -> int:
    """Return the peak memory in bytes of a new process that lists or reads a folder."""
    command = [sys.executable, "-c", _MEMORY, str(folder), what]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(answer.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: dict[str, Any] = {"cores": thread_count(), "slices": options.slices}
    with tempfile.TemporaryDirectory() as place:
        plain, packed = Path(place) / "plain", Path(place) / "jpeg2000"
        volume = body(options.slices)
        write_series(volume, plain)
        write_series(volume, packed, compress="j2k")
        del volume
        for folder in (plain, packed):
            results[folder.name] = measure(folder, options.rounds)
    if options.json:
        print(json.dumps(results))
        return
    print(f"{options.slices} slices of {SIZE}x{SIZE}, {results['cores']} cores")
    for name in ("plain", "jpeg2000"):
        found = results[name]
        print(f"{name}: " + ", ".join(f"{k} {v:.3f} s" for k, v in found["seconds"].items()))
        alone = found["read_vs_simpleitk_on_one_core"]
        kept = "" if alone is None else f"{alone:.2f}x as fast as SimpleITK on one core; "
        print(
            f"  reading {found['read_vs_simpleitk']:.2f}x as fast as SimpleITK, "
            f"{found['read_vs_simpleitk_sorted']:.2f}x where it sorts too; {kept}"
            f"listing takes {found['list_per_simpleitk']:.2f} of SimpleITK's reading, "
            f"{found['list_per_read']:.2f} of ours (which lists first); "
            f"peak memory {found['peak_memory_per_volume']:.2f} volumes; "
            f"voxels {'identical' if found['same_voxels'] else 'DIFFER'}"
        )


if __name__ == "__main__":
    main()
