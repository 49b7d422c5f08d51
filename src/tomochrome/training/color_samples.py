"""Samples for networks that predict color: luminances, and the color of each pixel.

A sample is float32 (channels, y, x) luminances and float32 (3, y, x): a*, b*, and what is known of
the pixel, `UNKNOWN`, `AROUND` or `BODY`. Colors are a palette's, by tissue, or a photograph's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.color.convert import srgb_to_lab
from tomochrome.color.palette import palette
from tomochrome.colorization.inputs import InputSpec, window_ramps
from tomochrome.colorization.quantize import quantize
from tomochrome.errors import InputError
from tomochrome.training.augment import Augmentation
from tomochrome.training.patients import TrainingPatient
from tomochrome.training.section_pairs import Part, SectionPair, pair_files, read_pair
from tomochrome.training.task import RandomSamples
from tomochrome.training.tasks.tissue import SliceConfig, TissueSamples

UNKNOWN: Final = 0  #: nobody knows its color, such as gel in a cavity
AROUND: Final = 1  #: air around the body
BODY: Final = 2
Sample = tuple[NDArray[np.float32], NDArray[np.float32]]


class PaletteSamples(RandomSamples):
    """Slices of phantoms and of real labelled CT in a palette's colors.

    Parameters
    ----------
    config, pool, real, seed, settings, tenths
        As `TissueSamples` has them.
    spec
        What the network sees.
    levels
        Grey levels that luminances are quantized to; None for all.
    """

    def __init__(
        self,
        config: SliceConfig,
        pool: Path,
        real: list[TrainingPatient],
        seed: int,
        *,
        spec: InputSpec,
        tenths: tuple[int, ...] = (),
        settings: Augmentation | None = None,
        levels: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__(seed)
        self.slices = TissueSamples(config, pool, real, seed, settings, spec=spec, tenths=tenths)
        self.levels = levels
        self.ab = palette("natural").ab.astype(np.float32)

    def draw(self) -> Sample:
        """Draw luminances and colors."""
        self.slices.rng = self.rng
        images, names = self.slices.draw()
        truth = np.empty((3, *names.shape), np.float32)
        truth[:2] = self.ab[names].transpose(2, 0, 1)
        truth[2] = np.where(names > 0, BODY, AROUND)
        return (images if self.levels is None else quantize(images, self.levels)), truth


class PairSamples(RandomSamples):
    """Slices of CT with their photographs, turned, scaled and shifted a little.

    Parameters
    ----------
    folder
        Of pair files.
    part
        Which of them.
    spec
        What the network sees; channels at a distance read neighbouring slices.
    shape
        Height and width of a sample in pixels.
    seed
        Of the samples.
    levels
        Grey levels that luminances are quantized to; None for all.
    still
        Without any disturbance, as for measuring.

    Raises
    ------
    InputError
        If there are no such files.
    """

    def __init__(
        self,
        folder: Path,
        part: Part,
        spec: InputSpec,
        shape: tuple[int, int],
        seed: int,
        *,
        levels: NDArray[np.float32] | None = None,
        still: bool = False,
    ) -> None:
        super().__init__(seed)
        self.files, self.spec, self.shape = pair_files(folder, part), spec, shape
        self.levels, self.still = levels, still
        self._read: dict[Path, SectionPair] = {}
        if not self.files:
            raise InputError(
                f"'{folder}' has no pairs of CT and photographs to {part}: a training needs blocks "
                "for learning, validation and test, that is about 180 mm of sections"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_read": {}}  # a process that draws batches reads its own

    @property
    def description(self) -> str:
        """What the files hold, for the card."""
        if len(read_pair(self.files[0]).hu) == 1:
            return f"{len(self.files)} color photographs, and the grey that follows from them"
        return f"{len(self.files)} blocks of CT slices with photographs of the sections"

    def draw(self) -> Sample:
        """Draw luminances and colors."""
        rng = self.rng
        path = self.files[rng.integers(len(self.files))]
        if path not in self._read:
            self._read[path] = read_pair(path)
        pair = self._read[path]
        z = int(rng.integers(len(pair.hu)))
        matrix, offset = self._place(pair, z)
        offsets = [channel.offset_mm / pair.spacing[0] for channel in self.spec.channels]
        planes = [int(np.clip(round(z + step), 0, len(pair.hu) - 1)) for step in offsets]
        seen = {k: self._resampled(pair.hu[k], matrix, offset, -1024.0) for k in set(planes)}
        if not self.still:
            noise = rng.normal(0, rng.uniform(0, 15), self.shape).astype(np.float32)
            seen = {k: plane * rng.normal(1, 0.01) + noise for k, plane in seen.items()}
        low, slope = (part[:, None, None] for part in window_ramps(self.spec))
        images = np.clip((np.stack([seen[k] for k in planes]) - low) * slope, 0, 1)
        images = images.astype(np.float32)
        truth = np.empty((3, *self.shape), np.float32)
        lab = srgb_to_lab(pair.rgb[z])
        for c in (1, 2):
            truth[c - 1] = self._resampled(lab[..., c], matrix, offset, 0.0)
        tissue = self._resampled(pair.tissue[z], matrix, offset, 0.0) > 0.5
        air = self._resampled(_around(pair.hu[z]), matrix, offset, 1.0) > 0.5
        truth[:2] *= tissue
        truth[2] = np.where(tissue, BODY, np.where(air, AROUND, UNKNOWN))
        return (images if self.levels is None else quantize(images, self.levels)), truth

    def _place(self, pair: SectionPair, z: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw the map from pixels of the sample to pixels of the pair."""
        rng, spacing = self.rng, np.array(pair.spacing[1:])
        angle = 0.0 if self.still else np.radians(rng.normal(0, 5))
        scale = 1.0 if self.still else float(np.exp(rng.uniform(-0.15, 0.15)))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn * self.spec.pixel_mm * scale / spacing[:, None]
        shown = np.argwhere(pair.tissue[z])
        middle = shown.mean(axis=0) if len(shown) else (np.array(pair.hu.shape[1:]) - 1) / 2
        jitter = 0.0 if self.still else rng.normal(0, 10, 2) / spacing
        return matrix, middle + jitter - matrix @ ((np.array(self.shape) - 1) / 2)

    def _resampled(
        self,
        plane: NDArray[Any],
        matrix: NDArray[np.float64],
        offset: NDArray[np.float64],
        fill: float,
    ) -> NDArray[np.float32]:
        values = plane.astype(np.float32)
        return np.asarray(
            ndimage.affine_transform(
                values, matrix, offset, self.shape, order=1, mode="constant", cval=fill
            )
        )


def _around(hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return the air around the body in a slice."""
    return ~np.asarray(ndimage.binary_fill_holes(ndimage.binary_opening(hu > -300)))


def stacked(samples: Sequence[Sample]) -> Sample:
    """Return a batch of samples."""
    images, truths = (np.stack(part) for part in zip(*samples, strict=True))
    return images, truths
