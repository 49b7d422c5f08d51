"""Networks that predict (a*, b*) directly: the ways of coloring this project grew out of.

Beside ``network`` and ``input`` the metadata of such a bundle hold ``head`` (see
`color_heads.make_head`) and a ``temperature`` of its confidences; the weights may hold
``grey_levels``, (levels,), to which luminances are quantized before the network sees them. A
network with a code (`gan_networks.BigColor`) takes that of ``condition``, for example
``{"seed": 3, "region": "thorax"}``; see `ColorNetwork.condition`.
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
        self.stride = int(getattr(self.module, "output_stride", 1))
        outputs = card.metadata["network"].get("out_channels")
        if outputs != self._head.channels:
            raise ModelError(
                f"the network of the model '{card.name}' has {outputs} outputs where its color "
                f"head reads {self._head.channels}; its metadata is damaged"
            )
        stored = self.extra.get(GREY_LEVELS)
        self._levels = None if stored is None else checked_levels(stored, card.name)
        condition = card.metadata.get("condition")
        if condition is not None:
            if not isinstance(condition, dict) or not condition.keys() <= {"seed", "region"}:
                raise ModelError(
                    f"the 'condition' of the model '{card.name}' must hold 'seed' and 'region'"
                )
            self.condition(**condition)

    def condition(self, seed: int | None = None, region: str = "unknown") -> None:
        """Choose one of the colorings that a network with a code z and a class gives.

        Parameters
        ----------
        seed
            Draws the code from a normal distribution; None is the code 0: the mean coloring.
        region
            Class of what is shown, one of `gan_networks.REGIONS`.

        Raises
        ------
        ModelError
            If the network has no code, or there is no such seed or region.
        """
        import torch

        from tomochrome.colorization.gan_networks import REGIONS, BigColor

        if not isinstance(self.module, BigColor):
            raise ModelError(
                f"the model '{self.card.name}' gives one coloring only: it has no code"
            )
        if region not in REGIONS:
            raise ModelError(f"{region!r} is no region; choose from {', '.join(REGIONS)}")
        size = len(self.module.code)
        code = np.zeros(size)
        if seed is not None:
            if not isinstance(seed, int) or seed < 0:
                raise ModelError(f"the seed of a coloring must be a whole number, not {seed!r}")
            code = np.random.default_rng(seed).standard_normal(size)
        self.module.code.copy_(torch.from_numpy(code))
        self.module.region = REGIONS.index(region)

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on luminances, quantized first where the model wants that."""
        return super().predict(inputs if self._levels is None else quantize(inputs, self._levels))

    def head(self, raw: torch.Tensor) -> torch.Tensor:
        """Return a*, b* and the probability that they are close to the truth."""
        import torch

        raw = raw.float()
        colors = torch.cat([self._head.colors(raw), self._head.confidence(raw)], dim=1)
        return colors.movedim(1, -1)
