"""Whether slices form one volume: slice order, positions, affine, and a verdict with reasons.

Slices are sorted by their position projected onto the normal of the slice plane (DICOM PS3.3
C.7.6.2.1.1), never by file name or instance number. SliceThickness is never used as the distance
between slices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.io.dicom.damage import is_most, refusal
from tomochrome.io.dicom.header import Header
from tomochrome.io.dicom.judge import (
    DRIFT_TOLERANCE_PIXELS,
    Finding,
    Gaps,
    Sideways,
    gaps,
    repeats,
    sideways,
    unseen,
)
from tomochrome.io.dicom.phases import interleaved, same_position_mm
from tomochrome.io.dicom.regular import Plan, SliceGeometry, plan
from tomochrome.notices import Notice, refused
from tomochrome.volume import Verdict

COSINE_TOLERANCE: Final = 1e-3
"""Direction cosines are often written with three to six digits."""
MAX_COSINE: Final = 0.006
"""Rounding to two digits changes direction cosines by up to this; more means a rotation."""
MIN_MM: Final = 0.001
MAX_MM: Final = 100.0
"""Pixel spacings of CT, including micro-CT, are between `MIN_MM` and this."""
MAX_RESCALE: Final = 1e9
"""Greater rescale slopes and intercepts are invalid, even for PET."""
MAX_NAMED: Final = 3
"""Maximum number of damaged slices that are named."""
MAX_POSITION_MM: Final = 1e6
"""Positions more than a kilometre from the origin are invalid."""


@dataclass(frozen=True)
class Stack:
    """The sorted slices and their geometry."""

    headers: tuple[Header, ...]
    affine: NDArray[np.float64] | None  #: of the slices as stored: exact if regular, else best fit
    verdict: Verdict
    warnings: tuple[Notice, ...] = ()
    refusal: Notice | None = None  #: why this cannot be read as one volume; None if it can
    plan: Plan | None = None  #: how to resample the slices; None if they are regular as stored
    #: replace ``warnings`` if the slices are not resampled
    stored_warnings: tuple[Notice, ...] = ()
    #: all headers of the volume, also those that were left out; empty if they are not known
    given: tuple[Header, ...] = ()
    #: files of the series whose header is cut off, in words; empty if there are none
    lost: str = ""
    damaged: tuple[Header, ...] = ()  #: those that are missing because they cannot be decoded

    @property
    def grid_affine(self) -> NDArray[np.float64] | None:
        """4x4 matrix from (z, y, x) index of the volume as read to LPS mm."""
        return self.affine if self.plan is None else self.plan.affine

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the volume as read along (z, y, x)."""
        if self.plan is not None:
            return self.plan.shape
        return len(self.headers), self.headers[0].rows, self.headers[0].columns


def stack(headers: Sequence[Header]) -> Stack:
    """Sort the slices of one series, determine their geometry, and assess it.

    Parameters
    ----------
    headers
        At least one header; all from one series.

    Returns
    -------
    Stack
        Slices sorted along the slice normal. Unevenly spaced, tilted or shifted slices get a
        `Plan`. The affine is None only if the slices are refused, for example because positions,
        orientations or pixel spacing are missing or inconsistent.
    """
    unplaced = _refuse_unplaced(headers) or _refuse_values(headers)
    if unplaced:
        return _refused(headers, unplaced)
    headers, notes = _without_copies(headers)
    geometry, headers, findings, refusal = _order(headers)
    if refusal:
        return _refused(headers, refusal)
    if len(headers) == 1:
        return _single(tuple(headers), geometry, notes, findings)
    return _judged(tuple(headers), geometry, notes, findings)


