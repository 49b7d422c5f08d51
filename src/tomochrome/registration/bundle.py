"""Registration models on disk: bundles of the kind "registration" under ``weights/``.

The same layout, checks and card as the colorizing models' (`tomochrome.colorization.bundle`); the
metadata's ``network`` is what `tomochrome.registration.symnet.build_symnet` builds, and
``shrink_by`` says how much smaller than the working grid the network's input is.
"""

from __future__ import annotations

import os
from pathlib import Path

from tomochrome.colorization.bundle import (
    METADATA,
    ModelCard,
    is_registration,
    load_state,
    read_metadata,
)
from tomochrome.errors import ModelError
from tomochrome.resources import weights_folder

__all__ = ["find_registration_model", "load_state", "read_registration_card", "registration_models"]


def registration_models(folder: Path | None = None) -> list[ModelCard]:
    """Return the cards of the shipped registration models, by name.

    Parameters
    ----------
    folder
        Folder of bundles; by default the shipped ``weights/``.
    """
    root = weights_folder() if folder is None else folder
    if not root.is_dir():
        return []
    found = sorted(entry for entry in root.iterdir() if (entry / METADATA).is_file())
    return [read_registration_card(path) for path in found if is_registration(path)]


def find_registration_model(model: str | os.PathLike[str]) -> ModelCard:
    """Return the card of a shipped registration model by its name, or of a bundle folder.

    Raises
    ------
    ModelError
        If no registration model has this name or path.
    """
    cards = registration_models()
    for card in cards:
        if card.name == os.fspath(model):
            return card
    path = Path(model)
    if os.fspath(model) and path.is_dir():
        return read_registration_card(path)
    known = ", ".join(card.name for card in cards) or "none are installed"
    raise ModelError(
        f"unknown registration model '{os.fspath(model)}': choose one of {known}, "
        "or give the path of a bundle folder"
    )


def read_registration_card(path: Path) -> ModelCard:
    """Read and check the metadata of a bundle folder.

    Raises
    ------
    ModelError
        If the metadata is missing or does not describe a registration model.
    """
    metadata = read_metadata(path)
    if metadata.get("kind") != "registration":
        raise ModelError(f"the model bundle '{path}' does not register; choose another model")
    for key in ("name", "weights_sha256", "network"):
        if key not in metadata:
            raise ModelError(f"the model bundle '{path}' is damaged: its metadata has no '{key}'")
    trained_on = metadata.get("trained_on", "")
    return ModelCard(
        name=str(metadata["name"]),
        kind="registration",
        trained_on="; ".join(map(str, trained_on)) if isinstance(trained_on, list) else trained_on,
        scores=dict(metadata.get("scores") or {}),
        weights_sha256=str(metadata["weights_sha256"]).lower(),
        license=str(metadata.get("license", "unknown")),
        path=path,
        metadata=metadata,
    )
