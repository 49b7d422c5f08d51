"""Every file that is handed on is whole or not there, and what was there stays as it was.

The disk is really full for the writer: the system refuses to let its file grow. Work is cancelled
by its task, at several of the moments at which it asks.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tissue_file_cases import coloring

import tomochrome as tc
from tomochrome.cli import main
from tomochrome.colorization import case_coloring
from tomochrome.colorization.coloring_request import SAVED_MODEL, ColoringRequest
from tomochrome.errors import Cancelled, ExistsError, OutputError
from tomochrome.geometry.measurement import measure
from tomochrome.io import write_segmentation, write_slice, write_surfaces
from tomochrome.io.measurement_file import write_measurements
from tomochrome.io.page import CasePage
from tomochrome.rendering import RenderRequest, render_file, save_picture
from tomochrome.runtime import Task, running, write_whole

resource = pytest.importorskip("resource", reason="limits of files are POSIX")

Write = Callable[[Path, bool], Any]


@cache
def scan() -> tc.ColoredScan:
    volume, chroma = coloring()
    hu = np.where(np.asarray(chroma.code) > 0, 60, -1000).astype(np.int16)
    return tc.ColoredScan(volume.with_voxels(hu, unit="HU"), chroma, tc.Lighting(window="bone"))


@cache
def page() -> CasePage:
    return case_coloring.case_page(scan().volume, scan().chroma)


def by_command(*words: str) -> None:
    """Run the command line, which says in one line on stderr what is wrong."""
    said: list[str] = []

    class Said:
        encoding = "utf-8"
        write = staticmethod(said.append)
        isatty = staticmethod(lambda: False)
        flush = staticmethod(lambda: None)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdout", Said)
        patched.setattr(sys, "stderr", Said)
        status = main(words)
    if status:
        assert status == 2
        (line,) = said
        message = line.removeprefix("error: ").removesuffix("\n")
        raise ExistsError(message) if "already exists" in message else OutputError(message)


def film(path: Path, force: bool) -> None:
    request = RenderRequest(only=("liver",), quality="draft", size=(112, 112))
    source = path.parent.parent / "case.tomochrome"
    if not source.exists():
        tc.save_colored(scan(), source)
    render_file(
        source, str(path), request,
        coloring=ColoringRequest(model=SAVED_MODEL),
        frames=None if path.suffix == ".png" else 6, force=force,
    )  # fmt: skip


def write_page(path: Path, force: bool) -> None:
    with write_whole(path, force=force) as place:
        page().write(place)


@cache
def picture() -> Any:
    return tc.render(
        scan().volume, scan().chroma, only=("liver",), quality="draft", size=(112, 112)
    )


@cache
def measurements() -> list[Any]:
    return [measure(scan().volume, "line", [(0, 0, k), (3, 4, 9)]) for k in range(5)]


def middle() -> float:
    """The position of the slice in the middle along z, in LPS mm."""
    return float((scan().volume.affine @ (3, 0, 0, 1))[2])


def tissues() -> tc.Volume:
    return scan().chroma.tissue_volume("natural")


LONG: dict[str, Write] = {
    "turn.gif": film,
    "turn.mp4": film,
    "view.png": film,  # a picture is drawn by the same function
    "case.html": write_page,
    "color.html": lambda path, force: tc.write(scan().image, path, force=force),
    "binary.dcm": lambda path, force: write_segmentation(scan().chroma, path, force=force),
    "fractional.dcm": lambda path, force: write_segmentation(
        scan().chroma, path, kind="fractional", force=force
    ),
    "labelmap.dcm": lambda path, force: write_segmentation(
        scan().chroma, path, kind="labelmap", force=force
    ),
    "tissues.stl": lambda path, force: write_surfaces(tissues(), path, force=force),
    "tissues.ply": lambda path, force: write_surfaces(tissues(), path, force=force),
    "tissues.seg.nrrd": lambda path, force: tc.write(tissues(), path, force=force),
    "tissues.nii.gz": lambda path, force: tc.write(tissues(), path, force=force),
    "case.tomochrome": lambda path, force: tc.save_colored(scan(), path, force=force),
}
"""Writers that work for a while, and can be cancelled."""
SHORT: dict[str, Write] = {
    "picture.png": lambda path, force: save_picture(picture(), path, force=force),
    "slice.png": lambda path, force: write_slice(scan().image, path, f"z={middle()}", force=force),
    "names.ctbl": lambda path, force: by_command(
        "palette", "natural", "-o", str(path), *(["--force"] if force else [])
    ),
    "modules": lambda path, force: by_command("slicer", str(path), *(["--force"] if force else [])),
    "lengths.json": lambda path, force: write_measurements(measurements(), path, force=force),
}
WRITERS = {**LONG, **SHORT}
BESIDE = {"tissues.nii.gz": ["tissues.json"]}


def contents(folder: Path) -> dict[str, bytes | None]:
    """All files and folders in a folder, hidden ones too, with what is in them."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def made(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, bytes | None]:
    """What a writer writes when nothing is wrong."""
    if request.node.callspec.params["name"].endswith(".mp4"):
        pytest.importorskip("av")
    name = request.node.callspec.params["name"]
    folder = tmp_path / "good"
    folder.mkdir()
    WRITERS[name](folder / name, False)
    return contents(folder)


