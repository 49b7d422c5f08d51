"""Transfer of color from a reference photograph to a CT.

The tissue network recognizes the tissues of the CT, and each takes its color from the pixels of
the photograph that show it. Those are known from the user's labels, or are found by their color. A
photograph is not a CT: the network is never applied to it.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError, OptionError
from tomochrome.geometry.morphology import large_parts
from tomochrome.io.picture_files import read_label_picture, read_photograph
from tomochrome.tissue import N_TISSUES, NO_TISSUE

CLOSE: Final = 10.0  #: distance in (a*, b*) below which colors are considered equal
SAMPLES: Final = 20_000  #: pixels of the photograph in which tissues are sought by color
MAX_PIXELS: Final = 4_000_000  #: larger photographs are subsampled
COLOR_SD: Final = 8.0
"""Expected standard deviation of a tissue's color. Of 8, 10 and 12, 8 has the lowest mean error
over the test sets of the model card, on which it was chosen; on heads they are equally good."""
PRIOR_SHARE: Final = 0.02  #: weight of a tissue's expected color, as a share of the photograph
LIGHTNESS_WEIGHT: Final = 0.5  #: L* depends on the light of the photograph more than a* and b* do
FIT_SD: Final = 15.0  #: sigma of the confidence over the distance from the expected color
_ITERATIONS: Final = 10
_MIN_SUPPORT: Final = 0.001  # of the photograph; it does not show a tissue with fewer pixels
_GEL_B: Final = -6.0  # b* below which a pixel is blue gel
_BLACK_L: Final = 8.0
_WHITE_L: Final = 94.0  # with a chroma below `_WHITE_C`: paper, or a bright board
_WHITE_C: Final = 6.0
_MIN_PART: Final = 0.004  # fraction of the image; smaller parts are grey scales, letters, dirt
_MIN_PIXELS: Final = 200

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8] | str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Reference:
    """A photograph whose colors are transferred to a CT.

    Parameters
    ----------
    photograph
        uint8 (y, x, 3), sRGB: a section or an anatomical photograph.
    labels
        uint8 (y, x): the tissue of each pixel (`Tissue`), 0 background, 255 unknown. With labels,
        colors are transferred tissue by tissue.
    mask
        bool (y, x): pixels to use. By default those with a nonzero label, or without labels all
        that are neither blue gel, nor black, nor white paper.

    Raises
    ------
    InputError
        If the images differ in size, labels are not tissues, or too few pixels are usable.
    """

    photograph: NDArray[np.uint8]
    labels: NDArray[np.uint8] | None = None
    mask: Mask | None = None

    def __post_init__(self) -> None:
        picture = self.photograph
        is_rgb = picture.ndim == 3 and picture.shape[2] == 3 and picture.size > 0
        if picture.dtype != np.uint8 or not is_rgb:
            raise InputError(
                "a reference photograph must be uint8 of shape (y, x, 3), not "
                f"{picture.dtype} of shape {picture.shape}"
            )
        for name, other in (("labels", self.labels), ("mask", self.mask)):
            if other is not None and other.shape != picture.shape[:2]:
                raise InputError(
                    f"the shape of the {name} of the reference photograph is {other.shape}, that "
                    f"of the photograph {picture.shape[:2]}; use images of the same size"
                )
        if self.labels is not None:
            tissues = np.unique(self.labels)
            wrong = tissues[(tissues >= N_TISSUES) & (tissues != NO_TISSUE)]
            if wrong.size:
                raise InputError(
                    f"the labels of the reference photograph contain {wrong[0]}, which is not a "
                    "tissue (see 'tomochrome palette'; 0 is background, 255 unknown)"
                )
        if np.count_nonzero(self.body) < _MIN_PIXELS:
            raise InputError(
                "the reference photograph shows hardly any tissue: fewer than "
                f"{_MIN_PIXELS} pixels are neither masked, nor blue gel, nor black or white"
            )

    @classmethod
    def read(
        cls, photograph: Picture, labels: Picture | None = None, mask: Picture | None = None
    ) -> Reference:
        """Return a reference from files or arrays; see `tomochrome.io.picture_files`.

        Parameters
        ----------
        photograph, labels, mask
            As for the class; nonzero pixels of a mask are used.

        Raises
        ------
        InputError
            If a file cannot be read, or the images do not match.
        """

        def load(value: Picture | None, read: Any) -> Any:
            return value if value is None or isinstance(value, np.ndarray) else read(value)

        pixels = load(mask, read_label_picture)
        pixels = None if pixels is None else np.asarray(pixels) != 0
        return cls(load(photograph, read_photograph), load(labels, read_label_picture), pixels)

    @cached_property
    def lab(self) -> Floats:
        """CIELAB of the photograph, subsampled if it is large, float32 (y, x, 3)."""
        from tomochrome.color.convert import srgb_to_lab

        return srgb_to_lab(self.photograph[self._subsampled])

    @cached_property
    def tissues(self) -> NDArray[np.uint8]:
        """The labels (255 without labels), 0 outside the mask or foreground."""
        if self.labels is not None:
            tissues = self.labels[self._subsampled]
        elif self.mask is not None:
            tissues = np.full(self.lab.shape[:2], NO_TISSUE, np.uint8)
        else:
            tissues = np.where(foreground(self.lab), NO_TISSUE, 0).astype(np.uint8)
        return tissues if self.mask is None else np.where(self.mask[self._subsampled], tissues, 0)

    @property
    def body(self) -> Mask:
        """Mask of the body, bool (y, x)."""
        return self.tissues != 0

    @property
    def _subsampled(self) -> tuple[slice, slice]:
        step = math.ceil(math.sqrt(self.photograph[..., 0].size / MAX_PIXELS))
        return slice(step // 2, None, step), slice(step // 2, None, step)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the pixels of the photograph."""
        return hashlib.sha256(np.ascontiguousarray(self.photograph).tobytes()).hexdigest()


