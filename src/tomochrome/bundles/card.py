"""Finding a bundle by name or path, and reading its metadata into a model card."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from tomochrome.errors import ModelError

METADATA: Final = Path("configs") / "metadata.json"
WEIGHTS: Final = Path("models") / "model.safetensors"
PHOTOGRAPH_WEIGHTS: Final = Path("models") / "photograph.safetensors"
PHOTOGRAPH: Final = "photograph"
"""Entry of the metadata of models that color photographs: ``body_pixels``, the length of the body
in pixels, and ``weights_sha256`` if `PHOTOGRAPH_WEIGHTS` holds weights of their own for them."""
METAL_MODEL: Final = "metal_model"
"""Entry of the metadata of models of restoration: the model that fills slices with metal in its
place."""
FOLDERS: Final = "TOMOCHROME_MODELS"
"""Environment variable: folders of further bundles, separated as in ``PATH``."""
_PACKAGE: Final = Path(__file__).resolve().parents[1]
_MAX_METADATA_BYTES: Final = 4 << 20
_EARLIER_NAMES: Final = {"tissue3d": "tissue"}
_REQUIRED: Final = ("name", "kind", "weights_sha256")
_TYPES: Final[dict[str, type]] = {
    "name": str, "kind": str, "weights_sha256": str, "license": str, "scores": dict,
    "classes": list, "title": str, "description": str,
}  # fmt: skip
_TYPE_NAMES: Final[dict[type, str]] = {str: "a text", dict: "an object", list: "a list"}
_MALFORMED: Final = (
    TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip


@dataclass(frozen=True)
class Purpose:
    """A purpose that models serve.

    Parameters
    ----------
    noun
        Name of such a model in messages.
    kinds
        Kinds of bundles that serve the purpose.
    required
        Additional required keys of their metadata.
    """

    noun: str
    kinds: tuple[str, ...]
    required: tuple[str, ...] = ()


REGISTRATION: Final = Purpose("registration model", ("registration",), ("network",))
RESTORATION: Final = Purpose("restoration model", ("restoration",), ("network",))
DEFECTS: Final = Purpose("defect finder", ("defects",), ("network", "temperature"))
FEATURES: Final = Purpose("feature network", ("features",), ("network", "input"))


@dataclass(frozen=True)
class ModelCard:
    """What a user should know about a model before trusting its results.

    Attributes
    ----------
    name
        Name by which the model is selected.
    kind
        ``"network"``, ``"transfer-function"``, ``"registration"`` ...
    trained_on
        Description of the training data.
    scores
        Evaluation results by name.
    weights_sha256
        SHA-256 of its weights file, in hexadecimal.
    license
        SPDX identifier of the license of the weights.
    path
        Bundle folder.
    metadata
        Content of the bundle's ``metadata.json``.
    weights
        Its weights file, relative to the bundle folder.
    """

    name: str
    kind: str
    trained_on: str
    scores: Mapping[str, Any]
    weights_sha256: str
    license: str
    path: Path
    metadata: Mapping[str, Any] = field(repr=False, default_factory=dict)
    weights: Path = WEIGHTS

    @property
    def title(self) -> str:
        """Display name; ``name`` if the metadata has none."""
        return str(self.metadata.get("title") or self.name)

    @property
    def description(self) -> str:
        """One-line description; empty if the metadata has none."""
        return str(self.metadata.get("description") or "")

    def for_photographs(self) -> ModelCard:
        """Return the card with the weights for photographs, where the bundle has such."""
        entry = self.metadata.get(PHOTOGRAPH)
        if not isinstance(entry, Mapping) or "weights_sha256" not in entry:
            return self
        sha256 = str(entry["weights_sha256"]).lower()
        return replace(self, weights=PHOTOGRAPH_WEIGHTS, weights_sha256=sha256)

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


def in_words(value: Any) -> str:
    """Return the name of a score, a score, or a mapping of scores as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{in_words(name)} {in_words(part)}" for name, part in value.items())
    return str(value).replace("_", " ")


def weights_folder() -> Path:
    """Return the folder of the shipped bundles: inside an installed package, or beside ``src``."""
    installed = _PACKAGE / "weights"
    return installed if installed.is_dir() else _PACKAGE.parents[1] / "weights"


def list_cards(purpose: Purpose, folder: str | os.PathLike[str] | None = None) -> list[ModelCard]:
    """Return the cards of all models in a folder that serve a purpose.

    Parameters
    ----------
    purpose
        The purpose.
    folder
        Folder of bundles; by default the shipped ``weights/`` and the folders in `FOLDERS`.

    Returns
    -------
    list of ModelCard
        Sorted by name: that of the bundle's folder, or its path where the name is taken.

    Raises
    ------
    ModelError
        If the metadata of a bundle cannot be read.
    """
    bundles = sorted(_bundles(folder).items())
    named = [(name, path) for name, path in bundles if _metadata(path).get("kind") in purpose.kinds]
    return [replace(read_card(path, purpose), name=name) for name, path in named]


def current_name(model: str) -> str:
    """Return the present name of a model that was renamed; any other text is returned as it is.

    Parameters
    ----------
    model
        Name of a model, or a path.

    Returns
    -------
    str
        Name under which the model is shipped now.
    """
    return _EARLIER_NAMES.get(model, model)


