"""Beginning a training with the weights of a model that is there, and keeping part of them."""

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


def mix(net: torch.nn.Module, begun: torch.nn.Module, share: float) -> None:
    """Move the weights of a network part of the way back to those that it began with.

    That keeps much of what was learned, and more of what the start knew of scans unlike those of
    the training (M. Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).

    Parameters
    ----------
    net
        Changed in place.
    begun
        The same network as it began.
    share
        Of the way: 0 changes nothing, 1 undoes the training.
    """
    start = begun.state_dict()
    with torch.no_grad():
        for name, weight in net.state_dict().items():
            if weight.is_floating_point():
                weight.lerp_(start[name].to(weight), share)


def began_with(model: str | None, share: float) -> str:
    """Return the paragraph of a card on the start of a training; empty if it had none."""
    if model is None:
        return ""
    way = f"went {share:.0%} of the way back to\nthem (Wortsman et al., CVPR 2022)."
    return f"\n\nIt began with the weights of the model `{model}`, and in the end {way}"
