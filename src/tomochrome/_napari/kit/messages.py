"""Errors and notices as sentences."""

from __future__ import annotations

import logging

from tomochrome.errors import TomochromeError
from tomochrome.notices import Notice, sentence

_LOG = logging.getLogger(__name__)


def is_note(notice: Notice) -> bool:
    """Whether a notice only says that values without a unit are clearly Hounsfield units."""
    return notice.code == "unit" and notice.severity == "info"


def error_text(error: Exception, job_name: str) -> str:
    """Return the message for an exception; unexpected exceptions are also logged.

    ``job_name`` is the subject of the message for an unexpected exception: ``"Coloring"``.
    """
    if isinstance(error, TomochromeError):
        return sentence(error)
    _LOG.error("%s failed", job_name.lower(), exc_info=error)
    return (
        f"{job_name} failed unexpectedly ({type(error).__name__}: {error}); "
        "please report it with the details in the log."
    )
