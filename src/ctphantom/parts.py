"""Parts of the body that differ between patients only in size and pose.

The table is ``parts.csv``, one row per tube, ellipsoid or box: points and radii of a tube, or
center and half sizes, in mm. Parts of the head are in the head frame (`head_frame`).
"""

from __future__ import annotations

import csv
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctphantom.shapes import Shape

TABLE = Path(__file__).resolve().parent / "parts.csv"


class Row(NamedTuple):
    """One primitive of a part."""

    kind: str  #: tube, ellipsoid or box
    points: NDArray[np.float64]  #: (n, 3); one point for a solid
    sizes: NDArray[np.float64]
    mirror: bool  #: whether it is on both sides of the head
    neck: bool  #: whether it bends with the neck
    angles: NDArray[np.float64]  #: degrees about x, y, z
    blend: float
    rounding: float
    smooth: bool


def _numbers(text: str) -> NDArray[np.float64]:
    return np.array(text.split(), float)


@cache
def rows() -> dict[str, list[Row]]:
    """Return the primitives of each part by name."""
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return {
            name: [
                Row(
                    row["kind"],
                    np.array([_numbers(point) for point in row["points"].split(";")]),
                    _numbers(row["sizes"]),
                    bool(row["mirror"]),
                    bool(row["neck"]),
                    _numbers(row["angles"] or "0 0 0"),
                    float(row["blend"] or 0),
                    float(row["rounding"] or 1),
                    not row["straight"],
                )
                for row in primitives
            ]
            for name, primitives in groupby(csv.DictReader(stream), lambda row: row["part"])
        }


def tubes(name: str, side: float = 1.0, size: float = 1.0) -> Shape:
    """Return a part made of tubes, with x multiplied by ``side`` and radii by ``size``."""
    shape = Shape()
    for row in rows()[name]:
        shape.tube(row.points * [side, 1, 1], row.sizes * size, smooth=row.smooth)
    return shape
