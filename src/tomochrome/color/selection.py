"""Selection of the tissues that are shown in color, faded, or in grey."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import OptionError
from tomochrome.tissue import TISSUE_NAMES, Tissue

Mode = Literal["show", "dim", "grey", "hide"]
MODES: Final[tuple[Mode, ...]] = ("show", "dim", "grey", "hide")
Others = Literal["dim", "grey", "hide"]
#: Factor for the chroma of dimmed tissues.
DIM: Final = 0.25


@dataclass(frozen=True)
class TissueSelection:
    """The tissues that are not shown in full color.

    A voxel belongs to its most probable tissue, as in the tissue map. The luminance of slices never
    changes: a hidden tissue is grey there, and transparent in 3D. In 3D, dimmed and greyed tissues
    are translucent, so that what is in color is seen behind them.

    Parameters
    ----------
    hidden
        Tissues without color, and transparent in 3D.
    dimmed
        Tissues with a quarter of their chroma. Hidden tissues are not dimmed.
    greyed
        Tissues without color. Hidden and dimmed tissues are not greyed.
    """

    hidden: frozenset[Tissue] = frozenset()
    dimmed: frozenset[Tissue] = frozenset()
    greyed: frozenset[Tissue] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", frozenset(tissues_of(self.hidden)))
        dimmed = frozenset(tissues_of(self.dimmed))
        object.__setattr__(self, "dimmed", dimmed - self.hidden)
        greyed = frozenset(tissues_of(self.greyed))
        object.__setattr__(self, "greyed", greyed - self.hidden - self.dimmed)

    @classmethod
    def only(
        cls, tissues: str | Iterable[str | Tissue], others: Others = "hide"
    ) -> TissueSelection:
        """Return the selection that shows these tissues, and hides, greys or dims all others.

        Raises
        ------
        OptionError
            If a tissue is unknown, or the list is empty.
        """
        chosen = frozenset(tissues_of(tissues))
        if not chosen:
            raise OptionError("no tissue to show: name at least one")
        fields = {"dim": "dimmed", "grey": "greyed", "hide": "hidden"}
        if others not in fields:
            raise OptionError(f"the other tissues can be 'dim', 'grey' or 'hide', not {others!r}")
        return cls(**{fields[others]: frozenset(Tissue) - chosen})

    @property
    def is_all(self) -> bool:
        """Whether every tissue is shown in full color."""
        return not self.rest

    @property
    def rest(self) -> frozenset[Tissue]:
        """The tissues that are not shown in full color."""
        return self.hidden | self.dimmed | self.greyed

    @property
    def isolates(self) -> bool:
        """Whether some tissues are singled out, as by `only`, instead of some turned off."""
        return Tissue.AIR in self.rest

    def mode(self, tissue: str | Tissue) -> Mode:
        """Return how a tissue is shown."""
        tissue = tissue_of(tissue)
        if tissue in self.hidden:
            return "hide"
        if tissue in self.dimmed:
            return "dim"
        return "grey" if tissue in self.greyed else "show"

    @property
    def weights(self) -> NDArray[np.float32]:
        """Factor on the chroma of each value of a tissue map, float32 (256,)."""
        weights = np.ones(256, np.float32)
        weights[list(self.dimmed)] = DIM
        weights[list(self.hidden | self.greyed)] = 0.0
        return weights

    def __str__(self) -> str:
        """Describe the selection, for metadata."""
        if self.is_all:
            return "all tissues in color"
        shown, grey = frozenset(Tissue) - self.rest, self.hidden | self.greyed
        parts = [("in color", shown), ("faded", self.dimmed), ("in grey", grey)]
        groups = [(words, tissues) for words, tissues in parts if tissues]
        largest = max(groups, key=lambda group: len(group[1]))
        listed = [
            f"{', '.join(tissue.label for tissue in sorted(tissues))} {words}"
            for words, tissues in groups
            if tissues is not largest[1]
        ]
        return "; ".join([*listed, f"all other tissues {largest[0]}"])


def tissue_selection(
    value: TissueSelection | str | Iterable[str | Tissue] | Mapping[str, Mode] | None = None,
) -> TissueSelection:
    """Convert a user's value to a selection.

    Parameters
    ----------
    value
        Names of the tissues to show, with all others hidden (a list, or a comma-separated
        string); a mapping from names to ``"show"``, ``"dim"``, ``"grey"`` or ``"hide"``, with all
        others shown; None to show all; a `TissueSelection` is returned unchanged.

    Raises
    ------
    OptionError
        If a tissue or a mode is unknown.

    Examples
    --------
    >>> tissue_selection("liver, spleen").mode("fat")
    'hide'
    >>> tissue_selection({"fat": "dim"}).mode("liver")
    'show'
    """
    if value is None:
        return TissueSelection()
    if isinstance(value, TissueSelection):
        return value
    if isinstance(value, Mapping):
        for mode in value.values():
            if mode not in MODES:
                raise OptionError(
                    f"the mode of a tissue must be one of {', '.join(MODES)}, not {mode!r}"
                )
        return TissueSelection(
            hidden=frozenset(tissue_of(name) for name, mode in value.items() if mode == "hide"),
            dimmed=frozenset(tissue_of(name) for name, mode in value.items() if mode == "dim"),
            greyed=frozenset(tissue_of(name) for name, mode in value.items() if mode == "grey"),
        )
    return TissueSelection.only(value)


def tissues_of(names: str | Iterable[str | Tissue]) -> tuple[Tissue, ...]:
    """Return the tissues with these names, a list or a comma-separated string, in their order.

    Raises
    ------
    OptionError
        If a name is unknown.
    """
    if isinstance(names, str):
        names = [name for name in names.split(",") if name.strip()]
    return tuple(map(tissue_of, names))


def tissue_of(name: str | Tissue) -> Tissue:
    """Return the tissue with a name such as ``"cortical-bone"`` or ``"cortical bone"``.

    Raises
    ------
    OptionError
        If the name is unknown.
    """
    if isinstance(name, Tissue):
        return name
    label = str(name).strip().lower().replace("_", "-").replace(" ", "-")
    if label not in TISSUE_NAMES:
        raise OptionError(f"unknown tissue '{name}': choose from {', '.join(TISSUE_NAMES)}")
    return Tissue(TISSUE_NAMES.index(label))
