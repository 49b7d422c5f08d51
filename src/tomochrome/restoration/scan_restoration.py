"""Restoration of a scan: defects are found and filled, and what was filled stays marked."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import METAL_MODEL, RESTORATION, find_card, list_cards
from tomochrome.errors import InputError, ModelError, NotCTError, OptionError
from tomochrome.geometry.orient import closest_axial, reorient_like
from tomochrome.io.restored_mask import restored_text
from tomochrome.notices import Notice
from tomochrome.restoration.classical import without_network
from tomochrome.restoration.defects import (
    KINDS,
    DefectKind,
    DefectMap,
    MetalReduction,
    Restoration,
    code_of,
)
from tomochrome.restoration.rules import defects_by_rules
from tomochrome.runtime import check, report
from tomochrome.volume import Volume, require_volume

DEFAULT: Final = "restoration"
CLASSICAL: Final = "classical"  #: interpolation, without a network
MODELS: Final = (DEFAULT, "restoration-vae", "restoration-vae-resnet", CLASSICAL)  #: those shipped


def restoration_models() -> tuple[str, ...]:
    """Return `MODELS` and the names of the user's bundles, see `tomochrome.bundles.list_cards`.

    A bundle that another one uses for metal is left out.

    Raises
    ------
    ModelError
        If the metadata of a bundle cannot be read.
    """
    cards = list_cards(RESTORATION)
    known = {*MODELS, *(card.metadata.get(METAL_MODEL) for card in cards)}
    return (*MODELS, *(card.name for card in cards if card.name not in known))


def restore(
    volume: Volume,
    *,
    defects: Literal["auto"] | Collection[DefectKind] = "auto",
    mask: NDArray[np.bool_] | DefectMap | None = None,
    model: str = DEFAULT,
    device: str = "auto",
) -> Restoration:
    """Find the defects of a scan and fill them; the scan itself is not changed.

    Parameters
    ----------
    volume
        CT in Hounsfield units, in any orientation.
    defects
        The kinds to look for (`tomochrome.restoration.defects.KINDS`), ``"auto"`` for all.
    mask
        What to fill instead of what is found, on the grid of ``volume``: a `DefectMap`, or booleans
        (z, y, x). If ``defects`` names one kind, the marked voxels are of that kind; otherwise
        axial slices that are marked completely are ``"missing"``, and other voxels are ``"lines"``:
        they are filled from their neighbors.
    model
        One of `restoration_models`, or the folder of a bundle.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.

    Returns
    -------
    Restoration
        Its volume has the grid and the voxel type of ``volume``, and marks every voxel that
        differs in `Volume.restored`. Without a defect it is ``volume``.

    Raises
    ------
    NotCTError
        If the volume is not CT in Hounsfield units.
    OptionError
        If a kind or the model is unknown.
    InputError
        If the mask is not on the grid, is empty, or covers everything, or if a label of it means no
        kind of defect.
    ModelError
        If there is no such model, it is damaged, or it fills with values that are no numbers.
    Cancelled
        If the user cancelled.
    """
    start = time.perf_counter()
    check_model(model)
    marked = find_defects(volume, defects=defects, mask=mask, device=device)
    if not marked.mask.any():
        text = "no defects were found; nothing was restored"
        notice = Notice("not-restored", "info", text)
        return Restoration(volume, volume, marked, model, time.perf_counter() - start, (notice,))
    result = _filled(volume, marked, model, device)
    notices = tuple(n for n in result.provenance.warnings if n not in volume.provenance.warnings)
    return Restoration(volume, result, marked, model, time.perf_counter() - start, notices)


def find_defects(
    volume: Volume,
    *,
    defects: Literal["auto"] | Collection[DefectKind] = "auto",
    mask: NDArray[np.bool_] | DefectMap | None = None,
    device: str = "auto",
) -> DefectMap:
    """Return the defects of a scan that `restore` fills with the same arguments.

    Rules find them; a network confirms the streaks of metal.

    Parameters
    ----------
    volume, defects, mask, device
        As for `restore`.

    Returns
    -------
    DefectMap
        On the grid of the volume.

    Raises
    ------
    NotCTError, OptionError, InputError, Cancelled
        As for `restore`.
    """
    require_volume(volume, "the scan to restore")
    if volume.unit != "HU":
        raise NotCTError(
            f"a volume of unit {volume.unit} cannot be restored; give a CT in Hounsfield units"
        )
    kinds = check_kinds(defects)
    check()
    report(0, 0, "finding defects")
    if mask is None:
        return _confirmed(volume, defects_by_rules(volume, kinds), device)
    given = np.asarray(mask.code if isinstance(mask, DefectMap) else mask)
    if given.dtype.kind not in "biuf":
        raise InputError(
            "the mask must be an array of booleans or a DefectMap, not "
            f"{type(mask).__name__}; give the voxels of a volume"
        )
    if given.shape != volume.shape:
        raise InputError(
            f"the mask of shape {given.shape} is not on the grid of the scan, {volume.shape}"
        )
    code = _checked(given) if isinstance(mask, DefectMap) else _coded(volume, given, kinds)
    if not code.any():
        raise InputError("the mask is empty; mark what is damaged, or give no mask to find it")
    if code.all():
        raise InputError(
            "the mask covers the entire scan, so that nothing measured is left to restore it "
            "from; mark only what is damaged"
        )
    return DefectMap(code)


def _confirmed(volume: Volume, marked: DefectMap, device: str) -> DefectMap:
    """Return the defects without streaks that the network does not see."""
    if marked.reduction is None or not (marked.code == code_of("metal")).any():
        return marked
    from tomochrome.restoration.fill import confirm_streaks

    upright, code = closest_axial(volume), _upright(marked.code, volume)
    hu, pixel_mm = np.asarray(upright.voxels, np.float32), upright.spacing[2]
    confirm_streaks(hu, code, marked.reduction, pixel_mm, device)
    return DefectMap(_on_grid(code, upright, volume), marked.reduction)


def _upright(code: NDArray[Any], volume: Volume) -> NDArray[Any]:
    """Return a copy of a map on the grid of a volume in axial orientation."""
    return np.array(closest_axial(Volume(code, volume.affine, "unknown")).voxels)


def _on_grid(code: NDArray[np.uint8], upright: Volume, volume: Volume) -> NDArray[np.uint8]:
    """Return a map in axial orientation on the grid of a volume."""
    return np.asarray(reorient_like(upright.with_voxels(code, unit="unknown"), volume).voxels)


def check_kinds(
    defects: Literal["auto"] | Collection[str],
) -> tuple[DefectKind, ...]:
    """Return kinds of defects in the order of `KINDS`.

    Raises
    ------
    OptionError
        If one is unknown, or there is none.
    """
    if isinstance(defects, str) and defects == "auto":
        return KINDS
    given = {defects} if isinstance(defects, str) else set(defects)
    if not given or not given <= set(get_args(DefectKind)):
        wrong = ", ".join(f"'{kind}'" for kind in sorted(given - set(KINDS))) or "nothing"
        raise OptionError(
            f"{wrong} is no kind of defect; choose auto, or some of {', '.join(KINDS)}"
        )
    return tuple(kind for kind in KINDS if kind in given)


def check_model(model: str) -> None:
    """Raise `ModelError` unless a model of restoration has this name, or lies in this folder."""
    if model == CLASSICAL:
        return
    try:
        find_card(model, RESTORATION)
    except ModelError as error:
        raise ModelError(f"{error}; '{CLASSICAL}' needs no model") from error


def _checked(code: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the codes of a `DefectMap` after checking that each is 0 or means a kind."""
    for label in (code.max(), code.min()):
        if not 0 <= label <= len(KINDS):
            raise InputError(
                f"the label {int(label)} means no kind of defect; mark with labels from 1 to "
                f"{len(KINDS)}"
            )
    return code.astype(np.uint8)


