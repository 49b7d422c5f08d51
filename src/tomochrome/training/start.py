"""Beginning a training with the weights of a model that is there."""

from __future__ import annotations

import torch

from tomochrome.bundles import load_state
from tomochrome.colorization.cards import find_model
from tomochrome.errors import OptionError


def start_from(net: torch.nn.Module, model: str) -> None:
    """Give a network the weights of a model; input channels that it lacks begin at zero.

    So the network at first says what the model says, whatever the further channels show.

    Parameters
    ----------
    net
        Reads what the model reads, and perhaps further channels behind.
    model
        Name of a model, or the folder of its bundle.

    Raises
    ------
    ModelError
        If there is no such model.
    OptionError
        If its network is another one.
    """
    stored = load_state(find_model(model))
    state = {}
    for name, own in net.state_dict().items():
        weight = stored.get(name)
        if weight is not None and weight.ndim == own.ndim > 1:
            lacking = own.shape[1] - weight.shape[1]
            if lacking > 0 and own.shape[:1] + own.shape[2:] == weight.shape[:1] + weight.shape[2:]:
                weight = torch.cat([weight, torch.zeros_like(own[:, :lacking])], 1)
        if weight is None or weight.shape != own.shape:
            raise OptionError(
                f"a training cannot start from the model '{model}': its network is not the one "
                f"that the configuration describes ('{name}')"
            )
        state[name] = weight
    net.load_state_dict(state)
