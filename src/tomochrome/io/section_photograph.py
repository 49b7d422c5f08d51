"""Photographs of frozen sections in blue gel: white balance, and the tissue in them.

The gel and the Kodak grey scale are those of the Visible Human Project (National Library of
Medicine).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.color.convert import srgb_to_lab
from tomochrome.color.space import linear_of_srgb, srgb_of_linear
from tomochrome.geometry.morphology import large_parts

_GEL_B: Final = -6.0  # b* below which a pixel is blue gel
_GEL_BLUE: Final = 1.05  # blue to red above which even a dark pixel is; in tissue it is below 1
_MIN_PART: Final = 0.004  # minimum share of the image for a component of body or gel
_FRAME_L: Final = 20.0  # L* that the frame does not reach; every part of the body has fat
_DARK_LEVELS: Final = 1.0  # of 8 bits: black pixels have no color
_MASK_PIXELS: Final = 1024  # columns at which masks and white balance are computed


def clean_section(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """White-balance a section by the Kodak grey scale, and segment the tissue in the gel.

    Parameters
    ----------
    rgb
        uint8 (y, x, 3), the original photograph.

    Returns
    -------
    rgb
        uint8 (y, x, 3); unchanged if no grey scale is found.
    tissue
        bool (y, x): the body without gel in cavities.
    """
    step = max(1, rgb.shape[1] // _MASK_PIXELS)
    small = srgb_to_lab(rgb[::step, ::step])
    gel = is_gel(rgb[::step, ::step], small)
    body = _bright_parts(body_in_gel(gel), small[..., 0])
    gains = grey_scale_gains(rgb[::step, ::step], small, gel | body)
    tissue = (body & ~gel).repeat(step, 0).repeat(step, 1)[: rgb.shape[0], : rgb.shape[1]]
    if gains is None:
        return rgb, tissue
    levels = linear_of_srgb(np.arange(256) / 255)
    tables = [np.rint(255 * srgb_of_linear(np.clip(levels * gain, 0, 1))) for gain in gains]
    balanced = [table.astype(np.uint8)[rgb[..., c]] for c, table in enumerate(tables)]
    return np.stack(balanced, axis=-1), tissue


def is_gel(rgb: NDArray[np.uint8], lab: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the blue gel in a section, bool (y, x), dark gel included.

    Parameters
    ----------
    rgb, lab
        The section, (y, x, 3).
    """
    smooth = ndimage.uniform_filter(rgb.astype(np.float32), (3, 3, 0))
    return np.asarray(
        (lab[..., 2] < _GEL_B) | (smooth[..., 2] > _GEL_BLUE * smooth[..., 0] + _DARK_LEVELS)
    )


def body_in_gel(gel: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the body inside the frozen block, with enclosed gel filled.

    The block is the region between gel above and below, because arms may touch its sides and the
    grey scale is below it.

    Parameters
    ----------
    gel
        bool (y, x).

    Returns
    -------
    ndarray
        bool (y, x).
    """
    least = _MIN_PART * gel.size
    block = large_parts(ndimage.binary_opening(gel), least)
    inside = ~block
    inside &= np.logical_or.accumulate(block, 0)
    inside &= np.logical_or.accumulate(block[::-1], 0)[::-1]
    body = large_parts(ndimage.binary_opening(inside), least)
    frame = np.zeros_like(body)
    frame[:, [0, -1]] = True  # of the machine, at the sides of the photograph
    return np.asarray(
        ndimage.binary_fill_holes(body & ~ndimage.binary_propagation(frame, mask=body))
    )


def _bright_parts(mask: NDArray[np.bool_], L: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the connected components of a mask that are not as black as the machine's frame."""
    labels, count = ndimage.label(mask)
    bright = [
        label for label in range(1, count + 1) if np.percentile(L[labels == label], 90) > _FRAME_L
    ]
    return np.isin(labels, bright)


def grey_scale_gains(
    rgb: NDArray[np.uint8], lab: NDArray[np.float32], block: NDArray[np.bool_]
) -> tuple[float, float, float] | None:
    """Return the white-balance gains of linear red, green and blue, or None without a grey scale.

    The grey scale is the largest nearly colorless component outside the frozen block with a range
    of L* above 40: bright ice and the label's edges are smaller. The gain of green is 1.

    Parameters
    ----------
    rgb, lab
        The section, (y, x, 3).
    block
        bool (y, x): gel and body.
    """
    plain = (np.hypot(lab[..., 1], lab[..., 2]) < 14) & ~block & (lab[..., 0] > 12)
    labels, _ = ndimage.label(ndimage.binary_closing(plain, iterations=2))
    best, largest = 0, 0.0008 * block.size
    for label, place in enumerate(ndimage.find_objects(labels), 1):
        L = lab[place][..., 0][labels[place] == label]
        if L.size >= largest and np.subtract(*np.percentile(L, (95, 5))) > 40:
            best, largest = label, L.size
    if not best:
        return None
    patch = rgb[(labels == best) & plain].astype(np.float64)
    used = patch[(patch.max(axis=1) < 245) & (patch.min(axis=1) > 20)] / 255
    if len(used) < 50:
        return None
    red, green, blue = linear_of_srgb(used).T
    return float(np.median(green / red)), 1.0, float(np.median(green / blue))
