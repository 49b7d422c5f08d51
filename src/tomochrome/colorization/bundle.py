"""Models on disk: finding a bundle, reading its card, and its weights, as data and nothing else.

A bundle is a folder in MONAI's layout::

    weights/<name>/configs/metadata.json      what the model is, and what it was trained on
                   models/model.safetensors   its weights
                   docs/README.md             the model card for people

Nothing in a bundle is ever evaluated: the metadata is parsed as JSON, the weights are
safetensors (a table of numbers), and their SHA-256 must be the one the metadata names.
A model is called by its name or by the path of a bundle folder.

The metadata, beside what MONAI bundles hold anyway (``version``, ``task``, ``authors`` ...)::

    name, license       strings
    title, description  what people call it, and one line about it (optional)
    kind                "network" or "transfer-function"
    trained_on          string, or list of strings
    scores              {name: number}
    weights_sha256      SHA-256 of models/model.safetensors, hexadecimal
    classes             names of the tissues, in the order of the network's outputs
    hu_edges            {"first", "step", "bins"} or a list: edges in HU of the HU tables' bins
    network             what `network.build_network` builds            (network only)
    input               what `inputs.InputSpec.from_dict` reads        (network only)
    temperature         divides the network's logits, default 1        (network only)

The weights of a network are its state dict and, beside it, ``hu_likelihood``: (bins, tissues),
how likely each HU is in each tissue, which at full resolution multiplies the probabilities.
Only ratios within a row matter to colors; rows that peak near 1 keep rare tissues in the race.
The weights of a transfer function are ``probability``: (bins, tissues), rows that sum to 1.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import ModelError
from tomochrome.resources import weights_folder
from tomochrome.tissue import TISSUE_NAMES

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["network", "transfer-function", "registration"]
KINDS: tuple[str, ...] = ("network", "transfer-function")
"""Kinds that color; bundles of the kind "registration" lie beside them, see that room."""
DEFAULT_MODEL = "tissue"

METADATA = Path("configs") / "metadata.json"
WEIGHTS = Path("models") / "model.safetensors"

_MAX_METADATA_BYTES = 4 << 20
_MAX_WEIGHTS_BYTES = 2 << 30


@dataclass(frozen=True)
class ModelCard:
    """What a user should know of a model before trusting its colors.

    Attributes
    ----------
    name
        Name by which `colorize` knows it.
    kind
        ``"network"`` or ``"transfer-function"``.
    trained_on
        What it was trained on, in words.
    scores
        What was measured, by name.
    weights_sha256
        SHA-256 of its weights file, in hexadecimal.
    license
        SPDX identifier of the licence of the weights.
    path
        Bundle folder.
    """

    name: str
    kind: Kind
    trained_on: str
    scores: Mapping[str, Any]
    weights_sha256: str
    license: str
    path: Path
    metadata: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @property
    def title(self) -> str:
        """What people call it; its name where the metadata says nothing."""
        return str(self.metadata.get("title") or self.name)

    @property
    def description(self) -> str:
        """One line about it; empty where the metadata says nothing."""
        return str(self.metadata.get("description") or "")

    def to_json(self) -> dict[str, Any]:
        """Return the card as ``tomochrome models --json`` prints it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "trained_on": self.trained_on,
            "scores": dict(self.scores),
            "weights_sha256": self.weights_sha256,
            "license": self.license,
        }


def models(folder: Path | None = None) -> list[ModelCard]:
    """Return the cards of the shipped models, the default first, then by name.

    Parameters
    ----------
    folder
        Folder of bundles; by default the shipped ``weights/``.

    Raises
    ------
    ModelError
        If the metadata of a shipped model cannot be read.
    """
    root = weights_folder() if folder is None else folder
    cards = [read_card(root / name) for name in _bundle_names(root)]
    return sorted(cards, key=lambda card: (card.name != DEFAULT_MODEL, card.name))


def find_model(model: str | os.PathLike[str]) -> ModelCard:
    """Return the card of a shipped model by its name, or of the bundle folder at a path.

    Raises
    ------
    ModelError
        If no model has this name, or the bundle's metadata is missing or not ours.
    """
    root = weights_folder()
    names = _bundle_names(root)
    if isinstance(model, str) and model in names:
        return read_card(root / model)
    path = Path(model)
    if os.fspath(model) and path.is_dir():
        return read_card(path)
    known = ", ".join(names) or "none are installed"
    raise ModelError(
        f"unknown model '{os.fspath(model)}': choose one of {known}, "
        "or give the path of a bundle folder"
    )


def model_title(model: str) -> str:
    """Return what people call a model: its card's title, or the name itself if there is no card."""
    try:
        return find_model(model).title
    except ModelError:
        return model


