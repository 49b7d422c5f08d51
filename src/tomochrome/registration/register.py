"""`register`: from two volumes to a moved volume, transforms both ways, and a report.

Check, align roughly (`initialize`), bring both onto one grid (`pair`), find the deformation
(`align`: network and refinement), and measure what came of it (`report`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import GeometryError
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.notices import Notice, texts
from tomochrome.registration.checks import (
    NO_MODEL,
    Extras,
    check_extras,
    check_numbers,
    check_options,
    check_place,
    looks_like_labels,
)
from tomochrome.registration.initialize import initialize
from tomochrome.registration.order import is_swapped, swapped
from tomochrome.registration.padding import without_padding
from tomochrome.registration.starts import is_half_turn
from tomochrome.runtime import check, report
from tomochrome.runtime.device import choose_device
from tomochrome.transform import Transform
from tomochrome.volume import Volume, require_volume

if TYPE_CHECKING:
    import torch

    from tomochrome.registration.align import Aligned
    from tomochrome.registration.pair import WorkingPair
    from tomochrome.registration.symnet import SymNet

Metric = Callable[[str, int, float], None]
"""Told the stage, the iteration over all stages, and the dissimilarity: the falling curve."""
Model = str | os.PathLike[str] | None
_SMOOTHINGS: Final = 6  # of what folds on a volume's own grid, at most
_SLICES: Final = 8  # of a field, turned into mm at a time


@dataclass(frozen=True, eq=False)
class Registration:
    """What `register` found.

    Parameters
    ----------
    moved
        The moving volume on the fixed one's grid.
    moved_inverse
        The fixed volume on the moving one's grid.
    forward, inverse
        From points of the fixed volume to the moving one, and back, in LPS mm. As ITK has it,
        ``SimpleITK.Resample(moving, fixed, forward)`` is ``moved``.
    jacobian
        Determinant of ``forward`` at each voxel of the fixed grid, float32: 1 where volume is
        kept, above 1 where the moving image is larger, 0 or less where it folds.
    report
        Measures, seconds and warnings, as in ``report.json``.
    warnings
        What the user should know.
    """

    moved: Volume
    moved_inverse: Volume
    forward: Transform
    inverse: Transform
    jacobian: Volume
    report: dict[str, Any]
    warnings: tuple[Notice, ...] = ()


@dataclass
class _Clock:
    """Seconds of each stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class _Job:
    """Everything that is asked of one registration."""

    init: str
    refine: int
    similarity: str
    device: torch.device
    metric: Metric | None


