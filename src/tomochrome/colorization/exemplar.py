"""Transfer of color from a reference photograph to a CT.

After T. Welsh, M. Ashikhmin, K. Mueller, "Transferring color to greyscale images", SIGGRAPH 2002:
a pixel of the CT takes the chroma of the most similar pixels of the photograph. The features are
L*, the local standard deviation of L*, and the depth below the body's outline. Since tissues that
are dark in a CT can be light in a photograph (fat) and vice versa (muscle), a curve first maps HU
to the expected L* in a photograph.
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
from tomochrome.tissue import N_TISSUES, NO_TISSUE

CLOSE: Final = 10.0  #: distance in (a*, b*) below which colors are considered equal
CONTRAST_PIXELS: Final = 5  #: side of the square for the local standard deviation
NEIGHBORS: Final = 12  #: matching pixels of the photograph for each pixel of the CT
SAMPLES: Final = 6000  #: pixels of the photograph in the search tree
MAX_PIXELS: Final = 4_000_000  #: larger photographs are subsampled
FEATURE_SCALE: Final = 10.0  #: sigma of the confidence over the feature distance
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
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise InputError(
                "a reference photograph must be uint8 of shape (y, x, 3), not "
                f"{picture.dtype} of shape {picture.shape}"
            )
        for name, other in (("labels", self.labels), ("mask", self.mask)):
            if other is not None and other.shape != picture.shape[:2]:
                raise InputError(
                    f"the {name} of the reference photograph have the shape {other.shape}, the "
                    f"photograph {picture.shape[:2]}; use images of the same size"
                )
        if self.labels is not None:
            known = np.unique(self.labels)
            wrong = known[(known >= N_TISSUES) & (known != NO_TISSUE)]
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
        """Return a reference from files or arrays; see `tomochrome.io.photograph`.

        Parameters
        ----------
        photograph, labels, mask
            As for the class; nonzero pixels of a mask are used.

        Raises
        ------
        InputError
            If a file cannot be read, or the images do not match.
        """
        from tomochrome.io.photograph import read_label_picture, read_photograph

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
            known = self.labels[self._subsampled]
        elif self.mask is not None:
            known = np.full(self.lab.shape[:2], NO_TISSUE, np.uint8)
        else:
            known = np.where(foreground(self.lab), NO_TISSUE, 0).astype(np.uint8)
        return known if self.mask is None else np.where(self.mask[self._subsampled], known, 0)

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
    tissue = ndimage.binary_opening((b > _GEL_B) & (L > _BLACK_L) & ~white)
    parts, _ = ndimage.label(tissue)
    large = np.bincount(parts.ravel()) >= _MIN_PART * tissue.size
    large[0] = False
    return np.asarray(large[parts])


def body_of(hu: Floats) -> Mask:
    """Return the body mask of an axial slice (y, x) of HU after opening and filling of holes."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_fill_holes(ndimage.binary_opening(hu > -300, iterations=2)))


