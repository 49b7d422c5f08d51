"""Defects of a scan, and what their restoration changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomochrome.notices import Notice
from tomochrome.volume import Volume

DefectKind = Literal["metal", "ring", "missing", "lines", "noise", "field"]
KINDS: Final[tuple[DefectKind, ...]] = ("metal", "ring", "missing", "lines", "noise", "field")
"""Streaks of metal; rings; missing, repeated or corrupted slices; dropped or saturated lines;
noise of a low dose; and what lies outside a truncated field of view."""

Part = tuple[slice, slice]  #: rows and columns of a slice
WHOLE: Final[Part] = (slice(None), slice(None))


def code_of(kind: str) -> int:
    """Return the value of a kind in `DefectMap.code`."""
    return KINDS.index(kind) + 1


class Defect(NamedTuple):
    """The extent of one kind of defect.

    Attributes
    ----------
    kind
        One of `KINDS`.
    voxels
        Number of voxels.
    slices
        Indices of the slices, along the first axis of the volume.
    """

    kind: DefectKind
    voxels: int
    slices: tuple[int, ...]


class MetalReduction(NamedTuple):
    """Slices before and after `tomochrome.restoration.classical.interpolate_sinogram`.

    Attributes
    ----------
    before, after
        HU, float32 (z, y, x).
    metal
        Booleans (z, y, x).
    """

    before: NDArray[np.float32]
    metal: NDArray[np.bool_]
    after: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DefectMap:
    """The defect at each voxel.

    Attributes
    ----------
    code
        uint8 (z, y, x): 0 for none, else `code_of` the kind.
    reduction
        Of axial slices with metal, if finding needed it: filling need not repeat it.
    """

    code: NDArray[np.uint8]
    reduction: MetalReduction | None = None

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Booleans (z, y, x): voxels with a defect of any kind."""
        return self.code > 0

    @property
    def defects(self) -> tuple[Defect, ...]:
        """The kinds that occur, in the order of `KINDS`."""
        counts = np.stack(
            [np.bincount(part.ravel(), minlength=len(KINDS) + 1) for part in self.code]
        )
        return tuple(
            Defect(kind, int(column.sum()), tuple(np.flatnonzero(column).tolist()))
            for kind, column in zip(KINDS, counts.T[1:], strict=True)
            if column.any()
        )


@dataclass(frozen=True, eq=False)
class Restoration:
    """A restored scan beside the original, which is unchanged.

    Attributes
    ----------
    original
        The scan as measured.
    volume
        The restored scan in HU; its `Volume.restored` marks every voxel that differs.
    defects
        The defects that were restored.
    model
        Name of the model that filled them.
    seconds
        Time of finding and filling.
    warnings
        Notices of the restoration.
    """

    original: Volume
    volume: Volume
    defects: DefectMap
    model: str
    seconds: float
    warnings: tuple[Notice, ...] = ()

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Booleans (z, y, x): voxels whose HU differ from the original."""
        return np.asarray(self.original.voxels) != np.asarray(self.volume.voxels)

    @property
    def restored_percent(self) -> float:
        """Share of the voxels that differ, in percent."""
        return 100 * float(self.changed.mean())
