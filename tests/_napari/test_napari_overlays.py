"""Letters and scale bar follow scans and camera; in 3D, colored layers hide grey ones."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer

from marker_cases import STORED, marked, stored_as, turned
from tomochrome._napari.layers.volume_layers import (
    METADATA_KEY,
    LayerSource,
    source_of,
    volume_layer,
)
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.volume import Volume


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    prepare_viewer(viewer)
    return viewer


def letters(viewer):
    """The letters at the left, right, top and bottom."""
    edges = ("left", "right", "top", "bottom")
    return [viewer.canvas.overlays[f"orientation_{edge}"].text for edge in edges]


def add(viewer, volume):
    return viewer.add_layer(Layer.create(*volume_layer(volume)))


@pytest.mark.parametrize("stored", STORED, ids=str)
def test_the_letters_do_not_depend_on_how_a_scan_is_stored(viewer, stored):
    add(viewer, stored_as(marked(), *stored))
    assert letters(viewer) == ["R", "L", "A", "P"]
    viewer.dims.order = (1, 0, 2)
    assert letters(viewer) == ["R", "L", "H", "F"]
    viewer.dims.order = (2, 0, 1)
    assert letters(viewer) == ["A", "P", "H", "F"]
    viewer.dims.ndisplay = 3
    assert letters(viewer) == ["R", "L", "H", "F"]


@pytest.mark.parametrize("stored", STORED[::7], ids=str)
def test_the_letters_are_those_of_the_true_affine(viewer, stored):
    add(viewer, stored_as(turned(marked(), 0, 0, 35), *stored))  # the head leans
    assert letters(viewer) == ["R", "L", "AF", "PH"]
    viewer.dims.order = (2, 0, 1)
    assert letters(viewer) == ["AF", "PH", "HA", "FP"]


def test_two_scans_the_selected_one_has_its_letters(viewer):
    straight, oblique = add(viewer, marked()), add(viewer, turned(marked(), 30, 0, 0))
    viewer.layers.selection.active = straight
    assert letters(viewer)[0] == "R"
    viewer.layers.selection.active = oblique
    assert letters(viewer)[0] == "RA"
    oblique.visible = False  # still selected, but not what is seen
    assert letters(viewer)[0] == "R"
    viewer.layers.selection.clear()
    assert letters(viewer)[0] == "R"
    viewer.layers.remove(straight)
    assert letters(viewer)[0] == "RA"


def test_a_layer_rotated_by_hand_rotates_its_letters(viewer):
    layer = add(viewer, marked())
    layer.rotate = (0, 0, 30)  # in the plane
    assert {len(text) for text in letters(viewer)} == {2}
    layer.rotate = (0, 0, 0)
    layer.scale = layer.scale * (1, 1, -1)  # mirrored by hand: the letters follow
    assert letters(viewer) == ["L", "R", "A", "P"]


def test_a_camera_mirrored_by_the_user_has_the_true_letters(viewer):
    add(viewer, marked())
    viewer.scene.camera.orientation2d = ("up", "left")
    assert letters(viewer) == ["L", "R", "P", "A"]


def test_where_time_is_displayed_there_are_no_letters(viewer):
    add(viewer, marked())
    viewer.add_layer(Image(np.zeros((2, 4, 5, 6))))
    assert letters(viewer) == ["R", "L", "A", "P"]
    viewer.dims.order = (1, 2, 0, 3)
    assert letters(viewer) == [" "] * 4


def test_a_projection_that_inherited_the_metadata_is_no_scan(viewer):
    layer = add(viewer, marked())
    viewer.add_layer(Image(np.zeros((4, 5)), metadata=dict(layer.metadata)))
    viewer.layers.remove(layer)
    assert letters(viewer) == [" "] * 4


def test_side_by_side_there_are_letters_only_if_they_hold_for_every_image(viewer):
    first, second = add(viewer, marked()), add(viewer, marked())
    viewer.canvas.grid.enabled = True
    assert letters(viewer) == ["R", "L", "A", "P"]
    oblique = add(viewer, turned(marked(), 30, 0, 0))
    assert letters(viewer) == [" "] * 4
    oblique.visible = False
    assert letters(viewer) == ["R", "L", "A", "P"]
    second.rotate = (0, 0, 30)
    assert letters(viewer) == [" "] * 4
    viewer.canvas.grid.enabled = False
    viewer.layers.selection.active = first
    assert letters(viewer) == ["R", "L", "A", "P"]
    second.rotate = (0, 0, 0)
    viewer.add_layer(Image(np.zeros((4, 5, 6))))  # its orientation is unknown
    viewer.canvas.grid.enabled = True
    assert letters(viewer) == [" "] * 4


def test_the_scale_bar_comes_and_goes_with_the_scans(viewer):
    bar = viewer.canvas.overlays.scale_bar
    viewer.add_layer(Image(np.zeros((4, 5, 6))))
    assert not bar.visible
    add(viewer, marked())
    assert bar.visible
    viewer.layers.clear()
    assert not bar.visible


def test_notifications_do_not_cover_the_scale_bar_nor_it_the_letter_at_the_top(viewer):
    bar = viewer.canvas.overlays.scale_bar
    viewer.canvas.size = (500, 300)
    assert bar.position == "bottom_right"  # without a scan it is napari's
    add(viewer, marked())
    assert bar.position == "top_center"  # stacked with the letter
    viewer.canvas.size = (500, 800)
    assert bar.position == "top_right"  # notifications are at the bottom right
    viewer.layers.clear()
    assert bar.position == "bottom_right"


def test_a_scale_bar_moved_by_the_user_stays(viewer):
    bar = viewer.canvas.overlays.scale_bar
    add(viewer, marked())
    bar.position = "top_left"
    viewer.canvas.size = (500, 300)
    add(viewer, marked())
    viewer.layers.clear()
    assert bar.position == "top_left"


def test_a_scale_bar_toggled_by_the_user_is_left_alone(viewer):
    bar = viewer.canvas.overlays.scale_bar
    add(viewer, marked())
    bar.visible = False
    add(viewer, marked())
    viewer.layers.clear()
    add(viewer, marked())
    assert not bar.visible


# Color over grey in 3D


def grey_and_color(viewer):
    voxels = marked().voxels[..., 0].astype(np.int16)
    grey = add(viewer, Volume(voxels, marked().affine, "HU"))
    known = source_of(grey.metadata)
    colored = Image(marked().voxels, rgb=True, scale=grey.scale, translate=grey.translate)
    colored.metadata[METADATA_KEY] = LayerSource(
        "color", known.stored, known.shown, chroma=object()
    )
    return grey, colored


def test_in_3d_a_colored_scan_hides_its_grey_one(viewer):
    grey, colored = grey_and_color(viewer)
    viewer.dims.ndisplay = 3
    assert grey.visible  # otherwise nothing would be visible
    viewer.add_layer(colored)
    assert not grey.visible
    viewer.dims.ndisplay = 2
    assert grey.visible
    viewer.dims.ndisplay = 3
    assert not grey.visible


def test_the_grey_scan_is_shown_again_without_its_colors(viewer):
    grey, colored = grey_and_color(viewer)
    viewer.add_layer(colored)
    viewer.dims.ndisplay = 3
    colored.visible = False
    assert grey.visible
    colored.visible = True
    assert not grey.visible
    viewer.layers.remove(colored)
    assert grey.visible


def test_visibility_set_by_the_user_in_3d_is_kept(viewer):
    grey, colored = grey_and_color(viewer)
    viewer.add_layer(colored)
    viewer.dims.ndisplay = 3
    grey.visible = True
    add(viewer, marked())
    assert grey.visible
    grey.visible = False
    viewer.dims.ndisplay = 2
    assert not grey.visible


def test_a_grey_scan_hidden_before_stays_hidden(viewer):
    grey, colored = grey_and_color(viewer)
    viewer.add_layer(colored)
    grey.visible = False
    viewer.dims.ndisplay = 3
    viewer.dims.ndisplay = 2
    assert not grey.visible


def test_another_scan_is_not_hidden(viewer):
    grey, colored = grey_and_color(viewer)
    other = add(viewer, Volume(np.zeros((4, 5, 6), np.int16), marked().affine, "HU"))
    viewer.add_layer(colored)
    viewer.dims.ndisplay = 3
    assert other.visible and not grey.visible


def test_in_3d_a_grey_scan_shows_what_lies_in_front(viewer):
    grey, _ = grey_and_color(viewer)
    assert (grey.rendering, add(viewer, marked()).rendering) == ("attenuated_mip", "translucent")
