"""Networks built from a description that is read as data and never evaluated.

A bundle's metadata holds a network's name and its parameters. Only names in
`NETWORKS` are built, only with parameters listed there, each checked for its type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tomochrome.bundles.monai_imports import MONAI_IMPORTS
from tomochrome.errors import ModelError

if TYPE_CHECKING:
    import torch

_MAX_CHANNELS = 1024
_MAX_LEVELS = 8
_NORMS = ("batch", "instance")
_ACTIVATIONS = ("relu", "leakyrelu", "prelu")


def _whole(config: Mapping[str, Any], key: str, low: int, high: int) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ModelError(
            f"the network's '{key}' must be a whole number from {low} to {high}, not {value!r}; "
            "the model's metadata is damaged or from another program"
        )
    return value


def _whole_list(config: Mapping[str, Any], key: str, low: int, high: int) -> list[int]:
    values = config.get(key)
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) > _MAX_LEVELS:
        raise ModelError(f"the network's '{key}' must be a list of at most {_MAX_LEVELS} numbers")
    return [_whole({key: value}, key, low, high) for value in values]


def _choice(config: Mapping[str, Any], key: str, names: tuple[str, ...]) -> str:
    value = config.get(key, names[0])
    if value not in names:
        raise ModelError(f"the network's '{key}' must be one of {', '.join(names)}, not {value!r}")
    return str(value)


def _unet(config: Mapping[str, Any]) -> torch.nn.Module:
    with MONAI_IMPORTS:
        from monai.networks.nets import UNet

    channels = _whole_list(config, "channels", 1, _MAX_CHANNELS)
    strides = _whole_list(config, "strides", 1, 2)
    if len(channels) < 2 or len(strides) != len(channels) - 1:
        raise ModelError(
            f"the network has {len(channels)} levels but {len(strides)} strides between them; "
            "the model's metadata is damaged"
        )
    return UNet(
        spatial_dims=_whole({"spatial_dims": 2, **config}, "spatial_dims", 2, 3),
        in_channels=_whole(config, "in_channels", 1, 64),
        out_channels=_whole(config, "out_channels", 1, 256),
        channels=channels,
        strides=strides,
        num_res_units=_whole(config, "num_res_units", 0, 4),
        norm=_choice(config, "norm", _NORMS),
        act=_choice(config, "act", _ACTIVATIONS),
    )


NETWORKS: dict[str, tuple[Callable[[Mapping[str, Any]], torch.nn.Module], frozenset[str]]] = {
    "UNet": (
        _unet,
        frozenset(
            {"spatial_dims", "in_channels", "out_channels", "channels", "strides", "num_res_units"}
            | {"norm", "act"}
        ),
    ),
}
"""Builders of networks by name, and the parameters each understands."""


def build_network(config: Mapping[str, Any]) -> torch.nn.Module:
    """Build the network that ``config`` describes, with fresh weights.

    Parameters
    ----------
    config
        ``{"name": "UNet", "in_channels": ..., "out_channels": ..., "channels": [...],
        "strides": [...], "num_res_units": ..., "norm": "batch", "act": "leakyrelu"}``, and for
        blocks ``"spatial_dims": 3``. The network maps float (n, in_channels, [z,] y, x) to
        (n, out_channels, [z,] y, x).

    Raises
    ------
    ModelError
        If the name or a parameter is unknown, or a value has the wrong type or size.
    """
    name = config.get("name")
    if not isinstance(name, str) or name not in NETWORKS:
        raise ModelError(
            f"the network {name!r} is not one of those this program builds ({', '.join(NETWORKS)})"
        )
    build, known = NETWORKS[name]
    unknown = sorted(set(config) - known - {"name"})
    if unknown:
        raise ModelError(f"the network '{name}' has no parameter {', '.join(map(repr, unknown))}")
    return build(config)


def size_multiple(config: Mapping[str, Any]) -> int:
    """Return what each side of the network's input must be a multiple of."""
    factor = 1
    for stride in _whole_list(config, "strides", 1, 2):
        factor *= stride
    return factor
