"""Measurements of a scan as a JSON file, in LPS mm.

The file names no patient and no scan::

    {"format": "tomochrome measurements", "version": 1, "coordinate_system": "LPS", "unit": "mm",
     "measurements": [{"shape": "line", "points": [[x, y, z], [x, y, z]],
                       "values": {"length_mm": 42.3}, "unit": ""}]}
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from tomochrome.errors import FileError
from tomochrome.geometry.measurement import MIN_POINTS, Measurement
from tomochrome.io.walk import open_regular
from tomochrome.runtime import write_text
from tomochrome.volume import MAX_MM

_HEAD: Final = {
    "format": "tomochrome measurements",
    "version": 1,
    "coordinate_system": "LPS",
    "unit": "mm",
}
MAX_BYTES: Final = 2**24
"""Largest file of measurements that is read."""


def write_measurements(
    measurements: Sequence[Measurement], path: str | os.PathLike[str], *, force: bool = False
) -> None:
    """Write measurements to a JSON file.

    Parameters
    ----------
    measurements
        The measurements.
    path
        The file.
    force
        Replace an existing file.

    Raises
    ------
    OutputError
        If the file exists (without ``force``) or cannot be written.
    """
    content = {**_HEAD, "measurements": as_entries(measurements)}
    text = json.dumps(content, indent=1, allow_nan=False)
    write_text(path, text + "\n", force=force)


def read_measurements(path: str | os.PathLike[str]) -> list[Measurement]:
    """Read measurements from a JSON file of `write_measurements`.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    list of Measurement
        The measurements, with the values of the file.

    Raises
    ------
    FileError
        If the file is missing, too large, damaged, or not a list of measurements.
    """
    file = Path(path)
    try:
        if file.stat().st_size > MAX_BYTES:
            raise FileError(str(path), "is too large for a list of measurements")
        with open_regular(file) as opened:
            content = json.loads(opened.read())
    except OSError as error:
        raise FileError(str(path), f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FileError(str(path), "is not a list of measurements: it is invalid JSON") from error
    if not isinstance(content, dict) or any(content.get(key) != _HEAD[key] for key in _HEAD):
        raise FileError(
            str(path), "is not a list of measurements", "choose a file saved by Save measurements"
        )
    try:
        return from_entries(content["measurements"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FileError(str(path), "is damaged: a measurement in it is incomplete") from error


def as_entries(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Return measurements as the entries of a JSON file.

    Parameters
    ----------
    measurements
        The measurements.

    Returns
    -------
    list of dict
        An entry for each, as in the file.
    """
    return [
        {
            "shape": each.shape,
            "points": each.points.tolist(),
            "values": dict(each.values),
            "unit": each.unit,
        }
        for each in measurements
    ]


def from_entries(entries: Sequence[Mapping[str, Any]]) -> list[Measurement]:
    """Return the measurements of the entries of a JSON file.

    Parameters
    ----------
    entries
        What `as_entries` returned.

    Returns
    -------
    list of Measurement
        The measurements.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError, OverflowError
        If an entry is incomplete or implausible.
    """
    return [_measurement(each) for each in entries]


def _measurement(entry: Any) -> Measurement:
    shape = entry["shape"]
    points = np.array(entry["points"], dtype=np.float64)
    values = {str(name): float(value) for name, value in entry["values"].items()}
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < MIN_POINTS[shape]:
        raise ValueError(shape)
    if not (np.abs(points) <= MAX_MM).all() or not np.isfinite(list(values.values())).all():
        raise ValueError(shape)
    return Measurement(shape, points, values, str(entry["unit"]))
