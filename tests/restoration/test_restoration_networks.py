"""Networks of restoration evaluate the same on every CPU."""

from __future__ import annotations

import pytest
import torch

from tomochrome.restoration.networks import Convolution, MaskedUNet


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
