"""Placement of layers of any reader and of what is drawn over them, without a window."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points, Shapes
from register_cases import SHIFT, body, layer_of, oblique, shift

from tomochrome._napari.layers.layer_volumes import (
    check_grey_layer,
    check_two,
    check_volume_layer,
    mask_of,
    place,
)
from tomochrome._napari.layers.volume_layers import layer_position, source_of
from tomochrome._napari.registration.deformation_layers import jacobian_layer
from tomochrome._napari.registration.register_work import moved_drawing, moved_volume
from tomochrome.errors import InputError
from tomochrome.volume import Volume


def test_a_layer_of_the_plugin_gives_its_source_volume():
    volume = body()
    layer = layer_of(volume)
    placed = place(layer)
    assert placed.volume is source_of(layer.metadata).shown
    np.testing.assert_array_equal(placed.volume.affine, volume.affine)
    np.testing.assert_allclose(placed.patient_from_world, np.eye(4), atol=1e-9)


@pytest.mark.parametrize("unit", ["pixel", "mm", "um"])
def test_another_readers_layer_is_placed_by_its_scale_and_units(unit):
    factor = 1000.0 if unit == "um" else 1.0
    layer = Image(
        body().voxels, scale=np.array([6, 4, 4]) * factor,
        translate=np.array([100, -80, -72]) * factor, units=(unit,) * 3,
    )  # fmt: skip
    placed = place(layer)
    np.testing.assert_allclose(placed.volume.affine, body().affine, atol=1e-6)
    assert placed.volume.unit == "HU"


def test_points_over_an_oblique_scan_get_patient_coordinates():
    volume = body(affine=oblique())
    layer = layer_of(volume)
    placed = place(layer)
    index = np.array([[3.0, 11, 7]])
    drawn = Points([layer.data_to_world(index[0])], ndim=3, units=("mm",) * 3)
    shown = source_of(layer.metadata).shown
    true = shown.affine[:3, :3] @ index[0] + shown.affine[:3, 3]
    np.testing.assert_allclose(placed.points_of(drawn)[0], true, atol=1e-6)
    back = placed.layer_points(drawn, placed.points_of(drawn))
    np.testing.assert_allclose(back, drawn.data, atol=1e-6)


def test_a_mask_drawn_over_an_oblique_scan_is_aligned_with_it():
    layer = layer_of(body(affine=oblique()))
    marked = np.zeros(layer.data.shape, np.uint8)
    marked[4:8] = 3
    drawn = Labels(marked, scale=layer.scale, translate=layer.translate, units=("mm",) * 3)
    mask = mask_of(drawn, place(layer))
    np.testing.assert_allclose(mask.affine, source_of(layer.metadata).shown.affine, atol=1e-6)
    assert set(np.unique(mask.voxels)) == {0, 1}
    with pytest.raises(InputError, match="is empty"):
        mask_of(Labels(np.zeros((3, 4, 5), int)), place(layer))


def test_layers_other_than_volumes_are_rejected_with_a_message():
    color = Image(np.zeros((4, 5, 6, 3), np.uint8), rgb=True, name="photo")
    with pytest.raises(InputError, match="'photo' is in color; register the grey layer"):
        check_grey_layer(color)
    check_volume_layer(color)
    with pytest.raises(InputError, match="2 dimensions"):
        check_grey_layer(Image(np.zeros((5, 6)), name="flat"))
    with pytest.raises(InputError, match="4 dimensions"):
        check_volume_layer(Image(np.zeros((2, 3, 5, 6)), name="movie"))
    with pytest.raises(InputError, match="points layer"):
        check_volume_layer(Points(np.zeros((1, 3)), name="dots"))
    with pytest.raises(InputError, match="no grey values"):
        check_grey_layer(Labels(np.zeros((3, 4, 5), int)))
    one = layer_of(body())
    with pytest.raises(InputError, match="chosen twice"):
        check_two(one, one, "register")
    with pytest.raises(InputError, match="open two images"):
        check_two(one, None, "register")


def test_colors_of_any_type_become_rgba():
    for data in (
        np.full((3, 4, 5, 3), 255, np.uint8),
        np.full((3, 4, 5, 3), 65535, np.uint16),
        np.ones((3, 4, 5, 4), np.float32),
    ):
        volume = place(Image(data, rgb=True)).volume
        assert volume.voxels.dtype == np.uint8
        assert (volume.voxels == 255).all()
        assert volume.shape == (3, 4, 5)


def test_positions_are_converted_to_the_units_of_a_layer():
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((3, 4, 5)), units=("um",) * 3)
    viewer.add_image(np.zeros((3, 4, 5)), units=("mm",) * 3)
    shown = np.array([1.0, 2.0, 3.0])
    factor = 1000.0 if str(viewer.layers.units[0]).startswith("milli") else 1.0
    np.testing.assert_allclose(layer_position(viewer, layer, shown), shown * factor)


def test_images_are_resampled_and_points_are_transformed():
    fixed, moving = place(layer_of(body())), place(layer_of(body(SHIFT), "moving"))
    image = layer_of(body(SHIFT), "moving")
    data, keywords, kind = moved_volume(image, moving, fixed, shift())
    assert kind == "image"
    assert keywords["name"] == "moving · moved"
    np.testing.assert_array_equal(data, shift().apply(body(SHIFT), body()).voxels)
    unlike = np.abs(data.astype(float) - body().voxels).mean()
    assert unlike < 0.8 * np.abs(body(SHIFT).voxels.astype(float) - body().voxels).mean()
    points = Points([[120.0, 5, 7]], ndim=3, units=("mm",) * 3, features={"n": [1]})
    where, state, _ = moved_drawing(points, moving, fixed, shift().inverse())
    np.testing.assert_allclose(where, points.data - SHIFT[::-1])
    again = Points(where, **state)
    assert again.name.endswith("· moved")


def test_labels_stay_labels_and_shapes_become_outlines():
    fixed, moving = place(layer_of(body())), place(layer_of(body(SHIFT)))
    labels = Labels(
        np.where(body(SHIFT).voxels > 300, 700, 0).astype(np.int32), name="bone",
        scale=(6, 4, 4), translate=(100, -80, -72), units=("mm",) * 3,
    )  # fmt: skip
    data, _, kind = moved_volume(labels, moving, fixed, shift())
    assert kind == "labels"
    assert data.dtype == np.int32
    assert set(np.unique(data)) == {0, 700}
    square = np.array([[120, 0, 0], [120, 0, 10], [120, 10, 10], [120, 10, 0]], float)
    shapes = Shapes([square, square], shape_type=["ellipse", "path"])
    outlines, state, _ = moved_drawing(shapes, moving, fixed, shift().inverse())
    assert state["shape_type"] == ["polygon", "path"]
    np.testing.assert_allclose(outlines[1], square - SHIFT[::-1])
    np.testing.assert_allclose(outlines[0].mean(axis=0), square.mean(axis=0) - SHIFT[::-1])
    assert len(Shapes(outlines, **state).data) == 2


def test_two_dimensional_points_are_rejected():
    placed = place(layer_of(body()))
    with pytest.raises(InputError, match="2 dimensions"):
        moved_drawing(Points(np.zeros((2, 2))), placed, placed, shift())


def test_undefined_jacobian_is_shown_as_no_change():
    holes = np.zeros((14, 40, 36), bool)
    holes[0] = True
    jacobian = Volume(
        np.full(holes.shape, 1.5, np.float32), body().affine, "unknown", outside=holes
    )
    data, keywords, _ = jacobian_layer(jacobian, place(layer_of(body())))
    assert (data[0] == 1).all()
    assert (data[1:] == 1.5).all()
    assert source_of(keywords["metadata"]).role == "derived"
