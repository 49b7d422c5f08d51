"""Signals commands at moments chosen by a seed; fails where something is lost or torn.

A program of its own: it imports everything once and forks for each run. Moments are counted, not
timed: whatever touches the output's folder, and every report of progress.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pickle
import random
import re
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partialmethod
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from cli_cases import SHAPE, small_ct

from tomochrome.cli import app, demo, main, register
from tomochrome.cli.session import ProgressLine
from tomochrome.io import read, write
from tomochrome.phantom import Structure
from tomochrome.runtime import clear_leftovers
from tomochrome.tissue import N_TISSUES
from tomochrome.transform import Transform

TOUCHING = (
    "open",
    "os.rename",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.truncate",
    "shutil.rmtree",
)
FAST = ("--model", "transfer-function", "--device", "cpu")
STEPS = ("1", "3")  #: of a training, and of the same resumed
TINY = {
    "name": "tissue",
    "network": {
        "name": "UNet", "in_channels": 10, "out_channels": N_TISSUES, "channels": [8, 16],
        "strides": [2], "num_res_units": 1, "norm": "batch", "act": "leakyrelu",
    },
    "minutes": 0.05, "batch": 1, "shape": [32, 48],
    "phantoms": {"spacing": [6.0, 5.0, 5.0], "regions": {"abdomen": 1.0}, "count": 2},
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A command: what it is given, what it writes, and in which groups that moves."""

    name: str
    argv: tuple[str, ...]
    outputs: tuple[str, ...]
    group: tuple[str, ...] = ()
    older: tuple[str, ...] = ()  #: a command that makes earlier outputs


def cases(base: Path) -> list[Case]:
    inputs = base / "in"
    ct, moving = str(inputs / "ct.nii.gz"), str(inputs / "moving.nii.gz")
    found = []

    def add(name: str, argv: tuple[str, ...], outputs: tuple[str, ...], *, group: bool = False):
        # The earlier outputs are of the other volume, so that each differs from the new one.
        other = {ct: moving, moving: ct, STEPS[1]: STEPS[0]}
        older = tuple(other.get(word, word) for word in argv if word != "--resume")
        found.append(Case(name, argv, outputs, outputs if group else (), older))

    for out in ("a.nii.gz", "a.nrrd", "a.png", "a.mp4", "a.gif", "a.zarr", "a/"):
        add(f"colorize {out}", ("colorize", ct, "-o", out, "--force", *FAST), (out.rstrip("/"),))
    maps = ("--tissue-map", "t.nii.gz", "--confidence-map", "c.nrrd")
    argv = ("colorize", ct, "-o", "a/", "--force", *maps, *FAST)
    add("colorize with maps", argv, ("a", "t.nii.gz", "c.nrrd"), group=True)
    argv = ("register", ct, moving, "-o", "r", "--model", "none", "--refine", "0", "--force")
    files = tuple(f"r/{name}" for name in register.FILES)
    add("register", (*argv, "--init", "center", "--device", "cpu"), files, group=True)
    argv = ("transform", moving, str(inputs / "forward.h5"), "--like", ct, "-o", "m.nii.gz")
    add("transform", (*argv, "--force"), ("m.nii.gz",))
    argv = ("checkerboard", ct, moving, "-o", "b/", "--force", "--window", "50/400")
    add("checkerboard", argv, ("b",))
    names = (demo.SERIES, demo.COLOR, demo.NRRD, demo.SHEET, demo.TISSUE, demo.CONFIDENCE)
    argv = ("demo", "--out", "d", "--no-window", "--force", *FAST)
    add("demo", argv, tuple(f"d/{name}" for name in names))
    kept = ("checkpoint.pt", "weights/tissue", "weights/transfer-function")
    argv = ("train", str(inputs / "tiny.json"), "--out", "t", "--device", "cpu", "--resume")
    add("train", (*argv, "--steps", STEPS[1]), tuple(f"t/{name}" for name in kept))
    return found


