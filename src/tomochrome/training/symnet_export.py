"""A registration run turned into a bundle: safetensors, metadata, model card, licence, log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from tomochrome.errors import InputError
from tomochrome.registration.symnet import KIND, SymNet, build_symnet
from tomochrome.training.export import run_files, write_bundle
from tomochrome.training.symnet_card import symnet_card
from tomochrome.training.symnet_config import SymNetConfig

INTENDED_USE = "Not for diagnosis: a registration is a guess; look at it, and at its measures."
SHRINK_BY = 2
"""How much smaller than the working grid the shipped network's input is."""


def load_symnet_mean(checkpoint: Path, network: Mapping[str, Any]) -> SymNet:
    """Return the network with the running mean of a checkpoint's weights, ready to predict.

    Raises
    ------
    InputError
        If the checkpoint cannot be read or is of another network.
    """
    net = build_symnet(network)
    try:
        data = torch.load(checkpoint, map_location="cpu", weights_only=True)
        net.load_state_dict(data["mean"])
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, UnpicklingError) as error:
        raise InputError(f"'{checkpoint}' is no checkpoint of this network") from error
    return net.eval().requires_grad_(False)


def export_symnet(
    folder: Path,
    config: SymNetConfig,
    net: SymNet,
    *,
    trained_on: Sequence[str],
    scores: Mapping[str, Any],
    log: Sequence[str],
    license_text: str,
    notes: Sequence[str] = (),
) -> Path:
    """Write a trained registration network as a bundle in float16.

    Parameters
    ----------
    folder
        The bundle's folder; its parent must exist. One that is there is replaced.
    config, net
        The run's configuration, and the network to ship.
    trained_on
        What it was trained on, a sentence each.
    scores
        Figures for metadata and card.
    log
        Lines of the run's CSV, kept as ``docs/log.csv``.
    license_text
        ``LICENSE``.
    notes
        Paragraphs on this very run, for the card.

    Raises
    ------
    InputError
        If a weight is infinite or NaN.
    """
    half = {
        name: value.half().contiguous() if value.is_floating_point() else value.contiguous()
        for name, value in net.state_dict().items()
    }
    metadata = {
        "name": config.name,
        "title": "Registration network",
        "kind": KIND,
        "version": "0.1.0",
        "intended_use": INTENDED_USE,
        "license": "BSD-3-Clause",
        "trained_on": list(trained_on),
        "scores": dict(scores),
        "description": "where each of two volumes has to move to meet the other half-way",
        "task": "first answer of a symmetric diffeomorphic registration, which is then refined",
        "network": dict(config.network),
        "shrink_by": SHRINK_BY,
        "monai_version": "1.5",
        "pytorch_version": "2.4",
        "network_data_format": _data_format(net),
    }
    card = symnet_card(config, trained_on, scores, net, log, notes)
    return write_bundle(folder, half, metadata, card, license_text, run_files(config, log))


def _data_format(net: SymNet) -> dict[str, Any]:
    sizes = [f"{net.multiple}*n"] * 3
    image = {
        "type": "image",
        "format": "magnitude",
        "num_channels": 1,
        "spatial_shape": sizes,
        "dtype": "float32",
        "value_range": [0, 1],
    }
    velocity = {
        "type": "velocities of fixed and moving image, voxels of their own grid, (z, y, x)",
        "format": "field",
        "num_channels": 6,
        "spatial_shape": [f"{net.multiple // 2}*n"] * 3,
        "dtype": "float32",
        "value_range": [-net.reach, net.reach],
    }
    return {"inputs": {"fixed": image, "moving": image}, "outputs": {"pred": velocity}}
