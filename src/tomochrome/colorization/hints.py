"""Hints: a user's strokes, which spread along the CT's edges over a model's colors or alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.color.chroma import Chroma
from tomochrome.color.codes import FreeColors, Mixtures, code_type
from tomochrome.color.palette import Palette, palette
from tomochrome.colorization.body import block_mean
from tomochrome.colorization.grid import OnGrid, block_taps
from tomochrome.colorization.kernels import SHELL_HU, SHELL_IN, SHELL_OUT
from tomochrome.colorization.meanings import Meaning, meanings_of
from tomochrome.colorization.predict import NOT_FOR_DIAGNOSIS
from tomochrome.colorization.scan import body_noise, prepare
from tomochrome.colorization.spread import Field, Ground, fit_table, spread, table_row
from tomochrome.colorization.tables import (
    color_codes,
    color_table,
    grey_tissue_table,
    mixture_codes,
    tissue_table,
)
from tomochrome.colorization.threads import compute_threads
from tomochrome.errors import GeometryError, InputError, OptionError
from tomochrome.geometry import closest_axial, reorient_like
from tomochrome.geometry.orient import axis_map, reorient
from tomochrome.notices import Notice
from tomochrome.runtime import ThreadPool, check, report, thread_count
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.volume import Volume

if TYPE_CHECKING:
    from tomochrome.color.codes import Codes, Table
    from tomochrome.colorization.scan import Scan

ALONE: Final = "hints"  #: the model's name where there are hints and no model
REACH_MM: Final = 250.0
CELL_MM: Final = 1.5  #: size of the cells that strokes spread over
MOST_CELLS: Final = 4_000_000  #: in a larger volume cells are larger
AGAINST: Final = 0.01  #: membership at which a stroke is as strong as what was there before
LEAST: Final = 0.02  #: smaller shares of strokes are not seen

Box = tuple[slice, slice, slice]


def apply_hints(
    volume: Volume,
    strokes: Volume | NDArray[Any],
    meanings: Mapping[int, str | Tissue] | None = None,
    *,
    chroma: Chroma | None = None,
    reach_mm: float = REACH_MM,
    palette_name: str | Palette = "natural",
    threads: int | None = None,
    force: bool = False,
) -> Chroma:
    """Color a CT by a few strokes, over the colors of a model or alone.

    Parameters
    ----------
    volume
        CT in Hounsfield units, in any orientation; a single slice is a volume too.
    strokes
        Whole numbers (z, y, x) on the grid of ``volume`` (a Volume may have other axes): 0 where
        there is no stroke, otherwise a label. By default a label is the index of a tissue
        (``tomochrome palette``).
    meanings
        What other labels, or these, stand for: a tissue, a color ``"#rrggbb"``, or ``"keep"``
        (what is there stays as it is).
    chroma
        Colors of a model to correct; None for strokes alone, where the rest is grey.
    reach_mm
        How far a stroke reaches at most.
    palette_name
        Colors of the tissues where some strokes, or the model, are colors of their own: tissues
        must then become colors too.
    threads
        CPU threads to use; by default all that this process may use.
    force
        Take the values for Hounsfield units although the volume does not say so.

    Returns
    -------
    Chroma
        On the grid of ``volume`` as stored. A voxel under a stroke has the stroke's color and
        full confidence; elsewhere the confidence is the model's and that of the strokes, each by
        its share. Voxels outside the body keep code 0.

    Raises
    ------
    OptionError
        If there are no strokes, or a label or meaning makes no sense.
    InputError, GeometryError
        If strokes or chroma do not lie on the grid of the CT.
    NotCTError
        If the volume is not CT in Hounsfield units.
    Cancelled
        If the user stopped it.
    """
    if not 1.0 <= reach_mm <= 1000.0:
        raise OptionError(f"strokes can reach from 1 to 1000 mm, not {reach_mm:g}")
    labels = _checked(volume, strokes)
    found = meanings_of(np.unique(labels[labels != 0]), meanings)
    if not found:
        raise OptionError("there are no strokes: paint some first (all labels are 0)")
    check()
    report(0, volume.shape[0], "finding the body")
    with compute_threads(threads):
        scan = prepare(volume, force=force)
        upright = reorient(Volume(labels, volume.affine), *axis_map(volume.affine)).voxels
        mix = _Mix.of(list(found), chroma, palette(palette_name))
        old = None if chroma is None else chroma.on_grid(scan.upright)
        result = _Work(scan, upright, tuple(found.values()), reach_mm, threads).color(mix, old)
    code, sure = (np.asarray(reorient_like(scan.upright.with_voxels(a), volume).voxels)
                  for a in (result.code, result.confidence))  # fmt: skip
    before = volume.provenance if chroma is None else chroma.provenance
    said = ", ".join(f"{n} {m.name}" for n, m in zip(result.strokes, found, strict=True))
    step = (
        f"hints: strokes ({said}) spread along edges by Levin's optimization, reach "
        f"{reach_mm:g} mm, {NOT_FOR_DIAGNOSIS}"
    )
    warnings = (*(scan.warnings if chroma is None else ()), *result.warnings)
    after = before.add(step, *warnings)
    return Chroma(
        code=code,
        confidence=sure,
        table=mix.table,
        affine=volume.affine,
        model=hinted_name("" if chroma is None else chroma.model),
        provenance=replace(after, extra={"device": "cpu", **after.extra}),
    )


def hinted_name(model: str) -> str:
    """Return what a model with hints over it is called; without a name, hints alone."""
    if not model or model == ALONE or model.endswith(f" + {ALONE}"):
        return model or ALONE
    return f"{model} + {ALONE}"


def _checked(volume: Volume, strokes: Volume | NDArray[Any]) -> NDArray[np.integer[Any]]:
    """Return the labels on the grid of the CT."""
    if isinstance(strokes, Volume):
        try:
            strokes = reorient_like(closest_axial(strokes), volume)
        except GeometryError:
            raise GeometryError(
                f"the strokes of shape {strokes.shape} do not lie on the voxel grid of the CT of "
                f"shape {volume.shape}; paint them on the CT, or resample them onto it"
            ) from None
        strokes = strokes.voxels
    labels = np.asarray(strokes)
    if labels.shape != volume.shape:
        raise InputError(
            f"the strokes have the shape {labels.shape}, the CT has {volume.shape}; "
            "paint them on the CT itself"
        )
    if labels.dtype.kind == "f" and (np.rint(labels) == labels).all() and labels.max() < 1 << 31:
        labels = labels.astype(np.int32)  # as some programs store label maps
    if labels.dtype.kind not in "iu":
        raise InputError(f"strokes are whole numbers, not {labels.dtype} values; give a label map")
    if labels.min() < 0:
        raise InputError(f"strokes are labelled {labels.min()}; labels are whole numbers from 0")
    return labels


@dataclass(frozen=True, eq=False)
class _Mix:
    """How strokes and what was there become codes of one table.

    Both are rows of numbers, weights of tissues or (a*, b*), that are mixed linearly.
    """

    table: Table
    first: int  #: code in ``table`` before those of `grey_tissue_table` or `color_table`
    strokes: NDArray[np.float32]  #: the row of each meaning
    changes: NDArray[np.float32]  #: 1 for each meaning, 0 for those that keep what is there
    codes_of: NDArray[np.uint16] | None = None  #: of each code of the model; None: the same

    @classmethod
    def of(cls, meanings: list[Meaning], chroma: Chroma | None, colors: Palette) -> _Mix:
        """Choose the table: tissues where all are, otherwise colors."""
        old = None if chroma is None else chroma.table
        changes = np.array([not m.keeps for m in meanings], np.float32)
        if any(m.is_color for m in meanings) or isinstance(old, FreeColors):
            ab = np.stack([np.zeros(2) if m.keeps else m.ab(colors) for m in meanings])
            codes_of = None if old is None else color_codes(old.chroma(colors))
            if codes_of is not None:
                codes_of[0] = 0
            return cls(color_table(), 0, ab.astype(np.float32), changes, codes_of)
        weights = np.stack([np.zeros(N_TISSUES) if m.keeps else m.weights() for m in meanings])
        table, first = grey_tissue_table(), 0
        if old is not None and old is not table and old is not tissue_table():
            assert isinstance(old, Mixtures)
            first = len(old) - 1  # its own mixtures may be of more than two tissues
            table = Mixtures(np.vstack([old.weights, table.weights[1:]]))
        return cls(table, first, weights.astype(np.float32), changes)

    @property
    def rows(self) -> NDArray[np.float32]:
        """The numbers of each code."""
        return self.table.ab if isinstance(self.table, FreeColors) else self.table.weights

    @property
    def grey(self) -> int:
        """The code of a body without color."""
        return int(self.codes(np.zeros((1, self.strokes.shape[1]), np.float32))[0])

    def codes(self, rows: NDArray[np.float32]) -> NDArray[Any]:
        """Return the code nearest to each row."""
        if isinstance(self.table, FreeColors):
            return color_codes(rows)
        return mixture_codes(rows).astype(code_type(len(self.table))) + self.first


class _Colored(NamedTuple):
    code: Codes
    confidence: NDArray[np.uint8]
    strokes: list[int]
    warnings: tuple[Notice, ...]


@dataclass(frozen=True, eq=False)
class _Work:
    """Strokes on an upright scan: labels (z, y, x), and the labels of each meaning."""

    scan: Scan
    labels: NDArray[Any]
    groups: tuple[list[int], ...]
    reach_mm: float
    threads: int | None

    def color(self, mix: _Mix, old: Chroma | None) -> _Colored:
        """Return codes and confidences of all voxels, and how many strokes each meaning has."""
        code, sure = self._start(mix, old)
        drawn_in = ndimage.find_objects((self.labels != 0).astype(np.uint8))[0]
        labels = self.labels[drawn_in]
        drawn = np.zeros(labels.shape, np.uint8)  # number of the meaning, from 1
        for number, group in enumerate(self.groups, 1):
            drawn[np.isin(labels, group)] = number
        counts = [int(ndimage.label(drawn == n, np.ones((3, 3, 3)))[1])
                  for n in range(1, 1 + len(self.groups))]  # fmt: skip
        off = (drawn > 0) & (code[drawn_in] == 0)
        warnings: tuple[Notice, ...] = ()
        if off.any():
            text = (
                f"{np.count_nonzero(off)} of {np.count_nonzero(drawn)} voxels of the strokes lie "
                "outside the body and have no effect"
            )
            warnings = (Notice("option-unused", "warning", text),)
        drawn[off] = 0
        if drawn.any():
            box = self._box(drawn_in)
            labels = np.zeros(code[box].shape, np.uint8)
            labels[tuple(slice(d.start - b.start, d.stop - b.start)
                         for d, b in zip(drawn_in, box, strict=True))] = drawn  # fmt: skip
            self._paint(box, labels, mix, code[box], sure[box])
        return _Colored(code, sure, counts, warnings)

    def _start(self, mix: _Mix, old: Chroma | None) -> tuple[Codes, NDArray[np.uint8]]:
        """Return what there is before any stroke: the model's colors, or a grey body."""
        if old is not None:
            code = old.code if mix.codes_of is None else mix.codes_of[old.code]
            return code.astype(code_type(len(mix.table))), old.confidence.copy()
        hu, body = self.scan.hu, self.scan.body_on_grid()
        code = np.zeros(hu.shape, np.uint16)
        for z, plane in enumerate(code):
            field = _plane(body, z)
            inside = (field > SHELL_IN) | ((field >= SHELL_OUT) & (hu[z] > SHELL_HU))
            plane[inside] = mix.grey
        if self.scan.upright.outside is not None:
            code[self.scan.upright.outside] = 0
        return code, np.where(code > 0, 0, 255).astype(np.uint8)

    def _box(self, drawn_in: Box) -> Box:
        """Return the part of the volume that strokes may reach."""
        field = self.scan.body.field
        found = ndimage.find_objects((field > 0).astype(np.uint8))
        body = found[0] if found else tuple(slice(0, n) for n in field.shape)
        sides = []
        for axis, part in enumerate(drawn_in):
            factor = self.scan.body.factors[axis]
            reach = round(self.reach_mm / self.scan.spacing[axis])
            first = max(0, min(part.start, max(part.start - reach, body[axis].start * factor)))
            stop = max(part.stop, min(part.stop + reach, body[axis].stop * factor))
            sides.append(slice(first, min(stop, self.labels.shape[axis])))
        z, y, x = sides
        return z, y, x

    def _paint(
        self,
        box: Box,
        labels: NDArray[np.uint8],
        mix: _Mix,
        code: Codes,
        sure: NDArray[np.uint8],
    ) -> None:
        """Spread strokes over a part of the volume, and mix them with its codes in place."""
        noise = body_noise(self.scan) / 2  # what is left of it after `_denoised`
        hu = np.ascontiguousarray(self.scan.hu[box])
        ground, shares, factors = _cells(hu, code > 0, labels, len(self.groups), self.scan.spacing)
        ground = replace(ground, noise=noise)
        fits = [fit_table(ground.hu[share > 0], noise) for share in shares]
        length = self.reach_mm / np.log(1 / AGAINST)
        fields = spread(ground, shares, fits, length, self.threads)
        z, y, x = map(block_taps, hu.shape, factors, ground.hu.shape)
        grids = [OnGrid(field, *z, *y, *x) for field in fields]
        changes = mix.changes[:, None, None]

        def paint(number: int) -> None:
            check()
            rows = table_row(_denoised(hu[number]))
            odds = np.stack([(_plane(grid, number) / np.float32(AGAINST)) ** 2 * fit[rows]
                             for grid, fit in zip(grids, fits, strict=True)])  # fmt: skip
            share = odds / (1 + odds.sum(axis=0))
            under = labels[number] > 0
            share[:, under] = labels[number][under] == np.arange(1, 1 + len(grids))[:, None]
            share *= changes * (code[number] > 0)
            whole = share.sum(axis=0)
            at = whole > LEAST
            mine, kept = share[:, at].T, 1 - whole[at]
            before = mix.rows[code[number][at]]
            code[number][at] = mix.codes(mine @ mix.strokes + kept[:, None] * before)
            certain = 255 * (mine * mine).sum(axis=1) + kept * sure[number][at]
            sure[number][at] = np.rint(certain)

        with ThreadPool(thread_count(self.threads)) as pool:
            for done, _ in enumerate(pool.map(paint, range(len(hu))), 1):
                report(done, len(hu), "coloring")
                check()


