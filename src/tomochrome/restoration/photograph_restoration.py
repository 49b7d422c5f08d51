"""Defects of photographs of sections, found and filled: scratches, folds, stains, gel."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.color.convert import srgb_to_lab
from tomochrome.errors import InputError
from tomochrome.geometry.morphology import large_parts
from tomochrome.io.section_photograph import body_in_gel, is_gel
from tomochrome.runtime import check, report

_THIN_PX: Final = 5  # scratches are narrower
_MIN_CONTRAST: Final = 12.0  # of L*
_MIN_LENGTH: Final = 0.06  # of the diagonal
_MIN_LENGTH_PX: Final = 60
_MAX_GAP_PX: Final = 3
_MIN_FILLED: Final = 0.9  # of a line by its pixels
_GEL_SHARE: Final = 0.05  # of the image, above which blue is gel
_GEL_EDGE_PX: Final = 3  # of pixels mixed of gel and tissue
_STAIN_A: Final = -25.0  # a* and b* below which no tissue is: green (bile has -14) and blue ink
_STAIN_B: Final = -12.0
_MIN_STAIN_PX: Final = 12


def photograph_defects(
    photograph: NDArray[np.uint8],
) -> dict[str, NDArray[np.bool_]]:
    """Find the defects of a photograph of a section by rules.

    Scratches and folds are thin straight lines that are lighter or darker than both sides; stains
    have a hue that no tissue has; gel is that in the cavities of a body in blue gel.

    Parameters
    ----------
    photograph
        uint8 (y, x) or (y, x, 3).

    Returns
    -------
    dict
        The kinds that occur (``"scratch"``, ``"stain"``, ``"gel"``), each with booleans (y, x) that
        do not overlap.

    Raises
    ------
    Cancelled
        If the user cancelled.
    """
    check()
    report(0, 0, "finding defects")
    rgb = photograph if photograph.ndim == 3 else np.stack([photograph] * 3, axis=-1)
    lab = srgb_to_lab(rgb)
    masks: dict[str, NDArray[np.bool_]] = {}
    gel = is_gel(rgb, lab) if photograph.ndim == 3 else np.zeros(rgb.shape[:2], np.bool_)
    within = np.ones(gel.shape, np.bool_)
    if gel.mean() > _GEL_SHARE:
        within = body_in_gel(gel)
        cavities = ndimage.binary_opening(gel & within)
        masks["gel"] = within & ndimage.binary_dilation(cavities, iterations=_GEL_EDGE_PX)
    elif photograph.ndim == 3:
        stain = (lab[..., 1] < _STAIN_A) | (lab[..., 2] < _STAIN_B)
        masks["stain"] = large_parts(ndimage.binary_opening(stain), _MIN_STAIN_PX)
    check()
    masks["scratch"] = lines(lab[..., 0], within)
    taken = np.zeros(gel.shape, np.bool_)
    for kind, mask in masks.items():
        masks[kind] = mask & ~taken
        taken |= mask
    return {kind: mask for kind, mask in masks.items() if mask.any()}


def lines(lightness: NDArray[np.floating], within: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return thin straight lines that differ from both sides, booleans (y, x).

    Parameters
    ----------
    lightness
        L* (y, x).
    within
        Booleans (y, x): where to look.
    """
    from skimage.draw import line  # for start time
    from skimage.transform import probabilistic_hough_line

    length = max(int(_MIN_LENGTH * np.hypot(*lightness.shape)), _MIN_LENGTH_PX)
    mask = np.zeros(lightness.shape, np.bool_)
    for hat in (ndimage.white_tophat, ndimage.black_tophat):
        check()
        thin = within & (hat(lightness, _THIN_PX) > _MIN_CONTRAST)
        near = np.zeros_like(mask)
        for (x0, y0), (x1, y1) in probabilistic_hough_line(
            thin, threshold=length // 2, line_length=length, line_gap=_MAX_GAP_PX, rng=0,
            theta=np.linspace(-np.pi / 2, np.pi / 2, 720, endpoint=False),
        ):  # fmt: skip
            points = line(y0, x0, y1, x1)
            if thin[points].mean() >= _MIN_FILLED:
                near[points] = True
        mask |= thin & ndimage.binary_dilation(near, iterations=_THIN_PX // 2)
    return ndimage.binary_dilation(mask) if mask.any() else mask


def restore_photograph(photograph: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fill the marked pixels of a photograph by biharmonic inpainting.

    Damelin and Hoang (2018), "On surface completion and image inpainting by biharmonic functions:
    numerical aspects", Int. J. Math. Math. Sci. 2018:3950312, as implemented by scikit-image.

    Parameters
    ----------
    photograph
        uint8 (y, x) or (y, x, 3).
    mask
        Booleans (y, x): the pixels to fill; all others keep their values.

    Returns
    -------
    ndarray
        uint8 of the same shape.

    Raises
    ------
    InputError
        If the mask has another size, is empty, or covers everything.
    Cancelled
        If the user cancelled.
    """
    marked = np.asarray(mask) != 0
    if marked.shape != photograph.shape[:2]:
        raise InputError(
            f"the mask has {' x '.join(map(str, marked.shape[::-1]))} pixels, but the photograph "
            f"has {photograph.shape[1]} x {photograph.shape[0]}; they must have the same size"
        )
    if not marked.any() or marked.all():
        raise InputError(
            f"the mask covers {'everything' if marked.any() else 'nothing'}; mark only what is "
            "damaged"
        )
    from skimage.restoration import inpaint_biharmonic  # for start time

    check()
    report(0, 0, "filling the photograph")
    colors = -1 if photograph.ndim == 3 else None
    filled = inpaint_biharmonic(
        photograph / 255.0, marked, split_into_regions=True, channel_axis=colors
    )
    out = photograph.copy()
    out[marked] = np.rint(255 * np.clip(filled[marked], 0, 1))
    return out
