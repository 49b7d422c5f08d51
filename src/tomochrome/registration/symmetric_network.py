"""The symmetric network: a U-Net on the image pair with one velocity head per image.

After Mok and Chung, "Fast Symmetric Diffeomorphic Image Registration with Convolutional Neural
Networks", CVPR 2020: the input of an encoder-decoder is both images as two channels; two heads
with softsign predict the velocities that warp each image to half-way space. Unlike in the paper,
the decoder ends at half the input resolution (`velocity` upsamples).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from tomochrome.bundles import (
    REGISTRATION,
    ModelCard,
    find_card,
    fitted,
    load_state,
    reading_metadata,
)
from tomochrome.bundles.monai_imports import MONAI_IMPORTS
from tomochrome.errors import ModelError
from tomochrome.registration.velocity import Shape, exponential, resize_field, shrink, warp

KIND = "registration"
"""Kind of bundle in ``metadata.json``."""
_FINE_VOXELS = 2_000_000
DEFAULT_MODEL = "symnet"
_KEYS = frozenset({"name", "channels", "reach", "passes"})


class SymNet(nn.Module):
    """U-Net that predicts the velocities of both images of a pair.

    Parameters
    ----------
    channels
        Channels of each level; the first level has half the resolution of the input, each
        further one half of the previous one.
    reach
        Maximum velocity component of one pass, in voxels of the output grid.
    passes
        Number of passes; from the second pass on the input is warped to half-way space by the
        current velocities (`halfway`), and the prediction is added to them.
    """

    def __init__(
        self, channels: Sequence[int] = (16, 32, 48, 64), reach: float = 16.0, passes: int = 1
    ) -> None:
        super().__init__()
        with MONAI_IMPORTS:
            from monai.networks.blocks import Convolution

        def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
            block: nn.Module = Convolution(
                3, inputs, outputs, strides=stride, kernel_size=3, norm=None,
                act=("leakyrelu", {"negative_slope": 0.2}), bias=True,
            )  # fmt: skip
            return block

        self.multiple, self.reach, self.passes = 2 ** len(channels), reach, passes
        inputs = (2, *channels[:-1])
        self.encoder = nn.ModuleList(
            nn.Sequential(convolution(i, o, stride=2), convolution(o, o))
            for i, o in zip(inputs, channels, strict=True)
        )
        pairs = list(itertools.pairwise(channels))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose3d(low, high, 2, stride=2) for high, low in pairs)
        self.decoder = nn.ModuleList(
            nn.Sequential(convolution(2 * high, high), convolution(high, high)) for high, _ in pairs
        )
        first = channels[0]
        self.heads = nn.ModuleList(
            nn.Sequential(convolution(first, first), nn.Conv3d(first, 3, 3, padding=1, bias=False))
            for _ in range(2)
        )
        for head in self.heads:  # nearly no initial motion
            nn.init.normal_(head[1].weight, std=1e-3)  # type: ignore[index]

    def forward(self, fixed: torch.Tensor, moving: torch.Tensor) -> torch.Tensor:
        """Predict velocities.

        Parameters
        ----------
        fixed, moving
            (n, 1, z, y, x), 0 to 1, each size a multiple of ``multiple``.

        Returns
        -------
        Tensor
            (n, 2, 3, z/2, y/2, x/2) of the fixed and the moving image, in voxels of this
            half-resolution grid.
        """
        features = torch.cat([fixed, moving], dim=1)
        levels = []
        for block in self.encoder:
            features = block(features)
            levels.append(features)
        for up, block, skip in zip(self.up, self.decoder, levels[-2::-1], strict=True):
            features = block(torch.cat([up(features), skip], dim=1))
        raw = torch.stack([head(features).float() for head in self.heads], dim=1)
        return nn.functional.softsign(raw) * self.reach


def build_symnet(config: Mapping[str, Any]) -> SymNet:
    """Build the network described by a bundle's metadata, with randomly initialized weights.

    Raises
    ------
    ModelError
        If the description is not of a `SymNet`, or a value is invalid.
    """
    if config.get("name") != "SymNet" or set(config) - _KEYS:
        raise ModelError(
            f"the network {config.get('name')!r} is not a supported registration network"
        )
    channels, reach = config.get("channels"), config.get("reach", 16.0)
    passes = config.get("passes", 1)
    if not (
        isinstance(channels, Sequence)
        and 2 <= len(channels) <= 6
        and all(isinstance(c, int) and 1 <= c <= 512 for c in channels)
        and isinstance(reach, int | float)
        and 0 < reach <= 1000
        and isinstance(passes, int)
        and 1 <= passes <= 16
    ):
        raise ModelError(
            "a registration network needs channels for 2 to 6 levels, a reach above 0 and 1 to 16 "
            "passes; the model's metadata is damaged"
        )
    return SymNet(tuple(channels), float(reach), passes)


def load_symnet(model: str | os.PathLike[str] = DEFAULT_MODEL) -> tuple[SymNet, ModelCard]:
    """Return a shipped registration network, or that of a bundle folder, and its card.

    Raises
    ------
    ModelError
        If no model has this name, or its files are missing, damaged or of another kind.
    """
    card = find_card(model, REGISTRATION)
    with reading_metadata(card.path):
        net = build_symnet(card.metadata.get("network", {}))
    return fitted(net, load_state(card), card), card


def network_grid(net: SymNet, shape: Shape, shrink_by: int = 2) -> Shape:
    """Return the network's input grid for volumes of a shape, a multiple of its stride."""
    m = net.multiple
    z, y, x = (max(m, round(n / shrink_by / m) * m) for n in shape)
    return z, y, x


