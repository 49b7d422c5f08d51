"""The true colors of a CT: those of known tissues in a palette, or of a photograph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.convert import srgb_to_lab
from tomochrome.color.palettes import Palette, palette
from tomochrome.errors import GeometryError
from tomochrome.tissue import N_TISSUES, NO_TISSUE, Tissue


@dataclass(frozen=True, eq=False)
class ColorTruth:
    """The true color of each voxel, as an index into a list of colors.

    Attributes
    ----------
    index
        Integers (z, y, x): rows of ``colors``.
    colors
        float64 (n, 2): a*, b*.
    has_color
        bool (n,): whether there is a true color; other voxels are ignored.
    tissues
        Whether the index is the true `Tissue`.
    """

    index: NDArray[Any]
    colors: NDArray[np.float64]
    has_color: NDArray[np.bool_]
    tissues: bool

    @classmethod
    def of_tissues(
        cls, truth: NDArray[np.uint8], palette_name: str | Palette = "natural"
    ) -> ColorTruth:
        """Return the colors that a palette gives to a map of true tissues.

        Parameters
        ----------
        truth
            uint8 (z, y, x) of `Tissue`; `NO_TISSUE` and air are ignored.
        palette_name
            Palette, or its name.
        """
        colors = np.zeros((NO_TISSUE + 1, 2))
        colors[:N_TISSUES] = palette(palette_name).ab
        has_color = np.arange(NO_TISSUE + 1) < N_TISSUES
        has_color[Tissue.AIR] = False
        return cls(truth, colors, has_color, True)

    @classmethod
    def of_photograph(
        cls, photograph: NDArray[np.uint8], mask: NDArray[np.bool_], at: int = 0, slices: int = 1
    ) -> ColorTruth:
        """Return the colors of a photograph of a single slice.

        Parameters
        ----------
        photograph
            uint8 (y, x, 3), sRGB, aligned with the slice.
        mask
            bool (y, x): pixels with known color.
        at, slices
            Index of the slice, and number of slices of the CT; the others have no known color.

        Raises
        ------
        GeometryError
            If the shapes differ or the mask is empty.
        """
        if photograph.shape != (*mask.shape, 3) or not mask.any():
            raise GeometryError(
                "photograph and mask must have the same shape, and the mask must not be empty"
            )
        index = np.zeros((slices, *mask.shape), np.int32)
        index[at][mask] = np.arange(1, 1 + int(mask.sum()))
        colors = np.zeros((int(index.max()) + 1, 2))
        colors[1:] = srgb_to_lab(photograph)[mask][:, 1:]
        return cls(index, colors, np.arange(len(colors)) > 0, False)
