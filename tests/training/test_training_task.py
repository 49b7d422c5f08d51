"""Adding a new model, and the trainer's behavior for any model."""

import json
import multiprocessing
import os
import signal
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import tomochrome
from tomochrome.cli.app import main
from tomochrome.errors import InputError, TomochromeError
from tomochrome.runtime import Task as Run
from tomochrome.runtime import current, running
from tomochrome.training import TrainingConfig, export, finish, train

torch = pytest.importorskip("torch")
LICENSE = Path(__file__).resolve().parents[2] / "LICENSE"


# <model>
from tomochrome.training.task_interface import RandomSamples, Task, register  # noqa: E402


class LineConfig(TrainingConfig):
    slope: float = 2.0


class LineSamples(RandomSamples):
    def draw(self):
        x = self.rng.random(3, np.float32)
        return x, 2.0 * x.sum(keepdims=True)


@register("line")
class Line(Task[LineConfig]):
    description = "finds a line through points"
    config_type = LineConfig
    figures = ("largest",)

    def network(self):
        return torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.BatchNorm1d(1))

    def dataset(self, stage=0):
        return LineSamples(self.config.seed)

    def loss(self, net, batch):
        error = net(batch[0]) - batch[1]
        return error.square().mean(), {"largest": float(error.detach().abs().max())}


# </model>


LINE = {"name": "line", "task": "line", "network": {}, "learning_rate": 0.3, "ema": 0.5}
CHECKPOINT = "checkpoint.pt"


def read(run):
    return torch.load(run / CHECKPOINT, weights_only=True)


def same(a, b):
    return all(torch.equal(a["mean"][k], b["mean"][k]) for k in a["mean"])


def test_a_model_takes_at_most_forty_lines():
    model = (
        Path(__file__).read_text(encoding="utf-8").split("# <model>\n")[1].split("# </model>")[0]
    )
    assert len(model.splitlines()) <= 40


def test_it_can_be_trained_from_the_command_line(tmp_path, capsys):
    config = tmp_path / "line.json"
    config.write_text(json.dumps(LINE))
    run = tmp_path / "run"
    argv = ["train", str(config), "--out", str(run), "--steps", "60", "--device", "cpu", "--json"]
    assert main(argv) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bundles"] == [str(run / "weights" / "line")]
    rows = [row.split(",") for row in (run / "log.csv").read_text().splitlines()]
    assert rows[0] == ["step", "seconds", "rate", "loss", "largest"]
    assert float(rows[-1][3]) < 0.3 * float(rows[1][3])
    card = (run / "weights" / "line" / "docs" / "README.md").read_text()
    assert "Not for diagnosis" in card and "60 steps of 8 samples" in card
    metadata = json.loads((run / "weights" / "line" / "configs" / "metadata.json").read_text())
    assert metadata["version"] == tomochrome.__version__
    assert (run / "weights" / "line" / "LICENSE").read_text() == LICENSE.read_text()
    assert not (run / "pool").exists()


def test_a_bundle_states_the_versions_that_are_installed():
    for package in ("torch", "monai"):
        release = export.installed(package)
        assert version(package).startswith(release) and "+" not in release


def test_a_training_without_the_license_ends_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "DISTRIBUTION", "not-installed")
    assert main(["train", "scim", "--out", str(tmp_path / "run"), "--steps", "1"]) == 2
    assert "the license of 'not-installed'" in capsys.readouterr().err


@pytest.mark.parametrize("field", [{"slop": 1}, {"slope": "steep"}])
def test_its_additional_fields_are_validated(field, tmp_path):
    with pytest.raises(TomochromeError, match=f"'{next(iter(field))}'"):
        train({**LINE, **field}, out=tmp_path)


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, monkeypatch):
    train(LINE, out=tmp_path / "whole", steps=30, device="cpu")
    learn, interrupted = Line.loss, tmp_path / "interrupted"

    def killed(self, net, batch):
        if read_steps[0] == 17:
            raise InputError("killed")
        read_steps[0] += 1
        return learn(self, net, batch)

    read_steps = [0]
    monkeypatch.setattr(Line, "loss", killed)
    with pytest.raises(InputError, match="killed"):
        train(LINE, out=interrupted, steps=30, device="cpu")
    assert read(interrupted)["step"] == 17
    monkeypatch.setattr(Line, "loss", learn)
    train(LINE, out=interrupted, steps=30, device="cpu", resume=True)
    assert same(read(interrupted), read(tmp_path / "whole"))


