"""Tables with the meaning of a chroma map's codes: mixtures of tissues, or colors.

A code is a row index of a table. Changing palette or saturation only changes the table, not the
voxels. Row 0 is always air outside the body, without color.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.palettes import Palette
from tomochrome.errors import ModelError
from tomochrome.tissue import N_TISSUES, NO_TISSUE, Tissue

Codes = NDArray[np.uint16] | NDArray[np.uint32]
"""Codes of voxels, uint32 for tables with more than 65,536 rows."""
GREY_L = 62.0  #: L* in 3D of codes without a tissue
MAX_CODES = 1 << 32


@dataclass(frozen=True, eq=False)
class Mixtures:
    """Codes that are mixtures of tissues.

    Parameters
    ----------
    weights
        float32, shape (codes, `N_TISSUES`): nonnegative weights of the tissues. A row sums to
        at most 1; the remainder is grey. Row 0 is pure air.
    contrast
        Exponent of the weights in the chroma; the sum of a row is kept. Above 1 the most probable
        tissue dominates the color, which lowers the expected distance to the true color: for
        probabilities of 0.7 and 0.3, from 0.42 of the distance of the two colors (for 1) to 0.33
        (for 3).
    shade
        float32 (codes,): the shade of the brain, from -1 for white matter to 1 for grey matter;
        0, the color of the tissue, by default.

    Raises
    ------
    ModelError
        If a row is not a mixture, row 0 is not air, the contrast is below 1, or a shade is
        outside its range.
    """

    weights: NDArray[np.float32]
    contrast: float = 1.0
    shade: NDArray[np.float32] | None = None
    has_tissues: ClassVar[bool] = True

    def __post_init__(self) -> None:
        array = _checked(self.weights, N_TISSUES, "mixtures")
        if not 1.0 <= self.contrast < np.inf:
            raise ModelError(f"the contrast of mixtures must be at least 1, not {self.contrast}")
        if array.min() < 0 or array.sum(axis=1).max() > 1.001:
            raise ModelError("each mixture needs nonnegative weights that sum to at most 1")
        if array[0, Tissue.AIR] < 0.999:
            raise ModelError("mixture 0 must be pure air: it is for voxels outside the body")
        if self.shade is not None:
            shade = _checked(np.asarray(self.shade)[:, None], 1, "shades of the brain")[:, 0]
            if len(shade) != len(array) or np.abs(shade).max() > 1:
                raise ModelError("each mixture needs a shade from -1 to 1")
            object.__setattr__(self, "shade", shade)
        object.__setattr__(self, "weights", array)

    def __len__(self) -> int:
        return len(self.weights)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.weights, self.contrast, self.shade)

    @cached_property
    def tissue(self) -> NDArray[np.uint8]:
        """Dominant tissue of each code, uint8 (codes,); `NO_TISSUE` for an all-grey row."""
        tissue = self.weights.argmax(axis=1).astype(np.uint8)
        tissue[self.weights.max(axis=1) <= 0] = NO_TISSUE
        return tissue

    @property
    def shade_of_code(self) -> NDArray[np.float32]:
        """Shade of the brain of each code, float32 (codes,); 0 in a table without shades."""
        return np.zeros(len(self), np.float32) if self.shade is None else self.shade

    def source(self, palette: Palette) -> Palette:
        """Return the palette, which is the source of the colors."""
        return palette

    def chroma(self, palette: Palette) -> NDArray[np.float32]:
        """Return chroma (a*, b*) of each code, float32 (codes, 2)."""
        ab = self._cache.get(palette)
        if ab is None:
            weights = self._color_weights()
            ab = np.asarray(weights @ palette.ab, np.float32)
            if self.shade is not None:
                ab += (self.shade * weights[:, Tissue.BRAIN])[:, None] * palette.brain_shade
            self._cache[palette] = ab
        return ab

    def _color_weights(self) -> NDArray[np.float32]:
        """Return the weights of the tissues in the chroma."""
        if self.contrast == 1:
            return self.weights
        most = np.maximum(self.weights.max(axis=1, keepdims=True), np.float32(1e-6))
        raised = (self.weights / most) ** np.float32(self.contrast)
        total, sums = (part.sum(axis=1, keepdims=True) for part in (self.weights, raised))
        return raised * (total / np.maximum(sums, np.float32(1e-6)))

    @cached_property
    def _cache(self) -> WeakKeyDictionary[Palette, NDArray[np.float32]]:
        """Cache of the chroma for each palette."""
        return WeakKeyDictionary()

    def lightness(self, palette: Palette) -> NDArray[np.float32]:
        """Return L* of each code for 3D: that of its tissues except air, float32 (codes,)."""
        share = np.delete(self.weights, Tissue.AIR, axis=1).astype(np.float64)
        L = np.delete(palette.lab[:, 0], Tissue.AIR).astype(np.float64)
        grey = np.maximum(1.0 - self.weights.sum(axis=1), 0.0)
        rest = share.sum(axis=1) + grey
        covered = rest > 1e-3
        L_of_code = (share @ L + grey * GREY_L) / np.where(covered, rest, 1.0)
        return np.where(covered, L_of_code, GREY_L).astype(np.float32)


@dataclass(frozen=True, eq=False)
class FreeColors:
    """Codes that are colors, for models that predict color directly; no palette applies.

    Parameters
    ----------
    ab
        float32, shape (codes, 2): chroma (a*, b*) of each code. Row 0 is (0, 0).

    Raises
    ------
    ModelError
        If the colors are not finite, or row 0 is not grey.
    """

    ab: NDArray[np.float32]
    has_tissues: ClassVar[bool] = False

    def __post_init__(self) -> None:
        array = _checked(self.ab, 2, "colors (a*, b*)")
        if array[0].any():
            raise ModelError("color 0 must be grey: it is for voxels outside the body")
        object.__setattr__(self, "ab", array)

    def __len__(self) -> int:
        return len(self.ab)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.ab,)

    @cached_property
    def tissue(self) -> NDArray[np.uint8]:
        """Air for code 0, `NO_TISSUE` for all others: uint8 (codes,)."""
        tissue = np.full(len(self), NO_TISSUE, np.uint8)
        tissue[0] = Tissue.AIR
        return tissue

    def source(self, palette: Palette) -> FreeColors:
        """Return this table, regardless of the palette."""
        return self

    def chroma(self, palette: Palette) -> NDArray[np.float32]:
        """Return chroma (a*, b*) of each code, regardless of the palette."""
        return self.ab

    def lightness(self, palette: Palette) -> NDArray[np.float32]:
        """Return the L* of codes without a tissue, float32 (codes,)."""
        return np.full(len(self), GREY_L, np.float32)


Table = Mixtures | FreeColors
"""The meaning of a chroma map's codes; palettes and tissue selection require `Mixtures`."""


def as_table(value: Table | NDArray[Any]) -> Table:
    """Convert an array to a table: of (a*, b*) if it has two columns, otherwise of mixtures.

    Raises
    ------
    ModelError
        If the array is neither.
    """
    if not isinstance(value, np.ndarray):
        return value
    return FreeColors(value) if value.ndim == 2 and value.shape[1] == 2 else Mixtures(value)


def code_type(codes: int) -> np.dtype[Any]:
    """Return the smallest data type for this number of codes."""
    return np.dtype(np.uint16 if codes <= 1 << 16 else np.uint32)


def _checked(values: NDArray[Any], columns: int, what: str) -> NDArray[np.float32]:
    """Validate a table and return it as a read-only copy."""
    array = np.array(values)
    if array.dtype != np.float32 or array.ndim != 2 or array.shape[1:] != (columns,):
        raise ModelError(
            f"{what} must be float32 of shape (codes, {columns}), "
            f"not {array.dtype} of shape {array.shape}"
        )
    if not 1 <= len(array) <= MAX_CODES or not np.isfinite(array).all():
        raise ModelError(f"{what} must be finite, and there must be at least one")
    array.setflags(write=False)
    return array
