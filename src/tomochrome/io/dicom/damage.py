"""Slices whose pixels cannot be decoded: why, and in which words they are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from tomochrome.errors import InputError, PixelsError

COPY_AGAIN: Final = "copy it again"


class Damage(NamedTuple):
    """Why the pixels of a slice cannot be decoded."""

    reason: str  #: a clause
    advice: str = COPY_AGAIN


def truncated(present: int, needed: int) -> Damage:
    """Return the damage of a file that holds only some bytes of its pixels."""
    share = f"it holds {max(0, present):,} of {needed:,} bytes of pixels"
    return Damage(f"the file is truncated or damaged ({share})")


def damage_of(error: InputError, path: Path) -> Damage:
    """Return the damage that an error describes."""
    if isinstance(error, PixelsError):
        return Damage(error.reason, error.advice)
    text = str(error).removesuffix(f"; {COPY_AGAIN}")
    return Damage(text.replace(f"'{path}'", "the file"))


def is_most(damaged: int, total: int) -> bool:
    """Whether so many slices are damaged that the rest is no volume."""
    return 2 * damaged > total


def refusal(total: int, path: Path, damage: Damage) -> InputError:
    """Return the error for a scan most of whose slices are damaged.

    Parameters
    ----------
    total
        Number of slices.
    path, damage
        File of the first damaged slice, and what is wrong with it.
    """
    if total == 1:
        return PixelsError(str(path), *damage)
    advice = damage.advice.replace(COPY_AGAIN, "copy the scan again")
    return InputError(
        f"most of the {total} slices in '{path.parent}' cannot be decoded; in '{path.name}', "
        f"{damage.reason}; {advice}"
    )
