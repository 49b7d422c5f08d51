"""Files of measurements."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from tomochrome.errors import ExistsError, FileError, OutputError
from tomochrome.geometry.measurement import measure
from tomochrome.io.measurement_file import MAX_BYTES, read_measurements, write_measurements
from tomochrome.volume import Provenance, Volume

SQUARE = [(1, 2, 2), (1, 2, 7), (1, 7, 7), (1, 7, 2)]


@pytest.fixture
def drawn():
    voxels = np.arange(300, dtype=np.int16).reshape(3, 10, 10)
    volume = Volume(voxels, provenance=Provenance(source="/data/Doe^Jane/scan.nii"))
    return [
        measure(volume, "line", [(0, 0, 0), (2, 3.25, 1 / 3)]),
        measure(volume, "path", [(0, 0, 0), (1, 1, 0), (2, 0, 0)]),
        measure(volume, "ellipse", SQUARE),
    ]


def test_measurements_come_back_exactly_and_name_nobody(drawn, tmp_path) -> None:
    path = tmp_path / "scan.json"
    write_measurements(drawn, path)
    for before, after in zip(drawn, read_measurements(path), strict=True):
        assert (before.shape, before.values, before.unit) == (after.shape, after.values, after.unit)
        np.testing.assert_array_equal(before.points, after.points)
    assert "Doe" not in path.read_text()
    assert json.loads(path.read_text())["coordinate_system"] == "LPS"


def test_an_existing_file_and_a_missing_folder_are_refused(drawn, tmp_path) -> None:
    path = tmp_path / "scan.json"
    write_measurements(drawn[:1], path)
    with pytest.raises(ExistsError):
        write_measurements(drawn, path)
    assert len(read_measurements(path)) == 1
    write_measurements(drawn, path, force=True)
    assert len(read_measurements(path)) == 3
    with pytest.raises(OutputError):
        write_measurements(drawn, path / "in a file.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", "circle"), ("shape", []), ("points", [[0, 0, 0]]), ("points", [[0, 0], [1, 1]]),
        ("points", [[0, 0, 0], [1e12, 0, 0]]), ("points", [[0, 0, 0], [10**400, 0, 0]]),
        ("points", "x"), ("values", {"length_mm": "long"}), ("values", {"length_mm": 10**400}),
        ("values", []), ("points", [[0, 0, 0], [float("nan"), 0, 0]]), ("unit", None),
    ],
)  # fmt: skip
def test_damaged_measurements_are_refused(drawn, tmp_path, key, value) -> None:
    path = tmp_path / "scan.json"
    write_measurements(drawn, path)
    content = json.loads(path.read_text())
    if value is None:
        del content["measurements"][0][key]
    else:
        content["measurements"][0][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(FileError, match="incomplete"):
        read_measurements(path)


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, "[]", "{}", "\xff", "null"])
def test_other_files_are_refused(tmp_path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(FileError):
        read_measurements(path)


def test_missing_and_huge_files_are_refused(tmp_path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        read_measurements(tmp_path / "missing.json")
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(FileError, match="too large"):
        read_measurements(tmp_path / "huge.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(FileError, match="is not a regular file"):
        read_measurements(tmp_path / "pipe.json")
