"""A training of the registration network of a few steps: it learns, resumes and is shipped."""

import json
import random
from itertools import pairwise

import numpy as np
import pytest

from tomochrome.errors import Cancelled, InputError, OptionError
from tomochrome.phantom.structures import Structure
from tomochrome.runtime import CancelToken

torch = pytest.importorskip("torch")

TINY = {
    "name": "symnet",
    "network": {"name": "SymNet", "channels": [8, 12], "reach": 4.0, "passes": 2},
    "minutes": 0.2,
    "shape": [16, 16, 20],
    "learning_rate": 0.002,
    "ema": 0.9,
    "sizes": [0.3, 0.8],
    "truth": 1.0,
    "roughness": 0.1,
    "opening": {"share": 0.3, "shape": [16, 16, 16], "sizes": [0.1, 0.5]},
    "phantoms": {"spacing": [6.0, 5.0, 5.0], "regions": {"abdomen": 1.0}, "count": 3},
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Three patients made of boxes, in the pool's own file format."""
    folder = tmp_path_factory.mktemp("pool")
    for seed in range(3):
        s = np.zeros((24, 26, 30), np.uint8)
        s[:, 3:23, 3:27] = Structure.SUBCUTANEOUS_FAT
        s[:, 6 + seed : 20, 6:24] = Structure.MUSCLE
        s[5:18, 8:17, 8:15] = Structure.LIVER
        header = json.dumps({"seed": seed, "region": "abdomen", "spacing": [4.0, 4.0, 4.0]})
        np.savez_compressed(folder / f"abdomen-{seed}.npz", structures=s, header=np.array(header))
    return folder


@pytest.fixture(scope="module")
def run(pool, tmp_path_factory):
    from tomochrome.training import train_symnet

    out = tmp_path_factory.mktemp("run") / "symnet"
    train_symnet(TINY, out=out, pool=pool, device="cpu", steps=20)
    return out


def steps_of(run):
    return torch.load(run / "checkpoint.pt", weights_only=True)["step"]


@pytest.mark.parametrize("kind", ["shapes", "phantom", "two patients"])
def test_a_pair_is_what_its_truth_says(kind, pool):
    from tomochrome.registration.velocity import compose, resize_field, warp
    from tomochrome.training.symnet_data import PairSampler, read_sources

    sampler = PairSampler(read_sources(pool, None), (32, 32, 32), 4, (0.4, 0.6))
    for _ in range(3):
        sample = sampler.draw_kind(kind)
        assert sample.inputs.shape == sample.hidden.shape == (2, 1, 32, 32, 32)
        assert float(sample.inputs.min()) >= 0 and float(sample.inputs.max()) <= 1
        assert (sample.truth is None) == (kind == "two patients")
        if sample.truth is None:
            continue
        there_and_back = compose(sample.truth[1:], sample.truth[:1])
        size = sample.truth.square().sum(1).sqrt()
        left = there_and_back.square().sum(1).sqrt()[:, 2:-2, 2:-2, 2:-2]
        assert float(left.mean()) < 0.1 * float(size.mean())
        fixed, moving = sample.hidden[:1], sample.hidden[1:]
        moved = warp(moving, resize_field(sample.truth[:1], (32, 32, 32)))
        middle = (..., *(slice(4, -4),) * 3)
        before = float((moving - fixed)[middle].abs().mean())
        assert float((moved - fixed)[middle].abs().mean()) < 0.75 * before


def test_chance_comes_from_the_seed_alone(pool):
    from tomochrome.training.symnet_data import PairSampler, read_sources

    first, second = (
        PairSampler(read_sources(pool, None), (16, 16, 16), 8).draw() for _ in range(2)
    )
    assert torch.equal(first.inputs, second.inputs) and first.kind == second.kind


def test_a_limit_leaves_no_region_out(pool, tmp_path):
    from tomochrome.training.symnet_data import read_sources

    for region in ("abdomen", "pelvis", "thorax"):
        for seed in range(2):
            data = (pool / "abdomen-0.npz").read_bytes()
            (tmp_path / f"{region}-{seed}.npz").write_bytes(data)
    assert {s.region for s in read_sources(tmp_path, None, 3)} == {"abdomen", "pelvis", "thorax"}


def test_the_loss_falls_on_one_pair(pool):
    from tomochrome.registration.symnet import build_symnet
    from tomochrome.training.symnet_config import load_symnet_config
    from tomochrome.training.symnet_data import PairSampler, read_sources
    from tomochrome.training.symnet_loop import pair_loss

    torch.manual_seed(0)
    random.seed(0)
    config = load_symnet_config(TINY)
    sample = PairSampler(read_sources(pool, None), (16, 16, 16), 3, (0.8, 0.9)).draw_kind("phantom")
    net = build_symnet(config.network)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    errors = []
    for _ in range(40):
        optimizer.zero_grad()
        total, parts = pair_loss(net(sample.inputs[:1], sample.inputs[1:])[0], sample, config)
        total.backward()
        optimizer.step()
        errors.append(parts["error"])
    assert errors[-1] < 0.6 * errors[0]
    assert parts["before"] > 0


def test_a_run_leaves_checkpoint_and_log(run):
    from tomochrome.registration.symnet import build_symnet

    state = torch.load(run / "checkpoint.pt", weights_only=True)
    assert state["step"] == 20
    build_symnet(TINY["network"]).load_state_dict(state["mean"])
    assert all(torch.isfinite(v).all() for v in state["mean"].values())
    assert (run / "log.csv").read_text().startswith("step,seconds,rate,loss")


def test_a_run_is_not_overwritten_but_resumed(run, pool):
    from tomochrome.training import train_symnet

    with pytest.raises(OptionError, match="resume"):
        train_symnet(TINY, out=run, pool=pool)
    train_symnet(TINY, out=run, pool=pool, device="cpu", steps=22, resume=True)
    assert steps_of(run) == 22
    header = [line for line in (run / "log.csv").read_text().splitlines() if "step" in line]
    assert len(header) == 1


def test_the_rate_falls_over_each_part_and_begins_gently():
    from tomochrome.training.budget import Budget
    from tomochrome.training.symnet_config import load_symnet_config
    from tomochrome.training.symnet_loop import _State

    state = _State(load_symnet_config(TINY), torch.device("cpu"))
    state.step = 10_000  # the warm-up by steps is over
    rates = []
    for done in np.linspace(0, 1, 101):
        state.elapsed = 60 * float(done)
        rates.append(state.rate(Budget(minutes=1.0)))
    assert max(rates[:30]) == rates[0] and rates[29] < 0.05 * rates[0]
    assert rates[30] < 0.1 * rates[0] < rates[35]
    assert all(a >= b for a, b in pairwise(rates[35:]))


def test_cancelling_leaves_a_checkpoint(pool, tmp_path):
    from tomochrome.training import train_symnet

    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        train_symnet(TINY, out=tmp_path / "r", pool=pool, device="cpu", cancel=token)
    assert (tmp_path / "r" / "checkpoint.pt").exists()


def test_a_foreign_checkpoint_is_refused(pool, tmp_path):
    from tomochrome.training import finish_symnet, train_symnet

    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="no checkpoint"):
        train_symnet(TINY, out=tmp_path, pool=pool, resume=True)
    with pytest.raises(InputError, match="no checkpoint"):
        finish_symnet(tmp_path, tmp_path / "weights", config=TINY, held_out=pool)


