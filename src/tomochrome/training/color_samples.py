"""Samples for networks that predict color: luminances and the color of each pixel.

A sample consists of luminances, float32 (channels, y, x), and a target, float32 (3, y, x): a*, b*
and the kind of pixel (`UNKNOWN`, `AROUND` or `BODY`). The colors are those of a palette, by
tissue, or of a photograph.
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
from tomochrome.training.section_pairs import Part, SectionPair, pair_files, read_pair
from tomochrome.training.task import RandomSamples
from tomochrome.training.tasks.tissue import TissueSamples

UNKNOWN: Final = 0  #: a pixel of unknown color, such as gel in a cavity
AROUND: Final = 1  #: air around the body
BODY: Final = 2
Sample = tuple[NDArray[np.float32], NDArray[np.float32]]


class PaletteSamples(RandomSamples):
    """Slices of phantoms and of real labelled CT in a palette's colors.

    Parameters
    ----------
    slices
        The slices and their tissues.
    levels
        Grey levels that luminances are quantized to; None for no quantization.
    """

    def __init__(self, slices: TissueSamples, levels: NDArray[np.float32] | None = None) -> None:
        super().__init__(slices.seed)
        self.slices, self.levels = slices, levels
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
    """CT slices with their photographs, slightly rotated, scaled and shifted.

    Parameters
    ----------
    folder
        Folder of pair files.
    part
        Training, validation or test files.
    spec
        The network's input; channels with an offset read neighbouring slices.
    shape
        Height and width of a sample in pixels.
    seed
        Seed of the samples.
    levels
        Grey levels that luminances are quantized to; None for no quantization.
    augment
        Whether to augment the samples; not for evaluation.

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
        augment: bool = True,
    ) -> None:
        super().__init__(seed)
        self.files, self.spec, self.shape = pair_files(folder, part), spec, shape
        self.levels, self.augment = levels, augment
        self._read: dict[Path, SectionPair] = {}
        if not self.files:
            raise InputError(
                f"'{folder}' has no pairs of CT and photographs to {part}: a training needs blocks "
                "for learning, validation and test, that is about 180 mm of sections"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_read": {}}  # each worker process reads the files itself

    @property
    def description(self) -> str:
        """Description of the files for the model card."""
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
        hu = {k: self._resampled(pair.hu[k], matrix, offset, -1024.0) for k in set(planes)}
        if self.augment:
            noise = rng.normal(0, rng.uniform(0, 15), self.shape).astype(np.float32)
            hu = {k: plane * rng.normal(1, 0.01) + noise for k, plane in hu.items()}
        low, slope = (part[:, None, None] for part in window_ramps(self.spec))
        images = np.clip((np.stack([hu[k] for k in planes]) - low) * slope, 0, 1)
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
        """Draw the affine map (matrix, offset) from sample pixels to pixels of the pair."""
        rng, spacing = self.rng, np.array(pair.spacing[1:])
        angle = np.radians(rng.normal(0, 5)) if self.augment else 0.0
        scale = float(np.exp(rng.uniform(-0.15, 0.15))) if self.augment else 1.0
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = rotation * self.spec.pixel_mm * scale / spacing[:, None]
        tissue = np.argwhere(pair.tissue[z])
        center = tissue.mean(axis=0) if len(tissue) else (np.array(pair.hu.shape[1:]) - 1) / 2
        jitter = rng.normal(0, 10, 2) / spacing if self.augment else 0.0
        return matrix, center + jitter - matrix @ ((np.array(self.shape) - 1) / 2)

    def _resampled(
        self,
        plane: NDArray[Any],
        matrix: NDArray[np.float64],
        offset: NDArray[np.float64],
        fill: float,
    ) -> NDArray[np.float32]:
        return np.asarray(
            ndimage.affine_transform(
                plane.astype(np.float32), matrix, offset, self.shape, order=1, cval=fill
            )
        )


def _around(hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return a mask of the air around the body in a slice."""
    return ~np.asarray(ndimage.binary_fill_holes(ndimage.binary_opening(hu > -300)))


def stacked(samples: Sequence[Sample]) -> Sample:
    """Stack samples into a batch."""
    images, truths = (np.stack(part) for part in zip(*samples, strict=True))
    return images, truths
