"""The weights of a bundle: safetensors, parsed only after their SHA-256 is verified."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from safetensors import SafetensorError
from safetensors.numpy import load

from tomochrome.bundles.card import ModelCard
from tomochrome.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_MAX_WEIGHTS_BYTES: Final = 2 << 30

T = TypeVar("T")


def read_weights(card: ModelCard) -> bytes:
    """Return the content of the model's safetensors file after verifying its SHA-256.

    Raises
    ------
    ModelError
        If the file is missing, too large, or does not match the hash in the metadata.
    """
    path = card.path / card.weights
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
    return _parsed(card, load)


def load_state(card: ModelCard) -> dict[str, Tensor]:
    """Return the model's tensors as a torch state dict in float32 on the CPU.

    Raises
    ------
    ModelError
        If the weights are missing, damaged or not safetensors.
    """
    from safetensors.torch import load

    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in _parsed(card, load).items()
    }


def _parsed(card: ModelCard, load: Callable[[bytes], dict[str, T]]) -> dict[str, T]:
    data = read_weights(card)
    try:
        return dict(load(data))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"the weights '{card.path / card.weights}' of the model '{card.name}' are not a "
            "safetensors file; install the model again"
        ) from error
