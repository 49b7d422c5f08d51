"""Model bundles on disk: metadata, model cards, weights and their hashes.

A bundle is a folder in MONAI's layout::

    weights/<name>/configs/metadata.json      what the model is, and what it was trained on
                   models/model.safetensors   its weights
                   models/photograph.safetensors   weights for grey photographs (optional)
                   docs/README.md             the model card for people

Nothing in a bundle is executed: the metadata is parsed as JSON, the weights are safetensors
(arrays of numbers), and their SHA-256 must match the metadata. A model is selected by its name or
by the path of a bundle folder. Names are those of the shipped bundles and of those in the folders
of the environment variable ``TOMOCHROME_MODELS``, which all menus offer, too.

The metadata, in addition to the usual keys of MONAI bundles (``version``, ``task`` ...)::

    name, license       strings
    title, description  display name, and a one-line description (optional)
    kind                "network", "transfer-function", "registration", "features" ...
    trained_on          string, or list of strings
    scores              {name: number}
    weights_sha256      SHA-256 of models/model.safetensors, hexadecimal

Further keys for each kind of model are documented where the models are built
(`tomochrome.colorization.cards`, `tomochrome.registration.symmetric_network`).
"""

from tomochrome.bundles.card import (
    DEFECTS,
    FEATURES,
    FOLDERS,
    METAL_MODEL,
    PHOTOGRAPH,
    PHOTOGRAPH_WEIGHTS,
    REGISTRATION,
    RESTORATION,
    WEIGHTS,
    ModelCard,
    Purpose,
    current_name,
    damaged,
    find_card,
    in_words,
    list_cards,
    read_card,
    reading_metadata,
    weights_folder,
)
from tomochrome.bundles.weights import eight_bit, fitted, load_arrays, load_state, read_weights

__all__ = [
    "DEFECTS",
    "FEATURES",
    "FOLDERS",
    "METAL_MODEL",
    "PHOTOGRAPH",
    "PHOTOGRAPH_WEIGHTS",
    "REGISTRATION",
    "RESTORATION",
    "WEIGHTS",
    "ModelCard",
    "Purpose",
    "current_name",
    "damaged",
    "eight_bit",
    "find_card",
    "fitted",
    "in_words",
    "list_cards",
    "load_arrays",
    "load_state",
    "read_card",
    "read_weights",
    "reading_metadata",
    "weights_folder",
]
