"""The ways of comparing that are offered, and from the fields to a view's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tomochrome.errors import OptionError

if TYPE_CHECKING:
    from tomochrome.compare import Pair, View

CHECKERBOARD: Final = "checkerboard"
WIPE_ACROSS: Final = "wipe left | right"
WIPE_DOWN: Final = "wipe above / below"
BLEND: Final = "blend"
RED_CYAN: Final = "red-cyan"
DIFFERENCE: Final = "difference"
CONTOURS: Final = "contours"
FLICKER: Final = "flicker"

MODES: Final[Mapping[str, str]] = {
    CHECKERBOARD: "Tiles of the two in turn, square in millimetres: edges must run on across them",
    WIPE_ACROSS: "A curtain: the first to the left, the second to the right; drag the amber line",
    WIPE_DOWN: "A curtain: the first above, the second below; drag the amber line",
    BLEND: "Both at once, mixed",
    RED_CYAN: "The first in red, the second in cyan: grey where they agree",
    DIFFERENCE: "Second minus first: orange where it has more, blue where less, black if equal",
    CONTOURS: "Outlines of the second drawn on the first",
    FLICKER: "The two in turn: what does not fit jumps to and fro",
}
"""The modes by name, and what each shows."""


@dataclass(frozen=True)
class Fields:
    """What the fields of the comparison say.

    Parameters
    ----------
    mode
        One of `MODES`.
    tile_mm, offset_mm
        Of the checkerboard; the offset along (z, y, x).
    share
        Of the second volume in a blend, 0 to 1.
    reach
        Difference of the strongest color; 0 for the usual one.
    levels
        Of the contours, separated by commas; empty for the usual ones.
    rate
        Changes per second of the flicker.
    """

    mode: str = CHECKERBOARD
    tile_mm: float = 20.0
    offset_mm: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0))
    share: float = 0.5
    reach: float = 0.0
    levels: str = ""
    rate: float = 2.0


def make_view(fields: Fields, pair: Pair, before: View[Any] | None = None) -> View[Any]:
    """Return the view that the fields ask for; importing compare compiles, so not too early.

    Parameters
    ----------
    fields
        What the fields say.
    pair
        What is compared.
    before
        The view that was shown until now: the curtain of a wipe and the turn of a flicker stay.

    Raises
    ------
    OptionError
        If a value has no meaning.
    InputError
        If the pair cannot be compared so.
    """
    from tomochrome import compare

    mode = fields.mode
    if mode == CHECKERBOARD:
        tile = max(fields.tile_mm, compare.smallest_tile_mm(pair.volume))
        return compare.Checkerboard(pair, compare.Tiles(tile, fields.offset_mm))
    if mode in (WIPE_ACROSS, WIPE_DOWN):
        direction: Any = "vertical" if mode == WIPE_ACROSS else "horizontal"
        kept = before.settings if isinstance(before, compare.Wipe) else compare.Curtain()
        positions = kept.positions if kept.direction == direction else (0.5, 0.5, 0.5)
        return compare.Wipe(pair, compare.Curtain(direction, positions))
    if mode == BLEND:
        return compare.Blend(pair, compare.Mixture(fields.share))
    if mode == RED_CYAN:
        return compare.RedCyan(pair)
    if mode == DIFFERENCE:
        return compare.Difference(pair, compare.Spread(fields.reach or None))
    if mode == CONTOURS:
        return compare.Contours(pair, compare.Lines(parse_levels(fields.levels)))
    if mode == FLICKER:
        turn = before.settings if isinstance(before, compare.Flicker) else None
        return compare.Flicker(pair, turn)
    raise OptionError(f"unknown comparison '{mode}'")


def parse_levels(text: str) -> tuple[float, ...] | None:
    """Return the levels that a text lists, or None if it is empty.

    Raises
    ------
    OptionError
        If something in it is no number.
    """
    parts = text.replace(",", " ").replace(";", " ").split()
    try:
        return tuple(float(part) for part in parts) or None
    except ValueError:
        raise OptionError(
            f"the levels of the contours must be numbers with blanks between, not '{text}'"
        ) from None
