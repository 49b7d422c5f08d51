"""What the user should know of a result, as data: a code to decide on, a sentence to show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["info", "warning"]
Code = Literal[
    "content",  # what the images show: projections, colors, labels; more volumes than this one
    "device",  # the work was done elsewhere than asked for
    "geometry",  # where the voxels lie: assumed, uneven, resampled, or placed by hand
    "header",  # values of the header that were taken as they are
    "no-number",  # voxels that hold none, and were filled
    "refused",  # why this cannot be read
    "unit",  # what the values measure, or that nobody knows
    "nothing-colored",
    "option-unused",
    "coverage",  # two volumes share little, or no, field of view
    "half-turn",
    "not-deformed",
    "segmentation",
    "worse",  # the result of a registration is worse than nothing
    "folds",
    "inconsistent",  # the way there and the way back do not meet
]


@dataclass(frozen=True)
class Notice:
    """One thing that the user should know.

    Parameters
    ----------
    code
        What it is about; whoever decides anything by a notice decides by this.
    severity
        ``"info"`` for what is as it should be and merely worth saying.
    text
        The sentence, without a full stop.
    fact
        The part of the sentence that can stand in another one; empty if it is all of it.
    """

    code: Code
    severity: Severity
    text: str
    fact: str = ""

    def __str__(self) -> str:
        return self.text


def texts(notices: Iterable[Notice]) -> list[str]:
    """Return the sentences for people, each once."""
    return list(dict.fromkeys(map(str, notices)))
