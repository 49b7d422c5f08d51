"""`register`: from two volumes to a moved volume, transforms in both directions, and a report.

The steps are checks, initial alignment (`initialize`), resampling to a common grid (`pair`),
deformable alignment by network and refinement (`align`), and measurement (`report`).
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
    check_distance,
    check_extras,
    check_options,
    looks_like_labels,
    masked_numbers,
)
from tomochrome.registration.initialize import initialize
from tomochrome.registration.order import is_swapped, swapped
from tomochrome.registration.padding import without_padding
from tomochrome.registration.plausibility import plausibility
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
"""Callback with the stage, the iteration counted over all stages, and the dissimilarity."""
Model = str | os.PathLike[str] | None
_MAX_SMOOTHINGS: Final = 6  # of folds on a volume's original grid
_MAX_SHRINK: Final = 16  # of the network's input
_SLICES: Final = 8  # of a field that are converted to mm at a time


@dataclass(frozen=True, eq=False)
class Registration:
    """The result of `register`.

    Parameters
    ----------
    moved
        The moving volume resampled to the fixed grid.
    moved_inverse
        The fixed volume resampled to the moving grid.
    forward, inverse
        Transforms of points from the fixed to the moving volume, and back, in LPS mm. In ITK's
        convention, ``SimpleITK.Resample(moving, fixed, forward)`` is ``moved``.
    jacobian
        Jacobian determinant of ``forward`` at each voxel of the fixed grid, float32: 1 where
        volume is preserved, above 1 where the moving image is larger, at most 0 at folds.
    report
        Measures, seconds and warnings, as in ``report.json``.
    warnings
        Warnings for the user.
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
    """Measures the seconds of each stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class _Options:
    """Options of one registration."""

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
        Initial alignment: ``"none"``, ``"center"``, ``"mass"``, ``"rigid"`` or ``"affine"``.
    model
        A registration model or the folder of its bundle; None or ``"none"`` for no network.
    refine
        Maximum number of refinement iterations; None for the default, 0 for none. Without a
        network and refinement, only the initial alignment is applied.
    similarity
        ``"lncc"`` (local normalized cross-correlation), ``"mi"`` or ``"mind"`` (for different
        contrast or modality), or ``"mse"``.
    fixed_mask, moving_mask
        Volumes on any grid, nonzero where the image is used.
    fixed_labels, moving_labels
        Integer label maps on any grid, used for evaluation only.
    fixed_points, moving_points
        Corresponding landmarks, (n, 3) LPS mm each, used for evaluation only.
    device, threads
        Device, see `tomochrome.runtime.choose_device`, and number of CPU threads.
    metric
        Callback for the dissimilarity at each iteration.

    Returns
    -------
    Registration
        On the fixed volume's grid as stored.

    Raises
    ------
    InputError
        If a volume, mask or label map cannot be used, or the numbers of landmarks differ.
    GeometryError
        If the volumes do not overlap, or masks or labels do not overlap their volume.
    OptionError, ModelError, DeviceError
        If an option, model or device is unknown.
    Cancelled
        If the user cancelled.
    """
    from tomochrome.registration.pair import check_volume
    from tomochrome.registration.refine import DEFAULT_ITERATIONS
    from tomochrome.runtime.device import compute_threads

    check_options(init, similarity, refine)
    clock, start = _Clock(), time.perf_counter()
    with clock("check"):
        check()
        for volume, role in ((fixed, "fixed"), (moving, "moving")):
            require_volume(volume, f"the {role} volume")
        fixed, moving = masked_numbers(fixed, "fixed"), masked_numbers(moving, "moving")
        for volume, role in ((fixed, "fixed"), (moving, "moving")):
            check_volume(volume, role)
        check_distance(fixed, moving, init)
        extras = check_extras(
            fixed, moving, fixed_mask, moving_mask, fixed_labels, moving_labels,
            fixed_points, moving_points,
        )  # fmt: skip
        check()  # importing torch and MONAI takes seconds
        name, net, shrink_by = _network(model)
        check()
    options = _Options(
        init, DEFAULT_ITERATIONS if refine is None else refine, similarity,
        choose_device(device), metric,
    )  # fmt: skip
    with compute_threads(threads):
        if is_swapped(fixed, moving):  # the result must not depend on which volume is fixed
            inverse, forward, found = _align(
                moving, fixed, swapped(extras), net, shrink_by, options, clock, ("moving", "fixed")
            )
            found["affine"] = np.linalg.inv(found["affine"])
        else:
            forward, inverse, found = _align(
                fixed, moving, extras, net, shrink_by, options, clock, ("fixed", "moving")
            )
        result = _finish(fixed, moving, extras, forward, inverse, options, clock, found)
    clock.seconds["total"] = time.perf_counter() - start
    notes = [*_geometry_warnings(fixed), *_geometry_warnings(moving), *found["warnings"]]
    for volume, role in ((fixed, "fixed"), (moving, "moving")):
        if looks_like_labels(volume):
            text = (
                f"the {role} volume appears to be a segmentation, not a scan; interpolation makes "
                "labels wrong at their borders: register the scans, then apply the resulting "
                "transform to the segmentation"
            )
            notes.append(Notice("segmentation", "warning", text))
    notices = tuple(dict.fromkeys([*notes, *result.warnings]))
    details = {
        "seconds": {stage: round(taken, 3) for stage, taken in clock.seconds.items()},
        **result.report,
        "device": str(found["device"]),
        "model": name,
        "init": init,
        "similarity": similarity,
        "refine": options.refine,
        "affine": found["affine"].tolist(),
        "curve": found["curve"],
        "warnings": texts(notices),
    }
    return replace(result, report=details, warnings=notices)


