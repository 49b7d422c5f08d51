"""Conversion of volumes to layers and back preserves the position of each voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.layers import Image, Labels, Layer

from tomochrome._napari.layers.grey_window import limits
from tomochrome._napari.layers.layer_volumes import UnknownUnitError, check_layer, ct_source
from tomochrome._napari.layers.volume_layers import (
    AXIS_LABELS,
    display_name,
    layer_transform,
    placement,
    source_of,
    volume_layer,
    world_affine,
)
from tomochrome._napari.series import samples
from tomochrome.errors import NotCTError
from tomochrome.geometry import LPS_FROM_RAS
from tomochrome.volume import Provenance, ScannerWindow, Volume, default_affine
from tomochrome.windowing import auto_window


def ct(shape=(4, 5, 6), affine=None, **provenance):
    values = np.random.default_rng(0).integers(-1000, 1500, shape).astype(np.int16)
    if affine is None:
        affine = default_affine((3.0, 1.5, 0.75), (10.0, -20.0, 30.0))
    return Volume(values, affine, "HU", Provenance(**provenance))


def as_layer(volume):
    return Layer.create(*volume_layer(volume))


def test_a_layer_always_has_units_labels_placement_and_metadata():
    volume = ct(source="/data/patient/series7")
    data, keywords, kind = volume_layer(volume)
    assert kind == "image"
    assert keywords["units"] == ("mm",) * 3
    assert keywords["axis_labels"] == AXIS_LABELS
    assert keywords["scale"] == pytest.approx((3.0, 1.5, 0.75))
    assert keywords["translate"] == pytest.approx((30.0, -20.0, 10.0))
    assert keywords["name"] == "series7"
    assert keywords["contrast_limits"] == limits(auto_window(volume))
    source = source_of(keywords["metadata"])
    assert source.stored is volume
    assert source.shown.voxels is data


def test_the_scanners_own_window_comes_first():
    volume = ct(windows=(ScannerWindow("bone", 400.0, 1800.0),))
    assert volume_layer(volume)[1]["contrast_limits"] == (-500.0, 1300.0)


def test_napari_reads_world_millimetres_as_lps():
    volume = ct()
    layer = as_layer(volume)
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    np.testing.assert_allclose(world_affine(layer), volume.affine, atol=1e-12)


def test_a_volume_stored_upside_down_is_shown_upright_without_moving_a_voxel():
    # Stored as NIfTI likes it: x to the right, y to anterior, slices from the top down.
    flipped = default_affine((3.0, 1.5, 0.75)) @ np.diag([-1.0, 1.0, 1.0, 1.0])
    volume = ct(affine=LPS_FROM_RAS @ flipped)
    layer = as_layer(volume)
    np.testing.assert_array_equal(layer.data, volume.voxels[::-1, ::-1, ::-1])
    shown = world_affine(layer)
    last = np.array([*np.array(volume.shape) - 1, 1.0])
    np.testing.assert_allclose(shown @ (0, 0, 0, 1), volume.affine @ last, atol=1e-9)
    assert source_of(layer.metadata).stored is volume


def test_a_tilted_volume_is_drawn_on_its_nearest_axes_around_its_own_centre():
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    volume = ct(affine=turn @ default_affine((2.0, 1.0, 1.0), (5.0, 6.0, 7.0)))
    placed = placement(volume)
    middle = (np.array(volume.shape) - 1) / 2
    centre = volume.affine[:3, :3] @ middle + volume.affine[:3, 3]
    drawn = np.array(placed["translate"]) + np.array(placed["scale"]) * middle
    np.testing.assert_allclose(drawn, centre[::-1], atol=1e-9)
    layer = as_layer(volume)
    assert np.array_equal(np.asarray(layer.rotate), np.eye(3))
    np.testing.assert_allclose(source_of(layer.metadata).shown.affine, volume.affine)


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")
@settings(deadline=None, max_examples=8)
@given(
    scale=st.tuples(*[st.floats(0.2, 5)] * 3),
    translate=st.tuples(*[st.floats(-300, 300)] * 3),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
)
def test_a_foreign_layers_scale_rotation_and_translation_are_respected(scale, translate, angles):
    data = ct().voxels
    layer = Image(data, scale=scale, translate=translate, rotate=angles, units=("mm",) * 3)
    volume = ct_source(layer).shown
    assert volume.voxels is data
    rng = np.random.default_rng(1)
    for index in rng.integers(0, 4, (5, 3)):
        z, y, x = layer.data_to_world(tuple(index))
        np.testing.assert_allclose((volume.affine @ (*index, 1))[:3], (x, y, z), atol=1e-6)


def test_units_of_length_are_converted_and_pixels_count_as_millimetres():
    data = ct().voxels
    micro = Image(data, scale=(3000, 1500, 750), units=("um",) * 3)
    centi = Image(data, scale=(0.3, 0.15, 0.075), units=("cm",) * 3)
    plain = Image(data, scale=(3, 1.5, 0.75))
    for layer in (micro, centi, plain):
        assert ct_source(layer).shown.spacing == pytest.approx((3.0, 1.5, 0.75))


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")
def test_a_layer_copies_all_of_anothers_transform():
    layer = Image(
        ct().voxels, scale=(3, 2, 1), translate=(1, 2, 3), rotate=(10, 20, 30),
        shear=(0.1, 0, 0), affine=np.diag([1, 2, 1, 1]), units=("um",) * 3,
        axis_labels=("a", "b", "c"),
    )  # fmt: skip
    other = Image(np.zeros((4, 5, 6, 4), np.uint8), rgb=True, **layer_transform(layer))
    for index in [(0, 0, 0), (3, 1, 2), (1, 4, 5)]:
        np.testing.assert_allclose(other.data_to_world(index), layer.data_to_world(index))
    assert other.units == layer.units
    assert other.axis_labels == layer.axis_labels


def test_lazy_and_multiscale_data_is_loaded_and_whole_numbers_become_int16():
    values = ct().voxels
    lazy = Lazy(values.astype(np.float32))
    loaded = ct_source(Image(lazy)).shown.voxels
    assert loaded.dtype == np.int16
    np.testing.assert_array_equal(loaded, values)
    large = np.tile(values, (1, 8, 8))
    many = Image([large, large[:, ::2, ::2]], multiscale=True)
    assert ct_source(many).shown.shape == large.shape


def test_fractions_of_a_hounsfield_unit_are_kept():
    values = ct().voxels + np.float32(0.25)  # 0.25 HU are 0.6 L* in the stroke window
    shown = ct_source(Image(values)).shown.voxels
    assert shown.dtype == np.float32
    np.testing.assert_array_equal(shown, values)


class Lazy:
    """The minimal interface of a layer's data."""

    def __init__(self, array):
        self._array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, index):
        return self._array[index]

    def __array__(self, dtype=None, copy=None):
        return np.array(self._array, dtype=dtype)


