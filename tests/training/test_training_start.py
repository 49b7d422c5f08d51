"""Training that starts with the weights of a model."""

from __future__ import annotations

import copy

import pytest
from training_cases import small

from tomochrome.colorization import find_model
from tomochrome.colorization.network import build_network
from tomochrome.errors import ModelError, OptionError
from tomochrome.training import load_config, train
from tomochrome.training.start import interpolate_weights, start_from

torch = pytest.importorskip("torch")


def described() -> dict:
    return dict(find_model("tissue").metadata["network"])


def test_additional_channels_initially_have_no_effect() -> None:
    model, wider = (build_network({**described(), "in_channels": n}).eval() for n in (10, 14))
    start_from(model, "tissue")
    start_from(wider, "tissue")
    images = torch.rand(1, 14, 64, 96)
    with torch.inference_mode():
        wanted, found = model(images[:, :10]), wider(images)
        other = wider(torch.cat([images[:, :10], torch.rand(1, 4, 64, 96)], 1))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(other, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_weights_are_interpolated(share: float) -> None:
    torch.manual_seed(0)
    layers = (torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
    net, begun = torch.nn.Sequential(*layers), copy.deepcopy(torch.nn.Sequential(*layers))
    for weight in begun.state_dict().values():
        weight.add_(2)
    before = copy.deepcopy(net.state_dict())
    interpolate_weights(net, begun, share)
    for name, weight in net.state_dict().items():
        moved = 2 * share if weight.is_floating_point() else 0
        torch.testing.assert_close(weight, before[name] + moved)


def test_additional_channels_are_trained() -> None:
    net = build_network({**described(), "in_channels": 14})
    start_from(net, "tissue")
    net(torch.rand(2, 14, 64, 64)).square().mean().backward()
    first = next(weight for weight in net.parameters() if weight.shape[1:2] == (14,))
    assert first.grad is not None and first.grad[:, 10:].abs().sum() > 0


@pytest.mark.parametrize(
    "change",
    [{"in_channels": 8}, {"out_channels": 25}, {"channels": [24, 48, 96], "strides": [2, 2]},
     {"channels": [24, 48, 96, 128, 192, 260]}],
)  # fmt: skip
def test_a_different_network_is_rejected(change: dict) -> None:
    with pytest.raises(OptionError, match="cannot start from the model 'tissue'"):
        start_from(build_network({**described(), **change}), "tissue")


def test_a_missing_model_is_rejected(tmp_path) -> None:  # type: ignore[no-untyped-def]
    config = load_config({**small("tissue3d"), "start": "no-such-model"})
    with pytest.raises(ModelError, match="no-such-model"):
        train(config, out=tmp_path / "run", pool=tmp_path, steps=1, paint=False)


def test_distant_slices_are_read_on_both_sides() -> None:
    config = load_config(small("tissue3d"))
    offsets = [channel.offset_mm for channel in config.spec.channels]  # type: ignore[attr-defined]
    assert offsets[10:] == [-32, 32, -56, 56] and len(offsets) == config.network["in_channels"]
    assert {c.center for c in config.spec.channels[4:]} == {40}  # type: ignore[attr-defined]
