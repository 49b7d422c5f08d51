"""Read many damaged inputs, in processes of their own, and name each that misbehaves.

Usage::

    python benchmarks/fuzz_reading.py --count 30000 [--seed 1] [--kinds classic,nifti]
    python benchmarks/fuzz_reading.py --replay KIND SEED NUMBER

Inputs are made by ``tests/io/mutations.py`` and run by ``fuzz_run.py`` beside it. Each must end in
a volume or a `TomochromeError`, within 10 seconds of CPU and 300 MB, without a warning. Batches run
in child processes, so that a crash of a native decoder is noticed, and the input that caused it is
found and named too.
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

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "io"), str(TESTS)]

BATCH = 250


def main() -> int:
    """Run, print one JSON object, and return 1 when an input misbehaved."""
    from fuzz_seeds import SEEDS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5000, help="inputs over all kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(sorted(SEEDS)))
    parser.add_argument("--replay", nargs=3, metavar=("KIND", "SEED", "NUMBER"))
    parser.add_argument("--batch", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.batch:
        kind, seed, first, last = options.batch
        return batch(kind, int(seed), range(int(first), int(last)))
    if options.replay:
        kind, seed, number = options.replay
        return batch(kind, int(seed), range(int(number), int(number) + 1))
    kinds = options.kinds.split(",")
    return campaign(kinds, options.seed, -(-options.count // len(kinds)))


def batch(kind: str, seed: int, numbers: range) -> int:
    """Run inputs in this process and print their tally."""
    import fuzz_run

    fuzz_run.SECONDS = 10.0
    with tempfile.TemporaryDirectory() as folder, fuzz_run.bounded():
        tally = fuzz_run.run(kind, seed, numbers, Path(folder))
    print(json.dumps({"volumes": tally.volumes, "refused": tally.refused, "faults": tally.faults}))
    return 1 if tally.faults else 0


def campaign(kinds: list[str], seed: int, each: int) -> int:
    """Run batches of every kind in child processes."""
    start, volumes, refused = time.perf_counter(), 0, 0
    faults: list[str] = []
    for kind in kinds:
        for first in range(0, each, BATCH):
            result = child(kind, seed, range(first, min(first + BATCH, each)))
            volumes += result["volumes"]
            refused += result["refused"]
            faults += result["faults"]
            for fault in result["faults"]:
                print(fault, file=sys.stderr, flush=True)
    figures = {
        "inputs": volumes + refused + len(faults),
        "volumes": volumes,
        "refused": refused,
        "faults": faults,
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(figures, indent=2))
    return 1 if faults else 0


def child(kind: str, seed: int, numbers: range) -> dict:
    """Run a batch in a child process; when that dies, halve the batch until one input is left."""
    arguments = [kind, str(seed), str(numbers.start), str(numbers.stop)]
    command = [sys.executable, __file__, "--batch", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    limit = 60 + 4 * len(numbers)
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit, env=environment)
        if done.returncode in (0, 1) and done.stdout:
            return dict(json.loads(done.stdout.splitlines()[-1]))
        end = f"the process ended with {done.returncode}"
    except subprocess.TimeoutExpired:
        end = f"the process was still busy after {limit} s"
    if len(numbers) == 1:
        fault = f"kind={kind} seed={seed} number={numbers.start}: {end}"
        return {"volumes": 0, "refused": 0, "faults": [fault]}
    middle = numbers.start + len(numbers) // 2
    halves = (range(numbers.start, middle), range(middle, numbers.stop))
    a, b = (child(kind, seed, half) for half in halves)
    return {key: a[key] + b[key] for key in a}


if __name__ == "__main__":
    raise SystemExit(main())
