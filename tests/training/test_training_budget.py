"""The budget of a run, in minutes or steps."""

import pytest

from tomochrome.errors import OptionError
from tomochrome.runtime import Task, running
from tomochrome.training.trainer import Budget


@pytest.mark.parametrize(("seconds", "share"), [(0, 0.0), (30, 0.25), (120, 1.0), (500, 1.0)])
def test_a_budget_in_minutes(seconds, share):
    assert Budget(2.0).share(10_000, seconds) == share


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (3, 0.3), (10, 1.0), (11, 1.0)])
def test_a_budget_in_steps(step, share):
    assert Budget(2.0, steps=10).share(step, 9999.0) == share


def test_progress_is_reported_in_units_of_the_budget():
    told = []
    with running(Task(lambda *a: told.append(a))):
        Budget(2.0).report(7, 30.5, "training")
        Budget(2.0, 10).report(7, 30.5, "training")
    assert told == [(30, 120, "training"), (7, 10, "training")]


def test_zero_steps_are_rejected():
    with pytest.raises(OptionError, match="at least 1 step, not 0"):
        Budget(2.0, 0)