def test_a_run_becomes_a_bundle_that_registers_both_ways_alike(run, pool, tmp_path):
    from tomochrome.bundles import REGISTRATION, list_cards
    from tomochrome.registration.symnet import load_symnet, predict
    from tomochrome.training import finish_symnet

    path = finish_symnet(run, tmp_path / "new", config=TINY, held_out=pool, pairs=2, notes=["N."])
    text = (path / "docs" / "README.md").read_text()
    assert "Not for diagnosis" in text and "never MR" in text and "\nN.\n" in text
    assert (path / "docs" / "log.csv").read_text() == (run / "log.csv").read_text()
    assert json.loads((path / "configs" / "train.json").read_text())["shape"] == [16, 16, 20]
    card = list_cards(REGISTRATION, tmp_path / "new")[0]
    assert (card.name, card.kind, card.license) == ("symnet", "registration", "BSD-3-Clause")
    removed = card.scores["share_of_the_deformation_removed_by_the_network_alone"]
    assert set(removed) == {"held_out_phantoms", "random_shapes"}
    net, _ = load_symnet(path)
    assert net.passes == 2
    pair = torch.rand(2, 1, 16, 20, 24)
    there, back = (predict(net, pair[k : k + 1], pair[1 - k : 2 - k], (8, 10, 12)) for k in (0, 1))
    assert there.shape == (2, 3, 8, 10, 12)
    torch.testing.assert_close(there, back.flip(0))


def test_a_bundle_trained_elsewhere_is_no_colorizing_model(run, pool, tmp_path):
    from tomochrome.colorization.cards import models
    from tomochrome.training import finish_symnet

    finish_symnet(run, tmp_path, config=TINY, held_out=pool, pairs=1)
    assert models(tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [16, 16, 18]},
        {"shape": [16, 16]},
        {"minutes": 0},
        {"sizes": [1.0, 0.5]},
        {"opening": {"share": 1.0}},
        {"opening": {"share": 0.2, "shape": [12, 12, 12]}},
        {"opening": {"portion": 0.2}},
        {"surprise": 1},
    ],
)
def test_unfit_configurations_are_refused(change):
    from tomochrome.training.symnet_config import load_symnet_config

    with pytest.raises(OptionError):
        load_symnet_config({**TINY, **change})
