"""Landmarks in files: every format there and back, both frames, and files that are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomochrome.errors import InputError, OutputError
from tomochrome.io.points import read_points, write_points

POINTS = np.array([[-53.388409961685827, -73.33572796934868, 0.0], [49.9, -88.5, 1e-7]])
RAS = POINTS * [-1, -1, 1]
FCSV = "# Markups fiducial file version = 4.{}\n# CoordinateSystem = {}\n# columns = {}\n{}"
COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"


def save(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def fcsv(frame: str, points: Any = POINTS, columns: str = COLUMNS) -> str:
    rows = [
        f"vtkMRMLMarkupsFiducialNode_{n},{x!r},{y!r},{z!r},0,0,0,1,1,1,0,F-{n},,\n"
        for n, (x, y, z) in enumerate(np.asarray(points).tolist())
    ]
    return FCSV.format(11, frame, columns, "".join(rows))


def markups(frame: str | None = "LPS", points: Any = POINTS, **more: Any) -> str:
    one = {
        "type": "Fiducial",
        "controlPoints": [
            {"id": str(n), "label": f"F-{n}", "position": list(p)}
            for n, p in enumerate(np.asarray(points).tolist())
        ],
        **({"coordinateSystem": frame} if frame else {}),
        **more,
    }
    return json.dumps({"@schema": "markups-schema-v1.0.3", "markups": [one]})


@pytest.mark.parametrize("ending", [".fcsv", ".mrk.json", ".json", ".csv", ".tsv", ".txt"])
@given(
    points=st.lists(
        st.tuples(*[st.floats(-1e5, 1e5, allow_subnormal=False)] * 3), min_size=1, max_size=8
    )
)
@settings(max_examples=12, deadline=None)
def test_points_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, ending: str, points: list[tuple[float, ...]]
) -> None:
    path = tmp_path_factory.mktemp("points") / f"marks{ending}"
    write_points(points, path)
    assert np.array_equal(read_points(path), np.array(points))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lps.fcsv", fcsv("LPS")),
        ("ras.fcsv", fcsv("RAS", RAS)),
        ("number.fcsv", fcsv("0", RAS)),
        ("one.fcsv", fcsv("1")),
        ("old.fcsv", fcsv("0", RAS).replace("# CoordinateSystem = 0\n", "")),
        ("lps.mrk.json", markups()),
        ("silent.mrk.json", markups(None)),
        ("ras.mrk.json", markups("RAS", RAS)),
        ("units.mrk.json", markups(coordinateUnits=["mm", "UCUM", "millimeter"])),
        ("header.csv", "label,X,Y,Z\nA,-53.388409961685827,-73.33572796934868,0\n"
                       ",49.9,-88.5,1e-7\n"),
        ("slicer.csv", "label,l,p,s,defined\nA,-53.388409961685827,-73.33572796934868,0,1\n"
                       "B,49.9,-88.5,1e-7,1\n"),
        ("ras.tsv", "label\tr\ta\ts\nA\t53.388409961685827\t73.33572796934868\t0\n"
                    "B\t-49.9\t88.5\t1e-7\n"),
        ("bare.csv", "\ufeff-53.388409961685827,-73.33572796934868,0\r\n49.9,-88.5,1e-7\r\n"),
        ("blanks.txt", "# points\n\n-53.388409961685827  -73.33572796934868 0\n 49.9 -88.5 1e-7"),
        ("comma.csv", "x;y;z\n-53,388409961685827;-73,33572796934868;0\n49,9;-88,5;1e-7\n"),
        ("named.txt", "A -53.388409961685827 -73.33572796934868 0\nB 49.9 -88.5 1e-7\n"),
        ("numbered.csv", "1,-53.388409961685827,-73.33572796934868,0\n2,49.9,-88.5,1e-7\n"),
        ("after.csv", "-53.388409961685827,-73.33572796934868,0,A\n49.9,-88.5,1e-7,B\n"),
    ],
)  # fmt: skip
def test_every_format_gives_lps(tmp_path: Path, name: str, text: str) -> None:
    assert np.allclose(read_points(save(tmp_path, name, text)), POINTS, rtol=0, atol=1e-12)


def test_several_lists_follow_each_other(tmp_path: Path) -> None:
    both = json.loads(markups())
    both["markups"].append(json.loads(markups("RAS", RAS))["markups"][0])
    found = read_points(save(tmp_path, "two.mrk.json", json.dumps(both)))
    assert np.array_equal(found, np.concatenate([POINTS, POINTS]))


UNPLACED = json.loads(markups())
UNPLACED["markups"][0]["controlPoints"][1]["positionStatus"] = "undefined"
BAD: list[tuple[str, str | bytes, str]] = [
    ("empty.csv", "", "no landmarks"),
    ("empty.fcsv", fcsv("LPS", np.zeros((0, 3))), "no landmarks"),
    ("empty.mrk.json", markups(points=np.zeros((0, 3))), "no landmarks"),
    ("cut.mrk.json", markups()[:-9], "invalid JSON"),
    ("deep.json", "[" * 100_000, "invalid JSON"),
    ("other.json", '{"report": 1}', "no markups"),
    ("list.json", "[1, 2, 3]", "no markups"),
    ("markups.json", '{"markups": [3]}', "no markups"),
    ("points.json", '{"markups": [{"controlPoints": 3}]}', "landmark 1"),
    ("null.json", '{"markups": [{"controlPoints": [{"position": null}]}]}', "landmark 1"),
    ("words.json", markups().replace("49.9", '"far"'), "landmark 2"),
    ("true.json", markups().replace("49.9", "true"), "landmark 2"),
    ("huge.json", markups().replace("49.9", "9" * 400), "invalid coordinates"),
    ("nan.json", markups().replace("49.9", "NaN"), "invalid coordinates"),
    ("ijk.mrk.json", markups("IJK"), "neither LPS nor RAS"),
    ("ijk.fcsv", fcsv("2"), "neither LPS nor RAS"),
    ("inch.mrk.json", markups(coordinateUnits="inch"), "unit"),
    ("unplaced.mrk.json", json.dumps(UNPLACED), "landmark 2"),
    ("columns.fcsv", fcsv("LPS", columns="id,label"), "columns"),
    ("short.fcsv", fcsv("LPS") + "3,1.0,2.0\n", "line 6"),
    ("words.csv", "x,y,z\n1,2,3\n1,two,3\n", "line 3"),
    ("ragged.txt", "1 2 3\n4 5\n", "line 2"),
    ("inf.csv", "1,2,inf\n", "invalid coordinates"),
    ("far.csv", "1,2,1e9\n", "invalid coordinates"),
    ("prose.txt", "Patient John Doe, born 1950\n", "not a list"),
    ("napari.csv", "index,axis-0,axis-1,axis-2\n0,1,2,3\n", "not a list"),
    ("two.csv", "1,2\n3,4\n", "not a list"),
    ("four.csv", "1.5,2,3,4\n", "four numbers"),
    ("wide.csv", "1,2,3,4,5,6\n", "not a list"),
    ("binary.csv", b"\x89HDF\r\n\x1a\n\xff\xfe", "not text"),
    ("null.csv", b"1,2\x00,3\n", "not text"),
    ("points.vtk", "1,2,3\n", "extension"),
    ("under.csv", "1_0,2,3\n", "not a list"),
]


@pytest.mark.parametrize(("name", "text", "words"), BAD, ids=[b[0] for b in BAD])
def test_what_is_damaged_is_refused_in_a_sentence(
    tmp_path: Path, name: str, text: str | bytes, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_points(save(tmp_path, name, text))
    message = str(caught.value)
    assert words in message
    assert name in message
    assert "\n" not in message
    assert "John" not in message


@given(data=st.binary(max_size=200), ending=st.sampled_from([".fcsv", ".mrk.json", ".csv"]))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_points_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, ending: str
) -> None:
    path = save(tmp_path_factory.mktemp("any"), f"any{ending}", data)
    try:
        found = read_points(path)
    except InputError:
        return
    assert found.shape[1] == 3
    assert np.isfinite(found).all()


@given(cut=st.integers(0, 400), at=st.integers(0, 400), byte=st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_damaged_files_never_end_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, cut: int, at: int, byte: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    for name, text in (("a.fcsv", fcsv("LPS")), ("a.mrk.json", markups())):
        data = bytearray(text.encode()[: max(1, len(text) - cut)])
        data[at % len(data)] = byte
        try:
            read_points(save(folder, name, bytes(data)))
        except InputError:
            continue


def test_no_file_no_points(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        read_points(tmp_path / "missing.csv")
    with pytest.raises(InputError, match="no file"):
        read_points(tmp_path / "nul\0.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="no file"):
        read_points(tmp_path / "folder.csv")


def test_writing_refuses(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="extension"):
        write_points(POINTS, tmp_path / "points.vtk")
    with pytest.raises(InputError):
        write_points(np.zeros((2, 2)), tmp_path / "points.csv")
    with pytest.raises(InputError):
        write_points([[np.nan, 0, 0]], tmp_path / "points.csv")
    write_points(POINTS, tmp_path / "points.csv")
    with pytest.raises(OutputError, match="force"):
        write_points(POINTS, tmp_path / "points.csv")
    write_points(POINTS[:1], tmp_path / "points.csv", force=True)
    assert len(read_points(tmp_path / "points.csv")) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["points.csv"]
