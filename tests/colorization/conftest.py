"""Fixtures for the tests of colorization."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colorize_cases import INPUT, NETWORK, SIMPLE, draw_patient, likelihood, write_bundle

from tomochrome.tissue import Tissue
from tomochrome.volume import Volume, default_affine


@pytest.fixture
def network_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Factory of network bundles; with ``logits`` the output is the same everywhere."""

    def make(
        name: str = "constant",
        *,
        logits: dict[str, float] | None = None,
        seed: int = 0,
        table: np.ndarray | None = None,
        **metadata: Any,
    ) -> Path:
        import torch
        from safetensors.torch import save

        from tomochrome.colorization.network_builder import build_network

        torch.manual_seed(seed)
        config = metadata.setdefault("network", NETWORK)
        metadata.setdefault("input", INPUT)
        state = {k: v.clone().contiguous() for k, v in build_network(config).state_dict().items()}
        if logits is not None:
            # With weights of 0 in the last convolution, its bias is the output.
            *_, last_weight, last_bias = (k for k in state if k.endswith(("weight", "bias")))
            state[last_weight].zero_()
            state[last_bias].fill_(-9.0)
            for tissue, value in logits.items():
                state[last_bias][Tissue[tissue]] = value
        if table is None:
            table = likelihood(**SIMPLE)
        state["hu_likelihood"] = torch.from_numpy(table)
        return write_bundle(tmp_path / name, save(state), **metadata)

    return make


@pytest.fixture
def transfer_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Factory of transfer-function bundles with a table of 0.9 for the tissue of each HU range."""

    def make(name: str = "curve", table: np.ndarray | None = None, **metadata: Any) -> Path:
        from safetensors.numpy import save

        if table is None:
            table = 0.9 * (likelihood(**SIMPLE) > 0.5).astype(np.float32)
        weights = save({"probability": table})
        return write_bundle(tmp_path / name, weights, kind="transfer-function", **metadata)

    return make


@pytest.fixture(scope="session")
def drawn() -> tuple[Volume, dict[str, np.ndarray]]:
    """The synthetic patient as a volume, and its masks."""
    hu, masks = draw_patient()
    return Volume(hu, default_affine((3.0, 2.5, 2.5))), masks