def _plane(grid: OnGrid, number: int) -> NDArray[np.float32]:
    """Return one slice of the volume of what is known on a coarse grid, linearly."""
    z, wz, values = grid.z[number], grid.wz[number], grid.values
    plane = values[z] * (1 - wz) + values[min(z + 1, len(values) - 1)] * wz
    for axis, low, weight in ((0, grid.y, grid.wy), (1, grid.x, grid.wx)):
        next_ = np.minimum(low + 1, plane.shape[axis] - 1)
        weight = weight[:, None] if axis == 0 else weight
        plane = plane.take(low, axis) * (1 - weight) + plane.take(next_, axis) * weight
    return np.asarray(plane, np.float32)


def _denoised(plane: NDArray[Any]) -> NDArray[np.float32]:
    """Return a slice with its noise halved and its edges in place: medians of 3 x 3 pixels."""
    return np.asarray(ndimage.median_filter(plane.astype(np.float32), 3, mode="nearest"))


def _cells(
    hu: NDArray[np.int16],
    inside: NDArray[np.bool_],
    labels: NDArray[np.uint8],
    meanings: int,
    spacing: tuple[float, float, float],
) -> tuple[Ground, list[Field], tuple[int, int, int]]:
    """Return the cells that strokes spread over.

    Returns
    -------
    ground
        Cells of `CELL_MM`; of half that in a single slice, and larger where they would be more
        than `MOST_CELLS`.
    shares
        For each meaning the share of each cell that its strokes cover.
    factors
        Voxels in a cell along (z, y, x).
    """
    size = CELL_MM / (2 if len(hu) == 1 else 1)
    fz = fy = fx = 0
    while fz == 0 or hu.size > MOST_CELLS * fz * fy * fx:
        fz, fy, fx = (
            max(1, min(n, int(size / mm + 0.5))) for mm, n in zip(spacing, hu.shape, strict=True)
        )
        size *= 1.2
    factors = fz, fy, fx
    coarse = block_mean(hu, factors)
    at = np.nonzero(labels)
    cell = np.ravel_multi_index([i // f for i, f in zip(at, factors, strict=True)], coarse.shape)
    shares = []
    for number in range(1, meanings + 1):
        mine = cell[labels[at] == number]
        share = np.bincount(mine, minlength=coarse.size) / (fz * fy * fx)
        shares.append(share.reshape(coarse.shape).astype(np.float32))
    room = (block_mean(inside.astype(np.float32), factors) > 0.3) | (np.sum(shares, axis=0) > 0)
    for plane in coarse:
        plane[:] = _denoised(plane)
    mm = spacing[0] * fz, spacing[1] * fy, spacing[2] * fx
    return Ground(coarse, room, mm), shares, factors