def read_card(path: Path) -> ModelCard:
    """Read and check the metadata of the bundle folder ``path``.

    Raises
    ------
    ModelError
        If the metadata is missing, is not JSON, or does not describe a Tomochrome model.
    """
    metadata = read_metadata(path)
    where = f"the model bundle '{path}'"
    for key in ("name", "kind", "weights_sha256", "classes"):
        if key not in metadata:
            raise ModelError(f"{where} is not a Tomochrome model: its metadata has no '{key}'")
    if metadata["kind"] not in KINDS:
        raise ModelError(
            f"{where} is of the kind {metadata['kind']!r}, which this version does not know; "
            f"it knows {' and '.join(KINDS)}"
        )
    if tuple(metadata["classes"]) != TISSUE_NAMES:
        raise ModelError(
            f"{where} was made for other tissues than this version's; use a model trained for it"
        )
    trained_on = metadata.get("trained_on", "")
    return ModelCard(
        name=str(metadata["name"]),
        kind=metadata["kind"],
        trained_on="; ".join(map(str, trained_on)) if isinstance(trained_on, list) else trained_on,
        scores=dict(metadata.get("scores") or {}),
        weights_sha256=str(metadata["weights_sha256"]).lower(),
        license=str(metadata.get("license", "unknown")),
        path=path,
        metadata=metadata,
    )


def read_weights(card: ModelCard) -> bytes:
    """Return the bytes of the model's safetensors file, once their SHA-256 is checked.

    Raises
    ------
    ModelError
        If the file is missing, too large, or not the one the metadata describes.
    """
    path = card.path / WEIGHTS
    try:
        if path.stat().st_size > _MAX_WEIGHTS_BYTES:
            raise ModelError(f"the weights '{path}' are larger than any model of this project")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"the weights of the model '{card.name}' cannot be read at '{path}' "
            f"({error.strerror}); install the model again"
        ) from error
    if hashlib.sha256(data).hexdigest() != card.weights_sha256:
        raise ModelError(
            f"the weights '{path}' are damaged or not those of the model '{card.name}': "
            "their SHA-256 differs from the one in metadata.json; install the model again"
        )
    return data


def load_arrays(card: ModelCard) -> dict[str, NDArray[Any]]:
    """Return the model's tensors as NumPy arrays.

    Raises
    ------
    ModelError
        If the weights are missing, damaged or not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = read_weights(card)
    try:
        return dict(load(data))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _not_safetensors(card) from error


def load_state(card: ModelCard) -> dict[str, Tensor]:
    """Return the model's tensors as a torch state dict in float32 on the CPU.

    Raises
    ------
    ModelError
        If the weights are missing, damaged or not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_weights(card)
    try:
        state = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _not_safetensors(card) from error
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def hu_edges(card: ModelCard) -> NDArray[np.float64]:
    """Return the edges, in HU, of the bins of the model's HU tables: shape (n_bins + 1,).

    The metadata holds them as ``"hu_edges"``, either a list or ``{"first", "step", "bins"}``.
    Values beyond the ends belong to the first and the last bin.

    Raises
    ------
    ModelError
        If they are missing, not finite, or do not grow.
    """
    stored = card.metadata.get("hu_edges")
    try:
        if isinstance(stored, Mapping):
            count = int(stored["bins"]) + 1
            steps = np.arange(count, dtype=np.float64)
            edges = float(stored["first"]) + float(stored["step"]) * steps
        else:
            edges = np.array(stored, dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the HU bins of the model '{card.name}' cannot be read") from error
    if edges.ndim != 1 or edges.size < 2 or not np.isfinite(edges).all():
        raise ModelError(f"the HU bins of the model '{card.name}' cannot be read")
    if not (np.diff(edges) > 0).all():
        raise ModelError(f"the HU bins of the model '{card.name}' do not grow")
    return edges


def temperature(card: ModelCard) -> float:
    """Return the temperature by which a network's logits are divided: 1 where none is stored.

    Raises
    ------
    ModelError
        If it is not a positive number.
    """
    value = card.metadata.get("temperature", 1.0)
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ModelError(f"the model '{card.name}' has a temperature of {value!r}: not positive")
    return float(value)


def _bundle_names(root: Path) -> list[str]:
    """Names of the bundles in a folder that color, sorted."""
    if not root.is_dir():
        return []
    names = sorted(entry.name for entry in root.iterdir() if (entry / METADATA).is_file())
    return [name for name in names if not is_registration(root / name)]


def is_registration(path: Path) -> bool:
    """Whether a bundle folder holds a registration network; False where it cannot be read."""
    try:
        return read_metadata(path).get("kind") == "registration"
    except ModelError:
        return False


def read_metadata(path: Path) -> dict[str, Any]:
    """Parse the metadata.json of a bundle folder.

    Raises
    ------
    ModelError
        If it is missing, too large, or no JSON object.
    """
    file = path / METADATA
    try:
        if file.stat().st_size > _MAX_METADATA_BYTES:
            raise ModelError(f"the model's metadata '{file}' is too large to be ours")
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"'{path}' is not a model bundle: '{METADATA}' cannot be read ({error.strerror})"
        ) from error
    except ValueError as error:
        raise ModelError(f"the model's metadata '{file}' is not JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise ModelError(f"the model's metadata '{file}' is not a JSON object")
    return metadata


def _not_safetensors(card: ModelCard) -> ModelError:
    return ModelError(
        f"the weights '{card.path / WEIGHTS}' of the model '{card.name}' are not a safetensors "
        "file; install the model again"
    )
