"""Color error of a coloring, overall and by tissue.

Errors are Euclidean distances in (a*, b*) of CIELAB; luminance, which is that of the scan, is not
compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.chroma import COLORED, Chroma
from tomochrome.color.convert import srgb_to_lab
from tomochrome.color.palettes import Palette, palette
from tomochrome.errors import GeometryError
from tomochrome.tissue import N_TISSUES, NO_TISSUE, TISSUE_NAMES, Tissue
from tomochrome.windowing import PRESETS, luminance


@dataclass(frozen=True)
class OrganScore:
    """Scores of one tissue.

    Attributes
    ----------
    voxels
        Number of voxels.
    error, grey_error
        Mean distance in (a*, b*) of the coloring, and of a grey image.
    right
        Share of voxels whose most probable tissue is the true one.
    mistaken_for, mistaken_share
        The tissue it is most often confused with, and the share of those voxels. Like ``right``
        None if the model predicts no tissues.
    """

    voxels: int
    error: float
    grey_error: float
    right: float | None
    mistaken_for: str | None
    mistaken_share: float | None


@dataclass(frozen=True)
class ColorScore:
    """Chroma error of one coloring against a map of true tissues.

    Attributes
    ----------
    model
        Name of the model.
    voxel_error, organ_error
        Mean error over voxels, and mean over tissues of each tissue's mean error.
    grey_voxel_error, grey_organ_error
        The same for a grey image.
    right
        Share of voxels whose most probable tissue is the true one; None if the model predicts no
        tissues.
    organs
        Scores of each tissue, by name.
    """

    model: str
    voxel_error: float
    organ_error: float
    grey_voxel_error: float
    grey_organ_error: float
    right: float | None
    organs: Mapping[str, OrganScore] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, errors rounded to two decimals."""
        organs = {name: _rounded(asdict(organ)) for name, organ in self.organs.items()}
        return _rounded({**vars(self), "organs": organs})


def _rounded(score: Mapping[str, Any]) -> dict[str, Any]:
    """Return a score with errors rounded to two decimals and shares to three."""
    return {
        name: round(value, 2 if name.endswith("error") else 3)
        if isinstance(value, float)
        else value
        for name, value in score.items()
    }


def score_color(
    chroma: Chroma,
    truth: NDArray[np.uint8],
    palette_name: str | Palette = "natural",
    *,
    least: int = 50,
) -> ColorScore:
    """Score a coloring against a map of true tissues, under one palette.

    Parameters
    ----------
    chroma
        The coloring.
    truth
        uint8 (z, y, x) of `Tissue`; `NO_TISSUE` and air are ignored.
    palette_name
        Palette, or its name.
    least
        Tissues with fewer voxels are excluded from the mean over tissues.

    Returns
    -------
    ColorScore
        Scores over all voxels and by tissue.

    Raises
    ------
    GeometryError
        If the truth is not on the coloring's grid, or contains no tissue.
    """
    if truth.shape != chroma.shape:
        raise GeometryError(
            f"the true tissues {truth.shape} are not on the grid of the coloring {chroma.shape}"
        )
    chroma, colors = chroma.without_shades(), palette(palette_name).ab.astype(np.float64)
    table = chroma.ab_of_code(palette_name).astype(np.float64)
    # joint histogram of (true tissue, code), which determines the error
    joint = np.zeros((N_TISSUES, len(table)), np.int64)
    for names, codes in zip(truth, chroma.code, strict=True):
        judged = (names != NO_TISSUE) & (names != Tissue.AIR) & (names < N_TISSUES)
        flat = names[judged].astype(np.int64) * len(table) + codes[judged]
        joint += np.bincount(flat, minlength=joint.size).reshape(joint.shape)
    sizes = joint.sum(axis=1)
    if not sizes.any():
        raise GeometryError("the map of true tissues contains no tissue inside the body")
    organs: dict[str, OrganScore] = {}
    total = right_ones = 0.0
    for tissue in np.flatnonzero(sizes):
        distance = np.linalg.norm(table - colors[tissue], axis=1)
        error = float((joint[tissue] * distance).sum())
        total += error
        named: dict[str, Any] = {"right": None, "mistaken_for": None, "mistaken_share": None}
        if chroma.has_tissues:
            guesses = np.bincount(chroma.tissue_of_code, weights=joint[tissue], minlength=256)
            right = float(guesses[tissue])
            right_ones += right
            guesses[tissue] = -1
            other = int(guesses.argmax())
            named = {
                "right": right / sizes[tissue],
                "mistaken_for": TISSUE_NAMES[other] if other < N_TISSUES else "none",
                "mistaken_share": float(max(guesses[other], 0)) / sizes[tissue],
            }
        organs[TISSUE_NAMES[tissue]] = OrganScore(
            voxels=int(sizes[tissue]),
            error=error / sizes[tissue],
            grey_error=float(np.linalg.norm(colors[tissue])),
            **named,
        )
    counted = [organ for organ in organs.values() if organ.voxels >= least] or list(organs.values())
    everything = int(sizes.sum())
    return ColorScore(
        model=chroma.model,
        voxel_error=total / everything,
        organ_error=float(np.mean([organ.error for organ in counted])),
        grey_voxel_error=sum(o.voxels * o.grey_error for o in organs.values()) / everything,
        grey_organ_error=float(np.mean([organ.grey_error for organ in counted])),
        right=right_ones / everything if chroma.has_tissues else None,
        organs=organs,
    )