def _coded(volume: Volume, mask: NDArray[Any], kinds: tuple[DefectKind, ...]) -> NDArray[np.uint8]:
    """Return the kind of defect at each voxel of a user's mask, coded as in `DefectMap`."""
    marked = mask != 0
    if len(kinds) == 1:
        return np.where(marked, np.uint8(code_of(kinds[0])), np.uint8(0))
    upright = _upright(marked, volume)
    code = np.where(upright, np.uint8(code_of("lines")), np.uint8(0))
    code[upright.all(axis=(1, 2))] = code_of("missing")
    return _on_grid(code, closest_axial(volume), volume)


def _filled(volume: Volume, marked: DefectMap, model: str, device: str) -> Volume:
    upright = closest_axial(replace(volume, restored=None))
    code = _upright(marked.code, volume)
    hu = np.asarray(upright.voxels)
    check()
    report(0, 0, "filling defects")
    filled = _fill(hu.astype(np.float32), code, upright.spacing, model, device, marked.reduction)
    voxels, kinds = np.array(hu), set[int]()
    for z in np.flatnonzero(code.any(axis=(1, 2))):
        check()
        plane = filled[z]
        if not np.isfinite(plane[code[z] > 0]).all():
            raise ModelError(f"'{model}' fills with values that are no numbers; choose another")
        if hu.dtype.kind in "iu":
            limits = np.iinfo(hu.dtype)
            plane = np.clip(np.rint(plane), limits.min, limits.max)
        np.copyto(voxels[z], plane.astype(hu.dtype), where=code[z] > 0)
        kinds.update(np.unique(code[z][voxels[z] != hu[z]]).tolist())
    changed = voxels != hu
    text, notices = restored_text(changed), list[Notice]()
    if changed.any():
        notices.append(Notice("restored", "warning", text))
    for defect in marked.defects:
        if code_of(defect.kind) not in kinds:
            left = f"a defect of the kind '{defect.kind}' is left: '{model}' does not change it"
            notices.append(Notice("not-restored", "warning", left))
    step = f"{text} ({', '.join(d.kind for d in marked.defects)}, model {model}); not for diagnosis"
    outside = None if upright.outside is None else upright.outside & ~changed
    whole = replace(
        upright,
        voxels=voxels,
        outside=outside if outside is not None and outside.any() else None,
        restored=changed if changed.any() else None,
        provenance=upright.provenance.add(step, *notices),
    )
    result = reorient_like(whole, volume)
    if volume.restored is None:
        return result
    now = volume.restored if result.restored is None else volume.restored | result.restored
    return replace(result, restored=now)


def _fill(
    hu: NDArray[np.float32],
    code: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    model: str,
    device: str,
    reduction: MetalReduction | None,
) -> NDArray[np.float32]:
    if model == CLASSICAL and not (code == code_of("noise")).any():
        return without_network(hu, code, spacing, reduction)  # torch is not needed
    from tomochrome.restoration.fill import fill

    return fill(hu, code, spacing, None if model == CLASSICAL else model, device, reduction)
