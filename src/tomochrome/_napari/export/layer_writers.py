"""Writing layers on the stored grid of their CT."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari import current_viewer
from napari.layers import Labels
from qtpy.QtWidgets import QApplication, QMessageBox

from tomochrome import color, io
from tomochrome._napari.kit.jobs import run_waiting
from tomochrome._napari.layers.volume_layers import LayerSource, LayerTuple, source_of, world_affine
from tomochrome.errors import Cancelled, OutputError
from tomochrome.formats import (
    DICOM,
    GIF,
    NIFTI,
    NRRD,
    PAGE,
    SHEET,
    VIDEO,
    ZARR,
    Format,
    format_of,
)
from tomochrome.geometry import reorient_like
from tomochrome.runtime import write_group, write_whole
from tomochrome.volume import Volume

_UNSAFE = str.maketrans(dict.fromkeys('/\\:*?"<>|', "_"))


def write_layer(output: Format, path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write a layer of this plugin on the CT's stored grid; return the paths written.

    An existing file with the given name is overwritten, because napari's save dialog has asked the
    user. If the extension of the format has to be added, the dialog has not asked about the
    resulting name, so the user is asked here; nothing is written if the user cancels.

    The data is RGBA (z, y, x, 4), a CT's voxels, or labels. The metadata in ``meta`` must contain
    its source, except for labels, which must be on the grid of an open layer. Raises `OutputError`
    if the position of the layer is not known, or the file cannot be written.
    """
    return write_each(output, {output.complete(path): (data, meta)}, confirmed=[path])


write_nifti = partial(write_layer, NIFTI)
write_nrrd = partial(write_layer, NRRD)
write_sheet = partial(write_layer, SHEET)
write_video = partial(write_layer, VIDEO)
write_gif = partial(write_layer, GIF)
write_page = partial(write_layer, PAGE)
write_zarr = partial(write_layer, ZARR)
write_dicom = partial(write_layer, DICOM)


def write_several(path: str, layer_data: Sequence[LayerTuple]) -> list[str]:
    """Write several layers of this plugin as separate NIfTI files, either all or none.

    The names of the image and labels layers are appended to ``path``. Returns and raises as
    `write_layer`.
    """
    if len(layer_data) == 1:
        return write_nifti(path, *layer_data[0][:2])
    full_path = NIFTI.complete(path)
    ending = next(end for end in NIFTI.endings if full_path.lower().endswith(end))
    stem = full_path[: -len(ending)]
    parts: dict[str, tuple[Any, Mapping[str, Any]]] = {}
    for data, meta, _ in layer_data:
        name = str(meta.get("name", "layer")).translate(_UNSAFE)
        parts[f"{stem} - {name}{ending}"] = data, meta
    return write_each(NIFTI, parts)


def write_each(
    output: Format,
    parts: Mapping[str, tuple[Any, Mapping[str, Any]]],
    *,
    confirmed: Collection[str] = (),
) -> list[str]:
    """Write layers (data and attributes by path), all or none, with a cancellable dialog.

    ``confirmed`` are paths that the user has agreed to overwrite. Returns the paths written;
    raises as `write_layer`.
    """
    if not all(path in confirmed or may_replace(path) for path in parts):
        return []
    grids = open_grids()

    def work() -> None:
        for path in parts:
            io.check_output(path, force=True)
        sources = {path: source_of(meta.get("metadata", {})) for path, (_, meta) in parts.items()}
        masks = [
            m for path, s in sources.items() if s is not None for m in io.companions(s.shown, path)
        ]
        with write_group([*parts, *masks], force=True) as places:
            for place, (data, meta) in zip(places, parts.values(), strict=False):
                end = "/" if output.is_folder else ""
                save_layer(f"{place}{end}", data, meta, grids)

    try:
        run_waiting(work, f"Saving {', '.join(Path(path).name for path in parts)}")
    except Cancelled:
        return []
    return list(parts)