def refused(layer):
    with pytest.raises(NotCTError) as caught:
        ct_source(layer)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert f"'{layer.name}'" in sentence
    return sentence


def test_layers_other_than_ct_are_rejected_with_a_message():
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, (4, 50, 50, 3)).astype(np.uint8)
    assert "labels layer" in refused(Labels(np.ones((4, 5, 6), np.uint8)))
    assert "color image" in refused(Image(photo, rgb=True))
    assert "uint8" in refused(Image(photo[..., 0]))
    assert "bool" in refused(Image(ct().voxels > 0))
    assert "2 dimensions" in refused(Image(ct().voxels[0]))
    assert "4 dimensions" in refused(Image(ct().voxels[None]))
    assert "the smallest value is 0" in refused(
        Image(np.abs(ct().voxels) - np.abs(ct().voxels).min())
    )
    assert "finite" in refused(Image(np.full((3, 3, 3), np.nan), contrast_limits=(0, 1)))
    unknown = Volume(ct().voxels, ct().affine, "unknown")
    assert "not in Hounsfield units" in refused(as_layer(unknown))


def test_an_unknown_unit_can_be_overridden_but_not_a_color_image():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (4, 50, 50)).astype(np.uint8)
    mr = Volume(np.abs(ct().voxels), ct().affine, "unknown", Provenance(modality="MR"))
    for layer in (Image(grey), Image(np.abs(ct().voxels)), as_layer(mr)):
        with pytest.raises(UnknownUnitError):
            ct_source(layer)
        shown = ct_source(layer, as_hu=True).shown
        assert shown.unit == "unknown"  # the unit of the volume stays unknown
        np.testing.assert_array_equal(shown.voxels, np.asarray(layer.data))
    assert ct_source(Image(ct().voxels), as_hu=True).shown.unit == "HU"
    hopeless = [
        Image(rng.integers(0, 255, (4, 50, 50, 3)).astype(np.uint8), rgb=True),
        Labels(np.ones((4, 5, 6), np.uint8)), Image(ct().voxels > 0), Image(ct().voxels[0]),
        Image(np.full((3, 3, 3), np.nan), contrast_limits=(0, 1)),
    ]  # fmt: skip
    for layer in hopeless:
        with pytest.raises(NotCTError) as caught:
            ct_source(layer, as_hu=True)
        assert not isinstance(caught.value, UnknownUnitError)


def test_values_are_checked_only_in_the_worker():
    check_layer(Image(np.zeros((3, 3, 3), np.int16), contrast_limits=(0, 1)))


def test_replaced_data_is_checked_again():
    layer = as_layer(ct())
    layer.data = np.asarray(layer.data).astype(np.float32) + 1
    source = ct_source(layer)
    assert source.shown is not source_of(layer.metadata).shown
    np.testing.assert_array_equal(source.shown.voxels, ct().voxels + 1)


def test_a_sample_is_named_after_its_region():
    ((_, keywords, _),) = samples.abdomen(spacing=(20.0, 10.0, 10.0))
    stored = source_of(keywords["metadata"]).stored
    assert keywords["name"] == display_name(stored) == "Sample abdomen"


def test_the_event_loop_turns_while_a_sample_is_made_elsewhere(qapp, monkeypatch):
    """Making it compiles kernels, which would hold the interpreter lock for seconds."""
    from qtpy.QtCore import QTimer

    from tomochrome import phantom

    turns, during = [], []
    call = phantom.call

    def watched(function, *args, **options):
        assert function.__module__ == phantom.__name__
        before = len(turns)
        made = call(function, *args, **options)
        during.append(len(turns) - before)
        return made

    monkeypatch.setattr(phantom, "call", watched)
    timer = QTimer()
    timer.timeout.connect(lambda: turns.append(None))
    timer.start(0)
    samples.head(spacing=(20.0, 10.0, 10.0), seed=5)
    assert during and during[0] > 3
