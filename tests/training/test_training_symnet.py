"""A short training of the registration network: loss, resuming, export."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from tomochrome.errors import Cancelled, InputError, OptionError
from tomochrome.phantom import Structure
from tomochrome.runtime import Task, running

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


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch):
    monkeypatch.setattr("tomochrome.training.symnet_score.PAIRS", 2)  # measured on, of each kind


@pytest.fixture(scope="module")
def run(pool, tmp_path_factory):
    from tomochrome.training import train

    out = tmp_path_factory.mktemp("run") / "symnet"
    train(TINY, paint=False, out=out, pool=pool, device="cpu", steps=20)
    return out


def pairs(pool, shape, seed, sizes=(0.2, 1.6)):
    from tomochrome.training.config import PhantomPlan
    from tomochrome.training.pairs import PairSamples
    from tomochrome.training.pool import Pool

    return PairSamples(Pool(pool, PhantomPlan()), [], shape, seed, sizes)


def steps_of(run):
    return torch.load(run / "checkpoint.pt", weights_only=True)["step"]


@pytest.mark.parametrize("kind", ["shapes", "phantom", "two patients"])
def test_a_pair_matches_its_true_deformation(kind, pool):
    from tomochrome.registration.velocity import compose, resize_field, warp

    sampler = pairs(pool, (32, 32, 32), 4, (0.4, 0.6))
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


def test_samples_depend_only_on_the_seed(pool):

    first, second = (pairs(pool, (16, 16, 16), 8)[5] for _ in range(2))
    assert torch.equal(first.inputs, second.inputs) and first.kind == second.kind


def test_regions_are_drawn_by_their_shares(pool, tmp_path):
    from tomochrome.training.config import PhantomPlan
    from tomochrome.training.pool import Pool

    for region in ("abdomen", "pelvis", "thorax"):
        for seed in range(2):
            data = (pool / "abdomen-0.npz").read_bytes()
            (tmp_path / f"{region}-{seed}.npz").write_bytes(data)
    found = Pool(tmp_path, PhantomPlan(regions={"abdomen": 0.75, "thorax": 0.25, "pelvis": 0.0}))
    assert len(found) == 6
    rng = np.random.default_rng(0)
    drawn = [found.draw(rng) for _ in range(80)]
    counts = Counter(patient.name.split("-")[0] for patient in drawn)
    assert set(counts) == {"abdomen", "thorax"} and counts["abdomen"] > 45
    assert len({patient.name for patient in drawn}) == 4
    other = found.draw_other(drawn[0], rng)
    assert other.name != drawn[0].name and other.name[:4] == drawn[0].name[:4]


def test_the_loss_falls_on_one_pair(pool):
    from tomochrome.registration.symmetric_network import build_symnet
    from tomochrome.training import load_config
    from tomochrome.training.tasks.symnet_task import pair_loss

    torch.manual_seed(0)
    config = load_config(TINY)
    sample = pairs(pool, (16, 16, 16), 3, (0.8, 0.9)).draw_kind("phantom")
    net = build_symnet(config.network)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    errors = []
    for k in range(60):
        optimizer.zero_grad()
        velocities = net(sample.inputs[:1], sample.inputs[1:])[0]
        total, parts = pair_loss(velocities, sample._replace(place=k % 3), config)
        total.backward()
        optimizer.step()
        errors.append(parts["error"])
    assert errors[-1] < 0.6 * errors[0]
    assert parts["before"] > 0


def test_a_run_writes_checkpoint_and_log(run):
    from tomochrome.registration.symmetric_network import build_symnet

    state = torch.load(run / "checkpoint.pt", weights_only=True)
    assert state["step"] == 20
    build_symnet(TINY["network"]).load_state_dict(state["mean"])
    assert all(torch.isfinite(v).all() for v in state["mean"].values())
    assert (run / "log.csv").read_text().startswith("step,seconds,rate,loss")


def test_a_run_is_not_overwritten_but_resumed(run, pool):
    from tomochrome.training import train

    with pytest.raises(OptionError, match="resume"):
        train(TINY, paint=False, out=run, pool=pool)
    train(TINY, paint=False, out=run, pool=pool, device="cpu", steps=22, resume=True)
    assert steps_of(run) == 22
    header = [line for line in (run / "log.csv").read_text().splitlines() if "step" in line]
    assert len(header) == 1


def test_the_learning_rate_schedule_of_each_stage():
    from tomochrome.training import load_config
    from tomochrome.training.trainer import learning_rate

    config = load_config(TINY)
    found = [learning_rate(config, (0.3, 1.0), 10_000, k / 100) for k in range(101)]
    assert [stage for stage, _ in found] == [0] * 30 + [1] * 71
    rates = [rate for _, rate in found]
    assert max(rates[:30]) == rates[0] and rates[29] < 0.05 * rates[0]
    assert rates[30] < 0.1 * rates[0] < rates[35]
    assert all(a >= b for a, b in pairwise(rates[35:]))
    assert learning_rate(config, (1.0,), 0, 0.0) == (0, config.learning_rate / config.warm_up)


def test_cancelling_writes_a_checkpoint(pool, tmp_path):
    from tomochrome.training import train

    token = Task(lambda done, total, stage: token.cancel() if stage == "training" else None)
    with running(token), pytest.raises(Cancelled):
        train(TINY, paint=False, out=tmp_path / "r", pool=pool, device="cpu", steps=1000)
    assert (tmp_path / "r" / "checkpoint.pt").exists()


def test_an_invalid_checkpoint_is_rejected(pool, tmp_path):
    from tomochrome.training import finish, train

    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="not a checkpoint"):
        train(TINY, paint=False, out=tmp_path, pool=pool, resume=True)
    with pytest.raises(InputError, match="not a checkpoint"):
        finish(tmp_path, tmp_path / "weights", config=TINY, held_out=pool)


def test_the_exported_bundle_registers_symmetrically(run, pool, tmp_path):
    from tomochrome.bundles import REGISTRATION, list_cards
    from tomochrome.registration.symmetric_network import load_symnet, predict
    from tomochrome.training import finish

    [path] = finish(run, tmp_path / "new", config=TINY, held_out=pool, notes=["N."])
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


def test_a_registration_bundle_cannot_colorize(run, pool, tmp_path):
    from tomochrome.colorization.cards import models
    from tomochrome.training import finish

    finish(run, tmp_path, config=TINY, held_out=pool)
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
def test_invalid_configurations_are_rejected(change):
    from tomochrome.training import load_config

    with pytest.raises(OptionError):
        load_config({**TINY, **change})