def find_card(model: str | os.PathLike[str], purpose: Purpose) -> ModelCard:
    """Return the card of a shipped model or of a bundle folder.

    Parameters
    ----------
    model
        Name of a model that `list_cards` lists (an earlier name too), or a bundle folder.
    purpose
        The purpose that the model must serve.

    Returns
    -------
    ModelCard
        The validated card.

    Raises
    ------
    ModelError
        If there is no such model for this purpose, or its metadata is missing or damaged.
    """
    bundles, name = _bundles(None), os.fspath(model)
    path = bundles.get(current_name(name)) if isinstance(model, str) else None
    if path is not None and _metadata(path).get("kind") in purpose.kinds:
        return replace(read_card(path, purpose), name=current_name(name))
    if path is None and name and Path(name).is_dir():
        return read_card(Path(name), purpose)
    names = ", ".join(card.name for card in list_cards(purpose)) or "none are installed"
    raise ModelError(
        f"unknown {purpose.noun} '{name}': choose one of {names}, "
        "or give the path of a bundle folder"
    )


def read_card(path: Path, purpose: Purpose) -> ModelCard:
    """Read and validate the metadata of the bundle folder ``path``.

    Parameters
    ----------
    path
        Bundle folder.
    purpose
        As for `find_card`.

    Returns
    -------
    ModelCard
        The card.

    Raises
    ------
    ModelError
        If the metadata is missing, is not JSON, or does not describe a model for this purpose.
    """
    metadata = _metadata(path)
    for key in _REQUIRED:
        _require(metadata, key, path)
    if metadata["kind"] not in purpose.kinds:
        raise ModelError(
            f"the model bundle '{path}' is of the kind {metadata['kind']!r}, not "
            f"{' or '.join(purpose.kinds)}; choose another model"
        )
    for key in purpose.required:
        _require(metadata, key, path)
    for key, kind in _TYPES.items():
        value = metadata.get(key)
        if not (isinstance(value, kind) or (value is None and key not in _REQUIRED)):
            raise damaged(path, f"its '{key}' is not {_TYPE_NAMES[kind]}")
    trained_on = metadata.get("trained_on", "")
    trained_on = trained_on if isinstance(trained_on, list) else [trained_on]
    return ModelCard(
        name=str(metadata["name"]),
        kind=metadata["kind"],
        trained_on="; ".join(map(str, trained_on))
        if isinstance(trained_on, list)
        else str(trained_on),
        scores=dict(metadata.get("scores") or {}),
        weights_sha256=str(metadata["weights_sha256"]).lower(),
        license=str(metadata.get("license", "unknown")),
        path=path,
        metadata=metadata,
    )


def damaged(path: Path, fact: str) -> ModelError:
    """Return the error for metadata that do not have the expected form.

    Parameters
    ----------
    path
        Folder of the bundle.
    fact
        What is wrong, as a clause.

    Returns
    -------
    ModelError
        The error to raise.
    """
    return ModelError(
        f"the metadata of the model bundle '{path}' is damaged: {fact}; install the model again"
    )


@contextmanager
def reading_metadata(path: Path) -> Iterator[None]:
    """Raise `ModelError` where code that reads a bundle's metadata meets an unexpected form.

    Metadata come from anybody, and a value of another type or size can fail anywhere in the
    construction of a model.

    Parameters
    ----------
    path
        Folder of the bundle.

    Raises
    ------
    ModelError
        If a value has an unexpected form.
    """
    try:
        yield
    except _MALFORMED as error:
        fact = f"a value has an unexpected form ({type(error).__name__})"
        raise damaged(path, fact) from error


def _require(metadata: Mapping[str, Any], key: str, path: Path) -> None:
    if key not in metadata:
        raise ModelError(
            f"the model bundle '{path}' is damaged or not a Tomochrome model: its metadata has no "
            f"'{key}'"
        )


def _bundles(folder: str | os.PathLike[str] | None) -> dict[str, Path]:
    """Return bundle folders by name."""
    if folder is not None:
        return _bundles_in(Path(folder))
    bundles = _bundles_in(weights_folder())
    for further in filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)):
        for name, path in _bundles_in(Path(further)).items():
            bundles[str(path) if name in bundles else name] = path
    return bundles


def _bundles_in(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        return {}
    return {path.name: path for path in root.iterdir() if (path / METADATA).is_file()}


def _metadata(path: Path) -> dict[str, Any]:
    """Parse the metadata.json of a bundle folder; raise `ModelError` if it is invalid."""
    file = path / METADATA
    try:
        if file.stat().st_size > _MAX_METADATA_BYTES:
            raise ModelError(
                f"the model's metadata '{file}' is too large for a model of this program"
            )
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"'{path}' is not a model bundle: '{METADATA}' cannot be read ({error.strerror})"
        ) from error
    except RecursionError as error:
        raise ModelError(
            f"the model's metadata '{file}' is damaged: its brackets are nested too deeply"
        ) from error
    except ValueError as error:
        raise ModelError(f"the model's metadata '{file}' is not JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise ModelError(f"the model's metadata '{file}' is not a JSON object")
    return metadata
