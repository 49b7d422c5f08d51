"""Exceptions that a user can cause, and that say what to do about it.

Every message is one sentence: what is wrong, where, and what to do.
The command line prints it as ``error: ...`` and exits 2; the windows show it.
"""

from __future__ import annotations


class TomochromeError(Exception):
    """Base of every error that the user can cause and mend."""


class InputError(TomochromeError):
    """The input is missing, unreadable, truncated or not what it claims to be."""


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


class Cancelled(TomochromeError):  # noqa: N818 - an outcome, not a fault
    """The user stopped the work; nothing was left behind."""