@dataclass(frozen=True, eq=False)
class PixelMatcher:
    """Nearest-neighbor search of a photograph's pixels by their features.

    Parameters
    ----------
    tree
        ``scipy.spatial.cKDTree`` of the features.
    ab
        float32 (pixels, 2): colors.
    mean, sd
        Mean and standard deviation of L* over the body in the photograph.
    weights
        Weights of the features: L*, its local standard deviation, and the depth relative to the
        radius of a disc of the body's area.
    """

    tree: Any
    ab: Floats
    mean: float
    sd: float
    weights: Floats

    @classmethod
    def of(cls, reference: Reference, weights: Floats, area: float) -> PixelMatcher:
        """Return the matcher of a photograph.

        Parameters
        ----------
        reference
            The photograph.
        weights
            As for the class, float32 (3,).
        area
            Pixels of the body in a slice of the CT; the photograph is resampled to about the
            same size, so that local standard deviations are comparable.
        """
        from scipy import ndimage
        from scipy.spatial import cKDTree

        lab, body = _resized(reference, area / ndimage.binary_fill_holes(reference.body).sum())
        L = lab[..., 0]
        features = _features(L, body, ndimage.binary_fill_holes(body), weights)
        if len(features) > SAMPLES:
            chosen = np.sort(np.random.default_rng(0).permutation(len(features))[:SAMPLES])
        else:
            chosen = np.arange(len(features))
        ab = np.ascontiguousarray(lab[body][chosen, 1:])
        tree = cKDTree(features[chosen])
        return cls(tree, ab, float(L[body].mean()), float(L[body].std()), weights)

    def colors(self, L: Floats, body: Mask, threads: int = 1) -> Floats:
        """Return the colors of a slice and their confidence.

        Parameters
        ----------
        L
            float32 (y, x): expected L* of the slice in this photograph.
        body
            bool (y, x): pixels to color.
        threads
            CPU threads.

        Returns
        -------
        ndarray
            float32 (y, x, 3): a*, b* as the mean of the matching pixels, and the fraction of
            them within `CLOSE` of that mean, reduced for distant matches; 0 elsewhere.
        """
        out = np.zeros((*L.shape, 3), np.float32)
        if not body.any():
            return out
        features = _features(L, body, body, self.weights)
        count = min(NEIGHBORS, len(self.ab))
        distance, at = self.tree.query(features, k=range(1, count + 1), workers=threads)
        matches = self.ab[at]
        ab = matches.mean(axis=1)
        close = np.linalg.norm(matches - ab[:, None], axis=-1) < CLOSE
        similarity = np.exp(-0.5 * (distance[:, 0] / FEATURE_SCALE) ** 2)
        out[body] = np.column_stack([ab, close.mean(axis=1) * similarity])
        return out


def _resized(reference: Reference, areas: float) -> tuple[Floats, Mask]:
    """Return CIELAB and body mask of a photograph with its area scaled by a factor.

    Pixels mixed with the background are excluded, unless too few would remain.
    """
    from PIL import Image

    height, width = reference.body.shape
    factor = min(float(np.sqrt(areas)), 2.0)
    size = max(8, round(width * factor)), max(8, round(height * factor))
    method = Image.Resampling.BOX if factor < 1 else Image.Resampling.BILINEAR
    lab = np.stack([np.asarray(Image.fromarray(channel).resize(size, method))
                    for channel in np.moveaxis(reference.lab, -1, 0)], axis=-1)  # fmt: skip
    body = reference.body.astype(np.float32)
    share = np.asarray(Image.fromarray(body).resize(size, method))
    return lab, share > (0.99 if (share > 0.99).sum() >= _MIN_PIXELS // 4 else 0.5 * share.max())


def _features(L: Floats, body: Mask, filled: Mask, weights: Floats) -> Floats:
    """Return the weighted features of the pixels of a body, float32 (pixels, 3)."""
    from scipy import ndimage

    inside = body.astype(np.float32)
    share = np.maximum(ndimage.uniform_filter(inside, CONTRAST_PIXELS), 1e-6)
    mean, square = (
        ndimage.uniform_filter(power * inside, CONTRAST_PIXELS) / share for power in (L, L * L)
    )
    sd = np.sqrt(np.maximum(square - mean * mean, 0))
    depth = ndimage.distance_transform_edt(np.pad(filled, 1))[1:-1, 1:-1]
    radius = float(np.sqrt(max(1, int(np.count_nonzero(filled))) / np.pi))
    features = np.stack([L[body], sd[body], depth[body] / radius], axis=-1)
    return np.asarray(features * weights, np.float32)


@dataclass(frozen=True, eq=False)
class TissueColors:
    """Mean and standard deviation of the colors of each tissue in a labelled photograph.

    After E. Reinhard et al., "Color transfer between images", IEEE CG&A 2001: in each tissue the
    colors of the CT get the mean and the standard deviation of the photograph's. Since a CT has
    one channel, the sign of the correlation with L* in the photograph is applied to a* and b*.

    Parameters
    ----------
    mean, slope
        float32 (`N_TISSUES`, 2): mean a*, b*, and their signed standard deviations.
    trust
        float32 (`N_TISSUES`,): fraction of the pixels within `CLOSE` of the mean; 0 for tissues
        without a label, which remain grey.
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
                "the labels of the reference photograph contain no tissue; omit them to match "
                "its colors by brightness"
            )
        return cls(mean, slope, trust)
