"""Lookup of colorization models by name, and validation of their metadata.

In addition to the keys of every bundle (see `tomochrome.bundles`) their metadata contain, where
the kind needs them::

    classes             names of the tissues, in the order of the outputs (tissue models)
    hu_edges            {"first", "step", "bins"} or a list: bin edges of the HU tables, in HU
    network             architecture, see `network_builder.build_network`
    input               input specification, see `inputs.InputSpec.from_dict`
    temperature         divides the network's logits, default 1
    max_confidence      highest confidence of a color network, default 1

The weights of a network are its state dict and ``hu_likelihood``: (bins, tissues), the
likelihood of each HU in each tissue, by which probabilities are multiplied at full resolution.
Only ratios within a row affect colors; rows with a maximum near 1 keep rare tissues detectable.
The weights of a transfer function are ``probability``: (bins, tissues), rows that sum to 1.
`tomochrome.colorization.predictor` describes the predictors of each kind.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome import bundles
from tomochrome.bundles import ModelCard as ModelCard
from tomochrome.bundles import Purpose
from tomochrome.colorization.predictor import kinds, predictor_class
from tomochrome.errors import ModelError
from tomochrome.tissue import N_TISSUES, TISSUE_NAMES

_MAX_BINS: Final = 1 << 16
DEFAULT_MODEL: Final = "tissue"


def _purpose() -> Purpose:
    return Purpose("model", kinds())


def models(folder: str | os.PathLike[str] | None = None) -> list[ModelCard]:
    """Return the cards of the colorization models, the default first, then by name.

    Parameters
    ----------
    folder
        Folder of bundles; by default the shipped ``weights/`` and the folders in `bundles.FOLDERS`.

    Raises
    ------
    ModelError
        If the metadata of a model cannot be read.
    """
    cards = [_checked(card) for card in bundles.list_cards(_purpose(), folder)]
    return sorted(cards, key=lambda card: (card.name != DEFAULT_MODEL, card.name))


def find_model(model: str | os.PathLike[str]) -> ModelCard:
    """Return the card of a model by its name (see `models`), or of the bundle folder at a path.

    Raises
    ------
    ModelError
        If no colorization model has this name, or the bundle's metadata is missing or damaged.
    """
    return _checked(bundles.find_card(model, _purpose()))


def find_models(
    names: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> list[ModelCard]:
    """Return the cards of models by name or bundle folder, or of one; see `find_model`."""
    if isinstance(names, str | os.PathLike):
        names = [names]
    return [find_model(name) for name in names]


def model_title(model: str) -> str:
    """Return the display name of a model: its card's title, or the name itself without a card.

    A suffix is kept: ``"tissue + hints"`` becomes the title of ``"tissue"`` and ``" + hints"``.
    """
    name, plus, suffix = model.partition(" + ")
    try:
        return f"{find_model(name).title}{plus}{suffix}"
    except ModelError:
        return model


def _checked(card: ModelCard) -> ModelCard:
    classes = card.metadata.get("classes")
    if classes is None and predictor_class(card).names_tissues:
        raise ModelError(
            f"the model bundle '{card.path}' is damaged or not a Tomochrome model: its metadata "
            "has no 'classes'"
        )
    if classes is not None and tuple(classes) != TISSUE_NAMES:  # a list, see `read_card`
        raise ModelError(
            f"the model bundle '{card.path}' was trained for a different set of tissues than this "
            "version uses; use a model trained for this version"
        )
    return card


def hu_edges(card: ModelCard) -> NDArray[np.float64]:
    """Return the bin edges of the model's HU tables, in HU: shape (n_bins + 1,).

    The metadata key is ``"hu_edges"``, either a list or ``{"first", "step", "bins"}``.
    Values outside the edges belong to the first or the last bin.

    Raises
    ------
    ModelError
        If they are missing, not finite, or not strictly increasing.
    """
    stored = card.metadata.get("hu_edges")
    try:
        if isinstance(stored, Mapping):
            count = int(stored["bins"]) + 1
            if count > _MAX_BINS:
                raise ValueError("too many bins")
            steps = np.arange(count, dtype=np.float64)
            edges = float(stored["first"]) + float(stored["step"]) * steps
        else:
            edges = np.array(stored, dtype=np.float64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"the HU bins of the model '{card.name}' cannot be read") from error
    if edges.ndim != 1 or edges.size < 2 or not np.isfinite(edges).all():
        raise ModelError(f"the HU bins of the model '{card.name}' cannot be read")
    if not (np.diff(edges) > 0).all():
        raise ModelError(f"the HU bin edges of the model '{card.name}' do not increase")
    return edges


def checked_table(card: ModelCard, stored: NDArray[np.generic], name: str) -> NDArray[np.float32]:
    """Validate a table over HU bins and tissues, and return it as float32.

    Raises
    ------
    ModelError
        If it does not have one row for each HU bin and one column for each tissue, or a value
        is negative or not finite.
    """
    bins = len(hu_edges(card)) - 1
    if stored.shape != (bins, N_TISSUES):
        raise ModelError(
            f"the table '{name}' of the model '{card.name}' has the shape {stored.shape}, but "
            f"{(bins, N_TISSUES)} is expected from its metadata"
        )
    table = stored.astype(np.float32)
    if not np.isfinite(table).all() or (table < 0).any():
        raise ModelError(
            f"the table '{name}' of the model '{card.name}' contains negative or non-finite values"
        )
    return table


def temperature(card: ModelCard) -> float:
    """Return the temperature by which a network's logits are divided, 1 by default.

    Raises
    ------
    ModelError
        If it is not a positive number.
    """
    return _positive(card, "temperature")


def max_confidence(card: ModelCard) -> float:
    """Return the highest confidence of a color network, 1 by default.

    Raises
    ------
    ModelError
        If it is not a positive number of at most 1.
    """
    return _positive(card, "max_confidence", 1.0)


def _positive(card: ModelCard, key: str, most: float = math.inf) -> float:
    value = card.metadata.get(key, 1.0)
    if not isinstance(value, int | float) or not math.isfinite(value) or not 0 < value <= most:
        name = key.replace("_", " ")
        limit = "" if most == math.inf else f" of at most {most:g}"
        raise ModelError(
            f"the {name} of the model '{card.name}' must be a positive number{limit}, not {value!r}"
        )
    return float(value)
