"""What a training run is told: read from JSON as data, checked field by field."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tomochrome.errors import OptionError

CONFIGS = Path(__file__).resolve().parent / "configs"
"""One JSON file for each shipped model."""


@dataclass(frozen=True)
class PhantomPlan:
    """Which phantom patients to train on."""

    spacing: tuple[float, float, float] = (3.0, 2.2, 2.2)
    regions: Mapping[str, float] = field(default_factory=lambda: {"abdomen": 1.0})
    count: int = 400


@dataclass(frozen=True)
class TrainingConfig:
    """One training run.

    Parameters
    ----------
    name
        Name of the model, also of its bundle.
    network
        What `tomochrome.colorize.network.build_network` builds.
    minutes
        Wall-clock budget; the learning rate falls along a cosine over it.
    batch, shape
        Samples a step, and their height and width in pixels of the input grid.
    learning_rate, weight_decay, ema
        AdamW's, and the decay of the running mean of the weights that is shipped.
    ab_weight
        Weight of the expected chroma error (in tens of CIELAB units) beside cross-entropy.
    frequency_power
        Class weights are frequency to the minus this.
    real_share
        Share of samples from real labelled CT, when a data folder is given.
    seed
        Seed of everything drawn.
    phantoms
        The phantom patients.
    """

    name: str
    network: Mapping[str, Any]
    minutes: float = 60.0
    batch: int = 8
    shape: tuple[int, int] = (160, 224)
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    ema: float = 0.999
    ab_weight: float = 0.5
    frequency_power: float = 0.5
    real_share: float = 0.45
    seed: int = 1
    phantoms: PhantomPlan = field(default_factory=PhantomPlan)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        plan = {f.name: getattr(self.phantoms, f.name) for f in fields(self.phantoms)}
        plan["spacing"], plan["regions"] = list(plan["spacing"]), dict(plan["regions"])
        return {**data, "network": dict(self.network), "shape": list(self.shape), "phantoms": plan}


def load_config(source: str | os.PathLike[str] | Mapping[str, Any]) -> TrainingConfig:
    """Read a training configuration: a shipped one by name, a JSON file, or a mapping.

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
            height, width = (int(v) for v in values["shape"])
            values["shape"] = (height, width)
        config = TrainingConfig(**values)
    except (TypeError, ValueError, AttributeError) as error:
        raise OptionError(f"the training configuration is not understood: {error}") from error
    if not (config.minutes > 0 and config.batch > 0 and 0 <= config.real_share <= 1):
        raise OptionError(
            "a training configuration needs minutes and batch above 0 and real_share from 0 to 1"
        )
    return config


def read_json(source: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Read a configuration's JSON object: a shipped one by name, or a file.

    Raises
    ------
    OptionError
        If it is not found or holds no JSON object.
    """
    path = Path(source)
    if not path.suffix and not path.is_file():
        path = CONFIGS / f"{path.name}.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise OptionError(f"'{source}' cannot be read as a training configuration") from error
    if not isinstance(data, dict):
        raise OptionError(
            f"'{source}' holds no training configuration, but a {type(data).__name__}"
        )
    return data
