"""Speed of coloring a complete CT, compared with earlier methods in one run.

Measured on one phantom scan (512 x 512 x 300 by default), on the CPU:

* Tomochrome: `tomochrome.colorize` and `tomochrome.light` of the complete volume, in a separate
  process, whose peak memory is reported; first cold (imports, weights, compiled kernels), then
  warm;
* the thesis's method: an encoder-decoder of 3.9 million parameters in float32 on each full-size
  slice, then scikit-image's lab2rgb, timed on a few slices and scaled to the volume;
* scikit-image's lab2rgb only, compared with Tomochrome's lighting, scaled in the same way.

Times are wall-clock medians; CPU times are reported as well, because they hardly depend on the load
of the machine.

Usage: ``python benchmarks/pipeline.py [--model tissue] [--slices 300] [--json]``
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

RECIPE_SLICES = 4
SLICE_MM = 1.0  #: 300 slices cover a chest or an abdomen


def make_scan(slices: int, size: int) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Return the HU and spacing of a phantom's trunk."""
    from tomochrome.phantom import make_patient

    spacing = (SLICE_MM, 430.0 / size, 430.0 / size)
    patient = make_patient(0, "torso", spacing, phase="portal", shape=(slices, size, size))
    return np.asarray(patient.ct.voxels), spacing


def measure_ours(path: Path, model: str, repeats: int) -> dict[str, Any]:
    """Color and light the scan at ``path`` in this process, and measure its memory."""
    started = time.perf_counter()
    from tomochrome.color import light
    from tomochrome.colorization import colorize
    from tomochrome.volume import Volume, default_affine

    with np.load(path) as stored:
        volume = Volume(stored["hu"], default_affine(tuple(stored["spacing"])))
    loaded = peak_megabytes()
    predict, lit, cpu = [], [], []
    first = 0.0
    for k in range(repeats + 1):
        start, busy = time.perf_counter(), time.process_time()
        chroma = colorize(volume, model, device="cpu")
        middle = time.perf_counter()
        image = light(volume, chroma)
        end = time.perf_counter()
        if k == 0:
            first = end - started
        else:
            predict.append(middle - start)
            lit.append(end - middle)
            cpu.append(time.process_time() - busy)
    colored = float((image.voxels[..., 3] > 0).mean())
    return {
        "first": first,
        "predict": statistics.median(predict),
        "light": statistics.median(lit),
        "cpu": statistics.median(cpu),
        "peak_mb": peak_megabytes(),
        "peak_mb_after_loading": loaded,
        "share_shown": colored,
        "history": list(chroma.provenance.history),
    }


def peak_megabytes() -> float:
    """Return the peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def thesis_network() -> Any:
    """Return the thesis's encoder-decoder from grey to (a*, b*), with 3.9 million parameters."""
    from torch import nn

    layers: list[nn.Module] = []
    widths = [(1, 64, 2), (64, 128, 1), (128, 128, 2), (128, 256, 1), (256, 256, 2)]
    widths += [(256, 512, 1), (512, 256, 1), (256, 128, 1)]
    for before, after, stride in widths:
        layers += [nn.Conv2d(before, after, 3, stride, 1), nn.ReLU()]
    for before, after in ((128, 64), (64, 32)):
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, 1, 1), nn.ReLU()]
    layers += [nn.Upsample(scale_factor=2), nn.Conv2d(32, 2, 3, 1, 1), nn.Tanh()]
    return nn.Sequential(*layers).eval()


def measure_recipe(hu: np.ndarray, repeats: int) -> dict[str, float]:
    """Return seconds per slice of the thesis's method: network, and lab2rgb."""
    import torch
    from skimage.color import lab2rgb

    network = thesis_network()
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    chosen = hu[np.linspace(0, len(hu) - 1, RECIPE_SLICES + 2).astype(int)[1:-1]]
    grey = np.clip((chosen.astype(np.float32) + 150) / 400, 0, 1)
    network_times, lab_times, cpu = [], [], []
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network(torch.from_numpy(grey[:1, None]))
        for _ in range(repeats):
            for plane in grey:
                start, busy = time.perf_counter(), time.process_time()
                ab = network(torch.from_numpy(plane[None, None]))[0].numpy() * 128
                middle = time.perf_counter()
                lab = np.concatenate([plane[None] * 100, ab]).transpose(1, 2, 0)
                np.rint(lab2rgb(lab) * 255).astype(np.uint8)
                network_times.append(middle - start)
                lab_times.append(time.perf_counter() - middle)
                cpu.append(time.process_time() - busy)
    return {
        "network": statistics.median(network_times),
        "lab2rgb": statistics.median(lab_times),
        "cpu": statistics.median(cpu),
        "million_parameters": millions,
    }


