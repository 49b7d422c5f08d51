"""Construction of networks from configurations, which are treated as data and never evaluated.

A bundle's metadata holds a network's name and its parameters. Only networks in `NETWORKS` are
built, only with the parameters listed there, and each parameter is validated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from tomochrome.bundles.monai_imports import MONAI_IMPORTS
from tomochrome.colorization.color_networks import (
    LAYERS,
    BigColor,
    DynamicUNet,
    Scim,
    Zhang,
    color_unet,
)
from tomochrome.errors import ModelError

with MONAI_IMPORTS:
    from monai.networks.nets import SegResNet, UNet

_MAX_CHANNELS = 1024
_MAX_LEVELS = 8
_NORMS = ("batch", "instance")
_ACTIVATIONS = ("relu", "leakyrelu", "prelu")


def _integer(config: Mapping[str, Any], key: str, low: int, high: int) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ModelError(
            f"the network's '{key}' must be an integer from {low} to {high}, not {value!r}; "
            "the model's metadata is damaged or from another program"
        )
    return value


def _integer_list(config: Mapping[str, Any], key: str, low: int, high: int) -> list[int]:
    values = config.get(key)
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) > _MAX_LEVELS:
        raise ModelError(f"the network's '{key}' must be a list of at most {_MAX_LEVELS} numbers")
    return [_integer({key: value}, key, low, high) for value in values]


def _choice(config: Mapping[str, Any], key: str, names: tuple[str, ...]) -> str:
    value = config.get(key, names[0])
    if value not in names:
        raise ModelError(f"the network's '{key}' must be one of {', '.join(names)}, not {value!r}")
    return str(value)


def _unet(config: Mapping[str, Any]) -> torch.nn.Module:
    channels = _integer_list(config, "channels", 1, _MAX_CHANNELS)
    strides = _integer_list(config, "strides", 1, 2)
    if len(channels) < 2 or len(strides) != len(channels) - 1:
        raise ModelError(
            f"the network has {len(channels)} levels but {len(strides)} strides between them; "
            "the model's metadata is damaged"
        )
    return UNet(
        spatial_dims=_integer({"spatial_dims": 2, **config}, "spatial_dims", 2, 3),
        in_channels=_integer(config, "in_channels", 1, 64),
        out_channels=_integer(config, "out_channels", 1, 256),
        channels=channels,
        strides=strides,
        num_res_units=_integer(config, "num_res_units", 0, 4),
        norm=_choice(config, "norm", _NORMS),
        act=_choice(config, "act", _ACTIVATIONS),
    )


def _segresnet(config: Mapping[str, Any]) -> torch.nn.Module:
    down, up = (_integer_list(config, key, 1, 8) for key in ("blocks_down", "blocks_up"))
    if not down or len(up) != len(down) - 1:
        raise ModelError(
            f"the network has {len(down)} encoder levels but {len(up)} decoder levels; the "
            "model's metadata is damaged"
        )
    return SegResNet(
        spatial_dims=_integer({"spatial_dims": 3, **config}, "spatial_dims", 2, 3),
        init_filters=_integer(config, "init_filters", 1, 128),
        in_channels=_integer(config, "in_channels", 1, 64),
        out_channels=_integer(config, "out_channels", 1, 256),
        norm=_choice(config, "norm", _NORMS),
        blocks_down=down,
        blocks_up=up,
    )


def _scim(config: Mapping[str, Any]) -> torch.nn.Module:
    return Scim(_integer(config, "in_channels", 1, 64), _integer(config, "out_channels", 1, 1024))


def _zhang(config: Mapping[str, Any]) -> torch.nn.Module:
    return Zhang(
        _integer(config, "in_channels", 1, 64),
        _integer(config, "out_channels", 1, 1024),
        _integer(config, "width", 2, 128),
    )


def _color_unet(config: Mapping[str, Any]) -> torch.nn.Module:
    features = _integer_list(config, "features", 1, _MAX_CHANNELS)
    if len(features) != 6:
        raise ModelError(f"the network's 'features' must be 6 numbers, not {len(features)}")
    return color_unet(
        _integer(config, "in_channels", 1, 64),
        _integer(config, "out_channels", 1, 1024),
        features,
        _choice(config, "upsampling", ("bilinear", "nearest", "transposed")),
    )


def _generator(config: Mapping[str, Any]) -> torch.nn.Module:
    layers = _integer(config, "layers", 1, 1000)
    if layers not in LAYERS:
        raise ModelError(
            f"the network's 'layers' must be one of {', '.join(map(str, LAYERS))}, not {layers}"
        )
    widths, decoder = (
        _integer_list(config, key, 1, _MAX_CHANNELS) for key in ("widths", "decoder")
    )
    for key, channels, length in (("widths", widths, 4), ("decoder", decoder, 5)):
        if len(channels) != length:
            raise ModelError(f"the network's '{key}' must be {length} numbers, not {len(channels)}")
    unet: dict[str, Any] = {
        "in_channels": _integer(config, "in_channels", 1, 64),
        "out_channels": _integer(config, "out_channels", 1, 1024),
        "layers": layers,
        "widths": widths,
        "decoder": decoder,
    }
    if config["name"] == "BigColor":
        return BigColor(_integer(config, "latent", 1, 512), **unet)
    return DynamicUNet(**unet)


def _strides(config: Mapping[str, Any]) -> int:
    return math.prod(_integer_list(config, "strides", 1, 2))


class NetworkType(NamedTuple):
    """A supported network architecture.

    Attributes
    ----------
    build
        Builds the network from a configuration.
    parameters
        Keys allowed in a configuration in addition to the name.
    multiple
        Returns the number that each input dimension must be a multiple of.
    """

    build: Callable[[Mapping[str, Any]], torch.nn.Module]
    parameters: frozenset[str]
    multiple: Callable[[Mapping[str, Any]], int]


_CHANNELS = frozenset({"in_channels", "out_channels"})
_RESNET = _CHANNELS | {"layers", "widths", "decoder"}
NETWORKS: dict[str, NetworkType] = {
    "UNet": NetworkType(
        _unet,
        _CHANNELS | {"spatial_dims", "channels", "strides", "num_res_units", "norm", "act"},
        _strides,
    ),
    "SegResNet": NetworkType(
        _segresnet,
        _CHANNELS | {"spatial_dims", "init_filters", "norm", "blocks_down", "blocks_up"},
        lambda config: 2 ** (len(_integer_list(config, "blocks_down", 1, 8)) - 1),
    ),
    "Scim": NetworkType(_scim, _CHANNELS, lambda _: 8),
    "ColorUNet": NetworkType(_color_unet, _CHANNELS | {"features", "upsampling"}, lambda _: 16),
    "Zhang": NetworkType(_zhang, _CHANNELS | {"width"}, lambda _: 8),
    "DynamicUNet": NetworkType(_generator, _RESNET, lambda _: 32),
    "BigColor": NetworkType(_generator, _RESNET | {"latent"}, lambda _: 32),
}
"""Supported networks by name."""


def build_network(config: Mapping[str, Any]) -> torch.nn.Module:
    """Build the network that ``config`` describes, with randomly initialized weights.

    Parameters
    ----------
    config
        For example ``{"name": "UNet", "in_channels": ..., "out_channels": ..., "channels": [...],
        "strides": [...], "num_res_units": ..., "norm": "batch", "act": "leakyrelu"}``, and
        ``"spatial_dims": 3`` for blocks; see `NETWORKS`. The network maps float
        (n, in_channels, [z,] y, x) to (n, out_channels, [z,] y, x); those of
        `tomochrome.colorization.color_networks` may return a coarser grid.

    Raises
    ------
    ModelError
        If the name or a parameter is unknown, or a value has the wrong type or size.
    """
    kind = _network_type(config)
    unknown = sorted(set(config) - kind.parameters - {"name"})
    if unknown:
        names = ", ".join(map(repr, unknown))
        raise ModelError(f"the network '{config['name']}' has no parameter {names}")
    return kind.build(config)


def size_multiple(config: Mapping[str, Any]) -> int:
    """Return the number that each input dimension of the network must be a multiple of.

    Raises
    ------
    ModelError
        If the network is unknown, or its strides are invalid.
    """
    return _network_type(config).multiple(config)


def _network_type(config: Mapping[str, Any]) -> NetworkType:
    name = config.get("name")
    if not isinstance(name, str) or name not in NETWORKS:
        raise ModelError(
            f"the network {name!r} is not supported; supported are {', '.join(NETWORKS)}"
        )
    return NETWORKS[name]
