"""The interface between the trainer and a model: a configuration, a data set and a loss.

A new model is one module in `tomochrome.training.tasks` (or elsewhere, if it is imported before
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
from tomochrome.training.config import TrainingConfig, read_json, validation_message

if TYPE_CHECKING:
    import torch

C = TypeVar("C", bound=TrainingConfig)
T = TypeVar("T", bound="type[Task[Any]]")
NOT_FOR_DIAGNOSIS = "Not for diagnosis: the colors are a model's guess and no measurement."
_tasks: dict[str, type[Task[Any]]] = {}


class Samples(Protocol):
    """A map-style data set, as in torch. One with a length is shuffled in each epoch."""

    def __getitem__(self, index: int) -> Any:
        """Return a sample: an array, a tensor, or a tuple or mapping of these."""


class RandomSamples(ABC):
    """An endless data set: sample k is drawn with a random generator seeded by (seed, k).

    The samples do not depend on the number of worker processes or on interruptions.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = np.random.default_rng(seed)

    def __getitem__(self, index: int) -> Any:
        """Return sample ``index``, which can be any number."""
        self.rng = np.random.default_rng([self.seed, index])
        return self.draw()

    @abstractmethod
    def draw(self) -> Any:
        """Draw a sample with ``rng``."""


@dataclass(frozen=True)
class Evidence:
    """Information about a finished run, for evaluation and model cards.

    Parameters
    ----------
    held_out
        Folder of held-out phantoms; None without phantoms.
    log
        Lines of the run's CSV log.
    parameters
        Number of parameters of the network.
    scores
        Scores from elsewhere, by bundle name.
    notes
        Paragraphs about this run.
    second
        The task and the network of the second run, if there was one (see `Task.second_run`).
    second_log
        Lines of its log.
    """

    held_out: Path | None
    log: Sequence[str]
    parameters: int
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    second: tuple[Task[Any], torch.nn.Module] | None = None
    second_log: Sequence[str] = ()


@dataclass(frozen=True)
class Bundle:
    """The contents of a bundle: weights, metadata and texts of its model card.

    Parameters
    ----------
    name
        Name of the bundle's folder.
    tensors
        Contents of ``models/model.safetensors``.
    metadata
        Contents of ``configs/metadata.json``, except the fields common to all bundles.
    words
        Values of the card's placeholders, in addition to metadata and configuration.
    card
        Name of the template in ``training/cards``.
    photograph
        Contents of ``models/photograph.safetensors``, weights for photographs; None for none.
    """

    name: str
    tensors: Mapping[str, torch.Tensor]
    metadata: Mapping[str, Any]
    words: Mapping[str, object] = field(default_factory=dict)
    card: str = "model"
    photograph: Mapping[str, torch.Tensor] | None = None


