"""Two volumes on one grid, as values if they have the same unit, otherwise as RGBA."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property, lru_cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.alpha import alpha_curve
from tomochrome.color.hatch import hatched
from tomochrome.color.relight import CodeTable, relight
from tomochrome.color.space import LINEAR_OF_8BIT, TO_XYZ, srgb_of_linear
from tomochrome.color.view import LitVolume
from tomochrome.compare.region import Region
from tomochrome.compare.source import Sampled, Source, as_volume
from tomochrome.errors import GeometryError, OptionError
from tomochrome.geometry.sampling import Order
from tomochrome.notices import Notice
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume
from tomochrome.windowing import Window, auto_window, parse_window

Which = Literal["a", "b"]
WindowName = str | Window | None
Windows = tuple[Window | None, Window | None]

_Y_STEPS: Final = 16383
_SAMPLES: Final = 64  # points along each axis for estimating the overlap


class Pair:
    """Two volumes to compare, both on the grid of the first.

    Parameters
    ----------
    a
        The fixed volume, which defines the grid of the comparison.
    b
        The other volume, on any grid, with any orientation and field of view. Voxels that it did
        not measure are air (HU), 0 (other values) or transparent (color).
    window
        Window for grey volumes, as for `tomochrome.windowing.parse_window`, or a tuple with one
        for each volume. None keeps the values of two volumes with the same unit; if color is
        needed, Hounsfield units are then shown with the window of the colored volume, else with
        the soft-tissue window, and other units with an automatic window. A window for HU is not
        applied to a volume with another unit.
    color
        Show RGBA also for two volumes with the same unit, for a layer whose type does not change.
    order
        Interpolation of ``b``: ``"linear"``, ``"nearest"``, or None to choose by its unit.
    hatch
        Hatch the restored voxels of each volume (`Volume.restored`) in RGBA slices, for the screen;
        files and pictures are hatched when they are written.

    Attributes
    ----------
    a, b : Source
        The volumes on the grid of ``a``.
    numbers : bool
        Whether voxels are values, not RGBA.
    coverage : float
        Estimated fraction (0 to 1) of the grid that is in the field of view of ``b``.
    warnings : tuple of Notice
        Warnings for the user.

    Raises
    ------
    GeometryError
        If the volumes do not overlap.
    OptionError
        If a window is invalid.
    InputError
        If an argument is not a volume.
    """

    def __init__(
        self,
        a: Volume | LitVolume,
        b: Volume | LitVolume,
        *,
        window: WindowName | tuple[WindowName, WindowName] = None,
        color: bool = False,
        order: Order | None = None,
        hatch: bool = False,
    ) -> None:
        fixed, moved = as_volume(a), as_volume(b)
        if order not in (None, "linear", "nearest"):
            raise OptionError(f"unknown resampling order '{order}': choose linear or nearest")
        self.a, self.b = Source(fixed, fixed), Source(moved, fixed, order)
        scalars = not (fixed.is_rgba or moved.is_rgba)
        self.numbers = scalars and fixed.unit == moved.unit and window is None and not color
        self._requested, self._hatch = window, hatch
        self._windows: Windows | None = None
        self.coverage = self._covered()
        self.warnings: tuple[Notice, ...] = ()
        if self.coverage < 0.995:
            share = f"only {100 * self.coverage:.0f}" if self.coverage >= 0.005 else "less than 1"
            text = (
                f"the second volume covers {share} % of the first one's field of view; the rest "
                "cannot be compared"
            )
            self.warnings = (Notice("coverage", "info", text),)

    @property
    def volume(self) -> Volume:
        """The fixed volume, which defines the grid of every comparison."""
        return self.a.volume

    @cached_property
    def restored(self) -> NDArray[np.bool_] | None:
        """Voxels of the grid that were restored in one of the volumes, or None."""
        marked = [mask for mask in (self.a.restored, self.b.restored) if mask is not None]
        return np.logical_or.reduce(marked) if marked else None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Spatial shape (z, y, x)."""
        return self.volume.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type: a common type of both volumes' values, or uint8."""
        if not self.numbers:
            return np.dtype(np.uint8)
        return np.result_type(self.a.dtype, self.b.dtype)

    @property
    def windows(self) -> Windows:
        """The window of each volume, None for colored ones; assign two to change them.

        They are determined on first use, because "auto" reads the volume.
        """
        if self._windows is None:
            self._windows = _windows(self.a.volume, self.b.volume, self._requested)
        return self._windows

    @windows.setter
    def windows(self, window: WindowName | tuple[WindowName, WindowName]) -> None:
        self._windows = _windows(self.a.volume, self.b.volume, window)

    def source(self, which: Which) -> Source:
        """Return the volume ``"a"`` or ``"b"``."""
        return self.a if which == "a" else self.b

    def read(self, which: Which, region: Region) -> NDArray[Any]:
        """Return voxels of one volume for the comparison: values or RGBA.

        Parameters
        ----------
        which
            ``"a"`` for the first volume, ``"b"`` for the second.
        region
            Voxels of the grid.

        Returns
        -------
        ndarray
            (i, j, k), or uint8 (i, j, k, 4) for RGBA.
        """
        if not self.numbers:
            return self.rgba(which, region)
        return self.source(which).read(region).values.astype(self.dtype, copy=False)

    def missing(self, which: Which, region: Region) -> NDArray[np.bool_]:
        """Return which voxels of a region one volume did not measure.

        Parameters
        ----------
        which, region
            As for `read`.

        Returns
        -------
        ndarray
            bool (i, j, k).
        """
        missing = self.source(which).read(region).missing
        return np.zeros(region.shape, np.bool_) if missing is None else missing

    def rgba(self, which: Which, region: Region) -> NDArray[np.uint8]:
        """Return RGBA of one volume: windowed grey if it is scalar; transparent where missing.

        Parameters
        ----------
        which
            Whether to return the fixed or the moving volume.
        region
            Block of voxels of the common grid.

        Returns
        -------
        ndarray
            uint8 (i, j, k, 4).
        """
        source = self.source(which)
        sampled = source.read(region)
        if not source.volume.is_rgba:
            window = self.windows[0 if which == "a" else 1]
            assert window is not None
            sampled = Sampled(grey_rgba(sampled.values, window), sampled.missing)
        rgba = _cleared(sampled)
        if not self._hatch or source.restored is None or 1 not in region.shape:
            return rgba
        flat = region.shape.index(1)
        mask = np.take(source.restored[region.slices], 0, flat)
        return hatched(np.take(rgba, 0, flat), mask).reshape(rgba.shape)

    def levels(self, which: Which, region: Region) -> NDArray[np.uint8]:
        """Return the grey level (sRGB, 0 to 255) of each voxel's luminance on black.

        Parameters
        ----------
        which, region
            As for `rgba`.

        Returns
        -------
        ndarray
            uint8 (i, j, k).
        """
        rgba = self.rgba(which, region)
        if not self.source(which).volume.is_rgba:
            return np.asarray(rgba[..., 0])
        red, green, blue, level = _luminance_tables()
        y = red[rgba[..., 0]] + green[rgba[..., 1]] + blue[rgba[..., 2]]
        grey = level[np.minimum(y, _Y_STEPS).astype(np.uint16)]
        alpha = rgba[..., 3]
        if (alpha == 255).all():
            return grey
        return (grey * (alpha / np.float32(255)) + np.float32(0.5)).astype(np.uint8)

    def _covered(self) -> float:
        if self.b.aligned:
            return 1.0
        if not _intersect(self.volume, self.b.volume):
            raise GeometryError(
                "the two volumes do not overlap in space, so there is nothing to compare; "
                "register the second to the first, or check their positions"
            )
        z, y, x = (range(0, n, max(1, -(-n // _SAMPLES))) for n in self.shape)
        return float(self.b.covers(Region((z, y, x))).mean())

    def __repr__(self) -> str:
        kind = "numbers" if self.numbers else "RGBA"
        return f"Pair(shape={self.shape}, {kind}, coverage={self.coverage:.2f})"


def _intersect(a: Volume, b: Volume) -> bool:
    """Whether the fields of view of two volumes intersect, however thin they are.

    Separating axis theorem: two boxes are disjoint if their projections are, along a face normal
    of either box or a cross product of two edges.
    """
    edges = [v.affine[:3, :3] * np.array(v.shape) for v in (a, b)]
    centers = [v.affine[:3, :3] @ ((np.array(v.shape) - 1) / 2) + v.affine[:3, 3] for v in (a, b)]
    axes = [np.cross(e[:, i], e[:, j]) for e in edges for i, j in ((0, 1), (0, 2), (1, 2))]
    axes += [np.cross(p, q) for p in edges[0].T for q in edges[1].T]
    for axis in axes:
        radii = sum(float(np.abs(axis @ e).sum()) for e in edges) / 2
        distance = abs(float(axis @ (centers[0] - centers[1])))
        if distance >= radii * (1 - 1e-9) and np.linalg.norm(axis) > 1e-9:  # skip parallel edges
            return False
    return True


def grey_rgba(values: NDArray[Any], window: Window) -> NDArray[np.uint8]:
    """Return opaque grey RGBA (..., 4) of scalar values, like a volume without chroma."""
    code, confidence = np.zeros(values.shape, np.uint16), np.zeros(values.shape, np.uint8)
    return relight(values, code, confidence, _grey(), window, alpha_curve("opaque"))


@lru_cache(maxsize=1)
def _grey() -> CodeTable:
    """Return a code table with a single code without color."""
    return CodeTable(np.zeros((1, 2), np.float32), np.array([Tissue.BRAIN], np.uint8))


@lru_cache(maxsize=1)
def _luminance_tables() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[np.uint8]]:
    """Return the contribution of each channel to Y (in steps), and the grey level of each step.

    The grey with the same luminance has the encoded Y in all three channels (IEC 61966-2-1).
    """
    shares = TO_XYZ[1][:, None] * LINEAR_OF_8BIT[None, :] * _Y_STEPS
    y = np.arange(_Y_STEPS + 1) / _Y_STEPS
    red, green, blue = shares.astype(np.float32)
    return red, green, blue, np.rint(255 * srgb_of_linear(y)).astype(np.uint8)


def _cleared(sampled: Sampled) -> NDArray[np.uint8]:
    """Return RGBA with missing voxels as transparent black."""
    rgba, missing = sampled
    if missing is None or not missing.any():
        return np.asarray(rgba, dtype=np.uint8)
    return np.where(missing[..., None], np.uint8(0), rgba)


def _windows(a: Volume, b: Volume, window: WindowName | tuple[WindowName, WindowName]) -> Windows:
    """Return the window of each volume; see `Pair`."""
    if isinstance(window, tuple):
        if len(window) != 2:
            raise OptionError(f"one window, or one for each volume, is needed, not {len(window)}")
        return _window_of(a, b, window[0]), _window_of(b, a, window[1])
    if window is not None and a.unit == b.unit == "HU":
        window = parse_window(window, a)  # the same for both, so that equal values look equal
    elif window is not None and "HU" in (a.unit, b.unit):
        hounsfield = parse_window(window, a if a.unit == "HU" else b)
        return tuple(  # type: ignore[return-value]
            _window_of(v, v, hounsfield if v.unit == "HU" else None) for v in (a, b)
        )
    return _window_of(a, b, window), _window_of(b, a, window)


def _window_of(volume: Volume, other: Volume, window: WindowName) -> Window | None:
    if volume.is_rgba:
        return None
    if window is not None:
        return parse_window(window, volume)
    if volume.unit != "HU":
        return auto_window(volume)
    settings = getattr(other.voxels, "settings", None)  # of a colored volume
    if settings is not None and isinstance(getattr(settings, "window", None), Window):
        return settings.window
    stored = other.provenance.extra.get("window") if other.is_rgba else None
    with suppress(OptionError):
        if stored is not None:
            return parse_window(str(stored))
    return parse_window("soft-tissue")
