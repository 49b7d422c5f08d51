"""Networks that find and fill defects of axial slices, and their input.

`MaskedUNet` predicts what a filling without a network lacks. `TranslationVAE` is the way of Wan et
al., "Bringing Old Photos Back to Life" (CVPR 2020): one variational autoencoder for damaged slices,
real and simulated, one for clean slices, and a mapping between their latent spaces. None has
normalization layers, which would lose the scale of HU; half the resolution is reached without loss
(pixel unshuffle, as in Zhang, Zuo and Zhang, "FFDNet", IEEE TIP 2018).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from tomochrome.errors import ModelError
from tomochrome.restoration.defects import KINDS, WHOLE, Part, code_of

SOFT: Final = (40.0, 200.0)  #: HU at 0, and HU per unit, of soft tissue
WIDE: Final = (0.0, 1000.0)  #: the same for all HU
STEP_HU: Final = 100.0  #: HU per unit of a network's output
NEIGHBORS: Final = (-2, -1, 1, 2)  #: slices beside the slice to fill
FILLER_CHANNELS: Final = 4 + len(NEIGHBORS) + 1 + len(KINDS)
FINDER_CHANNELS: Final = 5
MULTIPLE: Final = 16  #: of the rows and columns of an input
_MAX_SOFT: Final = 2.0
_MIN_WIDE: Final = -1.1
_MAX_WIDE: Final = 3.1
_MAX_CHANNELS: Final = 512


Hu = TypeVar("Hu", NDArray[Any], torch.Tensor)


def soft(hu: Hu) -> Hu:
    """Return HU of soft tissue as float32 of -2 to 2, the rest clipped."""
    return _scaled(hu, SOFT, -_MAX_SOFT, _MAX_SOFT)


def wide(hu: Hu) -> Hu:
    """Return HU as float32 of about -1 to 3."""
    return _scaled(hu, WIDE, _MIN_WIDE, _MAX_WIDE)


def _scaled(hu: Hu, scale: tuple[float, float], low: float, high: float) -> Hu:
    if isinstance(hu, torch.Tensor):
        return ((hu - scale[0]) / scale[1]).clamp(low, high)
    values = np.asarray(hu, np.float32)
    return np.clip((values - np.float32(scale[0])) / np.float32(scale[1]), low, high)


def filler_input(
    measured: NDArray[Any],
    filled: NDArray[Any],
    code: NDArray[np.integer],
    z: int,
    part: Part = WHOLE,
) -> NDArray[np.float32]:
    """Return what a network sees to fill one slice.

    Parameters
    ----------
    measured, filled
        HU (z, y, x): as measured, and after a filling without a network.
    code
        The defects, uint8 (z, y, x), as in `DefectMap`.
    z
        The slice.
    part
        Rows and columns of it.

    Returns
    -------
    ndarray
        float32 (FILLER_CHANNELS, y, x): the filled slice (soft, wide), the measured one (soft,
        wide), the nearest `NEIGHBORS` that are not missing (soft), where a missing slice lies
        between them, and a mask of each kind.
    """
    missing = (code == code_of("missing")).all(axis=(1, 2))
    good = np.flatnonzero(~missing)
    before, after = good[good < z], good[good > z]
    nearest = []
    for offset in NEIGHBORS:
        side, k = (before[::-1], -offset - 1) if offset < 0 else (after, offset - 1)
        nearest.append(int(side[min(k, len(side) - 1)]) if len(side) else z)
    first, last = nearest[1], nearest[2]
    share = (z - first) / (last - first) if missing[z] and last > first else 0.0
    kinds, own, raw = code[z][part], filled[z][part], measured[z][part]
    return np.stack([
        soft(own), wide(own), soft(raw), wide(raw), *(soft(filled[k][part]) for k in nearest),
        np.full(kinds.shape, share, np.float32),
        *((kinds == k + 1).astype(np.float32) for k in range(len(KINDS))),
    ])  # fmt: skip


def finder_input(measured: NDArray[Any], z: int, part: Part = WHOLE) -> NDArray[np.float32]:
    """Return what a network sees to find the defects of one slice.

    Parameters
    ----------
    measured
        HU (z, y, x).
    z
        The slice.
    part
        Rows and columns of it.

    Returns
    -------
    ndarray
        float32 (FINDER_CHANNELS, y, x): the slice (soft, wide), the slice before and after (soft),
        and the distance of each pixel from the center of the slice, by which rings are told from
        anatomy.
    """
    last = len(measured) - 1
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in measured.shape[1:])
    distance = np.hypot(rows[:, None], columns) / 256
    own, before, after = (measured[k][part] for k in (z, max(z - 1, 0), min(z + 1, last)))
    return np.stack([
        soft(own), wide(own), soft(before), soft(after), distance[part].astype(np.float32)
    ])  # fmt: skip


@cache
def uses_nnpack() -> bool:
    """Return whether `Convolution` calls NNPACK, a part of torch, on this CPU.

    Torch itself calls it on phones only. With AVX-512 the usual convolution is as fast.
    """
    return (
        hasattr(torch, "_nnpack_spatial_convolution")
        and bool(torch.backends.nnpack.is_available())  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
    )


class Convolution(nn.Conv2d):
    """A convolution of 3 x 3 pixels that keeps the size of its input.

    Where `uses_nnpack`, it is evaluated by Winograd's algorithm, a network in 40 % less time: Lavin
    and Gray (2016), "Fast algorithms for convolutional neural networks", CVPR.

    Parameters
    ----------
    in_channels, out_channels
        Channels of input and output.
    dilation
        Distance in pixels of the pixels that are added.
    """

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1) -> None:
        super().__init__(in_channels, out_channels, 3, padding=dilation, dilation=dilation)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features (n, out_channels, y, x)."""
        usual = self.dilation == (1, 1) and features.dtype == self.weight.dtype == torch.float32
        on_cpu = features.device.type == "cpu" and torch.is_inference_mode_enabled()
        if usual and on_cpu and uses_nnpack():
            return torch._nnpack_spatial_convolution(features, self.weight, self.bias, [1, 1])
        return super().forward(features)


