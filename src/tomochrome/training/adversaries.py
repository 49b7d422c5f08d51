"""A generator and its critic, which is trained with it and not shipped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from tomochrome.bundles.monai_imports import MONAI_IMPORTS

_AB_UNIT: Final = 50.0  # CIELAB units of chroma that the critic sees as 1
_RECENT: Final = 0.05


def patch_critic(windows: int, width: int) -> nn.Module:
    """Return a critic that tells true colorings of an image from generated ones, patch by patch.

    P. Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR
    2017; with spectral norms (T. Miyato et al., ICLR 2018) in the place of batch norms, which
    would hide how saturated a picture is.

    Parameters
    ----------
    windows
        Luminances of the image; a* and b* come after them.
    width
        Channels of the first layer.
    """
    with MONAI_IMPORTS:
        from monai.networks.nets import PatchDiscriminator

    critic = PatchDiscriminator(2, width, windows + 2, norm=None)
    for module in list(critic.modules()):
        if isinstance(module, nn.Conv2d):
            spectral_norm(module)
    return critic


class Adversaries(nn.Module):
    """Generator and critic, and how they stand in the adversarial part of a run.

    Parameters
    ----------
    generator
        Gives what a color head reads.
    critic
        See `patch_critic`.

    Attributes
    ----------
    right
        Recent share of patches that the critic judges rightly.
    error, before
        Recent color error in the body, and what it was before the adversarial part; 0: not known.
    """

    def __init__(self, generator: nn.Module, critic: nn.Module) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic
        self.right: torch.Tensor
        self.before: torch.Tensor
        self.error: torch.Tensor
        # buffers: a run that is resumed knows them
        for name, value in (("right", 1.0), ("before", 0.0), ("error", 0.0)):
            self.register_buffer(name, torch.tensor(value))

    def judge(
        self, images: torch.Tensor, colors: torch.Tensor, *, learn: bool
    ) -> list[torch.Tensor]:
        """Return the critic's features of a coloring, and last its judgement: above 0 is true.

        Parameters
        ----------
        images
            Luminances (n, windows, y, x).
        colors
            (a*, b*), (n, 2, y, x).
        learn
            Whether gradients reach the critic's weights.
        """
        seen = torch.cat([images, colors / _AB_UNIT], dim=1)
        seen = seen.contiguous(memory_format=torch.channels_last)
        self.critic.requires_grad_(learn)
        with torch.autocast(images.device.type, torch.bfloat16):
            found: list[torch.Tensor] = self.critic(seen)
        self.critic.requires_grad_(True)
        return [features.float() for features in found]

    def note(self, right: float, error: float, *, adversarial: bool) -> None:
        """Remember the share of right judgements and the color error of a step."""
        if not math.isfinite(error):  # no body in the batch
            return
        first = not float(self.error)
        self.error += error if first else _RECENT * (error - self.error)
        if first or not adversarial:
            self.before.copy_(self.error)
        if adversarial:
            self.right += _RECENT * (right - self.right)


def feature_loss(features: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean over layers of the difference of features, relative to those wanted."""
    parts = [
        (a - b).abs().mean() / (b.abs().mean() + 1e-6)
        for a, b in zip(features, wanted, strict=True)
    ]
    return torch.stack(parts).mean()


def hinge(on_true: torch.Tensor, on_generated: torch.Tensor) -> torch.Tensor:
    """Return the critic's loss: judgements are wanted above 1 and below -1 (Lim and Ye, 2017)."""
    return functional.relu(1 - on_true).mean() + functional.relu(1 + on_generated).mean()