def sound_stack(headers: Sequence[Header]) -> Stack:
    """Return the `stack` of the slices that can be decoded; the damaged ones count as missing.

    If most slices are damaged, they are refused.
    """
    given = tuple(headers)
    damaged = [h for h in given if h.damage is not None]
    if not damaged:
        return replace(stack(given), given=given)
    if is_most(len(damaged), len(given)):
        first = damaged[0]
        assert first.damage is not None
        error = refusal(len(given), first.path, first.damage)
        notice = Notice("damaged", "warning", str(error))
        return Stack(given, None, "unreadable", (notice,), notice, given=given, damaged=given)
    sound = stack([h for h in given if h.damage is None])
    missing = [h for h in damaged if not _is_replaced(h, sound.headers)]
    notice = damage_notice(damaged, len(given), missing=bool(missing))
    worse = bool(missing) and sound.verdict in ("regular", "irregular") and not sound.refusal
    return replace(
        sound,
        verdict="incomplete" if worse else sound.verdict,
        warnings=(notice, *sound.warnings),
        stored_warnings=(notice, *sound.stored_warnings),
        given=given,
        damaged=tuple(missing),
    )


def _is_replaced(damaged: Header, sound: Sequence[Header]) -> bool:
    """Whether a sound slice has the position of a damaged one."""
    place = damaged.position
    return place is not None and any(
        h.position is not None and math.dist(h.position, place) < same_position_mm(h) for h in sound
    )


def damage_notice(damaged: Sequence[Header], total: int, *, missing: bool) -> Notice:
    """Return a notice that names damaged slices.

    Parameters
    ----------
    damaged
        Their headers.
    total
        Number of slices of the scan.
    missing
        Whether at least one is missing now, because no other image has its position.
    """
    told = ", ".join(map(_named, damaged[:MAX_NAMED]))
    more = f" and {len(damaged) - MAX_NAMED} more" if len(damaged) > MAX_NAMED else ""
    end = "treated as missing" if missing else "other images of the same positions were read"
    text = f"slices that cannot be decoded: {len(damaged)} of {total}, {told}{more}: {end}"
    return Notice("damaged", "warning", text)


def _named(header: Header) -> str:
    """Return file, number, position and damage of a slice."""
    facts = [f"frame {header.frame + 1}"] if header.is_multiframe else []
    if header.instance is not None and not header.is_multiframe:
        facts.append(f"image {header.instance}")
    if header.position is not None and header.orientation is not None:
        row, column = np.reshape(header.orientation, (2, 3))
        axis = int(np.argmax(np.abs(np.cross(row, column))))
        facts.append(f"{'xyz'[axis]} = {header.position[axis]:.1f} mm")
    reason = header.damage.reason if header.damage else ""
    place = f" ({', '.join(facts)})" if facts else ""
    return f"'{header.path.name}'{place}, {reason}"


def _refused(headers: Sequence[Header], refusal: Notice) -> Stack:
    return Stack(tuple(headers), None, "unreadable", (refusal,), refusal)


def _order(
    headers: Sequence[Header],
) -> tuple[SliceGeometry, list[Header], list[Finding], Notice | None]:
    """Sort slices along their normal, drop repeated ones, and return findings and any refusal."""
    geometry, findings = _geometry(headers)
    order = np.argsort(geometry.along, kind="stable")
    ordered = [headers[i] for i in order]
    geometry = replace(geometry, positions=geometry.positions[order])
    same = repeats(geometry.along, geometry.positions, ordered)
    kept = same.kept
    if same.aside > max(DRIFT_TOLERANCE_PIXELS * min(geometry.pixel_spacing), 1.0):
        aside = refused(
            f"slices are side by side ({same.aside:.1f} mm apart in one plane), so they are not "
            f"one volume; {_CHOOSE}"
        )
        return geometry, ordered, findings, aside
    refusal = same.refusal()
    turns = "" if refusal else interleaved([ordered[i] for i in kept])
    if turns:
        refusal = refused(
            f"slices of several acquisitions are interleaved ({turns}), "
            "so this is not one volume; move each acquisition to its own folder"
        )
    if refusal:
        return geometry, ordered, findings, refusal
    left_out = len(ordered) - len(kept)
    if left_out:
        said = f"slices that repeat the position of another: {left_out}"
        kept_first = "the first image of each position was kept"
        findings.append(Finding(said, kept_first, kept_first))
    geometry = replace(geometry, positions=geometry.positions[kept])
    return geometry, [ordered[i] for i in kept], findings, None


