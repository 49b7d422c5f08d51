"""Training that starts with the weights of a model."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from training_cases import small, write_run

from tomochrome.bundles import DEFECTS, RESTORATION, find_card, load_state
from tomochrome.cli.app import main
from tomochrome.colorization import find_model
from tomochrome.colorization.network_builder import build_network
from tomochrome.errors import ModelError, OptionError
from tomochrome.training import load_config, train
from tomochrome.training.config import CONFIGS
from tomochrome.training.start import interpolate_weights, start_from
from tomochrome.training.trainer import start_task

torch = pytest.importorskip("torch")


def described() -> dict:
    return dict(find_model("tissue").metadata["network"])


def test_additional_channels_initially_have_no_effect() -> None:
    model, wider = (build_network({**described(), "in_channels": n}).eval() for n in (14, 18))
    start_from(model, "tissue")
    start_from(wider, "tissue")
    images = torch.rand(1, 18, 64, 96)
    with torch.inference_mode():
        wanted, found = model(images[:, :14]), wider(images)
        other = wider(torch.cat([images[:, :14], torch.rand(1, 4, 64, 96)], 1))
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
    net = build_network({**described(), "in_channels": 18})
    start_from(net, "tissue")
    net(torch.rand(2, 18, 64, 64)).square().mean().backward()
    first = next(weight for weight in net.parameters() if weight.shape[1:2] == (18,))
    assert first.grad is not None and first.grad[:, 14:].abs().sum() > 0


@pytest.mark.parametrize(
    "change",
    [{"in_channels": 8}, {"out_channels": 25}, {"channels": [24, 48, 96], "strides": [2, 2]},
     {"channels": [24, 48, 96, 128, 192, 260]}],
)  # fmt: skip
def test_a_different_network_is_rejected(change: dict) -> None:
    with pytest.raises(OptionError, match="cannot start from the model 'tissue'"):
        start_from(build_network({**described(), **change}), "tissue")


def test_layers_that_the_model_lacks_stay_as_they_are() -> None:
    given = load_config("unet").network
    net = build_network({**given, "upsampling": "transposed"})
    before = copy.deepcopy(net.state_dict())
    start_from(net, "unet", partly=True)
    stored = build_network(given)
    start_from(stored, "unet")
    lacking = [name for name in before if name not in stored.state_dict()]
    assert lacking and all("deconv" in name for name in lacking)
    for name, weight in net.state_dict().items():
        wanted = before if name in lacking else stored.state_dict()
        torch.testing.assert_close(weight, wanted[name])
    with pytest.raises(OptionError, match=r"differs from .* \(more than half of the weights\)"):
        start_from(build_network(load_config("zhang").network), "unet", partly=True)


def test_a_missing_model_is_rejected(tmp_path) -> None:  # type: ignore[no-untyped-def]
    config = load_config({**small("tissue"), "start": "no-such-model"})
    with pytest.raises(
        ModelError, match="'no-such-model'; train that one first, or change 'start'"
    ):
        train(config, out=tmp_path / "run", pool=tmp_path, steps=1, paint=False)


def test_tissue_is_trained_in_two_steps(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    for slices in ("WEIGHT", "CALIBRATION", "HISTOGRAM"):
        monkeypatch.setattr(f"tomochrome.training.tasks.tissue_task.{slices}_SLICES", 16)
    monkeypatch.chdir(tmp_path)  # the second step finds the default folder of the first
    start = json.loads((CONFIGS / "tissue.json").read_text())["start"]
    configs = small("tissue-7-slices"), {**small("tissue"), "start": start}
    for config in configs:
        name = config["name"]
        Path(f"{name}.json").write_text(json.dumps(config))
        write_run(tmp_path / "runs" / name)
        argv = ["train", f"{name}.json", "--steps", "2", "--device", "cpu"]
        assert main(argv) == 0
    bundles = {path.name for path in Path("runs").glob("*/weights/*")}
    assert bundles == {"tissue-7-slices", "transfer-function", "tissue"}


def test_an_earlier_name_is_accepted_in_a_configuration() -> None:
    assert load_config("tissue3d") == load_config("tissue")
    tissue = load_config({**small("tissue"), "start": "tissue3d"})
    color = load_config({**small("unet"), "teacher": "tissue3d", "start": "tissue3d"})
    assert (tissue.start, color.start, color.teacher) == ("tissue",) * 3  # type: ignore[attr-defined]


def test_distant_slices_are_read_on_both_sides() -> None:
    config = load_config(small("tissue"))
    offsets = [channel.offset_mm for channel in config.spec.channels]  # type: ignore[attr-defined]
    assert offsets[10:] == [-32, 32, -56, 56] and len(offsets) == config.network["in_channels"]
    assert {c.center for c in config.spec.channels[4:]} == {40}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["restoration", "defects"])
def test_a_network_of_restoration_starts_from_its_own_kind(name, tmp_path):
    whole = json.loads((CONFIGS / f"{name}.json").read_text())
    task = start_task(load_config({**whole, "start": name}), tmp_path, None, tmp_path)
    card = find_card(name, RESTORATION if name == "restoration" else DEFECTS)
    for key, value in load_state(card).items():
        torch.testing.assert_close(task.network().state_dict()[key], value.float())
    other = load_config({**whole, "start": "tissue"})
    with pytest.raises(ModelError, match="cannot start from the model 'tissue'"):
        start_task(other, tmp_path, None, tmp_path).network()
