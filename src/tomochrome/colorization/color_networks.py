"""Published network architectures that predict color.

Each maps float (n, in_channels, y, x) to (n, out_channels, y / output_stride, x / output_stride);
a head defines the meaning of the channels, see `tomochrome.colorization.color_heads`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from tomochrome.bundles.monai_imports import MONAI_IMPORTS


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
    with MONAI_IMPORTS:
        from monai.networks.nets import BasicUNet

    way = "deconv" if upsampling == "transposed" else "nontrainable"
    network = BasicUNet(2, in_channels, out_channels, features, norm="batch", upsample=way)
    for module in network.modules():
        if isinstance(module, nn.Upsample):
            module.mode = upsampling
            module.align_corners = False if upsampling == "bilinear" else None
    return network