def _geometry(headers: Sequence[Header]) -> tuple[SliceGeometry, list[Finding]]:
    """Return the geometry of the slices in the given order, and findings on their orientation."""
    first = headers[0]
    assert first.pixel_spacing is not None
    cosines = np.array([h.orientation for h in headers], dtype=np.float64)
    row, column = np.median(cosines, axis=0).reshape(2, 3)
    findings = []
    differ = float(np.abs(cosines - np.median(cosines, axis=0)).max())
    if differ > COSINE_TOLERANCE:
        said = f"the slices' directions differ by up to {np.degrees(differ):.2f} degrees"
        taken = "the usual one was taken for all"
        findings.append(Finding(said, taken, taken))
    else:
        row, column = np.asarray(first.orientation, dtype=np.float64).reshape(2, 3)
    row = row / np.linalg.norm(row)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    positions = np.array([h.position for h in headers], dtype=np.float64)
    down, across = first.pixel_spacing
    geometry = SliceGeometry(
        positions, row, np.cross(normal, row), normal, (down, across), (first.rows, first.columns)
    )
    return geometry, findings


def _judged(
    headers: tuple[Header, ...],
    geometry: SliceGeometry,
    notes: tuple[Notice, ...],
    findings: list[Finding],
) -> Stack:
    """Assess two or more slices at distinct positions, and plan their resampling if needed."""
    slide, apart = sideways(geometry), gaps(geometry.along)
    planned = None
    if slide.travel is not None or slide.jump or not apart.even:
        order = plan(geometry, slide.travel, whole=apart.whole)
        if isinstance(order, Notice):
            return _refused(headers, order)
        planned = order
    stretch = 1.0 / float(slide.travel @ geometry.normal) if slide.travel is not None else 1.0
    findings = [*slide.finding(planned), *apart.findings(geometry, stretch), *findings]
    further = unseen(headers, geometry.usual_gap)
    return Stack(
        headers,
        _affine(geometry, planned is None),
        _verdict(slide, apart, findings),
        (*notes, *(f.notice() for f in findings), *further),
        plan=planned,
        stored_warnings=(*notes, *(f.notice(as_stored=True) for f in findings), *further),
    )


def _verdict(slide: Sideways, apart: Gaps, findings: Sequence[Finding]) -> Verdict:
    """Return the most severe verdict."""
    if slide.jump:
        return "irregular"
    for verdict in ("tilted", "incomplete", "irregular"):
        if any(f.verdict == verdict for f in findings):
            return verdict
    return "regular"


def _affine(
    geometry: SliceGeometry, regular: bool, spacing: float | None = None
) -> NDArray[np.float64]:
    """Return the affine of the slices as stored.

    For unevenly spaced slices it is a least-squares fit; for evenly spaced slices with gantry
    tilt it is exact and includes the shear.
    """
    n = len(geometry.positions)
    affine = np.eye(4)
    affine[:3, 1] = geometry.column * geometry.pixel_spacing[0]
    affine[:3, 2] = geometry.row * geometry.pixel_spacing[1]
    if regular:
        step = float(geometry.along[-1]) / (n - 1) if spacing is None else spacing
        affine[:3, 0], affine[:3, 3] = geometry.normal * step, geometry.positions[0]
        return affine
    index = np.arange(n) - (n - 1) / 2
    affine[:3, 0] = index @ geometry.positions / (index @ index)
    affine[:3, 3] = geometry.positions.mean(axis=0) - affine[:3, 0] * (n - 1) / 2
    return affine


