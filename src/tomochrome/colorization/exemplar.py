"""Colors of a reference photograph, matched to a CT by brightness, local contrast and depth.

After T. Welsh, M. Ashikhmin, K. Mueller, "Transferring color to greyscale images", SIGGRAPH 2002:
the pixels of the photograph that resemble a pixel of the CT give it their chroma. What resembles
what is told by three numbers: L*, the standard deviation of L* around the pixel, and how deep
below the outline it lies. A CT is dark where a photograph is light (fat) and the other way round
(muscle), so a curve says first how light each HU would be in a photograph.
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

CLOSE: Final = 10.0  #: distance in (a*, b*) below which colors count as the same
AROUND: Final = 5  #: pixels of the square whose local contrast counts
NEIGHBORS: Final = 12  #: matching pixels of the photograph for each pixel of the CT
SAMPLES: Final = 6000  #: pixels of the photograph that are searched
MOST_PIXELS: Final = 4_000_000  #: of a photograph that are looked at
FARTHEST: Final = 10.0  #: distance between features at which a match is hardly believed any more
_GEL_B: Final = -6.0  # b* below which a pixel is blue gel
_BLACK_L: Final = 8.0
_WHITE_L: Final = 94.0  # with a chroma below `_WHITE_C`: paper, or a bright board
_WHITE_C: Final = 6.0
_LEAST_PART: Final = 0.004  # share of the picture; smaller parts are grey scales, letters, dirt
_LEAST_PIXELS: Final = 200

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8] | str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Reference:
    """A photograph whose colors are carried over to a CT.

    Parameters
    ----------
    photograph
        uint8 (y, x, 3), sRGB: a section or an anatomical photograph.
    labels
        uint8 (y, x): the tissue of each pixel (`Tissue`), 0 background, 255 unknown. With it
        colors are carried over tissue by tissue.
    mask
        bool (y, x): which pixels count. By default those with a label other than 0, or all that
        is neither blue gel, nor black, nor white paper.

    Raises
    ------
    InputError
        If the pictures are not of one size, labels are no tissues, or hardly any pixel counts.
    """

    photograph: NDArray[np.uint8]
    labels: NDArray[np.uint8] | None = None
    mask: Mask | None = None

    def __post_init__(self) -> None:
        picture = self.photograph
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise InputError(
                "a reference photograph is uint8 of shape (y, x, 3), not "
                f"{picture.dtype} of shape {picture.shape}"
            )
        for name, other in (("labels", self.labels), ("mask", self.mask)):
            if other is not None and other.shape != picture.shape[:2]:
                raise InputError(
                    f"the {name} of the reference photograph have the shape {other.shape}, the "
                    f"photograph {picture.shape[:2]}; give pictures of the same size"
                )
        if self.labels is not None:
            known = np.unique(self.labels)
            wrong = known[(known >= N_TISSUES) & (known != NO_TISSUE)]
            if wrong.size:
                raise InputError(
                    f"the labels of the reference photograph contain {wrong[0]}, which is no "
                    "tissue (see 'tomochrome palette'; 0 is background, 255 unknown)"
                )
        if np.count_nonzero(self.body) < _LEAST_PIXELS:
            raise InputError(
                "the reference photograph shows hardly any tissue: fewer than "
                f"{_LEAST_PIXELS} pixels are neither masked, nor blue gel, nor black or white"
            )

    @classmethod
    def read(
        cls, photograph: Picture, labels: Picture | None = None, mask: Picture | None = None
    ) -> Reference:
        """Return a reference from files (or arrays); see `tomochrome.io.photograph`.

        Parameters
        ----------
        photograph, labels, mask
            As of the class; in a mask what is not 0 counts.

        Raises
        ------
        InputError
            If a file cannot be read, or the pictures do not fit together.
        """
        from tomochrome.io.photograph import read_label_picture, read_photograph

        def of(value: Picture | None, read: Any) -> Any:
            return value if value is None or isinstance(value, np.ndarray) else read(value)

        chosen = of(mask, read_label_picture)
        chosen = None if chosen is None else np.asarray(chosen) != 0
        return cls(of(photograph, read_photograph), of(labels, read_label_picture), chosen)

    @cached_property
    def lab(self) -> Floats:
        """CIELAB of the photograph, of a large one thinned out, float32 (y, x, 3)."""
        from tomochrome.color.convert import srgb_to_lab

        return srgb_to_lab(self.photograph[self._thinned])

    @cached_property
    def tissues(self) -> NDArray[np.uint8]:
        """The labels, 0 where the mask leaves a pixel out; all 255 in the body without labels."""
        if self.labels is not None:
            known = self.labels[self._thinned]
        elif self.mask is not None:
            known = np.full(self.lab.shape[:2], NO_TISSUE, np.uint8)
        else:
            known = np.where(foreground(self.lab), NO_TISSUE, 0).astype(np.uint8)
        return known if self.mask is None else np.where(self.mask[self._thinned], known, 0)

    @property
    def body(self) -> Mask:
        """Which pixels show the body, bool (y, x)."""
        return self.tissues != 0

    @property
    def _thinned(self) -> tuple[slice, slice]:
        """Of a large photograph every second pixel, or third, in both directions."""
        step = math.ceil(math.sqrt(self.photograph[..., 0].size / MOST_PIXELS))
        return slice(step // 2, None, step), slice(step // 2, None, step)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the pixels of the photograph, which says more than a file's name."""
        return hashlib.sha256(np.ascontiguousarray(self.photograph).tobytes()).hexdigest()


