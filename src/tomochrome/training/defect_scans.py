"""Scans with simulated defects, whose truth is known: for training and evaluation of restoration.

Drawing one takes seconds of projections, so they are kept on disk and used for many samples.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.geometry.orient import closest_axial
from tomochrome.io import read
from tomochrome.phantom import Structure, render_hu
from tomochrome.restoration import simulation
from tomochrome.restoration.attenuation import Material
from tomochrome.restoration.classical import metal_mask, without_network
from tomochrome.restoration.defects import code_of
from tomochrome.runtime import check, report
from tomochrome.training.folder import make_folder, write_bytes
from tomochrome.training.patients import TrainingPatient, hu_of
from tomochrome.training.pool import load

SHARES: Final[dict[str, float]] = {
    "metal": 0.36, "noise": 0.2, "missing": 0.16, "ring": 0.12, "lines": 0.06, "field": 0.05,
    "none": 0.05,
}  # fmt: skip
"""How often each kind is drawn."""
MAX_PIXELS: Final = 448  #: of a side; larger slices are cropped around the body
_SLICES: Final = 9
_RESCAN_SECONDS: Final = 20.0
_BONE_HU: Final = 250.0
_SECOND_TIME: Final = 0.5  # share of scans with metal that are filled for the second time


@dataclass(frozen=True, eq=False)
class DefectScan:
    """Slices with a defect, and the truth.

    Attributes
    ----------
    measured, filled, clean
        HU, int16 (z, y, x): with the defect, filled without a network, and without the defect.
    code
        The defects, integers (z, y, x), as in `DefectMap`.
    spacing
        Spacing (z, y, x) in mm.
    targets
        Indices of the slices to learn from.
    real
        Whether the slices are of a living person rather than of a phantom.
    """

    measured: NDArray[np.int16]
    filled: NDArray[np.int16]
    clean: NDArray[np.int16]
    code: NDArray[np.integer]
    spacing: tuple[float, float, float]
    targets: tuple[int, ...]
    real: bool = False

    def save(self, path: Path) -> None:
        """Write the voxels to a ``.npy`` file and the rest to a ``.json`` file beside it."""
        volumes = np.stack([self.measured, self.filled, self.clean, self.code.astype(np.int16)])
        write_bytes(path, lambda buffer: np.save(buffer, volumes))
        header = {"spacing": self.spacing, "targets": self.targets, "real": self.real}
        text = json.dumps(header).encode()
        write_bytes(path.with_suffix(".json"), lambda buffer: buffer.write(text))

    @classmethod
    def load(cls, path: Path) -> DefectScan:
        """Open the files; voxels are read when they are used.

        Raises
        ------
        InputError
            If they are damaged.
        """
        try:
            measured, filled, clean, code = np.load(path, mmap_mode="r")
            header = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            z, y, x = map(float, header["spacing"])
            targets = tuple(map(int, header["targets"]))
            return cls(measured, filled, clean, code, (z, y, x), targets, bool(header["real"]))
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise InputError(f"'{path}' cannot be read; delete it to draw it again") from error


class Slab(NamedTuple):
    """Consecutive slices without a defect."""

    hu: NDArray[np.float32]
    spacing: tuple[float, float, float]
    real: bool


def draw_slab(patient: TrainingPatient, rng: np.random.Generator) -> Slab:
    """Draw slices of a patient, cropped around the body; those of a phantom with random HU."""
    count = min(_SLICES, len(patient.structures))
    body = patient.body
    first = int(np.clip(rng.choice(body) - count // 2, 0, len(patient.structures) - count))
    labels = patient.structures[first : first + count]
    scale = float(np.exp(rng.uniform(-0.15, 0.1)))
    z, y, x = patient.spacing
    spacing = (z, scale * y, scale * x)
    if patient.hu is None:
        hu = render_hu(labels, spacing, rng, noise=float(rng.uniform(0.3, 1.1)))
    else:
        hu = patient.hu[first : first + count]
    rows, columns = (
        _around(center, size) for center, size in zip(patient.center, hu.shape[1:], strict=True)
    )
    return Slab(hu[:, rows, columns].astype(np.float32), spacing, patient.hu is not None)


def _around(center: float, size: int) -> slice:
    length = min(MAX_PIXELS, size)
    first = int(np.clip(center - length / 2, 0, size - length))
    return slice(first, first + length)


def draw_defect(
    slab: Slab, kind: str, rng: np.random.Generator, prior: str | None = None
) -> DefectScan:
    """Draw a defect of a kind of `SHARES` in the middle of a slab.

    Parameters
    ----------
    slab
        The slices.
    kind
        Kind of the defect.
    rng
        Source of randomness.
    prior
        Model whose filling is the prior of the interpolation in half of the scans with metal: what
        it sees when it fills them for the second time.
    """
    hu, middle = slab.hu, len(slab.hu) // 2
    near = slice(max(middle - 2, 0), middle + 3)
    if kind in ("metal", "ring", "noise", "field"):
        hu = hu[near]
    damaged, targets = _DAMAGE[kind](hu, slab.spacing, rng)
    clean, code = hu, np.zeros(hu.shape, np.uint8)
    if kind != "none":
        code[damaged.mask] = code_of(kind)
    if kind == "field":
        code[damaged.hu > simulation.AIR_HU] = 0
    if kind == "metal":  # it stays as it was measured
        clean = np.where(metal_mask(damaged.hu), damaged.hu, hu)
    filled = without_network(damaged.hu, code, slab.spacing)
    if kind == "metal" and prior is not None and rng.random() < _SECOND_TIME:
        from tomochrome.restoration.fill import fill  # torch, which no other kind needs

        first = fill(damaged.hu, code, slab.spacing, prior, "cpu", twice=False)
        filled = without_network(damaged.hu, code, slab.spacing, prior=first)
    measured, without, truth = (
        np.rint(part).astype(np.int16) for part in (damaged.hu, filled, clean)
    )
    return DefectScan(measured, without, truth, code, slab.spacing, targets, slab.real)


Drawn = tuple[simulation.Damaged, tuple[int, ...]]


def _metal(hu: NDArray[np.float32], spacing: tuple[float, ...], rng: np.random.Generator) -> Drawn:
    metal, material = draw_metal(hu, spacing, rng)
    inner = slice(1, len(hu) - 1)
    metal[: inner.start] = metal[inner.stop :] = False
    damaged = simulation.add_metal(hu, metal, material, spacing[2], rng)
    targets = tuple(np.flatnonzero(damaged.mask.any(axis=(1, 2))).tolist())
    return damaged, targets or (len(hu) // 2,)


def draw_metal(
    hu: NDArray[np.float32], spacing: Sequence[float], rng: np.random.Generator
) -> tuple[NDArray[np.bool_], Material]:
    """Draw fillings, a prosthesis, screws or clips at bones or in the body.

    Returns
    -------
    tuple
        Booleans (z, y, x), and the material.
    """
    middle = np.arange(len(hu)) == len(hu) // 2
    bone, body = (
        np.argwhere((hu > low) & middle[:, None, None]) for low in (_BONE_HU, simulation.BODY_HU)
    )
    sites = bone if len(bone) > 50 and rng.random() < 0.85 else body
    mm = np.array(spacing)
    if not len(sites):
        return np.zeros(hu.shape, np.bool_), "steel"
    center = sites[rng.integers(len(sites))] * mm
    kind = rng.choice(["fillings", "prosthesis", "screws", "clips"])
    count, radius, length, spread = {
        "fillings": (int(rng.integers(1, 6)), (1.5, 4.0), 3.0, 22.0),
        "prosthesis": (1, (9.0, 17.0), 20.0, 0.0),
        "screws": (int(rng.integers(1, 4)), (2.0, 3.5), 40.0, 25.0),
        "clips": (int(rng.integers(1, 6)), (0.8, 1.8), 4.0, 15.0),
    }[str(kind)]
    materials: dict[str, tuple[Material, ...]] = {
        "fillings": ("amalgam", "steel"), "prosthesis": ("titanium", "steel"),
        "screws": ("titanium", "steel"), "clips": ("titanium", "steel"),
    }  # fmt: skip
    near = sites[np.linalg.norm(sites * mm - center, axis=1) <= spread + 1]
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in hu.shape), indexing="ij"), -1) * mm
    metal = np.zeros(hu.shape, np.bool_)
    for _ in range(count):
        start = near[rng.integers(len(near))] * mm
        way = rng.normal(size=3) * (0.3, 1, 1)
        end = start + way / np.linalg.norm(way) * rng.uniform(0.2, 1) * length
        share = np.clip((grid - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
        distance = np.linalg.norm(grid - start - share[..., None] * (end - start), axis=-1)
        metal |= distance <= rng.uniform(*radius)
    return metal, materials[str(kind)][int(rng.integers(2))]


def _noise(hu: NDArray[np.float32], spacing: tuple[float, ...], rng: np.random.Generator) -> Drawn:
    dose = float(np.exp(rng.uniform(np.log(1 / 40), np.log(1 / 4))))
    return simulation.add_noise(hu, dose, spacing[2], rng), _inner(hu)


def _ring(hu: NDArray[np.float32], spacing: tuple[float, ...], rng: np.random.Generator) -> Drawn:
    count, strength = int(rng.integers(2, 10)), float(np.exp(rng.uniform(-5.0, -3.4)))
    return simulation.add_rings(hu, spacing[2], rng, count, strength), _inner(hu)


def _missing(
    hu: NDArray[np.float32], spacing: tuple[float, ...], rng: np.random.Generator
) -> Drawn:
    count = int(rng.integers(1, 4))
    first = (len(hu) - count) // 2
    how = str(rng.choice(["missing", "repeated", "corrupted"], p=[0.6, 0.2, 0.2]))
    damaged = simulation.lose_slices(hu, first, count, rng, how)
    return damaged, tuple(range(first, first + count))


def _lines(hu: NDArray[np.float32], spacing: tuple[float, ...], rng: np.random.Generator) -> Drawn:
    saturated = bool(rng.random() < 0.5)
    return simulation.lose_lines(hu, int(rng.integers(1, 7)), rng, saturated=saturated), _inner(hu)


def _field(hu: NDArray[np.float32], spacing: tuple[float, ...], rng: np.random.Generator) -> Drawn:
    body = np.argwhere((hu > simulation.BODY_HU).any(axis=0))
    half = np.ptp(body, axis=0).max() / 2 if len(body) else min(hu.shape[1:]) / 2
    return simulation.truncate_field(hu, float(half * rng.uniform(0.6, 0.92))), _inner(hu)


def _none(hu: NDArray[np.float32], spacing: tuple[float, ...], rng: np.random.Generator) -> Drawn:
    return simulation.Damaged(hu, np.zeros(hu.shape, np.bool_)), _inner(hu)


def _inner(hu: NDArray[np.float32]) -> tuple[int, ...]:
    return tuple(range(min(1, len(hu) - 1), max(len(hu) - 1, 1)))


_DAMAGE: Final[
    Mapping[str, Callable[[NDArray[np.float32], tuple[float, ...], np.random.Generator], Drawn]]
] = {
    "metal": _metal, "noise": _noise, "ring": _ring, "missing": _missing, "lines": _lines,
    "field": _field, "none": _none,
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A file to simulate defects in: a phantom of the pool, or a CT.

    Attributes
    ----------
    path
        The file.
    real
        Whether it is a CT of a living person.
    """

    path: Path
    real: bool