class ResidualBlock(nn.Module):
    """Two convolutions beside an identity."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = Convolution(channels, channels, dilation)
        self.second = Convolution(channels, channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape."""
        change: torch.Tensor = self.second(functional.leaky_relu(self.first(features), 0.1))
        return features + change


class PlainBlock(nn.Module):
    """Two convolutions without an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Convolution(channels, channels)
        self.second = Convolution(channels, channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape."""
        hidden = functional.leaky_relu(self.first(features), 0.1)
        return functional.leaky_relu(self.second(hidden), 0.1)


class MaskedUNet(nn.Module):
    """A U-Net of residual blocks, from half the resolution of its input on.

    Parameters
    ----------
    in_channels, out_channels
        Channels of input and output.
    widths
        Channels of each level, from fine to coarse; each further level has half the resolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int = 1, widths: Sequence[int] = (32, 64, 128, 192)
    ) -> None:
        super().__init__()
        self.head = Convolution(4 * in_channels, widths[0])
        steps = list(itertools.pairwise(widths))
        self.encoder = nn.ModuleList(ResidualBlock(n) for n in widths)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in steps)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in steps)
        self.decoder = nn.ModuleList(
            nn.Sequential(ResidualBlock(n), ResidualBlock(n)) for n in widths[:-1]
        )
        self.tail = Convolution(widths[0], 4 * out_channels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the output (n, out_channels, y, x) of images (n, in_channels, y, x)."""
        features = self.head(functional.pixel_unshuffle(images, 2))
        skipped = []
        for encode, down in zip(self.encoder, [*self.down, None], strict=True):
            features = encode(features)
            if down is not None:
                skipped.append(features)
                features = down(features)
        for k in reversed(range(len(skipped))):
            features = self.decoder[k](skipped[k] + self.up[k](features))
        return functional.pixel_shuffle(self.tail(features), 2)


