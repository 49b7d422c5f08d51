"""Chroma: what color each voxel has, whatever window it is seen through."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.palette import Palette, palette
from tomochrome.errors import GeometryError, ModelError
from tomochrome.tissue import N_TISSUES, NO_TISSUE, Tissue
from tomochrome.volume import Provenance, Volume, default_affine

#: Chroma C* from which a voxel counts as colored.
COLORED = 1.0


@dataclass(frozen=True, eq=False)
class Chroma:
    """A code and a confidence for each voxel, and the mixture of tissues each code stands for.

    A palette or saturation changes only a table with one row a code, never the voxels.

    Parameters
    ----------
    code
        uint16, shape (z, y, x): row of ``mixtures`` for each voxel.
    confidence
        uint8, same shape: 0 (a guess) to 255 (sure), calibrated.
    mixtures
        float32, shape (n_codes, `N_TISSUES`): weights of the tissues, at least 0. A row sums to
        at most 1; the remainder is grey. Row 0 is pure air: outside the body.
    affine
        4x4, from (z, y, x) index to LPS mm, as in `Volume`.
    model
        The model that made it.
    provenance
        Where the CT came from and what was done.

    Raises
    ------
    GeometryError
        If code and confidence are not 3D arrays of one shape, or the affine is none.
    ModelError
        If types are wrong, a mixture is no mixture, or a code has no row.
    """

    code: NDArray[np.uint16]
    confidence: NDArray[np.uint8]
    mixtures: NDArray[np.float32]
    affine: NDArray[np.float64] = field(default_factory=lambda: default_affine((1.0, 1.0, 1.0)))
    model: str = ""
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        if self.code.dtype != np.uint16 or self.confidence.dtype != np.uint8:
            raise ModelError(
                "a chroma map needs uint16 codes and uint8 confidences, "
                f"not {self.code.dtype} and {self.confidence.dtype}"
            )
        if self.code.ndim != 3 or self.code.shape != self.confidence.shape:
            raise GeometryError(
                "codes and confidences must be (z, y, x) arrays of one shape, "
                f"not {self.code.shape} and {self.confidence.shape}"
            )
        # A Volume checks the affine and that there is at least one voxel.
        affine = Volume(self.code, self.affine, "unknown").affine
        mixtures = _checked_mixtures(self.mixtures)
        highest = int(self.code.max())
        if highest >= len(mixtures):
            raise ModelError(
                f"the chroma map holds the code {highest}, but has only {len(mixtures)} mixtures"
            )
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "mixtures", mixtures)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x)."""
        z, y, x = self.code.shape
        return int(z), int(y), int(x)

    @cached_property
    def tissue_of_code(self) -> NDArray[np.uint8]:
        """Heaviest tissue of each code, shape (n_codes,); `NO_TISSUE` for an all-grey row."""
        tissue = self.mixtures.argmax(axis=1).astype(np.uint8)
        tissue[self.mixtures.max(axis=1) <= 0] = NO_TISSUE
        return tissue

    @property
    def tissue(self) -> NDArray[np.uint8]:
        """Heaviest tissue of each voxel, shape (z, y, x): a fresh array at each call."""
        return self.tissue_of_code[self.code]

    def ab_of_code(
        self, palette_name: str | Palette = "natural", saturation: float = 1.0
    ) -> NDArray[np.float32]:
        """Return chroma (a*, b*) of each code, shape (n_codes, 2)."""
        chosen = palette(palette_name)
        ab = self._full_ab.get(chosen)
        if ab is None:
            ab = self._full_ab[chosen] = np.asarray(self.mixtures @ chosen.ab, dtype=np.float32)
        return ab * np.float32(saturation)

    @cached_property
    def _full_ab(self) -> WeakKeyDictionary[Palette, NDArray[np.float32]]:
        """Chroma of each code at full saturation, kept: sliders ask for it at every move."""
        return WeakKeyDictionary()

    def ab(self, palette: str | Palette = "natural", slices: Any = None) -> NDArray[np.float32]:
        """Return chroma (a*, b*) of each voxel.

        Parameters
        ----------
        palette
            Palette or its name.
        slices
            Any index into (z, y, x), for example a slice number; all voxels without it.

        Returns
        -------
        numpy.ndarray
            float32, shape (..., 2).
        """
        code = self.code if slices is None else self.code[slices]
        return self.ab_of_code(palette)[code]

    def tissue_volume(self) -> Volume:
        """Return the tissue map: uint8 indices of `Tissue`, unit ``"tissue"``."""
        return Volume(self.tissue, self.affine, "tissue", self._says("Tissue map"))

    def confidence_volume(self) -> Volume:
        """Return the confidence: float32 from 0 to 1, unit ``"fraction"``."""
        values = self.confidence * np.float32(1 / 255)
        return Volume(values, self.affine, "fraction", self._says("Confidence"))

    def _says(self, what: str) -> Provenance:
        """Provenance of a map made from this one, which names the model."""
        model = self.model or "an unnamed model"
        text = f"{what} by model {model}, not for diagnosis"
        extra = {**self.provenance.extra, "model": model, "description": text}
        return replace(self.provenance.add(text), extra=extra)

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """Number of voxels of each code."""
        n = len(self.mixtures)
        counts = [np.bincount(code.ravel(), minlength=n) for code in self.code]
        return np.asarray(np.sum(counts, axis=0), dtype=np.int64)

    def tissue_shares(self, slices: Any = None) -> NDArray[np.float64]:
        """Return the share of each tissue in the body, which is all that is not air.

        Parameters
        ----------
        slices
            Any index into (z, y, x), for example a slice number, whose shares are asked for;
            all voxels without it.

        Returns
        -------
        numpy.ndarray
            float64, shape (`N_TISSUES`,): 0 to 1, by a voxel's heaviest tissue; air counts 0.
            They sum to 1 where every voxel of the body has a tissue.
        """
        n = len(self.mixtures)
        counts = (
            self._counts if slices is None else np.bincount(self.code[slices].ravel(), minlength=n)
        )
        tissues = np.bincount(self.tissue_of_code, weights=counts, minlength=256)
        tissues[Tissue.AIR] = 0.0
        return tissues[:N_TISSUES] / max(1.0, float(tissues.sum()))

    @cached_property
    def _means(self) -> tuple[float, float]:
        """Mean chroma and mean confidence over colored voxels."""
        strength = np.linalg.norm(self.ab_of_code("natural").astype(np.float64), axis=1)
        strength[self.tissue_of_code == Tissue.AIR] = 0.0
        colored = strength >= COLORED
        n = len(self.mixtures)
        count, sure = self._counts, np.zeros(n)
        for code, confidence in zip(self.code, self.confidence, strict=True):
            sure += np.bincount(code.ravel(), weights=confidence.ravel(), minlength=n)
        total = float(count[colored].sum())
        if total == 0:
            return 0.0, 0.0
        return (
            float((count * strength)[colored].sum() / total),
            float(sure[colored].sum() / total / 255.0),
        )

    @property
    def mean_chroma(self) -> float:
        """Mean C* in the palette ``natural`` over colored voxels (C* at least 1, not air)."""
        return self._means[0]

    @property
    def mean_confidence(self) -> float:
        """Mean confidence (0 to 1) over colored voxels."""
        return self._means[1]

    def on_grid(self, volume: Volume, tolerance_mm: float = 0.01) -> Chroma:
        """Return this chroma on the grid of ``volume``, which holds the same voxels.

        The grid may be flipped or have its axes in another order, as when a volume is turned for
        display; the result then is a view, not a copy.

        Raises
        ------
        GeometryError
            If the grids differ otherwise.
        """
        axes, flips = _same_voxels(self, volume, tolerance_mm)
        if axes == (0, 1, 2) and not any(flips):
            return self
        turn = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
        return replace(
            self,
            code=self.code.transpose(axes)[turn],
            confidence=self.confidence.transpose(axes)[turn],
            affine=volume.affine,
        )