def write_inputs(folder: Path) -> None:
    from dataclasses import replace

    folder.mkdir()
    ct = small_ct()
    write(ct, folder / "ct.nii.gz")
    affine = ct.affine.copy()
    affine[:3, 3] += (2.0, -3.0, 1.0)
    write(replace(ct, affine=affine), folder / "moving.nii.gz")
    shift = np.eye(4)
    shift[:3, 3] = (2.0, -3.0, 1.0)
    Transform.from_affine(shift).save(folder / "forward.h5")
    (folder / "tiny.json").write_text(json.dumps(TINY))


def write_pools(run: Path) -> None:
    """Put painted patients where `train` looks for them, so that it paints none."""
    from tomochrome.training.pool import HELD_OUT

    box = np.zeros((6, 40, 48), np.uint8)
    box[:, 4:36, 4:44] = Structure.SUBCUTANEOUS_FAT
    box[:, 9:32, 8:40] = Structure.MUSCLE
    box[1:5, 12:28, 10:20] = Structure.LIVER
    for pool, seeds in (("pool", (1, 2)), ("held-out", range(HELD_OUT, HELD_OUT + 12))):
        (run / pool).mkdir(parents=True)
        for seed in seeds:
            header = json.dumps({"seed": seed, "region": "abdomen", "spacing": [3.0, 2.0, 2.0]})
            path = run / pool / f"abdomen-{seed}.npz"
            np.savez_compressed(path, structures=box, header=np.array(header))


def digest(path: Path) -> str:
    """Tell one output from another; empty if there is none."""
    if not path.exists():
        return ""
    whole = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        whole.update(str(file.relative_to(path.parent)).encode())
        whole.update(file.read_bytes() if file.is_file() else b"")
    return whole.hexdigest()


def is_whole(path: Path) -> bool:
    """Read an output to its end."""
    name = path.name
    try:
        if path.is_dir() and name in ("tissue", "transfer-function"):
            from tomochrome.bundles import load_state
            from tomochrome.colorization.cards import find_model

            return bool(load_state(find_model(path))) and (path / "LICENSE").is_file()
        if name.endswith(".zarr"):
            import zarr

            group = zarr.open_group(path, mode="r")
            return "multiscales" in group.attrs and group["0"][...].shape == (4, *SHAPE)
        if path.is_dir():
            slices = [pydicom.dcmread(file) for file in path.iterdir()]
            full = [s.Rows * s.Columns * s.SamplesPerPixel * s.BitsAllocated // 8 for s in slices]
            held = [len(s.PixelData) for s in slices]
            same = all(b - a in (0, 1) for a, b in zip(full, held, strict=True))
            return same and len(slices) in (SHAPE[0], PATIENT_SHAPE[0])
        if name.endswith(".gz"):
            with gzip.open(path) as file:
                return len(file.read()) > 352
        if name.endswith(".h5"):
            return bool(Transform.load(path).steps)
        if name.endswith(".json"):
            return "jacobian" in json.loads(path.read_text())
        if name.endswith(".pt"):
            import torch

            return "net" in torch.load(path, weights_only=True)
        if name.endswith(".mp4"):
            import av

            with av.open(str(path)) as container:
                return sum(1 for _ in container.decode(video=0)) == SHAPE[0]
        if name.endswith((".png", ".gif")):
            from PIL import Image

            Image.open(path).load()
            return True
        return read(path).shape in (SHAPE, PATIENT_SHAPE)
    except Exception as error:
        sys.stdout.write(f"{path}: {error}\n")
        return False


PATIENT_SHAPE: tuple[int, ...] = (0,)
WHOLE: set[str] = set()  #: digests of outputs that were read to their end


def in_a_child(work: Callable[[], int]) -> int:
    """Fork, work, and return the status: that of the work, or minus a signal."""
    pid = os.fork()
    if pid == 0:
        if "LOUD" not in os.environ:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(work())
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def at_moment(moment: int, argv: Sequence[str], out: Path, number: int, count: Path) -> int:
    """Run a command in this process and send it a signal at a moment; count if there is none."""
    seen, base = 0, str(out)

    def step() -> None:
        nonlocal seen
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), number)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event not in TOUCHING:
            return
        where = args[0]
        if event == "open" and not (isinstance(where, str | bytes) and _inside(where, base)):
            return
        step()

    draw = ProgressLine.__call__

    def told(self: ProgressLine, *args: Any) -> None:
        step()
        draw(self, *args)

    ProgressLine.__call__ = told
    os.chdir(out)
    sys.addaudithook(hook)
    status = main(list(argv))
    if moment == 0:
        count.write_text(str(seen))
    return status


