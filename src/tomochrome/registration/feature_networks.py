"""Networks whose features are compared in registration: AlexNet, VGG16 and ResNet18, truncated.

Krizhevsky et al. (NIPS 2012), Simonyan and Zisserman (ICLR 2015) and He et al. (CVPR 2016), with
layers and names of parameters as in torchvision, so that weights of torchvision's networks fit.
Only the first layers are built: features of few levels, dense and cheap. The shipped weights were
trained to name the tissue of each pixel of an axial slice (`tomochrome.training`).
"""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from tomochrome.bundles import FEATURES, find_card, fitted, load_state, reading_metadata
from tomochrome.colorization.inputs import Channel, InputSpec
from tomochrome.errors import ModelError, OptionError

N_CHANNELS: Final = 3
"""Input channels: luminances of a lung, a soft-tissue and a bone window in place of RGB."""
SPEC: Final = InputSpec(
    2.0, channels=(Channel(-600.0, 1500.0), Channel(40.0, 400.0), Channel(400.0, 1800.0))
)
"""The input for weights of the user, which say nothing about theirs."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as in torchvision
_MAX_BYTES: Final = 2 << 30


class FeatureNetwork(nn.Module):
    """The first layers of a network for pictures, as an extractor of features.

    Attributes
    ----------
    widths, strides
        Channels of each level, from fine to coarse, and pixels of the input per pixel of it.
    enlarge
        Factor by which slices are enlarged first, as organs are smaller than things in photographs.
    multiple
        What the height and width of an input must be a multiple of.
    """

    widths: tuple[int, ...]
    strides: tuple[int, ...] = (1, 2, 4)
    enlarge: int = 1
    multiple: int = 8

    def levels(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of each level of normalized pictures."""
        raise NotImplementedError

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the features (n, channels, y / stride, x / stride) of each level.

        Parameters
        ----------
        images
            Luminances (n, `N_CHANNELS`, y, x), 0 to 1.
        """
        mean, deviation = (
            images.new_tensor(values)[:, None, None] for values in (_MEAN, _DEVIATION)
        )
        images = (images - mean) / deviation
        if self.enlarge > 1:
            images = functional.interpolate(images, scale_factor=self.enlarge, mode="bilinear")
        return self.levels(images)


class _Plain(FeatureNetwork):
    """Layers in a row, with the features after some of them."""

    ends: tuple[int, ...]  # the last layer of each level

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)

    def levels(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of each level of normalized pictures."""
        levels = []
        for k, layer in enumerate(self.features):
            images = layer(images)
            if k in self.ends:
                levels.append(images)
        return levels


class AlexNet(_Plain):
    """AlexNet up to its second convolution."""

    widths, strides, ends, enlarge = (64, 192), (2, 4), (1, 4), 2

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(N_CHANNELS, 64, 11, stride=4, padding=5), nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(),
        )  # fmt: skip


class VGG16(_Plain):
    """VGG16 up to its fifth convolution."""

    widths, ends = (64, 128, 256), (3, 8, 11)

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for width, before in ((64, N_CHANNELS), (64, 64), (128, 64), (128, 128), (256, 128)):
            if width > before > N_CHANNELS:
                layers.append(nn.MaxPool2d(2))
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
        super().__init__(*layers)


class _BasicBlock(nn.Module):
    """Two convolutions beside an identity, or beside a convolution with the same stride."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = (
            nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            if stride > 1
            else nn.Identity()
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features (n, width, y / stride, x / stride)."""
        change = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(features)))))
        return functional.relu(self.downsample(features) + change)


