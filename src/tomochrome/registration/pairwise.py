"""`register`: from two volumes to a moved volume, transforms in both directions, and a report.

The steps are checks (`checked_input`), initial alignment (`initialize`), resampling to a common
grid (`working_pair`), deformable alignment by network and refinement (`align`), a transform without
folds (`unfold`), and measurement (`report`, `verdict`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.bundles import damaged
from tomochrome.errors import InputError
from tomochrome.notices import Notice, texts
from tomochrome.registration.checked_input import (
    NO_MODEL,
    TISSUE,
    CheckedScan,
    check_distance,
    check_guides,
    check_modality,
    check_options,
    checked_pair,
    is_swapped,
    looks_like_labels,
    masked_numbers,
)
from tomochrome.registration.initialize import Plausibility, initialize, plausibility
from tomochrome.registration.starts import is_half_turn
from tomochrome.registration.verdict import Row, Verdict, rows_of, verdict_of, warnings_of
from tomochrome.runtime import check, report
from tomochrome.runtime.clock import Clock
from tomochrome.runtime.device import choose_device
from tomochrome.transform import Transform
from tomochrome.volume import Volume, require_volume

if TYPE_CHECKING:
    import torch

    from tomochrome.registration.feature_volumes import Backbone
    from tomochrome.registration.symmetric_network import SymNet

Metric = Callable[[str, int, float], None]
"""Callback with the stage, the iteration counted over all stages, and the dissimilarity."""
Model = str | os.PathLike[str] | None
_MAX_SHRINK: Final = 16  # of the network's input


@dataclass(frozen=True, eq=False)
class Registration:
    """The result of `register`, or of `evaluate_transform`.

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
        Measures, seconds, verdict and warnings, as in ``report.json``.
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

    @property
    def verdict(self) -> Verdict:
        """Whether the result can be used: a grade, the reason, and both in words."""
        return verdict_of(self.report, self.warnings)

    @property
    def rows(self) -> list[Row]:
        """The rows of the table of measures, before and after."""
        return rows_of(self.report)


@dataclass(frozen=True)
class _Job:
    """What a registration is to do, and the clock that it runs on."""

    init: str
    refine: int
    similarity: str
    device: torch.device
    metric: Metric | None
    net: SymNet | None
    shrink_by: int  #: factor by which the network's input is downsampled
    clock: Clock
    backbone: Backbone | None  #: whose features are compared
    use_points: bool
    use_labels: bool


@dataclass(frozen=True, eq=False)
class _Alignment:
    """The transforms between two scans, and details for the report."""

    forward: Transform
    inverse: Transform
    affine: NDArray[np.float64]  #: of the initial alignment
    plausible: Plausibility
    device: torch.device
    notices: tuple[Notice, ...]
    curve: tuple[tuple[str, float], ...] = ()

    def exchanged(self) -> _Alignment:
        """Return the alignment with the two scans exchanged."""
        affine = np.asarray(np.linalg.inv(self.affine), np.float64)
        return replace(self, forward=self.inverse, inverse=self.forward, affine=affine)


