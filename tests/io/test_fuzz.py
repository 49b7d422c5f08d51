"""Damaged inputs: each ends in a volume or in one sentence, in bounded time and memory.

``python benchmarks/fuzz_reading.py`` runs many more, and makes any of them again.
"""

from __future__ import annotations

import json
import logging

import pytest

from tomochrome.cli import main

pytest.importorskip("resource", reason="limits of memory and time need a POSIX system")
import fuzz_run
import fuzz_seeds
import mutations

SEED = 20
MANY = dict.fromkeys(fuzz_seeds.SEEDS, 400)
# Decoders in processes of their own take longer: fewer of what they decode.
MANY |= {"jpeg-2000": 150, "jpeg-lossless": 150, "jpeg-ls": 250}
# Of so many inputs of a kind some must still be volumes, or the damage proves little.
FATAL = {"deflated", "zip", "dicomdir", "enhanced"}


@pytest.mark.parametrize("share", [3, pytest.param(1, marks=pytest.mark.fuzz)])
@pytest.mark.parametrize("kind", sorted(fuzz_seeds.SEEDS))
def test_damaged_inputs(tmp_path, kind, share):
    """A third of them each time, all of them with ``make fuzz``."""
    assert sum(MANY.values()) >= 5000
    count = MANY[kind] // share
    with fuzz_run.bounded():
        tally = fuzz_run.run(kind, SEED, range(count), tmp_path)
    assert tally.faults == []
    assert tally.total == count
    assert tally.refused > tally.total // 20
    assert tally.volumes > (0 if kind in FATAL else tally.total // 20)


@pytest.mark.parametrize("kind", sorted(fuzz_seeds.SEEDS))
def test_the_undamaged_input_is_a_volume(tmp_path, kind):
    """Or all the damage above would prove nothing."""
    if kind == "dicomdir":
        fuzz_seeds.beside_dicomdir(tmp_path)
    if kind == "series":
        kind = "zip"  # as such it is kept
    name = "DICOMDIR" if kind == "dicomdir" else f"a{fuzz_seeds.SUFFIX.get(kind, '.dcm')}"
    (tmp_path / name).write_bytes(fuzz_seeds.healthy(kind))
    came, fault = fuzz_run.check(tmp_path / name)
    assert (came, fault) == (True, "")


@pytest.mark.parametrize("kind", ["classic", "implicit", "enhanced", "rle"])
def test_nothing_of_a_damaged_header_is_logged(tmp_path, caplog, kind):
    """The DICOM library quotes the values that it complains about, and one may be a name."""
    caplog.set_level(logging.DEBUG)
    fuzz_run.run(kind, SEED + 1, range(60), tmp_path)
    assert caplog.text == ""


def test_a_slow_input_that_ends_is_a_fault(tmp_path, monkeypatch):
    """By the number of its calls, which is the same on every machine."""
    monkeypatch.setattr(fuzz_run, "PATIENCE", -1.0)
    monkeypatch.setattr(fuzz_run, "CALLS", 1000)
    for calls, wanted in ((900, ""), (1100, "slow")):
        monkeypatch.setattr(
            fuzz_run, "attempt", lambda _, n=calls: (True, "" * len([abs(k) for k in range(n)]))
        )
        came, fault = fuzz_run.check(tmp_path)
        assert came
        assert fault.split(":")[0] == wanted


def test_an_input_can_be_made_again():
    for kind in fuzz_seeds.SEEDS:
        assert mutations.damaged(kind, 3, 7) == mutations.damaged(kind, 3, 7)
        assert mutations.damaged(kind, 3, 7) != mutations.damaged(kind, 3, 8)


@pytest.mark.parametrize("kind", sorted(fuzz_seeds.SEEDS))
def test_the_command_line_says_one_line(tmp_path, capfd, kind):
    """Native libraries, which write to the screen past Python, are kept quiet too."""
    for number in range(24):
        path = tmp_path / f"{number}{fuzz_seeds.SUFFIX.get(kind, '.dcm')}"
        path.write_bytes(mutations.damaged(kind, SEED + 2, number))
        capfd.readouterr()
        code = main(["info", str(path), "--json", "--pixels"])
        out, err = capfd.readouterr()
        assert code in (0, 2)
        if code:
            assert out == ""
            assert err.startswith("error: ")
            assert err.count("\n") == 1
        else:
            json.loads(out)
            assert err == ""
