"""Training a color generator against a critic, in stages, until a threshold."""

import hashlib
import json
import shutil
from copy import deepcopy

import numpy as np
import pytest
from safetensors.numpy import load_file, save
from skimage.color import rgb2lab
from training_cases import small, write_pool, write_run

from tomochrome.cli.app import main
from tomochrome.color import light
from tomochrome.colorization import colorize, find_model
from tomochrome.colorization.kinds.color_network import ColorNetwork
from tomochrome.colorization.scan import prepare
from tomochrome.errors import ModelError, OptionError, TomochromeError
from tomochrome.training import load_config, train
from tomochrome.volume import Volume, default_affine
from tomochrome.windowing import Window, luminance

torch = pytest.importorskip("torch")
from tomochrome.training.adversaries import Adversaries, feature_loss, hinge  # noqa: E402
from tomochrome.training.parallel import Group  # noqa: E402
from tomochrome.training.tasks.nogan_task import NoGan, RegionSamples  # noqa: E402
from tomochrome.training.trainer import _State, read_checkpoint  # noqa: E402

NAMES = ("artistic", "stable", "bigcolor")


def config(name="artistic", **change):
    return load_config({**small(name), **change})


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return write_pool(tmp_path_factory.mktemp("pool"), range(1, 3))


def begun(pool, stage, name="artistic", **change):
    """A run in a part of its own, and a batch of it."""
    task = NoGan(config(name, ema=0.5, **change), pool)
    state = _State(task, Group(0, 1, torch.device("cpu")))
    samples = task.dataset(stage)
    return state, task.collate([samples[k] for k in range(4)])


@pytest.mark.parametrize("name", NAMES)
def test_training_the_generator_alone_reduces_the_color_error(name, pool):
    state, batch = begun(pool, 0, name)
    before = {k: v.clone() for k, v in state.net.critic.named_parameters()}
    rows = [state.learn(batch, (3e-3, 3e-3)) for _ in range(15)]
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert rows[-1]["ab_error"] < rows[0]["ab_error"]
    assert all(torch.equal(before[k], v) for k, v in state.net.critic.named_parameters())


def test_training_the_critic_alone_improves_its_accuracy(pool):
    state, batch = begun(pool, 1, critic_width=8)
    before = {k: v.clone() for k, v in state.net.generator.named_parameters()}
    rows = [state.learn(batch, (3e-3, 3e-3)) for _ in range(30)]
    assert rows[-1]["critic_right"] > 0.9 > rows[0]["critic_right"]
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert all(torch.equal(before[k], v) for k, v in state.net.generator.named_parameters())
    assert not state.exhausted  # only an adversarial part ends so


def test_adversarial_training_separates_the_gradients(pool):
    state, batch = begun(pool, 2, adversarial_weight=0.5)
    net, task = state.net, state.task
    plain = NoGan(task.config.model_copy(update={"adversarial_weight": 0.0}), pool)
    plain.dataset(2)
    found = []
    for by in (task, plain):
        copied = deepcopy(net)
        by.loss(copied, batch)[0].backward()
        found.append({k: v.grad for k, v in copied.named_parameters() if v.grad is not None})
    with_it, without = found
    assert {k.split(".")[0] for k in with_it} == {"generator", "critic"}
    for name, grad in without.items():
        if name.startswith("critic"):  # what it learns does not depend on what the other wants
            torch.testing.assert_close(grad, with_it[name], rtol=1e-3, atol=1e-6)
    assert any(not torch.allclose(v, with_it[k]) for k, v in without.items())


