"""Landmark files: 3D Slicer fiducials and plain tables, converted to LPS mm.

==================  ==============================================================================
``.fcsv``           3D Slicer's older fiducial list; the header names LPS or RAS (default RAS, as
                    in versions before 4.11)
``.mrk.json``       3D Slicer markups; each list names LPS or RAS (default LPS)
``.csv .tsv .txt``  one point per line, separated by commas, semicolons, tabs or blanks. With a
                    header line, columns ``x y z`` (or ``l p s``) are LPS mm, ``r a s`` RAS mm;
                    without one, three numbers per line are LPS mm, optionally with a name
==================  ==============================================================================

The points keep the order of the file, by which landmarks of two images correspond. Names and
descriptions are not read: they may contain anything.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import InputError, OutputError
from tomochrome.geometry.affine import LPS_FROM_RAS
from tomochrome.runtime import write_text

ENDINGS: Final = (".fcsv", ".mrk.json", ".json", ".csv", ".tsv", ".txt")
"""File endings of landmark files."""
_MAX_BYTES: Final = 2**24
_MAX_MM: Final = 1e5  # 100 m: far outside any scan
_AXES: Final = {"LPS": ("x y z", "l p s"), "RAS": ("r a s",)}
_FRAMES: Final = {"LPS": "LPS", "1": "LPS", "RAS": "RAS", "0": "RAS"}
_SCHEMA: Final = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.0.json#"
)

Row = tuple[int, list[str]]


def read_points(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Read landmarks.

    Parameters
    ----------
    path
        A file of one of the formats above.

    Returns
    -------
    ndarray
        float64 (n, 3), LPS mm, in the order of the file.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another kind, has no points, or a point lacks three
        finite coordinates.
    """
    file = Path(path)
    name = file.name.lower()
    if not name.endswith(ENDINGS):
        raise InputError(f"'{path}' has no landmark file extension; use .fcsv, .mrk.json or .csv")
    text = _text(file)
    if name.endswith(".json"):
        frame_points = _from_markups(text, file)
    elif name.endswith(".fcsv"):
        frame_points = _from_fiducials(text, file)
    else:
        frame_points = _from_table(text, file)
    if not frame_points:
        raise InputError(f"'{path}' contains no landmarks")
    points = np.array([position for _, position in frame_points], dtype=np.float64)
    if not np.isfinite(points).all() or np.abs(points).max() > _MAX_MM:
        bad = ~(np.abs(points) <= _MAX_MM).all(axis=1)
        raise InputError(
            f"landmark {int(np.argmax(bad)) + 1} of '{path}' has invalid coordinates: not finite, "
            "or far outside any scan"
        )
    turned = np.array([frame == "RAS" for frame, _ in frame_points])
    points[turned] = points[turned] @ LPS_FROM_RAS[:3, :3].T
    return points + 0.0  # no negative zero


def write_points(points: ArrayLike, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write landmarks in the format of the file ending; they are named 1, 2, 3, ...

    Parameters
    ----------
    points
        (n, 3), LPS mm.
    path
        ``.fcsv``, ``.mrk.json`` (or ``.json``), ``.csv``, ``.tsv`` or ``.txt``.
    force
        Replace an existing file.

    Raises
    ------
    InputError
        If the points are not (n, 3) finite numbers.
    OutputError
        If the ending is unknown, the file exists (without ``force``) or cannot be written.
    """
    given = np.asarray(points, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != 3 or not np.isfinite(given).all():
        raise InputError("landmarks need three finite coordinates each (LPS mm)")
    name = Path(path).name.lower()
    rows = [[repr(float(v)) for v in point] for point in given]
    if name.endswith(".json"):
        text = _markups(given)
    elif name.endswith(".fcsv"):
        text = _fiducials(rows)
    elif name.endswith(ENDINGS):
        mark = "," if name.endswith(".csv") else "\t"
        text = "".join(f"{mark.join(row)}\n" for row in (["x", "y", "z"], *rows))
    else:
        raise OutputError(f"'{path}' has no landmark file extension; use .fcsv, .mrk.json or .csv")
    write_text(path, text, force=force)


def _text(file: Path) -> str:
    """Return the content of a file as text."""
    try:
        if not file.is_file():
            raise InputError(f"there is no file '{file}' of landmarks")
        size = file.stat().st_size
        if size > _MAX_BYTES:
            raise InputError(f"'{file}' is too large for a list of landmarks")
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"'{file}' cannot be read: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or a NUL byte in the path
        raise InputError(f"'{file}' is not text, so it is not a list of landmarks") from error
    if "\0" in text:
        raise InputError(f"'{file}' is not text, so it is not a list of landmarks")
    return text


def _from_markups(text: str, file: Path) -> list[tuple[str, list[float]]]:
    """Return the points of a 3D Slicer markups file, each with its frame."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{file}' is damaged: it is invalid JSON") from error
    lists = whole.get("markups") if isinstance(whole, dict) else None
    if not isinstance(lists, list) or not all(isinstance(one, dict) for one in lists):
        raise InputError(f"'{file}' contains no markups of 3D Slicer")
    points: list[tuple[str, list[float]]] = []
    for one in lists:
        frame = _frame(one.get("coordinateSystem", "LPS"), file)
        unit = one.get("coordinateUnits", "mm")
        if (unit[0] if isinstance(unit, list) and unit else unit) != "mm":
            raise InputError(f"'{file}' gives its landmarks in a unit other than mm")
        controls = one.get("controlPoints", [])
        for point in controls if isinstance(controls, list) else [None]:
            points.append((frame, _position(point, len(points) + 1, file)))
    return points


