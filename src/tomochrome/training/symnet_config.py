"""What a training run of the registration network is told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tomochrome.errors import OptionError
from tomochrome.training.config import PhantomPlan, check_common, opened
from tomochrome.training.schema import from_data


@dataclass(frozen=True)
class Opening:
    """How a run begins: on a smaller grid, with smaller motions, in a single pass.

    Parameters
    ----------
    share
        Share of the run's time; the learning rate falls over it and starts anew after it.
    shape, sizes
        As `SymNetConfig`'s, while it lasts.
    """

    share: float
    shape: tuple[int, int, int] = (32, 48, 48)
    sizes: tuple[float, float] = (0.1, 0.9)


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
    opening
        How the run begins, if otherwise than it goes on.
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
    opening: Opening | None = None
    phantoms: PhantomPlan = field(default_factory=PhantomPlan)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        plan = {f.name: getattr(self.phantoms, f.name) for f in fields(self.phantoms)}
        plan["spacing"], plan["regions"] = list(plan["spacing"]), dict(plan["regions"])
        opening = None if self.opening is None else asdict(self.opening)
        return {
            **data,
            "opening": opening,
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
    data, named = opened(source)
    config = from_data(SymNetConfig, data, named)
    check_common(config, named)
    _check(config, named)
    return config


def _check(config: SymNetConfig, named: str) -> None:
    parts: list[SymNetConfig | Opening] = [config]
    if config.opening is not None:
        parts.append(config.opening)
    grows = all(0 <= part.sizes[0] <= part.sizes[1] for part in parts)
    if not (0 < config.minutes < float("inf") and config.batch > 0 and grows):
        raise OptionError(f"{named} needs minutes and batch above 0 and sizes that grow")
    if config.opening is not None and not 0 <= config.opening.share < 1:
        raise OptionError(f"{named} needs an 'opening.share' from 0 to below 1")
    channels = config.network.get("channels")
    multiple = 2 ** len(channels) if isinstance(channels, list | tuple) else 1
    if any(n % multiple or n < 16 for part in parts for n in part.shape):
        raise OptionError(
            f"in {named} each number of 'shape' must be a multiple of {multiple}, at least 16"
        )
