"""The Volume: voxels with affine, unit and provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import GeometryError, InputError
from tomochrome.notices import Notice

Unit = Literal["HU", "unknown", "RGBA", "tissue", "fraction"]
RESTORED: Final = "restored, not measured"
"""In the description of a file with restored voxels, and of the file with their mask."""
OF_RESTORED: Final = "partly from restored HU"
"""In the description of colors and tissues of a scan with restored voxels."""
MAX_MM: Final = 1e9  # larger coordinates overflow and mean a damaged header
Verdict = Literal["regular", "irregular", "tilted", "incomplete", "unreadable", "not-ct"]


class ScannerWindow(NamedTuple):
    """A window stored in the image header (DICOM PS3.3 C.11.2.1.2)."""

    name: str
    center: float
    width: float
    function: str = "LINEAR"


@dataclass(frozen=True)
class Provenance:
    """Origin and processing history of a volume. Never contains the patient's identity."""

    source: str = ""  #: file or folder
    kind: str = "memory"  #: "dicom-series", "dicom-file", "nifti", "nrrd", "metaimage", "phantom"
    modality: str = "unknown"
    series_uid: str = ""
    title: str = ""  #: series description, without patient data
    windows: tuple[ScannerWindow, ...] = ()
    verdict: Verdict = "regular"
    warnings: tuple[Notice, ...] = ()
    history: tuple[str, ...] = ()  #: one line per processing step
    present: int = 0  #: number of slices that exist if some are missing in the source; otherwise 0
    #: LPS position in mm of the first voxel of each stored slice, if reading resampled them
    stored_positions: tuple[tuple[float, float, float], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def add(self, step: str, *warnings: Notice) -> Provenance:
        """Return a copy with one more line of history and any further warnings."""
        return replace(self, history=(*self.history, step), warnings=(*self.warnings, *warnings))

    @property
    def of_restored(self) -> bool:
        """Whether some voxels of the scan were restored, not measured, as a warning says."""
        return any(notice.code == "restored" for notice in self.warnings)


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar or RGBA volume in patient space.

    Parameters
    ----------
    voxels
        Real numbers of shape (z, y, x), or (z, y, x, 4) for uint8 RGBA. Any object with NumPy's
        ``shape``, ``dtype``, ``ndim`` and ``__getitem__`` that NumPy can convert to an array is
        accepted.
    affine
        4x4 float64 matrix from homogeneous voxel index (z, y, x, 1) to LPS millimetres
        (x increases to the patient's left, y to posterior, z to superior). It must be invertible.
    unit
        ``"HU"`` for CT; ``"unknown"`` if the meaning of the values is not known.
    provenance
        Source, scanner windows, warnings and history.
    outside
        Booleans (z, y, x), true where the scanner measured nothing (padding, outside the field
        of view, missing slices): shown as air and never colored. None if there is no such voxel.
    restored
        Booleans (z, y, x), true where the values were restored, not measured
        (`tomochrome.restore`): hatched in pictures, and kept in files. None if there is no such
        voxel.

    Raises
    ------
    InputError
        If the voxels are no array of real numbers, or are masked.
    GeometryError
        If the voxels are not 3D (or uint8 RGBA), are empty, or the affine is not a finite,
        invertible 4x4 matrix with a last row of 0 0 0 1.
    """

    voxels: NDArray[Any]
    affine: NDArray[np.float64] = field(default_factory=lambda: default_affine((1.0, 1.0, 1.0)))
    unit: Unit = "HU"
    provenance: Provenance = field(default_factory=Provenance)
    outside: NDArray[np.bool_] | None = None
    restored: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        _require_numbers(self.voxels)
        ndim, shape = self.voxels.ndim, tuple(self.voxels.shape)
        if not (ndim == 3 or (ndim == 4 and shape[3] == 4)):
            raise GeometryError(
                "a volume needs voxels (z, y, x) or RGBA (z, y, x, 4), "
                f"not an array of shape {shape}"
            )
        if ndim == 4 and self.voxels.dtype != np.uint8:
            raise GeometryError(f"RGBA voxels must be uint8, not {self.voxels.dtype}")
        if 0 in shape:
            raise GeometryError(f"the volume is empty: its shape is {shape}")
        for mask, what in ((self.outside, "outside the scan"), (self.restored, "restored")):
            if mask is None:
                continue
            if np.shape(mask) != shape[:3] or getattr(mask, "dtype", None) != np.bool_:
                raise GeometryError(f"the mask of voxels {what} does not match the volume")
        try:
            affine = np.array(self.affine, dtype=np.float64)
        except (TypeError, ValueError):
            affine = np.empty(0)  # refused below
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError("the affine must be a finite 4x4 matrix")
        if np.abs(affine).max() > MAX_MM:
            raise GeometryError("the affine places voxels outside any scanner")
        if not np.array_equal(affine[3], (0.0, 0.0, 0.0, 1.0)):
            raise GeometryError("the last row of the affine must be 0 0 0 1")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise GeometryError("the affine is singular")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, item.name) for item in fields(self))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Spatial shape (z, y, x)."""
        z, y, x = self.voxels.shape[:3]
        return int(z), int(y), int(x)

    @property
    def is_rgba(self) -> bool:
        """Whether each voxel is four bytes: red, green, blue, alpha."""
        return bool(self.voxels.ndim == 4)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (z, y, x) in mm."""
        sz, sy, sx = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(sz), float(sy), float(sx)

    @property
    def origin(self) -> NDArray[np.float64]:
        """LPS position of voxel (0, 0, 0) in mm, shape (3,)."""
        return self.affine[:3, 3].copy()

    def with_voxels(
        self, voxels: NDArray[Any], *, unit: Unit | None = None, step: str = ""
    ) -> Volume:
        """Return a volume with other voxels on the same grid, keeping affine and provenance.

        Parameters
        ----------
        voxels
            (z, y, x), or RGBA bytes (z, y, x, 4).
        unit
            Their unit; None to keep the unit of this volume.
        step
            Processing step to append to the history.

        Returns
        -------
        Volume
            The new volume.

        Raises
        ------
        GeometryError
            If the spatial shape differs.
        """
        if np.shape(voxels)[:3] != self.shape:
            raise GeometryError(
                f"voxels of shape {np.shape(voxels)} are not on the grid of this volume of "
                f"shape {self.shape}"
            )
        provenance = self.provenance.add(step) if step else self.provenance
        return replace(self, voxels=voxels, unit=unit or self.unit, provenance=provenance)


def _require_numbers(voxels: object) -> None:
    """Raise `InputError` unless voxels are an array of real numbers without a mask."""
    kind = getattr(voxels, "dtype", None)
    if not isinstance(kind, np.dtype) or kind.kind not in "biuf":
        what = type(voxels).__name__ if kind is None else f"an array of {kind}"
        raise InputError(f"the voxels must be a NumPy array of real numbers, not {what}")
    if isinstance(voxels, np.ma.MaskedArray):
        raise InputError("the voxels must not be masked; give their mask as outside=")


def default_affine(
    spacing: tuple[float, float, float], origin: ArrayLike = (0.0, 0.0, 0.0)
) -> NDArray[np.float64]:
    """Affine of an upright axial volume: z to superior, y to posterior, x to the patient's left.

    Parameters
    ----------
    spacing
        Voxel spacing along (z, y, x) in mm.
    origin
        LPS position (x, y, z) in mm of voxel (0, 0, 0).
    """
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = spacing
    affine[:3, 3] = np.asarray(origin, dtype=np.float64)
    affine[3, 3] = 1.0
    return affine


def require_volume(volume: object, role: str) -> None:
    """Raise an exception unless the argument is a `Volume`; a bare array has no position.

    Parameters
    ----------
    volume
        The argument.
    role
        Its role, the subject of the error message.

    Raises
    ------
    InputError
        If it is an array, a path, or any other type.
    """
    require_type(volume, Volume, role, "tc.read")


def require_type(value: object, kind: type, role: str, source: str) -> None:
    """Raise an exception unless an argument is of a class of this package.

    Parameters
    ----------
    value
        The argument.
    kind
        The class.
    role
        The role of the argument, the subject of the error message.
    source
        The function that returns such objects.

    Raises
    ------
    InputError
        If it is of any other type.
    """
    if not isinstance(value, kind):
        raise InputError(
            f"{role} must be a {kind.__name__}, as {source} returns it, not {type(value).__name__}"
        )
