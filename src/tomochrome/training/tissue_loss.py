"""The loss of tissue networks, for slices or blocks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

AB_UNIT = 10.0
"""Scale of the chroma error in CIELAB units."""
AIR_SHARE = 0.125
"""Share of the air voxels that the loss samples."""


class TissueLoss(torch.nn.Module):
    """Weighted cross-entropy plus the error of the expected chroma under a palette.

    Parameters
    ----------
    weights
        Class weights (classes,).
    ab
        (a*, b*) of the palette (classes, 2).
    ab_weight
        Weight of the chroma error.
    share
        Share of the voxels that are sampled each time, as neighbors in a block are redundant.
    """

    def __init__(
        self,
        weights: NDArray[np.float32],
        ab: NDArray[np.float32],
        ab_weight: float,
        share: float = 1.0,
    ) -> None:
        super().__init__()
        self.weights: torch.Tensor
        self.ab: torch.Tensor
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))
        self.register_buffer("ab", torch.tensor(ab, dtype=torch.float32))
        self.ab_weight, self.share = ab_weight, share

    def forward(
        self, logits: torch.Tensor, target: torch.Tensor, voxel_weights: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the loss and its two parts: cross-entropy, mean chroma error in CIELAB units.

        Parameters
        ----------
        logits
            (n, classes, [z,] y, x).
        target
            int64 (n, [z,] y, x).
        voxel_weights
            Weights by which those of the classes are multiplied, shape of ``target``; voxels of
            weight 0 are left out.
        """
        rows = logits.movedim(1, -1).reshape(-1, logits.shape[1])
        names = target.reshape(-1)
        # most of an image is air around the body, which needs fewer samples
        kept = (names > 0) | (torch.rand(names.shape, device=names.device) < AIR_SHARE)
        if self.share < 1:
            kept &= torch.rand(names.shape, device=names.device) < self.share
        if voxel_weights is not None:
            kept &= voxel_weights.reshape(-1) > 0
        rows, names = rows[kept].float(), names[kept]
        weight = self.weights[names]
        if voxel_weights is not None:
            weight = weight * voxel_weights.reshape(-1)[kept]
        total = weight.sum()
        logp = functional.log_softmax(rows, dim=1)
        entropy = -(logp.gather(1, names[:, None])[:, 0] * weight).sum() / total
        difference = logp.exp() @ self.ab - self.ab[names]
        error = (difference.square().sum(1) + 1e-2).sqrt()
        chroma = (error * weight).sum() / total
        return entropy + self.ab_weight / AB_UNIT * chroma, entropy, chroma
