"""Deformable alignment: prediction by the network, refinement, integration without folds.

The input is a `WorkingPair`, which is already aligned by an affine map; the result is the
remaining displacement in voxels of the pair's grid.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from tomochrome.errors import TomochromeError
from tomochrome.notices import Notice
from tomochrome.registration.guides import Guides
from tomochrome.registration.refine import (
    DEFAULT_ITERATIONS,
    Metric,
    Refined,
    refine,
)
from tomochrome.registration.symmetric_network import SymNet, predict
from tomochrome.registration.unfold import unfold
from tomochrome.registration.velocity import PairFields, smaller
from tomochrome.registration.working_pair import WorkingPair
from tomochrome.runtime import check, free_memory, out_of_memory, report
from tomochrome.runtime.device import torch_threads

__all__ = ["DEFAULT_ITERATIONS", "Aligned", "align", "align_on"]


@dataclass(frozen=True, eq=False)
class Aligned:
    """Both directions of a deformable alignment.

    Parameters
    ----------
    fields
        Displacements on the pair's grid, in its voxels, each (1, 3, z, y, x).
    velocities
        Velocities of the fixed and the moving image, (2, 3, z, y, x).
    curve
        Dissimilarity at each iteration of the refinement: (name of the stage, value).
    seconds
        Wall-clock time of ``"network"``, ``"refinement"`` and ``"integration"``.
    """

    fields: PairFields
    velocities: torch.Tensor
    curve: tuple[tuple[str, float], ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


def align(
    pair: WorkingPair,
    net: SymNet | None,
    *,
    iterations: int = DEFAULT_ITERATIONS,
    measure: str = "lncc",
    shrink_by: int = 2,
    guides: Guides | None = None,
    metric: Metric | None = None,
) -> Aligned:
    """Compute the deformation between two images on one grid, and its inverse.

    Exchanging the images (and their masks) exchanges ``forward`` and ``inverse``.

    Parameters
    ----------
    pair
        The images, 0 to 1, and their masks.
    net
        Network for the initial velocities; None for zero velocities.
    iterations
        Maximum number of refinement iterations; 0 for the network's prediction only.
    measure
        ``"lncc"``, ``"mi"``, ``"mind"`` or ``"mse"``.
    shrink_by
        Downsampling factor from the pair's grid to the network's input (from its metadata).
    guides
        Landmarks and rigid regions, whose terms are part of the refinement's loss.
    metric
        Callback with the stage, the iteration counted over all stages, and the dissimilarity.

    Raises
    ------
    TomochromeError
        If the measure is unknown, the iterations are negative, or the user cancelled.
    """
    check()
    seconds = {"network": 0.0, "refinement": 0.0, "integration": 0.0}
    start, velocities = time.perf_counter(), None
    if net is not None:
        report(0, 1, "network")
        grid = smaller(pair.shape, 2 * shrink_by)
        both = completed(torch.cat([pair.fixed, pair.moving]), pair.masks)
        velocities = predict(net, both[:1], both[1:], grid, shrink_by)
        report(1, 1, "network")
        seconds["network"] = time.perf_counter() - start
    check()
    # local correlation is computed by compiled kernels, between which torch's threads would spin
    kernels = measure in ("lncc", "features") and pair.fixed.device.type == "cpu"
    with torch_threads(1 if kernels else None):
        refined: Refined = refine(
            pair.fixed,
            pair.moving,
            velocities,
            iterations=iterations,
            measure=measure,
            masks=pair.masks,
            features=pair.features,
            guides=None if guides is None else guides.to(pair.fixed.device),
            metric=metric,
        )
    seconds["refinement"] = refined.seconds
    start = time.perf_counter()
    report(0, 1, "integrating")
    velocities, fields = unfold(refined.velocities, pair.shape)
    report(1, 1, "integrating")
    seconds["integration"] = time.perf_counter() - start
    return Aligned(fields, velocities, refined.curve, seconds)


def completed(images: torch.Tensor, masks: torch.Tensor | None) -> torch.Tensor:
    """Fill each of two images outside its mask with the values of the other.

    A network without mask inputs would otherwise take the missing part for background and
    displace the body; equal values cause no displacement. Outside both masks the images are
    replaced by their mean.

    Parameters
    ----------
    images, masks
        (2, 1, z, y, x); masks None if everything was measured.
    """
    if masks is None:
        return images
    seen = masks > 0.5
    mean = images.mean(dim=0, keepdim=True)
    return torch.where(seen, images, torch.where(seen.flip(0), images.flip(0), mean))


def align_on(
    device: torch.device, pair: WorkingPair, net: SymNet | None, **how: Any
) -> tuple[Aligned, torch.device, list[Notice]]:
    """Align on a device, with the CPU as fallback.

    Parameters
    ----------
    device
        Requested device; the pair and the network may be on any device.
    pair, net, how
        As for `align`.

    Returns
    -------
    aligned, device, notes
        The result, the device used, and a notice if that is not the requested one.

    Raises
    ------
    TomochromeError
        As `align` does, and if there is not enough main memory.
    """
    cpu, why = torch.device("cpu"), ""
    if device != cpu:
        try:
            return _align_on(device, pair, net, how), device, []
        except (RuntimeError, MemoryError) as error:
            if out_of_memory(error):
                why = "ran out of memory"
            elif isinstance(error, NotImplementedError):
                why = "does not support all operations"
            else:
                raise
        free_memory()  # outside the handler: the exception holds references to tensors
    text = f"the device '{device}' {why}, so the CPU was used"
    notes = [Notice("device", "info", text)] if why else []
    try:
        return _align_on(cpu, pair, net, how), cpu, notes
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise TomochromeError(
            "there is not enough memory to register these volumes; close other programs, or "
            "resample the fixed volume to larger voxels"
        ) from error


def _align_on(
    device: torch.device, pair: WorkingPair, net: SymNet | None, how: Mapping[str, Any]
) -> Aligned:
    masks, features = (
        None if part is None else part.to(device) for part in (pair.masks, pair.features)
    )
    moved = replace(
        pair, fixed=pair.fixed.to(device), moving=pair.moving.to(device), masks=masks,
        features=features,
    )  # fmt: skip
    # cancelled before any layer of the network, which takes seconds on large volumes
    layers = [] if net is None else list(net.modules())
    hooks = [layer.register_forward_pre_hook(lambda *_: check()) for layer in layers]
    try:
        return align(moved, None if net is None else net.to(device), **how)
    finally:
        for hook in hooks:
            hook.remove()
