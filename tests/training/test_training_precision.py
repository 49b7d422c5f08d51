"""Number format and memory layout of training: bfloat16 only where the device computes in it."""

import pytest

torch = pytest.importorskip("torch")
from tomochrome.colorization import torch_predictor  # noqa: E402
from tomochrome.colorization.network_builder import build_network  # noqa: E402
from tomochrome.training.precision import arranged, mixed_precision, place  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(params=[False, True], ids=["emulated", "native"])
def native(request, monkeypatch):
    """Whether the CPU computes in bfloat16."""
    monkeypatch.setattr(torch_predictor, "_cpu_has_bfloat16", lambda: request.param)
    return request.param


def test_a_cpu_that_emulates_bfloat16_computes_in_float32(native):
    a = torch.rand(4, 4)
    with mixed_precision(CPU):
        assert (a @ a).dtype == (torch.bfloat16 if native else torch.float32)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_float32_is_contiguous_and_bfloat16_channels_last(native, dimensions):
    form = torch.channels_last if dimensions == 2 else torch.channels_last_3d
    config = {
        "name": "UNet", "spatial_dims": dimensions, "in_channels": 3, "out_channels": 4,
        "channels": [4, 8], "strides": [2], "num_res_units": 1, "norm": "batch", "act": "relu",
    }  # fmt: skip
    net = place(build_network(config).to(memory_format=form), CPU)
    images = arranged(torch.rand(2, 3, *[16] * dimensions))
    weights = [value for value in net.parameters() if value.ndim > 2]
    for value in (images, *weights):
        layout = form if native else torch.contiguous_format
        assert value.is_contiguous(memory_format=layout)
    assert images.is_contiguous() != native
    with mixed_precision(CPU):
        outputs = net(images)
    assert native or outputs.is_contiguous()  # all layers compute in this layout
    outputs.float().sum().backward()
    assert all(torch.isfinite(value.grad).all() for value in weights)
