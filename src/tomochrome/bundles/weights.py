"""The weights of a bundle: safetensors, parsed only after their SHA-256 is verified."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from safetensors import SafetensorError
from safetensors.numpy import load

from tomochrome.bundles.card import ModelCard
from tomochrome.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.nn import Module

_MAX_WEIGHTS_BYTES: Final = 2 << 30
SCALE: Final = ".scale"  #: suffix of the scales of a tensor stored as int8

T = TypeVar("T")
Network = TypeVar("Network", bound="Module")


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

    stored = _parsed(card, load)
    scales = {name: stored.pop(name) for name in list(stored) if name.endswith(SCALE)}
    return {
        name: tensor.float() * scales[name + SCALE].float()
        if name + SCALE in scales
        else tensor.float()
        if tensor.is_floating_point()
        else tensor
        for name, tensor in stored.items()
    }


def fitted(network: Network, state: Mapping[str, Tensor], card: ModelCard) -> Network:
    """Return a network with weights, in evaluation mode and not trainable.

    Parameters
    ----------
    network
        The network that the card's metadata describes; changed in place.
    state
        The weights.
    card
        Their bundle, for the message.

    Returns
    -------
    torch.nn.Module
        The same network.

    Raises
    ------
    ModelError
        If the weights do not match the network.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"the weights of the model '{card.name}' do not match the network described by its "
            "metadata; reinstall the model"
        ) from error
    return network.eval().requires_grad_(False)


def eight_bit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with matrices as int8 and a scale for each output channel.

    `load_state` reads them. Vectors are kept as they are.
    """
    stored = {}
    for name, value in state.items():
        if not value.is_floating_point() or value.ndim < 2:
            stored[name] = value.contiguous()
            continue
        full = value.float()
        largest = full.abs().amax(dim=tuple(range(1, full.ndim)), keepdim=True)
        scale = (largest / 127).clamp(min=1e-12)
        stored[name] = (full / scale).round().char().contiguous()
        stored[name + SCALE] = scale
    return stored


def _parsed(card: ModelCard, load: Callable[[bytes], dict[str, T]]) -> dict[str, T]:
    data = read_weights(card)
    try:
        return dict(load(data))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"the weights '{card.path / card.weights}' of the model '{card.name}' are not a "
            "safetensors file; install the model again"
        ) from error
