"""Checkpoints turned into bundles: safetensors, metadata, model card, licence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from tomochrome.colorization.inputs import InputSpec
from tomochrome.colorization.network import build_network
from tomochrome.errors import InputError
from tomochrome.runtime import write_whole
from tomochrome.tissue import TISSUE_NAMES
from tomochrome.training.fit import HU_EDGES

if TYPE_CHECKING:
    from tomochrome.training.config import TrainingConfig
    from tomochrome.training.symnet_config import SymNetConfig

NOT_FOR_DIAGNOSIS = "Not for diagnosis: the colors are a model's guess and no measurement."


def load_mean(checkpoint: Path, network: Mapping[str, Any]) -> torch.nn.Module:
    """Return the network with the running mean of a checkpoint's weights, ready to predict.

    Raises
    ------
    InputError
        If the checkpoint cannot be read or is of another network.
    """
    net = build_network(network)
    try:
        data = torch.load(checkpoint, map_location="cpu", weights_only=True)
        net.load_state_dict(data["mean"])
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, UnpicklingError) as error:
        raise InputError(f"'{checkpoint}' is no checkpoint of this network") from error
    net.eval().requires_grad_(False)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def _half(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of convolutions as float16; vectors stay: a variance may exceed float16's range."""
    return {
        name: value.half().contiguous()
        if value.is_floating_point() and value.ndim > 1
        else value.contiguous()
        for name, value in state.items()
    }


def run_files(config: TrainingConfig | SymNetConfig, log: Sequence[str]) -> dict[str, str]:
    """Return the texts that a bundle keeps of its run: the configuration and the log."""
    settings = json.dumps(config.to_dict(), indent=2) + "\n"
    return {"configs/train.json": settings, "docs/log.csv": "\n".join(log) + "\n"}


def write_bundle(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, Any],
    card: str,
    license_text: str,
    extra: Mapping[str, str] | None = None,
) -> Path:
    """Write a bundle folder, whole or not at all, replacing one that is there.

    Parameters
    ----------
    folder
        The bundle's folder; its parent must exist.
    tensors
        What goes into ``models/model.safetensors``.
    metadata
        What goes into ``configs/metadata.json``; the SHA-256 is added.
    card, license_text
        ``docs/README.md`` and ``LICENSE``.
    extra
        Further texts by their path in the bundle.

    Raises
    ------
    InputError
        If a tensor holds infinities or NaN.
    """
    from safetensors.torch import save

    unsound = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if unsound:
        raise InputError(f"the weights hold numbers beyond all bounds ({unsound[0]}); train again")
    data = save(dict(tensors))
    stored = {**metadata, "weights_sha256": hashlib.sha256(data).hexdigest()}
    with write_whole(folder, force=True) as temporary:
        for name in ("configs", "models", "docs"):
            (temporary / name).mkdir(parents=True)
        (temporary / "models" / "model.safetensors").write_bytes(data)
        texts = {
            "configs/metadata.json": json.dumps(stored, indent=2, ensure_ascii=False) + "\n",
            "docs/README.md": card,
            "LICENSE": license_text,
            **(extra or {}),
        }
        for place, text in texts.items():
            (temporary / place).write_text(text, encoding="utf-8")
    return folder


def _common(
    name: str, kind: str, trained_on: list[str], scores: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "version": "0.1.0",
        "intended_use": NOT_FOR_DIAGNOSIS,
        "license": "BSD-3-Clause",
        "trained_on": trained_on,
        "scores": dict(scores),
        "classes": list(TISSUE_NAMES),
        "hu_edges": HU_EDGES,
    }


def export_network(
    folder: Path,
    name: str,
    network: Mapping[str, Any],
    net: torch.nn.Module,
    likelihood: NDArray[np.float32],
    *,
    temperature: float,
    trained_on: list[str],
    scores: Mapping[str, Any],
    card: str,
    license_text: str,
    title: str = "",
    description: str = "",
    extra: Mapping[str, str] | None = None,
) -> Path:
    """Write a trained network as a bundle; float16, which moves no probability visibly."""
    metadata = {
        **_common(name, "network", trained_on, scores),
        "title": title or name,
        "description": description,
        "task": "naming the tissue of each voxel of a CT, from which its color follows",
        "network": dict(network),
        "input": InputSpec().to_dict(),
        "temperature": round(temperature, 4),
        "monai_version": "1.5",
        "pytorch_version": "2.4",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "luminance",
                    "modality": "CT",
                    "num_channels": len(InputSpec().channels),
                    "spatial_shape": ["32*n", "32*n"],
                    "dtype": "float32",
                    "value_range": [0, 1],
                }
            },
            "outputs": {
                "pred": {
                    "type": "logits",
                    "format": "segmentation",
                    "num_channels": len(TISSUE_NAMES),
                    "spatial_shape": ["32*n", "32*n"],
                    "dtype": "float32",
                    "channel_def": {str(k): label for k, label in enumerate(TISSUE_NAMES)},
                }
            },
        },
    }
    tensors = {**_half(net.state_dict()), "hu_likelihood": torch.from_numpy(likelihood.copy())}
    return write_bundle(folder, tensors, metadata, card, license_text, extra)


def export_transfer(
    folder: Path,
    table: NDArray[np.float32],
    *,
    trained_on: list[str],
    scores: Mapping[str, Any],
    card: str,
    license_text: str,
) -> Path:
    """Write the lookup curve as a bundle."""
    metadata = {
        **_common("transfer-function", "transfer-function", trained_on, scores),
        "title": "Transfer function (no network)",
        "description": "the best curve from HU to color, no network: the baseline and fallback",
        "task": "color by Hounsfield unit alone",
    }
    tensors = {"probability": torch.from_numpy(table.copy())}
    return write_bundle(folder, tensors, metadata, card, license_text)
