"""Walking a folder: what is never opened, where it ends, in which order, and what is told of it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from io_cases import series

from tomochrome.errors import Cancelled, InputError
from tomochrome.io import find
from tomochrome.io import walk as walking
from tomochrome.runtime import Task, running


def test_pipes_sockets_and_devices_are_never_opened(tmp_path, monkeypatch):
    folder = series(tmp_path / "s")
    os.mkfifo(folder / "pipe")
    (folder / "zero").symlink_to("/dev/zero")
    monkeypatch.chdir(folder)  # paths of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        found = find(folder)
    assert found.items[0].shape[0] == 7
    assert {Path(s.path).name for s in found.skipped} == {"pipe", "zero", "socket"}
    for name in ("pipe", "zero"):
        with pytest.raises(InputError, match="not a"):
            walking.open_regular(folder / name)
        assert find(folder / name).items == ()


def test_links_in_circles_are_walked_once(tmp_path):
    folder = series(tmp_path / "s")
    (folder / "in").mkdir()
    (folder / "in" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    (folder / "slice").symlink_to(folder / "0001.dcm")
    found = find(folder)
    assert found.items[0].shape[0] == 7
    assert {Path(s.path).name for s in found.skipped} == {"up", "self"}


def test_a_whole_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(walking, "MAX_FILES", 20)
    for i in range(30):
        (tmp_path / f"{i}").write_bytes(b"x")
    with pytest.raises(InputError, match="more than 20 files; choose a subfolder"):
        find(tmp_path)


def test_what_cannot_be_opened_is_said(tmp_path, monkeypatch):
    folder = series(tmp_path / "s")
    locked = folder / "0003.dcm"
    real = os.open

    def refuse(path, *args, **options):
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    (skipped,) = find(folder).skipped
    assert (skipped.path, skipped.reason) == (str(locked), "cannot be opened: Permission denied")
    assert skipped.sentence == f"'{locked}' cannot be opened: Permission denied"


def test_walking_is_cancelled(tmp_path):
    token = Task()
    for i in range(5):
        (tmp_path / f"{i}").write_bytes(b"x")
    walk = walking.walk(tmp_path, lambda path, reason: None)
    with running(token):
        next(walk)
        token.cancel()
        with pytest.raises(Cancelled):
            next(walk)


def test_names_are_walked_in_a_steady_order(tmp_path):
    for name in ("b/2", "b/1", "a", "c/x/1", "c/0"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [p.relative_to(tmp_path).as_posix() for p in walking.walk(tmp_path, print)]
    assert found == ["a", "b/1", "b/2", "c/0", "c/x/1"]


def test_progress_is_told_a_few_hundred_times_at_most(tmp_path):
    for i in range(1000):
        (tmp_path / f"{i}").write_bytes(b"x")
    told = []
    with running(Task(lambda done, total, stage: told.append((done, total)))):
        find(tmp_path)
    assert told[0] == (0, 1000)
    assert told[-1] == (1000, 1000)
    assert len(told) <= 203
    assert told == sorted(told)
