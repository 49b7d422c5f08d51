"""Generators for adversarial training: U-Nets with ResNet encoders, and `BigColor`.

Like those of `color_networks` they map float (n, in_channels, y, x) to (n, out_channels, y, x).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from tomochrome.bundles.monai_imports import MONAI_IMPORTS

LAYERS: Final = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
}
"""Block type and number of blocks per level, by the number of layers (He et al., CVPR 2016)."""
REGIONS: Final = ("unknown", "head", "thorax", "abdomen", "pelvis")
"""Classes that `BigColor` is conditioned on."""


class ResNetEncoder(nn.Module):
    """Features of a ResNet at 1/2 to 1/32 of the resolution.

    Parameters
    ----------
    in_channels
        Channels of the images.
    layers
        A key of `LAYERS`.
    widths
        Widths of the blocks at the four levels; bottleneck blocks have four times as many
        output channels.
    """

    def __init__(self, in_channels: int, layers: int, widths: Sequence[int]) -> None:
        super().__init__()
        with MONAI_IMPORTS:
            from monai.networks.nets.resnet import ResNet

        block, counts = LAYERS[layers]
        net = ResNet(
            block, list(counts), list(widths), 2, in_channels, conv1_t_stride=2, feed_forward=False
        )
        self.levels = nn.ModuleList(
            [
                nn.Sequential(net.conv1, net.bn1, nn.ReLU(inplace=True)),
                nn.Sequential(net.maxpool, net.layer1),
                net.layer2,
                net.layer3,
                net.layer4,
            ]
        )
        factor = 4 if block == "bottleneck" else 1
        #: channels of each level
        self.channels = [widths[0], *(factor * width for width in widths)]

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of each level, the finest first."""
        features = [images]
        for level in self.levels:
            features.append(level(features[-1]))
        return features[1:]


class ConditionalNorm(nn.Module):
    """Conditional batch normalization: scale and shift are computed from a condition.

    V. Dumoulin et al., "A learned representation for artistic style", ICLR 2017.

    Parameters
    ----------
    channels
        Channels of the features.
    size
        Length of the condition.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.affine = nn.Linear(size, 2 * channels)
        nn.init.normal_(self.affine.weight, std=0.02)
        nn.init.zeros_(self.affine.bias)

    def forward(self, features: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Return the normalized features; ``condition`` is (n, size)."""
        scale, shift = self.affine(condition)[..., None, None].chunk(2, dim=1)
        normed: torch.Tensor = self.norm(features)
        return normed * (1 + scale) + shift


class _PlainNorm(nn.BatchNorm2d):
    """Batch normalization that ignores the condition."""

    def forward(self, features: torch.Tensor, _: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(features)


class _Attention(nn.Module):
    """Self-attention, initialized as the identity (Zhang et al., SAGAN, ICML 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = max(1, channels // 8)
        self.reads = nn.Conv2d(channels, 2 * self.inner + channels, 1, bias=False)
        self.share = nn.Parameter(torch.zeros(1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        channels = features.shape[1]
        rows = self.reads(features).flatten(2).transpose(1, 2)
        query, key, value = rows.split([self.inner, self.inner, channels], dim=2)
        seen = functional.scaled_dot_product_attention(query, key, value)
        return features + self.share * seen.transpose(1, 2).reshape_as(features)


class _Up(nn.Module):
    """A decoder level: upsampled coarser features and the encoder's skip features."""

    def __init__(self, below: int, beside: int, channels: int, condition: int) -> None:
        super().__init__()
        widths = (below + beside, channels), (channels, channels)
        self.convolutions = nn.ModuleList([nn.Conv2d(*w, 3, 1, 1, bias=False) for w in widths])
        self.norms = nn.ModuleList(
            ConditionalNorm(channels, condition) if condition else _PlainNorm(channels)
            for _ in widths
        )

    def forward(
        self, below: torch.Tensor, beside: torch.Tensor, condition: torch.Tensor | None
    ) -> torch.Tensor:
        raised = functional.interpolate(below, scale_factor=2.0, mode="nearest")
        features = torch.cat([raised, beside], dim=1)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            features = functional.relu(norm(convolution(features), condition), inplace=True)
        return features


class DynamicUNet(nn.Module):
    """A U-Net with a ResNet encoder and self-attention at 1/16 of the resolution.

    The generator of DeOldify (J. Antic, 2018), without pretrained weights.

    Parameters
    ----------
    in_channels, out_channels
        Input and output channels.
    layers, widths
        As for `ResNetEncoder`.
    decoder
        Channels of the decoder's five levels, the coarsest first.
    condition
        Length of the condition of the decoder's normalization layers; 0 for none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        layers: int,
        widths: Sequence[int],
        decoder: Sequence[int],
        condition: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = ResNetEncoder(in_channels, layers, widths)
        below = [self.encoder.channels[-1], *decoder]
        beside = [*self.encoder.channels[-2::-1], in_channels]
        self.decoder = nn.ModuleList(
            _Up(*parts, condition) for parts in zip(below, beside, decoder, strict=False)
        )
        self.attention = _Attention(decoder[0])
        self.colors = nn.Conv2d(decoder[-1], out_channels, 1)
        nn.init.normal_(self.colors.weight, std=1e-3)  # initially grey
        nn.init.zeros_(self.colors.bias)  # type: ignore[arg-type]

    def forward(self, images: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """Return the input of the color head, (n, out_channels, y, x)."""
        *finer, features = self.encoder(images)
        for level, beside in zip(self.decoder, [*finer[::-1], images], strict=True):
            features = level(features, beside, condition)
            if level is self.decoder[0]:
                features = self.attention(features)
        colors: torch.Tensor = self.colors(features)
        return colors


class BigColor(nn.Module):
    """A U-Net whose normalization layers are conditioned on a latent code and a class.

    After G. Kim et al., "BigColor", ECCV 2022, whose generator is a BigGAN pretrained on
    photographs; this one is randomly initialized and has skip connections.

    Parameters
    ----------
    latent
        Length of the latent code z; different codes give different plausible colorings.
    unet
        Arguments of the `DynamicUNet`, except its ``condition``.

    Attributes
    ----------
    code
        (latent,), the default code; initially 0, the mean coloring.
    region
        The default class, an index into `REGIONS`.
    """

    def __init__(self, latent: int, **unet: Any) -> None:
        super().__init__()
        self.code: torch.Tensor
        self.register_buffer("code", torch.zeros(latent), persistent=False)
        self.region = 0
        self.regions = nn.Embedding(len(REGIONS), latent)
        self.generator = DynamicUNet(**unet, condition=2 * latent)

    def forward(
        self,
        images: torch.Tensor,
        codes: torch.Tensor | None = None,
        regions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the input of the head; ``codes`` are (n, latent), ``regions`` int64 (n,)."""
        count = len(images)
        if codes is None:
            codes = self.code.expand(count, -1)
        if regions is None:
            regions = torch.full((count,), self.region, device=images.device)
        condition = torch.cat([codes.to(images.dtype), self.regions(regions)], dim=1)
        colors: torch.Tensor = self.generator(images, condition)
        return colors
