"""Network architectures that predict color, published ones and generators for adversarial training.

Each maps float (n, in_channels, y, x) to (n, out_channels, y / output_stride, x / output_stride);
a head defines the meaning of the channels, see `tomochrome.colorization.color_heads`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import torch
from torch import nn
from torch.nn import functional

from tomochrome.bundles.monai_imports import MONAI_IMPORTS

with MONAI_IMPORTS:
    from monai.networks.nets import BasicUNet
    from monai.networks.nets.resnet import ResNet

LAYERS: Final = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
}
"""Block type and number of blocks per level, by the number of layers (He et al., CVPR 2016)."""
REGIONS: Final = ("unknown", "head", "thorax", "abdomen", "pelvis")
"""Classes that `BigColor` is conditioned on."""


def _kaiming(module: nn.Module) -> None:
    """Initialize weights of layers followed by a ReLU (He et al., ICCV 2015)."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Scim(nn.Sequential):
    """An encoder of 3x3 convolutions with alternating strides, and an upsampling decoder.

    The encoder ends at H/8 x W/8 with 512 channels; the last upsampling follows the output layer.
    The network of the SCIM thesis, with 3,896,530 parameters for one luminance and two outputs. Its
    last activation is applied by the head, which gives the same, as the upsampling repeats pixels.

    Parameters
    ----------
    in_channels, out_channels
        Input and output channels.
    """

    output_stride: ClassVar[int] = 1

    def __init__(self, in_channels: int, out_channels: int) -> None:
        encoder = ((64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1))
        decoder = ((256, 1), (128, 2), (64, 2), (32, 1), (16, 1))  # and upsampling
        layers: list[nn.Module] = []
        last = in_channels
        for channels, stride in encoder:
            layers += [nn.Conv2d(last, channels, 3, stride, 1), nn.ReLU(inplace=True)]
            last = channels
        for channels, scale in decoder:
            layers += [nn.Conv2d(last, channels, 3, 1, 1), nn.ReLU(inplace=True)]
            layers += [nn.Upsample(scale_factor=2)] if scale == 2 else []
            last = channels
        colors = nn.Conv2d(last, out_channels, 3, 1, 1)
        super().__init__(*layers, colors, nn.Upsample(scale_factor=2))
        self.apply(_kaiming)
        nn.init.normal_(colors.weight, std=1e-3)  # initially grey, no activation is saturated


class Zhang(nn.Module):
    """Blocks of convolutions down to H/8, two of them dilated, and color bins at H/4.

    R. Zhang, P. Isola, A. A. Efros, "Colorful Image Colorization", ECCV 2016, with configurable
    width.

    Parameters
    ----------
    in_channels, out_channels
        Input and output channels; one output channel for each color bin.
    width
        Channels of the first block; 64 in the paper.
    """

    output_stride: ClassVar[int] = 4

    def __init__(self, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        # channels of a block's layers, stride of the last one, dilation
        blocks = ((1, 2, 2, 1), (2, 2, 2, 1), (4, 3, 2, 1), (8, 3, 1, 1), (8, 3, 1, 2),
                  (8, 3, 1, 2), (8, 3, 1, 1))  # fmt: skip
        layers: list[nn.Module] = []
        last = in_channels
        for factor, count, stride, dilation in blocks:
            for k in range(count):
                step = stride if k == count - 1 else 1
                layers += [
                    nn.Conv2d(last, factor * width, 3, step, dilation, dilation),
                    nn.ReLU(inplace=True),
                ]
                last = factor * width
            layers.append(nn.BatchNorm2d(last))
        layers += [nn.ConvTranspose2d(last, 4 * width, 4, 2, 1), nn.ReLU(inplace=True)]
        for _ in range(2):
            layers += [nn.Conv2d(4 * width, 4 * width, 3, 1, 1), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.bins = nn.Conv2d(4 * width, out_channels, 1)
        self.features.apply(_kaiming)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return a logit for each bin, (n, out_channels, y / 4, x / 4)."""
        logits: torch.Tensor = self.bins(self.features(images))
        return logits


def color_unet(
    in_channels: int, out_channels: int, features: list[int], upsampling: str
) -> nn.Module:
    """Return MONAI's `BasicUNet`, upsampling by interpolation or by transposed convolutions.

    Parameters
    ----------
    in_channels, out_channels
        Input and output channels.
    features
        Channels of the five levels and of the last block: six numbers.
    upsampling
        ``"bilinear"``, ``"nearest"`` or ``"transposed"``.
    """
    way = "deconv" if upsampling == "transposed" else "nontrainable"
    network = BasicUNet(2, in_channels, out_channels, features, norm="batch", upsample=way)
    for module in network.modules():
        if isinstance(module, nn.Upsample):
            module.mode = upsampling
            module.align_corners = False if upsampling == "bilinear" else None
    return network


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
