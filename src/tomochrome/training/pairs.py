"""Synthetic image pairs for training the registration network.

Sources: random smooth label maps of random contrast (Hoffmann et al., "SynthMorph", IEEE TMI 41,
2022), phantom patients, and real CT. A pair is one source warped by two random diffeomorphisms
(the true deformation is known), or two phantom patients of one region. The network's inputs
differ in contrast, noise and bias field; the loss compares hidden versions of the pair in one
contrast, so that the network learns shapes instead of grey values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.geometry.resample import to_spacing
from tomochrome.io import read
from tomochrome.phantom import N_STRUCTURES, Structure, sample_hu
from tomochrome.registration.velocity import (
    Shape,
    compose,
    exponential,
    positions,
    resize,
    resize_field,
    warp,
)  # fmt: skip
from tomochrome.training.patients import TrainingPatient
from tomochrome.training.pool import Pool, region_of
from tomochrome.training.task_interface import RandomSamples
from tomochrome.windowing.grey import GREY_KNOTS, HU_KNOTS

REAL = ("ct/thorax_cta_1p5mm.nii.gz", "ct/head_female_1mm.nii.gz")
"""Real scans used for training; all others (abdomen, brains) are held out."""
_BRAIN = tuple(
    int(Structure[name])
    for name in ("GREY_MATTER", "WHITE_MATTER", "DEEP_GREY", "CSF", "CEREBELLUM", "BRAINSTEM")
    if name in Structure.__members__
)


class Source(NamedTuple):
    """A source volume: labels (uint8) or HU (int16), (z, y, x), with its spacing in mm."""

    region: str
    voxels: NDArray[Any]
    spacing: tuple[float, float, float]

    @property
    def labelled(self) -> bool:
        """Whether the voxels are labels."""
        return self.voxels.dtype == np.uint8


class Sample(NamedTuple):
    """One training pair, tensors (2, 1, z, y, x): fixed, then moving."""

    inputs: torch.Tensor  #: inputs of the network, 0 to 1
    hidden: torch.Tensor  #: the same images in one contrast, 0 to 1
    truth: torch.Tensor | None  #: forward and inverse (2, 3, z/2, y/2, x/2), if known
    body: torch.Tensor  #: float (2, 1, z/2, y/2, x/2), 1 inside the body
    kind: str
    place: int  #: space in which to compare: 0 fixed, 1 moving, 2 midpoint
    passes: int  #: passes of the network, of which only the last is trained


def random_shapes(rng: np.random.Generator, shape: Shape) -> NDArray[np.uint8]:
    """Draw a label map of smooth random shapes, the voxelwise argmax of smooth noise images."""
    count = int(rng.integers(8, 26))
    best, labels = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.uint8)
    for k in range(count):
        nodes = tuple(int(rng.integers(3, 14)) for _ in range(3))
        noise = torch.from_numpy(rng.standard_normal((1, 1, *nodes), dtype=np.float32))
        field = resize(noise, shape)[0, 0].numpy()
        above = field > best
        best[above] = field[above]
        labels[above] = k + 1
    if rng.random() < 0.6:  # a rough ellipsoid in air, like a head or trunk
        axes = [np.linspace(-1, 1, n, dtype=np.float32) / rng.uniform(0.6, 1.1) for n in shape]
        rough = resize(
            torch.from_numpy(rng.standard_normal((1, 1, 6, 6, 6), dtype=np.float32)), shape
        )
        radius = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)
        labels[radius + 0.12 * rough[0, 0].numpy() > 0.95] = 0
    return labels


def random_velocity(rng: np.random.Generator, shape: Shape, size: float) -> torch.Tensor:
    """Draw a smooth velocity field (1, 3, z, y, x) with a mean length of ``size`` voxels.

    It is the sum of noise on several scales and a small affine part.
    """
    field = torch.zeros(1, 3, *shape)
    for _ in range(int(rng.integers(1, 4))):
        nodes = tuple(int(rng.integers(3, 8)) for _ in range(3))
        noise = torch.from_numpy(rng.standard_normal((1, 3, *nodes), dtype=np.float32))
        field = field + resize(noise, shape) * (3.0 / float(np.mean(nodes)))
    linear = torch.from_numpy(rng.normal(0, 0.02, (3, 3)).astype(np.float32))
    index = positions(torch.zeros(1, 3, *shape))
    index = index - index.mean(dim=(2, 3, 4), keepdim=True)
    shift = torch.from_numpy(rng.normal(0, 0.3 * size, (1, 3, 1, 1, 1)).astype(np.float32))
    field = field * (size / float(field.square().sum(1).sqrt().mean()))
    return field + torch.einsum("ij,njzyx->nizyx", linear, index) + shift


@cache
def texture() -> torch.Tensor:
    """Return smooth unit-variance noise (1, 1, z, y, x), the same for every sampler."""
    noise = np.random.default_rng(99).standard_normal((160, 192, 224))
    tile = ndimage.gaussian_filter(noise, 1.5, mode="wrap")
    return torch.from_numpy((tile / tile.std()).astype(np.float32))[None, None]


class PairSamples(RandomSamples):
    """Draws training pairs: shapes, one phantom twice, two phantoms, or real CT.

    Parameters
    ----------
    pool
        Phantom patients; it may be empty.
    real
        Real scans.
    shape
        Grid of the network's input, (z, y, x).
    seed
        Seed of the samples.
    sizes
        Range of the mean length of each half's velocity field, in voxels of the half-size grid.
    passes
        Maximum number of passes of the network; low numbers are drawn more often.
    """

    def __init__(
        self,
        pool: Pool,
        real: list[Source],
        shape: Shape,
        seed: int,
        sizes: tuple[float, float] = (0.2, 1.6),
        passes: int = 1,
    ) -> None:
        super().__init__(seed)
        self.shape, self.sizes, self.passes = shape, sizes, passes
        self.half: Shape = (shape[0] // 2, shape[1] // 2, shape[2] // 2)
        self.pool, self.real = pool, real

    def draw(self) -> Sample:
        """Draw one pair."""
        chance = self.rng.random()
        if self.real and chance < 0.15:
            return self.draw_kind("ct")
        if len(self.pool) and chance < 0.65:
            return self.draw_kind("two patients" if self.rng.random() < 0.35 else "phantom")
        return self.draw_kind("shapes")

    def draw_kind(self, kind: str) -> Sample:
        """Draw a pair of one kind; its source must exist.

        Parameters
        ----------
        kind
            ``"shapes"``, ``"phantom"``, ``"two patients"`` or ``"ct"``.
        """
        if kind == "shapes":
            shape: Shape = tuple(int(n * 1.15) for n in self.shape)  # type: ignore[assignment]
            first = Source(kind, random_shapes(self.rng, shape), (4.0, 4.0, 4.0))
        elif kind == "ct":
            first = self.real[int(self.rng.integers(len(self.real)))]
        else:
            patient = self.pool.draw(self.rng)
            first = _source(patient)
            if kind == "two patients":
                return self._pair(first, _source(self.pool.draw_other(patient, self.rng)), kind)
        return self._pair(first, first, kind)

    def _pair(self, first: Source, second: Source, kind: str) -> Sample:
        rng = self.rng
        low, high = self.sizes
        sizes = rng.uniform(low, high) * rng.uniform(0.3, 1.0, 2)
        velocities = torch.cat([random_velocity(rng, self.half, float(s)) for s in sizes])
        halves = exponential(torch.cat([velocities, -velocities]), 5)
        spacing = self._spacing(first)
        jitter = rng.uniform(-0.5, 0.5, 3)
        places = [
            self._places(source, halves[k : k + 1], spacing, jitter)
            for k, source in enumerate((first, second))
        ]
        hidden, inputs, body = self._images((first, second), places)
        truth = None
        if first is second:  # fixed(p) = S(a(p)), moving(q) = S(b(q)): q = b^-1(a(p))
            truth = compose(halves[2:].flip(0), halves[:2])
        place = int(rng.integers(3))
        passes = int(rng.integers(1, self.passes + 1, 2).min())
        return Sample(inputs, hidden, truth, resize(body, self.half), kind, place, passes)

    def _spacing(self, source: Source) -> float:
        """Draw the grid's spacing in mm so that the source approximately fills it."""
        extent = np.array(source.voxels.shape) * source.spacing / np.array(self.shape)
        full = float(np.sort(extent)[1])
        return full * float(self.rng.uniform(0.6, 1.1))

    def _places(
        self, source: Source, field: torch.Tensor, spacing: float, jitter: NDArray[np.float64]
    ) -> torch.Tensor:
        """Return the source voxel (1, 3, z, y, x) of each voxel of the grid."""
        at = positions(resize_field(field, self.shape))
        ratio = spacing / np.array(source.spacing)
        margin = np.maximum(np.array(source.voxels.shape) - np.array(self.shape) * ratio, 0.0)
        center = (np.array(source.voxels.shape) - 1) / 2 + jitter * margin
        start = center - ratio * (np.array(self.shape) - 1) / 2
        scale = torch.tensor(ratio, dtype=torch.float32).view(1, 3, 1, 1, 1)
        return at * scale + torch.tensor(start, dtype=torch.float32).view(1, 3, 1, 1, 1)

    def _images(
        self, sources: tuple[Source, Source], places: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return hidden versions, inputs and body masks of both images."""
        rng = self.rng
        index = positions(torch.zeros(1, 3, *self.shape))
        if sources[0].labelled:
            labels = [_nearest(s.voxels, p) for s, p in zip(sources, places, strict=True)]
            labels = self._strip(labels, sources[0].region)
            tables = self._tables(sources[0].region)
            grain = [warp(texture(), p.remainder(159.0) - index)[0, 0].numpy() for p in places]
            strength = (rng.uniform(0, 0.08, 256) * rng.uniform(0, 1)).astype(np.float32)
            hidden = [tables[0][n] + strength[n] * g for n, g in zip(labels, grain, strict=True)]
            seen = [
                tables[1 + k][n] + strength[n] * g
                for k, (n, g) in enumerate(zip(labels, grain, strict=True))
            ]
            body = [
                n > Structure.BLANKET if sources[0].region != "shapes" else n > 0 for n in labels
            ]
            blur = rng.uniform(0.4, 0.8)
            hidden = [ndimage.gaussian_filter(v, blur) for v in hidden]
            seen = [ndimage.gaussian_filter(v, blur) for v in seen]
        else:
            hu = [
                warp(torch.from_numpy(s.voxels.astype(np.float32))[None, None], p - index)[
                    0, 0
                ].numpy()
                for s, p in zip(sources, places, strict=True)
            ]
            grey = self._window((-60, 150), (300, 1400))
            hidden = [grey(v) for v in hu]
            curves = [self._curve() if rng.random() < 0.5 else None for _ in range(2)]
            seen = [
                v if c is None else np.interp(v, np.linspace(0, 1, len(c)), c).astype(np.float32)
                for v, c in zip(hidden, curves, strict=True)
            ]
            body = [v > -300 for v in hu]
        seen = [self._scanner(v) for v in seen]
        return _stack(hidden), _stack(seen), _stack(body)

    def _strip(self, labels: list[NDArray[Any]], region: str) -> list[NDArray[Any]]:
        """Randomly remove everything but the brain from a head, as in skull-stripped MR."""
        if region != "head" or self.rng.random() > 0.6 or not _BRAIN:
            return labels
        return [np.where(np.isin(n, _BRAIN), n, 0).astype(np.uint8) for n in labels]

    def _tables(self, region: str) -> list[NDArray[np.float32]]:
        """Draw the grey value of each label in the hidden, fixed and moving images."""
        rng = self.rng
        tables = rng.uniform(0.1, 1.0, (3, 256)).astype(np.float32)
        tables[:, 0] = 0.0 if rng.random() < 0.8 else rng.uniform(0, 1)
        if region != "shapes" and rng.random() < 0.7:  # CT: one patient, two contrast phases
            grey = self._window((0, 100), (250, 1200))
            for k in range(3):
                tables[k, :N_STRUCTURES] = grey(sample_hu(None, rng))
        if rng.random() < 0.85:  # similar contrast, as LNCC assumes
            tables[1] = tables[0]
            mix = rng.uniform(0, 0.3)
            tables[2] = (1 - mix) * tables[0] + mix * tables[2]
        return list(tables)

    def _window(
        self, centers: tuple[float, float], widths: tuple[float, float]
    ) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
        """Draw a map from HU to 0..1: the registration's own, or a random window."""
        center, width = self.rng.uniform(*centers), self.rng.uniform(*widths)
        if self.rng.random() < 0.5:
            return lambda hu: np.interp(hu, HU_KNOTS, GREY_KNOTS).astype(np.float32)
        return lambda hu: np.clip((hu - center) / width + 0.5, 0, 1).astype(np.float32)

    def _curve(self) -> NDArray[np.float64]:
        """Draw a monotonic curve from 0 to 1."""
        steps = self.rng.uniform(0.3, 1.7, 6)
        return np.concatenate([[0.0], np.cumsum(steps) / steps.sum()])

    def _scanner(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply a bias field, noise, clipping to 0..1 and gamma."""
        rng = self.rng
        if rng.random() < 0.3:
            noise = torch.from_numpy(rng.standard_normal((1, 1, 3, 3, 3), dtype=np.float32))
            image = image * np.exp(0.2 * resize(noise, self.shape)[0, 0].numpy())
        sigma = np.float32(rng.uniform(0, 0.05) * (rng.random() < 0.8))
        image = image + sigma * rng.standard_normal(image.shape, dtype=np.float32)
        image = np.clip(image, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.2)))
        return np.asarray(image, np.float32)


def _source(patient: TrainingPatient) -> Source:
    return Source(region_of(patient.name), patient.structures, patient.spacing)


def _nearest(voxels: NDArray[np.uint8], at: torch.Tensor) -> NDArray[np.uint8]:
    points = at[0].round().to(torch.int32).numpy()
    z, y, x = (np.clip(p, 0, n - 1) for p, n in zip(points, voxels.shape, strict=True))
    out = voxels[z, y, x]
    out[(points[0] < 0) | (points[0] >= voxels.shape[0])] = 0
    return out


def _stack(images: list[NDArray[Any]]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images).astype(np.float32))[:, None]


def read_real(data: Path | None) -> list[Source]:
    """Read the real scans of `REAL`; return none without a folder.

    Raises
    ------
    TomochromeError
        If a scan is missing or cannot be read.
    """
    sources = []
    for name in REAL if data is not None else ():
        volume = read(data / name)  # type: ignore[operator]
        if max(volume.spacing) < 1.4:
            volume = to_spacing(volume, (2.0, 2.0, 2.0))
        hu = np.asarray(volume.voxels).astype(np.int16)
        sources.append(Source(Path(name).stem.split("_")[0], hu, volume.spacing))
    return sources
