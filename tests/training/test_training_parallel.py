"""Distributed training equals training in one process with the global batch."""

import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tomochrome.errors import DeviceError
from tomochrome.training.batches import _order
from tomochrome.training.parallel import group, processes, rank
from tomochrome.training.trainer import read_checkpoint

torch = pytest.importorskip("torch")
SCRIPT = Path(__file__).with_name("train_together.py")


def start(out, batch, rank, port, size=2):
    env = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    args = [sys.executable, str(SCRIPT), str(out), str(batch), "20"]
    return subprocess.Popen(args, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch cannot")
def test_two_processes_equal_one_with_a_batch_twice_as_large(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    runs = [start(tmp_path / "two", 4, rank, port) for rank in (0, 1)]
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path / "one"), "8", "20"])
    runpy.run_path(str(SCRIPT), run_name="__main__")  # in this process, which has torch already
    for run in runs:
        said, _ = run.communicate(timeout=600)
        assert run.returncode == 0, said.decode()
    one, two = (read_checkpoint(tmp_path / name / "checkpoint.pt", "") for name in ("one", "two"))
    assert one["step"] == two["step"] == 20
    for part in ("net", "mean", "best"):
        for name, value in one[part].items():
            torch.testing.assert_close(two[part][name], value, rtol=0, atol=1e-4)
    logs = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("one", "two")]
    assert len(logs[0]) == len(logs[1]) == 2
    losses = [float(log[-1].split(",")[3]) for log in logs]
    assert losses[0] == pytest.approx(losses[1], abs=2e-4)


@pytest.mark.parametrize("length", [0, 10, 13])
def test_the_parts_of_all_processes_make_the_global_batch(length):
    whole = _order(length, 6, 3, 1, (0, 1))
    parts = [_order(length, 2, 3, 1, (which, 3)) for which in range(3)]
    for _ in range(8):
        assert next(whole) == [k for part in parts for k in next(part)]


def test_a_single_process_needs_no_communication(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert (rank(), processes()) == (0, 1)
    with group(torch.device("cpu")) as alone:
        alone.wait()
        assert (alone.broadcast(0.25), alone.mean(3.0), alone.leads) == (0.25, 3.0, True)
        net = torch.nn.Linear(1, 1)
        assert alone.wrap(net) is net


def test_processes_that_cannot_connect_give_a_one_line_error(monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(DeviceError, match="start them with torchrun") as refused, \
            group(torch.device("cpu")):  # fmt: skip
        pass
    assert "\n" not in str(refused.value)
