"""The dense part of a registration: the network's answer, refined, integrated, free of folds.

Works on a `WorkingPair`, which is already aligned by an affine map; what is found here is the
rest, in voxels of the pair's grid.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch

from tomochrome.registration.pair import WorkingPair
from tomochrome.registration.refine import (
    DEFAULT_ITERATIONS,
    Metric,
    Refined,
    refine,
    smaller,
)
from tomochrome.registration.symnet import SymNet, predict
from tomochrome.registration.unfold import unfold
from tomochrome.registration.velocity import PairFields
from tomochrome.runtime import CancelToken, Progress, check, report, watched

__all__ = ["DEFAULT_ITERATIONS", "Aligned", "align"]


@dataclass(frozen=True, eq=False)
class Aligned:
    """Both directions of a dense alignment.

    Parameters
    ----------
    fields
        Displacements on the pair's grid, in its voxels, each (1, 3, z, y, x).
    velocities
        What they were integrated from, (2, 3, z, y, x): of the fixed, then of the moving image.
    curve
        Dissimilarity at each iteration of the refinement: (name of the stage, value).
    seconds
        Wall-clock time of ``"network"``, ``"refinement"`` and ``"integration"``.
    """

    fields: PairFields
    velocities: torch.Tensor
    curve: tuple[tuple[str, float], ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


@watched
def align(
    pair: WorkingPair,
    net: SymNet | None,
    *,
    iterations: int = DEFAULT_ITERATIONS,
    measure: str = "lncc",
    shrink_by: int = 2,
    progress: Progress | None = None,
    metric: Metric | None = None,
    cancel: CancelToken | None = None,
) -> Aligned:
    """Find the deformation between two images on one grid, and its inverse.

    Exchanging the images (and their masks) exchanges ``forward`` and ``inverse``.

    Parameters
    ----------
    pair
        The images, 0 to 1, and their masks.
    net
        Network that says where to begin; None begins at rest.
    iterations
        Iterations of the refinement at most; 0 leaves the network's answer as it is.
    measure
        ``"lncc"``, ``"mi"``, ``"mind"`` or ``"mse"``.
    shrink_by
        How much smaller than the pair's grid the network's input is (its metadata say).
    progress
        Told the stages ``"network"``, ``"refining"`` and ``"integrating"``.
    metric
        Called with the stage's name, the number of the iteration over all stages, and the
        dissimilarity now: the falling curve.
    cancel
        Looked at in every iteration and between the steps of each integration.

    Raises
    ------
    TomochromeError
        If the measure is unknown, the iterations are negative, or the user stopped it.
    """
    check(cancel)
    seconds = {"network": 0.0, "refinement": 0.0, "integration": 0.0}
    begun, velocities = time.perf_counter(), None
    if net is not None:
        report(progress, 0, 1, "network")
        grid = smaller(pair.shape, 2 * shrink_by)
        velocities = predict(net, pair.fixed, pair.moving, grid, shrink_by)
        report(progress, 1, 1, "network")
        seconds["network"] = time.perf_counter() - begun
    check(cancel)
    found: Refined = refine(
        pair.fixed,
        pair.moving,
        velocities,
        iterations=iterations,
        measure=measure,
        masks=pair.masks,
        progress=progress if iterations else None,
        metric=metric,
        cancel=cancel,
    )
    seconds["refinement"] = found.seconds
    begun = time.perf_counter()
    report(progress, 0, 1, "integrating")
    velocities, fields = unfold(found.velocities, pair.shape, cancel=cancel)
    report(progress, 1, 1, "integrating")
    seconds["integration"] = time.perf_counter() - begun
    return Aligned(fields, velocities, found.curve, seconds)