class Autoencoder(nn.Module):
    """A variational autoencoder with a latent space of a quarter of the resolution.

    Parameters
    ----------
    in_channels, out_channels
        Channels of input and output.
    widths
        Channels at half and at a quarter of the resolution.
    latent
        Channels of the latent space.
    residual
        Whether its blocks are those of a ResNet.
    """

    def __init__(
        self, in_channels: int, out_channels: int, widths: tuple[int, int], latent: int,
        *, residual: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        block = ResidualBlock if residual else PlainBlock
        fine, coarse = widths
        self.encode = nn.Sequential(
            nn.PixelUnshuffle(2), Convolution(4 * in_channels, fine), block(fine),
            nn.Conv2d(fine, coarse, 2, stride=2), block(coarse), block(coarse),
            Convolution(coarse, 2 * latent),
        )  # fmt: skip
        self.decode = nn.Sequential(
            Convolution(latent, coarse), block(coarse), block(coarse),
            nn.ConvTranspose2d(coarse, fine, 2, stride=2), block(fine),
            Convolution(fine, 4 * out_channels), nn.PixelShuffle(2),
        )  # fmt: skip

    def latents(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean and the logarithm of the variance of each image's latents."""
        mean, log_variance = self.encode(images).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)


class TranslationVAE(nn.Module):
    """Two autoencoders and the mapping from damaged to clean.

    The change of a slice is the difference of both reconstructions, the clean one of the mapped
    latents and the damaged one of those before: the blur of the reconstructions cancels out.

    Parameters
    ----------
    in_channels
        Channels of `filler_input`.
    widths, latent, residual
        As for `Autoencoder`.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int] = (32, 96),
        latent: int = 24,
        *,
        residual: bool = False,
    ) -> None:
        super().__init__()
        sizes = widths[0], widths[1]
        self.damaged = Autoencoder(in_channels, 2, sizes, latent, residual=residual)
        self.clean = Autoencoder(2, 2, sizes, latent, residual=residual)
        self.mapping = nn.Sequential(
            Convolution(latent, sizes[1]),
            *(ResidualBlock(sizes[1], dilation) for dilation in (1, 2, 4, 8, 1)),
            Convolution(sizes[1], latent),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the change of the filled slice (n, 1, y, x) in units of `STEP_HU`."""
        latents = self.damaged.latents(images)[0]
        return self.change(latents, self.mapping(latents))

    def change(self, latents: torch.Tensor, mapped: torch.Tensor) -> torch.Tensor:
        """Return that change for latents (n, latent, y / 4, x / 4), damaged and mapped to clean."""
        clean = slice_hu(self.clean.decode(mapped).float())
        return (clean - slice_hu(self.damaged.decode(latents).float())) / STEP_HU


def slice_hu(images: torch.Tensor) -> torch.Tensor:
    """Return the HU (n, 1, y, x) of slices given as `soft` and `wide` (n, 2, y, x)."""
    fine, coarse = images[:, :1] * SOFT[1] + SOFT[0], images[:, 1:2] * WIDE[1] + WIDE[0]
    inside = (images[:, :1].abs() < 0.9 * _MAX_SOFT).to(images.dtype)
    return inside * fine + (1 - inside) * coarse


def build_network(config: Mapping[str, Any]) -> nn.Module:
    """Build a network of a bundle or a configuration, which is data and never evaluated.

    Raises
    ------
    ModelError
        If the name is unknown or a parameter is invalid.
    """
    widths = config.get("widths", ())
    fits = isinstance(widths, list | tuple) and 2 <= len(widths) <= 6
    if not fits or not all(isinstance(n, int) and 1 <= n <= _MAX_CHANNELS for n in widths):
        raise ModelError(
            f"the network's 'widths' must be 2 to 6 numbers from 1 to {_MAX_CHANNELS}, not "
            f"{widths!r}; the model's metadata is damaged or from another program"
        )
    match config.get("name"):
        case "MaskedUNet":
            return MaskedUNet(FILLER_CHANNELS, 1, widths)
        case "DefectUNet":
            return MaskedUNet(FINDER_CHANNELS, len(KINDS) + 1, widths)
        case "TranslationVAE":
            return TranslationVAE(FILLER_CHANNELS, widths, residual=config.get("residual") is True)
    raise ModelError(f"there is no restoration network '{config.get('name')}'")
