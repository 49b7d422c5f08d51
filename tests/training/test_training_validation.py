"""Validation: early stopping, and selection of the best weights."""

import csv
import sys
import types

import pytest

from tomochrome.training import TrainingConfig, train
from tomochrome.training.export import load_mean
from tomochrome.training.task_interface import RandomSamples, Task, load_config, register
from tomochrome.training.trainer import read_checkpoint, start_task

torch = pytest.importorskip("torch")


class Points(RandomSamples):
    def draw(self):
        x = self.rng.random(2).astype("float32")
        return x, x.sum(keepdims=True)


@register("overfit")
class Overfit(Task[TrainingConfig]):
    """Learns a sum; what it is validated with grows worse from the fifth look on."""

    looks = 0

    def network(self):
        return torch.nn.Linear(2, 1)

    def dataset(self, stage=0):
        return Points(self.config.seed)

    def validation(self):
        samples = Points(99)
        return [samples[k] for k in range(8)]

    def loss(self, net, batch):
        error = (net(batch[0]) - batch[1]).square().mean()
        if torch.is_grad_enabled():
            return error, {}
        type(self).looks += 1
        return torch.tensor(abs(type(self).looks - 5) + 1.0), {}


CONFIG = {
    "name": "overfit", "task": "overfit", "network": {}, "learning_rate": 0.05, "ema": 0.5,
    "validate_every": 10, "patience": 3,
}  # fmt: skip


@pytest.fixture(autouse=True)
def first_look():
    Overfit.looks = 0


def test_early_stopping_keeps_the_best_weights(tmp_path):
    checkpoint = train(CONFIG, out=tmp_path, steps=1000, device="cpu")
    state = read_checkpoint(checkpoint, "")
    assert state["step"] == 90  # the best look was the fifth, and four more brought nothing
    assert state["validation"] == [1.0, 9, 5]
    log = (tmp_path / "log.csv").read_text().splitlines()
    assert log[0] == "step,seconds,rate,loss,validation"
    task = start_task(load_config(CONFIG), tmp_path, None, None)
    shipped = load_mean(checkpoint, task).state_dict()
    assert all(torch.equal(shipped[name], state["best"][name]) for name in shipped)
    assert not torch.equal(state["best"]["weight"], state["mean"]["weight"])


def test_a_stopped_run_is_not_continued(tmp_path):
    train(CONFIG, out=tmp_path, steps=1000, device="cpu")
    again = read_checkpoint(train(CONFIG, out=tmp_path, steps=1000, device="cpu", resume=True), "")
    assert again["step"] == 90


def test_resuming_continues_counting(tmp_path, monkeypatch):
    whole = read_checkpoint(train(CONFIG, out=tmp_path / "a", steps=1000, device="cpu"), "")
    Overfit.looks = 0
    loss = Overfit.loss

    def killed(self, net, batch):
        if Overfit.looks == 6 and torch.is_grad_enabled():
            raise KeyboardInterrupt
        return loss(self, net, batch)

    monkeypatch.setattr(Overfit, "loss", killed)
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, out=tmp_path / "b", steps=1000, device="cpu")
    monkeypatch.setattr(Overfit, "loss", loss)
    train(CONFIG, out=tmp_path / "b", steps=1000, device="cpu", resume=True)
    resumed = read_checkpoint(tmp_path / "b" / "checkpoint.pt", "")
    assert resumed["step"] == whole["step"] and resumed["validation"] == whole["validation"]
    for part in ("best", "mean", "net"):
        assert all(torch.equal(resumed[part][k], whole[part][k]) for k in whole[part])


def test_without_validation_the_moving_average_is_shipped(tmp_path):
    checkpoint = train({**CONFIG, "validate_every": 0}, out=tmp_path, steps=12, device="cpu")
    state = read_checkpoint(checkpoint, "")
    assert state["step"] == 12 and state["best"] == {} and Overfit.looks == 0
    task = start_task(load_config(CONFIG), tmp_path, None, None)
    shipped = load_mean(checkpoint, task).state_dict()
    assert all(torch.equal(shipped[name], state["mean"][name]) for name in shipped)


def test_tensorboard_receives_the_rows_of_the_log(tmp_path, monkeypatch):
    seen, closed = [], []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            seen.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            seen.append((step, name, value))

        def close(self):
            closed.append(True)

    fake = types.ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    train(CONFIG, out=tmp_path, steps=40, device="cpu")
    with (tmp_path / "log.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert seen.pop(0) == (str(tmp_path / "tensorboard"), 0) and closed == [True]
    wanted = [
        (int(row["step"]), name, float(row[name]))
        for row in rows
        for name in ("rate", "loss", "validation")
    ]
    assert seen == wanted and [step for step, *_ in seen[::3]] == [20, 40]


def test_without_tensorboard_only_the_log_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    train(CONFIG, out=tmp_path, steps=20, device="cpu")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "log.csv"]