def _position(point: Any, number: int, file: Path) -> list[float]:
    """Return the coordinates of a control point of a markups list."""
    kept = point if isinstance(point, dict) else {}
    place = kept.get("position")
    if kept.get("positionStatus", "defined") != "defined" or not isinstance(place, list):
        raise InputError(f"landmark {number} of '{file}' has no defined position")
    if len(place) != 3 or not all(type(v) in (int, float) for v in place):
        raise InputError(f"landmark {number} of '{file}' does not have three coordinates")
    # infinity for numbers out of range, which may be integers that no float can hold
    return [float(v) if abs(v) <= _MAX_MM else math.inf for v in place]


def _from_fiducials(text: str, file: Path) -> list[tuple[str, list[float]]]:
    """Return the points of an ``.fcsv`` file; its comments name the frame and the columns."""
    frame, columns = "RAS", ["id", "x", "y", "z"]
    for line in text.splitlines():
        key, _, value = line.removeprefix("#").partition("=")
        if line.startswith("#") and key.strip().lower() == "coordinatesystem":
            frame = _frame(value.strip(), file)
        elif line.startswith("#") and key.strip().lower() == "columns":
            columns = [word.strip().lower() for word in value.split(",")]
    if not {"x", "y", "z"} <= set(columns):
        raise InputError(f"the header of '{file}' names no columns x, y and z")
    places = [columns.index(axis) for axis in "xyz"]
    return [(frame, _numbers(row, places, file)) for row in _rows(text, ",", file)]


def _from_table(text: str, file: Path) -> list[tuple[str, list[float]]]:
    """Return the points of a plain table, with or without a header line."""
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] != "#"]
    if not lines:
        return []
    mark = next((m for m in ("\t", ";", ",") if m in lines[0]), " ")
    rows = list(_rows(text, mark, file))
    header = [word.strip().lower() for word in rows[0][1]]
    for frame, names in _AXES.items():
        for axes in (name.split() for name in names):
            if set(axes) <= set(header):
                places = [header.index(axis) for axis in axes]
                return [(frame, _numbers(row, places, file, mark)) for row in rows[1:]]
    words = rows[0][1]
    numeric = [n for n, word in enumerate(words) if _number(word, mark) is not None]
    if len(numeric) not in (3, 4) or len(words) > 5:
        raise InputError(
            f"'{file}' is not a list of landmarks: its first line neither names columns x, y and z "
            "nor is a point of three numbers"
        )
    if len(numeric) == 4:
        if len(words) != 4 or not words[0].strip().isdigit():
            raise InputError(f"'{file}' has four numbers a line; name the columns in a first line")
        numeric = numeric[1:]  # a number instead of a name
    return [("LPS", _numbers(row, numeric, file, mark)) for row in rows]


def _rows(text: str, mark: str, file: Path) -> Iterator[Row]:
    """Yield the line number and the fields of each line that is not a comment."""
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            words = line.split() if mark == " " else next(csv.reader([line], delimiter=mark))
        except (csv.Error, StopIteration) as error:
            raise InputError(f"line {number} of '{file}' is damaged") from error
        yield number, words


def _numbers(row: Row, places: Iterable[int], file: Path, mark: str = ",") -> list[float]:
    line, words = row
    values = [_number(words[n], mark) if n < len(words) else None for n in places]
    if any(value is None for value in values):
        raise InputError(
            f"line {line} of '{file}' does not have three coordinates where a point is expected"
        )
    return [value for value in values if value is not None]


def _number(word: str, mark: str) -> float | None:
    """Parse a number; with semicolons or tabs as delimiter, a decimal comma is allowed."""
    plain = word.strip().replace("_", "?")
    try:
        return float(plain if mark in (",", " ") else plain.replace(",", "."))
    except ValueError:
        return None


def _frame(name: Any, file: Path) -> str:
    frame = _FRAMES.get(str(name).upper())
    if frame is None:
        raise InputError(
            f"'{file}' uses a coordinate system that is neither LPS nor RAS; export the landmarks "
            "in one of these"
        )
    return frame


def _fiducials(rows: list[list[str]]) -> str:
    head = (
        "# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n"
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
    )
    return head + "".join(
        f"{n},{','.join(row)},0,0,0,1,1,1,0,{n},,\n" for n, row in enumerate(rows, start=1)
    )


def _markups(points: NDArray[np.float64]) -> str:
    listed = [
        {"id": str(n), "label": str(n), "position": point, "positionStatus": "defined"}
        for n, point in enumerate(points.tolist(), start=1)
    ]
    one = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "controlPoints": listed,
    }
    return json.dumps({"@schema": _SCHEMA, "markups": [one]}, indent=1) + "\n"
