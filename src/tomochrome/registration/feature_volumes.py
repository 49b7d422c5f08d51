"""Features of two scans on their working grid: of a network, slice by slice, in few channels.

The features are those of the default tissue network (square roots of the probabilities of the
tissues, whose distance is Hellinger's) or of the levels of a `FeatureNetwork`. They are reduced by
a principal component analysis of both volumes together, so that exchanging the volumes changes
nothing; one scale for all channels makes the mean squared distance of two random voxels 1.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tomochrome.colorization.cards import DEFAULT_MODEL, find_model
from tomochrome.colorization.grid_predictor import body_crop
from tomochrome.colorization.inputs import InputGrid, InputSpec, cropped_batch, to_input_grid
from tomochrome.colorization.kinds.network import TissueNetwork
from tomochrome.colorization.scan import Scan, prepare
from tomochrome.registration.checked_input import TISSUE
from tomochrome.registration.feature_networks import FeatureNetwork, load_features
from tomochrome.registration.refine import FINEST_VOXELS
from tomochrome.registration.velocity import smaller
from tomochrome.registration.working_pair import WorkingPair, feature_grid, onto
from tomochrome.runtime import check, report
from tomochrome.volume import Volume

CHANNELS: Final = 12
"""Features that are compared."""
_TISSUE_CHANNELS: Final = 16  # of the tissue network
_BALANCE: Final = 0.5
_RARE: Final = 0.003  # below this share a tissue has no more weight
_BATCH: Final = 4
_FITTED_SLICES: Final = 16  # of each volume, for the principal components
_FITTED_PIXELS: Final = 2000  # of each of these slices
_WINDOW: Final = (-160.0, 240.0)
_MIN_HU: Final = -900.0  # air has no part in the principal components

F32 = NDArray[np.float32]
Extract = Callable[[F32], F32]
"""Returns features (n, y, x, channels) of luminances (n, channels, y, x)."""


@dataclass(frozen=True)
class Backbone:
    """A network as an extractor of features.

    Parameters
    ----------
    spec
        The network's input.
    multiple
        What the height and width of an input must be a multiple of.
    extract
        Returns features (n, y, x, channels) of luminances (n, channels, y, x).
    channels
        How many principal components are compared.
    balance
        A channel is divided by its mean square to half this power, so that small organs count.
    fine
        Whether the features are as sharp as the scan, and worth the resolution of its grid.
    """

    spec: InputSpec
    multiple: int
    extract: Extract
    channels: int = CHANNELS
    balance: float = 0.0
    fine: bool = False


def load_backbone(
    name: str, weights: str | os.PathLike[str] | None, device: torch.device
) -> Backbone:
    """Return a backbone by name: ``"tissue"``, or as for `load_features`.

    Raises
    ------
    OptionError, ModelError
        If there is no such backbone, or its weights cannot be used.
    """
    if name == TISSUE:
        predictor = TissueNetwork(find_model(DEFAULT_MODEL), device=device.type)
        return Backbone(
            predictor.reads, predictor.multiple, lambda images: np.sqrt(predictor.predict(images)),
            channels=_TISSUE_CHANNELS, balance=_BALANCE, fine=True,
        )  # fmt: skip
    network, spec = load_features(name, weights)
    network = network.to(device)
    return Backbone(spec, network.multiple, lambda images: _levels(network, images, device))


@torch.inference_mode()
def _levels(network: FeatureNetwork, images: F32, device: torch.device) -> F32:
    """Return the features of all levels at full resolution; each level has the same weight."""
    size = images.shape[2:]
    levels = [
        functional.interpolate(level, size, mode="bilinear").float() / level.shape[1] ** 0.5
        for level in network(torch.from_numpy(images).to(device))
    ]
    return torch.cat(levels, dim=1).movedim(1, -1).cpu().numpy()


@dataclass(frozen=True, eq=False)
class _Slices:
    """A scan on the input grid of a network."""

    scan: Scan
    grid: InputGrid
    crop: tuple[slice, slice]
    backbone: Backbone

    @classmethod
    def of(cls, volume: Volume, backbone: Backbone) -> _Slices:
        """Return a scan on the input grid."""
        scan = prepare(as_ct(volume))
        grid = to_input_grid(scan.hu, scan.spacing, backbone.spec)
        crop = body_crop(scan, grid.hu.shape, grid.pixel_mm, backbone.multiple)
        return cls(scan, grid, crop, backbone)

    def features(self, index: range) -> F32:
        """Return the features (n, y, x, channels) of some slices within the crop."""
        check()
        images = cropped_batch(
            self.grid, index, self.backbone.spec, self.crop, self.backbone.multiple
        )
        h, w = (part.stop - part.start for part in self.crop)
        return self.backbone.extract(images)[:, :h, :w]

    def sample(self, rng: np.random.Generator) -> F32:
        """Return the features (n, channels) of random pixels of evenly spaced slices."""
        count = min(_FITTED_SLICES, len(self.grid.hu))
        rows = []
        for z in np.linspace(0, len(self.grid.hu) - 1, count).astype(int):
            features = self.features(range(z, z + 1))[0]
            inside = features[self.grid.hu[z][self.crop] > _MIN_HU]
            chosen = rng.permutation(len(inside))[:_FITTED_PIXELS]
            rows.append(inside[chosen])
        return np.concatenate(rows)

    def reduced(self, components: F32, mean: F32) -> F32:
        """Return the principal components (k, z, y, x) on the whole input grid."""
        depth, height, width = self.grid.hu.shape
        out = np.empty((components.shape[1], depth, height, width), np.float32)
        around = [
            (part.start, n - part.stop) for part, n in zip(self.crop, (height, width), strict=True)
        ]
        for first in range(0, depth, _BATCH):
            index = range(first, min(first + _BATCH, depth))
            values = (self.features(index) - mean) @ components
            padded = np.pad(values, ((0, 0), *around, (0, 0)), mode="edge")
            out[:, index.start : index.stop] = np.moveaxis(padded, -1, 0)
            report(index.stop, depth, "features")
        return out

    @property
    def affine(self) -> NDArray[np.float64]:
        """4x4 from (z, y, x) index of the input grid to LPS mm."""
        steps, first = np.ones(3), np.zeros(3)
        positions = self.grid.positions
        first[0], steps[0] = positions[0], positions[1] - positions[0] if len(positions) > 1 else 1
        steps[1:] = self.grid.pixel_mm / np.array(self.scan.spacing[1:])
        first[1:] = 0.5 * steps[1:] - 0.5
        to_index = np.eye(4)
        to_index[:3, :3], to_index[:3, 3] = np.diag(steps), first
        return np.asarray(self.scan.upright.affine @ to_index)


def as_ct(volume: Volume) -> Volume:
    """Return a scan with the values of a CT: one of another modality fills the soft-tissue window.

    Its 1st percentile becomes -160 HU, and its 99th 240.
    """
    if volume.unit == "HU":
        return volume
    voxels = np.asarray(volume.voxels, np.float32)
    low, high = np.percentile(voxels[np.isfinite(voxels)], (1, 99))
    gain = np.float32((_WINDOW[1] - _WINDOW[0]) / max(high - low, 1e-6))
    return replace(volume, voxels=(voxels - np.float32(low)) * gain + _WINDOW[0], unit="HU")


def principal_components(
    samples: tuple[F32, F32], channels: int = CHANNELS, balance: float = 0.0
) -> tuple[F32, F32]:
    """Return principal components (channels, k) of two samples (n, channels), and their mean.

    The components are scaled so that the mean squared distance of two random rows is 1. With
    ``balance`` they are those of channels divided by their mean squares to half this power.
    """
    squares = sum(np.square(part, dtype=np.float64).mean(axis=0) / 2 for part in samples)
    weights = ((squares + _RARE) ** (-balance / 2)).astype(np.float32)
    samples = (samples[0] * weights, samples[1] * weights)
    means = [part.mean(axis=0, dtype=np.float64) for part in samples]
    mean = (means[0] + means[1]) / 2
    covariance = sum((part - mean).T @ (part - mean) / (2 * len(part)) for part in samples)
    values, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
    kept = vectors[:, ::-1][:, :channels]
    scale = np.sqrt(2 * max(values.sum(), 1e-12))
    components = weights[:, None] * (kept / scale)
    return components.astype(np.float32), (mean / weights).astype(np.float32)


def pair_features(
    fixed: Volume, moving: Volume, pair: WorkingPair, backbone: Backbone, *, fine: bool = True
) -> torch.Tensor:
    """Return the features of two scans on a grid with the corners of their working grid.

    It is half as fine as the working grid, except for fine features of up to `FINEST_VOXELS`.

    Parameters
    ----------
    fixed, moving
        CT in Hounsfield units, or both of another modality.
    pair
        Their working grid; the moving features are resampled through its initial transform.
    backbone
        The network.
    fine
        False for the coarser grid in any case.

    Returns
    -------
    Tensor
        float32 (2, channels, z, y, x), with the channels of a voxel adjacent in memory.
    """
    fine = fine and backbone.fine and math.prod(pair.shape) <= FINEST_VOXELS
    shape = pair.shape if fine else smaller(pair.shape, 2)
    like = feature_grid(pair, shape)
    both = [_Slices.of(volume, backbone) for volume in (fixed, moving)]
    rng = np.random.default_rng(0)
    components, mean = principal_components(
        (both[0].sample(rng), both[1].sample(rng)), backbone.channels, backbone.balance
    )
    out = torch.empty((2, *shape, components.shape[1])).movedim(-1, 1)
    for k, slices in enumerate(both):
        target = like if k == 0 else replace(like, affine=pair.transform @ like.affine)
        for c, channel in enumerate(slices.reduced(components, mean)):
            check()
            out[k, c] = torch.from_numpy(onto(Volume(channel, slices.affine, "unknown"), target))
    return out
