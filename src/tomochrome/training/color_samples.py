"""Samples for networks that predict color: luminances and the color of each pixel.

A sample consists of luminances, float32 (channels, y, x), and a target, float32 (3, y, x): a*, b*
and the kind of pixel (`UNKNOWN`, `AROUND` or `BODY`). The colors are those of a palette, by
tissue, or of a photograph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.color.convert import srgb_to_lab
from tomochrome.color.palettes import palette
from tomochrome.colorization.inputs import InputSpec, window_ramps
from tomochrome.colorization.quantize import quantize
from tomochrome.errors import InputError
from tomochrome.training.pool import region_of
from tomochrome.training.section_pairs import Part, SectionPair, pair_files, read_pair
from tomochrome.training.sections import Section
from tomochrome.training.task_interface import RandomSamples
from tomochrome.training.tasks.tissue_task import TissueSamples

UNKNOWN: Final = 0  #: a pixel of unknown color, such as gel in a cavity
AROUND: Final = 1  #: air around the body
BODY: Final = 2
_MIN_BODY: Final = 0.1  # share of the body in a crop
_PHOTOGRAPH_ZOOM: Final = 0.35
Sample = tuple[NDArray[np.float32], NDArray[np.float32]]


class ColorSamples(RandomSamples):
    """An endless data set of samples.

    Parameters
    ----------
    seed
        Seed of the samples.
    levels
        Grey levels that luminances are quantized to; None for no quantization.

    Attributes
    ----------
    region
        Body region of the last sample, as in `color_networks.REGIONS`; ``"unknown"`` if it is none
        of these.
    """

    region = "unknown"

    def __init__(self, seed: int, levels: NDArray[np.float32] | None = None) -> None:
        super().__init__(seed)
        self.levels = levels

    def quantized(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return luminances as they are, or quantized to the grey levels."""
        return images if self.levels is None else quantize(images, self.levels)


class PaletteSamples(ColorSamples):
    """Slices of phantoms and of real labelled CT in a palette's colors.

    Parameters
    ----------
    slices
        The slices and their tissues.
    levels
        Grey levels that luminances are quantized to; None for no quantization.
    """

    def __init__(self, slices: TissueSamples, levels: NDArray[np.float32] | None = None) -> None:
        super().__init__(slices.seed, levels)
        self.slices = slices
        self.ab = palette("natural").ab.astype(np.float32)

    def draw(self) -> Sample:
        """Draw luminances and colors."""
        self.slices.rng = self.rng
        images, names = self.slices.draw()
        self.region = region_of(self.slices.last_patient)
        truth = np.empty((3, *names.shape), np.float32)
        truth[:2] = self.ab[names].transpose(2, 0, 1)
        truth[2] = np.where(names > 0, BODY, AROUND)
        return self.quantized(images), truth


@dataclass(frozen=True, eq=False)
class ColoredScan:
    """A CT with the true color of each voxel.

    Attributes
    ----------
    hu
        int16 (z, y, x), axial orientation.
    ab
        float16 (z, y, x, 2): a*, b*.
    kind
        uint8 (z, y, x): `UNKNOWN`, `AROUND` or `BODY`.
    spacing
        Voxel spacing (z, y, x) in mm.
    """

    hu: NDArray[np.int16]
    ab: NDArray[np.float16]
    kind: NDArray[np.uint8]
    spacing: tuple[float, float, float]

    @classmethod
    def from_pair(cls, pair: SectionPair) -> ColoredScan:
        """Return a pair of CT and photographs with the photographs' colors."""
        ab = np.stack([srgb_to_lab(plane)[..., 1:].astype(np.float16) for plane in pair.rgb])
        air = np.stack([_around(plane) for plane in pair.hu])
        kind = np.where(pair.tissue, BODY, np.where(air, AROUND, UNKNOWN)).astype(np.uint8)
        return cls(pair.hu, ab, kind, pair.spacing)


