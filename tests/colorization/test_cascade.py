"""The network of slices with a network of blocks behind it."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tomochrome.colorization.blocks import fitted
from tomochrome.colorization.inputs import Channel, InputSpec
from tomochrome.colorization.network import build_network, size_multiple
from tomochrome.errors import ModelError

torch = pytest.importorskip("torch")
UNET = {"name": "UNet", "num_res_units": 1, "norm": "batch", "act": "leakyrelu"}
CONFIG = {
    "name": "CascadeUNet",
    "in_channels": 2,
    "out_channels": 5,
    "planes": [[0, 0], [1, 0], [1, -2], [1, 3]],
    "planar": {**UNET, "in_channels": 4, "out_channels": 5, "channels": [4, 8, 8],
               "strides": [2, 2]},
    "solid": {**UNET, "spatial_dims": 3, "in_channels": 7, "out_channels": 6, "channels": [4, 8],
              "strides": [2]},
}  # fmt: skip


def cascade() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(CONFIG)


def test_before_training_it_says_what_the_network_of_slices_says() -> None:
    network = cascade().eval()
    block = torch.rand(2, 2, 6, 16, 20)
    with torch.inference_mode():
        found = network(block)
        for n in range(2):
            for z in range(6):
                rows = [block[n, c, min(max(z + up, 0), 5)] for c, up in CONFIG["planes"]]
                wanted = network.planar(torch.stack(rows)[None])[0]
                torch.testing.assert_close(found[n, :, z], wanted, atol=1e-5, rtol=1e-5)


def test_only_the_network_of_blocks_learns() -> None:
    network = cascade().train()
    before = copy.deepcopy(network.state_dict())
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # at first only the last layer has a gradient: it is zero
        optimizer.zero_grad()
        network(torch.rand(2, 2, 4, 8, 8)).square().mean().backward()
        optimizer.step()
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert changed and not any(name.startswith("planar.") for name in changed)
    assert any(name.startswith("solid.") for name in changed)
    assert any(name.startswith("correct.") for name in changed)


def test_sides_need_to_fit_the_network_of_blocks_only() -> None:
    assert size_multiple(CONFIG) == 2
    network = cascade().eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 2, 4, 10, 14)).shape == (1, 5, 4, 10, 14)


@pytest.mark.parametrize(
    "change",
    [
        {"planes": [[0, 0]]},
        {"planes": [[0, 0], [2, 0], [1, -2], [1, 3]]},
        {"planes": [[0, 0], [1, 0], [1, -2], [1, 1000]]},
        {"planes": 4},
        {"planes": [[0, 0], [1, 0], [1, -2], 7]},
        {"planar": None},
        {"planar": {**CONFIG["planar"], "out_channels": 4}},
        {"solid": CONFIG["planar"]},
        {"solid": CONFIG},
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict) -> None:
    with pytest.raises(ModelError, match=r"network's"):
        build_network({**CONFIG, **change})


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((40, 60, 70), (16, 64, 72)),  # whole slices, and full depth
        ((1, 60, 70), (8, 64, 72)),  # a single slice costs no deep block
        ((40, 200, 300), (16, 64, 96)),
        ((40, 20, 3000), (16, 24, 96)),
    ],
)
def test_blocks_fit_the_volume(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    spec = InputSpec(channels=(Channel(40, 400),), block=(16, 64, 96))
    assert fitted(shape, spec, 8) == wanted


def test_a_block_beyond_the_volume_sees_the_last_slice_and_nothing_beside_it() -> None:
    from tomochrome.colorization.blocks import blended

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
