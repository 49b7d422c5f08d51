"""Volumes of DICOM series: their description as items, and their reading.

Images that belong to no volume are described as well.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import GeometryError, InputError
from tomochrome.io.archive import display_path
from tomochrome.io.dicom.damage import Damage, is_most, refusal
from tomochrome.io.dicom.group import Group
from tomochrome.io.dicom.header import Header
from tomochrome.io.dicom.kinds import image_kind, is_screen, other_than_image, remark
from tomochrome.io.dicom.patient import study_key
from tomochrome.io.dicom.pixels import Slices, read_slices
from tomochrome.io.dicom.rescale import AIR_HU, could_be_tissue, padding_hu
from tomochrome.io.dicom.segmentation import find_mask
from tomochrome.io.dicom.stack import Stack, damage_notice, sound_stack
from tomochrome.io.restored_mask import marked
from tomochrome.io.series_item import Item
from tomochrome.io.units import contradicts_hounsfield
from tomochrome.notices import Code, Notice
from tomochrome.volume import RESTORED, Provenance, Unit, Verdict, Volume


def unsuitable(header: Header) -> str:
    """Return why an image file belongs to no volume, or an empty string."""
    other = other_than_image(header.sop_class, header.modality)
    if other:
        return other
    if header.samples != 1 or header.photometric.startswith(("RGB", "YBR", "PALETTE")):
        return "a color image (for example a screen capture), not a CT slice"
    if is_screen(header.image_type, placed=header.position is not None):
        return "a picture of a screen (such as a dose or protocol page), not a CT slice"
    if header.modality not in ("CT", "MR", "PT") and header.position is None:
        return f"a single image of modality {header.modality or 'unknown'}, not a CT slice"
    return ""


def describe(group: Group, *, single_file: bool = False) -> Item:
    """Return the item of one volume, without reading its pixels.

    Parameters
    ----------
    group
        A group returned by `tomochrome.io.dicom.group.group`.
    single_file
        Whether the user has chosen a file, not a folder.
    """
    headers = group.headers
    first = headers[0]
    ordered = sound_stack(headers)
    unit, warnings = _unit(ordered.headers)
    middle = ordered.headers[len(ordered.headers) // 2]
    affine, shape = ordered.grid_affine, ordered.shape
    return Item(
        path=display_path(_where(headers, single_file)),
        kind="dicom-file" if single_file else "dicom-series",
        series_uid=first.series_uid,
        key=_key(group),
        modality=first.modality or "unknown",
        title=_title(group),
        series_number=first.series_number,
        study_title=next((h.study_title for h in headers if h.study_title), ""),
        patient=first.patient,
        study=study_key(first.study_uid) if first.study_uid else first.patient,
        phase=group.phase,
        label=group.label,
        shape=shape,
        present=_present(ordered),
        spacing=None if affine is None else _spacing(affine),
        affine=affine,
        unit=unit,
        windows=middle.windows,
        verdict=_verdict(ordered, unit),
        warnings=(*group.notes, *ordered.warnings, *warnings),
        refusal=ordered.refusal,
        source=ordered,
        identity=first.identity,
    )


def with_lost(item: Item, lost: Sequence[tuple[Path, str]]) -> Item:
    """Return the item of a series of which the headers of some files are cut off.

    Parameters
    ----------
    item
        An item of `describe`.
    lost
        These files, which belong to the series, and what is wrong with each.
    """
    ordered: Stack = item.source
    total = len(ordered.given) + len(lost)
    path, reason = lost[0]
    if is_most(len(lost), total):
        notice = Notice("damaged", "warning", str(refusal(total, path, Damage(reason))))
        item = replace(item, refusal=notice, affine=None, spacing=None)
    else:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        told = f"slices whose header is cut off: {len(lost)} of {total}, '{path.name}'{more}"
        notice = Notice("damaged", "warning", f"{told}, {reason}: treated as missing")
    verdict = item.verdict
    if verdict in ("regular", "irregular"):
        verdict = "unreadable" if item.affine is None else "incomplete"
    return replace(
        item,
        verdict=verdict,
        warnings=(notice, *item.warnings),
        source=replace(ordered, lost=notice.text),
    )


def without(item: Item, damaged: Mapping[int, Damage]) -> Item:
    """Return the item that remains if some slices turn out to be damaged.

    Parameters
    ----------
    item
        An item of `describe`.
    damaged
        Damage by index into the headers of its `Stack`.
    """
    before: Stack = item.source
    damage_of = {id(before.headers[i]): damage for i, damage in damaged.items()}
    ordered = sound_stack([replace(h, damage=damage_of.get(id(h), h.damage)) for h in before.given])
    others = tuple(w for w in item.warnings if w not in before.warnings)
    affine = ordered.grid_affine
    return replace(
        item,
        shape=ordered.shape,
        spacing=None if affine is None else _spacing(affine),
        affine=affine,
        verdict=_verdict(ordered, item.unit),
        warnings=(*ordered.warnings, *others),
        refusal=ordered.refusal,
        source=replace(ordered, lost=before.lost),
    )


def _title(group: Group) -> str:
    """Return the series description, with what distinguishes the volume from others of it."""
    title = next((h.title for h in group.headers if h.title), "")
    return group.label if title in group.label else f"{title} {group.label}".strip()


def _where(headers: Sequence[Header], single_file: bool) -> Path:
    files = {h.path for h in headers}
    if len(files) == 1 and (single_file or headers[0].is_multiframe):
        return headers[0].path
    return Path(os.path.commonpath([file.parent for file in files]))


def _key(group: Group) -> str:
    """Return the name of the volume for `read`."""
    first = group.headers[0]
    name = first.series_uid or display_path(min(h.path for h in group.headers))
    numbered = group.number and (first.series_uid or first.is_multiframe)
    return f"{name}#{group.number}" if numbered else name


def _spacing(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    z, y, x = np.linalg.norm(affine[:3, :3], axis=0)
    return float(z), float(y), float(x)


def _verdict(ordered: Stack, unit: Unit) -> Verdict:
    return ordered.verdict if unit == "HU" else "not-ct"


def _unit(headers: Sequence[Header]) -> tuple[Unit, list[Notice]]:
    """Return the unit of the values according to the headers, and notices about it."""
    first = headers[0]
    unit: Unit = "unknown"
    code: Code = "unit"
    types = {h.lut_type or "US" if h.has_lut else h.rescale_type for h in headers} - {"", "HU"}
    if first.modality != "CT":
        text = f"not CT but modality {first.modality or 'unknown'}: no Hounsfield units"
    elif first.is_localizer:
        code, text = "content", "a localizer (scout view), not a cross-section"
    elif any(not h.has_lut and (h.slope is None or h.intercept is None) for h in headers):
        text = "no rescale slope and intercept: not in Hounsfield units"
    elif types == {"US"}:
        unit, text = "HU", "the unit is unspecified (US); read as Hounsfield units"
    elif types:
        text = f"the values are in {', '.join(sorted(types))}, not HU"
    else:
        return "HU", _remarks(headers)
    return unit, [*_remarks(headers), Notice(code, "warning", text)]


def _remarks(headers: Sequence[Header]) -> list[Notice]:
    said = remark([image_kind(h.image_type) for h in headers])
    remarks = [Notice("content", "warning", said)] if said else []
    flaws = sum(h.flaws for h in headers)
    if flaws:
        text = f"header values that violate the DICOM standard were read nevertheless: {flaws}"
        remarks.append(Notice("header", "info", text))
    if len({h.frame_of_reference for h in headers} - {""}) > 1:
        text = "the slices have different frames of reference: the patient may have moved"
        remarks.append(Notice("geometry", "warning", text))
    level = padding_hu(headers[0])
    if level is not None and could_be_tissue(level):
        text = (
            f"the padding value equals {level:g} HU, which tissue can also have; it was left "
            "unchanged"
        )
        remarks.append(Notice("header", "warning", text))
    return remarks


def _present(ordered: Stack) -> int:
    """Return the number of slices that exist if the volume has more, because some are missing."""
    count = len(ordered.headers)
    return count if ordered.verdict == "incomplete" and count < ordered.shape[0] else 0


def read_item(item: Item, *, as_stored: bool = False, strict: bool = False) -> Volume:
    """Read the series that an item describes.

    Slices that cannot be decoded are treated as missing. Values that cannot be Hounsfield units
    although the header says so get the unit ``"unknown"``.

    Parameters
    ----------
    item
        A DICOM item of `tomochrome.io.find`; its ``source`` is a `Stack`.
    as_stored
        Keep the slices as stored, even if they are tilted or unevenly spaced.
    strict
        Refuse a series with damaged slices.

    Raises
    ------
    GeometryError
        If the slices do not form one volume.
    InputError
        If most slices are damaged, or with ``strict`` any of them.
    """
    item, slices = _decoded(item, strict)
    item = _judged(item, slices)
    volume = _volume(item, slices, as_stored)
    if RESTORED not in item.title:
        return volume
    mask = find_mask(volume, item.series_uid, (h.path for h in item.source.headers))
    return marked(volume, mask, "a segmentation in its folder")


def _volume(item: Item, slices: Slices, as_stored: bool) -> Volume:
    ordered: Stack = item.source
    assert item.affine is not None
    provenance = Provenance(
        source=item.path,
        kind=item.kind,
        modality=item.modality,
        series_uid=item.series_uid,
        title=item.title,
        windows=item.windows,
        verdict=item.verdict,
        warnings=item.warnings,
        present=item.present,
        history=(f"read {len(ordered.headers)} DICOM slices",),
    )
    plan = ordered.plan
    if plan is None:
        return Volume(slices.voxels, item.affine, item.unit, provenance, slices.outside)
    if as_stored:
        others = tuple(w for w in item.warnings if w not in ordered.warnings)
        provenance = replace(provenance, warnings=(*ordered.stored_warnings, *others))
        assert ordered.affine is not None
        return Volume(slices.voxels, ordered.affine, item.unit, provenance, slices.outside)
    from tomochrome.io.dicom.slice_resampling import resample_slices  # numba

    fill = float(AIR_HU) if item.unit == "HU" else 0.0
    voxels, outside = resample_slices(slices.voxels, slices.outside, plan, fill=fill)
    depth, height, width = plan.shape
    step = f"resampled to a regular grid of {depth} x {height} x {width} voxels (linear)"
    x, y, z = plan.geometry.positions.T.tolist()
    provenance = replace(provenance.add(step), stored_positions=tuple(zip(x, y, z, strict=True)))
    return Volume(voxels, plan.affine, item.unit, provenance, outside)


def _decoded(item: Item, strict: bool) -> tuple[Item, Slices]:
    """Return the slices that can be decoded, and the item without the others."""
    while True:
        ordered: Stack = item.source
        if len(ordered.damaged) == len(ordered.given) > 0:
            raise InputError(str(item.refusal))
        if ordered.lost and item.verdict == "unreadable":
            raise InputError(str(item.refusal))
        if item.refusal or item.affine is None:
            raise GeometryError(f"'{item.path}' cannot be read as one volume: {item.refusal}")
        if strict and (ordered.damaged or ordered.lost):
            named = ordered.lost
            if ordered.damaged:
                named = damage_notice(ordered.damaged, len(ordered.given), missing=True).text
            raise InputError(
                f"'{item.path}' has {named}; copy them again, or read the scan without --strict "
                "(strict=False)"
            )
        slices = read_slices(ordered.headers)
        if not slices.damaged:
            return replace(item, warnings=(*item.warnings, *slices.notices)), slices
        item = without(item, slices.damaged)  # another image may have the same position


def _judged(item: Item, slices: Slices) -> Item:
    """Return the item with what its values say about their unit.

    Exporters write rescale slope and intercept of CT for values that are not Hounsfield units.
    """
    if item.unit != "HU":
        return item
    reason, cannot = contradicts_hounsfield(slices.voxels, slices.outside)
    if not reason:
        return item
    text = f"the header says that the values are Hounsfield units, but {reason}"
    warnings = (*item.warnings, Notice("unit", "warning", text))
    if not cannot:
        return replace(item, warnings=warnings)
    return replace(item, unit="unknown", verdict="not-ct", warnings=warnings)
