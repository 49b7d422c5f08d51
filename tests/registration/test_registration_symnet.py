"""The network: grids of its passes, symmetry, and refused files."""

import json
import shutil

import pytest

from tomochrome.bundles import weights_folder
from tomochrome.errors import ModelError

torch = pytest.importorskip("torch")

TINY = {"name": "SymNet", "channels": [4, 6], "reach": 3.0, "passes": 2}


def net_of(**changes):
    from tomochrome.registration.symmetric_network import build_symnet

    torch.manual_seed(1)
    net = build_symnet({**TINY, **changes}).eval().requires_grad_(False)
    for head in net.heads:  # a randomly initialized network causes hardly any motion
        head[1].weight.mul_(300)
    return net


def test_small_volumes_are_looked_at_finely_and_large_ones_are_not():
    from tomochrome.registration.symmetric_network import pass_grids

    net = net_of()
    own = (24, 28, 32)
    assert pass_grids(net, (48, 56, 64)) == [(12, 16, 16), own, own, (48, 56, 64)]
    assert pass_grids(net, (12, 56, 64)) == [(8, 28, 32), (8, 28, 32), (12, 56, 64)]
    assert pass_grids(net, (160, 192, 224)) == [(40, 48, 56), (80, 96, 112), (80, 96, 112)]
    assert pass_grids(net_of(passes=1), (48, 56, 64)) == [own]


def test_exchanging_the_images_exchanges_the_velocities():
    from tomochrome.registration.symmetric_network import predict

    net, pair = net_of(), torch.rand(2, 1, 16, 20, 24)
    there = predict(net, pair[:1], pair[1:], (4, 5, 6))
    back = predict(net, pair[1:], pair[:1], (4, 5, 6))
    assert there.shape == (2, 3, 4, 5, 6)
    assert float(there.abs().max()) > 0.01
    torch.testing.assert_close(there, back.flip(0))


def test_later_looks_add_to_what_was_found():
    from tomochrome.registration.symmetric_network import predict

    pair = torch.rand(2, 1, 16, 16, 16)
    once, twice = (predict(net_of(passes=p), pair[:1], pair[1:], (8, 8, 8), 1) for p in (1, 2))
    assert float((once - twice).abs().max()) > 1e-4


@pytest.mark.parametrize(
    "change",
    [
        {"name": "UNet"},
        {"channels": [4]},
        {"channels": "many"},
        {"reach": 0},
        {"passes": 0},
        {"passes": 1.5},
        {"surprise": 1},
    ],
)
def test_an_unfit_description_is_refused(change):
    from tomochrome.registration.symmetric_network import build_symnet

    with pytest.raises(ModelError):
        build_symnet({**TINY, **change})


def test_the_shipped_network_is_small_and_ready():
    from tomochrome.registration.symmetric_network import load_symnet

    net, card = load_symnet()
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    assert (card.path / "models" / "model.safetensors").stat().st_size < 15e6
    assert (card.path / "docs" / "log.csv").is_file()


def test_foreign_and_damaged_bundles_are_refused(tmp_path):
    from tomochrome.registration.symmetric_network import load_symnet

    with pytest.raises(ModelError, match="symnet"):
        load_symnet("nobody")
    with pytest.raises(ModelError, match="of the kind 'transfer-function', not registration"):
        load_symnet(weights_folder() / "transfer-function")
    path = tmp_path / "other"
    shutil.copytree(weights_folder() / "symnet", path)
    file = path / "configs" / "metadata.json"
    metadata = json.loads(file.read_text())
    file.write_text(json.dumps({**metadata, "network": TINY}))
    with pytest.raises(ModelError, match="do not match"):
        load_symnet(path)
    file.write_text(json.dumps({k: v for k, v in metadata.items() if k != "network"}))
    with pytest.raises(ModelError, match="damaged"):
        load_symnet(path)
