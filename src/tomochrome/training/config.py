"""Training configurations: read from JSON and validated field by field."""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
)
from pydantic_core import ErrorDetails

from tomochrome.bundles import current_name
from tomochrome.errors import OptionError

CONFIGS = Path(__file__).resolve().parent / "configs"
"""One JSON file for each shipped model."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
RULES = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
Millimeters = Annotated[float, Field(ge=0.2, le=20)]
FarMillimeters = Annotated[float, Field(gt=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
ModelName = Annotated[str, AfterValidator(current_name)]


class PhantomPlan(BaseModel):
    """The phantom patients to train on.

    Parameters
    ----------
    spacing
        Voxel spacing (z, y, x) in mm.
    regions
        Relative share of each region by name.
    count
        Total number of patients.
    first
        Patients generated before training starts; the others are generated while it runs.
    """

    model_config = RULES

    spacing: tuple[Millimeters, Millimeters, Millimeters] = (3.0, 2.2, 2.2)
    regions: dict[str, NonNegativeFloat] = {"abdomen": 1.0}
    count: PositiveInt = 400
    first: NonNegativeInt = 24

    @field_validator("regions")
    @classmethod
    def _are_names(cls, regions: dict[str, float]) -> dict[str, float]:
        from tomochrome.phantom import REGIONS

        if unknown := [name for name in regions if name not in REGIONS]:
            raise ValueError(
                f"'{unknown[0]}' is not a known region; choose from {', '.join(REGIONS)}"
            )
        if not sum(regions.values()) > 0:
            raise ValueError("at least one region needs a share above 0")
        return regions


class TrainingConfig(BaseModel):
    """The fields that all training configurations share; each task adds further ones.

    Parameters
    ----------
    name
        Name of the model and of its bundle.
    network
        Name and parameters of the network.
    minutes
        Wall-clock budget; the learning rate follows a cosine schedule over it.
    batch
        Samples per step.
    workers
        Worker processes that prepare batches; 0 for a thread of this process.
    optimizer
        ``"adamw"``, ``"adam"``, ``"adamax"``, ``"rmsprop"``, ``"sgd"`` (with Nesterov momentum
        0.9), or ``"sgd-auto"`` (Polyak's step, at most the learning rate).
    learning_rate, weight_decay
        Parameters of the optimizer; only AdamW uses weight decay.
    warm_up
        Steps over which the learning rate rises to its full value.
    ema
        Decay of the exponential moving average of the weights, which is shipped.
    validate_every
        Steps between two validations, if the task has validation samples; 0 for none.
    patience
        Validations without improvement after which the training stops. The weights with the
        lowest validation loss are shipped.
    seed
        Seed of all random numbers.
    phantoms
        The phantom patients to train on, if any.
    task
        Name of a module of `tomochrome.training.tasks`, or of a registered `task.Task`.
    """

    model_config = RULES

    name: str
    network: dict[str, Any]
    minutes: PositiveFloat = 60.0
    batch: PositiveInt = 8
    workers: NonNegativeInt = 0
    optimizer: Literal["adamw", "adam", "adamax", "rmsprop", "sgd", "sgd-auto"] = "adamw"
    learning_rate: Rate = 1e-3
    weight_decay: NonNegativeFloat = 0.01
    warm_up: NonNegativeInt = 50
    ema: Decay = 0.999
    validate_every: NonNegativeInt = 0
    patience: PositiveInt = 10
    seed: NonNegativeInt = 1
    phantoms: PhantomPlan | None = None
    task: str = "tissue"

    @field_validator("name")
    @classmethod
    def _fit_for_a_folder(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("use letters, digits, - and _, as it also names a folder")
        return name


def check_shape(
    shape: tuple[int, ...], multiple: int, field: str = "shape", least: int = 16
) -> None:
    """Check the size of a network's input.

    Raises
    ------
    ValueError
        If a size is not a multiple of ``multiple``, or below ``least``.
    """
    if any(n % multiple or n < least for n in shape):
        raise ValueError(
            f"each size in '{field}' must be a multiple of {multiple} and at least {least}, "
            f"not {list(shape)}"
        )


def read_json(source: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the JSON object of a shipped configuration (by name) or of a file.

    Raises
    ------
    OptionError
        If it does not exist or is not a JSON object.
    """
    path = Path(source)
    if not path.suffix and not path.is_file():
        path = CONFIGS / f"{current_name(path.name)}.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise OptionError(f"'{source}' cannot be read as a training configuration") from error
    if not isinstance(data, dict):
        raise OptionError(
            f"'{source}' is not a training configuration: it holds a {type(data).__name__}"
        )
    return data


def validation_message(problem: ErrorDetails, source: str, kind: type[BaseModel]) -> str:
    """Return a validation error of pydantic as a sentence."""
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "missing":
        if isinstance(problem["loc"][-1], int):
            return f"in {source} '{place.rpartition('.')[0]}' has too few values"
        return f"{source} lacks the field '{place}'; add it"
    if problem["type"] == "extra_forbidden":
        within, name = problem["loc"][:-1], str(problem["loc"][-1])
        names = _fields(kind, [str(part) for part in within])
        near = difflib.get_close_matches(name, names, 1)
        right = ".".join([*map(str, within), *near])
        advice = f"did you mean '{right}'?" if near else f"known: {', '.join(names)}"
        return f"{source} has an unknown field '{place}'; {advice}"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    shown = repr(problem["input"])
    shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
    where = f" '{place}' is {shown}:" if place else ""
    return f"in {source}{where} {message[0].lower()}{message[1:]}"


def _fields(kind: type[BaseModel], place: list[str]) -> list[str]:
    """Return the field names of a model, or of a model nested in it."""
    for name in place:
        hint = kind.model_fields[name].annotation
        parts = getattr(hint, "__args__", (hint,))
        kind = next(
            part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)
        )
    return list(kind.model_fields)
