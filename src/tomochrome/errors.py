"""Exceptions that a user can cause, and that say what to do about it.

Every message is one sentence: what is wrong, where, and what to do.
The command line prints it as ``error: ...`` and exits 2; the windows show it. Who decides by an
error decides by its class and fields. Errors pickle: their ``args`` are all they are made of.
"""

from __future__ import annotations

from collections.abc import Callable


class TomochromeError(Exception):
    """Base of every error that the user can cause and mend."""

    def reword(self, change: Callable[[str], str]) -> None:
        """Change the texts that it is made of, for example the names of files."""
        self.args = tuple(change(part) if isinstance(part, str) else part for part in self.args)


class InputError(TomochromeError):
    """The input is missing, unreadable, truncated or not what it claims to be."""


class NotAnImageError(InputError):
    """A file holds no image; the message is what it is, as half a sentence."""


class ChoiceError(InputError):
    """There are several volumes and none was chosen.

    Parameters
    ----------
    what
        Where there are how many, as half a sentence.
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
    """Positions, orientations or grids do not form, or do not match, a volume."""


class OptionError(TomochromeError):
    """An option has no meaning: an unknown name or a value out of range."""


class ModelError(TomochromeError):
    """A model is unknown, damaged, foreign, or does not fit its metadata."""


class DeviceError(TomochromeError):
    """The requested computing device is not there."""


class OutputError(TomochromeError):
    """The output cannot be written where it was asked for."""


class ExistsError(OutputError):
    """The output is there already and must not be replaced; its argument is the path."""

    def __str__(self) -> str:
        return f"'{self.args[0]}' exists already; use --force (force=True) to replace it"


class Cancelled(TomochromeError):  # noqa: N818 - an outcome, not a fault
    """The user stopped the work; nothing was left behind."""
