"""Slabs of colored scans in the window: on every plane, named, hatched where restored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from colorize_panel_cases import colorize
from napari.layers import Layer

from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.layers.volume_layers import source_of, volume_layer
from tomochrome._napari.viewer.linked_planes import GREY_MODE, OFF, PLANES_MODE, LinkedPlanes
from tomochrome._napari.viewer.restored_hatching import is_hatching
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.color import Slab, light_slab

pytestmark = pytest.mark.gui


def test_every_plane_shows_the_slab_in_color(panel, qtbot):
    viewer, field = panel.viewer, panel.view.view_controls.slab
    colorize(panel, qtbot)
    layer = next(x for x in viewer.layers if hasattr(x.data, "slab"))
    source, before = source_of(layer.metadata), layer.data[...]
    link = follower_of(viewer, LinkedPlanes)
    link.open(PLANES_MODE)
    qtbot.waitUntil(lambda: link.is_current)
    assert not field.thickness.isEnabled()
    field.projection.choose("maximum")
    field.thickness.setValue(16)
    settings = layer.data.settings

    def is_slab(model, copy):
        axis = model.dims.order[-3]
        index = int(np.rint(copy.world_to_data(model.dims.point)[axis]))
        image = light_slab(
            source.shown, source.chroma, index, Slab("maximum", 16), settings.window, axis=axis,
            saturation=settings.saturation, min_confidence=settings.min_confidence,
            palette=settings.palette, alpha=settings.alpha, tissues=settings.tissues,
        )  # fmt: skip
        return np.array_equal(copy._slice.image.raw, image.voxels.take(0, axis))

    assert is_slab(viewer, layer)
    for canvas in link.canvases:
        qtbot.waitUntil(lambda canvas=canvas: is_slab(canvas.model, canvas.copies.of[layer]))
        assert canvas.marks.title.endswith("\ncolor max 16 mm")
    np.testing.assert_array_equal(layer.data[...], before)  # what is exported
    link.open(GREY_MODE)
    assert link.marks.title.endswith(" · color\nmax 16 mm")
    assert link.canvases[0].marks.title.endswith(" · grayscale")
    link.open(OFF)
    assert link.marks.title == "Axial\ncolor max 16 mm"
    link._slabs.slab = Slab("maximum", 200.0)  # thicker than the scan
    mm = source.shown.shape[0] * source.shown.spacing[0]
    assert mm < 200 and link.marks.title == f"Axial\ncolor max {mm:g} mm"
    field.projection.choose("")
    assert link.marks.title == "Axial"
    shown = before[int(viewer.dims.current_step[0])]
    np.testing.assert_array_equal(layer._slice.image.raw, shown)


def test_a_slab_with_restored_voxels_is_hatched(panel, small_ct):
    viewer, field = panel.viewer, panel.view.view_controls.slab
    prepare_viewer(viewer)
    mask = np.zeros(small_ct.shape, bool)
    mask[6, 10:30, 8:20] = True
    viewer.add_layer(Layer.create(*volume_layer(replace(small_ct, restored=mask), "restored")))
    (hatching,) = (x for x in viewer.layers if is_hatching(x))
    assert not hatching.data[4].any()
    field.projection.choose("mean")
    field.thickness.setValue(20)  # two slices of 5 mm on either side
    np.testing.assert_array_equal(hatching.data[4][..., 3], hatching.data[6][..., 3])
    assert hatching.data[4].any()
    assert not hatching.data[3].any()
    field.projection.choose("")
    assert not hatching.data[4].any()
