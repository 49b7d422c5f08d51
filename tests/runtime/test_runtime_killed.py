"""A process may be killed at any moment: outputs stay whole, and leftovers are cleared."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tomochrome.errors import OutputError
from tomochrome.runtime import clear_leftovers, work_folder, write_group, write_whole

posix = pytest.mark.skipif(os.name != "posix", reason="needs fork and SIGKILL")


@posix
@pytest.mark.parametrize("way", ["in one step", "in three steps"])
def test_killed_at_any_line_nothing_is_torn_or_lost(tmp_path: Path, way: str) -> None:
    script = Path(__file__).with_name("killed_writes.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), way], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout.split()[2]) > 300


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith(".tomochrome"))


def test_work_under_way_is_never_cleared(tmp_path: Path) -> None:
    with write_whole(tmp_path / "a.nrrd") as first:
        first.write_text("a")
        clear_leftovers(tmp_path)
        thread = threading.Thread(target=clear_leftovers, args=(tmp_path,))
        thread.start()
        thread.join()
        subprocess.run(
            [sys.executable, "-c", "from tomochrome.runtime import clear_leftovers as c; c('.')"],
            cwd=tmp_path,
            check=True,
        )
        assert first.read_text() == "a"
        with write_whole(tmp_path / "b.nrrd") as second:
            second.write_text("b")
        assert first.read_text() == "a"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nrrd", "b.nrrd"]


def test_what_is_not_a_leftover_is_left_alone(tmp_path: Path) -> None:
    """Neither a folder of that name without a lock, nor a link, nor a file."""
    (tmp_path / ".tomochrome-mine").mkdir()
    (tmp_path / ".tomochrome-mine" / "notes").write_text("mine")
    (tmp_path / ".tomochrome-file").write_text("mine")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lock").touch()
    (tmp_path / ".tomochrome-link").symlink_to(elsewhere)
    clear_leftovers(tmp_path)
    assert (tmp_path / ".tomochrome-mine" / "notes").read_text() == "mine"
    assert leftovers(tmp_path) == [".tomochrome-file", ".tomochrome-link", ".tomochrome-mine"]
    assert (elsewhere / "lock").exists()


@posix
def test_a_place_changed_since_the_kill_is_not_touched(tmp_path: Path) -> None:
    """Moves of a dead process are finished only if its places are as it left them."""
    for name in ("a", "b"):
        (tmp_path / name).write_text("old")
    kill = (
        "import os, signal\n"
        "from tomochrome.runtime import work_folder, write_group\n"
        "forward = work_folder.Move.forward\n"
        "def once(move):\n"
        "    forward(move)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "work_folder.Move.forward = once\n"
        "with write_group(['a', 'b'], force=True) as places:\n"
        "    for place in places:\n"
        "        place.write_text('new')\n"
    )
    subprocess.run([sys.executable, "-c", kill], cwd=tmp_path, check=False)
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("new", "old")
    (tmp_path / "b").write_text("by the user, meanwhile")
    clear_leftovers(tmp_path)
    assert (tmp_path / "b").read_text() == "by the user, meanwhile"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("in_one_step", [True, False])
def test_a_group_that_cannot_all_move_moves_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_one_step: bool
) -> None:
    if not in_one_step:
        monkeypatch.setattr(work_folder, "exchange", lambda *_: False)
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "1.dcm").write_text("old")
    (tmp_path / "a").write_text("old")
    forward = work_folder.Move.forward

    def refuse_the_last(move: work_folder.Move) -> None:
        if move.name == "c":
            raise OSError(13, "Permission denied")
        forward(move)

    monkeypatch.setattr(work_folder.Move, "forward", refuse_the_last)
    names = ("series", "a", "b", "c")
    with (
        pytest.raises(OutputError, match="Permission denied"),
        write_group([tmp_path / name for name in names], force=True) as places,
    ):
        places[0].mkdir()
        (places[0] / "1.dcm").write_text("new")
        for place in places[1:]:
            place.write_text("new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "series"]
    assert (tmp_path / "a").read_text() == (tmp_path / "series" / "1.dcm").read_text() == "old"


def test_what_is_written_is_on_the_disk_before_it_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watch(file: int) -> None:
        fsync(file)
        assert not (tmp_path / "series").exists() or synced[-1:] == ["moved"]
        synced.append("synced")

    rename = Path.rename

    def moved(self: Path, target: Path) -> Path:
        synced.append("moved")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", watch)
    monkeypatch.setattr(Path, "rename", moved)
    monkeypatch.setattr(Path, "replace", moved)
    with write_whole(tmp_path / "series") as place:
        place.mkdir()
        for k in range(3):
            (place / f"{k}.dcm").write_text("new")
    assert synced == ["synced"] * 4 + ["moved", "synced"]


def test_an_output_that_came_to_be_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    with pytest.raises(OutputError, match="in the meantime"), write_whole(target) as place:
        place.write_text("ours")
        target.write_text("another's")
    assert target.read_text() == "another's"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("when", ["writing", "syncing"])
def test_a_full_disk_keeps_the_earlier_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Some file systems say only when they sync that the disk is full."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    target = tmp_path / "series"
    target.mkdir()
    (target / "1.dcm").write_text("old")

    def refuse(_: int) -> None:
        raise full

    if when == "syncing":
        monkeypatch.setattr(os, "fsync", refuse)
    with (
        pytest.raises(OutputError, match=r"^cannot write '[^']*series': No space left on device$"),
        write_whole(target, force=True) as place,
    ):
        place.mkdir()
        (place / "1.dcm").write_text("new")
        if when == "writing":
            raise full
    assert (target / "1.dcm").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["series"]