def _single(
    headers: tuple[Header, ...],
    geometry: SliceGeometry,
    notes: tuple[Notice, ...],
    findings: list[Finding],
) -> Stack:
    """Return the stack of a single slice, with the slice thickness as spacing."""
    thickness = headers[0].thickness
    warnings = (*notes, *(f.notice() for f in findings))
    if thickness is None or not MIN_MM <= thickness <= MAX_POSITION_MM:
        thickness = 1.0
        text = "a single slice without a thickness: 1 mm is assumed"
        warnings = (*warnings, Notice("geometry", "warning", text))
    verdict: Verdict = "irregular" if findings else "regular"
    affine = _affine(geometry, True, thickness)
    return Stack(headers, affine, verdict, warnings, stored_warnings=warnings)


def _refuse_unplaced(headers: Sequence[Header]) -> Notice | None:
    """Return why the slices have no common geometry in space; None if they have one."""
    n = len(headers)
    missing = sum(not _is_placed(h) for h in headers)
    if missing:
        return refused(
            f"{missing} of {n} slices have no usable position or orientation, so they cannot be "
            "placed in space; export the series again as original CT images"
        )
    if any(h.pixel_spacing is None or min(h.pixel_spacing) <= 0 for h in headers):
        return refused(
            "the pixel spacing is missing, so sizes are unknown; export the series again"
        )
    first = headers[0]
    matrices = {(h.rows, h.columns) for h in headers}
    if len(matrices) > 1:
        sizes = ", ".join(f"{rows}x{columns}" for rows, columns in sorted(matrices))
        return refused(
            f"the slices differ in matrix ({sizes}), so they are not one volume; {_CHOOSE}"
        )
    spacings = {h.pixel_spacing or () for h in headers}
    if any(not np.allclose(spacing, first.pixel_spacing or (), rtol=1e-3) for spacing in spacings):
        return refused(f"the slices differ in pixel spacing, so they are not one volume; {_CHOOSE}")
    if any(not MIN_MM <= v <= MAX_MM for spacing in spacings for v in spacing):
        return refused("the pixel spacing is invalid for a CT; export the series again")
    cosines = np.array([h.orientation for h in headers])
    if np.abs(cosines - np.median(cosines, axis=0)).max() > MAX_COSINE:
        return refused(f"the slices differ in orientation, so they are not one volume; {_CHOOSE}")
    return None


def _refuse_values(headers: Sequence[Header]) -> Notice | None:
    """Return why rescaling cannot give valid values; None if it can."""
    slopes = {h.slope for h in headers if h.modality == "CT" and h.slope is not None}
    if slopes and min(slopes) <= 0:
        return refused(
            f"a rescale slope of {min(slopes):g} would blank or invert the values, "
            "so the headers are damaged; export the series again"
        )
    factors = [v for h in headers for v in (h.slope, h.intercept) if v is not None]
    if factors and max(map(abs, factors)) > MAX_RESCALE:
        return refused("the rescale slope or intercept is invalid; export the series again")
    return None


_CHOOSE: Final = "move each kind of slice to its own folder"


def _is_placed(header: Header) -> bool:
    if header.position is None or header.orientation is None:
        return False
    return max(map(abs, header.position)) <= MAX_POSITION_MM and _at_right_angles(
        header.orientation
    )


@lru_cache(maxsize=1024)  # slices of one volume have the same orientation
def _at_right_angles(orientation: tuple[float, ...]) -> bool:
    row, column = np.asarray(orientation).reshape(2, 3)
    lengths = np.linalg.norm([row, column], axis=1)
    return bool(np.abs(lengths - 1).max() < 0.01 and abs(row @ column) < 0.01)


def _without_copies(headers: Sequence[Header]) -> tuple[list[Header], tuple[Notice, ...]]:
    """Drop repeated copies of the same image (the same SOP instance)."""
    seen: dict[tuple[str, int, tuple[float, ...] | None], Header] = {}
    for header in headers:
        # The key includes the position: some anonymizers give all slices the same UID.
        name = header.sop_uid or str(header.path)
        seen.setdefault((name, header.frame, header.position), header)
    copies = len(headers) - len(seen)
    if not copies:
        return list(headers), ()
    text = f"files that repeat an image of the series (same SOP instance) were left out: {copies}"
    return list(seen.values()), (Notice("content", "info", text),)