def register(
    fixed: Volume,
    moving: Volume,
    *,
    init: str = "affine",
    model: Model = "symnet",
    refine: int | None = None,
    similarity: str = "lncc",
    backbone: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
    fixed_labels: Volume | None = None,
    moving_labels: Volume | None = None,
    fixed_points: ArrayLike | None = None,
    moving_points: ArrayLike | None = None,
    use_points: bool = False,
    use_labels: bool = False,
    rigid_mask: Volume | None = None,
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
        contrast or modality), ``"mse"``, or ``"features"`` (of a network).
    backbone
        For ``"features"``: ``"tissue"`` (the default: the tissue network), ``"alexnet"``,
        ``"vgg16"`` or ``"resnet18"``.
    weights
        File with weights of the user for the last three, see
        `tomochrome.registration.feature_networks.load_features`; None for the shipped ones.
    fixed_mask, moving_mask
        Volumes on any grid, nonzero where the image is used.
    fixed_labels, moving_labels
        Integer label maps on any grid, for evaluation. Labels of the fixed volume alone are enough
        to measure how their regions changed.
    fixed_points, moving_points
        Corresponding landmarks, (n, 3) LPS mm each, for evaluation.
    use_points, use_labels
        Whether the landmarks, or the labels that both volumes have, also drive the refinement. The
        measures of what drives it are then no independent evaluation. Landmarks also replace an
        initial alignment that misses them by more than 30 mm.
    rigid_mask
        Nonzero where the fixed volume moves rigidly, each label and connected part by itself:
        bones, implants, a tumor after ablation.
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
    from tomochrome.registration.feature_volumes import load_backbone
    from tomochrome.registration.guides import measure_rigidity
    from tomochrome.registration.refine import DEFAULT_ITERATIONS, FEATURE_ITERATIONS
    from tomochrome.registration.report import measure
    from tomochrome.runtime.device import compute_threads

    check_options(init, similarity, refine, backbone, weights=weights is not None)
    clock = Clock()
    with clock.stage("check"):
        check()
        for volume, role in ((fixed, "fixed"), (moving, "moving")):
            require_volume(volume, f"the {role} volume")
        fixed, moving = masked_numbers(fixed, "fixed"), masked_numbers(moving, "moving")
        scans = checked_pair(
            fixed, moving, fixed_mask=fixed_mask, moving_mask=moving_mask,
            fixed_labels=fixed_labels, moving_labels=moving_labels,
            fixed_points=fixed_points, moving_points=moving_points, rigid_mask=rigid_mask,
        )  # fmt: skip
        check_guides(scans, refine, use_points=use_points, use_labels=use_labels)
        check_distance(fixed, moving, init)
        if similarity == "features":
            check_modality(scans, backbone or TISSUE)
        check()  # importing torch and MONAI takes seconds
        name, net, shrink_by = _network(model)
        compared = None
        if similarity == "features":
            compared = load_backbone(backbone or TISSUE, weights, choose_device(device))
        check()
    if refine is None:
        refine = DEFAULT_ITERATIONS if compared is None else FEATURE_ITERATIONS
    job = _Job(
        init, refine, similarity,
        choose_device(device), metric, net, shrink_by, clock, compared, use_points, use_labels,
    )  # fmt: skip
    with compute_threads(threads):
        if is_swapped(fixed, moving):  # the result must not depend on which volume is fixed
            aligned = _align(scans[1], scans[0], job).exchanged()
        else:
            aligned = _align(*scans, job)
        with clock.stage("apply"):
            moved = aligned.forward.apply(moving, fixed)
            back = aligned.inverse.apply(fixed, moving)
        with clock.stage("measure"):
            measured, jacobian = measure(*scans, aligned.forward, aligned.inverse, moved)
    measured["plausibility"] = aligned.plausible.as_json()
    if rigid_mask is not None:
        measured["rigid_mm"] = measure_rigidity(scans[0], aligned.forward)
    notices = dict.fromkeys(
        [
            *_scan_warnings(fixed),
            *_scan_warnings(moving),
            *aligned.notices,
            *_label_warnings(scans),
            *warnings_of(measured, similarity),
        ]
    )
    details = {
        "seconds": clock.seconds(),
        **measured,
        "device": str(aligned.device),
        "model": name,
        "init": init,
        "similarity": similarity,
        **({} if compared is None else {"backbone": backbone or TISSUE}),
        "use_points": use_points,
        "use_labels": use_labels,
        "refine": job.refine,
        "affine": aligned.affine.tolist(),
        "curve": [[stage, round(float(value), 6)] for stage, value in aligned.curve],
        "warnings": texts(notices),
    }
    details["verdict"] = verdict_of(details, tuple(notices)).as_json()
    return Registration(
        moved, back, aligned.forward, aligned.inverse, jacobian, details, tuple(notices)
    )


def evaluate_transform(
    fixed: Volume,
    moving: Volume,
    forward: Transform,
    *,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
    fixed_labels: Volume | None = None,
    moving_labels: Volume | None = None,
    fixed_points: ArrayLike | None = None,
    moving_points: ArrayLike | None = None,
    rigid_mask: Volume | None = None,
) -> Registration:
    """Apply a transform of this or another tool to two volumes, and measure it as `register` does.

    Parameters
    ----------
    fixed, moving
        As for `register`.
    forward
        Maps points of the fixed to points of the moving volume, in LPS mm.
    fixed_mask, moving_mask, fixed_labels, moving_labels, fixed_points, moving_points, rigid_mask
        As for `register`.

    Returns
    -------
    Registration
        ``report["loaded"]`` is True.

    Raises
    ------
    InputError
        As for `register`, or if the transform maps the fixed volume outside the moving one.
    GeometryError
        As for `register`.
    Cancelled
        If the user cancelled.
    """
    from tomochrome.registration.report import measure

    scans = checked_pair(
        fixed, moving, fixed_mask=fixed_mask, moving_mask=moving_mask,
        fixed_labels=fixed_labels, moving_labels=moving_labels,
        fixed_points=fixed_points, moving_points=moving_points, rigid_mask=rigid_mask,
    )  # fmt: skip
    check()
    fixed, moving = scans[0].volume, scans[1].volume
    inverse = forward.inverse()
    moved = forward.apply(moving, fixed)
    if moved.outside is not None and moved.outside.all():
        raise InputError(
            "the transform maps the fixed image entirely outside the moving one; choose the two "
            "images that it was made for, or its inverse"
        )
    back = inverse.apply(fixed, moving)
    measured, jacobian = measure(*scans, forward, inverse, moved)
    warnings = warnings_of(measured, "lncc")
    details = {**measured, "loaded": True, "warnings": texts(warnings)}
    details["verdict"] = verdict_of(details, warnings).as_json()
    return Registration(moved, back, forward, inverse, jacobian, details, tuple(warnings))


