"""Latency of "Cancel" while a large CT is registered: the longest time between two checks.

    python benchmarks/cancel.py [--shape 480 512 512] [--refine 4] [--init affine]

A phantom patient is resampled to the size of a typical CT and registered with the same patient
after rotation and inspiration, with masks and labels. The task records when it is checked.
Wall-clock times depend on the load of the machine; CPU seconds (of all threads) hardly do.
"""

from __future__ import annotations

import argparse
import resource
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

import tomochrome as tc
from registration import at_most, say
from tomochrome.phantom import make_patient
from tomochrome.registration.symmetric_network import load_symnet
from tomochrome.runtime import Task, running
from tomochrome.volume import Volume

PACKAGE = str(Path(tc.__file__).parent)


class Watch(Task):
    """A task that is never cancelled, and records when and where it is checked."""

    def __init__(self) -> None:
        super().__init__()
        self.gaps: list[tuple[float, float, str]] = []
        self._last = time.perf_counter(), time.process_time()

    @property
    def cancelled(self) -> bool:
        """False; the call is recorded."""
        now = time.perf_counter(), time.process_time()
        ours = [f for f in traceback.extract_stack() if f.filename.startswith(PACKAGE)]
        places = [f"{Path(f.filename).stem}.{f.name}" for f in ours[::-1]]
        named = [p for p in places if not p.startswith(("task.", "kernels."))][:3]
        self.gaps.append((now[0] - self._last[0], now[1] - self._last[1], " < ".join(named)))
        self._last = time.perf_counter(), time.process_time()
        return False


def stretched(volume: Volume, shape: Sequence[int], order: int) -> Volume:
    """Resample a volume to a shape, with the same field of view."""
    factors = np.array(shape) / np.array(volume.shape)
    affine = np.array(volume.affine)
    affine[:3, :3] /= factors
    voxels = ndimage.zoom(np.asarray(volume.voxels), factors, order=order)
    return Volume(voxels, affine, volume.unit)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(480, 512, 512))
    parser.add_argument("--refine", type=int, default=4)
    parser.add_argument("--init", default="affine")
    parser.add_argument("--similarity", default="lncc")
    asked = parser.parse_args(arguments)
    patients = [
        make_patient(11, "abdomen", (4.0, 4.0, 4.0), phase=phase, breathing=breathing)
        for phase, breathing in (("portal", 0.0), ("native", 1.0))
    ]
    scans = [stretched(p.ct, asked.shape, 1) for p in patients]
    labels = [
        stretched(Volume(np.asarray(p.structures, np.uint8), p.ct.affine), asked.shape, 0)
        for p in patients
    ]
    turn = np.eye(4)
    turn[0, :2], turn[1, :2], turn[:3, 3] = (0.996, -0.087), (0.087, 0.996), (12.0, -8.0, 20.0)
    moving, theirs = (Volume(v.voxels, turn @ v.affine, v.unit) for v in (scans[1], labels[1]))
    load_symnet("symnet")  # in advance, as in napari: importing torch takes two seconds
    watch, begun = Watch(), time.perf_counter()
    with running(watch):
        tc.register(
            scans[0], moving, init=asked.init, refine=asked.refine, similarity=asked.similarity,
            fixed_labels=labels[0], moving_labels=theirs, fixed_mask=labels[0], moving_mask=theirs,
        )  # fmt: skip
    assert not watch.cancelled
    say(
        f"registration of {' x '.join(map(str, asked.shape))} voxels, s",
        time.perf_counter() - begun,
    )
    say("peak memory, GiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    say("checks", len(watch.gaps))
    at_most("longest time between two checks, s of CPU", max(g[1] for g in watch.gaps), 2.0)
    at_most("longest time between two checks, s", max(g[0] for g in watch.gaps), 1.5)
    for wall, cpu, where in sorted(watch.gaps, reverse=True)[:8]:
        print(f"  {wall:5.2f} s ({cpu:.2f} of CPU) until {where}")


if __name__ == "__main__":
    main()
