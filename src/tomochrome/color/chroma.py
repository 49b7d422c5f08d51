"""Chroma maps: the color of each voxel, independent of the window."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.codes import Codes, FreeColors, Table, as_table
from tomochrome.color.palettes import Palette, palette
from tomochrome.errors import GeometryError, ModelError, OptionError
from tomochrome.geometry.affine import corners
from tomochrome.geometry.orient import reoriented_affine
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.volume import OF_RESTORED, Provenance, Volume, default_affine

#: Chroma C* from which a voxel is considered colored.
COLORED = 1.0


@dataclass(frozen=True, eq=False)
class Chroma:
    """A code and a confidence for each voxel, and a table with the meaning of each code.

    Changing palette or saturation only changes the table, not the voxels.

    Parameters
    ----------
    code
        uint16 or uint32, shape (z, y, x): row of ``table`` for each voxel.
    confidence
        uint8, same shape: 0 (none) to 255 (certain), calibrated.
    table
        `Mixtures` of tissues, which a palette converts to colors, or `FreeColors`, (a*, b*). An
        array is converted depending on its columns. Row 0 is for voxels outside the body.
    affine
        4x4, from (z, y, x) index to LPS mm, as in `Volume`.
    model
        The model that computed it.
    provenance
        The source of the CT and the processing steps.

    Raises
    ------
    GeometryError
        If code and confidence are not 3D arrays of the same shape, or the affine is invalid.
    ModelError
        If types are wrong, the table is invalid, or a code has no row.
    """

    code: Codes
    confidence: NDArray[np.uint8]
    table: Table
    affine: NDArray[np.float64] = field(default_factory=lambda: default_affine((1.0, 1.0, 1.0)))
    model: str = ""
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        if self.code.dtype not in (np.uint16, np.uint32) or self.confidence.dtype != np.uint8:
            raise ModelError(
                "a chroma map needs uint16 or uint32 codes and uint8 confidences, "
                f"not {self.code.dtype} and {self.confidence.dtype}"
            )
        if self.code.ndim != 3 or self.code.shape != self.confidence.shape:
            raise GeometryError(
                "codes and confidences must be (z, y, x) arrays of the same shape, "
                f"not {self.code.shape} and {self.confidence.shape}"
            )
        # Volume validates the affine and that there is at least one voxel.
        affine = Volume(self.code, self.affine, "unknown").affine
        table = as_table(self.table)
        highest = int(self.code.max())
        if highest >= len(table):
            raise ModelError(
                f"the chroma map contains the code {highest}, but its table has {len(table)} rows"
            )
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "table", table)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the fields without cached properties."""
        return type(self), tuple(getattr(self, item.name) for item in fields(self))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x)."""
        z, y, x = self.code.shape
        return int(z), int(y), int(x)

    @property
    def has_tissues(self) -> bool:
        """Whether the codes are tissues; otherwise they are colors, and no palette applies."""
        return self.table.has_tissues

    @property
    def tissue_of_code(self) -> NDArray[np.uint8]:
        """Dominant tissue of each code, shape (n_codes,); `NO_TISSUE` where there is none."""
        return self.table.tissue

    @property
    def tissue(self) -> NDArray[np.uint8]:
        """Dominant tissue of each voxel, shape (z, y, x), as a new array."""
        return self.tissue_of_code[self.code]

    def ab_of_code(
        self, palette_name: str | Palette = "natural", saturation: float = 1.0
    ) -> NDArray[np.float32]:
        """Return chroma (a*, b*) of each code, shape (n_codes, 2).

        Parameters
        ----------
        palette_name
            Palette, or its name.
        saturation
            Factor for the chroma: 0 for grey, 1 for the palette's colors.

        Returns
        -------
        ndarray
            float32 (n_codes, 2): a*, b*.
        """
        return self.table.chroma(palette(palette_name)) * np.float32(saturation)

    def without_shades(self) -> Chroma:
        """Return the coloring with one color for the brain, to compare it with tissue labels."""
        if isinstance(self.table, FreeColors) or self.table.shade is None:
            return self
        return replace(self, table=replace(self.table, shade=None))

    def ab(self, palette: str | Palette = "natural", slices: Any = None) -> NDArray[np.float32]:
        """Return chroma (a*, b*) of each voxel.

        Parameters
        ----------
        palette
            Palette or its name; it has no effect on free colors.
        slices
            Any index into (z, y, x), for example a slice number; None for all voxels.

        Returns
        -------
        numpy.ndarray
            float32, shape (..., 2).
        """
        code = self.code if slices is None else self.code[slices]
        return self.ab_of_code(palette)[code]

    def require_tissues(self, what: str) -> None:
        """Raise an error if the codes are not tissues.

        Parameters
        ----------
        what
            End of the message after "so it".

        Raises
        ------
        OptionError
            If the codes are free colors.
        """
        if not self.has_tissues:
            raise OptionError(no_tissues_message(self.model, what))

    def tissue_volume(self, palette_name: str = "natural") -> Volume:
        """Return the tissue map: uint8 indices of `Tissue`, unit ``"tissue"``.

        Parameters
        ----------
        palette_name
            The palette whose colors a file of the map shows.

        Returns
        -------
        Volume
            On the grid of the colors.

        Raises
        ------
        OptionError
            If the codes are free colors.
        """
        self.require_tissues("has no tissue map")
        made = self._described("Tissue map")
        made = replace(made, extra={**made.extra, "palette": palette_name})
        return Volume(self.tissue, self.affine, "tissue", made)

    def confidence_volume(self) -> Volume:
        """Return the confidence: float32 from 0 to 1, unit ``"fraction"``."""
        values = self.confidence * np.float32(1 / 255)
        return Volume(values, self.affine, "fraction", self._described("Confidence"))

    def _described(self, what: str) -> Provenance:
        """Return the provenance of a map derived from this one, with the model's name."""
        model = self.model or "an unnamed model"
        scan = f", {OF_RESTORED}" if self.provenance.of_restored else ""
        text = f"{what} by model {model}{scan}, not for diagnosis"
        extra = {**self.provenance.extra, "model": model, "description": text}
        return replace(self.provenance.add(text), extra=extra)

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """Number of voxels of each code."""
        n = len(self.table)
        counts = [np.bincount(code.ravel(), minlength=n) for code in self.code]
        return np.asarray(np.sum(counts, axis=0), dtype=np.int64)

    def tissue_shares(self, slices: Any = None) -> NDArray[np.float64]:
        """Return the fraction of each tissue in the body, which is everything except air.

        Parameters
        ----------
        slices
            Any index into (z, y, x), for example a slice number; None for all voxels.

        Returns
        -------
        numpy.ndarray
            float64, shape (`N_TISSUES`,): 0 to 1, by each voxel's dominant tissue; 0 for air.
            The sum is 1 if every voxel of the body has a tissue; all are 0 for free colors.
        """
        n = len(self.table)
        counts = (
            self._counts if slices is None else np.bincount(self.code[slices].ravel(), minlength=n)
        )
        tissues = np.bincount(self.tissue_of_code, weights=counts, minlength=256)
        tissues[Tissue.AIR] = 0.0
        return tissues[:N_TISSUES] / max(1.0, float(tissues.sum()))

    @cached_property
    def _magnitude(self) -> NDArray[np.float64]:
        """C* of each code in the palette ``natural``; 0 for air."""
        magnitude = np.linalg.norm(self.ab_of_code("natural").astype(np.float64), axis=1)
        magnitude[self.tissue_of_code == Tissue.AIR] = 0.0
        return np.asarray(magnitude)

    @property
    def colored_codes(self) -> NDArray[np.bool_]:
        """Which codes have a color (C* at least 1 in the palette ``natural``, not air)."""
        return self._magnitude >= COLORED

    @cached_property
    def _means(self) -> tuple[float, float]:
        """Mean chroma and mean confidence over colored voxels."""
        magnitude, colored = self._magnitude, self.colored_codes
        n = len(self.table)
        count, sums = self._counts, np.zeros(n)
        for code, confidence in zip(self.code, self.confidence, strict=True):
            sums += np.bincount(code.ravel(), weights=confidence.ravel(), minlength=n)
        total = float(count[colored].sum())
        if total == 0:
            return 0.0, 0.0
        return (
            float((count * magnitude)[colored].sum() / total),
            float(sums[colored].sum() / total / 255.0),
        )

    @property
    def mean_chroma(self) -> float:
        """Mean C* in the palette ``natural`` over colored voxels (C* at least 1, not air).

        That of a picture, with its settings, is `tomochrome.color.lighting.mean_chroma`.
        """
        return self._means[0]

    @property
    def mean_confidence(self) -> float:
        """Mean confidence (0 to 1) over colored voxels."""
        return self._means[1]

    def on_grid(self, volume: Volume, tolerance_mm: float = 0.01) -> Chroma:
        """Return this chroma map in the axis order of ``volume``, which has the same voxels.

        The axes may be flipped or permuted, for example for display; the result is a view then.

        Parameters
        ----------
        volume
            The volume with the target grid.
        tolerance_mm
            Maximum distance between corresponding voxels in mm.

        Returns
        -------
        Chroma
            The same colors on that grid.

        Raises
        ------
        GeometryError
            If the grids differ in any other way.
        """
        # The columns of the matrix are the volume's axes, the rows the chroma's, in voxels.
        step = np.rint(np.linalg.inv(self.affine) @ volume.affine)[:3, :3]
        z, y, x = axes = tuple(int(i) for i in np.abs(step).argmax(axis=0))
        flips = step[z, 0] < 0, step[y, 1] < 0, step[x, 2] < 0
        same = sorted(axes) == [0, 1, 2] and tuple(self.shape[i] for i in axes) == volume.shape
        if same:
            affine = reoriented_affine(self.affine, self.shape, axes, flips)
            distance = corners(volume.shape, affine) - corners(volume.shape, volume.affine)
            same = bool(np.abs(distance).max() <= tolerance_mm)
        if not same:
            raise GeometryError(
                f"the chroma map of shape {self.shape} is not on the grid of the volume of shape "
                f"{volume.shape}; color the volume itself, or resample it first"
            )
        if axes == (0, 1, 2) and not any(flips):
            return self
        index = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
        return replace(
            self,
            code=self.code.transpose(axes)[index],
            confidence=self.confidence.transpose(axes)[index],
            affine=volume.affine,
        )


def no_tissues_message(model: str, what: str) -> str:
    """Return a message about an operation that is not possible without tissues."""
    name = f"the model '{model}'" if model else "the model"
    return f"{name} predicts colors, not tissues, so it {what}"
