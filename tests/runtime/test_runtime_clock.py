"""The times of the stages of a command."""

from __future__ import annotations

import time

import pytest

from tomochrome.runtime.clock import Clock


def test_a_stage_adds_up_and_the_total_covers_all(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 3.0, 4.0, 9.0, 10.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    clock = Clock()
    with clock.stage("read"):
        pass
    with pytest.raises(ValueError, match="bad"), clock.stage("read"):
        raise ValueError("bad")
    clock.add({"write": 0.25, "read": 0.5})
    assert clock.seconds() == {"read": 7.5, "write": 0.25, "total": 10.0}
