"""Reading the volume that an item describes: decoding, rescaling and, if needed, resampling."""

from __future__ import annotations

from dataclasses import replace

from tomochrome.errors import GeometryError, InputError
from tomochrome.io.dicom.pixels import Slices, read_slices
from tomochrome.io.dicom.rescale import AIR_HU
from tomochrome.io.dicom.series import without
from tomochrome.io.dicom.slice_resampling import resample_slices
from tomochrome.io.dicom.stack import Stack, damage_notice
from tomochrome.io.series_item import Item
from tomochrome.io.units import contradicts_hounsfield
from tomochrome.notices import Notice
from tomochrome.volume import Provenance, Volume


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
            raise InputError(item.refusal)
        if ordered.lost and item.verdict == "unreadable":
            raise InputError(item.refusal)
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