def _checked_mixtures(mixtures: NDArray[Any]) -> NDArray[np.float32]:
    """Return the mixtures, read-only, or say what is wrong with them."""
    array = np.array(mixtures)
    if array.dtype != np.float32 or array.ndim != 2 or array.shape[1:] != (N_TISSUES,):
        raise ModelError(
            f"mixtures must be float32 of shape (codes, {N_TISSUES}), "
            f"not {array.dtype} of shape {array.shape}"
        )
    if not 1 <= len(array) <= 65536:
        raise ModelError(f"a chroma map needs 1 to 65536 mixtures, not {len(array)}")
    if not np.isfinite(array).all() or array.min() < 0 or array.sum(axis=1).max() > 1.001:
        raise ModelError("each mixture needs weights of at least 0 that sum to at most 1")
    if array[0, Tissue.AIR] < 0.999:
        raise ModelError("mixture 0 must be pure air: it stands for voxels outside the body")
    array.setflags(write=False)
    return array


def _same_voxels(
    chroma: Chroma, volume: Volume, tolerance_mm: float
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Return, for each axis of the volume, the chroma's axis and whether it runs backwards."""
    # Columns of the map are the volume's axes, rows the chroma's, in voxels.
    step = np.linalg.inv(chroma.affine) @ volume.affine
    turn = np.rint(step[:3, :3])
    axes = tuple(int(i) for i in np.abs(turn).argmax(axis=0))
    expected = np.eye(4)
    expected[:3, :3] = turn
    good = np.array_equal(np.abs(turn).sum(axis=0), (1, 1, 1)) and sorted(axes) == [0, 1, 2]
    flips = tuple(bool(turn[axis, i] < 0) for i, axis in enumerate(axes))
    if good and tuple(chroma.shape[axis] for axis in axes) == volume.shape:
        for axis, flip in zip(axes, flips, strict=True):
            expected[axis, 3] = chroma.shape[axis] - 1 if flip else 0
        corners = np.array([(z, y, x, 1) for z in (0, 1) for y in (0, 1) for x in (0, 1)], float)
        corners[:, :3] *= np.asarray(volume.shape) - 1
        apart = (chroma.affine @ expected - volume.affine) @ corners.T
        if np.abs(apart).max() <= tolerance_mm:
            return axes, flips
    raise GeometryError(
        f"the chroma map of shape {chroma.shape} does not lie on the grid of the volume of "
        f"shape {volume.shape}; color the volume itself, or resample it first"
    )
