"""Colorization of a volume: from Hounsfield units to a chroma map, with any model."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import reading_metadata
from tomochrome.bundles.monai_imports import MONAI_IMPORTS
from tomochrome.color.chroma import Chroma
from tomochrome.colorization import grid_kernels, slab_kernels
from tomochrome.colorization.cards import DEFAULT_MODEL, find_model
from tomochrome.colorization.grid import CoarseField, first_columns, taps
from tomochrome.colorization.predictor import check_reference, predictor_class
from tomochrome.colorization.reference_photograph import Reference, as_reference
from tomochrome.colorization.scan import prepare
from tomochrome.geometry.orient import reorient_like
from tomochrome.runtime import check, report
from tomochrome.runtime.collector import paused_collector
from tomochrome.runtime.device import compute_threads, require_count
from tomochrome.tissue import N_TISSUES
from tomochrome.volume import Volume

NOT_FOR_DIAGNOSIS = "not for diagnosis"
_lock = threading.Lock()


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
    """Compute a chroma map for a CT volume.

    Parameters
    ----------
    volume
        CT in Hounsfield units, in any orientation, of one or more slices.
    model
        ``"tissue"`` (network), ``"transfer-function"`` (lookup curve), any other shipped
        model, or the path of a bundle folder; see `models`, and `register_kind` for a new kind.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    threads
        CPU threads to use; by default all that are available to this process.
    batch
        Batch size in slices; by default it depends on the device.
    force
        Treat the values as Hounsfield units even if the volume's unit is unknown.
    reference
        For the model ``"exemplar"``: the photograph whose colors are transferred, as a
        `Reference` with labels and mask, as an array (uint8, (y, x, 3), sRGB) or as a path.

    Returns
    -------
    Chroma
        On the grid of ``volume`` as stored. Its provenance records the model, the SHA-256 of
        its weights, the device (also ``extra["device"]``) and every warning. Voxels outside the
        body have code 0; voxels that were not measured (``volume.outside``) have code 0 and
        confidence 0 with every model.

    Raises
    ------
    NotCTError
        If the volume is not CT in Hounsfield units.
    ModelError
        If the model is unknown or damaged.
    DeviceError, OptionError
        If the device is unavailable, or an option is invalid; if a photograph is missing, or
        given to a model that does not use one.
    InputError
        If the photograph cannot be used.
    Cancelled
        If the user cancelled.
    """
    if batch is not None:
        require_count(batch, "the batch size")
    card = find_model(model)
    check_reference(card, reference is not None)
    options: dict[str, Any] = {}
    origin = ""
    if reference is not None:
        photograph = as_reference(reference)
        options["reference"], origin = photograph, f", photograph sha256 {photograph.sha256}"
    check()
    report(0, 0, "finding the body")
    with compute_threads(threads):
        scan = prepare(volume, force=force)
        check()
        report(0, 0, "loading the model")
        with reading_metadata(card.path), paused_collector():  # it may import torch and MONAI
            predictor = predictor_class(card)(card, device=device, batch=batch, **options)
        with compute_threads(threads):  # again, for libraries imported by the predictor
            report(0, 0, "coloring")
            code, confidence = predictor.color(scan)
    used, warnings = predictor.device, (*scan.warnings, *predictor.warnings)
    step = (
        f"colorize: model {card.name}, weights sha256 {card.weights_sha256}{origin}, "
        f"device {used}, {NOT_FOR_DIAGNOSIS}"
    )
    upright = scan.upright
    if upright.outside is not None:  # voxels that were not measured get no color
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


def warm_up() -> None:
    """Import torch and MONAI's networks and load the compiled kernels.

    The first call takes seconds, later calls return at once. Intended for a worker thread, so
    that windows stay responsive. Thread-safe.
    """
    with _lock, paused_collector():
        _warm_up_once()


@cache
def _warm_up_once() -> None:
    import torch  # noqa: F401

    with MONAI_IMPORTS:
        import monai.networks.nets  # noqa: F401
    # run each kernel on a tiny volume, which compiles it or loads it from numba's cache
    hu = np.zeros((2, 4, 4), dtype=np.int16)
    out = np.empty(hu.shape, dtype=np.uint16), np.empty(hu.shape, dtype=np.uint8)
    z, xy = taps(np.zeros(2), 1), taps(np.zeros(4), 1)
    body = CoarseField(np.full((1, 1, 1), 255, dtype=np.uint8), *z, *xy, *xy)
    rows = slab_kernels.MAX_HU - slab_kernels.MIN_HU + 1
    slab_kernels.block_mean_slab(hu, 2, 2, np.empty((2, 2), dtype=np.float32))
    slab_kernels.transfer_slab(hu, body, np.zeros(rows, np.uint16), np.zeros(rows, np.uint8), *out)
    planes = CoarseField(
        np.full((1, 1, 1, N_TISSUES), 1 / N_TISSUES, dtype=np.float32), *z, *xy, *xy
    )
    plane = planes.values[0]
    grid_kernels.smooth_plane(plane, plane, plane, np.float32(0.2), np.float32(0.1), plane.copy())
    likelihood = np.ones((rows, N_TISSUES), dtype=np.float32)
    slab_kernels.fuse_slab(hu, planes, first_columns(xy, 1), body, likelihood, (1, 20.0), *out)
    planes = planes._replace(values=np.zeros((1, 1, 1, 4), dtype=np.float32))
    slab_kernels.color_slab(hu, planes, body, (1, 20.0), 20.0, *out)