def compare(ours: dict[str, Any], recipe: dict[str, float], slices: int) -> dict[str, Any]:
    """Return seconds for the complete volume of each method, and their ratios."""
    total = ours["predict"] + ours["light"]
    recipe_total = slices * (recipe["network"] + recipe["lab2rgb"])
    return {
        "ours_seconds": {
            "first_with_imports": round(ours["first"], 2),
            "predict": round(ours["predict"], 2),
            "light": round(ours["light"], 3),
            "total": round(total, 2),
            "cpu": round(ours["cpu"], 2),
        },
        "recipe_seconds": {
            "network": round(slices * recipe["network"], 1),
            "lab2rgb": round(slices * recipe["lab2rgb"], 1),
            "total": round(recipe_total, 1),
            "cpu": round(slices * recipe["cpu"], 1),
            "million_parameters": round(recipe["million_parameters"], 2),
            "measured_slices": RECIPE_SLICES,
        },
        "times_faster": {
            "pipeline": round(recipe_total / total, 1),
            "pipeline_by_cpu_time": round(slices * recipe["cpu"] / ours["cpu"], 1),
            "pipeline_first_with_imports": round(recipe_total / ours["first"], 1),
            "lighting": round(slices * recipe["lab2rgb"] / ours["light"], 1),
        },
        "peak_mb": round(ours["peak_mb"]),
        "peak_mb_after_loading_the_scan": round(ours["peak_mb_after_loading"]),
        "made_by": ours["history"],
    }


def show(result: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Print the comparison as text."""
    ours, recipe, times = (result[k] for k in ("ours_seconds", "recipe_seconds", "times_faster"))
    print(f"volume {shape[2]} x {shape[1]} x {shape[0]}; {result['made_by'][0]}")
    print(f"ours, whole volume     predict {ours['predict']:8.2f} s   light {ours['light']:7.3f} s")
    print(f"                       total   {ours['total']:8.2f} s   "
          f"(first call with imports {ours['first_with_imports']:.2f} s)")  # fmt: skip
    print(f"thesis's recipe        network {recipe['network']:8.1f} s   "
          f"lab2rgb {recipe['lab2rgb']:5.1f} s   "
          f"({recipe['million_parameters']} million parameters, {recipe['measured_slices']} slices "
          "measured and scaled)")  # fmt: skip
    print(f"times faster           pipeline {times['pipeline']:.1f} "
          f"(by CPU time {times['pipeline_by_cpu_time']:.1f}, "
        f"first call {times['pipeline_first_with_imports']:.1f}), "
          f"lighting against lab2rgb {times['lighting']:.1f}")  # fmt: skip
    print(f"peak memory of ours    {result['peak_mb']} MB "
          f"({result['peak_mb_after_loading_the_scan']} MB once the scan was loaded)")  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="tissue", help="name or bundle folder")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512, help="rows and columns of a slice")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object, nothing else")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        print(json.dumps(measure_ours(options.worker, options.model, options.repeats)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.npz"
        hu, spacing = make_scan(options.slices, options.size)
        np.savez(path, hu=hu, spacing=np.array(spacing))
        command = [sys.executable, __file__, "--worker", str(path), "--model", options.model]
        command += ["--repeats", str(options.repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        ours = json.loads(done.stdout)
    recipe = measure_recipe(hu, options.repeats)
    result = compare(ours, recipe, len(hu))
    if options.json:
        print(json.dumps({"shape": list(hu.shape), **result}))
    else:
        show(result, hu.shape)


if __name__ == "__main__":
    main()
