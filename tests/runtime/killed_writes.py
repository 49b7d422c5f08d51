"""Writes outputs and is killed before every line in turn; fails where something is lost or torn.

A program of its own, so that it can fork: pytest's process has threads.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tomochrome.runtime import clear_leftovers, whole_files, work_folder

WATCHED = {module.__file__ for module in (whole_files, work_folder)}
UNWATCHED = {"_identity", "Move.state", "Move.planned", "Move.__init__", "_exists", "_take"}
"""Functions that only look, or whose callers are watched."""
GROUPS = {
    "a file": ("a.nii.gz",),
    "a folder": ("series",),
    "a group": ("a.nii.gz", "b.nii.gz", "series"),
}
Content = dict[str, str | None]


def put(path: Path, text: str) -> None:
    if path.name == "series":
        path.mkdir()
        for k in range(3):
            (path / f"{k}.dcm").write_text(text)
    else:
        path.write_text(text)


def content(folder: Path, names: tuple[str, ...]) -> Content:
    """Return what lies at each place: "old", "new", None, or "torn"."""
    found: Content = {}
    for name in names:
        path = folder / name
        if path.is_dir():
            texts = [(path / f"{k}.dcm") for k in range(3)]
            said = {p.read_text() if p.exists() else "" for p in texts}
            found[name] = (
                said.pop() if len(said) == 1 and len(list(path.iterdir())) == 3 else "torn"
            )
        else:
            found[name] = path.read_text() if path.exists() else None
    return found


def killed_at(line: int, work: Callable[[], None]) -> bool:
    """Do the work in a process that is killed before its n-th line; False if it ended before."""
    pid = os.fork()
    if pid == 0:
        left = itertools.count(line, -1)

        def trace(frame: FrameType, event: str, _: object) -> object:
            code = frame.f_code
            if code.co_filename not in WATCHED or code.co_qualname in UNWATCHED:
                return None
            if event == "line" and next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        work()
        sys.settrace(None)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert status == 0, f"the writing failed with {status}"
    return False


def prepared(base: Path, names: tuple[str, ...], old: set[str]) -> Path:
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir()
    for name in old:
        put(base / name, "old")
    return base


def write(folder: Path, names: tuple[str, ...]) -> None:
    with whole_files.write_group([folder / name for name in names], force=True) as places:
        for place in places:
            put(place, "new")


def check(folder: Path, names: tuple[str, ...], old: set[str], one_step: bool) -> str:
    """Look at what a killed process left, before and after the next one clears it."""
    found = content(folder, names)
    for name, text in found.items():
        allowed = {"new", "old" if name in old else None}
        if not one_step and name in old and len(names) + (name == "series") > 1:
            allowed.add(None)  # found again below
        if text not in allowed:
            return f"{name} is {text} at once"
    clear_leftovers(folder)
    found = content(folder, names)
    before = {name: "old" if name in old else None for name in names}
    if found not in (before, dict.fromkeys(names, "new")):
        return f"after clearing: {found}"
    if any(path.name.startswith(".") for path in folder.iterdir()):
        return f"left behind: {sorted(p.name for p in folder.iterdir())}"
    return ""


def kill_everywhere(base: Path, names: tuple[str, ...], old: set[str], one_step: bool) -> int:
    for line in itertools.count():
        folder = prepared(base, names, old)
        if not killed_at(line, lambda folder=folder: write(folder, names)):
            assert content(folder, names) == dict.fromkeys(names, "new")
            return line
        if fault := check(folder, names, old, one_step):
            sys.exit(f"{names}, {old} there before, killed at line {line}: {fault}")
    raise AssertionError


def kill_the_clearing(base: Path, names: tuple[str, ...], old: set[str]) -> None:
    """Kill a process that clears what another left, at every third line, in every such state."""
    seen = set()
    for line in itertools.count():
        folder = prepared(base, names, old)
        if not killed_at(line, lambda folder=folder: write(folder, names)):
            return
        left = sorted(p.relative_to(folder).parts[1:] for p in folder.rglob("*"))
        state = (str(left), str(content(folder, names)))
        if state in seen or not list(folder.glob(".*/moves.json")):
            continue  # where no move has begun there is nothing to finish
        seen.add(state)
        for second in itertools.count(len(seen) % 3, 3):
            # Inodes tell the outputs, so the same state is made anew rather than copied.
            folder = prepared(base, names, old)
            killed_at(line, lambda folder=folder: write(folder, names))
            if not killed_at(second, lambda folder=folder: clear_leftovers(folder)):
                break
            if fault := check(folder, names, old, one_step=False):
                sys.exit(f"{names}, killed at {line}, its clearing at {second}: {fault}")


def main(base: Path, way: str) -> None:
    for module in (whole_files, work_folder):  # a killed process loses nothing that was written
        module.sync = module.sync_entries = lambda _: None
    if way == "in three steps":
        work_folder.exchange = lambda *_: False
    total = 0
    for names in GROUPS.values():
        total += kill_everywhere(base / "out", names, set(names), way == "in one step")
    group = GROUPS["a group"]
    for old in (set(), {group[0]}):
        total += kill_everywhere(base / "out", group, old, way == "in one step")
    if way == "in three steps":
        kill_the_clearing(base / "out", group, set(group))
    sys.stdout.write(f"killed at {total} lines\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
