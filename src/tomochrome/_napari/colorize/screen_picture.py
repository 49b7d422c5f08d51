"""A picture of what the viewer shows: the slice, or in 3D the same view with soft shadows.

In 3D it can also be a film of a turn around the patient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.layers.grey_window import window_of
from tomochrome._napari.layers.volume_layers import grey_layer, source_of
from tomochrome._napari.viewer.canvas_overlays import patient_from_world
from tomochrome._napari.viewer.clipping_3d import Clipping3D, patient_half
from tomochrome._napari.viewer.orientation import Axes, scan_axes, screen_directions
from tomochrome.color import ALPHA_PRESETS
from tomochrome.errors import InputError
from tomochrome.formats import SHEET, format_of
from tomochrome.geometry.affine import apply, plane_distance
from tomochrome.geometry.planes import plane_map, slice_orientation
from tomochrome.runtime import write_whole
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume

_MIN_SIDE: Final = 600  #: of a picture in pixels
_MAX_SIDE: Final = 2000


def picture_of_screen(viewer: Any, layer: Any) -> Callable[[str], str]:
    """Return the work that draws what the viewer shows of a colored layer, for a worker.

    Parameters
    ----------
    viewer
        The viewer.
    layer
        A colored layer.

    Returns
    -------
    Callable
        Writes a picture, or in 3D a film, to a path and returns a message. Raises as
        `tomochrome.render`.

    Raises
    ------
    InputError
        If the layer is hidden, or no slice of the scan is shown.
    """
    if not layer.visible:
        raise InputError(f"'{layer.name}' is hidden; show it to save a picture of it")
    axes = scan_axes(viewer.dims.order, viewer.dims.ndisplay)
    if source_of(layer.metadata) is None or axes is None:
        raise InputError("the axes on screen are not those of a scan; reset them first")
    if viewer.dims.ndisplay == 2:
        return _picture_of_slice(viewer, layer, axes[0])
    return _picture_in_3d(viewer, layer, axes)


def _picture_of_slice(viewer: Any, layer: Any, axis: int) -> Callable[[str], str]:
    """Return the work that draws the slice on screen across an axis of the layer's data."""
    from tomochrome.color.lighting import lit_provenance

    data = layer.data
    index = int(np.rint(layer.world_to_data(viewer.dims.point)[-3:][axis]))
    if not 0 <= index < data.shape[axis]:
        raise InputError("the slice on screen is outside the colored scan; scroll to the scan")
    affine = np.array(data.volume.affine)
    affine[:3, 3] += index * affine[:3, axis]
    provenance = lit_provenance(data.volume, data.chroma, data.settings)
    reach = slice(index, index + 1)
    if data.slab is not None:
        slab = data.slab.within(data.volume, axis)
        provenance = replace(provenance, extra={**provenance.extra, "slab": str(slab)})
        reach = data.slab.slices(index, plane_distance(data.volume.affine, axis), data.shape[axis])
    restored = data.volume.restored
    if restored is not None:
        restored = restored[(*[slice(None)] * axis, reach)].any(axis=axis, keepdims=True)
    pixels = _at_opacity(viewer, layer, (*[slice(None)] * axis, index))
    thin = Volume(np.expand_dims(pixels, axis), affine, "RGBA", provenance, restored=restored)
    across = [plane_map(affine, k)[0][0] for k in range(3)].index(axis)

    def draw(path: str) -> str:
        from tomochrome.io.slice_pictures import save_slice_picture, slice_picture  # pydicom

        with write_whole(path, force=True) as temporary:
            save_slice_picture(slice_picture(thin, across, 0), thin, temporary)
        return f"Saved {path}: one slice, {slice_orientation(affine, axis)}."

    return draw


def _at_opacity(viewer: Any, layer: Any, where: tuple[Any, ...]) -> NDArray[np.uint8]:
    """Return RGBA of a slice of a colored layer at its opacity, over the scan or over black."""
    from tomochrome.color import LitVolume

    data, share = layer.data, layer.opacity
    pixels: NDArray[np.uint8] = data[where]
    if share == 1:
        return pixels
    source = source_of(layer.metadata)
    grey = None if source is None else grey_layer(viewer.layers, layer, source)
    below = np.zeros_like(pixels)
    if grey is not None and grey.visible:
        window = window_of(grey) or data.settings.window
        scan = LitVolume(
            data.volume, data.chroma, data.settings.replace(window=window, saturation=0.0)
        )
        scan.slab = data.slab
        below = scan[where]
    mixed = np.rint(share * pixels[..., :3] + (1 - share) * below[..., :3]).astype(np.uint8)
    return np.concatenate([mixed, pixels[..., 3:]], axis=-1)


def _picture_in_3d(viewer: Any, layer: Any, axes: Axes) -> Callable[[str], str]:
    """Return the work that draws the view in 3D."""
    from tomochrome.rendering import Camera, RenderRequest, Stage

    data = layer.data
    settings, clipping = data.settings_in_3d, follower_of(viewer, Clipping3D)
    request = RenderRequest(
        preset=_preset(data.preset_in_3d),
        tissues=settings.tissues,
        size=_size(viewer.canvas.size),
        palette=settings.palette,
        saturation=min(settings.saturation, 1.0),
        min_confidence=settings.min_confidence,
        look=data.look_in_3d,
        clip=tuple(patient_half(layer, half) for half in clipping.halves),
    )
    camera = viewer.scene.camera
    shown = camera.view_direction, camera.up_direction
    right, up = (
        patient_from_world(layer) @ direction
        for direction in screen_directions(axes, camera.orientation, *shown)
    )
    point = np.array(viewer.dims.point, float)
    point[list(viewer.dims.displayed)] = camera.center
    center = apply(data.volume.affine, layer.world_to_data(point)[-3:])
    aimed = Camera(np.zeros(3), np.cross(up, right), up)
    placed = aimed.at(center, viewer.canvas.size[0] / camera.zoom / 2 / aimed.slope)
    note = "" if layer.opacity == 1 else "; drawn at 100 % opacity"

    def draw(path: str) -> str:
        from tomochrome.rendering import save_film, save_picture  # nibabel and pydicom

        if format_of(path) == SHEET:
            stage = Stage(data.volume, data.chroma, request)
            save_picture(stage.seen_by(placed), path, force=True)
            return f"Saved {path}: {'; '.join(stage.preset.shown)}{note}."
        film = replace(request, view=aimed.view, quality="draft")
        stage = Stage(data.volume, data.chroma, film)
        save_film(stage, path, force=True)
        return f"Saved {path}: a film of a turn; {'; '.join(stage.preset.shown)}{note}."

    return draw


def _preset(shown: Any) -> Any:
    """Return what napari's 3D shows as a preset, also if it is an opacity curve."""
    from tomochrome.rendering import Part, RenderPreset

    if isinstance(shown, RenderPreset):
        return shown
    tissues = shown.of or tuple(tissue for tissue in Tissue if tissue != Tissue.AIR)
    about = (shown if shown.hide_air else ALPHA_PRESETS["body"]).about  # air is not drawn
    return RenderPreset(shown.name, (Part(tissues, shown.points),), about, min_ml=0.0)


def _size(canvas: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of the picture for (height, width) of the canvas."""
    height, width = canvas
    scale = min(max(1.0, _MIN_SIDE / max(1, min(canvas))), _MAX_SIDE / max(canvas))
    return max(64, round(width * scale)), max(64, round(height * scale))
