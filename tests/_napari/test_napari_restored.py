"""Hatching on screen: over every restored voxel, in 2D, above what is colored, with a legend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Layer
from napari.layers._layer_actions import _duplicate_layer
from overlay_boxes import drawn_box
from qtpy.QtWidgets import QApplication

from tomochrome import compare
from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.layers.layer_volumes import ct_source, place
from tomochrome._napari.layers.volume_layers import color_layer, source_of, volume_layer
from tomochrome._napari.viewer.canvas_overlays import CanvasOverlays
from tomochrome._napari.viewer.readout import describe_values
from tomochrome._napari.viewer.restored_hatching import OVERLAY, HatchPicture, is_hatching
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.color import Chroma, Slab, light_slab
from tomochrome.color.hatch import LEGEND
from tomochrome.colorization.tables import tissue_table
from tomochrome.volume import RESTORED, Volume

pytestmark = pytest.mark.gui


@pytest.fixture
def restored(small_ct):
    mask = np.zeros(small_ct.shape, bool)
    mask[6, 10:30, 8:20] = True
    mask[7] = True
    voxels = np.where(mask, small_ct.voxels + 3, small_ct.voxels).astype(np.int16)
    return replace(small_ct, voxels=voxels, restored=mask)


@pytest.fixture
def viewer(window):
    prepare_viewer(window)
    window.dims.ndisplay = 2
    yield window
    window.dims.ndisplay = 2
    window.layers.clear()


def add(viewer, volume, name):
    return viewer.add_layer(Layer.create(*volume_layer(volume, name)))


def hatching(viewer):
    return [layer for layer in viewer.layers if is_hatching(layer)]


def test_a_scan_with_restored_voxels_is_hatched(viewer, restored, small_ct):
    add(viewer, small_ct, "measured")
    assert not hatching(viewer)
    scan = add(viewer, restored, "restored")
    (hatch,) = hatching(viewer)
    assert hatch.name == RESTORED and hatch.visible
    assert viewer.layers[-1] is hatch and viewer.layers.selection.active is scan
    np.testing.assert_allclose(hatch.scale, scan.scale)
    np.testing.assert_allclose(hatch.translate, scan.translate)
    legend = viewer.canvas.overlays[OVERLAY]
    assert legend.visible and legend.text == LEGEND
    scan.visible = False
    assert not hatch.visible and not legend.visible
    scan.visible = True
    assert hatch.visible
    viewer.layers.remove(scan)
    assert not hatching(viewer) and not legend.visible


@pytest.mark.parametrize("width", [700, 1500])
def test_the_legend_does_not_cover_the_letter_below(viewer, restored, qtbot, painted, width):
    window = viewer.window._qt_window
    before = window.size()
    window.resize(width, 700)
    QApplication.processEvents()
    add(viewer, restored, "restored")
    qtbot.waitUntil(lambda: follower_of(viewer, CanvasOverlays).settled)
    overlays = viewer.canvas.overlays
    letter, legend = (drawn_box(viewer, overlays[n]) for n in ("orientation_bottom", OVERLAY))
    assert legend[0][0] > 0.8  # at the bottom
    assert np.any(letter[1] < legend[0]) or np.any(legend[1] < letter[0])  # apart
    window.resize(before)


def test_a_copy_of_a_restored_scan_stays_marked(viewer, restored):
    """Copied by the action of napari's layer list, as it is colored, registered and restored."""
    scan = add(viewer, restored, "restored")
    viewer.layers.selection.active = scan
    _duplicate_layer(viewer.layers)
    copy = viewer.layers["restored copy"]
    assert copy.data is not scan.data
    for volume in (ct_source(copy).shown, ct_source(copy).stored, place(copy).volume):
        np.testing.assert_array_equal(volume.restored, restored.restored)
        np.testing.assert_array_equal(volume.voxels, restored.voxels)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lines_lie_over_restored_voxels_in_every_plane(restored, axis):
    picture = HatchPicture(restored.restored, restored.affine)
    assert picture.shape == (*restored.shape, 4)
    for k in range(restored.shape[axis]):
        index = [slice(None)] * 3
        index[axis] = k
        plane, mask = picture[tuple(index)], restored.restored[tuple(index)]
        assert plane.shape == (*mask.shape, 4)
        assert not plane[~mask, 3].any()
        assert plane[..., 3].any() == mask.any()
    assert picture[:, :, :].shape == (1, 1, 1, 4)
    assert np.asarray(picture).shape == picture.shape


def test_the_lines_over_a_slab_of_sheared_slices_are_over_all_that_it_shows():
    # Along their axis, slices are 6.26 mm apart, in planes of 6 mm.
    affine = np.array([[0, 0, 1, 0], [1.8, 1, 0, 0], [6, 0, 0, 0], [0, 0, 0, 1]])
    marked = np.zeros((5, 8, 8), np.bool_)
    marked[1, 2:6, 2:6] = True
    scan = Volume(np.zeros(marked.shape, np.int16), affine, "HU", restored=marked)
    picture, slab = HatchPicture(marked, affine), Slab("mean", 12.2)
    picture.slab = slab
    table = tissue_table()
    chroma = Chroma(
        np.ones(marked.shape, np.uint16), np.zeros(marked.shape, np.uint8), table, affine
    )
    for index in range(5):
        expected = light_slab(scan, chroma, index, slab).restored.any()
        assert picture[index][..., 3].any() == expected == (index < 3)


def test_the_hatching_is_above_colors_and_not_in_3d(viewer, restored):
    scan = add(viewer, restored, "restored")
    (hatch,) = hatching(viewer)
    rgba = np.full((*restored.shape, 4), 90, np.uint8)
    keywords = {"scale": scan.scale, "translate": scan.translate, "units": scan.units}
    colored = viewer.add_layer(
        Layer.create(*color_layer(rgba, source_of(scan.metadata), keywords, "colored"))
    )
    assert hatching(viewer) == [hatch] and viewer.layers[-1] is hatch
    assert viewer.layers.selection.active is colored
    labels = viewer.add_labels(np.zeros(restored.shape, np.uint8), scale=scan.scale)
    assert viewer.layers[-1] is labels
    scan.visible = False
    assert hatch.visible  # the colors are still there
    viewer.dims.ndisplay = 3
    assert not hatch.visible
    assert "hatched in 2D" in viewer.canvas.overlays[OVERLAY].text
    viewer.dims.ndisplay = 2
    assert hatch.visible


def test_the_user_can_hide_the_hatching(viewer, restored):
    add(viewer, restored, "restored")
    (hatch,) = hatching(viewer)
    hatch.visible = False
    viewer.add_labels(np.zeros(restored.shape, np.uint8))
    assert not hatch.visible


def test_a_comparison_is_hatched_on_the_restored_side_only(restored, small_ct):
    pair = compare.Pair(small_ct, restored, color=True, hatch=True)
    plain = compare.Pair(small_ct, restored, color=True)
    for axis in range(3):
        index = [slice(None)] * 3
        index[axis] = 7 if axis == 0 else 15
        key = tuple(index)
        a, b = (compare.Flicker(pair, compare.FlickerSettings(w))[key] for w in ("a", "b"))
        c, d = (compare.Flicker(plain, compare.FlickerSettings(w))[key] for w in ("a", "b"))
        np.testing.assert_array_equal(a, c)
        differs = (b != d).any(axis=-1)
        assert differs.any() and not differs[~restored.restored[key]].any()


def test_the_readout_says_that_a_value_was_restored(restored):
    assert describe_values(restored, (7, 24, 20)) == "703 HU (restored)"
    assert describe_values(restored, (5, 24, 20)) == "700 HU"