def _geometry_warnings(volume: Volume) -> list[Notice]:
    """Return the reader's warnings except those about the unit, which is not needed."""
    return [notice for notice in volume.provenance.warnings if notice.code != "unit"]


def _network(model: Model) -> tuple[str, SymNet | None, int]:
    """Return name, network, and the factor by which its input is downsampled."""
    from tomochrome.bundles import damaged
    from tomochrome.registration.symnet import load_symnet

    if model is None or os.fspath(model) == NO_MODEL:
        return NO_MODEL, None, 2
    net, card = load_symnet(model)
    shrink_by = card.metadata.get("shrink_by", 2)
    if type(shrink_by) is not int or not 1 <= shrink_by <= _MAX_SHRINK:
        raise damaged(card.path, f"'shrink_by' must be an integer from 1 to {_MAX_SHRINK}")
    return card.name, net, shrink_by


def _align(
    fixed: Volume,
    moving: Volume,
    extras: Extras,
    net: SymNet | None,
    shrink_by: int,
    options: _Options,
    clock: _Clock,
    roles: tuple[str, str],
) -> tuple[Transform, Transform, dict[str, Any]]:
    """Return both transforms and details for the report; ``roles`` are names for messages."""
    from tomochrome.registration.align import align_on
    from tomochrome.registration.pair import make_pair

    masks: dict[str, Any] = {"fixed_mask": extras.fixed_mask, "moving_mask": extras.moving_mask}
    with clock("initialize"):
        fixed, moving = (without_padding(volume) for volume in (fixed, moving))
        first = initialize(fixed, moving, options.init, roles=roles, **masks)
    with clock("plausibility"):
        plausible = plausibility(fixed, moving, first.affine, **masks)
    found: dict[str, Any] = {
        "affine": first.affine, "curve": [], "warnings": [], "device": options.device,
    }  # fmt: skip
    found["plausibility"] = plausible.as_json()
    if is_half_turn(first.affine) and not plausible.is_unrelated:
        text = (
            "the two volumes match only after a rotation by 180 degrees (feet first, or face "
            "down): the orientation in one header is wrong, so check left and right"
        )
        found["warnings"].append(Notice("half-turn", "warning", text))
    if net is None and options.refine == 0:
        how = "as in the files" if options.init == "none" else f"by '{options.init}' only"
        text = (
            f"neither a network nor refinement was requested: the volumes are aligned {how}, "
            "without deformation"
        )
        found["warnings"].append(Notice("not-deformed", "info", text))
        return first, first.inverse(), found
    with clock("prepare"):
        check()
        report(0, 1, "preparing")
        pair = make_pair(fixed, moving, transform=first.affine, **masks)
        check()
    aligned, found["device"], notes = align_on(
        options.device, pair, net, iterations=options.refine, measure=options.similarity,
        shrink_by=shrink_by, metric=options.metric,
    )  # fmt: skip
    found["warnings"] += notes
    clock.seconds.update(aligned.seconds)
    found["curve"] = [[stage, round(float(value), 6)] for stage, value in aligned.curve]
    with clock("integration"):
        forward = _without_folds(fixed, moving, pair, aligned, options)
    return forward, forward.inverse(), found


def _without_folds(
    fixed: Volume, moving: Volume, pair: WorkingPair, aligned: Aligned, options: _Options
) -> Transform:
    """Return the forward transform, smoothed where it would fold on a volume's original grid."""
    import torch

    from tomochrome.registration.fold_check import fold_check
    from tomochrome.registration.unfold import unfold

    velocities, fields = aligned.velocities, aligned.fields
    grids = (fixed, pair.affine), (moving, pair.transform @ pair.affine)
    for k in range(_MAX_SMOOTHINGS + 1):
        to_moving, to_fixed = (_field(u, pair.affine) for u in (fields.forward, fields.inverse))
        forward = Transform.from_fields(to_moving, to_fixed, pair.transform)
        if k == _MAX_SMOOTHINGS:
            break
        marks = [
            fold_check(volume, transform, pair, affine)
            for transform, (volume, affine) in zip((forward, forward.inverse()), grids, strict=True)
        ]
        if all(mark is None for mark in marks):
            break
        none = torch.zeros(1, 1, *pair.shape)
        also = torch.cat([none if mark is None else mark for mark in marks])
        velocities, fields = unfold(  # rare, so on the CPU to save GPU memory
            velocities.cpu(), pair.shape, also=also, passes=1 + k
        )
    return forward


def _field(displacement: torch.Tensor, affine: NDArray[np.float64]) -> DisplacementField:
    """Convert a displacement (1, 3, z, y, x) from voxels to LPS mm."""
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
    options: _Options,
    clock: _Clock,
    found: dict[str, Any],
) -> Registration:
    """Apply the transforms and measure the result."""
    from tomochrome.registration.report import measure, warnings_of

    with clock("apply"):
        moved = forward.apply(moving, fixed)
        back = inverse.apply(fixed, moving)
    with clock("measure"):
        measured, jacobian = measure(fixed, moving, forward, inverse, moved, extras)
    measured["plausibility"] = found["plausibility"]
    notices = warnings_of(measured, options.similarity)
    return Registration(moved, back, forward, inverse, jacobian, measured, notices)
