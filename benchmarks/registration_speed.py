"""Speed of registration, compared with the published method in one run.

    python benchmarks/registration_speed.py --data ../shared/data

The network with integration at half resolution is compared with the same network integrated at
full resolution as in Mok and Chung's code; then a complete registration, including affine and
refinement, is compared with both, and timed on the GPU if there is one. Times are
wall-clock with ``--threads`` threads; CPU seconds are reported as well, because they hardly depend
on the load of the machine.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tomochrome as tc
from registration import at_least, at_most, options, say
from tomochrome.volume import Volume


def two_heads(data: Path) -> list[Volume]:
    """Return two brains of 160 x 192 x 224 voxels, or two phantom heads without data."""
    if (data / "registration/brain_a.nii.gz").exists():
        return [tc.read(data / f"registration/brain_{k}.nii.gz") for k in "ab"]
    from tomochrome.phantom import make_patient

    return [
        make_patient(seed, "head", (1.2, 1.2, 1.2), shape=(160, 192, 224)).ct for seed in (1, 2)
    ]


def published_integration(velocities: Any) -> None:
    """Integrate as in Mok and Chung's code: at full resolution, one field after the other."""
    import torch

    z, y, x = velocities.shape[2:]
    grid = torch.from_numpy(np.mgrid[0:z, 0:y, 0:x].transpose(1, 2, 3, 0)[None, ..., ::-1].copy())
    grid = grid.float()

    def sample(flow: Any, at: Any) -> Any:
        places = grid + at.permute(0, 2, 3, 4, 1).flip(-1)
        for k, size in enumerate((x, y, z)):
            places[..., k] = (places[..., k] - (size - 1) / 2) / (size - 1) * 2
        return torch.nn.functional.grid_sample(flow, places, mode="bilinear", align_corners=True)

    def integrated(flow: Any) -> Any:
        flow = flow / 2.0**7
        for _ in range(7):
            flow = flow + sample(flow, flow)
        return flow

    one, other = velocities[:1], velocities[1:]
    to_one, to_other, from_one, from_other = map(integrated, (one, other, -one, -other))
    _ = sample(to_other, from_one) + from_one, sample(to_one, from_other) + from_other


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return wall-clock and CPU seconds of a call, and its result."""
    wall, busy = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - busy, result


def passes(asked: argparse.Namespace) -> tuple[float, float]:
    """Return seconds of a network pass with Tomochrome's and with the published integration."""
    import torch

    from tomochrome.registration.checked_input import checked_pair
    from tomochrome.registration.symmetric_network import load_symnet, predict
    from tomochrome.registration.unfold import settle
    from tomochrome.registration.velocity import integrate, pair_fields, resize_field, smaller
    from tomochrome.registration.working_pair import make_pair

    torch.set_num_threads(asked.threads or 2)
    a, b = two_heads(asked.data)
    pair = make_pair(*checked_pair(a, b))
    net, card = load_symnet("symnet" if asked.model == "none" else asked.model)
    shrink_by = int(card.metadata.get("shrink_by", 2))
    grid = smaller(pair.shape, 2 * shrink_by)

    def look() -> Any:
        return predict(net, pair.fixed, pair.moving, grid, shrink_by)

    velocities = look()
    ways: dict[str, Callable[[], Any]] = {
        "network": look,
        "integration, ours": lambda: settle(integrate(velocities, pair.shape)),
        "integration, published way": lambda: published_integration(
            resize_field(velocities, pair.shape)
        ),
        "published way, our compiled sampling": lambda: pair_fields(
            resize_field(velocities, pair.shape), 7
        ),
    }
    ways["integration, ours"]()  # compiled
    best: dict[str, tuple[float, float]] = {}
    for _ in range(asked.repeats):
        for name, work in ways.items():
            wall, busy, _ = timed(work)
            old = best.get(name, (np.inf, np.inf))
            best[name] = (min(old[0], wall), min(old[1], busy))
    for name, (wall, busy) in best.items():
        say(f"{name}: seconds", wall)
        say(f"{name}: CPU seconds", busy)
    network, ours, full = (
        best[name][0] for name in ("network", "integration, ours", "integration, published way")
    )
    return network + ours, network + full


def speed(asked: argparse.Namespace) -> None:
    """Compare network and integration, and a complete registration, with the published method."""
    import torch

    if asked.child:
        whole(asked)
        return
    ours, full = passes(asked)  # what they held is free again when the child begins
    at_least("network and integration: times faster", full / ours, 4.0)
    say("time of two full-resolution passes, seconds", 2 * full)
    total, memory = in_a_process(asked, "cpu", asked.threads or 2)
    at_most("whole registration, in full-resolution passes", total / full, 2.0)
    at_most("its peak memory, GiB", memory, 4.0)
    if torch.cuda.is_available():
        total, _ = in_a_process(asked, "cuda", asked.threads)
        at_most("whole registration on the GPU, seconds", total, 3.0)
    else:
        print("whole registration on a GPU: not measured, there is none")


def in_a_process(
    asked: argparse.Namespace, device: str, threads: int | None
) -> tuple[float, float]:
    """Return seconds and GiB of a complete registration, and print its details."""
    command = [sys.executable, __file__, "--child", "--data", str(asked.data)]
    command += ["--model", asked.model, "--device", device]
    for name, value in (("--threads", threads), ("--refine", asked.refine)):
        if value is not None:
            command += [name, str(value)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    print(answer, end="")
    seconds, memory = (float(line.split()[-1]) for line in answer.splitlines()[-2:])
    return seconds, memory


def whole(asked: argparse.Namespace) -> None:
    """Time the second complete registration, with affine and refinement, in this process."""
    a, b = two_heads(asked.data)
    how = {**options(asked), "device": asked.device}
    tc.register(a, b, **{**how, "refine": 3})  # compiles, loads
    wall, busy, found = timed(lambda: tc.register(a, b, **how))
    print(f"whole registration, on {found.report['device']}")
    for stage, taken in found.report["seconds"].items():
        say(f"whole registration, {stage}: seconds", taken)
    say("whole registration: CPU seconds", busy)
    say("whole registration: seconds", wall)
    say("whole registration: GiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="symnet")
    parser.add_argument("--refine", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many")
    parser.add_argument("--device", default="auto", help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    speed(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