class ScanSamples(ColorSamples):
    """Slices of colored scans, slightly rotated, scaled and shifted.

    Parameters
    ----------
    scans
        The scans.
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
    """

    def __init__(
        self,
        scans: Sequence[ColoredScan],
        spec: InputSpec,
        shape: tuple[int, int],
        seed: int,
        *,
        levels: NDArray[np.float32] | None = None,
        augment: bool = True,
    ) -> None:
        super().__init__(seed, levels)
        self.scans, self.spec, self.shape, self.augment = scans, spec, shape, augment

    def scan(self) -> ColoredScan:
        """Draw a scan."""
        return self.scans[int(self.rng.integers(len(self.scans)))]

    def draw(self) -> Sample:
        """Draw luminances and colors."""
        rng, scan = self.rng, self.scan()
        z = int(rng.integers(len(scan.hu)))
        step = self.spec.pixel_mm / np.array(scan.spacing[1:])
        body = scan.kind[z] == BODY
        frame = random_frame(rng if self.augment else None, body, step, self.shape)
        offsets = [channel.offset_mm / scan.spacing[0] for channel in self.spec.channels]
        planes = [int(np.clip(round(z + offset), 0, len(scan.hu) - 1)) for offset in offsets]
        hu = {k: frame.resampled(scan.hu[k], -1024.0) for k in set(planes)}
        if self.augment:
            noise = rng.normal(0, rng.uniform(0, 15), self.shape).astype(np.float32)
            hu = {k: plane * rng.normal(1, 0.01) + noise for k, plane in hu.items()}
        low, slope = (part[:, None, None] for part in window_ramps(self.spec))
        images = np.clip((np.stack([hu[k] for k in planes]) - low) * slope, 0, 1)
        truth = frame.truth(scan.ab[z], scan.kind[z])
        return self.quantized(images.astype(np.float32)), truth


