"""The comparison modes, and the conversion from the panel's fields to a view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tomochrome import compare
from tomochrome._napari.viewer.orientation import Screen
from tomochrome.errors import OptionError
from tomochrome.notices import sentence

CHECKERBOARD: Final = "checkerboard"
WIPE_ACROSS: Final = "wipe left | right"
WIPE_DOWN: Final = "wipe above / below"
BLEND: Final = "blend"
RED_CYAN: Final = "red-cyan"
DIFFERENCE: Final = "difference"
CONTOURS: Final = "contours"
FLICKER: Final = "flicker"
_WINDOW_TOLERANCE: Final = 0.02  # differences below this fraction of the width are ignored

MODES: Final[Mapping[str, tuple[str, str]]] = {
    CHECKERBOARD: (
        "Checkerboard",
        "Alternating tiles of both images: edges should continue across the tiles",
    ),
    WIPE_ACROSS: (
        "Wipe left | right",
        "First image on the left, second on the right; drag the amber line",
    ),
    WIPE_DOWN: (
        "Wipe top / bottom",
        "First image at the top, second at the bottom; drag the amber line",
    ),
    BLEND: ("Blend", "Weighted mean of both images"),
    RED_CYAN: ("Red-cyan overlay", "First image in red, second in cyan: grey where they agree"),
    DIFFERENCE: (
        "Difference",
        "Second minus first: orange where higher, blue where lower, black where equal",
    ),
    CONTOURS: ("Contours", "Outlines of the second image drawn on the first"),
    FLICKER: ("Flicker", "Alternates between the images: misaligned structures jump"),
}
"""Title and description of each mode."""


@dataclass(frozen=True)
class Fields:
    """The settings of a comparison."""

    mode: str = CHECKERBOARD  #: one of `MODES`
    tile_mm: float = 20.0  #: tile size of the checkerboard
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)  #: offset of the tiles (z, y, x)
    share: float = 0.5  #: weight of the second volume in a blend, 0 to 1
    reach: float = 0.0  #: difference shown in the strongest color; 0 for the default
    levels: str = ""  #: contour levels, separated by commas or spaces; empty for the default
    rate: float = 2.0  #: changes per second of the flicker


def make_view(
    fields: Fields,
    pair: compare.Pair,
    before: compare.View[Any] | None = None,
    screen: Screen | None = None,
) -> compare.View[Any]:
    """Return the view for the given fields. The first call imports and compiles `compare`.

    The position of a wipe and the state of a flicker are kept from the previous view, ``before``.
    ``screen`` is the orientation of the plane on the screen; napari's default if None. Raises
    `OptionError` if a value is invalid; `InputError` if the pair cannot be compared in this mode.
    """
    mode = fields.mode
    if mode == CHECKERBOARD:
        tile = max(fields.tile_mm, compare.smallest_tile_mm(pair.volume))
        return compare.Checkerboard(pair, compare.CheckerboardSettings(tile, fields.offset_mm))
    if mode in (WIPE_ACROSS, WIPE_DOWN):
        screen = screen or Screen()
        upright = (mode == WIPE_ACROSS) != screen.transposed
        direction: Any = "vertical" if upright else "horizontal"
        kept = before.settings if isinstance(before, compare.Wipe) else compare.WipeSettings()
        positions = kept.positions if kept.direction == direction else (0.5, 0.5, 0.5)
        return compare.Wipe(pair, compare.WipeSettings(direction, positions, screen.mirrored))
    if mode == BLEND:
        return compare.Blend(pair, compare.BlendSettings(fields.share))
    if mode == RED_CYAN:
        return compare.RedCyan(pair)
    if mode == DIFFERENCE:
        return compare.Difference(pair, compare.DifferenceSettings(fields.reach or None))
    if mode == CONTOURS:
        return compare.Contours(pair, compare.ContourSettings(parse_levels(fields.levels)))
    if mode == FLICKER:
        turn = before.settings if isinstance(before, compare.Flicker) else None
        return compare.Flicker(pair, turn)
    raise OptionError(f"unknown comparison '{mode}'")


def remarks(view: compare.View[Any], fields: Fields, ndisplay: int) -> str:
    """Return the warnings and remarks about a view and the fields requested, as sentences."""
    texts = list(map(sentence, view.pair.warnings))
    shown: Any = view
    if fields.mode == CHECKERBOARD and shown.settings.tile_mm > fields.tile_mm + 1e-6:
        texts.append(
            f"The tiles are {shown.settings.tile_mm:.1f} mm, the minimum for this voxel size."
        )
    if fields.mode == DIFFERENCE:
        unit = " HU" if view.pair.volume.unit == "HU" else ""
        texts.append(f"The strongest color is a difference of {shown.reach:.3g}{unit}.")
    if has_unlike_windows(view, fields):
        texts.append(
            "The two images are shown in different windows, so the same tissue differs in "
            "brightness."
        )
    if ndisplay == 3 and fields.mode == FLICKER:
        texts.append("Flicker works in 2D only.")
    return " ".join(texts)


def has_unlike_windows(view: compare.View[Any], fields: Fields) -> bool:
    """Whether two volumes in Hounsfield units are shown in different windows."""
    pair = view.pair
    if (
        fields.mode in (DIFFERENCE, CONTOURS)
        or not pair.a.volume.unit == pair.b.volume.unit == "HU"
    ):
        return False
    one, other = pair.windows
    if one is None or other is None:
        return False
    difference = abs(one.center - other.center) + abs(one.width - other.width) / 2
    return difference > _WINDOW_TOLERANCE * min(one.width, other.width)


def parse_levels(text: str) -> tuple[float, ...] | None:
    """Parse a list of contour levels; None if the text is empty.

    Raises `OptionError` if it contains anything other than numbers.
    """
    parts = text.replace(",", " ").replace(";", " ").split()
    try:
        return tuple(float(part) for part in parts) or None
    except ValueError:
        raise OptionError(
            f"the contour levels must be numbers separated by spaces, not '{text}'"
        ) from None
