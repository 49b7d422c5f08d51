"""Coloring of grey photographs of sections, by the networks that were trained on such photographs.

The network predicts (a*, b*) on coarse pixels; a guided filter brings them to the pixels of the
photograph, along its own edges (K. He, J. Sun, "Fast guided filter", 2015). The lightness is that
of the photograph.
"""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.bundles import PHOTOGRAPH, ModelCard, reading_metadata
from tomochrome.color.convert import lab_to_srgb8, srgb_to_lab
from tomochrome.colorization.cards import find_model, models
from tomochrome.colorization.predictor import predictor_class
from tomochrome.colorization.reference_photograph import foreground
from tomochrome.errors import InputError, ModelError
from tomochrome.io.section_photograph import clean_section
from tomochrome.runtime import check

DEFAULT_MODEL: Final = "unet"
_MAX_SIDE: Final = 1024  # pixels that the network sees along the longer side
_RADIUS: Final = 3  # of the guided filter, in coarse pixels
_EPSILON: Final = 4e-4  # of the guided filter: variance of lightness (0 to 1) that is an edge


def photograph_models() -> list[str]:
    """Return the names of the models that color photographs."""
    return [card.name for card in models() if PHOTOGRAPH in card.metadata]


def colorize_photograph(
    image: NDArray[np.uint8],
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    mask: NDArray[np.bool_] | None = None,
    device: str = "auto",
) -> NDArray[np.uint8]:
    """Color a grey photograph of a section of the body.

    Parameters
    ----------
    image
        uint8 (y, x), grey, or (y, x, 3), sRGB, of which only the lightness is colored. Patient
        right on the left, anterior at the top.
    model
        One of `photograph_models`, or the folder of a bundle.
    mask
        bool (y, x), the body; by default that of `clean_photograph`.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.

    Returns
    -------
    ndarray
        uint8 (y, x, 3), sRGB with the lightness of the image; grey outside the mask.

    Raises
    ------
    InputError
        If the image or mask has the wrong shape or type.
    ModelError
        If the model is unknown or was not trained on photographs.
    DeviceError, OptionError
        If the device is unavailable or unknown.
    """
    L = lightness_of(image)
    body = clean_photograph(image)[1] if mask is None else np.asarray(mask, bool)
    if body.shape != L.shape:
        raise InputError(
            f"the mask has {body.shape[1]} x {body.shape[0]} pixels, but the photograph has "
            f"{L.shape[1]} x {L.shape[0]}"
        )
    card = find_model(model).for_photographs()
    size = _body_pixels(card)
    if not body.any():
        return lab_to_srgb8(np.stack([L, np.zeros_like(L), np.zeros_like(L)], axis=-1))
    rows, columns = np.nonzero(body)
    side = max(np.ptp(rows), np.ptp(columns)) + 1
    scale = min(1.0, size / side, _MAX_SIDE / max(L.shape))
    check()
    grey = np.where(body, L / 100, 0).astype(np.float32)
    coarse = _reduced(grey, scale)
    with reading_metadata(card.path):
        predictor: Any = predictor_class(card)(card, device=device)
    ab = _predicted(predictor, coarse)
    check()
    ab = _guided(coarse, ab, grey)
    ab[~body] = 0
    return lab_to_srgb8(np.concatenate([L[..., None], ab], axis=-1))


def lightness_of(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return L* of a grey or color photograph, float32 (y, x).

    Raises
    ------
    InputError
        If it is not uint8 (y, x) or (y, x, 3).
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or not (
        image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    ) or 0 in image.shape:  # fmt: skip
        raise InputError(
            "a photograph must be an array of 8-bit values of shape (y, x) or (y, x, 3), not "
            f"{image.dtype} of shape {image.shape}"
        )
    return np.asarray(srgb_to_lab(_rgb(image))[..., 0])


def _rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)


def clean_photograph(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """White-balance a photograph by the grey scale in it, and find the body.

    Parameters
    ----------
    image
        uint8 (y, x) or (y, x, 3), sRGB.

    Returns
    -------
    rgb
        uint8 (y, x, 3); as it is where there is no grey scale.
    body
        bool (y, x): the tissue in a photograph of a section in blue gel, in others what is neither
        black nor white.
    """
    balanced, body = clean_section(_rgb(np.asarray(image)))
    return balanced, body if body.any() else foreground(srgb_to_lab(balanced))


def _body_pixels(card: ModelCard) -> float:
    """Return the pixels along the longer side of the body that a model was trained with."""
    entry = card.metadata.get(PHOTOGRAPH)
    size = entry.get("body_pixels") if isinstance(entry, dict) else None
    if isinstance(size, int | float) and 16 <= size <= 4096:
        return float(size)
    raise ModelError(
        f"the model '{card.name}' was not trained on photographs; choose one of "
        f"{', '.join(photograph_models()) or 'none, as no such model is installed'}"
    )


def _reduced(image: NDArray[Any], scale: float) -> NDArray[np.float32]:
    """Return an image with fewer pixels, averaged over their area."""
    shape = [max(1, round(n * scale)) for n in image.shape]
    smooth = ndimage.gaussian_filter(image.astype(np.float32), max(0.0, (1 / scale - 1) / 2.4))
    return _resized(smooth, (shape[0], shape[1]))


def _resized(image: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return an image with another number of pixels and the same outer edges (linear)."""
    steps = [old / new for old, new in zip(image.shape, shape, strict=True)]
    offset = [(step - 1) / 2 for step in steps]
    return np.asarray(
        ndimage.affine_transform(image, steps, offset, shape, order=1, mode="nearest"), np.float32
    )


def _predicted(predictor: Any, grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (a*, b*) for the pixels of a grey image, float32 (y, x, 2).

    It is the mean over the four mirrored images: the networks learned photographs in all of them.
    """
    multiple = predictor.multiple
    shape = [max(2 * multiple, -(-n // multiple) * multiple) for n in grey.shape]
    image = np.zeros((1, len(predictor.reads.channels), *shape), np.float32)
    image[..., : grey.shape[0], : grey.shape[1]] = grey
    stride = getattr(predictor, "stride", 1)
    turned = [image[..., ::up, ::across] for up in (1, -1) for across in (1, -1)]
    coarse = predictor.predict(np.concatenate(turned))[..., :2].astype(np.float32)
    coarse = (
        coarse[0] + coarse[1][:, ::-1] + coarse[2][::-1] + coarse[3][::-1, ::-1]
    ) / np.float32(4)
    full = [_resized(coarse[..., c], (shape[0], shape[1])) if stride > 1 else coarse[..., c]
            for c in (0, 1)]  # fmt: skip
    return np.stack(full, axis=-1)[: grey.shape[0], : grey.shape[1]]


def _guided(
    coarse: NDArray[np.float32], values: NDArray[np.float32], grey: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return values (y, x, n) of a coarse image on the pixels of a finer one.

    In each neighborhood they are a linear function of the grey value.
    """

    def mean(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(ndimage.uniform_filter(image, 2 * _RADIUS + 1, mode="nearest"))

    grey_mean = mean(coarse)
    variance = mean(coarse * coarse) - grey_mean**2
    out = np.empty((*grey.shape, values.shape[-1]), np.float32)
    for c in range(values.shape[-1]):
        value_mean = mean(values[..., c])
        slope = (mean(coarse * values[..., c]) - grey_mean * value_mean) / (variance + _EPSILON)
        level = value_mean - slope * grey_mean
        out[..., c] = _resized(mean(slope), grey.shape) * grey + _resized(mean(level), grey.shape)
    return out
