"""A U-Net of slices whose guess a 3D U-Net corrects: the network of blocks that starts well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import nn

_SLICES_AT_ONCE = 8
_HIDDEN = 32


class CascadeUNet(nn.Module):
    """Two networks in a row: of each slice with its neighbours, then of the block.

    The 3D network reads the block's luminances and the probabilities that the first network gives
    each of its voxels. From its features and what it has read two layers make, voxel by voxel, what
    is added to the first one's logits. It begins at zero: before any training the cascade says what
    the first network says. Only what follows the first network is trained (Isensee et al.,
    "nnU-Net", Nat. Methods 2021, cascade two networks of 3D resolutions in this way).

    Parameters
    ----------
    planar
        Network of slices, (n, planes, y, x) to logits (n, classes, y, x).
    solid
        Network of blocks, (n, channels + classes, z, y, x) to features (n, features, z, y, x).
    channels, features, classes
        Of the block, ``solid`` and ``planar``.
    planes
        What ``planar`` reads: for each of its channels a channel of the block, and how many slices
        above the slice. Beyond the block its first and last slice are repeated.
    multiple
        What height and width of ``planar``'s input must be a multiple of: the block is padded.
    """

    def __init__(
        self,
        planar: nn.Module,
        solid: nn.Module,
        channels: int,
        features: int,
        classes: int,
        planes: Sequence[Sequence[int]],
        multiple: int,
    ) -> None:
        super().__init__()
        self.planar, self.solid = planar.requires_grad_(False), solid
        self.around, self.here = (nn.Conv3d(n, _HIDDEN, 1) for n in (features, channels + classes))
        self.correct = nn.Conv3d(_HIDDEN, classes, 1)
        for weight in self.correct.parameters():
            nn.init.zeros_(weight)
        self.multiple = multiple
        self.planes = [(int(channel), int(offset)) for channel, offset in planes]

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the 3D network; that of slices only ever predicts."""
        super().train(mode)
        self.planar.eval()
        return self

    def forward(self, block: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes, z, y, x) of luminances (n, channels, z, y, x)."""
        with torch.no_grad():
            first = torch.stack([self._slices(part) for part in block])  # the classes last
            guess = torch.cat([block.movedim(1, -1), first.softmax(-1).to(block.dtype)], -1)
            guess = guess.movedim(-1, 1)
        hidden = self.around(self.solid(guess)) + self.here(guess)
        change: torch.Tensor = self.correct(nn.functional.leaky_relu(hidden, inplace=True))
        return first.movedim(-1, 1) + change

    def _slices(self, block: torch.Tensor) -> torch.Tensor:
        """Return what the network of slices says of one block: logits (z, y, x, classes)."""
        place = torch.arange(block.shape[1], device=block.device)
        stack = [
            block[channel, (place + up).clamp(0, len(place) - 1)] for channel, up in self.planes
        ]
        images = torch.stack(stack, 1)
        height, width = images.shape[2:]
        images = nn.functional.pad(images, (0, -width % self.multiple, 0, -height % self.multiple))
        images = images.contiguous(memory_format=torch.channels_last)
        parts = [self.planar(part).movedim(1, -1) for part in images.split(_SLICES_AT_ONCE)]
        return torch.cat(parts)[:, :height, :width]
