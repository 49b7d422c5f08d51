"""The ``tomochrome`` command: runs the subcommand and prints errors on one line.

Exit status: 0 success, 2 bad input or usage (one line on stderr, ``error: ...``), 130 cancelled.
An unexpected error exits with 1, also with one line; ``TOMOCHROME_TRACEBACK=1`` prints the
traceback.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NoReturn, Protocol, cast

from tomochrome import __version__
from tomochrome.cli import options
from tomochrome.cli.session import Outcome, Session, json_text, legible, listening, one_line, tell
from tomochrome.errors import Cancelled, OutputError, TomochromeError
from tomochrome.runtime.collector import exit_quickly
from tomochrome.runtime.whole_files import system_reason

_NEGATIVE = re.compile(r"-[.\d]")
#: Options whose value may begin with a minus sign without being a plain number.
_NUMBERS = ("--window", "--levels", "--offset-mm", "--view")
DONE, DEFECT, BAD_INPUT, CANCELLED = 0, 1, 2, 130

#: Subcommands with their summaries in ``tomochrome --help``. Only the module of the command that
#: runs is imported.
COMMANDS: Mapping[str, str] = {
    "demo": "color the embedded sample patient, save the results and show them",
    "info": "list all series and volumes found, with geometry and a verdict",
    "models": "list the installed models with their training data and scores, or compare them",
    "colorize": "color a CT series and write it to a file",
    "render": "color a CT series and draw it in 3D, as a picture or a film",
    "photograph": "color grey photographs of sections",
    "palette": "list tissues with their colors and the source of each color",
    "restore": "find and fill the defects of a scan; what was restored stays marked",
    "register": "register two volumes (affine, then deformable) and evaluate the result",
    "transform": "apply a saved transform to a volume or to landmarks",
    "checkerboard": "compare two volumes: checkerboard, wipe, blend, difference, contours",
    "evaluate": "evaluate colors or a registration",
    "slicer": "write command line modules for 3D Slicer",
    "batch": "color every CT in some files and folders, here or on a Dask cluster",
    "train": "train a model and write its bundle",
}


class Command(Protocol):
    """Interface of a command's module."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""

    def run(self, args: argparse.Namespace, session: Session) -> Outcome:
        """Run the command."""


class _Parser(argparse.ArgumentParser):
    """An argument parser that prints errors on one line, like all other errors."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with the status for bad usage."""
        _print_error(f"{message}; see '{self.prog} --help'")
        raise SystemExit(BAD_INPUT)


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser, with the arguments of ``command`` only."""
    parser = _Parser(
        prog="tomochrome",
        allow_abbrev=False,
        description="Anatomical color for CT. Not for diagnosis. Luminance comes from the scanner, "
        "chroma from a model.",
    )
    parser.add_argument("--version", action="version", version=f"tomochrome {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", parser_class=_Parser
    )
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            allow_abbrev=False,
        )
        if name == command:
            _module(name).add_arguments(sub)
            options.add_json(sub)
    return parser


def main(argv: Sequence[str] | None = None, session: Session | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv
        Arguments without the program name; by default those of the process.
    session
        The environment of the command, with its progress; by default on stderr.
    """
    exit_quickly()
    arguments = _keep_negative_windows(sys.argv[1:] if argv is None else argv)
    command = next((word for word in arguments if not word.startswith("-")), None)
    try:
        args = build_parser(command).parse_args(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    except KeyboardInterrupt:  # while the command's module is imported
        return _print_error("cancelled", CANCELLED)
    if args.command is None:
        return _print_error("a command is missing; see 'tomochrome --help'")
    session = Session() if session is None else session
    try:
        with listening(session):
            outcome = _module(args.command).run(args, session)
        session.progress.clear()
        if not outcome.silent:
            _show(outcome, as_json=args.json)
        if outcome.after is not None:
            outcome.after()
    except (KeyboardInterrupt, Cancelled):
        session.progress.clear()
        return _print_error("cancelled", CANCELLED)
    except Exception as error:
        session.progress.clear()
        return _report(error)
    return DONE


def _keep_negative_windows(arguments: Sequence[str]) -> list[str]:
    """Join ``--window -600/1500``, which argparse would read as an option."""
    kept: list[str] = []
    for word in arguments:
        if kept and kept[-1] in _NUMBERS and _NEGATIVE.match(word):
            kept[-1] = f"{kept[-1]}={word}"
        else:
            kept.append(word)
    return kept


def _module(name: str) -> Command:
    return cast("Command", import_module(f"tomochrome.cli.{name}"))


def _show(outcome: Outcome, *, as_json: bool) -> None:
    if sys.stdout is None:  # None if the process was started without one
        return
    encoding = sys.stdout.encoding or "ascii"
    if as_json:
        text = json_text(outcome.data, encoding)
    else:
        text = legible(outcome.text).encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(text)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        reason = system_reason(error)
        raise OutputError(f"the standard output cannot be written: {reason}") from error


def _report(error: Exception) -> int:
    if os.environ.get("TOMOCHROME_TRACEBACK"):
        logging.getLogger("tomochrome").exception("the command failed")
    if isinstance(error, TomochromeError):
        return _print_error(str(error))
    if isinstance(error, MemoryError):
        return _print_error("there is not enough memory for this volume")
    if isinstance(error, OSError):
        where = f" '{error.filename}'" if error.filename else ""
        return _print_error(f"cannot access{where or ' a file'}: {system_reason(error)}")
    return _print_error(
        f"unexpected error, please report it: {type(error).__name__}: {error}", DEFECT
    )


def _print_error(message: str, status: int = BAD_INPUT) -> int:
    tell(f"error: {one_line(message)}\n")
    return status
