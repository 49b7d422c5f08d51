"""Networks of restoration evaluate the same on every CPU."""

from __future__ import annotations

import pytest
import torch

from tomochrome.restoration.networks import (
    FILLER_CHANNELS,
    Convolution,
    MaskedUNet,
    TranslationVAE,
    build_network,
)


@pytest.mark.parametrize("shape", [(1, 5, 1, 1), (3, 5, 3, 4), (1, 5, 33, 65)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_is_the_same_in_training_and_evaluation(
    shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    convolution = Convolution(shape[1], 7)
    features = torch.randn(shape).to(memory_format=layout)
    expected = convolution(features)  # as in training, with gradients
    with torch.inference_mode():
        torch.testing.assert_close(convolution(features), expected, atol=1e-4, rtol=1e-4)


def test_a_dilated_convolution_is_evaluated() -> None:
    features = torch.randn(1, 4, 12, 12)
    convolution = Convolution(4, 4, dilation=4)
    with torch.inference_mode():
        assert convolution(features).shape == features.shape


def test_a_network_needs_no_nnpack(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net, images = MaskedUNet(3, widths=(8, 16)), torch.randn(1, 3, 32, 48)
    with torch.inference_mode():
        expected = net(images)
        monkeypatch.setattr("tomochrome.restoration.networks.uses_nnpack", lambda: False)
        torch.testing.assert_close(net(images), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("residual", [False, True])
def test_the_blur_of_autoencoders_cancels_out(residual: bool) -> None:
    torch.manual_seed(2)
    config = {"name": "TranslationVAE", "widths": [4, 8], "residual": residual}
    net = build_network(config).eval()
    assert isinstance(net, TranslationVAE)
    images = torch.rand(1, FILLER_CHANNELS, 32, 32)
    assert net(images).shape == (1, 1, 32, 32)
    assert net(images).abs().max() > 0
    # a mapping that finds nothing damaged, between equal autoencoders, changes nothing
    net.mapping = torch.nn.Sequential()
    net.clean.decode = net.damaged.decode
    assert not net(images).any()
