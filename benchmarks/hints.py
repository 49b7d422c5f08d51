"""Time to propagate three strokes: seconds and CPU seconds for a slice and for a slab.

    python benchmarks/hints.py [--slices 60] [--threads N]

A 512x512 slice must take less than 1 s, a 512x512x60 slab less than 20 s on two cores. Each is
run twice; the second run is reported, because the first loads compiled code.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import numpy as np
from scipy import ndimage

import tomochrome as tc
from tomochrome.color import Chroma
from tomochrome.phantom import make_patient
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume

LIMITS = {1: 1.0, 60: 20.0}
ORGANS = (Tissue.LIVER, Tissue.SPLEEN, Tissue.MUSCLE)


def slab(slices: int) -> tuple[Volume, np.ndarray]:
    """Return an abdomen of 512 x 512 pixels, and strokes of nine pixels in three tissues."""
    patient = make_patient(3, "abdomen", (3.0, 0.75, 0.75), phase="portal")
    tissue = np.asarray(patient.tissue.voxels)
    middle = int((tissue == Tissue.SPLEEN).sum(axis=(1, 2)).argmax())
    first = max(0, min(middle - slices // 2, len(tissue) - slices))
    part = slice(first, first + slices)
    short = [max(0, 512 - n) for n in tissue.shape[1:]]
    edges = ((0, 0), *((n // 2, n - n // 2) for n in short))
    hu = np.pad(np.asarray(patient.ct.voxels)[part], edges, constant_values=-1024)
    tissue = np.pad(tissue[part], edges)
    hu, tissue = (np.ascontiguousarray(a[:, :512, :512]) for a in (hu, tissue))
    strokes = np.zeros(hu.shape, np.uint8)
    z = min(middle - first, slices - 1)
    for organ in ORGANS:
        inner = ndimage.distance_transform_edt(tissue[z] == organ)
        y, x = np.unravel_index(inner.argmax(), inner.shape)
        strokes[z, y, x - 4 : x + 5] = organ
    return Volume(hu, patient.ct.affine), strokes


def once(volume: Volume, strokes: np.ndarray, chroma: Chroma, threads: int | None) -> tuple:
    """Return seconds and CPU seconds of one run."""
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    tc.apply_hints(volume, strokes, chroma=chroma, threads=threads)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def main() -> int:
    """Print the figures; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=60)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    failed = False
    for slices in (1, args.slices):
        volume, strokes = slab(slices)
        chroma = tc.colorize(volume, "transfer-function")
        once(volume, strokes, chroma, args.threads)
        seconds, cpu = once(volume, strokes, chroma, args.threads)
        limit = LIMITS.get(len(strokes))
        said = f" (limit {limit:g} s)" if limit else ""
        shape = " x ".join(map(str, volume.shape))
        print(f"{shape}: {seconds:.2f} s, {cpu:.2f} s of CPU{said}")
        failed |= limit is not None and seconds > limit
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
