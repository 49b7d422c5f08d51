"""The caption of a 3D picture: its lines, what gives way in small pictures, and its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from PIL import ImageDraw, ImageFont

from tomochrome.color.photograph_look import NOT_FROM_SCANNER
from tomochrome.volume import RESTORED

SEPARATOR: Final = "  ·  "
PARTLY_RESTORED: Final = f"partly {RESTORED}"
NOT_FOR_DIAGNOSIS: Final = "not for diagnosis"
_MARKS: Final = (PARTLY_RESTORED, NOT_FROM_SCANNER, NOT_FOR_DIAGNOSIS)  #: in every picture
_COLOR: Final = (220, 220, 220)
_OUTLINE: Final = 2  #: pixels
_MAX_SHARE: Final = 0.45  #: of the height, unless the marks need more
_BELOW: Final = 6  #: pixels
_BODY: Final = (0.05, 0.89)  #: where the body is at most, in heights from the top
_MIN_BODY: Final = 0.35  #: of the height
_APART: Final = 8  #: pixels between body and caption


@dataclass(frozen=True)
class Caption:
    """A caption in the lines in which it is written, centered at the bottom of a picture.

    Parameters
    ----------
    lines
        The lines, from above.
    font
        Pillow's font.
    step
        Height of a line in pixels.
    size
        Width and height of the picture in pixels.
    """

    lines: tuple[str, ...]
    font: Any
    step: int
    size: tuple[int, int]

    @property
    def top(self) -> int:
        """Its upper edge, in pixels from the top of the picture."""
        return self.size[1] - self.step * len(self.lines) - _BELOW

    @property
    def body(self) -> tuple[float, float]:
        """Upper and lower edge of the space for the body above it, in heights of the picture."""
        upper, lower = _BODY
        return upper, max(min(lower, (self.top - _APART) / self.size[1]), upper + _MIN_BODY)

    def draw(self, draw: ImageDraw.ImageDraw) -> None:
        """Write it, outlined for contrast with what is behind it."""
        for color, stroke in (((0, 0, 0), _OUTLINE), (_COLOR, 0)):
            for number, line in enumerate(self.lines):
                place = self.size[0] / 2, self.top + self.step * number
                draw.text(place, line, fill=color, font=self.font, anchor="ma", stroke_width=stroke)


def caption_in(parts: Sequence[str], size: tuple[int, int]) -> Caption:
    """Return a caption in the lines that fit into a picture.

    Parameters
    ----------
    parts
        What the picture shows, the least important first; a line is broken between them, or
        between words if it must be. In a small picture, only the marks are sure to be left: that
        the lightness is not from the scanner, what was restored, and "not for diagnosis".
    size
        Width and height of the picture in pixels.

    Returns
    -------
    Caption
        Its lines and their place.
    """
    width, height = size
    wide = width > 450
    font: Any = ImageFont.load_default(
        min(16, round(width / 50)) if wide else max(7, min(9, width // 9))
    )
    step = round((1.5 if wide else 1.2) * font.size)
    lines = _lines(parts, font, width - 8)
    while (
        len(parts) > 1
        and parts[0] not in _MARKS
        and step * len(lines) + _BELOW > _MAX_SHARE * height
    ):
        parts = parts[1:]
        lines = _lines(parts, font, width - 8)
    return Caption(tuple(lines), font, step, size)


def _lines(parts: Sequence[str], font: Any, width: float) -> list[str]:
    """Return the lines of a caption, broken between its parts, or between words if it must be."""
    lines = [""]
    for part in parts:
        joined = f"{lines[-1]}{SEPARATOR if lines[-1] else ''}{part}"
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        lines.append("")
        for word in part.split():
            longer = f"{lines[-1]} {word}".lstrip()
            if lines[-1] and font.getlength(longer) > width:
                lines.append(word)
            else:
                lines[-1] = longer
    return [line for line in lines if line]