def as_reference(value: Reference | Picture) -> Reference:
    """Return ``value`` as a reference; an array or a path is its photograph."""
    return value if isinstance(value, Reference) else Reference.read(value)


def foreground(lab: Floats) -> Mask:
    """Return the mask of tissue in a photograph: neither blue gel, nor black, nor white paper.

    Parameters
    ----------
    lab
        CIELAB, float32 (y, x, 3).

    Returns
    -------
    ndarray
        bool (y, x), without components smaller than 0.4 % of the image.
    """
    from scipy import ndimage

    L, a, b = np.moveaxis(lab, -1, 0)
    white = (L > _WHITE_L) & (np.hypot(a, b) < _WHITE_C)
    tissue = np.pad((b > _GEL_B) & (L > _BLACK_L) & ~white, 1, mode="edge")
    tissue = ndimage.binary_opening(tissue)[1:-1, 1:-1]  # corners of the image stay
    return large_parts(tissue, _MIN_PART * tissue.size)


@dataclass(frozen=True, eq=False)
class TissueColors:
    """Mean and standard deviation of the colors of each tissue in a photograph.

    After E. Reinhard et al., "Color transfer between images", IEEE CG&A 2001: in each tissue the
    colors of the CT get the mean and the standard deviation of the photograph's. Since a CT has
    one channel, the sign of the correlation with L* in the photograph is applied to a* and b*.
    Where the user gave no labels, each tissue has one color.

    Parameters
    ----------
    mean, slope
        float32 (`N_TISSUES`, 2): mean a*, b*, and their signed standard deviations.
    trust
        float32 (`N_TISSUES`,): fraction of the pixels within `CLOSE` of the mean; 0 for tissues
        that the photograph does not show. Those without a label remain grey; those sought by their
        color have the most similar one in the photograph.
    """

    mean: Floats
    slope: Floats
    trust: Floats

    @classmethod
    def of(cls, reference: Reference) -> TissueColors:
        """Measure the tissues of a labelled photograph.

        Raises
        ------
        OptionError
            If no pixel is labelled with a tissue.
        """
        mean, slope = np.zeros((2, N_TISSUES, 2), np.float32)
        trust = np.zeros(N_TISSUES, np.float32)
        for tissue in range(1, N_TISSUES):
            lab = reference.lab[reference.tissues == tissue].astype(np.float64)
            if len(lab) == 0:
                continue
            center = lab.mean(axis=0)
            deviation = lab - center
            sign = np.where(deviation[:, 0] @ deviation[:, 1:] < 0, -1.0, 1.0)
            mean[tissue], slope[tissue] = center[1:], sign * lab[:, 1:].std(axis=0)
            trust[tissue] = (np.linalg.norm(deviation[:, 1:], axis=1) < CLOSE).mean()
        if not trust.any():
            raise OptionError(
                "the labels of the reference photograph contain no tissue; omit them to find "
                "its tissues by their color"
            )
        return cls(mean, slope, trust)

    @classmethod
    def estimated(cls, reference: Reference, expected: Floats, share: Floats) -> TissueColors:
        """Find the tissues of a CT in a photograph without labels, by their color.

        The colors of the photograph are a mixture of normal distributions, one for each tissue,
        with the shares of the tissues in the CT. Means and variances are estimated by the EM
        algorithm (Dempster et al. 1977), starting from the expected colors, which also have the
        weight `PRIOR_SHARE`. A tissue's color is the mean of the photograph's pixels, weighted
        by their probability of this tissue.

        Parameters
        ----------
        reference
            The photograph.
        expected
            float32 (`N_TISSUES`, 3): expected color of each tissue, CIELAB.
        share
            float32 (`N_TISSUES`,): share of each tissue in the CT, 0 for those not to be sought.

        Returns
        -------
        TissueColors
            ``trust`` is the fraction of a tissue's pixels that are within `CLOSE` of its mean,
            times how sure they are of this tissue and not another, times how similar the mean is
            to the expected color.
        """
        from scipy import ndimage

        mean, slope = np.zeros((2, N_TISSUES, 2), np.float32)
        trust = np.zeros(N_TISSUES, np.float32)
        sought = np.flatnonzero(share > 0)
        if len(sought) == 0:
            return cls(mean, slope, trust)
        inner = ndimage.binary_erosion(reference.body)  # pixels at the edge are mixed with gel
        lab = reference.lab[inner if np.count_nonzero(inner) >= _MIN_PIXELS else reference.body]
        if len(lab) > SAMPLES:
            lab = lab[np.sort(np.random.default_rng(0).permutation(len(lab))[:SAMPLES])]
        scale = np.array([LIGHTNESS_WEIGHT, 1, 1])
        start = expected[sought] * scale
        tissue = _mixture(lab * scale, start, share[sought])
        count = tissue.sum(axis=0)
        average = (tissue.T @ lab) / np.maximum(count, 1e-9)[:, None]
        ab = average[:, 1:]
        close = np.linalg.norm(lab[:, None, 1:] - ab, axis=-1) < CLOSE
        agreed, sure = ((tissue * part).sum(axis=0) / np.maximum(count, 1e-9)
                        for part in (close, tissue))  # fmt: skip
        similar = np.exp(-0.5 * ((average * scale - start) ** 2).sum(axis=1) / FIT_SD**2)
        mean[sought] = ab
        trust[sought] = np.where(count < _MIN_SUPPORT * len(lab), 0, agreed * sure * similar)
        return cls(mean, slope, trust)


def _mixture(
    colors: NDArray[np.float64], start: NDArray[np.float64], share: Floats
) -> NDArray[np.float64]:
    """Return the probability of each tissue for each pixel, (pixels, tissues)."""
    prior = PRIOR_SHARE * len(colors)
    center, variance = start, np.full(len(start), COLOR_SD**2)
    for _ in range(_ITERATIONS):
        square = ((colors[:, None] - center) ** 2).sum(axis=-1)
        log = np.log(share / variance**1.5) - 0.5 * square / variance
        tissue = np.exp(log - log.max(axis=1, keepdims=True))
        tissue /= tissue.sum(axis=1, keepdims=True)
        count = tissue.sum(axis=0)
        center = (tissue.T @ colors + prior * start) / (count + prior)[:, None]
        square = ((colors[:, None] - center) ** 2).sum(axis=-1)
        spread = (tissue * square).sum(axis=0) / 3
        variance = (spread + prior * COLOR_SD**2) / (count + prior)
    return tissue
