"""Start-up time of the program: medians of wall-clock time, measured in one run.

* ``tomochrome --help``;
* coloring three slices of 512 x 512 on the command line, from a NIfTI file to a NIfTI file, with
  the shipped network and with the transfer function, which needs no network;
* only ``import torch, monai.networks.nets``, the minimum for a network;
* only ``import torch``, and loading a network exported with `torch.export`, which would not need
  MONAI: the time, and the number of Python objects afterwards.

Usage: ``python benchmarks/start.py [--repeats 5]``
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from registration import at_most

PHANTOM = """
import nibabel, numpy
from tomochrome.phantom import make_patient
ct = make_patient(0, "abdomen", (5.0, 0.85, 0.85), shape=(3, 512, 512)).ct
affine = numpy.diag([-0.85, -0.85, 5.0, 1.0])
nibabel.save(nibabel.Nifti1Image(numpy.asarray(ct.voxels).T.copy(), affine), {path!r})
"""
OBJECTS = "; import gc; print(len(gc.get_objects()))"
MONAI = "import torch, monai.networks.nets"


def python(code: str) -> list[str]:
    """Return the command that runs Python code."""
    return [sys.executable, "-c", code]


def export(path: Path) -> None:
    """Export a network of the same size as the shipped one to a file."""
    import torch
    from monai.networks.nets import UNet

    network = UNet(2, 6, 26, (32, 64, 128, 256), (2, 2, 2), num_res_units=2).eval()
    batch, rows, columns = (torch.export.Dim(name, min=2, max=64) for name in "bhw")
    sizes = {0: batch, 2: 8 * rows, 3: 8 * columns}
    example = torch.zeros(2, 6, 64, 96)
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=(sizes,)), path)


def seconds(command: Sequence[str]) -> float:
    """Run a command and return its seconds, with compiled bytecode as in an installed package."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def medians(commands: dict[str, list[str]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each command over several rounds, after a warm-up round."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for k in range(repeats + 1):
        for name, command in commands.items():
            took = seconds(command)
            if k:
                times[name].append(took)
    return {name: statistics.median(values) for name, values in times.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan, exported, out = folder / "ct.nii", folder / "network.pt2", folder / "color.nii.gz"
        subprocess.run(python(PHANTOM.format(path=str(scan))), check=True)
        export(exported)
        tool = [str(Path(sys.executable).with_name("tomochrome"))]
        color = [*tool, "colorize", str(scan), "-o", str(out), "--force", "--model"]
        load = f"import torch; torch.export.load({str(exported)!r})"
        times = medians(
            {
                "tomochrome --help": [*tool, "--help"],
                "three slices, tissue": [*color, "tissue"],
                "three slices, transfer-function": [*color, "transfer-function"],
                "import torch": python("import torch"),
                MONAI: python(MONAI),
                "import torch, load an exported network": python(load),
            },
            options.repeats,
        )
        for what, took in times.items():
            print(f"{what:45s} {took:7.2f} s")
        for what in (MONAI, load):
            count = subprocess.run(python(what + OBJECTS), check=True, capture_output=True)
            print(f"objects after {what[:45]:45s} {int(count.stdout):9,d}")
    at_most("three slices / bare imports", times["three slices, tissue"] / times[MONAI], 1.3)


if __name__ == "__main__":
    main()
