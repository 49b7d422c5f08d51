"""The budget of a training run: minutes or optimizer steps."""

from __future__ import annotations

from dataclasses import dataclass

from tomochrome.errors import OptionError
from tomochrome.runtime import report


@dataclass(frozen=True)
class Budget:
    """A wall-clock budget in minutes, or a number of optimizer steps.

    Parameters
    ----------
    minutes
        Wall-clock time, including that before a run was resumed.
    steps
        Optimizer steps; if given, ``minutes`` is ignored.

    Raises
    ------
    OptionError
        If ``steps`` is below 1.
    """

    minutes: float
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise OptionError(f"a training needs at least 1 step, not {self.steps}")

    def part(self, share: float) -> Budget:
        """Return a share of this budget."""
        steps = None if self.steps is None else max(1, round(self.steps * share))
        return Budget(self.minutes * share, steps)

    def share(self, step: int, seconds: float) -> float:
        """Return the share of the budget, from 0 to 1, that these steps or seconds have used."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        return min(1.0, seconds / (60.0 * self.minutes))

    def report(self, step: int, seconds: float, stage: str) -> None:
        """Report progress in steps or in seconds."""
        if self.steps is not None:
            report(step, self.steps, stage)
        else:
            report(int(seconds), int(60 * self.minutes), stage)
