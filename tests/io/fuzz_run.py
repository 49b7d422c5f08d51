"""Runs damaged inputs within time and memory, and says what came of each."""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import signal
import sys
import time
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torture as T
from fuzz_seeds import SUFFIX, beside_dicomdir, small
from mutations import damaged

from effort import calls_of
from tomochrome.errors import TomochromeError
from tomochrome.io import find, read
from tomochrome.notices import texts

SECONDS = 120.0
"""Of the processor's time: longer than this, an input hangs, on the slowest machine too."""

CALLS = 1_000_000
"""Of functions: a whole input takes about 12,000, one that makes more than this is too slow."""

PATIENCE = 0.05
"""Processor seconds after which calls are counted: no machine makes `CALLS` in so short a time."""

MEGABYTES = 300
"""More than this for a picture of 16x16 is a blow-up."""


class Hang(BaseException):
    """The input took longer than `SECONDS`."""


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise `Hang` when the body takes the processor for longer, or ten times that on the clock.

    Other programs may have the processor meanwhile; what waits for ever does not use it.
    """

    def ring(signum: int, frame: object) -> None:
        raise Hang

    timers = [
        (signal.ITIMER_PROF, signal.SIGPROF, seconds),
        (signal.ITIMER_REAL, signal.SIGALRM, 10 * seconds),
    ]
    before = [signal.signal(number, ring) for _, number, _ in timers]
    for timer, _, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)
        for (_, number, _), handler in zip(timers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def bounded(gigabytes: float = 3.0) -> Iterator[None]:
    """Let this process take only so much more address space, so that no input starves the host."""
    held = Path("/proc/self/statm")
    if not held.exists():  # only Linux tells what a process has now
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(held.read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (min(limit, hard) if hard > 0 else limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@dataclass
class Tally:
    """What came of the inputs."""

    volumes: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Return how many inputs ran."""
        return self.volumes + self.refused + len(self.faults)


def peak_megabytes() -> float:
    """Return the most memory that this process has held."""
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def attempt(path: Path) -> tuple[bool, str]:
    """List and read what is at a path: whether a volume came, and what was wrong with that."""
    told: list[str] = []
    messages: list[str] = []
    came = False
    try:
        found = find(path)
        told.append(json.dumps(found.to_json(), allow_nan=False))
        told += [repr(item) for item in found.items]
        messages += [w for item in found.items for w in texts((*item.warnings, item.refusal or ""))]
        messages += [skipped.reason for skipped in found.skipped]
        for item in found.items:
            try:
                volume = read(item)
                came = True
                told.append(repr(volume.provenance))
                if not np.isfinite(volume.affine).all() or volume.voxels.dtype.kind not in "iuf":
                    return came, "a volume without sense"
                if volume.voxels.dtype.kind == "f" and not np.isfinite(volume.voxels).all():
                    return came, "voxels that are not finite numbers"
                if item.shape is not None and volume.shape != tuple(item.shape):
                    return came, f"listed as {item.shape}, read as {volume.shape}"
            except TomochromeError as error:
                messages.append(str(error))
    except TomochromeError as error:
        messages.append(str(error))
    if "Musterfrau" in " ".join(told + messages):
        return came, "the patient's name was told"
    if any("\n" in text for text in messages):
        return came, "a message of several lines"
    return came, ""


def check(path: Path) -> tuple[bool, str]:
    """Run one input within bounds of time, calls and memory, and with warnings taken down."""
    fault = ""
    came = False
    peak = peak_megabytes()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with alarm(SECONDS):
                start = time.process_time()
                came, fault = attempt(path)
                if not fault and time.process_time() - start > PATIENCE:
                    calls = calls_of(lambda: attempt(path))
                    fault = f"slow: {calls} calls" if calls > CALLS else ""
        except Hang:
            fault = f"hangs: more than {SECONDS:g} s"
            gc.collect()  # what was interrupted may have left a file open: no test's fault
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
    if not fault and caught:
        fault = f"warning: {caught[0].message}"
    if not fault and peak_megabytes() - peak > MEGABYTES:
        fault = f"took {peak_megabytes() - peak:.0f} MB"
    return came, fault


def run(kind: str, seed: int, numbers: range, folder: Path) -> Tally:
    """Run inputs one after another, and name those with a fault so that they can be made again."""
    _compile()
    tally = Tally()
    for number in numbers:
        place = folder / f"{kind}-{seed}-{number}"
        place.mkdir()
        path = place / ("DICOMDIR" if kind == "dicomdir" else f"a{SUFFIX.get(kind, '.dcm')}")
        if kind == "dicomdir":
            beside_dicomdir(place)
        path.write_bytes(damaged(kind, seed, number))
        if kind == "series":
            with zipfile.ZipFile(path) as packed:
                packed.extractall(place)
            path.unlink()
            path = place
        came, fault = check(path)
        if fault:
            tally.faults.append(f"kind={kind} seed={seed} number={number}: {fault}")
        else:
            tally.volumes += came
            tally.refused += not came
        shutil.rmtree(place)
    return tally


@cache
def _compile() -> None:
    """Compile what reading compiles: no input is to blame for the seconds that this takes."""
    with TemporaryDirectory() as folder:
        slices = T.slices(small(6))
        read(T.save(slices[:2] + slices[3:], Path(folder) / "uneven"))
        read(T.save_one(slices[0], Path(folder) / "a.dcm", T.SYNTAXES["rle"]))
