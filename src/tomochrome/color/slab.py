"""Slabs: adjacent slices projected into one, by mean, maximum or minimum, in color."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.chroma import Chroma
from tomochrome.color.lighting import Lighting, check_scan, code_table, lit_provenance
from tomochrome.color.relight import ALPHA_WORDS, CodeTable, cells_of, relight
from tomochrome.color.table import GREY_EDGES, GREY_LEVELS, TABLE
from tomochrome.errors import OptionError
from tomochrome.formats import PROJECTIONS, Projection
from tomochrome.geometry.affine import plane_distance
from tomochrome.notices import Notice
from tomochrome.runtime import check, report
from tomochrome.runtime.kernels import kernel, over_chunks
from tomochrome.volume import Provenance, Volume
from tomochrome.windowing import DEFAULT, Window, luminance

MAX_THICKNESS_MM: Final = 500.0
_ROWS: Final = 64  # of a plane, between two calls of `check`
_COLUMNS: Final = 32


@dataclass(frozen=True)
class Slab:
    """How adjacent slices are projected into one.

    Parameters
    ----------
    projection
        ``"mean"``, ``"maximum"`` or ``"minimum"`` of the Hounsfield values.
    thickness_mm
        Slices belong to the slab if their centers lie within half of this on either side of the
        middle one; 0 to `MAX_THICKNESS_MM`. A slab thinner than two slices is the middle slice.

    Raises
    ------
    OptionError
        If the projection is unknown, or the thickness is out of range.
    """

    projection: Projection
    thickness_mm: float

    def __post_init__(self) -> None:
        if self.projection not in PROJECTIONS:
            names = ", ".join(PROJECTIONS)
            raise OptionError(
                f"the projection of a slab is one of {names}, not {self.projection!r}"
            )
        if not 0.0 <= self.thickness_mm <= MAX_THICKNESS_MM:
            raise OptionError(
                f"a slab is from 0 to {MAX_THICKNESS_MM:g} mm thick, not {self.thickness_mm:g} mm"
            )

    def __str__(self) -> str:
        return f"{self.projection} over {self.thickness_mm:g} mm"

    def reach(self, spacing_mm: float) -> int:
        """Return the number of slices on either side of the middle one.

        Parameters
        ----------
        spacing_mm
            Distance of adjacent slices.

        Returns
        -------
        int
            At least 0; the slab of a slice near an end of the volume has fewer on one side.
        """
        # 1e-6: 5 mm hold the slices 2.5 mm apart although spacings are not exact in binary
        return math.floor(self.thickness_mm / 2 / spacing_mm + 1e-6)

    def slices(self, index: int, spacing_mm: float, count: int) -> slice:
        """Return the slices of the slab around a slice, clipped to the volume.

        Parameters
        ----------
        index
            The middle slice; negative from the end.
        spacing_mm
            Distance of adjacent slices.
        count
            Number of slices of the volume.

        Returns
        -------
        slice
            Slices of the volume on the axis normal to the slab.

        Raises
        ------
        OptionError
            If there is no such slice.
        """
        if not -count <= index < count:
            raise OptionError(f"a volume of {count} slices has no slice {index}")
        middle, reach = index % count, self.reach(spacing_mm)
        return slice(max(0, middle - reach), middle + reach + 1)

    def within(self, volume: Volume, axis: int) -> Slab:
        """Return the slab, no thicker than a volume.

        Parameters
        ----------
        volume
            The scan.
        axis
            The axis normal to the slab.

        Returns
        -------
        Slab
            The same projection over the thickness that there is.
        """
        thickness = round(volume.shape[axis] * plane_distance(volume.affine, axis), 1)
        return self if self.thickness_mm <= thickness else replace(self, thickness_mm=thickness)


def light_slab(
    volume: Volume,
    chroma: Chroma,
    index: int,
    slab: Slab,
    window: str | Window = DEFAULT,
    *,
    axis: int = 0,
    **settings: Any,
) -> Volume:
    """Return a colored slab: one slice whose L* is that of the projected Hounsfield values.

    The color is that of the voxels which made it: for maximum and minimum the color of the voxel
    with this value (the first, if there are several), for the mean the mean (a*, b*). Voxels
    outside the scan do not contribute.

    Parameters
    ----------
    volume, chroma
        As for `tomochrome.light`.
    index
        The middle slice of the slab.
    slab
        Projection and thickness.
    window
        As for `tomochrome.light`.
    axis
        The axis normal to the slab: 0 (z), 1 (y) or 2 (x).
    **settings
        Further parameters of `Lighting`: saturation, min_confidence, palette, alpha, tissues.

    Returns
    -------
    Volume
        uint8 (z, y, x, 4), unit ``"RGBA"``, with one voxel along ``axis``, at the position of the
        middle slice and with its spacing. A pixel is restored if a voxel of the slab is, and
        outside if all are.

    Raises
    ------
    OptionError
        If a setting is invalid, or there is no such slice or axis.
    InputError
        If ``volume`` is RGBA already.
    GeometryError
        If the grids differ.
    Cancelled
        If the user cancelled.

    Examples
    --------
    >>> vessels = light_slab(ct, chroma, 40, Slab("maximum", 10))      # doctest: +SKIP
    """
    chroma, lighting = _checked(volume, chroma, window, axis, settings)
    plane = slab_plane(volume, chroma, axis, index, slab, code_table(chroma, lighting), lighting)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, axis] * (index % volume.shape[axis])
    part = (
        *[slice(None)] * axis,
        slab.slices(index, plane_distance(volume.affine, axis), volume.shape[axis]),
    )
    outside, restored = (
        None if mask is None else combine(mask[part], axis=axis, keepdims=True)
        for mask, combine in ((volume.outside, np.all), (volume.restored, np.any))
    )
    provenance = _provenance(volume, chroma, lighting, slab, axis, f", around slice {index}")
    rgba = np.expand_dims(plane, axis)
    return Volume(rgba, affine, "RGBA", provenance, outside=outside, restored=restored)


def light_slabs(
    volume: Volume,
    chroma: Chroma,
    slab: Slab,
    window: str | Window = DEFAULT,
    *,
    axis: int = 0,
    **settings: Any,
) -> Volume:
    """Return a colored volume whose slices are slabs: that of `light_slab` around each of them.

    Parameters
    ----------
    volume, chroma, slab, window, axis, **settings
        As for `light_slab`.

    Returns
    -------
    Volume
        uint8 (z, y, x, 4), unit ``"RGBA"``, on the grid of the scan. Neighboring slabs overlap.

    Raises
    ------
    OptionError, InputError, GeometryError, Cancelled
        As for `light_slab`.

    Examples
    --------
    >>> vessels = light_slabs(ct, chroma, Slab("maximum", 10))         # doctest: +SKIP
    >>> tc.write(vessels, "vessels.png")                               # doctest: +SKIP
    """
    from scipy.ndimage import maximum_filter1d, minimum_filter1d  # slow, and panels need no slabs

    chroma, lighting = _checked(volume, chroma, window, axis, settings)
    codes, count = code_table(chroma, lighting), volume.shape[axis]
    out = np.empty((*volume.shape, 4), np.uint8)
    for index in range(count):
        check()
        report(index, count, "lighting")
        part: tuple[Any, ...] = (*[slice(None)] * axis, index)
        out[part] = slab_plane(volume, chroma, axis, index, slab, codes, lighting)
    report(count, count, "lighting")
    size = 2 * slab.reach(plane_distance(volume.affine, axis)) + 1
    outside, restored = (
        None if mask is None else combine(mask, size, axis=axis, mode="nearest")
        for mask, combine in (
            (volume.outside, minimum_filter1d),
            (volume.restored, maximum_filter1d),
        )
    )
    provenance = _provenance(volume, chroma, lighting, slab, axis)
    return Volume(out, volume.affine, "RGBA", provenance, outside=outside, restored=restored)


def _checked(
    volume: Volume, chroma: Chroma, window: str | Window, axis: int, settings: Mapping[str, Any]
) -> tuple[Chroma, Lighting]:
    """Return the chroma on the grid of a scan, and the lighting, for slabs across an axis."""
    check_scan(volume, chroma)
    if axis not in (0, 1, 2):
        raise OptionError(f"the axis of a slab is 0 (z), 1 (y) or 2 (x), not {axis}")
    lighting = Lighting.of(volume, window, **settings)
    return chroma.on_grid(volume), lighting


def _provenance(
    volume: Volume, chroma: Chroma, lighting: Lighting, slab: Slab, axis: int, where: str = ""
) -> Provenance:
    lit, shown = lit_provenance(volume, chroma, lighting), slab.within(volume, axis)
    notices = []
    if shown != slab:
        text = (
            f"the scan is {shown.thickness_mm:g} mm thick, less than the slab of "
            f"{slab.thickness_mm:g} mm"
        )
        notices.append(Notice("option-unused", "warning", text))
    lit = lit.add(f"slab: {shown}, axis {'zyx'[axis]}{where}", *notices)
    return replace(lit, extra={**lit.extra, "slab": str(shown)})


def slab_plane(
    volume: Volume,
    chroma: Chroma,
    axis: int,
    index: int,
    slab: Slab,
    codes: CodeTable,
    lighting: Lighting,
) -> NDArray[np.uint8]:
    """Return the RGBA of a slab, of a chroma map on the grid of its volume.

    Parameters
    ----------
    volume, chroma, axis, index, slab
        As for `light_slab`.
    codes, lighting
        The colors of the codes, and window and opacity.

    Returns
    -------
    numpy.ndarray
        uint8 (n, m, 4): the other two axes of the volume, and RGBA.

    Raises
    ------
    OptionError
        If there is no such slice.
    Cancelled
        If the user cancelled.
    """
    within = slab.slices(index, plane_distance(volume.affine, axis), volume.shape[axis])
    middle = index % volume.shape[axis] - within.start
    part = (*(slice(None),) * axis, within)
    # the axis of the slab last: (n, m, depth), views
    values, code, confidence = (
        np.moveaxis(np.asarray(array[part]), axis, -1)
        for array in (volume.voxels, chroma.code, chroma.confidence)
    )
    values = values.astype(
        np.int16 if np.can_cast(values.dtype, np.int16) else np.float32, copy=False
    )
    missing = np.zeros((0, 0, 0), bool)
    if volume.outside is not None:
        missing = np.moveaxis(volume.outside[part], axis, -1)
    shape = values.shape[:2]
    if slab.projection == "mean" and values.shape[2] > 1:
        hu, clear = np.empty(shape, np.float32), np.empty(shape, bool)
        ab, lit = np.empty((*shape, 2), np.float32), codes.lit(lighting.alpha)
        _by_rows(mean_of_voxels, (values, missing, code, confidence), (lit,), (hu, ab, clear))
        grey = np.searchsorted(GREY_EDGES, luminance(hu, lighting.window))
        alpha = np.where(clear, np.uint8(0), lighting.alpha(hu))
        words = TABLE.words[cells_of(ab) * GREY_LEVELS + grey] | ALPHA_WORDS[alpha]
        return words.view(np.uint8).reshape(*shape, 4)
    best = np.full(shape, middle, np.int64)
    if values.shape[2] > 1:
        sign = 1 if slab.projection == "maximum" else -1
        _by_rows(extreme_of_voxels, (values, missing), (sign,), (best,))
    values, code, confidence = (
        np.take_along_axis(array, best[..., None], -1)[..., 0]
        for array in (values, code, confidence)
    )
    return relight(values, code, confidence, codes, lighting.window, lighting.alpha)


def _by_rows(
    compiled: Callable[..., None],
    voxels: tuple[NDArray[Any], ...],
    parameters: tuple[Any, ...],
    outputs: tuple[NDArray[Any], ...],
) -> None:
    """Run a compiled loop on all rows of a plane, in several threads."""

    def work(start: int, stop: int) -> None:
        for row in range(start, stop, _ROWS):
            check()
            rows = slice(row, min(row + _ROWS, stop))
            compiled(
                *(array[rows] for array in voxels), *parameters, *(out[rows] for out in outputs)
            )

    over_chunks(work, len(outputs[0]), least=_ROWS)


@kernel
def extreme_of_voxels(values, missing, sign, best):  # type: ignore[no-untyped-def]
    """Find the voxel with the highest (``sign`` 1) or lowest (-1) value behind each pixel.

    ``values`` is (n, m, depth), ``missing`` booleans of this shape or empty; missing voxels and
    NaN do not count. ``best`` (n, m) becomes the index of the voxel, 0 if none counts.
    """
    rows, columns, depth = values.shape
    for row in range(rows):
        # few columns at a time, so that whichever axis is contiguous is read from the cache
        for start in range(0, columns, _COLUMNS):
            stop = min(start + _COLUMNS, columns)
            best[row, start:stop] = -1
            for k in range(depth):
                for column in range(start, stop):
                    value, chosen = values[row, column, k], best[row, column]
                    if value != value or (missing.size > 0 and missing[row, column, k]):
                        continue
                    if chosen < 0 or value * sign > values[row, column, chosen] * sign:
                        best[row, column] = k
            for column in range(start, stop):
                best[row, column] = max(best[row, column], 0)


@kernel
def mean_of_voxels(values, missing, code, confidence, codes, hu, ab, clear):  # type: ignore[no-untyped-def]
    """Average the values and colors of the voxels behind each pixel.

    ``values``, ``missing``, ``code`` and ``confidence`` are as for `extreme_of_voxels`, ``codes``
    is a `LitCodes`. ``hu`` (n, m) becomes the mean value, or the first if none counts, ``ab``
    (n, m, 2) the mean color, ``clear`` (n, m) whether all voxels are transparent.
    """
    rows, columns, depth = values.shape
    count, one = np.zeros(_COLUMNS, np.int64), np.float32(1)
    for row in range(rows):
        # few columns at a time, so that whichever axis is contiguous is read from the cache
        for start in range(0, columns, _COLUMNS):
            stop = min(start + _COLUMNS, columns)
            count[:] = 0
            hu[row, start:stop], ab[row, start:stop], clear[row, start:stop] = 0.0, 0.0, True
            for k in range(depth):
                for column in range(start, stop):
                    value, index = values[row, column, k], code[row, column, k]
                    clear[row, column] &= codes.clear[index]
                    if value != value or (missing.size > 0 and missing[row, column, k]):
                        continue
                    share = codes.fade[confidence[row, column, k]] if codes.fading else one
                    count[column - start] += 1
                    hu[row, column] += value
                    ab[row, column, 0] += codes.ab[index, 0] * share
                    ab[row, column, 1] += codes.ab[index, 1] * share
            for column in range(start, stop):
                n = count[column - start]
                hu[row, column] = hu[row, column] / n if n else values[row, column, 0]
                ab[row, column, 0] /= max(n, 1)
                ab[row, column, 1] /= max(n, 1)
