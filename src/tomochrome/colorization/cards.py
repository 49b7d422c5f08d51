"""The models that color, by name, and what their metadata says of HU bins and temperature.

Beside the keys of every bundle (see `tomochrome.bundles`) their metadata hold, where their kind
needs it::

    classes             names of the tissues, in the order of the outputs (models of tissues)
    hu_edges            {"first", "step", "bins"} or a list: edges in HU of the HU tables' bins
    network             what `network.build_network` builds
    input               what `inputs.InputSpec.from_dict` reads
    temperature         divides the network's logits, default 1

The weights of a network are its state dict and, beside it, ``hu_likelihood``: (bins, tissues),
how likely each HU is in each tissue, which at full resolution multiplies the probabilities.
Only ratios within a row matter to colors; rows that peak near 1 keep rare tissues in the race.
The weights of a transfer function are ``probability``: (bins, tissues), rows that sum to 1.
What colors by a kind of bundle is said in `tomochrome.colorization.predictor`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome import bundles
from tomochrome.bundles import ModelCard, Purpose
from tomochrome.colorization.predictor import kinds, predictor_class
from tomochrome.errors import ModelError
from tomochrome.tissue import N_TISSUES, TISSUE_NAMES

DEFAULT_MODEL: Final = "tissue"


def _coloring() -> Purpose:
    return Purpose("model", kinds())


def models(folder: Path | None = None) -> list[ModelCard]:
    """Return the cards of the shipped models that color, the default first, then by name.

    Parameters
    ----------
    folder
        Folder of bundles; by default the shipped ``weights/``.

    Raises
    ------
    ModelError
        If the metadata of a model cannot be read.
    """
    cards = [_checked(card) for card in bundles.list_cards(_coloring(), folder)]
    return sorted(cards, key=lambda card: (card.name != DEFAULT_MODEL, card.name))


def find_model(model: str | os.PathLike[str]) -> ModelCard:
    """Return the card of a shipped model by its name, or of the bundle folder at a path.

    Raises
    ------
    ModelError
        If no model that colors has this name, or the bundle's metadata is missing or damaged.
    """
    return _checked(bundles.find_card(model, _coloring()))


def model_title(model: str) -> str:
    """Return what people call a model: its card's title, or the name itself if there is no card.

    The title of ``"tissue + hints"`` is that of ``"tissue"`` with the same addition.
    """
    name, plus, addition = model.partition(" + ")
    try:
        return f"{find_model(name).title}{plus}{addition}"
    except ModelError:
        return model


def _checked(card: ModelCard) -> ModelCard:
    classes = card.metadata.get("classes")
    if classes is None and predictor_class(card).names_tissues:
        raise ModelError(
            f"the model bundle '{card.path}' is damaged or not a Tomochrome model: its metadata "
            "has no 'classes'"
        )
    if classes is not None and tuple(classes) != TISSUE_NAMES:
        raise ModelError(
            f"the model bundle '{card.path}' was made for other tissues than this version's; "
            "use a model trained for it"
        )
    return card


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


def checked_table(card: ModelCard, stored: NDArray[np.generic], name: str) -> NDArray[np.float32]:
    """Return a table over HU bins and tissues as float32, once its shape and values are checked.

    Raises
    ------
    ModelError
        If it does not have one row for each HU bin and one column for each tissue, or a value
        is negative or not finite.
    """
    bins = len(hu_edges(card)) - 1
    if stored.shape != (bins, N_TISSUES):
        raise ModelError(
            f"the table '{name}' of the model '{card.name}' has the shape {stored.shape} "
            f"where its metadata promises {(bins, N_TISSUES)}"
        )
    table = stored.astype(np.float32)
    if not np.isfinite(table).all() or (table < 0).any():
        raise ModelError(f"the table '{name}' of the model '{card.name}' holds impossible values")
    return table


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
