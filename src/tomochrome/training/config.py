"""What a training run is told: read from JSON as data, checked field by field."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomochrome.errors import OptionError
from tomochrome.training.schema import from_data

if TYPE_CHECKING:
    from tomochrome.training.symnet_config import SymNetConfig

CONFIGS = Path(__file__).resolve().parent / "configs"
"""One JSON file for each shipped model."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


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
        What `tomochrome.colorization.network.build_network` builds.
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
    data, named = opened(source)
    config = from_data(TrainingConfig, data, named)
    check_common(config, named)
    if not (0 < config.minutes < float("inf") and config.batch > 0 and 0 <= config.real_share <= 1):
        raise OptionError(f"{named} needs minutes and batch above 0 and real_share from 0 to 1")
    strides = config.network.get("strides", ())
    multiple = math.prod(strides) if isinstance(strides, list | tuple) else 1
    if any(n < 16 or n % multiple for n in config.shape):
        raise OptionError(
            f"in {named} each number of 'shape' must be a multiple of {multiple}, at least 16, not "
            f"{list(config.shape)}"
        )
    return config


def opened(source: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return what a configuration holds, and what a message is to call it."""
    if isinstance(source, Mapping):
        return source, "the training configuration"
    return read_json(source), f"'{os.fspath(source)}'"


def check_common(config: TrainingConfig | SymNetConfig, named: str) -> None:
    """Check what every training is told: the name of its model, and its phantom patients.

    Raises
    ------
    OptionError
        If the name cannot be that of a folder, or the phantoms cannot be painted.
    """
    from tomochrome.phantom.patient import REGIONS

    if not _NAME.fullmatch(config.name):
        raise OptionError(
            f"in {named} 'name' must be letters, digits, - and _, as a folder is called after it, "
            f"not '{config.name}'"
        )
    if not (0 < config.learning_rate <= 1 and 0 <= config.ema < 1 and config.seed >= 0):
        raise OptionError(
            f"{named} needs a learning_rate above 0 (and up to 1), ema from 0 to below 1 and seed "
            "of 0 or more"
        )
    plan = config.phantoms
    for region, share in plan.regions.items():
        if region not in REGIONS:
            raise OptionError(
                f"{named} asks for phantoms of a region '{region}'; choose from "
                f"{', '.join(REGIONS)}"
            )
        if not 0 <= share < float("inf"):
            raise OptionError(
                f"in {named} the share of '{region}' among the phantoms must be 0 or more, not "
                f"{share}"
            )
    if not sum(plan.regions.values()) > 0:
        raise OptionError(f"{named} gives no region of the phantoms a share above 0")
    if not all(0.2 <= step <= 20 for step in plan.spacing):
        raise OptionError(
            f"in {named} 'phantoms.spacing' must be three lengths of 0.2 to 20 mm, not "
            f"{list(plan.spacing)}"
        )


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
