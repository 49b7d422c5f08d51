"""Networks that predict (a*, b*) directly, after published colorization methods.

In addition to ``network`` and ``input``, the metadata of such a bundle contain ``head`` (see
`color_heads.make_head`), a ``temperature`` and a ``max_confidence`` for its confidences; the
weights may contain ``grey_levels``, (levels,), to which input luminances are quantized, and must
contain ``confidences``, (cells, cells), for a head that needs this table. For a network with a
latent code (`color_networks.BigColor`), ``condition`` defines the code, for example
``{"seed": 3, "region": "thorax"}``; see `ColorNetwork.condition`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import ModelCard
from tomochrome.colorization.cards import max_confidence, temperature
from tomochrome.colorization.predictor import register_kind
from tomochrome.colorization.quantize import checked_levels, quantize
from tomochrome.colorization.torch_predictor import TorchPredictor
from tomochrome.errors import ModelError

if TYPE_CHECKING:
    import torch

GREY_LEVELS = "grey_levels"
CONFIDENCES = "confidences"


@register_kind("color-network")
class ColorNetwork(TorchPredictor):
    """The `Predictor` for networks that predict color."""

    names_tissues: ClassVar[bool] = False
    arrays: ClassVar[tuple[str, ...]] = (GREY_LEVELS, CONFIDENCES)

    def __init__(self, card: ModelCard, *, device: str = "auto", batch: int | None = None) -> None:
        from tomochrome.colorization.color_heads import TableHead, make_head

        super().__init__(card, device=device, batch=batch)
        description = card.metadata.get("head")
        if not isinstance(description, dict):
            raise ModelError(f"the metadata of the model '{card.name}' has no color head")
        self._head = make_head(description)
        self._head.temperature = temperature(card)
        self._head.max_confidence = max_confidence(card)
        self.stride = int(getattr(self.module, "output_stride", 1))
        if self.stride > 1:
            self.smoothing = 0.0  # of wide pixels would mix the colors of neighboring organs
        outputs = card.metadata["network"].get("out_channels")
        if outputs != self._head.channels:
            raise ModelError(
                f"the network of the model '{card.name}' has {outputs} outputs, but its color "
                f"head needs {self._head.channels}; its metadata is damaged"
            )
        if isinstance(self._head, TableHead):
            self._head.load(self.extra.get(CONFIDENCES, np.empty(0)), card.name)
        stored = self.extra.get(GREY_LEVELS)
        self._levels = None if stored is None else checked_levels(stored, card.name)
        condition = card.metadata.get("condition")
        if condition is not None:
            if not isinstance(condition, dict) or not condition.keys() <= {"seed", "region"}:
                raise ModelError(
                    f"the 'condition' of the model '{card.name}' may contain only 'seed' and "
                    "'region'"
                )
            self.condition(**condition)

    def condition(self, seed: int | None = None, region: str = "unknown") -> None:
        """Set the latent code and the class of a conditional network.

        Parameters
        ----------
        seed
            Seed for drawing the code from a normal distribution; None for the code 0, the mean
            coloring.
        region
            Body region, one of `color_networks.REGIONS`.

        Raises
        ------
        ModelError
            If the network has no latent code, or the seed or region is invalid.
        """
        import torch

        from tomochrome.colorization.color_networks import REGIONS, BigColor

        if not isinstance(self.module, BigColor):
            raise ModelError(
                f"the model '{self.card.name}' has no latent code: it has only one coloring"
            )
        if region not in REGIONS:
            raise ModelError(f"{region!r} is not a region; choose from {', '.join(REGIONS)}")
        size = len(self.module.code)
        code = np.zeros(size)
        if seed is not None:
            if not isinstance(seed, int) or seed < 0:
                raise ModelError(f"the seed must be a nonnegative integer, not {seed!r}")
            code = np.random.default_rng(seed).standard_normal(size)
        self.module.code.copy_(torch.from_numpy(code))
        self.module.region = REGIONS.index(region)

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on luminances, quantized if the model has grey levels."""
        return super().predict(inputs if self._levels is None else quantize(inputs, self._levels))

    def head(self, raw: torch.Tensor) -> torch.Tensor:
        """Return a*, b* and the confidence: the probability of an error below `CLOSE`."""
        import torch

        raw = raw.float()
        colors = torch.cat([self._head.colors(raw), self._head.confidence(raw)], dim=1)
        return colors.movedim(1, -1)
