"""A toy model that predicts (a*, b*) directly, from a slice and its neighbors (2.5D)."""

from __future__ import annotations

import numpy as np

from tomochrome.bundles import ModelCard, load_arrays
from tomochrome.colorization import register_kind
from tomochrome.colorization.grid_predictor import GridPredictor
from tomochrome.colorization.inputs import Channel, InputSpec


@register_kind("toy-colors")
class ToyColors(GridPredictor):
    """Colors along a line from black to white; a guess where the neighbors differ."""

    reads = InputSpec(2.0, 3.0, tuple(Channel(40, 400, mm) for mm in (0.0, -6.0, 6.0)))

    def __init__(self, card: ModelCard, *, device: str = "auto", batch: int | None = None) -> None:
        super().__init__(card, device=device, batch=batch)
        self.black, self.white = load_arrays(card)["line"]

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        here, below, above = np.moveaxis(inputs, 1, 0)
        ab = self.black + here[..., None] * (self.white - self.black)
        return np.concatenate([ab, 1 - abs(above - below)[..., None]], axis=-1)
