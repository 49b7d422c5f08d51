"""Sample patients, generated on demand: File > Open Sample > Tomochrome."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from napari import current_viewer

from tomochrome._napari.kit.jobs import run_waiting
from tomochrome._napari.layers.volume_layers import LayerTuple, volume_layer
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.errors import Cancelled


def head(**options: Any) -> list[LayerTuple]:
    """Return a head without contrast agent, with options of `tomochrome.phantom.make_patient`."""
    return _sample("head", "Sample head", {"spacing": (2.0, 1.0, 1.0), **options})


def chest(**options: Any) -> list[LayerTuple]:
    """Return a chest in the arterial phase, with options of `tomochrome.phantom.make_patient`."""
    defaults = {"spacing": (3.0, 1.5, 1.5), "phase": "arterial"}
    return _sample("chest", "Sample chest", {**defaults, **options})


def abdomen(**options: Any) -> list[LayerTuple]:
    """Return an abdomen in the portal phase, with options of `tomochrome.phantom.make_patient`."""
    defaults = {"spacing": (3.0, 1.5, 1.5), "phase": "portal"}
    return _sample("abdomen", "Sample abdomen", {**defaults, **options})


def _sample(region: str, name: str, options: dict[str, Any]) -> list[LayerTuple]:
    def work() -> LayerTuple:
        from tomochrome.phantom import make_ct

        ct = make_ct(region, **options)
        return volume_layer(replace(ct, provenance=replace(ct.provenance, title=name)))

    viewer = current_viewer()
    if viewer is not None:
        prepare_viewer(viewer)
    try:
        layer = run_waiting(work, f"Generating a sample {region}")
    except Cancelled:
        return []
    return [layer]
