"""Speed of lighting a colored volume, compared with scikit-image's lab2rgb in one run.

    python benchmarks/lighting.py [--slices 300] [--json]

Prints the time to re-light one slice after a window change and to scroll to the next slice (limit:
15 ms median), and the lighting of the volume relative to scikit-image (limit: 40 times faster):
compared with ``lab2rgb`` only, on precomputed L*, a*, b*, and with the same operations (window,
chroma, lab2rgb, 8 bits). scikit-image is timed on slices throughout the volume, alternating with
Tomochrome, so that both have the same conditions.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
import warnings
from statistics import median
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.color import lab2rgb

from tomochrome.color import Chroma, Lighting, LitVolume, light
from tomochrome.color.palettes import palette
from tomochrome.runtime import thread_count
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.volume import Volume, default_affine
from tomochrome.windowing import Window, luminance

SIZE = 512
SHARES = 16


def patient(slices: int) -> tuple[Volume, Chroma]:
    """Return an ellipse of smooth tissue regions with noise, and codes as from a network."""
    rng = np.random.default_rng(0)
    table = [np.eye(N_TISSUES)[0]]
    for first in range(1, N_TISSUES):
        for second in range(1, N_TISSUES):
            for share in range(SHARES):
                row = np.zeros(N_TISSUES)
                row[first] += 1 - share / (2 * SHARES)
                row[second] += share / (2 * SHARES)
                table.append(row)
    mixtures = np.asarray(table, np.float32)

    coarse = rng.normal(size=(N_TISSUES - 1, 24, 24))
    fine = ndimage.zoom(ndimage.gaussian_filter(coarse, (0, 1.5, 1.5)), (1, SIZE / 24, SIZE / 24))
    order = np.argsort(-fine, axis=0)[:2]
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    body = (x / 0.9) ** 2 + (y / 0.65) ** 2 < 1
    base = 1 + (order[0] * (N_TISSUES - 1) + order[1]) * SHARES
    means = rng.integers(-120, 300, N_TISSUES)[order[0]]

    shape = (slices, SIZE, SIZE)
    hu, code = np.empty(shape, np.int16), np.empty(shape, np.uint16)
    confidence = np.empty(shape, np.uint8)
    for z in range(slices):
        share = rng.integers(0, SHARES, (SIZE, SIZE))
        noise = rng.normal(0, 15, (SIZE, SIZE))
        shift = (z // 2) % SIZE
        code[z] = np.where(body, np.roll(base, shift, axis=1) + share, int(Tissue.AIR))
        hu[z] = np.where(body, np.roll(means, shift, axis=1), -1000) + noise
        confidence[z] = rng.integers(0, 256, (SIZE, SIZE))
    affine = default_affine((1.5, 0.7, 0.7))
    return Volume(hu, affine), Chroma(code, confidence, mixtures, affine, "benchmark")


def seconds(work: Any) -> float:
    """Return the wall-clock time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def one_slice(volume: Volume, chroma: Chroma, times: int = 60) -> dict[str, float]:
    """Return median milliseconds for one slice after each kind of change."""
    lit = LitVolume(volume, chroma, Lighting())
    lit.prepare()
    z = volume.shape[0] // 2

    def relit(**changes: Any) -> None:
        lit.settings = lit.settings.replace(**changes)
        _ = lit[z]

    def window(k: int) -> None:
        relit(window=Window(50 + 0.5 * k, 400 - k))

    def saturation(k: int) -> None:
        relit(saturation=0.2 + 0.01 * k)

    def confidence(k: int) -> None:
        relit(min_confidence=0.2 + 0.01 * k)

    def scroll(k: int) -> None:
        _ = lit[k % volume.shape[0]]

    result = {}
    for work in (window, saturation, confidence, scroll):
        work(0)
        result[work.__name__] = 1e3 * median(
            seconds(lambda k=k, work=work: work(k)) for k in range(1, times)
        )
    return result


