"""Palettes: the color of each tissue, and the source of that color."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.color import palettes
from tomochrome.color.space import srgb8_of_lab
from tomochrome.errors import OptionError
from tomochrome.tissue import N_TISSUES, TISSUE_NAMES, Tissue

_TABLES = {
    "natural": palettes.NATURAL,
    "vivid": palettes.VIVID,
    "conventional": palettes.CONVENTIONAL,
    "colorblind-safe": palettes.COLORBLIND_SAFE,
    "cryosection": palettes.CRYOSECTION,
}


@dataclass(frozen=True, eq=False)
class Palette:
    """One color for each tissue.

    Parameters
    ----------
    name
        Name of the palette.
    lab
        CIELAB (D65), shape (`N_TISSUES`, 3), in the order of `Tissue`. Only a* and b* are
        applied to slices, whose L* is determined by the CT; L* is used in legends and in 3D.
    sources
        The source of each tissue's color.
    brain_shade
        (a*, b*) that are added to the color of the brain for grey matter, and subtracted for
        white matter, shape (2,).

    Raises
    ------
    OptionError
        If the colors are not finite numbers of that shape, or a source is missing.
    """

    name: str
    lab: NDArray[np.float32]
    sources: tuple[str, ...]
    brain_shade: NDArray[np.float32] = field(default_factory=lambda: np.zeros(2, np.float32))

    def __post_init__(self) -> None:
        lab = np.array(self.lab, dtype=np.float32)
        if lab.shape != (N_TISSUES, 3) or not np.isfinite(lab).all():
            raise OptionError(
                f"the palette '{self.name}' needs {N_TISSUES} finite colors (L*, a*, b*), "
                f"not an array of shape {lab.shape}"
            )
        if len(self.sources) != N_TISSUES:
            raise OptionError(f"the palette '{self.name}' needs a source for each tissue")
        shade = np.array(self.brain_shade, dtype=np.float32)
        if shade.shape != (2,) or not np.isfinite(shade).all():
            raise OptionError(
                f"the palette '{self.name}' needs two finite numbers (a*, b*) as shade of the brain"
            )
        for name, colors in (("lab", lab), ("brain_shade", shade)):
            colors.setflags(write=False)
            object.__setattr__(self, name, colors)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle built-in palettes by name, so that identity comparisons still work."""
        if self.name in _TABLES and palette(self.name) is self:
            return palette, (self.name,)
        return type(self), (self.name, self.lab, self.sources, self.brain_shade)

    @property
    def ab(self) -> NDArray[np.float32]:
        """Chroma (a*, b*) of each tissue, shape (`N_TISSUES`, 2)."""
        return self.lab[:, 1:]

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """8-bit sRGB of each tissue at the palette's L*, shape (`N_TISSUES`, 3)."""
        return srgb8_of_lab(self.lab)

    def to_dict(self) -> dict[str, Any]:
        """Return the data that ``tomochrome palette --json`` prints."""
        rgb = self.rgb
        return {
            "name": self.name,
            "tissues": [
                {
                    "index": int(tissue),
                    "name": TISSUE_NAMES[tissue],
                    "lab": [round(float(v), 2) for v in self.lab[tissue]],
                    "rgb": [int(v) for v in rgb[tissue]],
                    "source": self.sources[tissue],
                }
                for tissue in Tissue
            ],
        }


def palette_names() -> list[str]:
    """Return the names of the palettes, the default first."""
    return list(_TABLES)


def palette(name: str | Palette = "natural") -> Palette:
    """Return the palette with a name; a `Palette` is returned unchanged.

    Raises
    ------
    OptionError
        If the name is unknown.
    """
    if isinstance(name, Palette):
        return name
    if name not in _TABLES:
        raise OptionError(f"unknown palette '{name}': choose one of {', '.join(palette_names())}")
    return _load(name)


@cache
def _load(name: str) -> Palette:
    table = _TABLES[name]
    lab: ArrayLike = [table[tissue][0] for tissue in Tissue]
    sources = tuple(table[tissue][1] for tissue in Tissue)
    shade = np.asarray(palettes.BRAIN_SHADES[name], dtype=np.float32)
    return Palette(name, np.asarray(lab, dtype=np.float32), sources, shade)
