"""Writing a layer back to the grid its CT was stored on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tomochrome._napari.layers import behind
from tomochrome.errors import OutputError
from tomochrome.runtime import CancelToken, Progress
from tomochrome.volume import Volume


def write_image(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write one of our layers to ``path`` (.nii.gz, .nrrd or .png), on the CT's stored grid.

    napari's save dialog has asked before replacing a file, so an existing one is replaced.

    Parameters
    ----------
    path
        Where to write; the ending chooses the format.
    data
        The layer's data: RGBA (z, y, x, 4), or a CT's voxels.
    meta
        The layer's attributes; its ``metadata`` must say what stands behind it.

    Returns
    -------
    list of str
        What was written, empty if the user cancelled.

    Raises
    ------
    OutputError
        If the layer is not one of ours, or the file cannot be written.
    """
    from tomochrome import io
    from tomochrome._napari.waiting import run_waiting
    from tomochrome.errors import Cancelled

    def work(progress: Progress | None, cancel: CancelToken | None) -> None:
        volume = layer_volume(data, meta, progress=progress, cancel=cancel)
        io.write(volume, path, force=True, progress=progress, cancel=cancel)

    try:
        run_waiting(work, f"Writing {path}")
    except Cancelled:
        return []
    return [path]


def layer_volume(
    data: Any,
    meta: Mapping[str, Any],
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Volume:
    """Return the volume that a layer shows, on its CT's stored grid and with its true affine.

    Raises
    ------
    OutputError
        If the layer is not one that this plugin made.
    """
    from tomochrome.color import LitVolume, light
    from tomochrome.geometry import reorient_like

    known = behind(meta.get("metadata", {}))
    if known is None or tuple(data.shape[:3]) != known.shown.shape:
        raise OutputError(
            f"the layer '{meta.get('name', '')}' was not made by Tomochrome, so where it lies in "
            "the patient is not known; color it with Colorize volume and save the colored layer"
        )
    if not isinstance(data, LitVolume):
        return reorient_like(known.shown.with_voxels(np.asarray(data)), known.stored)
    now = data.settings
    shown = light(
        known.shown,
        data.chroma,
        now.window,
        saturation=now.saturation,
        min_confidence=now.min_confidence,
        palette=now.palette,
        alpha=now.alpha,
        tissues=now.tissues,
        progress=progress,
        cancel=cancel,
    )
    return reorient_like(shown, known.stored)