@pytest.mark.parametrize(
    ("right", "error", "over"), [(0.5, 9.0, False), (0.9, 9.0, False), (0.9, 15.0, True)]
)
def test_the_adversarial_stage_ends_when_colors_get_worse(right, error, over, pool):
    net = NoGan(config(worse=1.2), pool).network()
    task = NoGan(config(worse=1.2), pool)
    for _ in range(5):
        net.note(0.5, 10.0, adversarial=False)
    assert float(net.before) == pytest.approx(10) and not task.finished(net)
    net.note(right, float("nan"), adversarial=True)  # of a batch without a body
    net.note(right, error, adversarial=True)
    assert not task.finished(net)  # a single step decides nothing
    for _ in range(60):
        net.note(right, error, adversarial=True)
    assert task.finished(net) == over


def test_a_critic_that_is_fooled_learns_alone_until_it_recovers(pool):
    state, batch = begun(pool, 2, fooled=0.55, recovered=0.7)
    net, generator = state.net, state.net.generator
    net.right.fill_(0.5)

    def step(right):
        before = next(generator.parameters()).detach().clone()
        state.learn(batch, (1e-3, 1e-3))
        net.right.fill_(right)
        return not torch.equal(before, next(generator.parameters()))

    assert [step(right) for right in (0.6, 0.65, 0.8, 0.6, 0.4, 0.6)] == [
        False, False, False, True, True, False,
    ]  # fmt: skip
    assert (int(net.adversarial_steps), int(net.critic_steps), int(net.rounds)) == (2, 4, 2)


def test_the_critic_has_a_learning_rate_of_its_own(pool):
    parts = [part.model_dump() for part in config().parts]
    parts[2] |= {"rate": 0.01, "critic_rate": 0.5}
    state, batch = begun(pool, 2, parts=parts)
    assert state.task.rates(2) == (0.01, 0.5)
    assert state.task.rates(0) == (1.0, 1.0)  # without one, that of the generator
    before = deepcopy(state.net)
    state.learn(batch, [0.1 * share for share in state.task.rates(2)])

    def moved(part):
        weights = (getattr(net, part).parameters() for net in (before, state.net))
        return max(float((a - b).detach().abs().max()) for a, b in zip(*weights, strict=True))

    # the first step of Adam moves a weight by the rate
    assert moved("generator") == pytest.approx(0.001, rel=0.01)
    assert moved("critic") == pytest.approx(0.05, rel=0.01)


def test_a_run_that_ended_at_its_threshold_is_not_continued(pool, tmp_path, monkeypatch):
    plan = config()
    monkeypatch.setattr(NoGan, "finished", lambda _, net: int(net.adversarial_steps) > 0)
    state = read_checkpoint(train(plan, out=tmp_path, pool=pool, paint=False, steps=10), "")
    assert state["step"] == 7  # the first of the adversarial part
    again = train(plan, out=tmp_path, pool=pool, paint=False, steps=10, resume=True)
    assert read_checkpoint(again, "")["step"] == 7


def test_a_resumed_training_equals_an_uninterrupted_one(pool, tmp_path, monkeypatch):
    plan = config("bigcolor")
    options = {"pool": pool, "paint": False, "steps": 10, "device": "cpu"}
    whole = read_checkpoint(train(plan, out=tmp_path / "whole", **options), "")
    loss, calls = NoGan.loss, []

    def killed(self, net, batch):
        calls.append(1)
        if len(calls) == 8:  # the first step of both is taken
            raise KeyboardInterrupt
        return loss(self, net, batch)

    monkeypatch.setattr(NoGan, "loss", killed)
    with pytest.raises(KeyboardInterrupt):
        train(plan, out=tmp_path / "cut", **options)
    resumed = read_checkpoint(train(plan, out=tmp_path / "cut", resume=True, **options), "")
    assert resumed["step"] == whole["step"] == 10 and len(calls) == 11
    for part in ("net", "mean"):
        assert whole[part].keys() == resumed[part].keys()
        assert all(torch.equal(resumed[part][k], v) for k, v in whole[part].items())
    assert {k.split(".")[0] for k in whole["net"]} >= {"generator", "critic"}