@pytest.fixture
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def occupy(out: Path, made: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """Put other files where all outputs would be."""
    for name, content in made.items():
        if content is None:
            (out / name).mkdir()
        else:
            (out / name).write_bytes(b"of somebody else")
    return contents(out)


@pytest.fixture
def no_file_above(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """A function that limits the files of this process, and of those it starts, to some bytes."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # else half a module would be cached
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("there", [False, True], ids=["new", "existing"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_said_in_a_sentence(name, there, made, out, no_file_above) -> None:
    before = occupy(out, made) if there else {}
    largest = max(len(content) for content in made.values() if content is not None)
    no_file_above(largest // 2)
    with pytest.raises(OutputError) as refused:
        WRITERS[name](out / name, there)
    no_file_above(resource.RLIM_INFINITY)
    assert contents(out) == before
    message = str(refused.value)
    assert message.startswith("cannot write '") and message.endswith("': File too large")
    assert f"'{out / name}" in message and ".tomochrome-" not in message
    assert "\n" not in message


@pytest.mark.parametrize("there", [False, True], ids=["new", "existing"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_is_found_full_at_the_end(name, there, made, out, monkeypatch) -> None:
    """Some file systems say so only when all is written, and is to reach the disk."""
    before = occupy(out, made) if there else {}

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"^cannot write '[^\n]*': No space left on device$"):
        WRITERS[name](out / name, there)
    assert contents(out) == before


@pytest.mark.parametrize("there", [False, True], ids=["new", "existing"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_read_only_disk_is_said_before_the_work(name, there, made, out, monkeypatch) -> None:
    before = occupy(out, made) if there else {}
    make = os.mkdir

    def refuse(path: Any, *more: Any, **options: Any) -> None:
        if Path(os.fsdecode(path)).is_relative_to(out):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        make(path, *more, **options)

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(OutputError) as refused:
        WRITERS[name](out / name, there)
    assert contents(out) == before
    message = str(refused.value)
    assert "Read-only file system" in message and str(out) in message and "\n" not in message


@pytest.mark.parametrize("name", WRITERS)
def test_what_exists_is_left_bit_for_bit(name, made, out) -> None:
    before = occupy(out, made)
    with pytest.raises(ExistsError, match="already exists"):
        WRITERS[name](out / name, False)
    assert contents(out) == before
    for other in BESIDE.get(name, ()):  # also where only a file beside it exists
        (out / name).unlink()
        with pytest.raises(ExistsError, match=other):
            WRITERS[name](out / name, False)
        assert contents(out) == {other: b"of somebody else"}
    WRITERS[name](out / name, True)
    assert contents(out).keys() == made.keys()
    assert not any(content == b"of somebody else" for content in contents(out).values())


class Stopping(Task):
    """A task that is cancelled when it is asked for the n-th time whether it is."""

    def __init__(self, stop: float = float("inf")) -> None:
        super().__init__()
        self.stop, self.asked = stop, 0

    @property
    def cancelled(self) -> bool:
        self.asked += 1
        return self.asked >= self.stop


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("name", LONG)
def test_a_cancelled_file_is_not_there(name, share, made, out) -> None:
    task = Stopping()
    with running(task):
        WRITERS[name](out / name, False)
    assert task.asked > 2
    stop = 1 + int(share * task.asked)
    for path in out.iterdir():
        path.unlink()
    with running(Stopping(stop)), pytest.raises(Cancelled):
        WRITERS[name](out / name, False)
    assert contents(out) == {}
    before = occupy(out, made)
    with running(Stopping(stop)), pytest.raises(Cancelled):
        WRITERS[name](out / name, True)
    assert contents(out) == before