def pass_grids(net: SymNet, shape: Shape, shrink_by: int = 2) -> list[Shape]:
    """Return the input grids of the network's passes, in order.

    The first is coarser by two, where large motions are small; then follows the network's own
    grid, as often as in training; the last is finer by two, if the volume is small enough.

    Parameters
    ----------
    net
        The network; one trained for a single pass uses only its own grid.
    shape
        Shape (z, y, x) of the pair's grid.
    shrink_by
        Downsampling factor from the pair's grid to the network's own grid.
    """
    own = [network_grid(net, shape, shrink_by)] * net.passes
    if net.passes == 1:
        return own
    coarse, fine = [], []
    if min(shape) >= 2 * shrink_by * net.multiple:
        coarse = [network_grid(net, shape, 2 * shrink_by)]
    if shrink_by > 1 and np.prod(shape) * (2 / shrink_by) ** 3 <= _FINE_VOXELS:
        fine = [network_grid(net, shape, shrink_by // 2)]
    return coarse + own + fine


def halfway(pair: torch.Tensor, velocities: torch.Tensor, squarings: int = 5) -> torch.Tensor:
    """Warp both images to half-way space.

    Parameters
    ----------
    pair
        (2, 1, z, y, x), fixed and moving.
    velocities
        (2, 3, ...) on a grid with the same corner voxels, in its voxels.
    squarings
        As for `exponential`.
    """
    grid = (pair.shape[2], pair.shape[3], pair.shape[4])
    return warp(pair, resize_field(exponential(velocities, squarings), grid))


@torch.no_grad()
def predict(
    net: SymNet, fixed: torch.Tensor, moving: torch.Tensor, shape: Shape, shrink_by: int = 2
) -> torch.Tensor:
    """Predict the velocities of a pair, consistently for both orders of the images.

    A convolutional network is not symmetric in its two channels; the predictions for both orders
    are averaged, so that exchanging the images exchanges the velocities.

    Parameters
    ----------
    net
        The network.
    fixed, moving
        (1, 1, z, y, x), 0 to 1, on one grid.
    shape
        Grid of the returned velocities.
    shrink_by
        Downsampling factor from the pair's grid to the network's.

    Returns
    -------
    Tensor
        (2, 3, *shape), in voxels of that grid.
    """
    grids = pass_grids(net, (fixed.shape[2], fixed.shape[3], fixed.shape[4]), shrink_by)
    images, finer = {}, torch.cat([fixed, moving])
    for grid in sorted(set(grids), reverse=True):  # each from the next finer one, for speed
        images[grid] = finer = shrink(finer, grid)
    velocities = None
    for grid in grids:
        pair = images[grid]
        if velocities is None:
            velocities = _both_orders(net, pair)
            continue
        z, y, x = grid
        velocities = resize_field(velocities, (z // 2, y // 2, x // 2))
        velocities = velocities + _both_orders(net, halfway(pair, velocities))
    assert velocities is not None
    return resize_field(velocities, shape)


def _both_orders(net: SymNet, pair: torch.Tensor) -> torch.Tensor:
    kind = pair.device.type
    # matrix instructions of the CPU for bfloat16 are three times as fast
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    half = kind == "cuda" or (kind == "cpu" and bool(amx()))
    with torch.autocast(kind, torch.bfloat16, enabled=half):
        both = net(pair, pair.flip(0))
    return (both[0] + both[1].flip(0)) / 2
