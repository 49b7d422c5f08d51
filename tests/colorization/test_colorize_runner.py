"""The network on its device: lack of memory, smoothing along z, sliding windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from colorize_cases import NETWORK
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve1d

from tomochrome.colorization import colorize, find_model
from tomochrome.colorization.grid_predictor import (
    GridPredictor,
    _SlidingWindow,
    smoothed,
    smoothing_weight,
)
from tomochrome.colorization.inputs import to_input_grid
from tomochrome.colorization.kinds.network import TissueNetwork
from tomochrome.colorization.network_builder import build_network
from tomochrome.colorization.torch_predictor import fold_norms
from tomochrome.errors import TomochromeError
from tomochrome.volume import Volume

Maker = Callable[..., Path]


@pytest.mark.parametrize("units", [0, 2])
def test_folding_norms_changes_nothing_but_the_work(units: int) -> None:
    import torch

    torch.manual_seed(0)
    network = build_network(
        {**NETWORK, "channels": [4, 8, 8], "strides": [2, 2], "num_res_units": units}
    )
    images = torch.rand(3, 2, 16, 24)
    for _ in range(3):  # gives the normalization layers nontrivial statistics
        network.train()(images * 2 + 1)
    network.eval().requires_grad_(False)
    before = network(images)
    norms = sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    folded = fold_norms(network)
    assert norms > 2
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    torch.testing.assert_close(folded(images), before, atol=1e-5, rtol=1e-4)


class Tight:
    """A network whose device has memory for ``room`` slices only."""

    def __init__(self, module: object, room: int) -> None:
        self.module, self.room, self.sizes = module, room, []

    def __call__(self, batch: object) -> object:
        import torch

        self.sizes.append(len(batch))  # type: ignore[arg-type]
        if len(batch) > self.room:  # type: ignore[arg-type]
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.module(batch)  # type: ignore[operator]

    def to(self, *_: object, **__: object) -> Tight:
        return self


def planes_of(runner: TissueNetwork, hu: np.ndarray) -> np.ndarray:
    grid = to_input_grid(hu, (3.0, 2.0, 2.0), runner.reads)
    crop = (slice(0, grid.hu.shape[1]), slice(0, grid.hu.shape[2]))
    return np.stack(list(runner.planes(grid, crop)))


HU = np.random.default_rng(0).integers(-200, 200, (9, 24, 30)).astype(np.int16)


def test_out_of_memory_halves_the_batch(network_bundle: Maker) -> None:
    card = find_model(network_bundle(seed=1))
    expected = planes_of(TissueNetwork(card, device="cpu", batch=8), HU)
    runner = TissueNetwork(card, device="cpu", batch=8)
    runner.module = tight = Tight(runner.module, 2)  # type: ignore[assignment]
    got = planes_of(runner, HU)
    assert tight.sizes[:4] == [8, 4, 2, 2]
    np.testing.assert_allclose(got, expected, atol=2e-2)
    assert runner.warnings == ()


def test_out_of_memory_at_one_slice_falls_back_to_the_cpu(network_bundle: Maker) -> None:
    import torch

    runner = TissueNetwork(find_model(network_bundle(seed=1)), device="cpu", batch=2)
    runner.module = tight = Tight(runner.module, 0)  # type: ignore[assignment]
    runner._device, runner.half = torch.device("meta"), None  # any device other than the CPU
    place = runner._place

    def relent() -> None:
        tight.room = 1
        place()

    runner._place = relent  # type: ignore[method-assign]
    runner._upload = lambda images: torch.from_numpy(images).to(runner._number())  # type: ignore[method-assign]
    assert planes_of(runner, HU).shape[0] == 9
    assert runner.device == "cpu"
    assert "ran out of memory" in runner.warnings[0].text


def test_out_of_memory_on_the_cpu_is_one_sentence(network_bundle: Maker) -> None:
    runner = TissueNetwork(find_model(network_bundle()), device="cpu")
    runner.module = Tight(runner.module, 0)  # type: ignore[assignment]
    with pytest.raises(TomochromeError, match="not enough memory"):
        planes_of(runner, HU)


def test_other_errors_are_not_taken_for_missing_memory(network_bundle: Maker) -> None:
    runner = TissueNetwork(find_model(network_bundle()), device="cpu")

    def broken(_: object) -> None:
        raise RuntimeError("shapes do not match")

    runner.module = broken  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="shapes"):
        planes_of(runner, HU)


def test_probabilities_and_temperature(network_bundle: Maker) -> None:
    cold = planes_of(TissueNetwork(find_model(network_bundle("cold", seed=1)), device="cpu"), HU)
    hot = planes_of(
        TissueNetwork(find_model(network_bundle("hot", seed=1, temperature=4.0)), device="cpu"), HU
    )
    np.testing.assert_allclose(cold.sum(-1), 1, atol=1e-5)
    assert hot.max(-1).mean() < cold.max(-1).mean()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 7), st.floats(0, 1 / 3), st.floats(0, 1 / 3))
def test_smoothing_of_planes(count: int, side: float, across: float) -> None:
    planes = np.random.default_rng(count).random((count, 2, 3, 4)).astype(np.float32)
    got = list(smoothed(iter(planes), side, across))
    assert len(got) == count
    padded = np.concatenate([planes[:1], planes, planes[-1:]])
    for k, plane in enumerate(got):
        along = side * (padded[k] + padded[k + 2]) + (1 - 2 * side) * padded[k + 1]
        expected = along
        for axis in (0, 1):
            expected = convolve1d(
                expected, [across, 1 - 2 * across, across], axis=axis, mode="nearest"
            )
        np.testing.assert_allclose(plane, expected, atol=1e-6)


def test_a_checkerboard_fades_to_a_ninth() -> None:
    y, x = np.ogrid[:16, :12]
    board = np.where((x + y) % 2, 0.7, 0.3)[..., None].astype(np.float32)
    (plane,) = smoothed(iter([board]), 0.25, GridPredictor.smoothing)
    np.testing.assert_allclose(plane[1:-1, 1:-1], 0.5 + (board - 0.5)[1:-1, 1:-1] / 9, atol=1e-6)


def test_far_slices_are_not_smoothed() -> None:
    weights = [smoothing_weight(mm) for mm in (1.0, 3.0, 5.0, 15.0)]
    assert weights == sorted(weights, reverse=True)
    assert 0.2 < weights[0] <= 0.25
    assert weights[-1] < 1e-3


def test_planes_are_dropped_once_passed() -> None:
    alive = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal alive
        for k in range(20):
            alive = k + 1
            yield np.full((1, 1, 1), k, np.float32)

    window = _SlidingWindow(source())
    for first in range(19):
        base, stack = window.planes(first, first + 1)
        assert base == first
        assert stack.ravel().tolist() == [first, first + 1]
        assert alive == first + 2
        assert len(window._buffer) == 2
    base, stack = window.planes(19, 20)
    assert (base, stack.ravel().tolist()) == (19, [19])


def test_neighboring_slices_agree(network_bundle: Maker) -> None:
    """Thin slices between predicted ones change color gradually, without flicker along z."""
    rng = np.random.default_rng(4)
    hu = np.repeat(rng.integers(-50, 150, (6, 40, 40)), 6, axis=0).astype(np.int16)
    from tomochrome.volume import default_affine

    table = np.ones((512, 26), np.float32)
    bundle = network_bundle(seed=2, table=table)
    chroma = colorize(Volume(hu, default_affine((0.5, 2.0, 2.0))), bundle, device="cpu")
    ab = chroma.ab()
    near = np.linalg.norm(np.diff(ab, axis=0), axis=-1).mean()
    far = np.linalg.norm(ab[6:] - ab[:-6], axis=-1).mean()
    assert near < 0.35 * far