def test_processes_prepare_the_same_batches_as_a_thread(tmp_path):
    train(LINE, out=tmp_path / "thread", steps=3, device="cpu")
    train({**LINE, "workers": 1}, out=tmp_path / "process", steps=3, device="cpu")
    assert same(read(tmp_path / "thread"), read(tmp_path / "process"))


def test_a_loss_that_is_not_finite_ends_the_run_before_the_step(tmp_path, monkeypatch):
    loss = Line.loss

    def broken(self, net, batch):
        value, figures = loss(self, net, batch)
        return value * (float("nan") if figures["largest"] < limit else 1.0), figures

    limit = 0.0
    monkeypatch.setattr(Line, "loss", broken)
    train(LINE, out=tmp_path, steps=2, device="cpu")
    limit = 1e9
    with pytest.raises(TomochromeError, match=r"the loss is nan at step 3: lower 'learning_rate'"):
        train(LINE, out=tmp_path, steps=5, device="cpu", resume=True)
    state = read(tmp_path)
    assert state["step"] == 2
    assert all(torch.isfinite(v).all() for v in state["net"].values())


class Deadly(LineSamples):
    def __getitem__(self, index):
        if index >= 20 and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_a_killed_worker_is_reported_and_a_checkpoint_written(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(Line, "dataset", lambda self, stage=0: Deadly(1))
    with pytest.raises(TomochromeError, match=r"prepares batches was killed.*--resume"):
        train({**LINE, "workers": 1}, out=tmp_path, steps=9, device="cpu")
    assert read(tmp_path)["step"] in (0, 1, 2)
    assert capfd.readouterr() == ("", "")


class Damaged(LineSamples):
    def __getitem__(self, index):
        raise InputError("the scan is damaged")


@pytest.mark.parametrize("workers", [0, 1])
def test_data_errors_give_a_one_line_message(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(Line, "dataset", lambda self, stage=0: Damaged(1))
    with pytest.raises(InputError) as refused:
        train({**LINE, "workers": workers}, out=tmp_path, steps=9, device="cpu")
    assert str(refused.value) == "the scan is damaged"


class Four:
    """A data set of four samples."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return np.full(3, index, np.float32), np.zeros(1, np.float32)


def test_a_finite_data_set_is_shuffled_in_each_epoch():
    from tomochrome.training.batches import Batches

    def drawn(first, count):
        batches = Batches(Four(), torch.utils.data.default_collate, 2, first=first, seed=3)
        found = [batches.next()[0][:, 0].tolist() for _ in range(count)]
        batches.stop()
        return found

    steps = drawn(0, 20)
    epochs = [steps[k] + steps[k + 1] for k in range(0, 20, 2)]
    assert all(sorted(epoch) == [0, 1, 2, 3] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 3
    assert drawn(7, 13) == steps[7:]  # as a resumed run sees them


def test_cancelling_does_not_wait_for_a_slow_batch(tmp_path, monkeypatch):
    from tomochrome.errors import Cancelled
    from tomochrome.training.batches import Batches

    class Slow(LineSamples):
        def draw(self):
            while not token.cancelled:
                time.sleep(0.01)
            return super().draw()

    token = Run()
    batches = Batches(Slow(1), torch.utils.data.default_collate, 1)
    asked = []

    def stop():
        asked.append(current())
        token.cancel()
        raise Cancelled("cancelled by the user")

    monkeypatch.setattr("tomochrome.training.batches.check", stop)
    with running(token), pytest.raises(Cancelled):
        batches.next()
    batches.stop()
    assert asked == [token]


def test_a_bundle_needs_a_checkpoint_of_its_own_network(tmp_path):
    train(LINE, out=tmp_path / "run", steps=1, device="cpu")
    foreign = {**LINE, "task": "tissue", "network": {
        "name": "UNet", "in_channels": 10, "out_channels": 26, "channels": [4, 4], "strides": [2],
        "num_res_units": 0, "norm": "batch", "act": "relu",
    }}  # fmt: skip
    with pytest.raises(InputError, match="not a checkpoint of this configuration"):
        finish(tmp_path / "run", tmp_path / "weights", config=foreign)
