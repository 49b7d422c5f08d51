"""Lighting: conversion of Hounsfield units and chroma to RGBA, with the luminance of the CT."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.alpha import AlphaCurve, alpha_curve
from tomochrome.color.chroma import Chroma, no_tissues_message
from tomochrome.color.convert import srgb_to_lab
from tomochrome.color.palettes import Palette, palette
from tomochrome.color.relight import CodeTable, relight
from tomochrome.color.selection import Mode, TissueSelection, tissue_selection
from tomochrome.color.table import TABLE
from tomochrome.errors import InputError, OptionError
from tomochrome.notices import Notice
from tomochrome.runtime import check, report
from tomochrome.volume import OF_RESTORED, Volume, require_type, require_volume
from tomochrome.windowing import DEFAULT, Window, describe_window, parse_window

#: Voxels between two calls of `check` (a few milliseconds), but at least one slice.
_SLAB = 1 << 20
MAX_SATURATION = 2.0


@dataclass(frozen=True)
class Lighting:
    """Rendering settings of a colored volume. Window, palette and alpha may be names.

    Parameters
    ----------
    window
        Window from HU to L*, a preset's name or ``"CENTER/WIDTH"``.
    saturation
        Factor for the chroma, 0 (grey) to 2; 1 for the palette's colors.
    min_confidence
        Confidence (0 to 1) from which a voxel has its full color. Below, its color fades
        smoothly, to grey at half of it; 0 for no fading.
    palette
        Palette or its name.
    alpha
        Opacity curve or its name.
    tissues
        Tissues shown in color: a `TissueSelection`, or a value for `tissue_selection`.

    Raises
    ------
    OptionError
        If a name is unknown or a number is out of range.
    """

    window: Window = field(default_factory=lambda: parse_window("soft-tissue"))
    saturation: float = 1.0
    min_confidence: float = 0.0
    palette: Palette = field(default_factory=palette)
    alpha: AlphaCurve = field(default_factory=alpha_curve)
    tissues: TissueSelection = field(default_factory=TissueSelection)

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", parse_window(self.window))
        object.__setattr__(self, "palette", palette(self.palette))
        object.__setattr__(self, "alpha", alpha_curve(self.alpha))
        object.__setattr__(self, "tissues", tissue_selection(self.tissues))
        for name, most in (("saturation", MAX_SATURATION), ("min_confidence", 1.0)):
            value = getattr(self, name)
            if not (isinstance(value, (int, float, np.number)) and math.isfinite(value)):
                raise OptionError(f"the {name} must be a number from 0 to {most:g}, not {value!r}")
            if not 0.0 <= value <= most:
                raise OptionError(f"the {name} must be from 0 to {most:g}, not {value:g}")
            object.__setattr__(self, name, float(value))

    @classmethod
    def of(cls, volume: Volume, window: str | Window = DEFAULT, **settings: Any) -> Lighting:
        """Return settings for a volume; ``window`` is as for `light`."""
        return cls(window=parse_window(window, volume), **settings)

    def replace(self, **changes: Any) -> Lighting:
        """Return a copy with some settings changed."""
        return replace(self, **changes)


def code_table(chroma: Chroma, settings: Lighting) -> CodeTable:
    """Return the chroma and visibility of each code of ``chroma`` under ``settings``.

    Raises
    ------
    OptionError
        If the settings select tissues, but the codes are not tissues.
    """
    ab, tissue = chroma.ab_of_code(settings.palette, settings.saturation), chroma.tissue_of_code
    hidden = None
    if not settings.tissues.is_all:
        chroma.require_tissues("cannot show or hide some of them")
        weights = settings.tissues.weights[tissue]
        ab, hidden = ab * weights[:, None], np.isin(tissue, list(settings.tissues.hidden))
    return CodeTable(
        ab,
        tissue,
        settings.min_confidence,
        hidden=hidden,
        # dimmed colors are between filled columns and grey, so their columns are filled as well
        ready=TABLE.holds(chroma.table.source(settings.palette), settings.saturation),
    )


def light(
    volume: Volume,
    chroma: Chroma,
    window: str | Window = DEFAULT,
    *,
    saturation: float = 1.0,
    min_confidence: float = 0.0,
    palette: str | Palette = "natural",
    alpha: str | AlphaCurve = "body",
    tissues: TissueSelection | str | Iterable[str] | Mapping[str, Mode] | None = None,
) -> Volume:
    """Return the colored volume: RGBA whose L* is the windowed Hounsfield value.

    Parameters
    ----------
    volume
        Scalar CT on the grid of ``chroma`` (axes may be flipped or permuted).
    chroma
        The chroma map.
    window
        Preset, ``"CENTER/WIDTH"``, ``"scanner"``, ``"auto"`` (by the content of ``volume``),
        ``"default"`` (the one stored in ``volume``, otherwise by content, see
        `tomochrome.windowing.opening_window`) or `Window`; all except a `Window` may end in
        ``"/sigmoid"``.
    saturation, min_confidence, palette, alpha
        See `Lighting`.
    tissues
        Tissues shown in color: names (all others are grey), or a mapping from names to
        ``"show"``, ``"dim"``, ``"grey"`` or ``"hide"``; all by default. For a model that predicts
        colors, a selection is an error, and a palette has no effect, with a warning.

    Returns
    -------
    Volume
        uint8 (z, y, x, 4), unit ``"RGBA"``, with the affine of ``volume``. The L* of every voxel
        is within 0.5 of the windowed value with all settings.

    Raises
    ------
    OptionError
        If a setting is invalid.
    InputError
        If ``volume`` is RGBA already.
    GeometryError
        If the grids differ.
    Cancelled
        If the user cancelled.
    """
    check_scan(volume, chroma)
    settings = Lighting.of(
        volume,
        window,
        saturation=saturation,
        min_confidence=min_confidence,
        palette=palette,
        alpha=alpha,
        tissues=tissues,
    )
    chroma = chroma.on_grid(volume)
    codes = code_table(chroma, settings)
    out = np.empty((*volume.shape, 4), np.uint8)
    depth = max(1, _SLAB // (volume.shape[1] * volume.shape[2]))
    total = volume.shape[0]
    for start in range(0, total, depth):
        check()
        report(start, total, "lighting")
        slab = slice(start, min(start + depth, total))
        relight(
            volume.voxels[slab],
            chroma.code[slab],
            chroma.confidence[slab],
            codes,
            settings.window,
            settings.alpha,
            out=out[slab],
        )
    check()
    report(total, total, "lighting")
    return replace(
        volume.with_voxels(out, unit="RGBA"), provenance=lit_provenance(volume, chroma, settings)
    )


def mean_chroma(image: Volume, chroma: Chroma) -> float:
    """Return the mean C* of a colored volume over the voxels that the model colors.

    Unlike `Chroma.mean_chroma`, it is that of the picture: window, saturation, palette, faded
    and hidden tissues and the gamut count.

    Parameters
    ----------
    image
        Result of `light`.
    chroma
        The chroma map that it was made with.

    Returns
    -------
    float
        0 if the model colors no voxel.
    """
    chroma = chroma.on_grid(image)
    colored = chroma.colored_codes
    total, count = 0.0, 0
    for pixels, code in zip(image.voxels, chroma.code, strict=True):
        check()
        inside = colored[code]
        ab = srgb_to_lab(pixels[inside][:, :3])[:, 1:]
        total += float(np.hypot(ab[:, 0], ab[:, 1]).sum(dtype=np.float64))
        count += len(ab)
    return total / count if count else 0.0


def light_slice(
    volume: Volume, chroma: Chroma, z: int, settings: Lighting | None = None
) -> NDArray[np.uint8]:
    """Return slice ``z`` of the colored volume, uint8 (y, x, 4).

    For repeated use `tomochrome.color.view.LitVolume` is faster, since it caches its tables.

    Parameters
    ----------
    volume
        CT in HU.
    chroma
        Its chroma map, on the same grid.
    z
        Index of the slice.
    settings
        Rendering settings; by default those of `Lighting.of`.

    Returns
    -------
    numpy.ndarray
        uint8 RGBA.

    Raises
    ------
    InputError
        If the volume is RGBA already.
    GeometryError
        If the chroma map is not on the grid of the volume.
    """
    check_scan(volume, chroma)
    chroma = chroma.on_grid(volume)
    settings = settings or Lighting.of(volume)
    return relight(
        volume.voxels[z],
        chroma.code[z],
        chroma.confidence[z],
        code_table(chroma, settings),
        settings.window,
        settings.alpha,
    )


def check_scan(volume: Volume, chroma: Chroma) -> None:
    """Raise `InputError` unless the arguments are a scan that is not colored yet and colors."""
    require_volume(volume, "the scan")
    require_type(chroma, Chroma, "the colors", "tc.colorize")
    if volume.is_rgba:
        raise InputError("the volume is already colored; use the CT it was made from")


def lit_provenance(volume: Volume, chroma: Chroma, settings: Lighting) -> Any:
    """Return the provenance of a colored volume: that of the CT, and how it was colored."""
    model = chroma.model or "an unnamed model"
    step = (
        f"colored by {model}, palette {settings.palette.name}, window {settings.window}, "
        f"saturation {settings.saturation:g}, confidence from {settings.min_confidence:g}, "
        f"opacity {settings.alpha.name}, {settings.tissues}; not for diagnosis"
    )
    own = volume.provenance.warnings
    added = [warning for warning in chroma.provenance.warnings if warning not in own]
    if not chroma.has_tissues and settings.palette is not palette():
        text = no_tissues_message(
            chroma.model, f"did not use the palette '{settings.palette.name}'"
        )
        added.append(Notice("option-unused", "info", text))
    provenance = volume.provenance.add(step, *added)
    notes = [f"Color by model {model}"]
    if chroma.provenance.of_restored and volume.restored is None:  # otherwise the mask says it
        notes.append(OF_RESTORED)
    extra = {
        **provenance.extra,
        "model": model,
        "palette": settings.palette.name,
        "window": describe_window(settings.window),
        **({"colors": OF_RESTORED} if notes[1:] else {}),
        "description": ", ".join([*notes, "not for diagnosis"]),
        "saturation": settings.saturation,
        "opacity": settings.alpha.name,
        "tissues": str(settings.tissues),
        "not_for_diagnosis": True,
    }
    return replace(provenance, extra=extra)
