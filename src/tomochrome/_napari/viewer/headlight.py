"""Light from the viewer for 3D images of colored layers, whatever the direction of the camera.

vispy lights only isosurfaces of scalar data; its translucent rendering of RGBA has no light. A
light in the voxels stays with the patient, who is dark from behind. Neither vispy 0.17
nor napari 0.9 has a hook for a light, so the fragment shader of the volume gets it here: the normal
is the gradient of the opacity, and surfaces that face the viewer are brightest.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import numpy as np

from tomochrome._napari.kit.events import ViewerFollower, unwrapped
from tomochrome._napari.layers.lazy_picture import RenderedByWorker

_METHOD: Final = "translucent"
_MARK: Final = "color = applyColormap(color);"
#: `view_ray` is a direction of voxel indices, and the gradient is one over voxel indices. Their
#: product is that of the world's directions; only their lengths need the size of a voxel.
_LIGHT: Final = """
        if (color.a > 0.004) {
            vec3 grad = vec3(0.0);
            for (int axis = 0; axis < 3; axis++) {
                vec3 away = vec3(0.0);
                away[axis] = 1.5 / u_shape[axis];
                grad[axis] = $get_data(loc + away).a - $get_data(loc - away).a;
            }
            vec3 spacing = vec3(SPACING);
            float steepness = length(grad / spacing);
            float facing = abs(dot(grad, view_ray));
            facing /= max(steepness * length(view_ray * spacing), 1e-6);
            float edge = clamp(steepness * max(spacing.x, max(spacing.y, spacing.z)), 0.0, 1.0);
            color.rgb *= mix(1.0, AMBIENT_LIGHT + (1.0 - AMBIENT_LIGHT) * facing, edge);
        }
"""
_LOG = logging.getLogger(__name__)


class Headlight(ViewerFollower):
    """Lights the 3D images of a viewer's colored layers from the camera.

    If a version of napari or vispy draws volumes in another way, the light stays that of
    `tomochrome.color.shading`: from the front of the patient.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self.each_layer(self._follow)

    def _follow(self, layer: Any) -> None:
        if not hasattr(layer.data, "lit_by_viewer"):
            return
        node = volume_node(self.viewer, layer)
        layer.data.lit_by_viewer = node is not None and light_node(node)
        if layer.data.lit_by_viewer:
            layer.events.data.connect(self._data_changed)
            layer.events.set_data.connect(self._resized)

    def _data_changed(self, event: Any) -> None:
        if hasattr(event.source.data, "lit_by_viewer"):
            event.source.data.lit_by_viewer = True

    def _resized(self, event: Any) -> None:
        """Tell the shader the size of a voxel of the image, along the axes on screen."""
        layer = event.source
        if not isinstance(layer.data, RenderedByWorker) or not layer.data.in_3d:
            return
        node = volume_node(self.viewer, layer)
        if node is None:
            return
        dims, (tile, _) = self.viewer.dims, layer.data.tile
        size = np.abs(np.asarray(layer.scale, dtype=float)[-3:] * tile)
        shown = size[[axis - dims.ndim for axis in dims.displayed]]
        light_node(node, tuple(shown[::-1] / shown.min()))


def volume_node(viewer: Any, layer: Any) -> Any:
    """Return the vispy visual that draws a layer in 3D, or None without a window."""
    try:  # napari 0.9 has no public name for its canvas and what it draws
        canvas = unwrapped(viewer).window._qt_viewer.canvas
        return canvas.layer_to_visual[layer]._layer_node.get_node(3)
    except (AttributeError, KeyError):
        return None


def light_node(node: Any, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> bool:
    """Add the light to the translucent rendering of a volume; return whether it could be added.

    ``spacing`` are the relative sizes of a voxel (x, y, z).
    """
    from tomochrome.color.shading import AMBIENT  # loaded already, by what made the colors

    try:
        own = type(node)._rendering_methods
        before = own[_METHOD]["in_loop"]
        if _MARK not in before:
            raise KeyError("the loop of the translucent rendering")
        light = _LIGHT.replace("AMBIENT_LIGHT", f"{AMBIENT:.2f}")
        light = light.replace("SPACING", ", ".join(f"{size:.2f}" for size in spacing))
        loop = before.replace(_MARK, _MARK + light)
        if node._rendering_methods[_METHOD]["in_loop"] == loop:
            return True
        node.unfreeze()
        node._rendering_methods = {**own, _METHOD: {**own[_METHOD], "in_loop": loop}}
        node.freeze()
        node.method = node.method
    except (AttributeError, KeyError, TypeError) as error:
        _LOG.warning("3D is lit from the front of the patient: %s", error)
        return False
    return True
