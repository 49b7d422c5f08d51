"""Texts of the model cards and metadata of tissue networks and of the lookup table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tomochrome.colorization.inputs import InputSpec
from tomochrome.tissue import TISSUE_NAMES
from tomochrome.training.fit import HU_EDGES
from tomochrome.training.task_interface import NOT_FOR_DIAGNOSIS

_TITLES = {
    "tissue": "Tissue network, 2.5D",
    "tissue-7-slices": "Tissue network, 2.5D, 7 slices",
    "tissue-3d-unet": "Tissue network, 3D U-Net",
    "tissue-3d-segresnet": "Tissue network, 3D SegResNet",
}


def title(name: str) -> str:
    """Return the display name of a configuration's network."""
    return _TITLES.get(name, f"Tissue network ({name})")


def reading(spec: InputSpec) -> dict[str, str]:
    """Return the card's description of the network's input."""
    pixels = f"pixels of {spec.pixel_mm:g} mm"
    if spec.block is None:
        *near, last = (f"{c.offset_mm:g}" for c in spec.channels if c.offset_mm > 0)
        neighbours = (
            f"its neighbours {', '.join(near)} and {last} mm above and below through the "
            "soft-tissue window"
        )
        return {
            "unit": "slice",
            "dimensions": "2.5D",
            "reads": "the slice through a lung, soft-tissue, bone and narrow window, and "
            f"{neighbours}, on {pixels}",
        }
    return {
        "unit": "block",
        "dimensions": "3D",
        "shape": " x ".join(map(str, spec.block)),
        "reads": "its voxels through a lung, soft-tissue, bone and narrow window, in slices "
        f"{spec.slice_mm:g} mm apart on {pixels}; blocks overlap by {spec.overlap:.0%} of their "
        "size, and where they do the mean is taken",
    }


def emphasis(weights: Mapping[str, float]) -> str:
    """Return the card's sentence on the weights of single structures; empty without any."""
    if not weights:
        return ""
    parts = [f"{name.lower().replace('_', ' ')} {weight:g}" for name, weight in weights.items()]
    return f" Voxels of some structures count more: {', '.join(parts)}."


def curve_metadata(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the metadata of the lookup table; ``scores`` are by bundle name."""
    return {
        "kind": "transfer-function",
        "intended_use": NOT_FOR_DIAGNOSIS,
        "scores": dict(scores.get("transfer-function", {})),
        "classes": list(TISSUE_NAMES),
        "hu_edges": HU_EDGES,
        "title": "Transfer function (no network)",
        "description": "the best curve from HU to color, no network: the baseline and fallback",
        "task": "color by Hounsfield unit alone",
    }