def register(
    fixed: Volume,
    moving: Volume,
    *,
    init: str = "affine",
    model: Model = "symnet",
    refine: int | None = None,
    similarity: str = "lncc",
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
    fixed_labels: Volume | None = None,
    moving_labels: Volume | None = None,
    fixed_points: ArrayLike | None = None,
    moving_points: ArrayLike | None = None,
    device: str = "auto",
    threads: int | None = None,
    metric: Metric | None = None,
) -> Registration:
    """Align the moving volume with the fixed one.

    Parameters
    ----------
    fixed, moving
        Scalar volumes; they may differ in grid, spacing, orientation and field of view.
    init
        First alignment: ``"none"``, ``"center"``, ``"mass"``, ``"rigid"`` or ``"affine"``.
    model
        A registration model or the folder of its bundle; None or ``"none"``: no network.
    refine
        Iterations of the refinement for this pair at most; None is the default number, 0 is
        none. Without a network too, only the first alignment is left.
    similarity
        ``"lncc"`` (local correlation), ``"mi"`` or ``"mind"`` (for different contrast or
        modality), or ``"mse"``.
    fixed_mask, moving_mask
        Volumes, not 0 where the image counts, on any grid.
    fixed_labels, moving_labels
        Label maps (whole numbers), on any grid; they only measure the result.
    fixed_points, moving_points
        Landmarks, (n, 3) LPS mm each, in the same order; they only measure the result.
    device, threads
        Where and how to compute; see `tomochrome.runtime.choose_device`.
    metric
        Told the falling curve.

    Returns
    -------
    Registration
        On the fixed volume's own grid, as stored.

    Raises
    ------
    InputError
        If a volume, mask or labels cannot be used, or the points do not pair up.
    GeometryError
        If volumes do not overlap, or masks and labels lie elsewhere.
    OptionError, ModelError, DeviceError
        If an option, model or device is unknown.
    Cancelled
        If the task was cancelled.
    """
    from tomochrome.colorization.threads import compute_threads
    from tomochrome.registration.pair import check_volume
    from tomochrome.registration.refine import DEFAULT_ITERATIONS

    check_options(init, similarity, refine)
    clock, begun = _Clock(), time.perf_counter()
    with clock("check"):
        check()
        for volume, role in ((fixed, "fixed"), (moving, "moving")):
            require_volume(volume, f"the {role} volume")
            check_numbers(volume, role)
            check_volume(volume, role)
        check_place(fixed, moving, init)
        extras = check_extras(
            fixed, moving, fixed_mask, moving_mask, fixed_labels, moving_labels,
            fixed_points, moving_points,
        )  # fmt: skip
        check()  # the libraries of networks take seconds to load
        name, net, shrink_by = _network(model)
        check()
    job = _Job(
        init, DEFAULT_ITERATIONS if refine is None else refine, similarity,
        choose_device(device), metric,
    )  # fmt: skip
    with compute_threads(threads):
        if is_swapped(fixed, moving):  # the answer must not depend on what is called fixed
            inverse, forward, found = _align(
                moving, fixed, swapped(extras), net, shrink_by, job, clock, ("moving", "fixed")
            )
            found["affine"] = np.linalg.inv(found["affine"])
        else:
            forward, inverse, found = _align(
                fixed, moving, extras, net, shrink_by, job, clock, ("fixed", "moving")
            )
        result = _finish(fixed, moving, extras, forward, inverse, job, clock)
    clock.seconds["total"] = time.perf_counter() - begun
    notes = [*_of_geometry(fixed), *_of_geometry(moving), *found["warnings"]]
    for volume, role in ((fixed, "fixed"), (moving, "moving")):
        if looks_like_labels(volume):
            text = (
                f"the {role} volume looks like a segmentation, not a scan, and its labels come out "
                "wrong at their borders: register the scans themselves, then apply the resulting "
                "transform to the segmentation"
            )
            notes.append(Notice("segmentation", "warning", text))
    notices = tuple(dict.fromkeys([*notes, *result.warnings]))
    account = {
        "seconds": {stage: round(taken, 3) for stage, taken in clock.seconds.items()},
        **result.report,
        "device": str(found["device"]),
        "model": name,
        "init": init,
        "similarity": similarity,
        "refine": job.refine,
        "affine": found["affine"].tolist(),
        "curve": found["curve"],
        "warnings": texts(notices),
    }
    return replace(result, report=account, warnings=notices)


def _of_geometry(volume: Volume) -> list[Notice]:
    """Warnings of the reader, without those about the unit: alignment does without one."""
    return [notice for notice in volume.provenance.warnings if notice.code != "unit"]


def _network(model: Model) -> tuple[str, SymNet | None, int]:
    """Name, network and how much smaller its input is; nothing is computed yet."""
    from tomochrome.registration.symnet import load_symnet

    if model is None or os.fspath(model) == NO_MODEL:
        return NO_MODEL, None, 2
    net, card = load_symnet(model)
    return card.name, net, int(card.metadata.get("shrink_by", 2))


