"""Checks of the files that commands read and write, and groups of outputs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import REGISTRATION, find_card
from tomochrome.cli.options import check_device
from tomochrome.cli.session import json_text
from tomochrome.colorization.coloring_request import SAVED_MODEL, ColoringRequest
from tomochrome.colorization.reference_photograph import Reference
from tomochrome.errors import ChoiceError, InputError, OptionError, OutputError
from tomochrome.io import is_colored_scan, read
from tomochrome.io.points import read_points
from tomochrome.runtime import check_writable, clear_leftovers, write_group, write_whole
from tomochrome.runtime.whole_files import is_inside
from tomochrome.volume import Volume


def check_inputs(paths: Iterable[Path | None], output: str | Path | None = None) -> None:
    """Check that input paths exist (None is ignored) and that the output would not replace one.

    Raises `InputError` if a path does not exist; `OutputError` if ``output`` is one of the inputs
    or a folder that holds one.
    """
    for path in paths:
        if path is None:
            continue
        if not path.exists():
            raise InputError(f"there is no file or folder '{path}'")
        if output is not None and is_inside(path, output):
            same = os.path.realpath(path) == os.path.realpath(output)
            what = "is an input" if same else f"holds the input '{path}'"
            raise OutputError(f"'{output}' {what}; choose another name for the output")


def model_or_saved(model: str | None, path: Path) -> str:
    """Return the model that was asked for, or `SAVED_MODEL` for a scan saved with its colors."""
    if model is None:
        return SAVED_MODEL if is_colored_scan(path) else ColoringRequest.model
    return model


def read_landmarks(path: Path | None) -> NDArray[np.float64] | None:
    """Return landmarks (n, 3) in LPS mm, or None if no file was given."""
    return None if path is None else read_points(path)


def read_chosen(
    path: Path, series: str | None = None, option: str = "", *, strict: bool = False
) -> Volume:
    """Read a volume; if there are several, the error names the option that selects one, if any."""
    try:
        return read(path, series=series, strict=strict)
    except ChoiceError as error:
        what, choices = error.args
        advice = f"choose one with {option}: {choices}" if option else "give a file of one volume"
        raise InputError(f"{what}; {advice}") from error


def read_or_none(path: Path | None) -> Volume | None:
    """Return a volume of a file that holds no other, or None if no file was given."""
    return None if path is None else read_chosen(path)


def given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the options that were given, by destination."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def check_network(args: argparse.Namespace) -> None:
    """Check that the registration model and the device of the options are available.

    Raises `ModelError` or `DeviceError` if one is not.
    """
    if args.model not in (None, "none"):
        find_card(args.model, REGISTRATION)
    check_device(args.device)


def read_reference(args: argparse.Namespace) -> Reference | None:
    """Return the reference photograph given in the options, or None.

    Raises `OptionError` if labels or a mask are given without a photograph; `InputError` if an
    image cannot be read, or their sizes differ.
    """
    photograph, labels, mask = args.reference, args.reference_labels, args.reference_mask
    if photograph is None:
        if labels or mask:
            raise OptionError(
                "--reference-labels and --reference-mask need a photograph; give --reference"
            )
        return None
    check_inputs((photograph, labels, mask), getattr(args, "output", None))
    return Reference.read(photograph, labels, mask)


def as_json(data: Mapping[str, Any]) -> str:
    """Return the JSON text of a report file."""
    return f"{json_text(data, indent=2)}\n"


def check_report(
    path: Path, inputs: Iterable[Path | None], endings: Sequence[str], *, force: bool = False
) -> None:
    """Check that a report can be written: what it holds fits the ending, and it is no input.

    Raises `OutputError` if it cannot.
    """
    if path.suffix.lower() not in endings:
        raise OutputError(f"'{path}' must end in {' or '.join(endings)}, as that is what it holds")
    check_writable(path, force=force)
    check_inputs(inputs, path)


def check_folder(folder: Path, names: Sequence[str], *, force: bool = False) -> None:
    """Check that files can be written to an existing or new folder.

    Raises `OutputError` if the path is a file, the folder cannot be written, or it contains one of
    the files (without ``force``).
    """
    clear_leftovers(folder.parent)
    if not folder.is_dir():
        if os.path.lexists(folder):  # a file or a broken link, which --force does not replace
            raise OutputError(f"'{folder}' already exists and is not a folder; choose another path")
        check_writable(folder)
        return
    for name in names:
        target = check_writable(folder / name, force=force)
        if target.is_dir():
            raise OutputError(f"'{target}' is a folder where a file must be written; move it away")


@contextmanager
def write_together(folder: Path, names: Sequence[str], *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary folder; on success, the named files in it are moved to ``folder``.

    The folder is created if it does not exist; its parent must exist. Other files in it are kept.
    Raises `OutputError` if the files cannot be written or one already exists (without ``force``).
    """
    check_folder(folder, names, force=force)
    if folder.is_dir():
        with write_group([folder / name for name in names], force=force) as places:
            yield places[0].parent
    else:
        with write_whole(folder) as place:
            place.mkdir()
            yield place
