"""A full disk or a killed process during training: a one-line error, and no lost checkpoint."""

import os
import signal
import sys
from types import SimpleNamespace

import pytest
from training_cases import PHANTOMS, small, write_pool

from tomochrome import phantom
from tomochrome.errors import InputError, OutputError, TomochromeError
from tomochrome.training import folder as run_folder
from tomochrome.training import pool as pools
from tomochrome.training.config import PhantomPlan

torch = pytest.importorskip("torch")
resource = pytest.importorskip("resource", reason="limits of files need a POSIX system")

PLAN = PhantomPlan(spacing=(8.0, 8.0, 8.0), regions=PHANTOMS["regions"], count=1)


@pytest.fixture
def no_file_above(monkeypatch):
    """A function that limits the files of this process, and of those it starts, to some bytes."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # else half a module would be cached
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def ended(generator):
    """Wait for the process, which is the only one that paints."""
    generator._process.join(600)
    return generator


def test_a_generator_that_cannot_write_reports_it_and_prints_nothing(
    tmp_path, no_file_above, capfd
):
    pools.generate_phantom(
        tmp_path, 1, "abdomen", PLAN.spacing
    )  # compiles what that process only loads
    no_file_above(2000)  # a phantom takes more
    generator = pools.PhantomGenerator(tmp_path / "pool", PLAN)
    no_file_above(resource.RLIM_INFINITY)
    with pytest.raises(OutputError, match=r"cannot write '.*abdomen-1\.npz': File too large"):
        ended(generator).check()
    generator.stop()
    assert capfd.readouterr() == ("", "")
    assert list((tmp_path / "pool").iterdir()) == []


def test_two_trainings_may_generate_the_same_phantom(tmp_path, monkeypatch):
    make = phantom.make_structures

    def slowly(*given, **options):
        monkeypatch.undo()
        pools.generate_phantom(tmp_path, 1, "abdomen", PLAN.spacing)  # the other was faster
        return make(*given, **options)

    monkeypatch.setattr(phantom, "make_structures", slowly)
    path = pools.generate_phantom(tmp_path, 1, "abdomen", PLAN.spacing)
    assert pools.load(path).spacing == PLAN.spacing
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_a_killed_generator_is_reported(tmp_path, capfd):
    generator = pools.PhantomGenerator(tmp_path / "pool", PLAN)
    generator.check()  # nothing to say while it runs
    os.kill(generator._process.pid, signal.SIGKILL)
    with pytest.raises(TomochromeError, match=r"was killed \(signal 9;.*--resume$"):
        ended(generator).check()
    generator.stop()
    assert capfd.readouterr() == ("", "")


def test_a_generator_without_work_starts_no_process(tmp_path):
    write_pool(tmp_path / "pool", range(1, 2))
    generator = pools.PhantomGenerator(tmp_path / "pool", PLAN)
    assert not generator._started
    generator.check()
    generator.stop()


class Failing:
    """Stands in for a generator whose disk is full once training has begun."""

    def __init__(self, folder, plan):
        self.asked = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def wait(self, *_):
        pass

    def check(self):
        self.asked += 1
        if self.asked > 3:
            raise OutputError("cannot write 'abdomen-7.npz': No space left on device")


def train_small(name, run, **options):
    from tomochrome.training import train

    pool = write_pool(run.parent / "pool", range(2))
    train(small(name), out=run, pool=pool, device="cpu", **{"paint": False, **options})


def step_of(run):
    return torch.load(run / "checkpoint.pt", weights_only=True)["step"]


def test_a_training_ends_when_its_phantoms_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("tomochrome.training.trainer.PhantomGenerator", Failing)
    with pytest.raises(OutputError, match=r"cannot write 'abdomen-7\.npz': No space left"):
        train_small("tissue", tmp_path / "run", steps=1000, paint=True)
    assert step_of(tmp_path / "run") == 3  # what was learned is kept


@pytest.mark.parametrize("name", ["tissue", "symnet"])
def test_a_full_disk_keeps_the_last_checkpoint(name, tmp_path, no_file_above):
    run = tmp_path / "run"
    train_small(name, run, steps=1)
    before = (run / "checkpoint.pt").read_bytes()
    no_file_above(20_000)  # the log fits, a checkpoint does not
    with pytest.raises(OutputError) as refused:
        train_small(name, run, steps=2, resume=True)
    no_file_above(resource.RLIM_INFINITY)
    assert str(refused.value) == (
        f"cannot write '{run}/checkpoint.pt': File too large; the last checkpoint is kept, and "
        "--resume continues from it"
    )
    assert (run / "checkpoint.pt").read_bytes() == before
    assert not list(run.glob(".tomochrome-*"))
    train_small(name, run, steps=2, resume=True)
    assert step_of(run) == 2


def test_a_log_that_cannot_be_written_is_reported(tmp_path, no_file_above):
    run_folder.append_row(tmp_path / "log.csv", ["step"], [1])
    no_file_above(8)
    with pytest.raises(OutputError, match=r"cannot write '.*log\.csv': File too large"):
        run_folder.append_row(tmp_path / "log.csv", ["step"], [2000000])
    no_file_above(resource.RLIM_INFINITY)


def test_the_first_error_is_raised(tmp_path):
    def save():
        raise OutputError("the disk is full")

    with (
        pytest.raises(InputError, match="no such scan"),
        run_folder.saved_at_the_end(save),
    ):
        raise InputError("no such scan")
    with pytest.raises(OutputError, match="the disk is full"), run_folder.saved_at_the_end(save):
        pass


def test_a_damaged_phantom_of_the_pool_is_reported(tmp_path):
    write_pool(tmp_path, range(1, 2))
    path = tmp_path / "abdomen-1.npz"
    whole = path.read_bytes()
    for damaged in (whole[:100], b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"'.*abdomen-1\.npz' cannot be read as a phantom"):
            pools.load(path)


def test_a_generator_stops_with_its_parent(tmp_path, monkeypatch):
    painted = []
    parent = SimpleNamespace(is_alive=lambda: len(painted) < 2)
    monkeypatch.setattr(pools.mp, "parent_process", lambda: parent)
    monkeypatch.setattr(pools, "generate_phantom", lambda folder, seed, *_: painted.append(seed))
    monkeypatch.setattr(pools.os, "nice", lambda _: 0)
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")  # so that it is as before after the test
    before = signal.getsignal(signal.SIGINT)
    try:
        pools._work(None, str(tmp_path), [(n, "abdomen") for n in range(5)], (8.0, 8.0, 8.0))
    finally:
        signal.signal(signal.SIGINT, before)
    assert painted == [0, 1]
