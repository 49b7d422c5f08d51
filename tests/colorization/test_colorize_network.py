import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomochrome.colorization.inputs import (
    Channel,
    InputSpec,
    input_batch,
    to_input_grid,
    window_ramps,
)
from tomochrome.errors import ModelError
from tomochrome.windowing import Window, luminance

SMALL = {
    "name": "UNet",
    "in_channels": 3,
    "out_channels": 5,
    "channels": [4, 8, 12],
    "strides": [2, 2],
    "num_res_units": 1,
    "norm": "batch",
    "act": "leakyrelu",
}


def test_a_described_network_is_built_and_keeps_the_size():
    import torch

    from tomochrome.colorization.network_builder import build_network, size_multiple

    net = build_network(SMALL).eval()
    assert size_multiple(SMALL) == 4
    with torch.inference_mode():
        assert net(torch.zeros(2, 3, 12, 20)).shape == (2, 5, 12, 20)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "os.system"},
        {"name": 7},
        {"channels": "eval('1')"},
        {"channels": [4, 8]},
        {"channels": [4, 8, 10**9]},
        {"strides": [2, 3]},
        {"in_channels": True},
        {"norm": "evil"},
        {"act": "__import__"},
        {"surprise": 1},
    ],
)
def test_foreign_descriptions_are_refused_in_a_sentence(change):
    from tomochrome.colorization.network_builder import build_network

    with pytest.raises(ModelError, match=r"\w+"):
        build_network({**SMALL, **change})


def test_the_specification_survives_json():
    import json

    spec = InputSpec(1.5, 2.0, (Channel(40, 400), Channel(-600, 1500, -8.0)))
    assert InputSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"pixel_mm": 0},
        {"pixel_mm": "2"},
        {"channels": []},
        {"channels": [{"center": 1}]},
        {"more": 1},
        {"slice_mm": float("nan")},
    ],
)
def test_damaged_specifications_are_refused(change):
    with pytest.raises(ModelError):
        InputSpec.from_dict({**InputSpec().to_dict(), **change})


def test_channels_are_the_luminance_of_their_windows():
    rng = np.random.default_rng(1)
    hu = rng.integers(-1024, 2000, (1, 16, 16)).astype(np.float32)
    spec = InputSpec(1.0, 1.0)
    batch = input_batch(to_input_grid(hu, (1.0, 1.0, 1.0), spec), 0, spec)
    for channel, seen in zip(spec.channels, batch[0], strict=True):
        expected = luminance(hu[0], Window(channel.center, channel.width)) / 100
        np.testing.assert_allclose(seen, expected, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(0.4, 7.0),
    st.floats(0.3, 5.0),
)
def test_the_input_grid_keeps_constants_and_covers_the_field(nz, ny, nx, dz, dx):
    spec = InputSpec()
    grid = to_input_grid(np.full((nz, ny, nx), 123, np.int16), (dz, dx, dx), spec)
    np.testing.assert_allclose(grid.hu, 123, rtol=1e-5)
    assert grid.slice_mm >= min(spec.slice_mm, grid.slice_mm)
    assert (grid.positions >= 0).all() and (grid.positions <= nz - 1).all()
    assert len(grid.positions) == len(grid.hu)
    assert abs(grid.hu.shape[1] * spec.pixel_mm - ny * dx) <= spec.pixel_mm


def test_area_averaging_equals_block_means():
    rng = np.random.default_rng(2)
    hu = rng.normal(0, 100, (6, 12, 8)).astype(np.float32)
    grid = to_input_grid(hu, (1.5, 1.0, 0.5), InputSpec())
    blocks = hu.reshape(6, 6, 2, 2, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(grid.positions, [0.5, 2.5, 4.5])
    expected = blocks.reshape(3, 2, 6, 2).mean(axis=1)
    np.testing.assert_allclose(grid.hu, expected, atol=1e-3)


def test_neighbors_lie_at_their_distance_and_edges_repeat():
    hu = np.arange(10, dtype=np.float32)[:, None, None] * np.ones((1, 4, 4), np.float32)
    spec = InputSpec(1.0, 3.0, tuple(Channel(5.5, 11, o) for o in (-18.0, -4.5, 0.0, 9.0)))
    batch = input_batch(to_input_grid(hu, (3.0, 1.0, 1.0), spec), [2, 9], spec)
    low, slope = window_ramps(spec)
    seen = batch[:, :, 0, 0] / slope + low
    np.testing.assert_allclose(seen, [[0, 0.5, 2, 5], [3, 7.5, 9, 9]], atol=1e-4)


def test_padding_is_air_at_the_ends():
    spec = InputSpec(1.0, 1.0)
    grid = to_input_grid(np.full((1, 5, 7), 50, np.int16), (1.0, 1.0, 1.0), spec)
    batch = input_batch(grid, [0], spec, multiple=8)
    assert batch.shape == (1, len(spec.channels), 8, 8)
    assert not batch[:, :, 5:].any() and not batch[:, :, :, 7:].any()
    assert batch[0, 1, :5, :7].min() > 0
