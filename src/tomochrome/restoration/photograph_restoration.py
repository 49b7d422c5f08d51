"""Restoration of photographs of sections: marked scratches, stains and folds are filled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.runtime import check, report


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