def bulk(volume: Volume, chroma: Chroma, rounds: int) -> dict[str, float]:
    """Return seconds for the complete volume, by Tomochrome and scikit-image, alternating."""
    ab_of_code = chroma.ab_of_code(palette())
    chosen = Lighting()
    ours, alone, double, same_work, processor = [], [], [], [], []
    light(volume, chroma)
    for k in range(rounds):
        busy = time.process_time()
        ours.append(seconds(lambda: light(volume, chroma)))
        ours_busy = time.process_time() - busy
        z = (k * volume.shape[0]) // rounds
        lab = np.empty((SIZE, SIZE, 3), np.float32)

        def join(z: int = z, lab: np.ndarray = lab) -> None:
            lab[..., 0] = luminance(volume.voxels[z], chosen.window)
            lab[..., 1:] = ab_of_code[chroma.code[z]]

        def convert(lab: np.ndarray = lab) -> None:
            rgb = lab2rgb(lab)
            (255 * rgb + 0.5).astype(np.uint8)

        joined = seconds(join)
        busy = time.process_time()
        alone.append(seconds(lambda lab=lab: lab2rgb(lab)) * volume.shape[0])
        processor.append((time.process_time() - busy) * volume.shape[0] / ours_busy)
        wide = lab.astype(np.float64)  # the type that rgb2lab returns
        double.append(seconds(lambda wide=wide: lab2rgb(wide)) * volume.shape[0])
        same_work.append((joined + seconds(convert)) * volume.shape[0])
    return {
        "tomochrome_s": median(ours),
        "lab2rgb_alone_s": median(alone),
        "lab2rgb_float64_s": median(double),
        "scikit_image_same_work_s": median(same_work),
        "ratio_processor_time": median(processor),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    # scikit-image warns that it clips out-of-gamut colors.
    warnings.filterwarnings("ignore", message="Conversion from CIE-LAB")
    volume, chroma = patient(options.slices)
    ready = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first = seconds(lambda: LitVolume(volume, chroma)[options.slices // 2])
    slice_ms = one_slice(volume, chroma)
    whole = bulk(volume, chroma, options.rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ratio_alone = whole["lab2rgb_alone_s"] / whole["tomochrome_s"]
    ratio_same = whole["scikit_image_same_work_s"] / whole["tomochrome_s"]
    voxels = float(np.prod(volume.shape))
    kib = 1 if sys.platform != "darwin" else 1 / 1024
    report = {
        "shape": volume.shape,
        "threads": thread_count(),
        "first_slice_s": first,
        "slice_ms": slice_ms,
        **whole,
        "mvoxel_per_s": voxels / whole["tomochrome_s"] / 1e6,
        "ratio_lab2rgb_alone": ratio_alone,
        "ratio_lab2rgb_float64": whole["lab2rgb_float64_s"] / whole["tomochrome_s"],
        "ratio_same_work": ratio_same,
        "memory_mib": {
            "volume_and_chroma": ready * kib / 1024,
            "peak_while_lighting": peak * kib / 1024,
            "result": voxels * 4 / 2**20,
        },
    }
    if options.json:
        print(json.dumps(report))
        return
    print(f"{volume.shape}, {report['threads']} threads")
    print(f"first slice, with tables and compiled kernels loaded: {first:.2f} s")
    print("one slice, median ms (floor 15): " + ", ".join(
        f"{name} {value:.1f}" for name, value in slice_ms.items()
    ))  # fmt: skip
    print(f"whole volume: {whole['tomochrome_s']:.2f} s, {report['mvoxel_per_s']:.0f} Mvoxel/s")
    print(
        f"  scikit-image lab2rgb alone: {whole['lab2rgb_alone_s']:.1f} s = {ratio_alone:.0f}x in "
        f"float32, {whole['lab2rgb_float64_s']:.1f} s = {report['ratio_lab2rgb_float64']:.0f}x in "
        "float64"
    )
    print(
        f"  scikit-image, same work:    {whole['scikit_image_same_work_s']:.1f} s"
        f" = {ratio_same:.0f}x   (floor 40)"
    )
    print(
        f"  in processor time, which a busy machine disturbs less: lab2rgb alone takes "
        f"{whole['ratio_processor_time']:.0f}x ours on all threads together"
    )
    print(
        f"memory: {ready * kib / 1024:.0f} MiB before, {peak * kib / 1024:.0f} MiB at the peak, "
        f"of which the result {voxels * 4 / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    main()