def _inside(path: str | bytes, base: str) -> bool:
    text = os.fsdecode(path)
    return not text.startswith("/") or text.startswith(base)


def fresh(out: Path, kept: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(kept, out, symlinks=True)


def check(now: dict[str, str], out: Path, old: dict[str, str]) -> str:
    """Look at outputs whose digests are ``now``; each content is read to its end once."""
    for name, found in now.items():
        if found in (old[name], *WHOLE):
            continue
        if not is_whole(out / name):
            return f"{name} is neither the earlier one nor whole"
        WHOLE.add(found)
    return ""


def signal_all(case: Case, base: Path, times: dict[int, int]) -> int:
    """Send each signal to a command so many times; return how many moments there are."""
    out, kept, count = base / "out", base / "kept", base / "count"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    if case.name == "train":
        write_pools(kept / "t")
    status = in_a_child(lambda: at_moment(-1, case.older, kept, 0, count))
    assert status == 0, f"{case.name} ends with {status}"
    old = {name: digest(kept / name) for name in case.outputs}
    assert all(old.values()), old
    fresh(out, kept)
    assert in_a_child(lambda: at_moment(0, case.argv, out, 0, count)) == 0
    total = int(count.read_text())
    for number, wanted in times.items():
        chance = random.Random(case.name)
        # Half of the moments lie in the last fifth, where outputs are finished and moved.
        moments = [chance.randint(1, total) for _ in range(wanted // 2)]
        moments += [chance.randint(total * 4 // 5, total) for _ in range(wanted - wanted // 2)]
        for moment in moments:
            fresh(out, kept)
            status = in_a_child(lambda m=moment, n=number: at_moment(m, case.argv, out, n, count))
            judge(case, out, old, number, status, f"signal {number} at {moment} of {total}")
    assert in_a_child(lambda: at_moment(-1, case.argv, out, 0, count)) == 0
    return total


def judge(case: Case, out: Path, old: dict[str, str], number: int, status: int, at: str) -> None:
    """Look at what a signal left; end this program where something is torn or lost."""
    where = f"{case.name}, {at}"
    if number == signal.SIGKILL:
        assert status == -number, f"{where}: ended with {status}"
    else:
        assert status in (0, app.CANCELLED), f"{where}: ended with {status}"
    now = {name: digest(out / name) for name in case.outputs}
    if number == signal.SIGKILL:
        if fault := check(now, out, old):
            sys.exit(f"{where}: {fault}")
        for folder in (out, *(p for p in out.rglob("*") if p.is_dir())):
            clear_leftovers(folder)
        now = {name: digest(out / name) for name in case.outputs}
    if fault := check(now, out, old):
        sys.exit(f"{where}, after clearing: {fault}")
    if len({now[name] != old[name] for name in case.group}) > 1:
        sys.exit(f"{where}: some of the group are new, others are not")
    left = [str(p) for p in out.rglob(".tomochrome-*")]
    if left:
        sys.exit(f"{where}: left behind {left}")


WARM = (
    "PIL.Image", "PIL.ImageDraw", "PIL.ImageFont", "SimpleITK", "nibabel", "safetensors.numpy",
    "scipy.ndimage", "tomochrome.colorization.file_coloring", "tomochrome.color.lighting",
    "tomochrome.color.view", "tomochrome.colorization.body", "tomochrome.colorization.predict",
    "tomochrome.colorization.kinds.transfer_function", "tomochrome.compare.mix",
    "tomochrome.compare.region",
    "tomochrome.evaluate.registration", "tomochrome.geometry.box_kernels",
    "tomochrome.geometry.sampling_kernels",
    "tomochrome.io.dicom.dicom_write", "tomochrome.io.dicom.dicom_write", "tomochrome.io.points",
    "tomochrome.phantom", "tomochrome.registration.refine",
    "tomochrome.registration.pairwise", "tomochrome.registration.report",
    "tomochrome.registration.unfold", "tomochrome.windowing.content",
)  # fmt: skip
WARM_TRAINING = (
    "torch", "torch._dynamo", "torch.utils.serialization.config", "monai.networks.nets",
    "safetensors.torch", "tomochrome.color.palettes", "tomochrome.training.export",
    "tomochrome.training.tasks.tissue_task",
)  # fmt: skip


def warm_up(*, training: bool) -> None:
    """Import what the commands import, once for all of them; no kernel may run here."""
    from PIL import Image

    commands = [f"tomochrome.cli.{command}" for command in app.COMMANDS]
    for name in (*WARM, *(WARM_TRAINING if training else ()), *commands):
        import_module(name)
    Image.preinit()
    # How small a picture becomes does not matter here.
    Image.Image.save = partialmethod(Image.Image.save, compress_level=1)  # type: ignore[assignment]
    target = import_module("numba.core.registry").cpu_target
    target.typing_context.refresh()  # numba's own start, without any thread
    target.target_context.refresh()
    if training:
        from tomochrome.training import augment
        from tomochrome.training.tasks import tissue_task

        # Few samples of each kind and small images of noise: what is learned does not matter.
        tissue_task.WEIGHT_SLICES = tissue_task.CALIBRATION_SLICES = 8
        tissue_task.HISTOGRAM_SLICES = 8
        augment._BANK = 96


def run(base: Path, wanted: dict[str, dict[int, int]]) -> None:
    """Send signals to the commands whose names begin with a wanted word, so many times each."""
    global PATIENT_SHAPE
    from tomochrome import phantom
    from tomochrome.registration import initialize
    from tomochrome.runtime import whole_files, work_folder

    for module in (whole_files, work_folder):  # a killed process loses nothing that was written
        module.sync = module.sync_entries = lambda _: None
    # How plausible an alignment is does not matter here, and takes most of a registration's time.
    initialize.optimized_nearby = lambda fixed, moving, start, seed=0: start
    warm_up(training="train" in wanted)
    write_inputs(base / "in")
    if "demo" in wanted:
        kept = base / "in" / "patient.pickle"
        make = phantom.make_patient

        def paint() -> int:  # in a child: a process whose kernels ran in threads cannot fork
            kept.write_bytes(pickle.dumps(make(1, "abdomen", (20.0, 9.0, 9.0))))
            return 0

        assert in_a_child(paint) == 0
        patient = pickle.loads(kept.read_bytes())
        PATIENT_SHAPE = patient.ct.shape
        demo.make_patient = lambda *_, **__: patient
    for case in cases(base):
        times = {
            n: t for word in wanted if case.name.startswith(word) for n, t in wanted[word].items()
        }
        if times:
            total = signal_all(case, base, times)
            for number, count in times.items():
                sys.stdout.write(f"{case.name}: {number} at {count} of {total} moments\n")
            sys.stdout.flush()


def main_of(words: Sequence[str]) -> None:
    """Read a folder, and then words such as ``register:9=20``: signal 9 at 20 moments."""
    wanted: dict[str, dict[int, int]] = {}
    for word in words[1:]:
        command, number, times = re.split("[:=]", word)
        wanted.setdefault(command, {})[int(number)] = int(times)
    run(Path(words[0]), wanted)


if __name__ == "__main__":
    main_of(sys.argv[1:])
