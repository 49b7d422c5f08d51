"""The ways of comparing that are offered, and from the fields to a view's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tomochrome._napari.wording import sentence
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
_ALIKE: Final = 0.02  # windows less apart than this share of their width look the same

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
    BLEND: ("Blend", "Both images mixed"),
    RED_CYAN: ("Red-cyan overlay", "First image in red, second in cyan: grey where they agree"),
    DIFFERENCE: (
        "Difference",
        "Second minus first: orange where higher, blue where lower, black where equal",
    ),
    CONTOURS: ("Contours", "Outlines of the second image drawn on the first"),
    FLICKER: ("Flicker", "Both images in turn: what does not match jumps"),
}
"""The modes by name: what each is called on the panel, and what it shows."""


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


@dataclass(frozen=True)
class Screen:
    """How the viewer lays a comparison's plane on the screen.

    Parameters
    ----------
    transposed
        Whether the later of the plane's two axes runs down, as after rolling napari's axes twice.
    mirrored
        For axis z, y and x, whether it runs backwards: to the left, or up.
    """

    transposed: bool = False
    mirrored: tuple[bool, bool, bool] = (False, False, False)


def make_view(
    fields: Fields, pair: Pair, before: View[Any] | None = None, screen: Screen | None = None
) -> View[Any]:
    """Return the view that the fields ask for; importing compare compiles, so not too early.

    Parameters
    ----------
    fields
        What the fields say.
    pair
        What is compared.
    before
        The view that was shown until now: the line of a wipe and the turn of a flicker stay.
    screen
        What is left and what is above; None as napari begins.

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
        screen = screen or Screen()
        upright = (mode == WIPE_ACROSS) != screen.transposed
        direction: Any = "vertical" if upright else "horizontal"
        kept = before.settings if isinstance(before, compare.Wipe) else compare.Curtain()
        positions = kept.positions if kept.direction == direction else (0.5, 0.5, 0.5)
        return compare.Wipe(pair, compare.Curtain(direction, positions, screen.mirrored))
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


def remarks(view: View[Any], fields: Fields, ndisplay: int) -> str:
    """Return what should be known of a view that is shown, as sentences.

    Parameters
    ----------
    view
        What is shown.
    fields
        What was asked for.
    ndisplay
        2 for planes, 3 for 3D.
    """
    said = list(map(sentence, view.pair.warnings))
    shown: Any = view
    if fields.mode == CHECKERBOARD and shown.settings.tile_mm > fields.tile_mm + 1e-6:
        said.append(
            f"The tiles are {shown.settings.tile_mm:.1f} mm: the voxels allow no smaller ones."
        )
    if fields.mode == DIFFERENCE:
        unit = " HU" if view.pair.volume.unit == "HU" else ""
        said.append(f"The strongest color is a difference of {shown.reach:.3g}{unit}.")
    elif fields.mode != CONTOURS and _unlike_windows(view):
        said.append(
            "The two images are shown in different windows, so the same tissue is not equally "
            "bright. Set the same contrast limits for both layers."
        )
    if ndisplay == 3 and fields.mode == FLICKER:
        said.append("Flicker works in 2D only.")
    return " ".join(said)


def _unlike_windows(view: View[Any]) -> bool:
    """Whether two volumes in Hounsfield units are shown in different windows."""
    pair = view.pair
    if not pair.a.volume.unit == pair.b.volume.unit == "HU":
        return False
    one, other = pair.windows
    if one is None or other is None:
        return False
    apart = abs(one.center - other.center) + abs(one.width - other.width) / 2
    return apart > _ALIKE * min(one.width, other.width)


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
            f"the contour levels must be numbers separated by spaces, not '{text}'"
        ) from None