def may_replace(path: str) -> bool:
    """Return whether a path is free, or the user agrees to replace what is there.

    Raises `OutputError` if it exists and there is no GUI to ask the user.
    """
    if not Path(path).exists():
        return True
    if not isinstance(QApplication.instance(), QApplication):
        raise OutputError(f"'{path}' already exists; choose another name")
    answer = QMessageBox.question(
        QApplication.activeWindow(),
        "Replace?",
        f"'{Path(path).name}' already exists. Replace it?",
        QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
        QMessageBox.StandardButton.No,
    )
    return bool(answer == QMessageBox.StandardButton.Yes)


def open_grids() -> list[tuple[Any, LayerSource]]:
    """Return the layers of this plugin in the current viewer, each with its source."""
    viewer = current_viewer()
    layers = [(x, source_of(x.metadata)) for x in (() if viewer is None else viewer.layers)]
    return [(layer, source) for layer, source in layers if source is not None]


def save_layer(
    path: str,
    data: Any,
    meta: Mapping[str, Any],
    grids: Sequence[tuple[Any, LayerSource]] = (),
    *,
    identity: Mapping[str, str] | None = None,
    force: bool = False,
) -> None:
    """Write what a layer shows in the format of ``path``; a page of a coloring has its HU, too.

    ``grids`` is as for `layer_volume`; a page shows ``identity``. Raises as that and as
    `tomochrome.write`.
    """
    source = source_of(meta.get("metadata", {}))
    if format_of(path) != PAGE or source is None or not isinstance(data, color.LitVolume):
        io.write(layer_volume(data, meta, grids), path, force=force)
        return
    from tomochrome.colorization.case_coloring import case_page  # imports pydicom

    page = case_page(source.shown, data.chroma, data.settings)
    page.name_patient(identity or {})
    with write_whole(path, force=force) as place:
        page.write(place)


def layer_volume(
    data: Any, meta: Mapping[str, Any], grids: Sequence[tuple[Any, LayerSource]] = ()
) -> Volume:
    """Return the volume that a layer shows, on its CT's stored grid and with its true affine.

    ``grids`` are layers of this plugin on which labels may have been painted, see `open_grids`.
    Raises `OutputError` if the layer was not made by this plugin and is not on the grid of one that
    was.
    """
    source = source_of(meta.get("metadata", {}))
    if source is None and not meta.get("rgb"):
        source = _grid_under(data, meta, grids)
    if source is None or tuple(data.shape[:3]) != source.shown.shape:
        raise OutputError(
            f"the layer '{meta.get('name', '')}' was not made by Tomochrome, so its position in "
            "the patient is not known; color it with Colorize volume and save the colored layer"
        )
    if not isinstance(data, color.LitVolume):
        return reorient_like(source.shown.with_voxels(np.asarray(data)), source.stored)
    now = data.settings
    shown = color.light(
        source.shown,
        data.chroma,
        now.window,
        saturation=now.saturation,
        min_confidence=now.min_confidence,
        palette=now.palette,
        alpha=now.alpha,
        tissues=now.tissues,
    )
    return reorient_like(shown, source.stored)


def _grid_under(
    data: Any, meta: Mapping[str, Any], grids: Sequence[tuple[Any, LayerSource]]
) -> LayerSource | None:
    """Return a source for labels that are exactly on the grid of a layer of this plugin."""
    if np.dtype(data.dtype).kind not in "iub" or len(data.shape) != 3:
        return None
    keys = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    place = world_affine(Labels(data, **{key: meta[key] for key in keys if key in meta}))
    for layer, source in grids:
        same = tuple(data.shape) == source.shown.shape
        if same and np.allclose(world_affine(layer), place, rtol=0, atol=1e-3):
            labels = source.shown.with_voxels(np.asarray(data), unit="tissue")
            return LayerSource(
                "derived", source.stored, replace(labels, outside=None, restored=None)
            )
    return None
