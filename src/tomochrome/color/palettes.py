"""Palettes: the color of each tissue, and the source of that color. Not for diagnosis.

The measured colors of ``natural`` were derived from patches in photographs of frozen sections of
the Visible Human Project (National Library of Medicine):

1. *White balance.* The thorax photograph shows a Kodak grey scale with a green-yellow cast
   (a* -7.8, b* +6.6 at L* 50). The gains that make its ten middle steps grey in linear sRGB are
   1.186, 0.938, 1.231 for red, green, blue. They are applied to every patch except the vitreous;
   for the head photograph, without a grey scale, the same film and lamps are assumed.
2. *Exposure.* Frozen muscle and heart are photographed much darker (L* 20 to 40) than CT shows
   them, and dark colors have little chroma. At constant chromaticity, a* and b* are proportional
   to L* + 16 (the definition of CIELAB), so dark patches are multiplied by (47.5 + 16) /
   (L* + 16): 47.5 is the L* of tissue of 40 HU in the soft-tissue window. Bright patches (fat,
   bone, brain, cord) are unchanged; at low L* they are fitted to the gamut.

Colors that were not measured are those of living tissue, with the reason in each entry, and
chosen so that adjacent organs are at least 8 apart in (a*, b*).

``cryosection`` has what was measured in the frozen sections of another body, without corrections
other than white balance and exposure: not the colors of life, and adjacent organs can be alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.color.space import srgb8_of_lab
from tomochrome.errors import OptionError
from tomochrome.tissue import N_TISSUES, TISSUE_NAMES, Tissue

Entry = tuple[tuple[float, float, float], str]
Table = dict[Tissue, Entry]

_T = Tissue

NATURAL: Table = {
    _T.AIR: ((0, 0, 0), "none: air has no color"),
    _T.LUNG: (
        (60, 11.5, 7.0),
        "reasoned: the aerated lung of the living is salmon pink; the frozen lungs "
        "photographed are filled with blood and were not used",
    ),
    _T.AIRWAY: ((20, 0, 0), "none: gas has no color"),
    _T.FAT: (
        (65, 11.6, 25.1),
        "measured: subcutaneous (2 patches), breast and orbital fat, white-balanced",
    ),
    _T.MUSCLE: (
        (47.5, 25.3, 20.9),
        "measured: muscle of both arms, temporalis and extraocular muscle, white-balanced, "
        "brought from the dark frozen exposure to L* 47.5 at constant chromaticity",
    ),
    _T.SKIN: (
        (66, 14, 16),
        "reasoned: lightly pigmented living skin; pigment lies in a layer thinner than a voxel",
    ),
    _T.CORTICAL_BONE: (
        (85, 5.5, 13.5),
        "measured hue: humerus and vertebral endplate, white-balanced; chroma reduced from 25 to "
        "15 because the sawn faces are smeared with yellow marrow, while clean living bone is "
        "ivory",
    ),
    _T.MARROW: (
        (66, 21.6, 28.3),
        "measured: vertebra (two parts) and both humeri (one part), white-balanced, brought to "
        "L* 66 at constant chromaticity",
    ),
    _T.CARTILAGE: (
        (47.5, 27.9, 33.9),
        "measured: costal cartilage (2 patches, amber with age), white-balanced, brought to "
        "L* 47.5 at constant chromaticity",
    ),
    _T.LIVER: (
        (40, 21.5, 13.5),
        "reasoned: red-brown, mostly from blood and lipofuscin; duller and browner than muscle",
    ),
    _T.SPLEEN: (
        (34, 31.5, 3.5),
        "reasoned: dark purple-red, a sponge of venous blood",
    ),
    _T.KIDNEY: (
        (40, 31.5, 12.5),
        "reasoned: deep red-brown, a fifth of the heart's output flows through it; redder than "
        "the liver",
    ),
    _T.PANCREAS: (
        (68, 10, 16.5),
        "reasoned: pale yellow-pink, a lobulated gland with little blood",
    ),
    _T.ADRENAL: ((60, 19, 34), "reasoned: golden yellow, the cortex is full of steroid lipids"),
    _T.GALLBLADDER: ((42, -14, 26), "reasoned: green, from bile seen through a thin wall"),
    _T.STOMACH: ((60, 23, 3), "reasoned: rosy pink, well-perfused mucosa"),
    _T.BOWEL: (
        (68, 14.5, 9),
        "reasoned: pale pink, a thin smooth wall with fewer vessels than the stomach",
    ),
    _T.BLADDER: ((78, 0, 22), "reasoned: pale yellow, from urine"),
    _T.VESSEL: (
        (42, 43, 26.5),
        "reasoned: arterial blood red, for veins too; blood in the frozen sections is clotted and "
        "almost black, so that only its hue (30 degrees) was kept",
    ),
    _T.HEART: (
        (47.5, 35.4, 22.1),
        "measured: myocardium of the left ventricle, white-balanced, brought from the dark frozen "
        "exposure to L* 47.5 at constant chromaticity",
    ),
    _T.BRAIN: (
        (63, 12.5, 6.5),
        "corrected: cortex and the mean of three patches of white matter measure (a*, b*) 19.7, "
        "28.0 and 13.1, 26.8, white-balanced, as a frozen brain is yellow-brown; the living brain "
        "is pinkish grey (16.3, 5.2) and cream (8.7, 7.8) where the CT shows grey and white "
        "matter: the difference in a* is as measured, b* is reasoned",
    ),
    _T.SPINAL_CORD: ((51, 13.5, 14.8), "measured: thoracic spinal cord, white-balanced"),
    _T.EYE: (
        (60, -0.3, 6.7),
        "measured: vitreous body, as photographed: a clear medium has the color of the light in it",
    ),
    _T.REPRODUCTIVE: ((58, 24, 12), "reasoned: pink-red, smooth muscle with glands"),
    _T.FLUID: ((85, 0, 6), "reasoned: clear to faintly straw-colored, as serum and ascites are"),
    _T.FOREIGN_BODY: ((65, -3, -10), "artificial: steel blue, a color that no tissue has"),
}


def _saturated(table: Table, factor: float, most: float) -> Table:
    """Return the table with its chroma multiplied by ``factor``, limited to ``most``."""
    result: Table = {}
    for tissue, ((L, a, b), source) in table.items():
        chroma = float((a * a + b * b) ** 0.5)
        scale = min(factor, most / chroma) if chroma else 1.0
        result[tissue] = (
            (L, round(a * scale, 2), round(b * scale, 2)),
            f"natural x {scale:.2f}; {source}",
        )
    return result


VIVID: Table = _saturated(NATURAL, 1.4, 72.0)

_BOOK = "conventional: a textbook's display color, not a natural one"
CONVENTIONAL: Table = {
    tissue: (lab, _BOOK)
    for tissue, lab in {
        _T.AIR: (0, 0, 0),
        _T.LUNG: (70, 6, -14),
        _T.AIRWAY: (60, -10, -18),
        _T.FAT: (78, 2, 42),
        _T.MUSCLE: (48, 34, 20),
        _T.SKIN: (72, 14, 20),
        _T.CORTICAL_BONE: (88, 0, 14),
        _T.MARROW: (66, 32, 40),
        _T.CARTILAGE: (76, -14, -4),
        _T.LIVER: (45, 24, 30),
        _T.SPLEEN: (42, 30, -16),
        _T.KIDNEY: (44, 42, 8),
        _T.PANCREAS: (70, 14, 52),
        _T.ADRENAL: (66, 30, 58),
        _T.GALLBLADDER: (55, -36, 38),
        _T.STOMACH: (62, 30, -2),
        _T.BOWEL: (70, 14, 6),
        _T.BLADDER: (76, -8, 48),
        _T.VESSEL: (46, 56, 34),
        _T.HEART: (44, 46, 22),
        _T.BRAIN: (70, 10, 4),
        _T.SPINAL_CORD: (72, 4, 32),
        _T.EYE: (70, -4, -14),
        _T.REPRODUCTIVE: (58, 34, -20),
        _T.FLUID: (75, -6, -26),
        _T.FOREIGN_BODY: (60, -20, -30),
    }.items()
}

_SAFE = (
    "found by benchmarks/optimize_palette.py: tissues that touch are 10 apart in CIEDE2000 under "
    "protanopia, deuteranopia and tritanopia"
)
COLORBLIND_SAFE: Table = {
    tissue: (lab, _SAFE)
    for tissue, lab in {
        _T.AIR: (0, 0, 0),
        _T.LUNG: (60, 12, 18),
        _T.AIRWAY: (20, 0, 0),
        _T.FAT: (70, 13, 24),
        _T.MUSCLE: (48, 26, -55),
        _T.SKIN: (66, 7, 0),
        _T.CORTICAL_BONE: (85, 0, 0),
        _T.MARROW: (66, 11, 15),
        _T.CARTILAGE: (60, 10, -7),
        _T.LIVER: (45, -18, 6),
        _T.SPLEEN: (40, 33, 31),
        _T.KIDNEY: (42, -1, -6),
        _T.PANCREAS: (68, 31, -56),
        _T.ADRENAL: (60, 29, 31),
        _T.GALLBLADDER: (50, 4, 21),
        _T.STOMACH: (60, 52, 15),
        _T.BOWEL: (66, 16, -23),
        _T.BLADDER: (76, -4, -1),
        _T.VESSEL: (45, 15, 50),
        _T.HEART: (45, 18, -8),
        _T.BRAIN: (66, 3, 21),
        _T.SPINAL_CORD: (66, 24, 16),
        _T.EYE: (64, 3, 5),
        _T.REPRODUCTIVE: (58, 1, 19),
        _T.FLUID: (80, 2, -11),
        _T.FOREIGN_BODY: (65, -10, -9),
    }.items()
}

_SECTIONS = "measured on photographs of frozen sections, {} patches"
_DARK = _SECTIONS + ", brought from L* {} to 47.5 at constant chromaticity"
CRYOSECTION: Table = {
    **{
        tissue: (lab, f"not measured in sections, as in natural; {source}")
        for tissue, (lab, source) in NATURAL.items()
    },
    _T.LIVER: ((47.5, 39.3, 21.3), _DARK.format(6, 19.1)),
    _T.SPLEEN: ((47.5, 46.5, 21.3), _DARK.format(4, 26.0)),
    _T.KIDNEY: ((47.5, 38.4, 15.6), _DARK.format(4, 16.8)),
    _T.PANCREAS: ((47.5, 16.6, 16.0), _DARK.format(2, 31.8)),
    _T.BOWEL: ((47.5, 33.3, 17.9), _DARK.format(5, 20.3)),
    _T.STOMACH: ((47.5, 14.4, 13.3), _DARK.format(2, 19.2)),
    _T.MUSCLE: ((47.5, 26.4, 14.7), _DARK.format(5, 22.9)),
    _T.FAT: ((81.0, 12.1, 33.2), _SECTIONS.format(5)),
    _T.SKIN: ((47.5, 20.2, 16.2), _DARK.format(6, "38.0")),
    _T.MARROW: ((47.5, 35.3, 23.6), _DARK.format(5, 45.1)),
    _T.CARTILAGE: ((47.5, 24.1, 30.6), _DARK.format(3, 40.8)),
    _T.HEART: ((47.5, 34.9, 20.4), _DARK.format(4, 29.4)),
    _T.SPINAL_CORD: ((48.2, 16.8, 13.1), _SECTIONS.format(2)),
    _T.BRAIN: (
        (56.4, 21.2, 23.7),
        "measured on photographs of frozen sections: the mean of grey matter (7 patches, brought "
        "from L* 42.9 to 47.5 at constant chromaticity) and white matter (7 patches)",
    ),
}
"""What `benchmarks/section_colors.py` measures in the Visible Human Female's sections."""

BRAIN_SHADES = {
    "natural": (3.8, -1.3),
    "cryosection": (6.0, -0.5),
    "vivid": (5.3, -1.8),
    "conventional": (2.0, -4.0),
    "colorblind-safe": (0.0, -4.0),
}
"""(a*, b*) of grey matter relative to the brain's color; white matter is on its other side."""

_TABLES = {
    "natural": NATURAL,
    "vivid": VIVID,
    "conventional": CONVENTIONAL,
    "colorblind-safe": COLORBLIND_SAFE,
    "cryosection": CRYOSECTION,
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
    shade = np.asarray(BRAIN_SHADES[name], dtype=np.float32)
    return Palette(name, np.asarray(lab, dtype=np.float32), sources, shade)