def colored_outside(
    chroma: Chroma, body: NDArray[np.bool_], palette_name: str | Palette = "natural"
) -> float:
    """Return the share of colored voxels that are outside the body.

    Parameters
    ----------
    chroma
        The coloring.
    body
        bool (z, y, x): mask of the body.
    palette_name
        Palette, or its name; voxels with a chroma of at least `COLORED` count as colored.

    Returns
    -------
    float
        0 to 1.

    Raises
    ------
    GeometryError
        If the mask is not on the grid of the coloring.
    """
    body = np.asarray(body, dtype=bool)
    if body.shape != chroma.shape:
        raise GeometryError(
            f"the mask of the body {body.shape} is not on the grid of the coloring {chroma.shape}"
        )
    colored = np.linalg.norm(chroma.ab_of_code(palette_name), axis=1) >= COLORED
    inside = outside = 0
    for codes, mask in zip(chroma.code, body, strict=True):
        inside += int((colored[codes] & mask).sum())
        outside += int((colored[codes] & ~mask).sum())
    return outside / max(inside + outside, 1)


@dataclass(frozen=True)
class Flicker:
    """Change between adjacent slices inside the body.

    Attributes
    ----------
    chroma
        Mean distance in (a*, b*) between a voxel and the one above it.
    luminance
        Mean change of the CT's L* in the soft-tissue window.
    chroma_where_still
        As ``chroma``, only where the CT's L* changes by less than 1.
    """

    chroma: float
    luminance: float
    chroma_where_still: float


def flicker(chroma: Chroma, hu: NDArray[Any], palette_name: str | Palette = "natural") -> Flicker:
    """Return how much colors, and the CT itself, change between adjacent slices.

    Parameters
    ----------
    chroma
        The coloring.
    hu
        (z, y, x) in HU, on the coloring's grid.
    palette_name
        Palette, or its name.

    Returns
    -------
    Flicker
        Mean changes between adjacent slices.

    Raises
    ------
    GeometryError
        If the HU are not on the coloring's grid or there is only one slice.
    """
    if hu.shape != chroma.shape or len(hu) < 2:
        raise GeometryError("flicker needs HU on the coloring's grid and at least two slices")
    table = chroma.ab_of_code(palette_name)
    window = PRESETS["soft-tissue"]
    sums = np.zeros(5)
    ab, light = table[chroma.code[0]], luminance(hu[0], window)
    body = chroma.code[0] > 0
    for k in range(1, len(hu)):
        next_ab, next_light = table[chroma.code[k]], luminance(hu[k], window)
        next_body = chroma.code[k] > 0
        both = body & next_body
        moved = np.linalg.norm(next_ab - ab, axis=-1)[both]
        change = np.abs(next_light - light)[both]
        still = change < 1.0
        sums += [moved.sum(), change.sum(), both.sum(), moved[still].sum(), still.sum()]
        ab, light, body = next_ab, next_light, next_body
    count = max(sums[2], 1.0)
    return Flicker(
        float(sums[0] / count), float(sums[1] / count), float(sums[3] / max(sums[4], 1.0))
    )


def photograph_error(
    ab: NDArray[np.floating[Any]], photograph: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the mean distance in (a*, b*) to a photograph, of a coloring and of a grey image.

    Parameters
    ----------
    ab
        (y, x, 2) of the coloring.
    photograph
        uint8 (y, x, 3), sRGB, aligned with the coloring.
    mask
        bool (y, x): pixels to compare.

    Returns
    -------
    error
        Mean distance of the coloring.
    grey
        Mean distance of a grey image.

    Raises
    ------
    GeometryError
        If the shapes differ or the mask is empty.
    """
    if ab.shape[:2] != photograph.shape[:2] or mask.shape != ab.shape[:2] or not mask.any():
        raise GeometryError(
            "coloring, photograph and mask must have the same shape, and the mask must not be empty"
        )
    true = srgb_to_lab(photograph)[..., 1:][mask]
    error = np.linalg.norm(ab[mask] - true, axis=-1).mean()
    return float(error), float(np.linalg.norm(true, axis=-1).mean())
