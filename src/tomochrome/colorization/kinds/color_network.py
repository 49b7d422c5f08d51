"""Networks that predict (a*, b*) directly: the ways of coloring this project grew out of.

Beside ``network`` and ``input`` the metadata of such a bundle hold ``head`` (see
`color_heads.make_head`) and a ``temperature`` of its confidences; the weights may hold
``grey_levels``, (levels,), to which luminances are quantized before the network sees them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import ModelCard
from tomochrome.colorization.cards import temperature
from tomochrome.colorization.predictor import register_kind
from tomochrome.colorization.quantize import checked_levels, quantize
from tomochrome.colorization.torch_predictor import TorchPredictor
from tomochrome.errors import ModelError

if TYPE_CHECKING:
    import torch

GREY_LEVELS = "grey_levels"


@register_kind("color-network")
class ColorNetwork(TorchPredictor):
    """The `Predictor` of this kind."""

    names_tissues: ClassVar[bool] = False
    arrays: ClassVar[tuple[str, ...]] = (GREY_LEVELS,)

    def __init__(self, card: ModelCard, *, device: str = "auto", batch: int | None = None) -> None:
        from tomochrome.colorization.color_heads import make_head

        super().__init__(card, device=device, batch=batch)
        description = card.metadata.get("head")
        if not isinstance(description, dict):
            raise ModelError(f"the metadata of the model '{card.name}' describes no color head")
        self._head = make_head(description)
        self._head.temperature = temperature(card)
        outputs = card.metadata["network"].get("out_channels")
        if outputs != self._head.channels:
            raise ModelError(
                f"the network of the model '{card.name}' has {outputs} outputs where its color "
                f"head reads {self._head.channels}; its metadata is damaged"
            )
        stored = self.extra.get(GREY_LEVELS)
        self._levels = None if stored is None else checked_levels(stored, card.name)

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on luminances, quantized first where the model wants that."""
        return super().predict(inputs if self._levels is None else quantize(inputs, self._levels))

    def head(self, raw: torch.Tensor) -> torch.Tensor:
        """Return a*, b* and the probability that they are close to the truth."""
        import torch
        from torch.nn import functional

        raw = raw.float()
        colors = torch.cat([self._head.colors(raw), self._head.confidence(raw)], dim=1)
        stride = int(getattr(self.module, "output_stride", 1))
        if stride > 1:
            colors = functional.interpolate(colors, scale_factor=stride, mode="bilinear")
        return colors.movedim(1, -1)