def half_precision(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights with matrices as float16; vectors, whose values may overflow, are kept."""
    return {
        name: value.half().contiguous()
        if value.is_floating_point() and value.ndim > 1
        else value.contiguous()
        for name, value in state.items()
    }


def image_format(
    channels: int, sizes: Sequence[str], form: str, values: Sequence[float] | None = None
) -> dict[str, Any]:
    """Return the description of a network's input or output for a MONAI bundle's metadata."""
    data = {
        "type": "image",
        "format": form,
        "num_channels": channels,
        "spatial_shape": list(sizes),
        "dtype": "float32",
    }
    return data if values is None else {**data, "value_range": list(values)}


class Task(ABC, Generic[C]):
    """A kind of model to train, instantiated for one run.

    Parameters
    ----------
    config
        The run's configuration.
    pool
        Folder of generated phantoms.
    data
        Folder of real data, if any.

    Raises
    ------
    TomochromeError
        If the data are missing or invalid.
    """

    description: ClassVar[str] = ""  #: one line for the card and the menu
    config_type: ClassVar[type[TrainingConfig]] = TrainingConfig
    command: ClassVar[str] = "colorize --model"  #: the command and option that accept the bundles
    kind: ClassVar[str] = "network"  #: kind of the bundle
    figures: ClassVar[tuple[str, ...]] = ()  #: columns of the log in addition to the loss
    stages: tuple[float, ...] = (1.0,)  #: shares of the run at which its stages end

    def __init__(self, config: C, pool: Path, data: Path | None = None) -> None:
        self.config, self.pool, self.data = config, pool, data

    @abstractmethod
    def network(self) -> torch.nn.Module:
        """Build the network with initial weights."""

    def prepare(self) -> None:
        """Prepare the training, after the first phantoms were generated."""

    @abstractmethod
    def dataset(self, stage: int = 0) -> Samples:
        """Return the training data of a stage of the run."""

    @abstractmethod
    def loss(self, net: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the loss of a batch, and those of its `figures` that are known.

        Parameters
        ----------
        net
            The network in training.
        batch
            The return value of `collate`.
        """

    def parts(self, net: torch.nn.Module) -> Sequence[torch.nn.Module]:
        """Return the parts of a network that together have all its weights, each with a rate."""
        return (net,)

    def rates(self, stage: int) -> Sequence[float]:
        """Return the learning rate of each part in a stage, as a share of the configuration's."""
        return (1.0,)

    def collate(self, samples: Sequence[Any]) -> Any:
        """Combine samples into a batch; by default each field becomes one tensor."""
        import torch

        return torch.utils.data.default_collate(list(samples))

    def validation(self) -> Sequence[Any]:
        """Return the validation samples; by default there are none."""
        return ()

    def finished(self, net: torch.nn.Module) -> bool:
        """Return whether to stop the run before its budget is used up."""
        return False

    def second_run(self, net: torch.nn.Module) -> tuple[Task[Any], float] | None:
        """Return the task of a second run, which begins with the trained network.

        Parameters
        ----------
        net
            The network, trained.

        Returns
        -------
        tuple or None
            The task and its budget as a share of the first run's; None for no second run.
        """
        return None

    def optimizer(self, net: torch.nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer that the configuration names."""
        import torch

        weights = [{"params": list(part.parameters())} for part in self.parts(net)]
        rate = self.config.learning_rate
        match self.config.optimizer:
            case "adamw":
                return torch.optim.AdamW(weights, rate, weight_decay=self.config.weight_decay)
            case "adam":
                return torch.optim.Adam(weights, rate)
            case "adamax":
                return torch.optim.Adamax(weights, rate)
            case "rmsprop":
                return torch.optim.RMSprop(weights, rate)
            case "sgd-auto":
                from tomochrome.training.polyak import PolyakSGD

                return PolyakSGD(weights, rate)
            case "sgd":
                return torch.optim.SGD(weights, rate, momentum=0.9, nesterov=True)

    def trained_on(self) -> list[str]:
        """Return what the model was trained on, a sentence each."""
        return []

    def bundles(self, net: torch.nn.Module, evidence: Evidence) -> list[Bundle]:
        """Return the bundles of the trained network.

        Parameters
        ----------
        net
            The trained network.
        evidence
            Information about the finished run.

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
    """Register a `Task` under the name that configurations give as ``task``."""

    def add(task: T) -> T:
        _tasks[name] = task
        return task

    return add


def find_task(name: str) -> type[Task[Any]]:
    """Return the task with a name.

    Raises
    ------
    OptionError
        If there is none.
    """
    from tomochrome.training import tasks

    shipped = {module.name.removesuffix("_task") for module in pkgutil.iter_modules(tasks.__path__)}
    if name not in _tasks and name in shipped:
        importlib.import_module(f"{tasks.__name__}.{name}_task")
    if name not in _tasks:
        names = ", ".join(sorted(shipped | set(_tasks)))
        raise OptionError(f"there is no training task '{name}'; choose from {names}")
    return _tasks[name]


def load_config(
    source: str | os.PathLike[str] | Mapping[str, Any] | TrainingConfig,
) -> TrainingConfig:
    """Load a training configuration: a shipped one by name, a JSON file, or a mapping.

    Returns
    -------
    TrainingConfig
        An instance of its task's configuration class; a `TrainingConfig` is returned unchanged.

    Raises
    ------
    OptionError
        If it is not found, is not JSON, or has unknown or invalid fields.
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
        raise OptionError(f"in {named} 'task' is invalid: {error}") from error
    try:
        return kind.model_validate_json(json.dumps(data))
    except ValidationError as error:
        # report a misspelled field rather than the missing one
        problem = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        raise OptionError(validation_message(problem, named, kind)) from error
