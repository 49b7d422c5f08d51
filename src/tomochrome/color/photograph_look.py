"""The look of a photograph: lightness from the tissue, texture from the CT. For teaching only.

Elsewhere L* is the windowed Hounsfield value. In this look fat is light yellow, the brain cream
and muscle dark red, as they are to the eye. What a tissue's HU deviate from its mean in the scan
remains visible as texture. It is not suitable for reading values, and every picture says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.alpha import AlphaCurve
from tomochrome.color.chroma import Chroma
from tomochrome.color.codes import Codes, Mixtures
from tomochrome.color.lighting import Lighting, check_scan, code_table, lit_provenance
from tomochrome.color.palettes import Palette, palette
from tomochrome.color.relight import relight
from tomochrome.color.selection import Mode, TissueSelection
from tomochrome.errors import OptionError
from tomochrome.formats import LOOKS
from tomochrome.runtime import check, report
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.volume import Volume
from tomochrome.windowing import Window

NOT_FROM_SCANNER: Final = "lightness not from the scanner"

_T = Tissue
#: L* to the eye where it differs from that of the palette.
_LIGHTNESS: Final = {
    _T.FAT: 82.0, _T.BRAIN: 78.0, _T.SPINAL_CORD: 76.0, _T.SKIN: 71.0, _T.EYE: 72.0,
    _T.MUSCLE: 43.0, _T.HEART: 41.0, _T.CORTICAL_BONE: 88.0, _T.CARTILAGE: 66.0,
}  # fmt: skip
#: (a*, b*) to the eye, for the palette of natural colors: light yellow and cream.
_CHROMA: Final = {_T.FAT: (7.0, 31.0), _T.BRAIN: (7.5, 12.0), _T.SPINAL_CORD: (6.0, 12.0)}
_TEXTURE: Final = 9.0  #: L* for one standard deviation of HU
_SD_HU: Final = (20.0, 150.0)  #: range of the standard deviation
_MAX_DEVIATION: Final = 1.5  #: of the texture, in standard deviations
_GAS_HU: Final = (-750.0, -250.0)  #: between which the edge of gas fades to black
_GAS_IN_LUNG_HU: Final = (-1100.0, -1000.0)
_SAMPLES: Final = 1 << 21
_SLAB: Final = 1 << 20
_TENTHS: Final = Window(500.0, 1000.0, "LINEAR_EXACT")  #: maps the value 10 L to L*


def check_look(look: str) -> None:
    """Raise `OptionError` unless the look is one of `LOOKS`."""
    if look not in LOOKS:
        raise OptionError(f"the look must be {' or '.join(LOOKS)}, not '{look}'")


@cache
def photograph_palette(colors: Palette) -> Palette:
    """Return a palette with the lightness that tissues have to the eye."""
    lab = colors.lab.copy()
    if colors is palette():
        for tissue, ab in _CHROMA.items():
            lab[tissue, 1:] = ab
    for tissue, L in _LIGHTNESS.items():
        lab[tissue, 0] = L
    return Palette(f"{colors.name}, photograph", lab, colors.sources, colors.brain_shade)


def colors_of_look(
    look: str, colors: Palette, volume: Volume, chroma: Chroma
) -> tuple[Palette, Texture | None]:
    """Return the palette that a look has in 3D, and the texture of the scan."""
    if look == "standard":
        return colors, None
    return photograph_palette(colors), Texture.of(volume, chroma)


@dataclass(frozen=True, eq=False)
class Texture:
    """What HU deviate from their mean in each tissue.

    Parameters
    ----------
    mean, sd
        Of the HU of each code, float32 (codes,).
    """

    mean: NDArray[np.float32]
    sd: NDArray[np.float32]

    @classmethod
    def of(cls, volume: Volume, chroma: Chroma) -> Texture:
        """Measure the tissues of a scan."""
        stride = max(1, int(np.prod(volume.shape)) // _SAMPLES)
        code = chroma.code.reshape(-1)[::stride]
        hu = np.asarray(volume.voxels).reshape(-1)[::stride].astype(np.float64)
        tissue = chroma.tissue_of_code[code]
        valid = (tissue < N_TISSUES) & np.isfinite(hu)
        count, total, square = (
            np.bincount(tissue[valid], values, N_TISSUES)
            for values in (np.ones(valid.sum()), hu[valid], hu[valid] ** 2)
        )
        mean = total / np.maximum(count, 1)
        sd = np.sqrt(np.maximum(square / np.maximum(count, 1) - mean**2, 0.0))
        table = chroma.table
        assert isinstance(table, Mixtures)
        share = table.weights / np.maximum(table.weights.sum(axis=1, keepdims=True), 1e-6)
        sd_of_code = np.clip(share @ sd, *_SD_HU)
        return cls((share @ mean).astype(np.float32), sd_of_code.astype(np.float32))

    def __call__(self, hu: NDArray[Any], code: Codes) -> NDArray[np.float32]:
        """Return the deviation of voxels, -1 to 1, in units of the largest that is shown."""
        deviation = (np.asarray(hu, np.float32) - self.mean[code]) / self.sd[code]
        return np.clip(deviation / np.float32(_MAX_DEVIATION), -1.0, 1.0)


def photograph_look(
    volume: Volume,
    chroma: Chroma,
    *,
    saturation: float = 1.0,
    min_confidence: float = 0.0,
    palette_name: str | Palette = "natural",
    alpha: str | AlphaCurve = "body",
    tissues: TissueSelection | str | Iterable[str] | Mapping[str, Mode] | None = None,
) -> Volume:
    """Return the volume colored as in a photograph, for pictures only.

    Parameters
    ----------
    volume, chroma, saturation, min_confidence, alpha, tissues
        As for `tomochrome.light`; there is no window.
    palette_name
        Palette or its name.

    Returns
    -------
    Volume
        uint8 (z, y, x, 4), unit ``"RGBA"``. L* is that of the tissue with the texture of the CT,
        not the windowed Hounsfield value, and its provenance says so.

    Raises
    ------
    OptionError
        If a setting is invalid, or the model does not recognize tissues.
    InputError, GeometryError, Cancelled
        As for `tomochrome.light`.
    """
    check_scan(volume, chroma)
    chroma = chroma.on_grid(volume)
    chroma.require_tissues("has no lightness of tissues for the look of a photograph")
    settings = Lighting.of(
        volume, "soft-tissue", saturation=saturation, min_confidence=min_confidence,
        palette=photograph_palette(palette(palette_name)), alpha=alpha, tissues=tissues,
    )  # fmt: skip
    codes, curve = code_table(chroma, settings), settings.alpha
    lightness = chroma.table.lightness(settings.palette)
    texture = Texture.of(volume, chroma)
    in_lung = chroma.tissue_of_code == Tissue.LUNG
    black, full = (
        np.where(in_lung, lung, other).astype(np.float32)
        for lung, other in zip(_GAS_IN_LUNG_HU, _GAS_HU, strict=True)
    )
    out = np.empty((*volume.shape, 4), np.uint8)
    depth = max(1, _SLAB // (volume.shape[1] * volume.shape[2]))
    for start in range(0, len(out), depth):
        check()
        report(start, len(out), "lighting")
        slab = slice(start, start + depth)
        hu, code = np.asarray(volume.voxels[slab], np.float32), chroma.code[slab]
        L = lightness[code] + np.float32(_TEXTURE * _MAX_DEVIATION) * texture(hu, code)
        L *= np.clip((hu - black[code]) / (full - black)[code], 0.0, 1.0)
        tenths = np.rint(10.0 * np.nan_to_num(np.clip(L, 0.0, 100.0))).astype(np.int16)
        relight(tenths, code, chroma.confidence[slab], codes, _TENTHS, curve, out=out[slab])
        if curve.constant is None:
            out[slab][..., 3] = np.where(codes.clear(curve)[code], 0, curve(hu))
    report(len(out), len(out), "lighting")
    return replace(
        volume.with_voxels(out, unit="RGBA"), provenance=_provenance(volume, chroma, settings)
    )


def as_photograph(volume: Volume, chroma: Chroma, lighting: Lighting) -> Volume:
    """Return the volume colored as in a photograph, with the settings of a lighting.

    Parameters
    ----------
    volume, chroma
        As for `photograph_look`.
    lighting
        All but its window is used.

    Returns
    -------
    Volume
        As that of `photograph_look`.

    Raises
    ------
    OptionError, InputError, GeometryError, Cancelled
        As for `photograph_look`.
    """
    return photograph_look(
        volume,
        chroma,
        saturation=lighting.saturation,
        min_confidence=lighting.min_confidence,
        palette_name=lighting.palette,
        alpha=lighting.alpha,
        tissues=lighting.tissues,
    )


def _provenance(volume: Volume, chroma: Chroma, settings: Lighting) -> Any:
    lit = lit_provenance(volume, chroma, settings)
    extra = {
        **{key: value for key, value in lit.extra.items() if key != "window"},
        "look": "photograph",
        "description": f"{lit.extra['description']}; {NOT_FROM_SCANNER}",
    }
    return replace(lit.add(f"look of a photograph: {NOT_FROM_SCANNER}"), extra=extra)
