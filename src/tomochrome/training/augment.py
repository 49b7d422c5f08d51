"""Data augmentation: a randomized slice or block of a patient, with its tissue labels.

Each sample has random geometry (tilt, scale, elastic deformation, local inflation), contrast (HU
of every structure, contrast phase, gut filling) and acquisition (slice thickness, blur, noise,
streaks, couch, field of view). There is no left-right flip: the liver is on the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.colorization.inputs import InputSpec, window_ramps
from tomochrome.phantom import (
    N_STRUCTURES,
    Structure,
    hu_table,
    sample_hu,
    texture_table,
)
from tomochrome.training.augmentation_kernels import Anatomy, Contrast, Noise, Planes, sample_planes
from tomochrome.training.patients import TrainingPatient, tissues_of_structures

S = Structure  # short, for the tables below
_COARSE = 8  # pixels between the nodes of the displacement
_BANK = 352
_MIN_BLUR = 0.2
_FIXED_HU = (S.OUTSIDE_AIR, S.COUCH, S.COUCH_FOAM, S.BLANKET, S.SINUS_GAS, S.AIRWAY_GAS)
_BONE = (S.CORTICAL_BONE, S.TRABECULAR_BONE, S.FATTY_MARROW, S.DIPLOE, S.TOOTH, S.METAL)
_RIGHT_SIDE = (S.SUPERIOR_VENA_CAVA, S.RIGHT_HEART_BLOOD, S.PULMONARY_ARTERY, S.LUNG_VESSEL)
_LEFT_SIDE = (S.PULMONARY_VEIN, S.LEFT_HEART_BLOOD, S.AORTA, S.ARTERY)
_MOTTLED = (S.SPLEEN, S.LIVER, S.KIDNEY_CORTEX, S.PANCREAS, S.MUSCLE, S.MYOCARDIUM, S.VENA_CAVA)


@dataclass(frozen=True)
class Augmentation:
    """Strength or probability of each random change; `Sampler` applies them."""

    tilt_degrees: float = 10.0
    scale: tuple[float, float] = (0.8, 1.3)
    elastic_mm: float = 5.0
    inflation: float = 0.4
    shift_mm: float = 30.0
    real_hu: float = 0.55  #: probability that a real scan keeps its own HU
    noise_hu: float = 22.0
    blur_px: float = 0.9
    focus: float = 0.55
    organ_contrast: float = 0.25  #: probability that organs enhance independently
    couch: float = 0.35
    arms: float = 0.15
    small_field: float = 0.33
    bolus: float = 0.3
    short_volume: float = 0.3
    streaks: float = 0.12
    prone: float = 0.03


class Sampler:
    """Draws augmented training samples; use one instance per thread.

    Parameters
    ----------
    spec
        The network's input.
    shape
        Height and width of a sample in pixels; ignored if ``spec`` has a block.
    settings
        Strengths of the augmentation.
    seed
        Seed of the random number generator.
    """

    def __init__(
        self,
        spec: InputSpec,
        shape: tuple[int, ...] = (160, 224),
        settings: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.spec, self.size = spec, spec.block or shape
        self.shape = self.size[-2:]
        self.settings = settings or Augmentation()
        self.rng = np.random.default_rng(seed)
        self.low, self.slope = window_ramps(spec)
        self._choose_planes()
        self.tile, self.grainy, self.streaky = _noise()
        self.tissue = tissues_of_structures()
        self.texture = texture_table()
        self.native = hu_table("native")

    def _choose_planes(self) -> None:
        """Set the planes to sample, the plane of each channel, and the planes to label."""
        channels, block = self.spec.channels, self.spec.block
        self.labelled: int | slice
        if block is None:
            offsets = np.array([channel.offset_mm for channel in channels])
            self.planes, inverse = np.unique(np.append(offsets, 0.0), return_inverse=True)
            self.plane_of = inverse[:-1]
            self.labelled = self.first_labelled = int(np.flatnonzero(self.planes == 0.0)[0])
            return
        self.planes = (np.arange(block[0]) - (block[0] - 1) / 2) * self.spec.slice_mm
        self.plane_of = np.tile(np.arange(block[0]), (len(channels), 1))
        self.first_labelled, self.labelled = 0, slice(None)

    def sample(
        self, patient: TrainingPatient, x: NDArray[np.float32], y: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """Fill ``x`` (channels, [z,] y, x) with luminances and ``y`` ([z,] y, x) with tissues.

        Return the structures ([z,] y, x).
        """
        planes, structures = self.scan(patient)
        visible = self._field_of_view(structures)
        ramp = (-1, *(1 for _ in y.shape))
        low, slope = self.low.reshape(ramp), self.slope.reshape(ramp)
        np.clip((planes[self.plane_of] - low) * slope * visible, 0, 1, out=x)
        np.copyto(y, self.tissue[structures])
        return structures

    def scan(self, patient: TrainingPatient) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return HU of all planes (plane, y, x) and structures ([z,] y, x) of the labelled ones."""
        rng, settings = self.rng, self.settings
        real = patient.taught or (patient.hu is not None and rng.random() < settings.real_hu)
        contrast = self._own_contrast() if patient.taught else self._contrast(real)
        planes = np.empty((len(self.planes), *self.shape), np.float32)
        flat = np.zeros(self.size, np.uint8)
        structures = flat.reshape(-1, *self.shape)
        matrix, scale = self._matrix()
        z: float = patient.pick_slice(rng, settings.focus)
        if self.spec.block is not None:  # keep the block inside the scan if it fits
            reach, last = self.planes[-1] / patient.spacing[0], len(patient.structures) - 1
            z = min(max(z, reach), last - reach) if last > 2 * reach else last / 2
        jitter = rng.normal(0, settings.shift_mm / 2, 2) / np.array(patient.spacing[1:])
        center = np.array([z + rng.uniform(-0.5, 0.5), *(np.array(patient.center) + jitter)])
        offsets = self._offsets()
        thickness = rng.uniform(0, 5.0) if rng.random() < 0.6 else 0.0
        parts = np.zeros(1) if thickness < 1.5 else np.array([0.0, -0.33, 0.33]) * thickness
        hu = patient.hu if patient.hu is not None else np.zeros((1, 1, 1), np.int16)
        noise = Noise(self.tile, rng.uniform(0, 64, 3))
        where = Planes(
            center, matrix, offsets, parts, self.spec.pixel_mm,
            self._displacement(offsets, scale), _COARSE, self.first_labelled,
        )  # fmt: skip
        anatomy = Anatomy(patient.structures, hu, real, np.array(patient.spacing))
        sample_planes(anatomy, contrast, where, noise, planes, structures)
        if rng.random() < settings.arms:
            self._add_arm(planes, structures, (self._contrast(False) if real else contrast).shift)
        if rng.random() < settings.couch:
            self._add_couch(planes, structures)
        self._scanner(planes, structures)
        return planes, flat

    def _contrast(self, real: bool) -> Contrast:
        """Draw remap, gain, shift, texture and grain of every structure."""
        rng = self.rng
        remap = np.arange(256).astype(np.uint8)
        table = np.zeros(256, np.float32)
        table[:N_STRUCTURES] = sample_hu(None, rng)
        if rng.random() < self.settings.organ_contrast:
            organs = [s for s in S if S.MYOCARDIUM <= s <= S.TESTIS and s not in _FIXED_HU]
            table[organs] += rng.normal(0, 18, len(organs)) + rng.uniform(-15, 15)
        if rng.random() < self.settings.bolus:
            self._angiography(table)
        gain = np.zeros(256, np.float32)
        texture = np.zeros(256, np.float32)
        grain = np.ones(256, np.float32)
        texture[:N_STRUCTURES] = self.texture[:, 0] * rng.uniform(0.3, 1.6)
        grain[:N_STRUCTURES] = np.maximum(self.texture[:, 1] * rng.uniform(0.8, 2.0), 0.5)
        for s in _MOTTLED:
            if rng.random() < 0.12:
                texture[s] = rng.uniform(8, 35)
                grain[s] = rng.uniform(5, 16)
        if real:
            gain[:] = 1.0
            texture *= 0.5
            change = np.zeros(256, np.float32)
            change[:N_STRUCTURES] = table[:N_STRUCTURES] - self.native
            for s in _FIXED_HU:
                change[s] = 0.0
            for s in _BONE:
                gain[s], change[s] = rng.uniform(0.8, 1.3), 0.0
                texture[s] = 0.0
            for s in (S.LUNG, S.STOMACH_GAS, S.BOWEL_GAS, S.SKIN, S.VISCERAL_FAT):
                change[s] = np.clip(change[s], -25, 40)
            shift = change
        else:
            shift = table
        self._refill(remap, gain, shift, table)
        slope, level = rng.normal(1.0, 0.015), rng.normal(0.0, 4.0)
        return Contrast(remap, gain * slope, shift * slope + level, texture, grain)

    def _own_contrast(self) -> Contrast:
        """Draw a small change of the HU scale, and nothing else."""
        slope, level = self.rng.normal(1.0, 0.015), self.rng.normal(0.0, 6.0)
        same, ones = np.arange(256).astype(np.uint8), np.ones(256, np.float32)
        return Contrast(same, ones * slope, ones * level, ones * 0, ones)

    def _angiography(self, table: NDArray[np.float32]) -> None:
        """Fill one side of the circulation, or both, with a dense bolus."""
        rng = self.rng
        sides = (_RIGHT_SIDE, _LEFT_SIDE)
        chosen = sides if rng.random() < 0.5 else (sides[rng.integers(2)],)
        for side in chosen:
            level = rng.uniform(250, 680)
            for s in side:
                table[s] = max(table[s], level * rng.uniform(0.8, 1.15))
        if _LEFT_SIDE in chosen:
            table[S.MYOCARDIUM] += rng.uniform(0, 60)

    def _refill(
        self,
        remap: NDArray[np.uint8],
        gain: NDArray[np.float32],
        shift: NDArray[np.float32],
        table: NDArray[np.float32],
    ) -> None:
        """Randomly replace gas in the gut by contents, or contents by gas."""
        for source, target, chance in (
            (S.STOMACH_GAS, S.STOMACH_CONTENT, 0.3),
            (S.BOWEL_GAS, S.COLON_CONTENT, 0.2),
            (S.STOMACH_CONTENT, S.STOMACH_GAS, 0.08),
            (S.COLON_CONTENT, S.BOWEL_GAS, 0.12),
        ):
            if self.rng.random() < chance:
                remap[source], gain[source], shift[source] = target, 0.0, table[target]

    def _matrix(self) -> tuple[NDArray[np.float64], float]:
        """Draw the matrix from output mm to patient mm: tilt and scale."""
        rng = self.rng
        angles = np.radians(rng.normal(0, self.settings.tilt_degrees / 2, 3))
        angles[0] = np.radians(rng.normal(0, self.settings.tilt_degrees * 0.7))
        if rng.random() < self.settings.prone:
            angles[0] += np.pi
        (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
        about_z = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
        about_y = np.array([[cb, 0, -sb], [0, 1, 0], [sb, 0, cb]])
        about_x = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
        scale = float(np.exp(rng.uniform(*np.log(self.settings.scale))))
        axes = np.exp(rng.normal(0, 0.05, 3)) / scale
        axes[0] = np.exp(rng.normal(0, 0.15))
        return about_z @ about_y @ about_x * axes[None, :], scale

    def _offsets(self) -> NDArray[np.float64]:
        """Draw the offsets of the planes in mm, sometimes clipped as at the end of a volume."""
        rng, low, high, reach = self.rng, -1e3, 1e3, float(self.planes[-1])
        if rng.random() < self.settings.short_volume:
            if rng.random() < 0.15:
                low = high = 0.0  # a single slice
            elif rng.random() < 0.5:
                low = -float(rng.uniform(0, reach))
            else:
                high = float(rng.uniform(0, reach))
        stretch = rng.uniform(0.92, 1.08)
        return np.clip(self.planes, low, high) * stretch

    def _displacement(self, offsets: NDArray[np.float64], scale: float) -> NDArray[np.float32]:
        """Draw a smooth displacement in mm on the coarse grid of each plane."""
        rng, settings = self.rng, self.settings
        height, width = (n // _COARSE + 2 for n in self.shape)
        step = _COARSE * self.spec.pixel_mm
        grid = np.empty((len(offsets), height, width, 3), np.float32)
        grid[..., 0] = offsets[:, None, None]
        grid[..., 1] = ((np.arange(height) - self.shape[0] / 2 / _COARSE) * step)[:, None]
        grid[..., 2] = (np.arange(width) - self.shape[1] / 2 / _COARSE) * step
        out = np.zeros_like(grid)
        reach = np.array([max(25.0, self.planes[-1]), 100.0, 140.0], np.float32)
        strength = settings.elastic_mm * np.abs(rng.standard_normal())
        for _ in range(8):
            away = grid - (rng.uniform(-1, 1, 3) * reach).astype(np.float32)
            radius = rng.uniform(20, 60)
            bell = np.exp(-(away**2).sum(-1, keepdims=True) / radius**2)
            out += bell * rng.normal(0, strength, 3).astype(np.float32)
        for _ in range(rng.integers(0, 7)):
            away = grid - (rng.uniform(-1, 1, 3) * reach).astype(np.float32)
            radius = rng.uniform(15, 55)
            bell = np.exp(-(away**2).sum(-1, keepdims=True) / radius**2)
            out -= np.float32(rng.uniform(-1, 1) * settings.inflation) * bell * away
        return out / np.float32(scale) ** 0.5

    def _add_arm(
        self, planes: NDArray[np.float32], structures: NDArray[np.uint8], hu: NDArray[np.float32]
    ) -> None:
        """Draw an arm beside the body, in air only."""
        rng = self.rng
        height, width = self.shape
        pixel = self.spec.pixel_mm
        side = rng.choice([-1, 1])
        columns = np.flatnonzero((structures > 0).any(axis=(0, 1)))
        if not len(columns):
            return
        edge = columns[-1] if side > 0 else columns[0]
        radius = rng.uniform(28, 50) / pixel
        cx = edge + side * radius * rng.uniform(0.8, 1.3)
        cy = height / 2 + rng.normal(0, 0.15) * height
        yy, xx = np.mgrid[:height, :width]
        axis = rng.uniform(0.75, 1.25)
        r = np.hypot((yy - cy) * axis, xx - cx) / radius
        free = structures == S.OUTSIDE_AIR
        bones = [(0.0, 0.0)] if rng.random() < 0.5 else [(-0.3, 0.1), (0.3, -0.1)]
        rings = [(1.0, S.SKIN), (0.94, S.SUBCUTANEOUS_FAT), (rng.uniform(0.6, 0.85), S.MUSCLE)]
        limb = np.zeros(self.shape, np.uint8)
        for limit, name in rings:
            limb[r < limit] = name
        for by, bx in bones:
            q = np.hypot(yy - cy - by * radius, xx - cx - bx * radius) / radius
            size = 0.27 if len(bones) == 1 else 0.18
            limb[q < size] = S.CORTICAL_BONE
            limb[q < size * 0.55] = S.FATTY_MARROW
        where = free & (limb > 0)
        np.copyto(structures, limb, where=where)
        np.copyto(planes, hu[limb], where=where)

    def _add_couch(self, planes: NDArray[np.float32], structures: NDArray[np.uint8]) -> None:
        """Draw a couch below the body: a flat or curved shell filled with foam."""
        rng = self.rng
        rows = np.flatnonzero((structures > 0).any(axis=(0, 2)))
        if not len(rows):
            return
        height, width = self.shape
        curve = rng.uniform(0, 0.004) * (rng.random() < 0.6)
        xx = np.arange(width) - width / 2 + rng.normal(0, 10)
        top = rows[-1] + rng.uniform(0, 6) - curve * xx**2
        depth = rng.uniform(8, 30)
        yy = np.arange(height)[:, None]
        below = (yy > top) & (yy < top + depth) & (np.abs(xx) < rng.uniform(70, 115))
        shell = below & ((yy < top + rng.uniform(1, 2.2)) | (yy > top + depth - 1.5))
        free = structures == S.OUTSIDE_AIR
        np.copyto(planes, rng.uniform(-980, -850), where=below & free)
        np.copyto(planes, rng.uniform(-800, 250), where=shell & free)

    def _scanner(self, planes: NDArray[np.float32], structures: NDArray[np.uint8]) -> None:
        """Simulate the scanner: blur, then noise and streaks."""
        rng, settings = self.rng, self.settings
        if (blur := rng.uniform(0.0, settings.blur_px)) >= _MIN_BLUR:
            sigmas = (0, blur, blur)
            ndimage.gaussian_filter(planes, sigmas, output=planes, mode="nearest", truncate=2.5)
        size = np.sqrt((structures > 0).mean() + 0.05) * 1.6
        amplitude = size * settings.noise_hu * rng.random() ** 2
        self._add_noise(planes, self.grainy, amplitude)
        if rng.random() < settings.streaks:
            self._add_noise(planes, self.streaky, rng.uniform(3, 25) * size)

    def _add_noise(
        self, planes: NDArray[np.float32], bank: NDArray[np.float32], amplitude: float
    ) -> None:
        """Add a random crop of an image of the bank to each plane."""
        rng = self.rng
        room = np.array(bank.shape[1:]) - np.array(self.shape)
        kind = int(rng.integers(3)) * (len(bank) // 3)
        picks = kind + rng.integers(len(bank) // 3, size=len(planes))
        corners = rng.integers(0, room + 1, (len(planes), 2))
        height, width = self.shape
        for plane, k, (y, x) in zip(planes, picks, corners, strict=True):
            plane += np.float32(amplitude) * bank[k, y : y + height, x : x + width]

    def _field_of_view(self, structures: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Draw the field of view (circle or rectangle); structures outside it become air."""
        rng = self.rng
        visible = np.ones(self.shape, np.bool_)
        if rng.random() < self.settings.small_field:
            height, width = self.shape
            cy, cx = height / 2 + rng.normal(0, 12), width / 2 + rng.normal(0, 18)
            yy, xx = np.mgrid[:height, :width]
            if rng.random() < 0.5:
                visible = np.hypot(yy - cy, xx - cx) < rng.uniform(42, 110)
            else:
                ry, rx = rng.uniform(32, 80), rng.uniform(40, 112)
                visible = (np.abs(yy - cy) < ry) & (np.abs(xx - cx) < rx)
            structures[..., ~visible] = S.OUTSIDE_AIR
        return visible


@cache
def _noise() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return a cube of tissue texture, and images of grainy and of streaky noise."""
    fixed = np.random.default_rng(12345)
    tile = ndimage.gaussian_filter(fixed.standard_normal((64, 64, 64)), 2.0, mode="wrap")
    grainy = _noise_bank(fixed, [(0.0, 0.0), (0.7, 0.7), (1.1, 1.1)], 8)
    streaky = _noise_bank(fixed, [(0.6, 14.0), (0.8, 30.0), (1.5, 8.0)], 4)
    return (tile / tile.std()).astype(np.float32), grainy, streaky


def _noise_bank(
    rng: np.random.Generator, sigmas: list[tuple[float, float]], each: int
) -> NDArray[np.float32]:
    """Return unit-variance noise images, ``each`` of every pair of Gaussian widths in pixels."""
    images = []
    for sigma in sigmas:
        for k in range(each):
            image = ndimage.gaussian_filter(rng.standard_normal((_BANK, _BANK)), sigma)
            if max(sigma) > 4:  # streaks in many directions
                image = ndimage.rotate(image, 180.0 * k / each, reshape=False, mode="wrap", order=1)
            images.append(image / image.std())
    return np.asarray(images, np.float32)