class DefectScans:
    """Scans with simulated defects on disk, of which there may be more and more.

    Parameters
    ----------
    folder
        Their folder.
    held_out
        Whether those of the patients that are not learned from, or the others.
    """

    def __init__(self, folder: Path, held_out: bool = False) -> None:
        self.folder, self.held_out = folder, held_out
        self._names: list[str] = []
        self._listed = -_RESCAN_SECONDS
        self._read: dict[str, DefectScan] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_read": {}}

    def __len__(self) -> int:
        now = time.monotonic()
        if now - self._listed > _RESCAN_SECONDS:
            self._listed = now
            part = "test" if self.held_out else "learn"
            self._names = sorted(path.name for path in self.folder.glob(f"{part}-*.json"))
        return len(self._names)

    def draw(self, rng: np.random.Generator) -> DefectScan:
        """Draw a scan; it is read when it is first drawn.

        Raises
        ------
        InputError
            If there is none, or the file is damaged.
        """
        if not len(self):
            raise InputError(f"there are no scans with simulated defects in '{self.folder}'")
        name = self._names[rng.integers(len(self._names))]
        if name not in self._read:
            self._read[name] = DefectScan.load((self.folder / name).with_suffix(".npy"))
        return self._read[name]

    @staticmethod
    def generate(
        folder: Path,
        sources: Sequence[Source],
        count: int,
        shares: Mapping[str, float],
        real_share: float,
        processes: int | None = None,
        prior: str | None = None,
    ) -> None:
        """Draw the first scans that are not there yet, in several processes.

        Every tenth patient, and every fourth CT, is held out: scans of these are not learned from.

        Parameters
        ----------
        folder
            Folder to write to.
        sources
            Patients and CT.
        count
            Number of scans.
        shares
            How often each kind of defect is drawn.
        real_share
            Share of scans of living people, if there are any.
        processes
            Number of processes; None for one per processor.
        prior
            As for `draw_defect`.

        Raises
        ------
        TomochromeError
            If there is nothing to draw from, a file cannot be read or written, or the user
            cancelled.
        """
        if not sources:
            raise InputError(f"there are no phantoms to simulate defects in beside '{folder}'")
        make_folder(folder)
        jobs = _jobs(folder, sources, count, real_share)
        if not jobs:
            return
        with ProcessPoolExecutor(processes or os.cpu_count(), get_context("spawn")) as pool:
            running: set[Future[None]] = {
                pool.submit(_draw_file, path, source, k, dict(shares), prior)
                for path, source, k in jobs
            }
            try:
                while running:
                    done, running = wait(running, 0.2, FIRST_COMPLETED)
                    for job in done:
                        job.result()
                    check()
                    report(len(jobs) - len(running), len(jobs), "simulating defects")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _jobs(
    folder: Path, sources: Sequence[Source], count: int, real_share: float
) -> list[tuple[Path, Source, int]]:
    """Return the file, source and seed of each scan that is missing."""
    phantoms, scans = ([s for s in sources if s.real is real] for real in (False, True))
    jobs = []
    for k in range(count):
        rng = np.random.default_rng([k, 33])
        real = bool(scans) and (not phantoms or rng.random() < real_share)
        among, every = (scans, 4) if real else (phantoms, 10)
        place = int(rng.integers(len(among)))
        part = "test" if place % every == every - 1 else "learn"
        path = folder / f"{part}-{k:05d}.npy"
        if not path.with_suffix(".json").exists():
            jobs.append((path, among[place], k))
    return jobs


@lru_cache(2)
def _patient(source: Source) -> TrainingPatient:
    if not source.real:
        return load(source.path)
    scan = closest_axial(read(source.path))
    hu = hu_of(scan)
    body = np.where(hu > simulation.BODY_HU, np.uint8(Structure.MUSCLE), np.uint8(0))
    return TrainingPatient(source.path.name, body, scan.spacing, hu)


def _draw_file(
    path: Path, source: Source, seed: int, shares: Mapping[str, float], prior: str | None
) -> None:
    """Draw a scan in a child process and write it."""
    os.environ["NUMBA_NUM_THREADS"] = "1"
    rng = np.random.default_rng([seed, 32])
    kinds, weights = list(shares), np.array(list(shares.values()))
    kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
    draw_defect(draw_slab(_patient(source), rng), kind, rng, prior).save(path)
