"""A picture of what the viewer shows in 3D: same direction, zoom and tissues, with shadows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.layers.volume_layers import source_of
from tomochrome._napari.viewer.canvas_overlays import patient_from_world
from tomochrome._napari.viewer.clipping_3d import Clipping3D, patient_half
from tomochrome._napari.viewer.orientation import front_view, scan_axes, screen_directions
from tomochrome.errors import InputError
from tomochrome.geometry.affine import apply
from tomochrome.tissue import Tissue

_MIN_SIDE: Final = 600  #: of a picture in pixels
_MAX_SIDE: Final = 2000


def picture_of_screen(viewer: Any, layer: Any) -> Callable[[str], str]:
    """Return the work that draws what the viewer shows of a colored layer, for a worker.

    Parameters
    ----------
    viewer
        The viewer. In 2D, the picture is from the front, and shows all of the scan.
    layer
        A colored layer.

    Returns
    -------
    Callable
        Writes a picture to a path and returns a message. Raises as `tomochrome.render`.
    """
    from tomochrome.rendering import Camera, RenderRequest, Stage, save_picture, selected_preset

    source, data = source_of(layer.metadata), layer.data
    axes = scan_axes(viewer.dims.order, 3)
    if source is None or axes is None:
        raise InputError("the axes on screen are not those of a scan; reset them first")
    settings, in_3d = data.settings_in_3d, viewer.dims.ndisplay == 3
    clipping = follower_of(viewer, Clipping3D)
    request = RenderRequest(
        preset=selected_preset(_preset(data.preset_in_3d), settings.tissues),
        size=_size(viewer.canvas.size),
        palette=settings.palette.name,
        saturation=min(settings.saturation, 1.0),
        clip=tuple(patient_half(layer, half) for half in clipping.halves) if in_3d else (),
    )
    camera = viewer.scene.camera
    view, up = (camera.view_direction, camera.up_direction) if in_3d else front_view(axes)
    right, up = (
        patient_from_world(layer) @ direction
        for direction in screen_directions(axes, camera.orientation, view, up)
    )
    aimed = Camera(np.zeros(3), np.cross(up, right), up)
    center, height = np.zeros(3), 0.0
    if in_3d:
        point = np.array(viewer.dims.point, float)
        point[list(viewer.dims.displayed)] = camera.center
        center = apply(data.volume.affine, layer.world_to_data(point)[-3:])
        height = viewer.canvas.size[0] / camera.zoom

    def draw(path: str) -> str:
        stage = Stage(data.volume, data.chroma, request)
        if height:
            placed = aimed.at(center, height / 2 / aimed.slope, raised=False)
        else:
            placed = stage.placed(aimed)
        save_picture(stage.seen_by(placed), path, force=True)
        return f"Saved {path}: {stage.preset.about}."

    return draw


def _preset(shown: Any) -> Any:
    """Return what napari's 3D shows as a preset, also if it is an opacity curve."""
    from tomochrome.rendering import Part, RenderPreset

    if isinstance(shown, RenderPreset):
        return shown
    tissues = shown.of or tuple(tissue for tissue in Tissue if tissue != Tissue.AIR)
    return RenderPreset(shown.name, (Part(tissues, shown.points),), shown.about)


def _size(canvas: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of the picture for (height, width) of the canvas."""
    height, width = canvas
    scale = min(max(1.0, _MIN_SIDE / max(1, min(canvas))), _MAX_SIDE / max(canvas))
    return max(64, round(width * scale)), max(64, round(height * scale))
