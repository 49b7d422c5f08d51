"""Notices about a result as data: a code for programs and a sentence for people."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tomochrome.errors import TomochromeError

Severity = Literal["info", "warning"]
Code = Literal[
    "damaged",  # slices whose pixels cannot be decoded
    "content",  # image content: projections, colors, labels; other volumes in the same source
    "device",  # another device was used than requested
    "geometry",  # voxel positions: assumed, uneven, resampled, or changed by hand
    "header",  # header values used without verification
    "no-number",  # NaN voxels that were filled
    "restored",  # voxels whose values were restored, not measured
    "not-restored",  # defects that were left, or that there are none
    "refused",  # the reason why this cannot be read
    "unit",  # the unit of the values, or that it is unknown
    "nothing-colored",
    "cut-off",  # the body extends beyond the left or right edge of the image
    "option-unused",
    "coverage",  # the fields of view of two volumes hardly overlap, or not at all
    "partial",  # much of a body is absent from the other image, or all of it
    "unrelated",  # two images are not alike
    "mirrored",  # left and right may be swapped in one of two images
    "half-turn",
    "not-deformed",
    "segmentation",
    "worse",  # the registration made the alignment worse
    "folds",
    "inconsistent",  # large inverse consistency error
]

_QUOTED = re.compile(r"(?<!\w)'.*?'(?!\w)")


@dataclass(frozen=True)
class Notice:
    """A notice for the user.

    Parameters
    ----------
    code
        Category. Programs must decide by this code, never by the text.
    severity
        ``"info"`` for information, ``"warning"`` for anything that may be wrong.
    text
        The sentence, without a full stop.
    fact
        The part of the sentence that can be quoted in another one; empty for the entire sentence.
    """

    code: Code
    severity: Severity
    text: str
    fact: str = ""

    def __str__(self) -> str:
        return self.text

    def without_names(self) -> Notice:
        """Return the notice with an ellipsis for all that it quotes, such as names of files.

        They may contain the patient's name. An apostrophe within a word is no quote.
        """
        text, fact = (_QUOTED.sub("'…'", part) for part in (self.text, self.fact))
        return replace(self, text=text, fact=fact)


def refused(text: str) -> Notice:
    """Return the reason why something cannot be read as one volume."""
    return Notice("refused", "warning", text)


def texts(notices: Iterable[Notice]) -> list[str]:
    """Return the unique texts, in order."""
    return list(dict.fromkeys(map(str, notices)))


def sentence(message: Notice | TomochromeError | str) -> str:
    """Return a warning or an error as a sentence, with a capital letter and a full stop."""
    text = str(message).strip()
    ended = text.endswith((".", "!", "?"))
    return text[:1].upper() + text[1:] + ("" if ended or not text else ".")