def test_a_loss_that_is_not_finite_gives_a_one_line_error(pool, tmp_path, monkeypatch):
    loss = NoGan.loss

    def broken(self, net, batch):
        value, figures = loss(self, net, batch)
        return value * float("nan" if self.part.learns == "critic" else 1), figures

    monkeypatch.setattr(NoGan, "loss", broken)
    with pytest.raises(TomochromeError, match=r"^the loss is nan at step 4: lower") as refused:
        train(config(), out=tmp_path, pool=pool, paint=False, steps=10, device="cpu")
    assert "\n" not in str(refused.value)
    assert read_checkpoint(tmp_path / "checkpoint.pt", "")["step"] == 3


def test_stages_have_the_same_field_of_view(pool):
    shapes = {"shape": (64, 64), "parts": small("stable")["parts"]}
    shapes["parts"] = [*shapes["parts"][:2], {**shapes["parts"][2], "shape": (64, 64)}]
    task = NoGan(config("stable", **shapes), pool)
    coarse, fine = (task.dataset(k).slices.sampler for k in (1, 2))
    assert (coarse.shape, fine.shape) == ((32, 32), (64, 64))
    assert coarse.spec.pixel_mm == 2 * fine.spec.pixel_mm == 4.0
    assert task.stages == (0.3, 0.6, 1.0)


def test_a_stage_has_a_learning_rate_of_its_own(pool, tmp_path, monkeypatch):
    monkeypatch.setattr("tomochrome.training.trainer._LOG_EVERY", 6)
    parts = small("stable")["parts"]
    parts[-1] = {**parts[-1], "rate": 0.01}
    plan = config("stable", parts=parts, adversarial_weight=0.0, warm_up=0)
    train(plan, out=tmp_path, pool=pool, paint=False, steps=18, device="cpu")
    rows = [row.split(",") for row in (tmp_path / "log.csv").read_text().splitlines()[1:]]
    rates = {int(row[0]): float(row[2]) for row in rows}
    assert rates[6] > 0.01 * plan.learning_rate
    assert 0 < rates[12] <= 0.01 * plan.learning_rate  # the last stage begins after 11 steps


def test_the_region_is_known_for_phantoms_only(pool):
    task = NoGan(config("bigcolor"), pool)
    samples = task.dataset()
    assert isinstance(samples, RegionSamples)
    assert samples[0][2] == 3  # abdomen
    plain = task.samples(samples.seed, config=task.config.model_copy(update={"shape": (32, 32)}))
    assert len(plain[0]) == 2
    scan = samples.samples.slices.pool.draw(np.random.default_rng(0))
    samples.samples.slices.real = [type(scan)("abdomen_3mm", scan.structures, scan.spacing)]
    samples.samples.slices.real_share = 1.0
    assert samples[0][2] == 0


def test_saturation_changes_the_target_but_not_the_figures(pool):
    state, batch = begun(pool, 0, saturation=2.0, feature_weight=0.0, variance_weight=0.0)
    truth, known = batch[1][:, :2], batch[1][:, 2:] > 0

    class Says(torch.nn.Module):
        def forward(self, images):
            return torch.cat([torch.atanh(factor * truth / 128), images[:, :1]], 1)

    net = Adversaries(Says(), state.net.critic)
    losses = {}
    for factor in (1.0, 2.0):
        losses[factor], figures = state.task.loss(net, batch)
        assert (figures["ab_error"] < 0.1) == (factor == 1.0)
    assert known.any() and float(losses[2.0]) < 1e-6 < float(losses[1.0])


def test_losses_match_the_papers():
    a, b = torch.tensor([1.0, -3.0]), torch.tensor([2.0, -2.0])
    assert float(feature_loss([a, b], [b, b])) == pytest.approx(0.25, abs=1e-4)
    assert float(hinge(torch.tensor([0.5, 3.0]), torch.tensor([-4.0, 0.0]))) == 0.25 + 0.5


