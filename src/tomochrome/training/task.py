"""What the trainer needs to know of a model: a configuration, a data set and a loss.

A new model is one module in `tomochrome.training.tasks` (or anywhere, if it is imported before the
training): a subclass of `Task`, decorated with `register`.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from pydantic import ValidationError

from tomochrome.errors import OptionError
from tomochrome.training.config import TrainingConfig, in_words, read_json

if TYPE_CHECKING:
    import torch

C = TypeVar("C", bound=TrainingConfig)
T = TypeVar("T", bound="type[Task[Any]]")
NOT_FOR_DIAGNOSIS = "Not for diagnosis: the colors are a model's guess and no measurement."
_tasks: dict[str, type[Task[Any]]] = {}


class Samples(Protocol):
    """A data set: as torch's map-style ones. With a length it is shuffled anew in each epoch."""

    def __getitem__(self, index: int) -> Any:
        """Return a sample: an array, a tensor, or a tuple or mapping of such."""


class RandomSamples(ABC):
    """An endless data set: sample k is what a random generator seeded by (seed, k) draws.

    So the course of a run does not depend on how many processes draw, nor on whether it was
    interrupted.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = np.random.default_rng(seed)

    def __getitem__(self, index: int) -> Any:
        """Return sample ``index``, of any size."""
        self.rng = np.random.default_rng([self.seed, index])
        return self.draw()

    @abstractmethod
    def draw(self) -> Any:
        """Draw a sample with ``rng``."""


@dataclass(frozen=True)
class Evidence:
    """What there is to describe a trained model with.

    Parameters
    ----------
    held_out
        Folder of phantoms that no training saw; None without phantoms.
    log
        Lines of the run's CSV.
    parameters
        Of the network.
    scores
        Figures measured elsewhere, by the name of a bundle.
    notes
        Paragraphs on this very run.
    """

    held_out: Path | None
    log: Sequence[str]
    parameters: int
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Bundle:
    """A trained model as it is written: weights, metadata and the words of its card.

    Parameters
    ----------
    name
        Of the bundle's folder.
    tensors
        What goes into ``models/model.safetensors``.
    metadata
        What goes into ``configs/metadata.json``, beside what all bundles have.
    words
        What fills the blanks of the card, beside metadata and configuration.
    card
        Name of the card in ``training/cards``.
    """

    name: str
    tensors: Mapping[str, torch.Tensor]
    metadata: Mapping[str, Any]
    words: Mapping[str, object] = field(default_factory=dict)
    card: str = "model"


def half_precision(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights with matrices as float16; a vector (a variance) may exceed its range."""
    return {
        name: value.half().contiguous()
        if value.is_floating_point() and value.ndim > 1
        else value.contiguous()
        for name, value in state.items()
    }


def image_format(
    channels: int, sizes: Sequence[str], form: str, values: Sequence[float] | None = None
) -> dict[str, Any]:
    """Return how a MONAI bundle's metadata describes an array that a network takes or gives."""
    data = {
        "type": "image",
        "format": form,
        "num_channels": channels,
        "spatial_shape": list(sizes),
        "dtype": "float32",
    }
    return data if values is None else {**data, "value_range": list(values)}


