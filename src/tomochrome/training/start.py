"""Fine-tuning: starting from the weights of an existing model, and interpolating back to them."""

from __future__ import annotations

import torch

from tomochrome.bundles import Purpose, find_card, load_state
from tomochrome.colorization.cards import find_model
from tomochrome.errors import ModelError, OptionError


def start_from(
    net: torch.nn.Module, model: str, *, partly: bool = False, purpose: Purpose | None = None
) -> None:
    """Load the weights of a model into a network; weights of additional input channels are zero.

    The network initially predicts the same as the model, whatever the additional channels contain.

    Parameters
    ----------
    net
        Network with the model's input channels, optionally followed by additional ones.
    model
        Name of a model, or the folder of its bundle.
    partly
        Whether up to half of the weights may be missing in the model; they remain as they are.
    purpose
        What the model serves; by default colorization.

    Raises
    ------
    ModelError
        If there is no such model, or it is damaged.
    OptionError
        If its network is a different one.
    """
    try:
        card = find_model(model) if purpose is None else find_card(model, purpose)
    except ModelError as error:
        raise ModelError(
            f"training cannot start from the model '{model}'; train that one first, or change "
            f"'start' in the configuration ({error})"
        ) from error
    stored = load_state(card)
    state, n_taken = {}, 0
    for name, own in net.state_dict().items():
        weight = stored.get(name)
        if weight is not None and weight.ndim == own.ndim > 1:
            added = own.shape[1] - weight.shape[1]
            if added > 0 and own.shape[:1] + own.shape[2:] == weight.shape[:1] + weight.shape[2:]:
                weight = torch.cat([weight, torch.zeros_like(own[:, :added])], 1)
        if weight is not None and weight.shape == own.shape:
            state[name] = weight
            n_taken += own.numel()
        elif not partly:
            raise _other_network(model, f"'{name}'")
    if 2 * n_taken < sum(own.numel() for own in net.state_dict().values()):
        raise _other_network(model, "more than half of the weights")
    net.load_state_dict(state, strict=False)


def _other_network(model: str, difference: str) -> OptionError:
    return OptionError(
        f"training cannot start from the model '{model}': its network differs from the "
        f"configuration's ({difference})"
    )


def interpolate_weights(net: torch.nn.Module, initial: torch.nn.Module, share: float) -> None:
    """Interpolate the weights of a network back towards its initial ones.

    This keeps most of what was learned and retains more of the initial model's robustness on other
    scans (M. Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).

    Parameters
    ----------
    net
        The trained network; changed in place.
    initial
        The same network with its initial weights.
    share
        Interpolation weight: 0 changes nothing, 1 restores the initial weights.
    """
    start = initial.state_dict()
    with torch.no_grad():
        for name, weight in net.state_dict().items():
            if weight.is_floating_point():
                weight.lerp_(start[name].to(weight), share)


def began_with(model: str | None, share: float) -> str:
    """Return the model card's paragraph on the initial weights; empty without any."""
    if model is None:
        return ""
    way = f"went {share:.0%} of the way back to\nthem (Wortsman et al., CVPR 2022)."
    return f"\n\nIt began with the weights of the model `{model}`, and in the end {way}"