def _scan_warnings(volume: Volume) -> list[Notice]:
    """Return the reader's warnings except those about the unit, which is not needed."""
    return [notice for notice in volume.provenance.warnings if notice.code != "unit"]


def _label_warnings(scans: Iterable[CheckedScan]) -> Iterator[Notice]:
    """Yield warnings about segmentations in place of scans."""
    for scan in scans:
        if looks_like_labels(scan.volume):
            text = (
                f"the {scan.role} volume appears to be a segmentation, not a scan; interpolation "
                "makes labels wrong at their borders: register the scans, then apply the resulting "
                "transform to the segmentation"
            )
            yield Notice("segmentation", "warning", text)


def _network(model: Model) -> tuple[str, SymNet | None, int]:
    """Return name, network, and the factor by which its input is downsampled."""
    from tomochrome.registration.symmetric_network import load_symnet

    if model is None or os.fspath(model) == NO_MODEL:
        return NO_MODEL, None, 2
    net, card = load_symnet(model)
    shrink_by = card.metadata.get("shrink_by", 2)
    if type(shrink_by) is not int or not 1 <= shrink_by <= _MAX_SHRINK:
        raise damaged(card.path, f"'shrink_by' must be an integer from 1 to {_MAX_SHRINK}")
    return card.name, net, shrink_by


def _align(fixed: CheckedScan, moving: CheckedScan, job: _Job) -> _Alignment:
    """Return the transforms between two scans; `is_swapped` says which is the fixed one here."""
    from tomochrome.registration.align import align_on
    from tomochrome.registration.feature_volumes import pair_features
    from tomochrome.registration.guides import aligned_by_landmarks, make_guides, with_labels
    from tomochrome.registration.unfold import forward_transform
    from tomochrome.registration.working_pair import make_pair

    clock, notices = job.clock, []
    with clock.stage("initialize"):
        first = initialize(fixed, moving, job.init)
        if job.use_points:
            first = aligned_by_landmarks(fixed, moving, first)
    with clock.stage("plausibility"):
        plausible = plausibility(fixed, moving, first.affine)
    if is_half_turn(first.affine) and not plausible.is_unrelated:
        text = (
            "the two volumes match only after a rotation by 180 degrees (feet first, or face "
            "down): the orientation in one header is wrong, so check left and right"
        )
        notices.append(Notice("half-turn", "warning", text))
    if job.net is None and job.refine == 0:
        how = "as in the files" if job.init == "none" else f"by '{job.init}' only"
        text = (
            f"neither a network nor refinement was requested: the volumes are aligned {how}, "
            "without deformation"
        )
        notices.append(Notice("not-deformed", "info", text))
        affine = first.affine
        return _Alignment(first, first.inverse(), affine, plausible, job.device, tuple(notices))
    with clock.stage("prepare"):
        check()
        report(0, 1, "preparing")
        pair = make_pair(fixed, moving, transform=first.affine)
        check()
    if job.backbone is not None and job.refine:
        with clock.stage("features"):
            features = pair_features(
                fixed.volume, moving.volume, pair, job.backbone, fine=not job.use_labels
            )
            pair = replace(pair, features=features)
    if job.use_labels:
        pair = with_labels(fixed, moving, pair)
    guides = make_guides(fixed, moving, pair, points=job.use_points)
    aligned, device, notes = align_on(
        job.device, pair, job.net, iterations=job.refine, measure=job.similarity,
        shrink_by=job.shrink_by, guides=guides, metric=job.metric,
    )  # fmt: skip
    clock.add(aligned.seconds)
    with clock.stage("integration"):
        forward = forward_transform(
            fixed.volume, moving.volume, pair, aligned.velocities, aligned.fields
        )
    return _Alignment(
        forward, forward.inverse(), first.affine, plausible, device, (*notices, *notes),
        aligned.curve,
    )  # fmt: skip