class Task(ABC, Generic[C]):
    """A kind of model to train, for one run.

    Parameters
    ----------
    config
        The run's configuration.
    pool
        Folder of painted phantoms.
    data
        Folder of real data, if any.

    Raises
    ------
    TomochromeError
        If the data are missing or unfit.
    """

    description: ClassVar[str] = ""  #: one line for the card and the menu
    config_type: ClassVar[type[TrainingConfig]] = TrainingConfig
    command: ClassVar[str] = "colorize"  #: whose ``--model`` takes the bundles
    kind: ClassVar[str] = "network"  #: of the bundle
    figures: ClassVar[tuple[str, ...]] = ()  #: columns of the log beside the loss
    stages: tuple[float, ...] = (1.0,)  #: shares of the run at which its parts end

    def __init__(self, config: C, pool: Path, data: Path | None = None) -> None:
        self.config, self.pool, self.data = config, pool, data

    @abstractmethod
    def network(self) -> torch.nn.Module:
        """Build the network with fresh weights."""

    def prepare(self) -> None:
        """Do what must be done once before the first batch; the first phantoms are painted."""

    @abstractmethod
    def dataset(self, stage: int = 0) -> Samples:
        """Return what the part ``stage`` of the run learns from."""

    @abstractmethod
    def loss(self, net: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the loss of a batch, and its `figures` as far as they are known.

        Parameters
        ----------
        net
            The network that is trained.
        batch
            What the data set gave.
        """

    def collate(self, samples: Sequence[Any]) -> Any:
        """Make a batch of samples; by default each field becomes one tensor."""
        import torch

        return torch.utils.data.default_collate(list(samples))

    def validation(self) -> Sequence[Any]:
        """Return samples of patients that are not learned from; by default none are kept aside."""
        return ()

    def finished(self, net: torch.nn.Module) -> bool:
        """Return whether the run is over before its budget, by what the network holds."""
        return False

    def optimizer(self, net: torch.nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer that the configuration names."""
        import torch

        weights, rate = net.parameters(), self.config.learning_rate
        match self.config.optimizer:
            case "adamw":
                return torch.optim.AdamW(weights, rate, weight_decay=self.config.weight_decay)
            case "adam":
                return torch.optim.Adam(weights, rate)
            case "rmsprop":
                return torch.optim.RMSprop(weights, rate)
            case "sgd":
                return torch.optim.SGD(weights, rate, momentum=0.9, nesterov=True)

    def trained_on(self) -> list[str]:
        """Return what the model was trained on, a sentence each."""
        return []

    def bundles(self, net: torch.nn.Module, evidence: Evidence) -> list[Bundle]:
        """Return what is to be written of the trained network.

        Parameters
        ----------
        net
            The trained network.
        evidence
            What was measured while it was trained.

        Returns
        -------
        list of Bundle
            At least one.
        """
        metadata = {
            "kind": self.kind,
            "scores": dict(evidence.scores.get(self.config.name, {})),
            "description": self.description,
            "network": dict(self.config.network),
        }
        return [Bundle(self.config.name, half_precision(net.state_dict()), metadata)]


def register(name: str) -> Callable[[T], T]:
    """Make a `Task` known by a name, which configurations give as ``task``."""

    def add(task: T) -> T:
        _tasks[name] = task
        return task

    return add


def find_task(name: str) -> type[Task[Any]]:
    """Return the task of a name.

    Raises
    ------
    OptionError
        If there is none.
    """
    from tomochrome.training import tasks

    shipped = {module.name for module in pkgutil.iter_modules(tasks.__path__)}
    if name not in _tasks and name in shipped:
        importlib.import_module(f"{tasks.__name__}.{name}")
    if name not in _tasks:
        known = ", ".join(sorted(shipped | set(_tasks)))
        raise OptionError(f"there is no training task '{name}'; choose from {known}")
    return _tasks[name]


def load_config(
    source: str | os.PathLike[str] | Mapping[str, Any] | TrainingConfig,
) -> TrainingConfig:
    """Read a training configuration: a shipped one by name, a JSON file, or a mapping.

    Returns
    -------
    TrainingConfig
        Of the class that its task wants; one that is given is returned as it is.

    Raises
    ------
    OptionError
        If it is not found, is not JSON, or has unknown or unfit fields.
    """
    if isinstance(source, TrainingConfig):
        return source
    if isinstance(source, Mapping):
        data, named = dict(source), "the training configuration"
    else:
        data, named = read_json(source), f"'{os.fspath(source)}'"
    network = data.get("network")
    registers = isinstance(network, Mapping) and network.get("name") == "SymNet"
    data.setdefault("task", "symnet" if registers else "tissue")
    try:
        kind = find_task(str(data["task"])).config_type
    except OptionError as error:
        raise OptionError(f"in {named} 'task' is unfit: {error}") from error
    try:
        return kind.model_validate_json(json.dumps(data))
    except ValidationError as error:
        # a misspelled field first, not that the right one is missing
        problem = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        raise OptionError(in_words(problem, named, kind)) from error