@pytest.fixture(scope="module")
def bigcolor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bigcolor")
    (folder / "mine.json").write_text(json.dumps(small("bigcolor")))
    run = write_run(folder / "run")
    argv = ["train", str(folder / "mine.json"), "--out", str(run), "--steps", "3"]
    assert main([*argv, "--device", "cpu", "--json"]) == 0
    bundle = run / "weights" / "bigcolor"
    weights, metadata = bundle / "models/model.safetensors", bundle / "configs/metadata.json"
    state = load_file(weights)
    for name in state:  # as if it had learned for long what a code does
        if name.endswith(("affine.weight", "colors.weight")):
            state[name] = np.clip(100 * state[name], -4, 4)
    weights.write_bytes(save(state))
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    stored = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({**stored, "weights_sha256": digest}))
    return bundle


def volume():
    voxels = np.full((2, 60, 60), -1000, np.int16)
    voxels[:, 8:52, 8:52] = 40
    voxels[:, 20:40, 30:45] = -90
    return Volume(voxels, default_affine((5.0, 4.0, 4.0)), "HU")


def test_codes_vary_the_color_and_never_the_luminance(bigcolor):
    predictor, scan = ColorNetwork(find_model(bigcolor), device="cpu"), prepare(volume())
    first, again = (predictor.color(scan)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    predictor.condition(seed=7)
    other = predictor.color(scan)[0]
    assert (first[:, 15:18, 20:40] != other[:, 15:18, 20:40]).any()
    predictor.condition(seed=7, region="head")
    assert (predictor.color(scan)[0] != other).any()
    predictor.condition()
    np.testing.assert_array_equal(predictor.color(scan)[0], first)


def test_a_bundle_can_set_its_code_and_luminance_is_unchanged(bigcolor, tmp_path):
    plain = colorize(volume(), bigcolor)
    shutil.copytree(bigcolor, tmp_path / "other")
    file = tmp_path / "other" / "configs" / "metadata.json"
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({**stored, "condition": {"seed": 3, "region": "thorax"}}))
    other = colorize(volume(), tmp_path / "other")
    assert (plain.code != other.code).any()
    for chroma in (plain, other):
        lab = rgb2lab(light(volume(), chroma, "40/400").voxels[..., :3])
        wanted = luminance(volume().voxels, Window(40, 400))
        assert np.abs(lab[..., 0] - wanted).max() <= 0.5
    file.write_text(json.dumps({**stored, "condition": {"seeds": 3}}))
    with pytest.raises(ModelError, match="may contain only 'seed' and 'region'"):
        colorize(volume(), tmp_path / "other")


def test_an_unknown_condition_gives_a_one_line_error(bigcolor):
    predictor = ColorNetwork(find_model(bigcolor), device="cpu")
    with pytest.raises(ModelError, match=r"'knee' is not a region; choose from unknown, head"):
        predictor.condition(region="knee")


def test_the_card_describes_the_training_and_the_bundle_has_no_critic(bigcolor):
    card = (bigcolor / "docs" / "README.md").read_text()
    assert "The NoGAN way" in card and "critic 30% at 32 x 32" in card
    assert "{" not in card and "Every 0 steps" not in card
    names = set(load_file(bigcolor / "models" / "model.safetensors"))
    assert not any("critic" in name for name in names)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"validate_every": 5}, "'validate_every' must be 0"),
        ({"parts": [{"share": 0.5, "shape": [64, 64]}]}, "must sum to 1"),
        ({"parts": [{"share": 1.0, "shape": [60, 64]}]}, "multiple of 32"),
        ({"parts": [{"share": 1.0, "shape": [64, 64], "learns": "x"}]}, "'parts.0.learns'"),
        ({"parts": 2 * [{"share": 0.5, "shape": [64, 64], "learns": "both"}]}, "only the last"),
    ],
)
def test_configuration_error_messages(change, words):
    with pytest.raises(OptionError) as refused:
        config(**change)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_several_processes_are_rejected(pool, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(OptionError, match=r"'stable' trains against a critic.*without torchrun$"):
        NoGan(config("stable"), pool)
