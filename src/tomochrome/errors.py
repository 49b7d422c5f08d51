"""Exceptions for errors that the user can correct.

Every message is one sentence: what is wrong, where, and what to do. The command line prints it as
``error: ...`` and exits with status 2; the panels show it. Programs must decide by class and
fields, never by the text. Exceptions can be pickled: ``args`` is their only state.
"""

from __future__ import annotations


class TomochromeError(Exception):
    """Base class of all errors that the user can correct."""


class InputError(TomochromeError):
    """The input is missing, unreadable, truncated or of another format than it claims."""

    def about(self, subject: str) -> str:
        """Return the message with another subject than the name of the file, if that is it."""
        return str(self)


class FileError(InputError):
    """A file cannot be read.

    Parameters
    ----------
    path
        The file, as it is shown.
    fault
        What is wrong: a clause without its subject, which is the file.
    advice
        What to do, or empty.
    """

    def __init__(self, path: str, fault: str, advice: str = "") -> None:
        super().__init__(path, fault, advice)

    @property
    def fault(self) -> str:
        """What is wrong."""
        return str(self.args[1])

    @property
    def advice(self) -> str:
        """What to do, or empty."""
        return str(self.args[2])

    def about(self, subject: str) -> str:
        """Return the message with another subject than the name of the file."""
        return f"{subject} {self.fault}" + (f"; {self.advice}" if self.advice else "")

    def __str__(self) -> str:
        return self.about(f"'{self.args[0]}'")


class PixelsError(InputError):
    """The pixels of an image cannot be decoded.

    Parameters
    ----------
    path
        The file.
    reason, advice
        Why, and what to do: clauses.
    """

    def __init__(self, path: str, reason: str, advice: str) -> None:
        super().__init__(path, reason, advice)

    @property
    def reason(self) -> str:
        """Why the pixels cannot be decoded."""
        return str(self.args[1])

    @property
    def advice(self) -> str:
        """What to do."""
        return str(self.args[2])

    def about(self, subject: str) -> str:
        """Return the message with another subject than the name of the file."""
        return f"the pixels of {subject} cannot be decoded: {self.reason}; {self.advice}"

    def __str__(self) -> str:
        return self.about(f"'{self.args[0]}'")


class NotAnImageError(InputError):
    """A file contains no image; the message is a noun phrase for its content."""


class ChoiceError(InputError):
    """The input contains several volumes, and none was chosen.

    Parameters
    ----------
    what
        The input and the number of volumes, a clause without the advice.
    choices
        Their names.
    """

    def __init__(self, what: str, choices: str) -> None:
        super().__init__(what, choices)

    def __str__(self) -> str:
        what, choices = self.args
        return f"{what}; choose one with --series (series=): {choices}"


class NotCTError(InputError):
    """The input was read, but it is not CT in Hounsfield units."""


class GeometryError(TomochromeError):
    """Positions, orientations or grids are invalid for a volume or do not match."""


class OptionError(TomochromeError):
    """An option is invalid: an unknown name or a value out of range."""


class ModelError(TomochromeError):
    """A model is unknown, damaged, of another program, or does not match its metadata."""


class DeviceError(TomochromeError):
    """The requested computing device is not available."""


class OutputError(TomochromeError):
    """The output cannot be written to the requested path."""


class ExistsError(OutputError):
    """The output already exists and must not be replaced; the argument is its path."""

    def __str__(self) -> str:
        return f"'{self.args[0]}' already exists; use --force (force=True) to replace it"


class Cancelled(TomochromeError):  # noqa: N818 - an outcome, not a fault
    """The user cancelled the work; no partial output is left."""