def _align(
    fixed: Volume,
    moving: Volume,
    extras: Extras,
    net: SymNet | None,
    shrink_by: int,
    job: _Job,
    clock: _Clock,
    roles: tuple[str, str],
) -> tuple[Transform, Transform, dict[str, Any]]:
    """Return both transforms, and what else there is to say of how they were found.

    The roles are what the user calls the two.
    """
    from tomochrome.registration.align import align_on
    from tomochrome.registration.pair import make_pair

    masks: dict[str, Any] = {"fixed_mask": extras.fixed_mask, "moving_mask": extras.moving_mask}
    with clock("initialize"):
        fixed, moving = (without_padding(volume) for volume in (fixed, moving))
        first = initialize(fixed, moving, job.init, roles=roles, **masks)
    found: dict[str, Any] = {
        "affine": first.affine, "curve": [], "warnings": [], "device": job.device,
    }  # fmt: skip
    if is_half_turn(first.affine):
        text = (
            "the two volumes match only after a rotation by 180 degrees (feet first, or face "
            "down): the orientation in one header is wrong, so check left and right"
        )
        found["warnings"].append(Notice("half-turn", "warning", text))
    if net is None and job.refine == 0:
        how = "as in the files" if job.init == "none" else f"by '{job.init}' alone"
        text = (
            f"neither a network nor refinement was requested: the volumes are aligned {how}, and "
            "nothing is deformed"
        )
        found["warnings"].append(Notice("not-deformed", "info", text))
        return first, first.inverse(), found
    with clock("prepare"):
        check()
        report(0, 1, "preparing")
        pair = make_pair(fixed, moving, transform=first.affine, **masks)
        check()
    aligned, found["device"], notes = align_on(
        job.device, pair, net,
        iterations=job.refine, measure=job.similarity, shrink_by=shrink_by, metric=job.metric,
    )  # fmt: skip
    found["warnings"] += notes
    clock.seconds.update(aligned.seconds)
    found["curve"] = [[stage, round(float(value), 6)] for stage, value in aligned.curve]
    with clock("integration"):
        forward = _without_folds(fixed, moving, pair, aligned, job)
    return forward, forward.inverse(), found


def _without_folds(
    fixed: Volume, moving: Volume, pair: WorkingPair, aligned: Aligned, job: _Job
) -> Transform:
    """Return the forward transform, smoothed where it would fold on either volume's own grid."""
    import torch

    from tomochrome.registration.fold_check import fold_check
    from tomochrome.registration.unfold import unfold

    velocities, fields = aligned.velocities, aligned.fields
    grids = (fixed, pair.affine), (moving, pair.transform @ pair.affine)
    for k in range(_SMOOTHINGS + 1):
        there, back = (_field(field, pair.affine) for field in (fields.forward, fields.inverse))
        forward = Transform.from_fields(there, back, pair.transform)
        if k == _SMOOTHINGS:
            break
        marks = [
            fold_check(volume, way, pair, onto)
            for way, (volume, onto) in zip((forward, forward.inverse()), grids, strict=True)
        ]
        if all(mark is None for mark in marks):
            break
        none = torch.zeros(1, 1, *pair.shape)
        also = torch.cat([none if mark is None else mark for mark in marks])
        velocities, fields = unfold(  # seldom, and where no GPU can run out of memory
            velocities.cpu(), pair.shape, also=also, passes=1 + k
        )
    return forward


def _field(displacement: torch.Tensor, affine: NDArray[np.float64]) -> DisplacementField:
    """Voxels (1, 3, z, y, x) as LPS mm on the grid."""
    import torch

    voxels = displacement[0].detach().float()
    matrix = torch.as_tensor(affine[:3, :3].T.copy(), dtype=torch.float32, device=voxels.device)
    vectors = np.empty((*voxels.shape[1:], 3), np.float32)
    for z in range(0, len(vectors), _SLICES):
        check()
        slab = voxels[:, z : z + _SLICES].permute(1, 2, 3, 0) @ matrix
        if not bool(torch.isfinite(slab).all()):
            raise GeometryError(
                "the registration diverged; try fewer iterations of refinement or another "
                "similarity"
            )
        vectors[z : z + _SLICES] = slab.cpu().numpy()
    return DisplacementField(vectors, affine)


def _finish(
    fixed: Volume,
    moving: Volume,
    extras: Extras,
    forward: Transform,
    inverse: Transform,
    job: _Job,
    clock: _Clock,
) -> Registration:
    """Apply and measure."""
    from tomochrome.registration.report import measure, warnings_of

    with clock("apply"):
        moved = forward.apply(moving, fixed)
        back = inverse.apply(fixed, moving)
    with clock("measure"):
        measured, jacobian = measure(fixed, moving, forward, inverse, moved, extras)
    notices = warnings_of(measured, job.similarity)
    return Registration(moved, back, forward, inverse, jacobian, measured, notices)
