"""Coloring a volume: from Hounsfield units to a Chroma map, by any model."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.colorization.cards import DEFAULT_MODEL, find_model
from tomochrome.colorization.predictor import check_reference, predictor_class
from tomochrome.errors import OptionError
from tomochrome.runtime import check, report

if TYPE_CHECKING:
    from tomochrome.color.chroma import Chroma
    from tomochrome.colorization.exemplar import Reference
    from tomochrome.volume import Volume

NOT_FOR_DIAGNOSIS = "not for diagnosis"


def colorize(
    volume: Volume,
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    device: str = "auto",
    threads: int | None = None,
    batch: int | None = None,
    force: bool = False,
    reference: Reference | NDArray[np.uint8] | str | os.PathLike[str] | None = None,
) -> Chroma:
    """Recognize the tissue of each voxel of a CT and give it the tissue's chroma.

    Parameters
    ----------
    volume
        CT in Hounsfield units, in any orientation; a single slice is a volume too.
    model
        ``"tissue"`` (network), ``"transfer-function"`` (lookup curve), any other shipped
        model, or the path of a bundle folder; see `models`, and `register_kind` for a new kind.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    threads
        CPU threads to use; by default all that this process may use.
    batch
        Slices the network reads at once; by default what suits the device.
    force
        Take the values for Hounsfield units although the volume does not say so.
    reference
        For the model ``"exemplar"``: the photograph whose colors are carried over, with labels
        and mask as a `Reference`, or alone as an array (uint8, (y, x, 3), sRGB) or a path.

    Returns
    -------
    Chroma
        On the grid of ``volume`` as stored. Its provenance names the model, the SHA-256 of its
        weights, the device (also ``extra["device"]``) and every warning. Voxels outside the
        body have code 0; those that the scanner did not measure (``volume.outside``) have
        code 0 and confidence 0, whatever the model says.

    Raises
    ------
    NotCTError
        If the volume is not CT in Hounsfield units.
    ModelError
        If the model is unknown or damaged.
    DeviceError, OptionError
        If the device is not there, or an option has no meaning; if a photograph is missing, or
        given to a model that uses none.
    InputError
        If the photograph cannot be used.
    Cancelled
        If the user stopped it.
    """
    from tomochrome.color.chroma import Chroma
    from tomochrome.colorization.scan import prepare
    from tomochrome.colorization.threads import compute_threads
    from tomochrome.geometry.orient import reorient_like

    if batch is not None and batch < 1:
        raise OptionError(f"the batch must hold at least 1 slice, not {batch}")
    card = find_model(model)
    check_reference(card, reference is not None)
    more: dict[str, Any] = {}
    origin = ""
    if reference is not None:
        from tomochrome.colorization.exemplar import as_reference

        photograph = as_reference(reference)
        more["reference"], origin = photograph, f", photograph sha256 {photograph.sha256}"
    check()
    report(0, volume.shape[0], "finding the body")
    with compute_threads(threads):
        scan = prepare(volume, force=force)
        check()
        predictor = predictor_class(card)(card, device=device, batch=batch, **more)
        with compute_threads(threads):  # a library that only now was imported
            code, confidence = predictor.color(scan)
    used, warnings = predictor.device, (*scan.warnings, *predictor.warnings)
    step = (
        f"colorize: model {card.name}, weights sha256 {card.weights_sha256}{origin}, "
        f"device {used}, {NOT_FOR_DIAGNOSIS}"
    )
    upright = scan.upright
    if upright.outside is not None:  # nothing was measured there, so no model may color it
        np.copyto(code, 0, where=upright.outside)
        np.copyto(confidence, 0, where=upright.outside)
    code = np.asarray(reorient_like(upright.with_voxels(code), volume).voxels)
    confidence = np.asarray(reorient_like(upright.with_voxels(confidence), volume).voxels)
    provenance = volume.provenance.add(step, *warnings)
    return Chroma(
        code=code,
        confidence=confidence,
        table=predictor.table,
        affine=volume.affine,
        model=card.name,
        provenance=replace(provenance, extra={**provenance.extra, "device": used}),
    )
