"""Feature networks: the parameters of torchvision's, and the weights of the user."""

import numpy as np
import pytest

from tomochrome.errors import ModelError, OptionError, TomochromeError

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402

from tomochrome.registration.feature_networks import (  # noqa: E402
    BACKBONES,
    NETWORKS,
    build_features,
    load_features,
)

# names and shapes as in torchvision.models: alexnet, vgg16, resnet18
TORCHVISION = {
    "alexnet": {"features.0.weight": (64, 3, 11, 11), "features.3.weight": (192, 64, 5, 5)},
    "vgg16": {
        "features.0.weight": (64, 3, 3, 3),
        "features.2.weight": (64, 64, 3, 3),
        "features.5.weight": (128, 64, 3, 3),
        "features.7.weight": (128, 128, 3, 3),
        "features.10.weight": (256, 128, 3, 3),
    },
    "resnet18": {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_var": (64,),
        "layer1.0.conv1.weight": (64, 64, 3, 3),
        "layer1.1.bn2.bias": (64,),
        "layer2.0.conv1.weight": (128, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer2.0.downsample.1.running_mean": (128,),
        "layer2.1.conv2.weight": (128, 128, 3, 3),
    },
}
DEEPER = {"classifier.6.weight": torch.ones(1000, 8), "fc.bias": torch.ones(1000)}


def weights_of(backbone):
    torch.manual_seed(3)
    state = build_features({"name": BACKBONES[backbone]}).state_dict()
    return {**{name: weight.clone() for name, weight in state.items()}, **DEEPER}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_parameters_are_those_of_torchvision(backbone):
    state = build_features({"name": BACKBONES[backbone]}).state_dict()
    for name, shape in TORCHVISION[backbone].items():
        assert tuple(state[name].shape) == shape
    convolutions = {name for name, weight in state.items() if weight.ndim == 4}
    assert convolutions >= {name for name, shape in TORCHVISION[backbone].items() if len(shape) > 1}
    assert sum(weight.numel() for weight in state.values()) < 700_000  # 1.4 MB as float16


@pytest.mark.parametrize("backbone", BACKBONES)
def test_levels_have_the_stated_sizes(backbone):
    network = build_features({"name": BACKBONES[backbone]}).eval()
    with torch.inference_mode():
        levels = network(torch.rand(2, 3, 40, 24))
    assert [tuple(level.shape) for level in levels] == [
        (2, width, 40 // step, 24 // step)
        for width, step in zip(network.widths, network.strides, strict=True)
    ]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_features_move_with_the_picture(backbone):
    network = build_features({"name": BACKBONES[backbone]}).eval()
    picture = torch.rand(1, 3, 136, 136)
    with torch.inference_mode():
        here = network(picture)
        there = network(picture.roll(8, 3))
    for level, moved, step in zip(here, there, network.strides, strict=True):
        inside = slice(60 // step, -60 // step)
        expected = level.roll(8 // step, 3)[..., inside, inside]
        torch.testing.assert_close(moved[..., inside, inside], expected, atol=1e-3, rtol=1e-3)


def test_the_user_s_weights_are_read(tmp_path):
    state = weights_of("resnet18")
    torch.save(state, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    old = {k: w for k, w in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    networks = [load_features("resnet18", tmp_path / name)[0]
                for name in ("a.pth", "a.safetensors", "old.pth")]  # fmt: skip
    for network in networks:
        for name, weight in network.state_dict().items():
            torch.testing.assert_close(weight, state[name])
        assert not network.training


def damaged(name):
    state = weights_of("vgg16")
    match name:
        case "missing":
            del state["features.7.bias"]
        case "shape":
            state["features.5.weight"] = torch.zeros(128, 64, 5, 5)
        case "nan":
            state["features.0.bias"][3] = float("nan")
        case "nested":
            return {"epoch": 3, "state_dict": state}
    return state


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "are not of vgg16: they have no 'features.7.bias'"),
        ("shape", "'features.5.weight' has the shape (128, 64, 5, 5) and not (128, 64, 3, 3)"),
        ("nan", "contain infinite or NaN values in 'features.0.bias'"),
        ("nested", "are not a state dict, which holds only tensors by name"),
    ],
)
def test_weights_that_do_not_fit_are_refused(name, words, tmp_path):
    path = tmp_path / "mine.pth"
    torch.save(damaged(name), path)
    with pytest.raises(ModelError) as refused:
        load_features("vgg16", path)
    said = str(refused.value)
    assert words in said and f"'{path}'" in said and "\n" not in said


class Evil:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x02]q\x00."])
def test_other_files_are_refused(suffix, content, tmp_path):
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="mine"):
        load_features("alexnet", path)


def test_nothing_in_a_file_is_executed(tmp_path, capsys):
    torch.save({"features.0.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match="neither safetensors nor a state dict"):
        load_features("alexnet", tmp_path / "evil.pth")
    assert "executed" not in capsys.readouterr().out


def test_missing_weights_and_backbones_are_named(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        load_features("alexnet", tmp_path / "nothing.pth")
    with pytest.raises(OptionError, match="unknown backbone 'alex': choose one of alexnet, vgg16"):
        load_features("alex")
    with pytest.raises(TomochromeError):
        load_features("alexnet", tmp_path)


def test_networks_are_normalized_as_in_torchvision():
    network = build_features({"name": "VGG16"}).eval()
    mean = torch.tensor([0.485, 0.456, 0.406])[None, :, None, None].expand(1, 3, 16, 16)
    with torch.inference_mode():
        first = network(mean)[0]
    np.testing.assert_allclose(first, 0, atol=1e-6)  # biases are zero
    assert set(NETWORKS) == {"AlexNet", "VGG16", "ResNet18"}
