"""Errors carry what is decided on: by class and field, whatever the sentence says."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest

from tomochrome import errors
from tomochrome.cli import files as command
from tomochrome.errors import (
    ChoiceError,
    ExistsError,
    FileError,
    InputError,
    PixelsError,
    TomochromeError,
)
from tomochrome.io import archive, find, reading
from tomochrome.io.series_item import Listing, Skipped
from tomochrome.runtime.sandbox import SandboxError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type)]
PLAIN = [kind for kind in KINDS if issubclass(kind, TomochromeError)]
PLAIN = [kind for kind in PLAIN if kind not in (ChoiceError, FileError, PixelsError)]
EVERY = [
    *(kind("'a' is wrong") for kind in PLAIN),
    ChoiceError("'a' holds 2 series", "b, c"),
    PixelsError("b", "'a' is truncated", "copy it again"),
    FileError("a", "is empty"),
    FileError("a", "is truncated", "copy it again"),
    SandboxError("'a'", "it crashed", "crash", "detail"),
]


@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
def test_errors_pickle_with_all_that_they_carry(error: TomochromeError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


def test_an_output_that_is_there_names_itself() -> None:
    assert str(ExistsError("a")) == "'a' already exists; use --force (force=True) to replace it"


@pytest.mark.parametrize(
    ("option", "advice"),
    [("--series-moving", "choose one with --series-moving: b, c"),
     ("", "give a file of one volume")],
)  # fmt: skip
def test_a_command_names_its_own_option_whatever_the_reader_says(monkeypatch, option, advice):
    def read(*_: object, **__: object) -> None:
        raise ChoiceError("in other words", "b, c")

    monkeypatch.setattr(command, "read", read)
    with pytest.raises(InputError) as caught:
        command.read_chosen(Path("a"), None, option)
    assert str(caught.value) == f"in other words; {advice}"


def test_the_subject_of_a_message_about_a_file_can_be_replaced() -> None:
    assert str(FileError("a", "is empty")) == "'a' is empty"
    error = FileError("a", "is cut off", "copy it again")
    assert str(error) == "'a' is cut off; copy it again"
    assert error.about("a file") == "a file is cut off; copy it again"
    crash = SandboxError("'a'", "it crashed", "crash")
    assert (str(crash), crash.reason) == ("'a' cannot be read: it crashed", "crash")
    assert crash.about("the file") == "the file cannot be read: it crashed"
    pixels = PixelsError("b", "it is truncated", "copy it again")
    said = "the pixels of a file cannot be decoded: it is truncated; copy it again"
    assert pixels.about("a file") == said
    assert InputError("any 'a'").about("a file") == "any 'a'"


def test_files_in_an_archive_are_named_as_the_user_knows_them(tmp_path: Path) -> None:
    path = tmp_path / "cd.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.nii", b"x")
        packed.writestr("slice", b"\0" * 128 + b"DICM" + b"x" * 100)
    skipped = find(path).skipped
    assert [Path(file.path) for file in skipped] == [path / "a.nii", path / "slice"]
    for file in skipped:
        assert f"'{file.path}'" in file.reason
        assert str(archive.unpack(path)) not in file.reason


@pytest.mark.parametrize(
    ("skipped", "said"),
    [(Skipped("a", "an empty file"), "'a' is an empty file"),
     (Skipped("a", "cannot be opened: why", "'a' cannot be opened: why"),
      "'a' cannot be opened: why"),
     (Skipped("a", "a whole sentence", "a whole sentence"), "a whole sentence")],
)  # fmt: skip
def test_why_the_only_file_is_skipped_is_a_sentence(skipped: Skipped, said: str) -> None:
    with pytest.raises(InputError) as caught:
        reading.choose(Listing((), (skipped,)), Path("a"))
    assert str(caught.value) == said