class PairSamples(ScanSamples):
    """CT slices with their photographs, from a folder of pair files.

    Parameters
    ----------
    folder
        Folder of pair files.
    part
        Training, validation or test files.
    spec, shape, seed, levels, augment
        As for `ScanSamples`.

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
        super().__init__((), spec, shape, seed, levels=levels, augment=augment)
        self.files = pair_files(folder, part)
        self._read: dict[Path, ColoredScan] = {}
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

    def scan(self) -> ColoredScan:
        """Draw a file and read it."""
        path = self.files[self.rng.integers(len(self.files))]
        if path not in self._read:
            self._read[path] = ColoredScan.from_pair(read_pair(path))
        return self._read[path]


class SectionSamples(ColorSamples):
    """Photographs of sections: their lightness is the input, their color the truth.

    All input channels are equal, which tells the network that it is not a CT. As the scale of a
    photograph is in general unknown, its body fills a fixed number of pixels instead.

    Parameters
    ----------
    sections
        The sections.
    channels
        Number of input channels.
    body_pixels
        Pixels along the longer side of the body.
    shape, seed, levels, augment
        As for `ScanSamples`.
    """

    def __init__(
        self,
        sections: Sequence[Section],
        channels: int,
        body_pixels: float,
        shape: tuple[int, int],
        seed: int,
        *,
        levels: NDArray[np.float32] | None = None,
        augment: bool = True,
    ) -> None:
        super().__init__(seed, levels)
        self.channels, self.body_pixels = channels, body_pixels
        self.shape, self.augment = shape, augment
        self.lab = [srgb_to_lab(section.rgb).astype(np.float16) for section in sections]
        self.tissue = [section.tissue for section in sections]

    def draw(self) -> Sample:
        """Draw luminances and colors."""
        rng = self.rng
        k = int(rng.integers(len(self.lab)))
        lab, tissue = self.lab[k], self.tissue[k]
        rows, columns = np.nonzero(tissue)
        step = max(np.ptp(rows), np.ptp(columns)) / self.body_pixels
        frame = random_frame(
            rng if self.augment else None, tissue, np.full(2, step), self.shape, spread=60.0,
            zoom=_PHOTOGRAPH_ZOOM,
        )  # fmt: skip
        light = frame.resampled(lab[..., 0], 0.0) / 100
        truth = frame.truth(lab[..., 1:], np.where(tissue, BODY, UNKNOWN))
        if self.augment:  # photographs come in any orientation
            up, across = (slice(None, None, int(step)) for step in rng.choice((-1, 1), 2))
            light = light[up, across]
            truth = np.ascontiguousarray(truth[:, up, across])  # torch has no negative strides
        if not self.augment or rng.random() < 0.5:
            light = light * (truth[2] == BODY)
        if self.augment:
            light = rng.uniform(0.88, 1.12) * np.clip(light, 0, 1) ** np.exp(rng.normal(0, 0.08))
            light = light + rng.normal(0, rng.uniform(0, 0.015), light.shape)
        images = self.quantized(np.clip(light, 0, 1).astype(np.float32))
        return np.repeat(images[None], self.channels, axis=0), truth


class MixedSamples(ColorSamples):
    """Samples drawn from several data sets.

    Parameters
    ----------
    parts
        The data sets and their relative shares.
    seed
        Seed of the samples.
    """

    def __init__(self, parts: Sequence[tuple[float, ColorSamples]], seed: int) -> None:
        super().__init__(seed)
        self.parts = [samples for _, samples in parts]
        shares = np.array([share for share, _ in parts])
        self.shares = shares / shares.sum()

    def draw(self) -> Sample:
        """Draw a data set, then a sample of it."""
        samples = self.parts[self.rng.choice(len(self.parts), p=self.shares)]
        samples.rng = self.rng
        sample: Sample = samples.draw()
        self.region = samples.region
        return sample


class ReusedSamples(ColorSamples):
    """A number of samples that are kept in memory and drawn again and again, each time cropped.

    Parameters
    ----------
    samples
        The samples.
    count
        Number of different samples.
    crop
        Height and width of a crop in pixels.
    """

    def __init__(self, samples: ColorSamples, count: int, crop: tuple[int, int]) -> None:
        super().__init__(samples.seed)
        self.samples, self.count, self.crop = samples, count, crop
        self._kept: dict[int, tuple[NDArray[np.float16], NDArray[np.float16], str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}

    def draw(self) -> Sample:
        """Draw a crop with something of known color in it, if there is any in three tries."""
        k = int(self.rng.integers(self.count))
        if k not in self._kept:
            images, truth = self.samples[k]
            region = self.samples.region
            self._kept[k] = images.astype(np.float16), truth.astype(np.float16), region
        images, truth, self.region = self._kept[k]
        for _ in range(3):
            y, x = (int(self.rng.integers(full - size + 1))
                    for full, size in zip(truth.shape[1:], self.crop, strict=True))  # fmt: skip
            part = slice(None), slice(y, y + self.crop[0]), slice(x, x + self.crop[1])
            if (truth[part][2] == BODY).mean() > _MIN_BODY:
                break
        return images[part].astype(np.float32), truth[part].astype(np.float32)


class Frame(NamedTuple):
    """An affine map from the pixels of a sample to those of its source."""

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]
    shape: tuple[int, int]

    def resampled(self, plane: NDArray[Any], fill: float) -> NDArray[np.float32]:
        """Return a plane (y, x) on the pixels of the sample."""
        plane = np.asarray(plane, np.float32)
        blur = np.maximum(0.0, np.linalg.norm(self.matrix, axis=1) - 1.2) / 2.4
        if blur.max() > 0:  # the sample has larger pixels
            plane = ndimage.gaussian_filter(plane, blur)
        return np.asarray(
            ndimage.affine_transform(
                plane, self.matrix, self.offset, self.shape, order=1, cval=fill
            )
        )

    def truth(self, ab: NDArray[Any], kind: NDArray[Any]) -> NDArray[np.float32]:
        """Return colors (y, x, 2) and kinds (y, x) as a target, float32 (3, y, x)."""
        body = self.resampled(kind == BODY, 0.0) > 0.5
        air = self.resampled(kind == AROUND, 1.0 if (kind == AROUND).any() else 0.0) > 0.5
        colors = [self.resampled(ab[..., c], 0.0) * body for c in (0, 1)]
        return np.stack([*colors, np.where(body, BODY, np.where(air, AROUND, UNKNOWN))]).astype(
            np.float32
        )


def random_frame(
    rng: np.random.Generator | None,
    body: NDArray[np.bool_],
    step: NDArray[np.float64],
    shape: tuple[int, int],
    *,
    spread: float = 6.0,
    zoom: float = 0.15,
) -> Frame:
    """Draw a frame around the center of the body, slightly rotated, scaled and shifted.

    Parameters
    ----------
    rng
        Random numbers; None for the frame in the middle.
    body
        bool (y, x).
    step
        Source pixels (y, x) per pixel of the sample.
    shape
        Height and width of the sample.
    spread
        Standard deviation of the shift in pixels of the sample.
    zoom
        Largest change of the logarithm of the scale.
    """
    angle = np.radians(rng.normal(0, 5)) if rng else 0.0
    scale = float(np.exp(rng.uniform(-zoom, zoom))) if rng else 1.0
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation * scale * step[:, None]
    inside = np.argwhere(body)
    center = inside.mean(axis=0) if len(inside) else (np.array(body.shape) - 1) / 2
    shift = rng.normal(0, spread, 2) * step if rng else 0.0
    return Frame(matrix, center + shift - matrix @ ((np.array(shape) - 1) / 2), shape)


def _around(hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return a mask of the air around the body in a slice."""
    return ~np.asarray(ndimage.binary_fill_holes(ndimage.binary_opening(hu > -300)))


def stacked(samples: Sequence[Sample]) -> Sample:
    """Stack samples into a batch."""
    images, truths = (np.stack(part) for part in zip(*samples, strict=True))
    return images, truths
