"""Opacity curves: conversion of Hounsfield units and tissue to alpha."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import OptionError
from tomochrome.tissue import Tissue


@dataclass(frozen=True)
class AlphaCurve:
    """Opacity as a function of HU, for slices and for 3D rendering.

    Parameters
    ----------
    name
        Name of the curve.
    points
        (HU, opacity 0..1), ascending in HU, with linear interpolation and constant extrapolation.
    hide_air
        Whether voxels whose tissue is air (outside the body, bowel gas) are transparent. If not,
        what is denser than air around the body, such as the couch, is shown in 3D as well.
    shaded
        Whether surfaces are shaded in 3D (see `tomochrome.color.shading`). Slices are never
        shaded, since their L* is the windowed Hounsfield value.
    of
        In 3D the curve applies to these tissues only; empty for all.
    others
        Maximum opacity of other tissues in 3D.
    about
        Short description for the user.

    Raises
    ------
    OptionError
        If there are no points, they are not ascending, or an opacity is outside 0..1.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    hide_air: bool = True
    shaded: bool = True
    of: tuple[Tissue, ...] = ()
    others: float = 1.0
    about: str = ""

    def __post_init__(self) -> None:
        try:
            points = np.asarray(self.points, dtype=np.float64)
        except (TypeError, ValueError):
            points = np.empty(0)
        if (
            points.ndim != 2
            or len(points) == 0
            or points.shape[1:] != (2,)
            or not np.isfinite(points).all()
        ):
            raise OptionError(f"the opacity curve '{self.name}' needs points (HU, opacity)")
        if (np.diff(points[:, 0]) <= 0).any():
            raise OptionError(
                f"the points of the opacity curve '{self.name}' must be in ascending order of HU"
            )
        if points[:, 1].min() < 0 or points[:, 1].max() > 1:
            raise OptionError(f"the opacity curve '{self.name}' must be between 0 and 1")
        # Tuples are hashable, which the caches of `relight` require.
        object.__setattr__(self, "points", tuple((hu, alpha) for hu, alpha in points.tolist()))

    @property
    def constant(self) -> int | None:
        """The alpha (0 to 255) of a curve that is the same for all HU, otherwise None."""
        levels = {opacity for _, opacity in self.points}
        return round(255 * levels.pop()) if len(levels) == 1 else None

    @property
    def for_slices(self) -> bool:
        """Whether the curve is for slices, with the same opacity for all HU."""
        return self.constant is not None

    def __call__(self, hu: ArrayLike) -> NDArray[np.uint8]:
        """Return alpha, 0 to 255, of Hounsfield units, regardless of tissue."""
        hus, opacity = np.asarray(self.points, dtype=np.float64).T
        values = np.interp(np.asarray(hu, dtype=np.float64), hus, opacity)
        return np.asarray(np.rint(255.0 * values), dtype=np.uint8)


_BONE = (Tissue.CORTICAL_BONE, Tissue.MARROW)
_ORGANS = (
    *(Tissue.LIVER, Tissue.SPLEEN, Tissue.KIDNEY, Tissue.PANCREAS, Tissue.ADRENAL),
    *(Tissue.GALLBLADDER, Tissue.STOMACH, Tissue.BOWEL, Tissue.BLADDER, Tissue.REPRODUCTIVE),
    *(Tissue.HEART, Tissue.VESSEL, Tissue.BRAIN, Tissue.EYE),
)

ALPHA_PRESETS: dict[str, AlphaCurve] = {
    curve.name: curve
    for curve in (
        # Slices: the body over black, or everything.
        AlphaCurve("body", ((0, 1),), about="the whole body, without the air around it"),
        AlphaCurve(
            "opaque", ((0, 1),), hide_air=False,
            about="every voxel including air; in 3D the body and what lies around it",
        ),
        # 3D. Cancellous bone begins near 150 HU, cortical bone is above 300.
        # HU alone would also show vessels and heart with contrast agent.
        AlphaCurve(
            "bone", ((150, 0), (350, 0.6), (800, 1)), of=_BONE, others=0.0, about="the skeleton",
        ),
        # Contrast-filled vessels and bone are brighter than any soft tissue (60 to 90 HU).
        AlphaCurve(
            "vessels", ((110, 0), (180, 0.5), (300, 0.9)),
            of=(*_BONE, Tissue.VESSEL, Tissue.HEART), others=0.0,
            about="bones, and heart and vessels filled with contrast agent",
        ),
        # Organs without the fat in and around them.
        AlphaCurve(
            "organs", ((-60, 0), (0, 0.9)), of=_ORGANS, others=0.0,
            about="organs and large vessels, without muscle, bone, fat and skin",
        ),
        # Muscle and organs, without fat (-100) and lung.
        AlphaCurve(
            "muscle", ((-10, 0), (40, 0.5), (200, 0.9)), about="muscle and organs, without fat",
        ),
        # Everything denser than fat is opaque, so that only the skin is visible.
        AlphaCurve("skin", ((-350, 0), (-150, 0.9), (0, 1)), about="the surface of the body"),
        # Lung: vessels and airway walls between -900 and -300 HU, with faint soft tissue. The
        # restriction to tissues excludes the edge of the skin, which has the same HU.
        AlphaCurve(
            "lung", ((-950, 0), (-850, 0.08), (-500, 0.35), (-300, 0.02), (3000, 0.02)),
            of=(Tissue.LUNG, Tissue.AIRWAY), others=0.003,
            about="lung, with the rest of the body almost transparent",
        ),
        # Everything, with opacity increasing with density.
        AlphaCurve(
            "glass", ((-200, 0), (0, 0.04), (100, 0.15), (300, 0.6), (1000, 1)),
            about="the whole body, opacity increasing with density",
        ),
    )
}  # fmt: skip
"""Opacity curves by name. ``body`` and ``opaque`` are for slices, the others for 3D."""


_HEAD = (Tissue.BRAIN, Tissue.EYE)
_CHEST = (Tissue.LUNG, Tissue.HEART, Tissue.AIRWAY)
_ABDOMEN = (Tissue.LIVER, Tissue.SPLEEN, Tissue.KIDNEY, Tissue.STOMACH, Tissue.BOWEL)


def opening_curve(shares: ArrayLike) -> AlphaCurve:
    """Return the curve for the first 3D image of a scan, by the region of the body.

    Parameters
    ----------
    shares
        Fraction of each tissue in the body, shape (`N_TISSUES`,), see `Chroma.tissue_shares`.

    Returns
    -------
    AlphaCurve
        ``organs`` if those of the abdomen fill more than those of chest or head, otherwise
        ``vessels``: bones, and vessels if they are filled with contrast agent.
    """
    share = np.asarray(shares, dtype=np.float64)
    head, chest, abdomen = (share[list(part)].sum() for part in (_HEAD, _CHEST, _ABDOMEN))
    return ALPHA_PRESETS["organs" if abdomen > max(head, chest) else "vessels"]


def alpha_curve(name: str | AlphaCurve = "body") -> AlphaCurve:
    """Return the opacity curve with a name; an `AlphaCurve` is returned unchanged.

    Raises
    ------
    OptionError
        If the name is unknown.
    """
    if isinstance(name, AlphaCurve):
        return name
    if name not in ALPHA_PRESETS:
        raise OptionError(f"unknown opacity '{name}': choose one of {', '.join(ALPHA_PRESETS)}")
    return ALPHA_PRESETS[name]
