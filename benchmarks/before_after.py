"""Time of the main steps, compared with another checkout of Tomochrome.

    python benchmarks/before_after.py OTHER/src [--steps list,read,...] [--rounds 5] [--json]

Both checkouts run in turns in new processes on the same files: a DICOM series of 512x512 slices, 60
slices of a phantom's torso, and two phantoms to register. Each process runs its step twice (listing
and reading take another series first) and reports the second time, without imports and compilation;
``relight`` is 60 slices, each after a change of the window; ``help`` and ``three slices`` are whole
commands. Printed are the medians over the rounds, the median ratio of now to before, and the peak
memory of the processes. `image_files.py` does the same for NIfTI, NRRD and MetaImage.

Limits: no step slower than 1.1 times, and no more memory. Runs on Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from reading import body

from tomochrome.io import write
from tomochrome.io.dicom import write_series
from tomochrome.phantom import make_patient
from tomochrome.volume import Volume

# The memory of a process itself; what the kernel accounts to it includes its parent's.
_PEAK = """
import atexit
@atexit.register
def peak():
    print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
_STEP = (
    _PEAK
    + """
import gc, sys, time
from numpy import asarray
from tomochrome.io import find, read
step, *paths = sys.argv[1:]
if step not in ("list", "read"):  # whose memory is not that of the other steps' libraries
    from tomochrome import colorize, light, register
    from tomochrome.color import Lighting, LitVolume
    from tomochrome.windowing import Window
volumes = [] if step in ("list", "read") else [read(path) for path in paths]
chroma = colorize(volumes[0]) if step in ("light", "relight") else None
lit = LitVolume(volumes[0], chroma, Lighting()) if step == "relight" else None
def relight():
    for z in range(volumes[0].shape[0]):
        lit.settings = lit.settings.replace(window=Window(50.0 + z, 400.0))
        lit[z]
work = {
    "list": lambda path: find(path),
    "read": lambda path: asarray(read(path).voxels),
    "color": lambda path: colorize(volumes[0]),
    "light": lambda path: asarray(light(volumes[0], chroma).voxels),
    "relight": lambda path: relight(),
    "register": lambda path: register(*volumes),
}[step]
work(paths[-1])
gc.collect()  # a full collection that the imports made due would fall into some steps
start = time.perf_counter()
work(paths[0])
print(time.perf_counter() - start)
"""
)


def prepare(folder: Path, slices: int) -> dict[str, list[str]]:
    """Write the inputs and return the command of each step."""
    series, scan, three = folder / "series", folder / "scan.nii", folder / "three.nii"
    few = folder / "few"
    write_series(body(slices), series)
    write_series(body(8), few)  # the step before the timed one: what is read again may be cached
    torso = make_patient(0, "torso", (5.0, 0.84, 0.84), phase="portal", shape=(60, 512, 512)).ct
    write(torso, scan)
    write(Volume(torso.voxels[30:33], torso.affine, torso.unit), three)
    pair = [folder / f"patient{seed}.nii" for seed in (1, 2)]
    for seed, path in enumerate(pair, 1):
        write(make_patient(seed, "abdomen", (4.0, 4.0, 4.0)).ct, path)
    steps = {
        "list": [series, few],
        "read": [series, few],
        "color": [scan],
        "light": [scan],
        "relight": [scan],
        "register": pair,
    }
    command = [
        sys.executable,
        "-c",
        f"{_PEAK}from tomochrome.cli import main; raise SystemExit(main())",
    ]
    colored = ["colorize", str(three), "-o", str(folder / "colored.nii.gz"), "--force"]
    return {
        "help": [*command, "--help"],
        "three slices": [*command, *colored],
        **{
            name: [sys.executable, "-c", _STEP, name, *map(str, paths)]
            for name, paths in steps.items()
        },
    }


def measured(command: list[str], source: Path) -> tuple[float, float]:
    """Return the seconds that a step prints, or those of the whole command, and its peak MiB."""
    paths = os.pathsep.join((str(source), os.environ.get("PYTHONPATH", "")))
    start = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    whole = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    lines = done.stdout.split()
    return float(lines[-2]) if command[2] == _STEP else whole, int(lines[-1]) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, help="src folder of another checkout")
    parser.add_argument("--slices", type=int, default=300, help="of the DICOM series")
    parser.add_argument("--steps", default="", help="comma-separated; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sources = {
        "before": options.before.resolve(),
        "now": Path(__file__).resolve().parents[1] / "src",
    }
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        steps = prepare(Path(folder), options.slices)
        for name in options.steps.split(",") if options.steps else steps:
            command = steps[name]
            for source in sources.values():
                measured(command, source)  # compiles and fills the system's cache
            rounds = np.array(
                [
                    [measured(command, source) for source in sources.values()]
                    for _ in range(options.rounds)
                ]
            )  # (round, before or now, seconds or MiB)
            (before, before_mib), (now, now_mib) = np.median(rounds, axis=0)
            ratio = float(np.median(rounds[:, 1, 0] / rounds[:, 0, 0]))
            results[name] = {
                "before_s": before,
                "now_s": now,
                "ratio": ratio,
                "before_mib": before_mib,
                "now_mib": now_mib,
            }
            if not options.json:
                print(
                    f"{name:13} before {before:7.3f} s, now {now:7.3f} s, ratio {ratio:5.2f};"
                    f" {before_mib:6.0f} MiB, now {now_mib:6.0f} MiB"
                )
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
