"""Presets of 3D pictures: which tissues are seen, by probability and Hounsfield units."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from tomochrome.color.alpha import opening_curve
from tomochrome.color.selection import TissueSelection, tissues_of
from tomochrome.errors import OptionError
from tomochrome.tissue import Tissue

AUTO: Final = "auto"
"""Chooses a preset by the region of the body."""

AGENT_HU: Final = 110.0
"""Lower limit of vessels with contrast agent; without it, blood has 30 to 60 HU."""

_T = Tissue
_ANY: Final = ((-2000.0, 1.0),)
_LISTED: Final = 7  #: tissues that a caption names


@dataclass(frozen=True)
class Part:
    """Tissues with one opacity curve.

    Parameters
    ----------
    tissues
        Their probabilities are added.
    curve
        (HU, opacity of a layer of 1 mm), ascending in HU.
    color
        The tissue in whose color they are drawn, for the most part; None for their own colors.
    depth_mm
        How far below their common surface they are seen: for vessels in the lung, whose surface
        has the same HU.
    softness
        Standard deviation of the Gaussian that smooths the HU, in voxels of the scan.
    needs_agent
        Whether these are vessels that are seen by their contrast agent. In a scan without it, what
        is as dense is bone.
    """

    tissues: tuple[Tissue, ...]
    curve: tuple[tuple[float, float], ...] = _ANY
    color: Tissue | None = None
    depth_mm: float = 0.0
    softness: float = 0.5
    needs_agent: bool = False


@dataclass(frozen=True)
class RenderPreset:
    """A selection of tissues for a 3D picture.

    Parameters
    ----------
    name
        Name of the preset.
    parts
        What is seen.
    about
        Short description for the user.
    min_ml
        Isolated pieces with less volume than this, in milliliters, are not drawn.
    skin
        Whether the outermost layer has the color of skin, whatever the model takes it for.
    faint
        Tissues whose surfaces are seen as if of glass, in grey.
    main
        Tissues without which a scan shows nothing of the preset, whatever else is in it.
    hidden
        Tissues that were taken out of it.
    """

    name: str
    parts: tuple[Part, ...]
    about: str
    min_ml: float = 0.5
    skin: bool = False
    faint: tuple[Tissue, ...] = ()
    main: tuple[Tissue, ...] = ()
    hidden: tuple[Tissue, ...] = ()

    @property
    def title(self) -> str:
        """The name in words."""
        return self.name.replace("-", " and ").capitalize()

    @property
    def faintest(self) -> float:
        """The opacity of the most transparent part, where it is most opaque."""
        return min(max(opacity for _, opacity in part.curve) for part in self.parts)

    @property
    def tissues(self) -> tuple[Tissue, ...]:
        """All tissues that are seen."""
        return tuple(sorted({t for part in self.parts for t in part.tissues} | {*self.faint}))

    @property
    def shown(self) -> tuple[str, ...]:
        """What a picture shows, and what it does not, as parts of its caption."""
        notes = (("hidden", self.hidden), ("faint", self.faint))
        return self.about, *(f"{how}: {_listed(tissues)}" for how, tissues in notes if tissues)

    def without(self, names: str | Iterable[str | Tissue]) -> RenderPreset:
        """Return the preset without some tissues.

        Raises
        ------
        OptionError
            If a tissue is unknown, or none is left.
        """
        hidden = set(tissues_of(names))
        if not hidden:
            return self
        parts = tuple(
            replace(part, tissues=rest)
            for part in self.parts
            if (rest := tuple(tissue for tissue in part.tissues if tissue not in hidden))
        )
        if not parts:
            raise OptionError(f"all tissues of the preset '{self.name}' are hidden; hide fewer")
        main = tuple(tissue for tissue in self.main if tissue not in hidden)
        gone = tuple(sorted({*self.hidden, *(hidden & {*self.tissues})}))
        return replace(self, parts=parts, main=main, hidden=gone)


def _listed(tissues: tuple[Tissue, ...]) -> str:
    rest = len(tissues) - _LISTED
    names = ", ".join(tissue.label for tissue in tissues[: _LISTED if rest > 1 else None])
    return f"{names} and {rest} more" if rest > 1 else names


_BONE: Final = Part((_T.CORTICAL_BONE, _T.MARROW), ((110, 0), (220, 1)), _T.CORTICAL_BONE)
_CARTILAGE: Final = Part((_T.CARTILAGE,), ((40, 0), (100, 1)))
_METAL: Final = Part((_T.FOREIGN_BODY,), ((500, 0), (1000, 1)))
_LUNG_VESSELS: Final = Part(
    (_T.LUNG, _T.VESSEL, _T.AIRWAY),
    ((-680, 0), (-520, 0.4), (-350, 0.9)),
    color=_T.VESSEL,
    depth_mm=5.0,
)
_SOLID: Final = tuple(
    tissue
    for tissue in Tissue
    if tissue not in (_T.AIR, _T.LUNG, _T.AIRWAY, _T.FAT, _T.SKIN, _T.CORTICAL_BONE, _T.MARROW)
)
_ORGANS: Final = (
    *(_T.LIVER, _T.SPLEEN, _T.KIDNEY, _T.PANCREAS, _T.ADRENAL, _T.GALLBLADDER, _T.STOMACH),
    *(_T.BOWEL, _T.BLADDER, _T.REPRODUCTIVE, _T.HEART, _T.VESSEL, _T.BRAIN, _T.EYE),
)

RENDER_PRESETS: Final[dict[str, RenderPreset]] = {
    preset.name: preset
    for preset in (
        RenderPreset(
            "skin",
            (Part(tuple(t for t in Tissue if t != _T.AIR), ((-550, 0), (-200, 1)), softness=1.2),),
            "the surface of the body",
            min_ml=20.0, skin=True,
        ),
        RenderPreset(
            "muscle",
            (Part(_SOLID, ((-40, 0), (20, 1)), softness=0.8), _BONE),
            "muscles, with bone and organs where no muscle covers them",
            min_ml=5.0,
        ),
        RenderPreset("bone", (_BONE, _CARTILAGE, _METAL), "the skeleton with its cartilage"),
        RenderPreset(
            "bone-vessels",
            (
                _BONE,
                _METAL,
                Part((_T.VESSEL, _T.HEART), ((AGENT_HU, 0), (190, 1)), needs_agent=True),
            ),
            "the skeleton, and heart and vessels if filled with contrast agent",
        ),
        RenderPreset(
            "heart-vessels",
            (Part((_T.HEART, _T.VESSEL), ((-30, 0), (20, 1))), _LUNG_VESSELS),
            "heart and vessels, with those of the lungs",
            min_ml=4.0,
        ),
        RenderPreset(
            "organs",
            (Part(_ORGANS, ((-60, 0), (0, 1)), softness=0.8),),
            "organs and large vessels, without muscle, bone, fat and skin",
            min_ml=4.0,
        ),
        RenderPreset(
            "lungs-vessels",
            (
                Part((_T.LUNG,), ((-1000, 0.008), (-700, 0.02), (-500, 0.02))),
                _LUNG_VESSELS,
                Part((_T.HEART, _T.VESSEL), ((-30, 0), (20, 1))),
                Part((_T.AIRWAY,), ((-1000, 0.08), (-600, 0.2)), _T.FLUID),
            ),
            "transparent lungs with their vessels and airways, and the heart",
            min_ml=15.0, main=(_T.LUNG,),
        ),
        RenderPreset(
            "brain",
            (Part((_T.BRAIN, _T.SPINAL_CORD, _T.EYE), ((-20, 0), (15, 1))),),
            "brain, spinal cord and eyes, without the skull",
            min_ml=2.0, main=(_T.BRAIN, _T.EYE),
        ),
    )
}  # fmt: skip
"""Presets by name."""


def render_preset(
    name: str | RenderPreset = AUTO,
    *,
    only: str | Iterable[str | Tissue] = (),
    hide: str | Iterable[str | Tissue] = (),
    shares: ArrayLike | None = None,
) -> RenderPreset:
    """Return a preset, or one that shows some tissues only.

    Parameters
    ----------
    name
        Name of a preset, or ``"auto"``; a `RenderPreset` is used unchanged.
    only
        Tissues that alone are shown, instead of those of a preset.
    hide
        Tissues that are not shown.
    shares
        Fraction of each tissue in the body, see `Chroma.tissue_shares`, for ``"auto"``.

    Returns
    -------
    RenderPreset
        For ``"auto"``, ``organs`` if those of the abdomen fill the most of the scan, otherwise
        ``bone-vessels``.

    Raises
    ------
    OptionError
        If a preset or a tissue is unknown, or nothing is left to show.
    """
    if not isinstance(name, RenderPreset):
        if name not in (AUTO, *RENDER_PRESETS):
            choices = ", ".join((AUTO, *RENDER_PRESETS))
            raise OptionError(f"unknown preset '{name}': choose one of {choices}")
        if name == AUTO:
            organs = shares is not None and opening_curve(shares).name == "organs"
            name = "organs" if organs else "bone-vessels"
        name = RENDER_PRESETS[name]
    chosen = tissues_of(only)
    if Tissue.AIR in chosen:
        raise OptionError("air cannot be drawn in 3D; choose other tissues")
    if chosen:
        label = ", ".join(tissue.label for tissue in chosen)
        name = RenderPreset(label, (Part(chosen),), f"only {label}", min_ml=0.1)
    return name.without(hide)


def selected_preset(preset: RenderPreset, tissues: TissueSelection) -> RenderPreset:
    """Return a preset for a selection of tissues, as that of the legend in napari.

    Parameters
    ----------
    preset
        The preset.
    tissues
        If it singles out tissues, they are shown instead of those of the preset. Hidden tissues are
        not shown; of dimmed and greyed ones, the surfaces are seen faintly.

    Returns
    -------
    RenderPreset
        The preset itself if all tissues are selected.

    Raises
    ------
    OptionError
        If nothing is left to show.
    """
    if tissues.is_all:
        return preset
    if tissues.isolates:
        preset = render_preset(preset, only=sorted(set(Tissue) - tissues.rest))
    faint = tissues.dimmed | tissues.greyed
    kept = preset.without(tissues.rest)
    return replace(
        kept,
        faint=tuple(sorted(faint - {Tissue.AIR})),
        hidden=tuple(tissue for tissue in kept.hidden if tissue not in faint),
    )


def visible_share(preset: RenderPreset, weights: ArrayLike) -> np.ndarray:
    """Return the probability that a code is of a tissue of the preset, float32 (codes,)."""
    table = np.asarray(weights, np.float32)
    return np.asarray(table[:, list(preset.tissues)].sum(axis=1), np.float32)
