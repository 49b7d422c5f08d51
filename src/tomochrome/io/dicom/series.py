"""Headers to items: grouping files into series, and describing each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tomochrome.io.dicom.headers import Header
from tomochrome.io.dicom.pixels import PADDING_BELOW_HU, padding_hu
from tomochrome.io.dicom.stack import Stack, stack
from tomochrome.io.item import Item
from tomochrome.volume import Unit, Verdict, Volume


def group(headers: Iterable[Header]) -> list[list[Header]]:
    """Group headers into series.

    Headers of one SeriesInstanceUID belong together, except for localizers, multi-frame files
    and other modalities. Where that UID is empty, files of one folder belong together that
    agree in matrix, pixel spacing and orientation.
    """
    groups: dict[tuple[Any, ...], list[Header]] = {}
    for header in headers:
        groups.setdefault(_key(header), []).append(header)
    return list(groups.values())


def _key(header: Header) -> tuple[Any, ...]:
    kind = (header.modality, header.is_localizer, header.path if header.is_multiframe else None)
    if header.series_uid:
        return (header.study_uid, header.series_uid, *kind)
    orientation = tuple(round(v, 2) for v in header.orientation or ())
    return (
        header.path.parent, header.study_uid, header.series_number, header.rows, header.columns,
        header.pixel_spacing, orientation, *kind,
    )  # fmt: skip


def unsuitable(header: Header) -> str:
    """Return why a file with an image is no part of any volume, or an empty string."""
    if header.modality in ("SEG", "RTDOSE", "RTSTRUCT", "PR", "SR", "KO", "DOC"):
        return f"a DICOM object of modality {header.modality}, not an image of the patient"
    if header.samples != 1:
        return "a color picture (for example a screen capture), not a CT slice"
    if header.modality not in ("CT", "MR", "PT") and header.position is None:
        return f"a single picture of modality {header.modality or 'unknown'}, not a CT slice"
    return ""


def describe(headers: Sequence[Header], *, single_file: bool = False) -> Item:
    """Return the item of one series; no pixel is read."""
    first = headers[0]
    lying = _multiframe(first) if first.is_multiframe else stack(headers)
    unit, warnings = _unit(lying.headers)
    middle = lying.headers[len(lying.headers) // 2]
    affine = lying.affine
    where = first.path
    if not single_file:
        where = Path(os.path.commonpath([h.path.parent for h in headers]))
    frames = first.frames if first.is_multiframe else len(lying.headers)
    probe = (
        None if affine is None else Volume(_no_voxels((frames, first.rows, first.columns)), affine)
    )
    return Item(
        path=str(where),
        kind="dicom-file" if single_file else "dicom-series",
        series_uid=first.series_uid,
        modality=first.modality or "unknown",
        title=first.title,
        shape=(frames, first.rows, first.columns),
        spacing=None if probe is None else probe.spacing,
        affine=None if probe is None else probe.affine,
        unit=unit,
        windows=middle.windows,
        verdict=_verdict(lying, unit),
        warnings=(*lying.warnings, *warnings),
        refusal=lying.refusal,
        source=lying,
        identity=first.identity,
    )


def _no_voxels(shape: tuple[int, int, int]) -> Any:
    import numpy as np

    return np.broadcast_to(np.uint8(0), shape)


def _verdict(lying: Stack, unit: Unit) -> Verdict:
    return lying.verdict if unit == "HU" or lying.verdict == "unreadable" else "not-ct"


def _multiframe(header: Header) -> Stack:
    reason = (
        f"'{header.path.name}' is an enhanced multi-frame image, which Tomochrome cannot read yet; "
        "export it as a classic CT series with one file for each slice"
    )
    return Stack((header,), None, "unreadable", (reason,), reason)


def _unit(headers: Sequence[Header]) -> tuple[Unit, tuple[str, ...]]:
    """Return what the values measure, judged by the headers alone, and what to say about it."""
    first = headers[0]
    warnings = _remarks(headers)
    if first.modality != "CT":
        name = first.modality or "unknown"
        return "unknown", (*warnings, f"not CT but modality {name}: no Hounsfield units")
    if first.is_localizer:
        return "unknown", (*warnings, "a localizer (scout view), not a cross-section")
    if first.is_multiframe:
        return "HU", warnings
    if any(h.has_lut for h in headers):
        return "unknown", (*warnings, "values need a lookup table that is not applied")
    if any(h.slope is None or h.intercept is None for h in headers):
        return "unknown", (*warnings, "no rescale slope and intercept: not in Hounsfield units")
    types = {h.rescale_type.upper() for h in headers} - {"", "HU"}
    if types == {"US"}:
        return "HU", (*warnings, "the unit is unspecified (US); read as Hounsfield units")
    if types:
        return "unknown", (*warnings, f"the values are in {', '.join(sorted(types))}, not HU")
    return "HU", warnings


def _remarks(headers: Sequence[Header]) -> tuple[str, ...]:
    remarks = []
    flaws = sum(h.flaws for h in headers)
    if flaws:
        remarks.append(
            f"header values that break the DICOM standard were read all the same: {flaws}"
        )
    if len({h.frame_of_reference for h in headers} - {""}) > 1:
        remarks.append("the slices name different frames of reference: the patient may have moved")
    level = padding_hu(headers[0])
    if level is not None and level >= PADDING_BELOW_HU:
        remarks.append(
            f"the padding value equals {level:g} HU, which tissue can have too; "
            "it was left as it is"
        )
    return tuple(remarks)
