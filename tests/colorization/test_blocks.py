"""Division of volumes into blocks for 3D networks."""

from __future__ import annotations

import numpy as np
import pytest

from tomochrome.colorization.grid_predictor import blended, block_shape
from tomochrome.colorization.inputs import Channel, InputSpec


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((40, 60, 70), (16, 64, 72)),  # whole slices, and full depth
        ((1, 60, 70), (8, 64, 72)),  # a single slice needs no deep block
        ((40, 200, 300), (16, 64, 96)),
        ((40, 20, 3000), (16, 24, 96)),
    ],
)
def test_blocks_fit_the_volume(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    spec = InputSpec(channels=(Channel(40, 400),), block=(16, 64, 96))
    assert block_shape(shape, spec, 8) == wanted


def test_a_block_beyond_the_volume_sees_the_last_slice_and_nothing_beside_it() -> None:
    spec = InputSpec(channels=(Channel(40, 400),), block=(8, 16, 16))
    hu = np.full((3, 10, 12), 40, np.float32)
    hu[2] = 140
    seen: list[np.ndarray] = []

    def predict(inputs: np.ndarray) -> np.ndarray:
        seen.append(inputs)
        return np.moveaxis(inputs, 1, -1)

    planes = np.stack(list(blended(predict, hu, spec, 1, 8)))
    block = seen[0][0, 0]
    assert block.shape == (8, 16, 16)
    assert not block[:, 10:].any() and not block[:, :, 12:].any()
    np.testing.assert_array_equal(block[3:, :10, :12], np.repeat(block[2:3, :10, :12], 5, axis=0))
    np.testing.assert_allclose(planes[..., 0], block[:3, :10, :12], atol=1e-6)