def as_reference(value: Reference | Picture) -> Reference:
    """Return a reference; an array or a path is taken for its photograph."""
    return value if isinstance(value, Reference) else Reference.read(value)


def foreground(lab: Floats) -> Mask:
    """Return what is tissue in a photograph: neither blue gel, nor black, nor white paper.

    Parameters
    ----------
    lab
        CIELAB, float32 (y, x, 3).

    Returns
    -------
    ndarray
        bool (y, x), without parts smaller than 0.4 % of the picture.
    """
    from scipy import ndimage

    L, a, b = np.moveaxis(lab, -1, 0)
    white = (L > _WHITE_L) & (np.hypot(a, b) < _WHITE_C)
    tissue = ndimage.binary_opening((b > _GEL_B) & (L > _BLACK_L) & ~white)
    parts, _ = ndimage.label(tissue)
    large = np.bincount(parts.ravel()) >= _LEAST_PART * tissue.size
    large[0] = False
    return np.asarray(large[parts])


def body_of(hu: Floats) -> Mask:
    """Return the body in an axial slice (y, x) of HU, its cavities filled, thin things left out."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_fill_holes(ndimage.binary_opening(hu > -300, iterations=2)))


@dataclass(frozen=True, eq=False)
class Match:
    """The pixels of a photograph, ready to be searched for those that resemble a CT's.

    Parameters
    ----------
    tree
        ``scipy.spatial.cKDTree`` of their features.
    ab
        float32 (pixels, 2): their colors.
    mean, sd
        Of L* over the body in the photograph.
    weights
        Of the features: L*, its local standard deviation, and the depth as a share of the radius
        of a disc of the body's area.
    """

    tree: Any
    ab: Floats
    mean: float
    sd: float
    weights: Floats

    @classmethod
    def of(cls, reference: Reference, weights: Floats, area: float) -> Match:
        """Return the match of a photograph.

        Parameters
        ----------
        reference
            The photograph.
        weights
            As of the class, float32 (3,).
        area
            Pixels of the body in a slice of the CT; the photograph is brought to about the same
            size, so that local contrast means the same in both.
        """
        from scipy import ndimage
        from scipy.spatial import cKDTree

        lab, body = _resized(reference, area / ndimage.binary_fill_holes(reference.body).sum())
        whole = ndimage.binary_fill_holes(body)
        L = lab[..., 0]
        found = _features(L, body, whole, weights)
        if len(found) > SAMPLES:
            chosen = np.sort(np.random.default_rng(0).permutation(len(found))[:SAMPLES])
        else:
            chosen = np.arange(len(found))
        ab = np.ascontiguousarray(lab[body][chosen, 1:])
        tree = cKDTree(found[chosen])
        return cls(tree, ab, float(L[body].mean()), float(L[body].std()), weights)

    def colors(self, L: Floats, body: Mask, threads: int = 1) -> Floats:
        """Return the colors of a slice and how far they can be believed.

        Parameters
        ----------
        L
            float32 (y, x): how light the slice would be in this photograph, as L*.
        body
            bool (y, x): where it is colored.
        threads
            CPU threads.

        Returns
        -------
        ndarray
            float32 (y, x, 3): a*, b* as the mean of the matching pixels, and the share of them
            within `CLOSE` of that mean, lowered where no pixel is really alike; 0 elsewhere.
        """
        out = np.zeros((*L.shape, 3), np.float32)
        if not body.any():
            return out
        features = _features(L, body, body, self.weights)
        count = min(NEIGHBORS, len(self.ab))
        away, at = self.tree.query(features, k=range(1, count + 1), workers=threads)
        found = self.ab[at]
        ab = found.mean(axis=1)
        close = np.linalg.norm(found - ab[:, None], axis=-1) < CLOSE
        alike = np.exp(-0.5 * (away[:, 0] / FARTHEST) ** 2)
        out[body] = np.column_stack([ab, close.mean(axis=1) * alike])
        return out


def _resized(reference: Reference, areas: float) -> tuple[Floats, Mask]:
    """Return CIELAB and body of a photograph whose area is scaled by this factor.

    Pixels that would be mixed with the background are left out, if that leaves enough.
    """
    from PIL import Image

    height, width = reference.body.shape
    factor = min(float(np.sqrt(areas)), 2.0)
    size = max(8, round(width * factor)), max(8, round(height * factor))
    how = Image.Resampling.BOX if factor < 1 else Image.Resampling.BILINEAR
    lab = np.stack([np.asarray(Image.fromarray(channel).resize(size, how))
                    for channel in np.moveaxis(reference.lab, -1, 0)], axis=-1)  # fmt: skip
    body = reference.body.astype(np.float32)
    share = np.asarray(Image.fromarray(body).resize(size, how))
    return lab, share > (0.99 if (share > 0.99).sum() >= _LEAST_PIXELS // 4 else 0.5 * share.max())


def _features(L: Floats, body: Mask, whole: Mask, weights: Floats) -> Floats:
    """Return the weighted features of the pixels of a body, float32 (pixels, 3)."""
    from scipy import ndimage

    inside = body.astype(np.float32)
    share = np.maximum(ndimage.uniform_filter(inside, AROUND), 1e-6)
    mean, square = (ndimage.uniform_filter(power * inside, AROUND) / share for power in (L, L * L))
    sd = np.sqrt(np.maximum(square - mean * mean, 0))
    deep = ndimage.distance_transform_edt(np.pad(whole, 1))[1:-1, 1:-1]
    radius = float(np.sqrt(max(1, int(np.count_nonzero(whole))) / np.pi))
    found = np.stack([L[body], sd[body], deep[body] / radius], axis=-1)
    return np.asarray(found * weights, np.float32)


@dataclass(frozen=True, eq=False)
class TissueColors:
    """Mean and spread of the colors of each tissue in a photograph, for its labels.

    After E. Reinhard et al., "Color transfer between images", IEEE CG&A 2001: in each tissue the
    colors of the CT get the mean and the standard deviation of the photograph's. A CT has one
    channel; a* and b* rise or fall with it as they do with L* in the photograph.

    Parameters
    ----------
    mean, slope
        float32 (`N_TISSUES`, 2): a*, b*, and their signed standard deviations.
    trust
        float32 (`N_TISSUES`,): share of the pixels within `CLOSE` of the mean; 0 where there is
        no label, and the color stays grey.
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
            If the labels name no tissue.
        """
        mean, slope = np.zeros((2, N_TISSUES, 2), np.float32)
        trust = np.zeros(N_TISSUES, np.float32)
        for tissue in range(1, N_TISSUES):
            lab = reference.lab[reference.tissues == tissue].astype(np.float64)
            if len(lab) == 0:
                continue
            center = lab.mean(axis=0)
            away = lab - center
            sign = np.where(away[:, 0] @ away[:, 1:] < 0, -1.0, 1.0)
            mean[tissue], slope[tissue] = center[1:], sign * lab[:, 1:].std(axis=0)
            trust[tissue] = (np.linalg.norm(away[:, 1:], axis=1) < CLOSE).mean()
        if not trust.any():
            raise OptionError(
                "the labels of the reference photograph name no tissue; without labels its "
                "colors are matched by brightness"
            )
        return cls(mean, slope, trust)
