"""Slices of several acquisitions, interleaved at positions of their own.

Two phases whose slices lie between each other's pass every test of geometry: together they look
like one volume with half the spacing, and every second slice shows another time. What gives them
away is what else the headers say, seen in the order of the positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.io.dicom.headers import Header

_MOST_PHASES: Final = 20
_LEAST_PAUSE: Final = 5.0
"""Times of neighbours are this many times as far apart as those of slices of one phase."""
_LEAST_JUMP: Final = 2.0
"""And at least this far: seconds, or milliseconds of a heart beat."""
_LEAST_ROUNDS: Final = 3
"""Phases that take turns at least this often; fewer cannot be told from chance."""


def interleaved(ordered: Sequence[Header]) -> str:
    """Return how slices in the order of their positions take turns, or an empty string.

    Acquisition number, temporal position, cardiac phase, tube voltage and kernel may change
    along a volume (a scan in steps), but a value that was left does not come back. Times may
    run in any steady way, up, down or rotation by rotation, but not jump to and fro between
    neighbours while every second (third ...) slice stays near in time.
    """
    for keyword in dict.fromkeys(key for header in ordered for key, _ in header.acquisition):
        values = [
            value for header in ordered for key, value in header.acquisition if key == keyword
        ]
        runs = 1 + sum(a != b for a, b in pairwise(values))
        kinds = len(set(values))
        if runs > kinds:
            return f"{keyword} takes turns between {kinds} values along the stack"
    for keyword in dict.fromkeys(key for header in ordered for key, _ in header.times):
        times = [time for header in ordered for key, time in header.times if key == keyword]
        phases = _phases(np.array(times)) if len(times) == len(ordered) else 0
        if phases:
            return f"{keyword} jumps to and fro between {phases} acquisitions along the stack"
    return ""


def _phases(times: NDArray[np.float64]) -> int:
    """Return how many acquisitions take turns, judged by times in the order of positions, or 0."""
    near = np.abs(np.diff(times))
    for lag in range(2, min(_MOST_PHASES, (len(times) - 1) // _LEAST_ROUNDS) + 1):
        apart = np.abs(times[lag:] - times[:-lag])
        if np.median(near) > max(_LEAST_PAUSE * float(np.median(apart)), _LEAST_JUMP):
            return lag
    return 0
