"""The meaning of a stroke label: a tissue, a color, or "keep" the existing colors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.palettes import Palette
from tomochrome.color.selection import tissue_of
from tomochrome.errors import OptionError
from tomochrome.tissue import N_TISSUES, Tissue

KEEP: Final = "keep"
KEEP_LABEL: Final = N_TISSUES  #: label for it in the panels


@dataclass(frozen=True)
class Meaning:
    """The meaning of strokes with one label.

    Parameters
    ----------
    name
        A tissue's name, a color ``"#rrggbb"``, or ``"keep"``.
    tissue
        The tissue, if ``name`` is a tissue.
    """

    name: str
    tissue: Tissue | None = None

    @property
    def keeps(self) -> bool:
        """Whether the existing colors are kept."""
        return self.name == KEEP

    @property
    def is_color(self) -> bool:
        """Whether it is a fixed color, independent of the palette."""
        return self.tissue is None and not self.keeps

    def weights(self) -> NDArray[np.float32]:
        """Return the weights of the tissues, float32 (`N_TISSUES`,)."""
        weights = np.zeros(N_TISSUES, np.float32)
        weights[self.tissue] = 1
        return weights

    def ab(self, palette: Palette) -> NDArray[np.float32]:
        """Return the color (a*, b*), float32 (2,)."""
        if self.tissue is not None:
            return palette.ab[self.tissue]
        from tomochrome.color.convert import srgb_to_lab

        rgb = np.frombuffer(bytes.fromhex(self.name[1:]), np.uint8)
        return srgb_to_lab(rgb[None])[0, 1:]


def meaning_of(text: str | Tissue) -> Meaning:
    """Parse the meaning of a stroke.

    Parameters
    ----------
    text
        A tissue or its name, ``"#rrggbb"``, or ``"keep"``.

    Raises
    ------
    OptionError
        If it is none of these.
    """
    word = text if isinstance(text, Tissue) else str(text).strip().lower()
    if word == KEEP:
        return Meaning(KEEP)
    if isinstance(word, str) and word.startswith("#"):
        if re.fullmatch("#[0-9a-f]{6}", word) is None:
            raise OptionError(f"'{text}' is not a color; use #rrggbb, for example #b0413e")
        return Meaning(word)
    try:
        tissue = tissue_of(word)
    except OptionError as error:
        raise OptionError(f"{error}; or use a color such as #b0413e, or 'keep'") from None
    return Meaning(tissue.label, tissue)


def meanings_of(
    labels: Iterable[int], given: Mapping[int, str | Tissue] | None
) -> dict[Meaning, list[int]]:
    """Group stroke labels by their meaning.

    Parameters
    ----------
    labels
        Labels of the strokes, above 0.
    given
        Meanings of some labels; all others are tissue indices.

    Raises
    ------
    OptionError
        If a label has no meaning, or a meaning is invalid.
    """
    given_meanings = {int(label): meaning_of(text) for label, text in (given or {}).items()}
    if any(label < 1 for label in given_meanings):
        raise OptionError("stroke labels must be integers above 0; 0 means no stroke")
    labels_of: dict[Meaning, list[int]] = {}
    for label in map(int, labels):
        if label not in given_meanings and not 0 < label < N_TISSUES:
            raise OptionError(
                f"the stroke label {label} is not a tissue index (1 to {N_TISSUES - 1}, see "
                f"'tomochrome palette'); define its meaning (--hint {label}=liver, in Python "
                f"meanings={{{label}: 'liver'}})"
            )
        meaning = given_meanings[label] if label in given_meanings else meaning_of(Tissue(label))
        labels_of.setdefault(meaning, []).append(label)
    return labels_of
