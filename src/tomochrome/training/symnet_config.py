"""What a training run of the registration network is told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from tomochrome.errors import OptionError
from tomochrome.training.config import PhantomPlan, read_json


@dataclass(frozen=True)
class SymNetConfig:
    """One training run of `tomochrome.registration.symnet.SymNet`.

    Parameters
    ----------
    name
        Name of the model, also of its bundle.
    network
        What `tomochrome.registration.symnet.build_symnet` builds.
    minutes
        Wall-clock budget; the learning rate falls along a cosine over it.
    batch, shape
        Pairs a step, and the grid of the network's input (z, y, x).
    learning_rate, ema
        AdamW's, and the decay of the running mean of the weights that is shipped.
    squarings
        Squarings of each integration while training.
    sizes
        Range of the mean length of the random velocities, in voxels of half the grid.
    truth, roughness, imbalance, folds
        Weights of the losses beside local correlation.
    seed
        Seed of everything drawn.
    phantoms
        The phantom patients.
    """

    name: str
    network: Mapping[str, Any]
    minutes: float = 60.0
    batch: int = 1
    shape: tuple[int, int, int] = (64, 80, 96)
    learning_rate: float = 1e-3
    ema: float = 0.99
    squarings: int = 5
    sizes: tuple[float, float] = (0.2, 1.6)
    truth: float = 0.5
    roughness: float = 0.5
    imbalance: float = 0.01
    folds: float = 1.0
    seed: int = 1
    phantoms: PhantomPlan = field(default_factory=PhantomPlan)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        plan = {f.name: getattr(self.phantoms, f.name) for f in fields(self.phantoms)}
        plan["spacing"], plan["regions"] = list(plan["spacing"]), dict(plan["regions"])
        return {
            **data,
            "network": dict(self.network),
            "shape": list(self.shape),
            "sizes": list(self.sizes),
            "phantoms": plan,
        }


def load_symnet_config(
    source: str | os.PathLike[str] | Mapping[str, Any],
) -> SymNetConfig:
    """Read a configuration: a shipped one by name, a JSON file, or a mapping.

    Raises
    ------
    OptionError
        If it is not found, is not JSON, or has unknown or unfit fields.
    """
    data = source if isinstance(source, Mapping) else read_json(source)
    try:
        plan = dict(data.get("phantoms", {}))
        if "spacing" in plan:
            z, y, x = (float(v) for v in plan["spacing"])
            plan["spacing"] = (z, y, x)
        values = {**data, "phantoms": PhantomPlan(**plan)}
        if "shape" in values:
            depth, height, width = (int(v) for v in values["shape"])
            values["shape"] = (depth, height, width)
        if "sizes" in values:
            low, high = (float(v) for v in values["sizes"])
            values["sizes"] = (low, high)
        config = SymNetConfig(**values)
    except (TypeError, ValueError, AttributeError) as error:
        raise OptionError(f"the training configuration is not understood: {error}") from error
    if not (config.minutes > 0 and config.batch > 0 and 0 <= config.sizes[0] <= config.sizes[1]):
        raise OptionError(
            "a registration training needs minutes and batch above 0 and sizes that grow"
        )
    if any(n % 2 ** len(config.network.get("channels", ())) or n < 16 for n in config.shape):
        raise OptionError(
            "each size of a registration training's shape must be a multiple of "
            f"{2 ** len(config.network.get('channels', ()))}, at least 16"
        )
    return config