class ResNet18(FeatureNetwork):
    """ResNet18 up to its second group of blocks."""

    widths, enlarge = (64, 64, 128), 2

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(N_CHANNELS, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(_BasicBlock(64, 64, 1), _BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(_BasicBlock(64, 128, 2), _BasicBlock(128, 128, 1))

    def levels(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of each level of normalized pictures."""
        first = functional.relu(self.bn1(self.conv1(images)))
        second = self.layer1(functional.max_pool2d(first, 3, stride=2, padding=1))
        return [first, second, self.layer2(second)]


NETWORKS: Final[Mapping[str, type[FeatureNetwork]]] = {
    "AlexNet": AlexNet,
    "VGG16": VGG16,
    "ResNet18": ResNet18,
}
"""The networks by the name that a bundle's metadata gives."""
BACKBONES: Final = {name.lower(): name for name in NETWORKS}
"""Their names by those of the command line; the bundles are ``features-alexnet`` and so on."""


def build_features(config: Mapping[str, Any]) -> FeatureNetwork:
    """Build the network that a bundle's metadata describes, with random weights.

    Raises
    ------
    ModelError
        If there is no such network.
    """
    name = config.get("name")
    if not isinstance(name, str) or name not in NETWORKS or set(config) != {"name"}:
        raise ModelError(
            f"the feature network {name!r} is not supported; supported are {', '.join(NETWORKS)}, "
            "without parameters"
        )
    network = NETWORKS[name]()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def load_features(
    backbone: str, weights: str | os.PathLike[str] | None = None
) -> tuple[FeatureNetwork, InputSpec]:
    """Return a feature network with weights, and the specification of its input.

    Parameters
    ----------
    backbone
        ``"alexnet"``, ``"vgg16"`` or ``"resnet18"``.
    weights
        File with weights of the whole network or of its first layers, as torchvision names them,
        or the folder of a bundle; None for the shipped bundle.

    Raises
    ------
    OptionError
        If there is no such backbone.
    ModelError
        If the weights are missing, damaged, or of another network.
    """
    if backbone not in BACKBONES:
        raise OptionError(f"unknown backbone '{backbone}': choose one of {', '.join(BACKBONES)}")
    folder = Path(weights) if weights is not None and Path(weights).is_dir() else None
    if weights is not None and folder is None:
        network = build_features({"name": BACKBONES[backbone]})
        network.load_state_dict(_fitting(network, weights, backbone), strict=False)
        return network.eval().requires_grad_(False), SPEC
    card = find_card(folder or f"features-{backbone}", FEATURES)
    with reading_metadata(card.path):
        network = build_features(card.metadata["network"])
        spec = InputSpec.from_dict(card.metadata["input"])
    if not isinstance(network, NETWORKS[BACKBONES[backbone]]):
        raise ModelError(f"the weights '{card.path}' are not of {backbone}, but of another network")
    return fitted(network, load_state(card), card), spec


def _fitting(
    network: FeatureNetwork, path: str | os.PathLike[str], backbone: str
) -> dict[str, torch.Tensor]:
    """Return the weights of a file that a network has; those of deeper layers are left out."""
    stored = _read_state(Path(path))
    state = {}
    for name, own in network.state_dict().items():
        weight = stored.get(name)
        if weight is None and name.endswith("num_batches_tracked"):
            continue  # old files lack it
        if weight is None:
            raise ModelError(f"the weights '{path}' are not of {backbone}: they have no '{name}'")
        if weight.shape != own.shape:
            shapes = " and not ".join(str(tuple(w.shape)) for w in (weight, own))
            raise ModelError(
                f"the weights '{path}' are not of {backbone}: '{name}' has the shape {shapes}"
            )
        if not torch.isfinite(weight).all():
            raise ModelError(f"the weights '{path}' contain infinite or NaN values in '{name}'")
        state[name] = weight.float() if weight.is_floating_point() else weight
    return state


def _read_state(path: Path) -> Mapping[str, torch.Tensor]:
    """Return the state dict of a safetensors file, or of one written by ``torch.save``."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"the weights '{path}' are too large for a feature network")
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"the weights '{path}' cannot be read ({error.strerror})") from error
    except (SafetensorError, RuntimeError, ValueError, EOFError, KeyError,
            pickle.UnpicklingError) as error:  # fmt: skip
        raise ModelError(
            f"the weights '{path}' are neither safetensors nor a state dict of torch; save the "
            "network's state_dict() with torch.save or safetensors"
        ) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(weight, torch.Tensor) for weight in state.values()
    ):
        raise ModelError(
            f"the weights '{path}' are not a state dict, which holds only tensors by name; save "
            "the network's state_dict()"
        )
    return OrderedDict(state)
