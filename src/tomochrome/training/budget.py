"""How long a run trains."""

from __future__ import annotations

from dataclasses import dataclass

from tomochrome.errors import OptionError
from tomochrome.runtime import report


@dataclass(frozen=True)
class Budget:
    """Minutes on the clock, or a number of steps whatever time they take.

    Parameters
    ----------
    minutes
        Wall-clock time, counted over all parts of a run that was resumed.
    steps
        Steps of the optimizer; where given, the clock decides nothing.

    Raises
    ------
    OptionError
        If the steps are below 1.
    """

    minutes: float
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise OptionError(f"a training needs at least 1 step, not {self.steps}")

    def share(self, step: int, seconds: float) -> float:
        """Return how much is spent, from 0 to 1, after so many steps and seconds."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        return min(1.0, seconds / (60.0 * self.minutes))

    def report(self, step: int, seconds: float, stage: str) -> None:
        """Report what is spent and what there is to spend."""
        if self.steps is not None:
            report(step, self.steps, stage)
        else:
            report(int(seconds), int(60 * self.minutes), stage)
