"""A toy 3D network: a torch network that predicts (a*, b*) in overlapping blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tomochrome.colorization import register_kind
from tomochrome.colorization.torch_predictor import TorchPredictor

if TYPE_CHECKING:
    import torch


@register_kind("toy-blocks")
class ToyBlocks(TorchPredictor):
    """The 3D network of the metadata; its outputs are converted to a*, b* and a confidence."""

    def head(self, raw: torch.Tensor) -> torch.Tensor:
        import torch

        a, b, sure = raw.float().unbind(1)
        return torch.stack([80 * a.tanh(), 80 * b.tanh(), sure.sigmoid()], dim=-1)
