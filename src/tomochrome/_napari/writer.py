"""Writing layers back to the grid their CT was stored on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tomochrome._napari.layers import LayerSource, LayerTuple, source_of, world_affine
from tomochrome.errors import Cancelled, OutputError
from tomochrome.formats import DICOM, NIFTI, NRRD, SHEET, Format
from tomochrome.volume import Volume

_UNSAFE = str.maketrans(dict.fromkeys('/\\:*?"<>|', "_"))


def write_nifti(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write one of our layers as NIfTI; see `write_layer`."""
    return write_layer(NIFTI, path, data, meta)


def write_nrrd(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write one of our layers as NRRD; see `write_layer`."""
    return write_layer(NRRD, path, data, meta)


def write_sheet(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write one of our colored layers as a contact sheet; see `write_layer`."""
    return write_layer(SHEET, path, data, meta)


def write_dicom(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write one of our layers as a DICOM series, in a folder of its own; see `write_layer`."""
    return write_layer(DICOM, path, data, meta)


def write_layer(wanted: Format, path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write one of our layers, on the CT's stored grid.

    napari's save dialog has asked before replacing the file of this name, so that one is
    replaced. A name without the format's ending gets it; what is there under the longer name
    nobody has asked about, so the user is asked here.

    Parameters
    ----------
    wanted
        The format.
    path
        Where to write.
    data
        The layer's data: RGBA (z, y, x, 4), a CT's voxels, or labels.
    meta
        The layer's attributes; its ``metadata`` must hold its source, except for
        labels, which must lie on the grid of a layer that is open.

    Returns
    -------
    list of str
        What was written, empty if the user cancelled.

    Raises
    ------
    OutputError
        If where the layer lies is not known, or the file cannot be written.
    """
    return write_each(wanted, {wanted.complete(path): (data, meta)}, asked=[path])


def write_several(path: str, layer_data: Sequence[LayerTuple]) -> list[str]:
    """Write several of our layers as NIfTI, each into a file of its own, all of them or none.

    Parameters
    ----------
    path
        Begins the files' names; the layers' names follow.
    layer_data
        Image and labels layers.

    Returns
    -------
    list of str
        What was written, empty if the user cancelled.

    Raises
    ------
    OutputError
        As `write_layer`.
    """
    if len(layer_data) == 1:
        return write_nifti(path, *layer_data[0][:2])
    whole = NIFTI.complete(path)
    ending = next(end for end in NIFTI.endings if whole.lower().endswith(end))
    stem = whole[: -len(ending)]
    parts: dict[str, tuple[Any, Mapping[str, Any]]] = {}
    for data, meta, _ in layer_data:
        name = str(meta.get("name", "layer")).translate(_UNSAFE)
        parts[f"{stem} - {name}{ending}"] = data, meta
    return write_each(NIFTI, parts)


def write_each(
    wanted: Format,
    parts: Mapping[str, tuple[Any, Mapping[str, Any]]],
    *,
    asked: Collection[str] = (),
) -> list[str]:
    """Write layers (data and attributes by path), all or none, with a dialog that can cancel.

    ``asked`` are paths that the user has been asked about. Returns what was written; raises as
    `write_layer`.
    """
    from tomochrome._napari.jobs import run_waiting

    if not all(path in asked or may_replace(path) for path in parts):
        return []
    grids = open_grids()

    def work() -> None:
        from tomochrome import io
        from tomochrome.runtime import write_group

        for path in parts:
            io.check_output(path, force=True)
        with write_group(list(parts), force=True) as places:
            for place, (data, meta) in zip(places, parts.values(), strict=True):
                volume = layer_volume(data, meta, grids)
                end = "/" if wanted.is_folder else ""
                io.write(volume, f"{place}{end}")

    try:
        run_waiting(work, f"Saving {', '.join(Path(path).name for path in parts)}")
    except Cancelled:
        return []
    return list(parts)


def may_replace(path: str) -> bool:
    """Ask whether an output may be replaced, if there is one; without a window it may not.

    Raises
    ------
    OutputError
        If it is there and there is no window to ask in.
    """
    from qtpy.QtWidgets import QApplication, QMessageBox

    if not Path(path).exists():
        return True
    if not isinstance(QApplication.instance(), QApplication):
        raise OutputError(f"'{path}' exists already; choose another name")
    answer = QMessageBox.question(
        QApplication.activeWindow(),
        "Replace?",
        f"'{Path(path).name}' exists already. Replace it?",
        QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
        QMessageBox.StandardButton.No,
    )
    return bool(answer == QMessageBox.StandardButton.Yes)


def open_grids() -> list[tuple[Any, LayerSource]]:
    """Return the layers of ours in the viewer, each with its source."""
    from napari import current_viewer

    viewer = current_viewer()
    found = [(x, source_of(x.metadata)) for x in (() if viewer is None else viewer.layers)]
    return [(layer, known) for layer, known in found if known is not None]


def layer_volume(
    data: Any, meta: Mapping[str, Any], grids: Sequence[tuple[Any, LayerSource]] = ()
) -> Volume:
    """Return the volume that a layer shows, on its CT's stored grid and with its true affine.

    Parameters
    ----------
    data, meta
        As napari hands them to a writer.
    grids
        Layers of ours that labels may have been painted over, see `open_grids`.

    Raises
    ------
    OutputError
        If the layer is not one that this plugin made, nor lies on the grid of one.
    """
    from tomochrome.color import LitVolume, light
    from tomochrome.geometry import reorient_like

    known = source_of(meta.get("metadata", {}))
    if known is None and not meta.get("rgb"):
        known = _grid_under(data, meta, grids)
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
    )
    return reorient_like(shown, known.stored)


def _grid_under(
    data: Any, meta: Mapping[str, Any], grids: Sequence[tuple[Any, LayerSource]]
) -> LayerSource | None:
    """Return the source of the layer of ours that labels lie exactly over."""
    from napari.layers import Labels

    if np.dtype(data.dtype).kind not in "iub" or len(data.shape) != 3:
        return None
    keys = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    place = world_affine(Labels(data, **{key: meta[key] for key in keys if key in meta}))
    for layer, known in grids:
        same = tuple(data.shape) == known.shown.shape
        if same and np.allclose(world_affine(layer), place, rtol=0, atol=1e-3):
            labels = known.shown.with_voxels(np.asarray(data), unit="tissue")
            return LayerSource("derived", known.stored, replace(labels, outside=None))
    return None
