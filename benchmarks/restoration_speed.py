"""Time and memory of restoring a scan of 512 x 512 x 100 voxels.

    python benchmarks/restoration_speed.py [--metal 20] [--cancel]

A phantom abdomen is given the noise of a tenth of the dose in all slices, and metal in some of
them; defects are found and filled as by ``tomochrome restore``. With ``--cancel``, the restoration
is cancelled at several moments instead, and the time is measured until it has ended.
"""

from __future__ import annotations

import argparse
import resource
import time
from contextlib import suppress
from threading import Thread

import numpy as np

import tomochrome as tc
from registration import at_most
from tomochrome.errors import Cancelled
from tomochrome.phantom import make_patient
from tomochrome.restoration.simulation import add_metal, add_noise
from tomochrome.runtime import Task, running
from tomochrome.volume import Volume, default_affine

CANCELLED_AFTER = (1.0, 3.0, 6.0, 10.0, 15.0, 20.0, 25.0, 30.0)  # seconds
SPACING = (3.0, 0.8, 0.8)
SHAPE = (100, 512, 512)
RADII = (8, 4)  # of rods of steel, in pixels


def damaged_scan(metal_slices: int) -> Volume:
    """Return the scan; its middle slices have metal."""
    rng = np.random.default_rng(0)
    patient = np.asarray(make_patient(41, "abdomen", SPACING, noise=0.7).ct.voxels)
    patient = patient[np.arange(SHAPE[0]) % len(patient), -SHAPE[1] :, -SHAPE[2] :]
    hu = np.full(SHAPE, -1000, np.float32)
    rows, columns = ((n - k) // 2 for n, k in zip(SHAPE[1:], patient.shape[1:], strict=True))
    hu[:, rows : rows + patient.shape[1], columns : columns + patient.shape[2]] = patient
    noisy = add_noise(hu, 0.1, SPACING[2], rng).hu
    if metal_slices:
        middle = slice((SHAPE[0] - metal_slices) // 2, (SHAPE[0] + metal_slices) // 2)
        bone = np.argwhere(hu[SHAPE[0] // 2] > 250)
        y, x = np.indices(SHAPE[1:])
        metal = np.zeros(noisy[middle].shape, bool)
        for part, radius in enumerate(RADII, 1):
            row, column = bone[len(bone) // (2 * part)]
            metal |= (y - row) ** 2 + (x - column) ** 2 <= radius**2
        noisy[middle] = add_metal(noisy[middle], metal, "steel", SPACING[2], rng).hu
    return Volume(np.rint(noisy).astype(np.int16), default_affine(SPACING))


def latency(scan: Volume, after: float) -> float | None:
    """Return the seconds from a cancel after some seconds to the end; None if it ended before."""
    task, ended = Task(), []

    def work() -> None:
        with running(task), suppress(Cancelled):
            tc.restore(scan)
            return
        ended.append(time.perf_counter())

    thread = Thread(target=work)
    thread.start()
    thread.join(after)
    begin = time.perf_counter()
    task.cancel()
    thread.join()
    return ended[0] - begin if ended else None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--metal", type=int, default=0, help="slices with metal")
    parser.add_argument("--cancel", action="store_true", help="measure how soon it is cancelled")
    asked = parser.parse_args()
    scan = damaged_scan(asked.metal)
    few = np.ascontiguousarray(np.asarray(scan.voxels)[48:52])
    tc.restore(Volume(few, scan.affine))  # loads the networks, compiles the loops
    if asked.cancel:
        found = {after: latency(scan, after) for after in CANCELLED_AFTER}
        print({after: None if s is None else round(s, 2) for after, s in found.items()})
        longest = max(seconds for seconds in found.values() if seconds is not None)
        at_most("longest time from Cancel to the end, s", longest, 1.0)
        return
    start, cpu_start = time.perf_counter(), time.process_time()
    result = tc.restore(scan)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    for defect in result.defects.defects:
        print(f"{defect.kind}: {defect.voxels} voxels in {len(defect.slices)} slices")
    print(f"CPU time of all threads: {cpu_seconds:.1f} s")
    at_most("restoring 512 x 512 x 100 voxels, s", seconds, 60.0)
    # ru_maxrss is in KiB on Linux
    at_most("memory, GB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 3.0)


if __name__ == "__main__":
    main()
