"""Hints: a user's strokes, propagated along the CT's edges, with or without a model's colors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.color.chroma import Chroma
from tomochrome.color.codes import FreeColors, Mixtures, code_type
from tomochrome.color.palettes import Palette, palette
from tomochrome.colorization.body import block_mean
from tomochrome.colorization.grid import CoarseField, block_taps
from tomochrome.colorization.meanings import Meaning, meanings_of
from tomochrome.colorization.predict import NOT_FOR_DIAGNOSIS
from tomochrome.colorization.scan import body_noise, denoised, prepare
from tomochrome.colorization.slab_kernels import SHELL_HU, SHELL_IN, SHELL_OUT
from tomochrome.colorization.spread import Domain, Field, fit_table, spread, table_row
from tomochrome.colorization.tables import (
    color_codes,
    color_table,
    grey_tissue_table,
    mixture_codes,
    tissue_table,
)
from tomochrome.errors import GeometryError, InputError, OptionError
from tomochrome.geometry import closest_axial, reorient_like
from tomochrome.geometry.orient import axis_map, reorient
from tomochrome.notices import Notice
from tomochrome.runtime import ThreadPool, check, report, thread_count
from tomochrome.runtime.device import compute_threads
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.volume import Volume, require_type, require_volume

if TYPE_CHECKING:
    from tomochrome.color.codes import Codes, Table
    from tomochrome.colorization.scan import Scan

HINTS_ONLY: Final = "hints"  #: model name for hints without a model
REACH_MM: Final = 250.0
CELL_MM: Final = 1.5  #: size of the cells in which strokes are propagated
MAX_CELLS: Final = 4_000_000  #: cells are enlarged to stay below this number
BALANCE: Final = 0.01  #: membership at which stroke and previous color have equal weight
MIN_SHARE: Final = 0.02  #: smaller shares of strokes are ignored

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
    """Color a CT from a few strokes, with or without the colors of a model.

    Parameters
    ----------
    volume
        CT in Hounsfield units, in any orientation, of one or more slices.
    strokes
        Integers (z, y, x) on the grid of ``volume`` (a Volume may have permuted or flipped
        axes): 0 for no stroke, otherwise a label. By default a label is the index of a tissue
        (``tomochrome palette``).
    meanings
        Meanings of labels, overriding the default: a tissue, a color ``"#rrggbb"``, or
        ``"keep"`` (the existing colors are kept).
    chroma
        Colors of a model to correct; None for strokes only, where the rest is grey.
    reach_mm
        Maximum reach of a stroke in mm.
    palette_name
        Palette that converts tissues to colors if some strokes or the model use fixed colors.
    threads
        CPU threads to use; by default all that are available to this process.
    force
        Treat the values as Hounsfield units even if the volume's unit is unknown.

    Returns
    -------
    Chroma
        On the grid of ``volume`` as stored. A voxel under a stroke has the stroke's color and
        full confidence; elsewhere the confidence is the weighted mean of those of the model and
        the strokes. Voxels outside the body keep code 0.

    Raises
    ------
    OptionError
        If there are no strokes, or a label or meaning is invalid.
    InputError, GeometryError
        If strokes or chroma are not on the grid of the CT.
    NotCTError
        If the volume is not CT in Hounsfield units.
    Cancelled
        If the user cancelled.
    """
    require_volume(volume, "the scan to color")
    if chroma is not None:
        require_type(chroma, Chroma, "the colors", "tc.colorize")
    if not 1.0 <= reach_mm <= 1000.0:
        raise OptionError(f"the reach of strokes must be from 1 to 1000 mm, not {reach_mm:g}")
    labels = _checked(volume, strokes)
    groups = meanings_of(np.unique(labels[labels != 0]), meanings)
    if not groups:
        raise OptionError("there are no strokes: paint some first (all labels are 0)")
    check()
    report(0, 0, "finding the body")
    with compute_threads(threads):
        scan = prepare(volume, force=force)
        upright = reorient(Volume(labels, volume.affine), *axis_map(volume.affine)).voxels
        mixer = _CodeMixer.of(list(groups), chroma, palette(palette_name))
        old = None if chroma is None else chroma.on_grid(scan.upright)
        coloring = _StrokeColoring(scan, upright, tuple(groups.values()), reach_mm, threads)
        result = coloring.color(mixer, old)
    code, confidence = (np.asarray(reorient_like(scan.upright.with_voxels(a), volume).voxels)
                        for a in (result.code, result.confidence))  # fmt: skip
    before = volume.provenance if chroma is None else chroma.provenance
    summary = ", ".join(f"{n} {m.name}" for n, m in zip(result.strokes, groups, strict=True))
    step = (
        f"hints: strokes ({summary}) spread along edges by Levin's optimization, reach "
        f"{reach_mm:g} mm, {NOT_FOR_DIAGNOSIS}"
    )
    warnings = (*(scan.warnings if chroma is None else ()), *result.warnings)
    after = before.add(step, *warnings)
    return Chroma(
        code=code,
        confidence=confidence,
        table=mixer.table,
        affine=volume.affine,
        model=hinted_name("" if chroma is None else chroma.model),
        provenance=replace(after, extra={"device": "cpu", **after.extra}),
    )


def hinted_name(model: str) -> str:
    """Return the name of a model combined with hints, or of hints only."""
    if not model or model == HINTS_ONLY or model.endswith(f" + {HINTS_ONLY}"):
        return model or HINTS_ONLY
    return f"{model} + {HINTS_ONLY}"


def _checked(volume: Volume, strokes: Volume | NDArray[Any]) -> NDArray[np.integer[Any]]:
    """Return the labels as a validated array on the grid of the CT."""
    if isinstance(strokes, Volume):
        try:
            strokes = reorient_like(closest_axial(strokes), volume)
        except GeometryError:
            raise GeometryError(
                f"the strokes of shape {strokes.shape} are not on the voxel grid of the CT of "
                f"shape {volume.shape}; paint them on the CT, or resample them to its grid"
            ) from None
        strokes = strokes.voxels
    labels = np.asarray(strokes)
    if labels.shape != volume.shape:
        raise InputError(
            f"the strokes have the shape {labels.shape}, the CT has {volume.shape}; "
            "paint them on the CT itself"
        )
    if labels.dtype.kind == "f" and (np.rint(labels) == labels).all() and labels.max() < 1 << 31:
        labels = labels.astype(np.int32)  # some programs store label maps as floats
    if labels.dtype.kind not in "iu":
        raise InputError(f"strokes must be a label map of integers, not {labels.dtype} values")
    if labels.min() < 0:
        raise InputError(f"the strokes have the label {labels.min()}; labels cannot be negative")
    return labels


@dataclass(frozen=True, eq=False)
class _CodeMixer:
    """Mixes the codes of strokes and previous colors in one table.

    Both are rows of weights of tissues, or of (a*, b*), that are mixed linearly.
    """

    table: Table
    first: int  #: offset in ``table`` of the codes of `grey_tissue_table` or `color_table`
    strokes: NDArray[np.float32]  #: the row of each meaning
    changes: NDArray[np.float32]  #: 1 for each meaning that changes colors, 0 for "keep"
    codes_of: NDArray[np.uint16] | None = None  #: code in ``table`` of each code of the model

    @classmethod
    def of(cls, meanings: list[Meaning], chroma: Chroma | None, colors: Palette) -> _CodeMixer:
        """Choose the table: tissues if all meanings and the model are tissues, else colors."""
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
            first = len(old) - 1  # the model's mixtures may contain more than two tissues
            weights_of_code = np.vstack([old.weights, table.weights[1:]])
            shades = np.concatenate([old.shade_of_code, table.shade_of_code[1:]])
            table = Mixtures(weights_of_code, old.contrast, shades)
        return cls(table, first, weights.astype(np.float32), changes)

    @property
    def rows(self) -> NDArray[np.float32]:
        """The row of each code."""
        return self.table.ab if isinstance(self.table, FreeColors) else self.table.weights

    @property
    def grey(self) -> int:
        """The code of the uncolored body."""
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
class _StrokeColoring:
    """Strokes on an axial scan: labels (z, y, x), and the labels of each meaning."""

    scan: Scan
    labels: NDArray[Any]
    groups: tuple[list[int], ...]
    reach_mm: float
    threads: int | None

    def color(self, mixer: _CodeMixer, old: Chroma | None) -> _Colored:
        """Return codes and confidences of all voxels, and the number of strokes per meaning."""
        code, confidence = self._start(mixer, old)
        stroke_box = ndimage.find_objects((self.labels != 0).astype(np.uint8))[0]
        labels = self.labels[stroke_box]
        drawn = np.zeros(labels.shape, np.uint8)  # number of the meaning, from 1
        for number, group in enumerate(self.groups, 1):
            drawn[np.isin(labels, group)] = number
        counts = [int(ndimage.label(drawn == n, np.ones((3, 3, 3)))[1])
                  for n in range(1, 1 + len(self.groups))]  # fmt: skip
        outside = (drawn > 0) & (code[stroke_box] == 0)
        warnings: tuple[Notice, ...] = ()
        if outside.any():
            text = (
                f"{np.count_nonzero(outside)} of {np.count_nonzero(drawn)} voxels of the strokes "
                "are outside the body and have no effect"
            )
            warnings = (Notice("option-unused", "warning", text),)
        drawn[outside] = 0
        if drawn.any():
            box = self._box(stroke_box)
            labels = np.zeros(code[box].shape, np.uint8)
            labels[tuple(slice(s.start - b.start, s.stop - b.start)
                         for s, b in zip(stroke_box, box, strict=True))] = drawn  # fmt: skip
            self._paint(box, labels, mixer, code[box], confidence[box])
        return _Colored(code, confidence, counts, warnings)

    def _start(self, mixer: _CodeMixer, old: Chroma | None) -> tuple[Codes, NDArray[np.uint8]]:
        """Return the initial codes and confidences: the model's, or those of a grey body."""
        if old is not None:
            code = old.code if mixer.codes_of is None else mixer.codes_of[old.code]
            return code.astype(code_type(len(mixer.table))), old.confidence.copy()
        hu, body = self.scan.hu, self.scan.body_field()
        code = np.zeros(hu.shape, np.uint16)
        for z, plane in enumerate(code):
            field = body.plane(z)
            inside = (field > SHELL_IN) | ((field >= SHELL_OUT) & (hu[z] > SHELL_HU))
            plane[inside] = mixer.grey
        if self.scan.upright.outside is not None:
            code[self.scan.upright.outside] = 0
        return code, np.where(code > 0, 0, 255).astype(np.uint8)

    def _box(self, stroke_box: Box) -> Box:
        """Return the bounding box of the part of the body that strokes can reach."""
        field = self.scan.body.field
        boxes = ndimage.find_objects((field > 0).astype(np.uint8))
        body = boxes[0] if boxes else tuple(slice(0, n) for n in field.shape)
        sides = []
        for axis, part in enumerate(stroke_box):
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
        mixer: _CodeMixer,
        code: Codes,
        confidence: NDArray[np.uint8],
    ) -> None:
        """Propagate strokes within a box, and mix them with its codes in place."""
        noise = body_noise(self.scan) / 2  # residual after `denoised`
        hu = np.ascontiguousarray(self.scan.hu[box])
        domain, shares, factors = _cells(hu, code > 0, labels, len(self.groups), self.scan.spacing)
        domain = replace(domain, noise=noise)
        fits = [fit_table(domain.hu[share > 0], noise) for share in shares]
        length = self.reach_mm / np.log(1 / BALANCE)
        fields = spread(domain, shares, fits, length, self.threads)
        z, y, x = map(block_taps, hu.shape, factors, domain.hu.shape)
        grids = [CoarseField(field, *z, *y, *x) for field in fields]
        changes = mixer.changes[:, None, None]

        def paint(number: int) -> None:
            check()
            rows = table_row(denoised(hu[number]))
            odds = np.stack([(grid.plane(number) / np.float32(BALANCE)) ** 2 * fit[rows]
                             for grid, fit in zip(grids, fits, strict=True)])  # fmt: skip
            share = odds / (1 + odds.sum(axis=0))
            under = labels[number] > 0
            share[:, under] = labels[number][under] == np.arange(1, 1 + len(grids))[:, None]
            share *= changes * (code[number] > 0)
            total = share.sum(axis=0)
            at = total > MIN_SHARE
            new, kept = share[:, at].T, 1 - total[at]
            before = mixer.rows[code[number][at]]
            code[number][at] = mixer.codes(new @ mixer.strokes + kept[:, None] * before)
            mixed = 255 * (new * new).sum(axis=1) + kept * confidence[number][at]
            confidence[number][at] = np.rint(mixed)

        with ThreadPool(thread_count(self.threads)) as pool:
            for done, _ in enumerate(pool.map(paint, range(len(hu))), 1):
                report(done, len(hu), "coloring")
                check()


def _cells(
    hu: NDArray[np.int16],
    inside: NDArray[np.bool_],
    labels: NDArray[np.uint8],
    meanings: int,
    spacing: tuple[float, float, float],
) -> tuple[Domain, list[Field], tuple[int, int, int]]:
    """Return the domain, the covered fraction of its cells per meaning, and voxels per cell.

    Cells measure `CELL_MM`, or half of that for a single slice; they are enlarged if there would
    be more than `MAX_CELLS`.
    """
    size = CELL_MM / (2 if len(hu) == 1 else 1)
    fz = fy = fx = 0
    while fz == 0 or hu.size > MAX_CELLS * fz * fy * fx:
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
        count = np.bincount(cell[labels[at] == number], minlength=coarse.size)
        share = count / (fz * fy * fx)
        shares.append(share.reshape(coarse.shape).astype(np.float32))
    inner = (block_mean(inside.astype(np.float32), factors) > 0.3) | (np.sum(shares, axis=0) > 0)
    for plane in coarse:
        plane[:] = denoised(plane)
    mm = spacing[0] * fz, spacing[1] * fy, spacing[2] * fx
    return Domain(coarse, inner, mm), shares, factors
