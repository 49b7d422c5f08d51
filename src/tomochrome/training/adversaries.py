"""Adversarial training: a generator and its critic (discriminator), which is not shipped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from tomochrome.bundles.monai_imports import MONAI_IMPORTS
from tomochrome.training.precision import arranged, mixed_precision

_AB_UNIT: Final = 50.0  # CIELAB units of chroma that the critic sees as 1
_RECENT: Final = 0.05


def patch_critic(windows: int, width: int) -> nn.Module:
    """Return a patch critic that distinguishes true colorings of an image from generated ones.

    P. Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR
    2017; with spectral normalization (T. Miyato et al., ICLR 2018) instead of batch normalization,
    which would hide the saturation of an image.

    Parameters
    ----------
    windows
        Number of luminance channels; a* and b* follow them.
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
    """A generator and a critic, with running statistics of their training.

    Parameters
    ----------
    generator
        Network whose output a color head decodes.
    critic
        See `patch_critic`.

    Attributes
    ----------
    right
        Running share of patches that the critic classifies correctly in the adversarial stage.
    alone
        Whether the critic learns alone in the adversarial stage, as it was fooled.
    rounds, adversarial_steps, critic_steps
        How often the critic was fooled, and the steps of both networks and of the critic alone.
    error, before
        Running color error in the body, now and before the adversarial stage; 0 if unknown.
    """

    def __init__(self, generator: nn.Module, critic: nn.Module) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic
        self.right: torch.Tensor
        self.before: torch.Tensor
        self.error: torch.Tensor
        self.alone: torch.Tensor
        self.rounds: torch.Tensor
        self.adversarial_steps: torch.Tensor
        self.critic_steps: torch.Tensor
        # buffers are saved in the checkpoint
        for name, value in (("right", 1.0), ("before", 0.0), ("error", 0.0)):
            self.register_buffer(name, torch.tensor(value))
        for name in ("alone", "rounds", "adversarial_steps", "critic_steps"):
            self.register_buffer(name, torch.tensor(0))

    def judge(
        self, images: torch.Tensor, colors: torch.Tensor, *, learn: bool
    ) -> list[torch.Tensor]:
        """Return the critic's features of a coloring, followed by its scores (above 0: true).

        Parameters
        ----------
        images
            Luminances (n, windows, y, x).
        colors
            (a*, b*), (n, 2, y, x).
        learn
            Whether to compute gradients of the critic's weights.
        """
        stacked = arranged(torch.cat([images, colors / _AB_UNIT], dim=1))
        self.critic.requires_grad_(learn)
        with mixed_precision(images.device):
            outputs: list[torch.Tensor] = self.critic(stacked)
        self.critic.requires_grad_(True)
        return [output.float() for output in outputs]

    def take_turns(self, fooled: float, recovered: float) -> None:
        """Let the critic learn alone from when it is fooled until it has recovered.

        Parameters
        ----------
        fooled, recovered
            Share of patches classified correctly below which, and above which.
        """
        if float(self.right) < fooled and not int(self.alone):
            self.alone += 1
            self.rounds += 1
        elif float(self.right) > recovered:
            self.alone.zero_()

    def note(self, right: float, error: float, *, adversarial: bool) -> None:
        """Update the running share of correct scores and the running color error after a step."""
        if not math.isfinite(error):  # no body in the batch
            return
        first = not float(self.error)
        self.error += error if first else _RECENT * (error - self.error)
        if first or not adversarial:
            self.before.copy_(self.error)
        if adversarial:
            self.right += _RECENT * (right - self.right)


def feature_loss(features: Sequence[torch.Tensor], target: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean over layers of the feature difference relative to the target features."""
    parts = [
        (a - b).abs().mean() / (b.abs().mean() + 1e-6)
        for a, b in zip(features, target, strict=True)
    ]
    return torch.stack(parts).mean()


def hinge(on_true: torch.Tensor, on_generated: torch.Tensor) -> torch.Tensor:
    """Return the critic's hinge loss, zero for scores above 1 and below -1 (Lim and Ye, 2017)."""
    return functional.relu(1 - on_true).mean() + functional.relu(1 + on_generated).mean()
