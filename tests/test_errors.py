"""Errors carry what is decided on: by class and field, whatever the sentence says."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest

from tomochrome import errors
from tomochrome.cli import register as command
from tomochrome.errors import ChoiceError, ExistsError, InputError, PixelsError, TomochromeError
from tomochrome.io import archive, reading
from tomochrome.io.series_item import Found, Skipped
from tomochrome.runtime.sandbox import SandboxError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type)]
PLAIN = [kind for kind in KINDS if issubclass(kind, TomochromeError)]
PLAIN = [kind for kind in PLAIN if kind not in (ChoiceError, PixelsError)]
EVERY = [
    *(kind("'a' is wrong") for kind in PLAIN),
    ChoiceError("'a' holds 2 series", "b, c"),
    PixelsError("b", "'a' is truncated", "copy it again"),
    SandboxError("'a' crashed", "crash", "detail"),
]


@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
def test_errors_pickle_and_are_reworded_with_all_that_they_carry(error: TomochromeError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))
    again.reword(lambda text: text.replace("'a'", "'other'"))
    assert str(again) == str(error).replace("'a'", "'other'")
    assert vars(again) == vars(error)


def test_an_output_that_is_there_names_itself() -> None:
    assert str(ExistsError("a")) == "'a' already exists; use --force (force=True) to replace it"


@pytest.mark.parametrize(
    ("option", "advice"),
    [("--series-moving", "choose one with --series-moving: b, c"),
     (None, "give a file of one volume")],
)  # fmt: skip
def test_register_names_its_own_option_whatever_the_reader_says(monkeypatch, option, advice):
    def read(*_: object, **__: object) -> None:
        raise ChoiceError("in other words", "b, c")

    monkeypatch.setattr("tomochrome.io.read", read)
    with pytest.raises(InputError) as caught:
        command._read(Path("a"), None, option)
    assert str(caught.value) == f"in other words; {advice}"


def test_what_crashed_in_an_archive_is_named_as_the_user_knows_it(tmp_path: Path) -> None:
    path = tmp_path / "cd.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("slice", b"x")
    folder = archive.unpack(path)
    with pytest.raises(SandboxError) as caught, reading._shown_paths():
        raise SandboxError(f"'{folder / 'slice'}' cannot be read", "crash")
    assert str(caught.value) == f"'{path / 'slice'}' cannot be read"
    assert caught.value.reason == "crash"


@pytest.mark.parametrize(
    ("skipped", "said"),
    [(Skipped("a", "an empty file"), "'a' is an empty file"),
     (Skipped("a", "cannot be opened: why", "'a' cannot be opened: why"),
      "'a' cannot be opened: why"),
     (Skipped("a", "a whole sentence", "a whole sentence"), "a whole sentence")],
)  # fmt: skip
def test_why_the_only_file_is_skipped_is_a_sentence(skipped: Skipped, said: str) -> None:
    with pytest.raises(InputError) as caught:
        reading.choose(Found((), (skipped,)), Path("a"))
    assert str(caught.value) == said
