"""Sample patients, made on the spot: File > Open Sample > Tomochrome."""

from __future__ import annotations

from typing import Any

from tomochrome._napari.layers import LayerTuple, volume_layer


def head(**options: Any) -> list[LayerTuple]:
    """Return a head without contrast. Options go to `tomochrome.phantom.make_patient`."""
    return _sample("head", "Sample head", {"spacing": (2.0, 1.0, 1.0), **options})


def chest(**options: Any) -> list[LayerTuple]:
    """Return a chest with arterial contrast. Options go to `tomochrome.phantom.make_patient`."""
    defaults = {"spacing": (3.0, 1.5, 1.5), "phase": "arterial"}
    return _sample("chest", "Sample chest", {**defaults, **options})


def abdomen(**options: Any) -> list[LayerTuple]:
    """Return an abdomen with portal contrast. Options go to `tomochrome.phantom.make_patient`."""
    defaults = {"spacing": (3.0, 1.5, 1.5), "phase": "portal"}
    return _sample("abdomen", "Sample abdomen", {**defaults, **options})


def _sample(region: str, name: str, options: dict[str, Any]) -> list[LayerTuple]:
    from napari import current_viewer

    from tomochrome._napari.jobs import run_waiting
    from tomochrome._napari.viewer_setup import prepare_viewer
    from tomochrome.errors import Cancelled

    def work() -> LayerTuple:
        # Imported here, in the worker: the kernels take a while to load.
        from tomochrome.phantom import make_patient

        patient = make_patient(region=region, **options)
        return volume_layer(patient.ct, name)

    viewer = current_viewer()
    if viewer is not None:
        prepare_viewer(viewer)
    try:
        layer = run_waiting(work, f"Making the {region} of a sample patient")
    except Cancelled:
        return []
    return [layer]
