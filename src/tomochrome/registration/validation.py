"""Validation with a known deformation: a random diffeomorphism, noise, errors in mm.

One of the three ways to validate a registration (visually, with landmarks, with a synthetic
field).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.errors import InputError, OptionError
from tomochrome.evaluate.masks import Mask, on_grid
from tomochrome.evaluate.transform_measures import jacobian_measures
from tomochrome.geometry.affine import apply, require_same_grid
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.geometry.resample import resample
from tomochrome.registration.checked_input import check_numbers, check_volume
from tomochrome.registration.pairwise import Registration, register
from tomochrome.registration.report import find_body_mask
from tomochrome.registration.velocity import (
    Shape,
    exponential,
    reduce_inverse_error,
    resize,
    resize_field,
    to_mm,
    warp,
    warp_nearest,
)
from tomochrome.registration.working_pair import working_grid
from tomochrome.runtime import check, quietly, report
from tomochrome.transform import Transform, jacobian_map
from tomochrome.volume import Volume

LARGE_ML: Final = 30.0
"""Larger organs are evaluated separately, since small ones consist mostly of surface."""
_NOISE_HU: Final = 15.0
_NOISE_SHARE: Final = 0.02  # of the range of values that are not HU
_FIELD_VOXELS: Final = 1_500_000  # of the known field, which is much smoother than its grid
_POINTS: Final = 3_000_000  # maximum number of points for measuring the error
_CONTRAST_BLUR: Final = 0.7  # voxels
_MAX_ERROR_MM: Final = 0.01  # points with a larger inverse error are outside the known field
_TOLERANCE: Final = 0.1  # of the mean displacement
_MIN_PERCENT: Final = 80.0


@dataclass(frozen=True, eq=False)
class Synthetic:
    """A volume, a copy with a known deformation, and the parameters of the deformation.

    Parameters
    ----------
    fixed, moving
        The original and the deformed volume.
    truth
        The ground truth for registering ``moving`` to ``fixed``: the inverse, within 1e-3 mm, of
        the field applied to ``moving``.
    body
        bool (z, y, x) on the grid of ``fixed``: mask for measuring the error.
    fixed_labels, moving_labels
        Labels of both, if there are any.
    facts
        ``mean_mm`` (as requested), ``smooth_mm``, ``noise``, ``contrast``, ``seed``.
    """

    fixed: Volume
    moving: Volume
    truth: Transform
    body: NDArray[np.bool_]
    fixed_labels: Volume | None
    moving_labels: Volume | None
    facts: dict[str, Any]


def make_synthetic(
    volume: Volume,
    *,
    labels: Volume | None = None,
    mean_mm: float = 9.0,
    smooth_mm: float = 70.0,
    noise: float | None = None,
    contrast: Mapping[int, float] | None = None,
    seed: int = 0,
    body: Mask = None,
) -> Synthetic:
    """Deform a volume by a random diffeomorphism.

    Parameters
    ----------
    volume
        Scalar, on any grid.
    labels
        Its label map, on the same grid.
    mean_mm
        Mean length of the displacement within the body.
    smooth_mm
        Distance between the control points of the random velocity.
    noise
        Standard deviation of the noise added to the deformed volume, in its unit. None for 15 HU,
        or 2 % of the range of other values.
    contrast
        Values added to the moving volume within labels, for example contrast agent.
    seed
        Random seed.
    body
        Mask for ``mean_mm`` and for measuring errors; None to find the body automatically.

    Raises
    ------
    InputError
        If the volume is in color, flat or constant, or contains non-finite values.
    GeometryError
        If the labels are not on its grid.
    OptionError
        If a number is out of range, contrast is requested without labels, or the deformation
        folds because it is too large or too rough.
    """
    _check(mean_mm, smooth_mm, noise, contrast, labels)
    check_volume(volume, "given")
    check_numbers(volume, "given")
    if labels is not None:
        require_same_grid(volume, labels, "the volume and its labels")
    report(0, 4, "deforming")
    inside = on_grid(find_body_mask(volume) if body is None else body, volume)
    assert inside is not None
    check()
    shape, affine = working_grid(volume, _FIELD_VOXELS)
    grid = Volume(np.broadcast_to(np.uint8(0), shape), affine, "unknown")
    coarse = resample(
        Volume(inside.astype(np.uint8), volume.affine, "unknown"), grid, order="nearest"
    )
    report(1, 4, "deforming")
    deformation = random_diffeomorphism(
        shape,
        grid.spacing,
        mean_mm=mean_mm,
        smooth_mm=smooth_mm,
        seed=seed,
        body=np.asarray(coarse.voxels) != 0,
    )
    field = DisplacementField(to_mm(deformation.inverse, affine).astype(np.float32), affine)
    applied = Transform.from_fields(field)  # its inverse is the truth
    if jacobian_measures(jacobian_map(applied, field.like))["folded_percent"] > 0:
        raise OptionError(
            f"a random deformation of {mean_mm:g} mm on average that is smooth over {smooth_mm:g} "
            "mm folds in this volume and has no inverse; use a smaller or smoother one"
        )
    truth = applied.inverse()
    report(2, 4, "deforming")
    enhanced = _with_contrast(volume, labels, contrast)
    with quietly():
        moving = applied.apply(enhanced, volume, order="linear")
    if noise is None and volume.unit == "HU":
        noise = _NOISE_HU
    elif noise is None:
        values = np.asarray(volume.voxels).ravel()
        low, high = np.percentile(values[:: values.size // 500_000 + 1], (0.5, 99.5))
        noise = float(_NOISE_SHARE * (high - low))
    report(3, 4, "deforming")
    facts = {
        "mean_mm": mean_mm,
        "smooth_mm": smooth_mm,
        "noise": noise,
        "contrast": {str(k): float(v) for k, v in (contrast or {}).items()},
        "seed": seed,
    }
    moved_labels = None
    if labels is not None:
        labels = replace(labels, outside=None)
        with quietly():
            moved_labels = applied.apply(labels, volume, order="nearest", fill=0)
    report(4, 4, "deforming")
    noisy = _noisy(moving, noise, seed)
    return Synthetic(volume, noisy, truth, inside, labels, moved_labels, facts)


def validate_synthetic(
    case: Synthetic,
    *,
    register: Callable[..., Registration] = register,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Register a pair with a known deformation, and measure the error of the result.

    Parameters
    ----------
    case
        The pair, from `make_synthetic`.
    register
        The function to validate, called like `tomochrome.register`, which is the default.
    options
        Further arguments for ``register``, such as ``init`` or ``refine``. The default of
        ``init`` is ``"none"``.

    Returns
    -------
    dict
        ``deformation``: the requested parameters. ``error_mm``: the distance between true and
        estimated positions (``mean``, ``median``, ``p95``, ``max``), ``before`` and ``after``,
        over the points of the body that remain in the moving image's field of view
        (``measured_percent``), and ``percent``, the mean after as a percentage of that before.
        ``before``, ``after``, ``jacobian``, ``inverse_consistency_mm``, ``seconds``, ``device``,
        ``model`` and ``warnings`` of the registration's report; with labels also
        ``dice_mean_large``, over those of more than 30 ml, in ``before`` and ``after``.
    """
    result = register(
        case.fixed,
        case.moving,
        **{
            "init": "none",
            "fixed_labels": case.fixed_labels,
            "moving_labels": case.moving_labels,
            **(options or {}),
        },
    )
    kept = (
        "before", "after", "jacobian", "inverse_consistency_mm", "seconds", "device", "model",
        "warnings",
    )  # fmt: skip
    measures = {key: result.report[key] for key in kept if key in result.report}
    if case.fixed_labels is not None:
        labels, counts = np.unique(np.asarray(case.fixed_labels.voxels), return_counts=True)
        ml = counts * abs(float(np.linalg.det(case.fixed_labels.affine[:3, :3]))) / 1000.0
        large = {str(int(v)) for v, size in zip(labels, ml, strict=True) if size > LARGE_ML and v}
        for when in ("before", "after"):
            dice = [v for label, v in measures[when].get("dice", {}).items() if label in large]
            if dice:
                measures[when] = {**measures[when], "dice_mean_large": float(np.mean(dice))}
    error = displacement_errors(result.forward, case)
    measures["warnings"] = [*_warnings(case.facts["mean_mm"], error), *measures.get("warnings", ())]
    return {"deformation": case.facts, "error_mm": error, **measures}


def displacement_errors(estimate: Transform, case: Synthetic) -> dict[str, Any]:
    """Return the distances in mm of a transform from the known one, before (identity) and after.

    They are measured at voxel centers of the body (subsampled in large volumes) where the truth
    is known and remains in the moving image's field of view: ``measured_percent`` of the body.
    """
    step = int(np.ceil((np.count_nonzero(case.body) / _POINTS) ** (1 / 3))) or 1
    index = np.argwhere(case.body[::step, ::step, ::step]) * step
    to_moving = np.linalg.inv(case.moving.affine)
    size = np.array(case.moving.shape)
    initial, remaining = [], []
    inverse = case.truth.inverse()
    for chunk in np.array_split(index, max(1, len(index) // 100_000)):
        check()
        points = apply(case.fixed.affine, chunk)
        truth = case.truth.points(points)
        at = apply(to_moving, truth)
        inside = ((at >= -0.5) & (at < size - 0.5)).all(axis=1)
        inside &= np.linalg.norm(inverse.points(truth) - points, axis=1) < _MAX_ERROR_MM
        initial.append(np.linalg.norm(truth - points, axis=1)[inside])
        remaining.append(np.linalg.norm(estimate.points(points) - truth, axis=1)[inside])
    if not (count := sum(len(part) for part in initial)):
        raise InputError(
            "the deformation moves the entire body out of the field of view of the volume"
        )
    before, after = (_summary(np.concatenate(parts)) for parts in (initial, remaining))
    percent = 100.0 * after["mean"] / before["mean"] if before["mean"] > 0 else None
    shares = {"percent": percent, "measured_percent": 100.0 * count / len(index)}
    return {"before": before, "after": after, **shares}


def _warnings(requested: float, error: Mapping[str, Any]) -> list[str]:
    """Return warnings about deviations from the requested deformation."""
    warnings, mean = [], error["before"]["mean"]
    if abs(mean - requested) > _TOLERANCE * requested:
        warnings.append(
            f"the known deformation is {mean:.1f} mm on average where it is measured, instead of "
            f"the requested {requested:g} mm"
        )
    if error["measured_percent"] < _MIN_PERCENT:
        warnings.append(
            f"only {error['measured_percent']:.0f} % of the body remain in the volume's field of "
            "view after the deformation; the rest is not measured"
        )
    return warnings


def _check(
    mean_mm: float,
    smooth_mm: float,
    noise: float | None,
    contrast: Mapping[int, float] | None,
    labels: Volume | None,
) -> None:
    if not 0.0 < mean_mm <= 50.0:
        raise OptionError(
            f"the mean displacement must be more than 0 and at most 50 mm, not {mean_mm:g}"
        )
    if not 10.0 <= smooth_mm <= 1000.0:
        raise OptionError(f"the smoothness must be from 10 to 1000 mm, not {smooth_mm:g}")
    if noise is not None and not 0.0 <= noise < 1e6:
        raise OptionError(f"the noise must be a number of at least 0, not {noise:g}")
    if contrast and labels is None:
        raise OptionError("a change of contrast requires labels")


def _with_contrast(
    volume: Volume, labels: Volume | None, contrast: Mapping[int, float] | None
) -> Volume:
    """Return the volume as float32, with values added within labels."""
    values = np.array(volume.voxels, dtype=np.float32)
    if contrast and labels is not None:
        label_map = np.asarray(labels.voxels)
        added = np.zeros(values.shape, np.float32)
        for label, value in contrast.items():
            region = label_map == label
            if not region.any():
                raise InputError(f"the label {label}, whose contrast is to be changed, is missing")
            added[region] = value
        values += ndimage.gaussian_filter(added, _CONTRAST_BLUR)
    return replace(volume, voxels=values)


def _noisy(moving: Volume, noise_sd: float, seed: int) -> Volume:
    rng = np.random.default_rng(seed)
    voxels = np.asarray(moving.voxels)
    for plane in voxels:
        plane += np.float32(noise_sd) * rng.standard_normal(plane.shape, dtype=np.float32)
    if moving.outside is not None:
        voxels[moving.outside] = -1024.0 if moving.unit == "HU" else 0.0
    return moving.with_voxels(voxels, step="deformed by a known random field")


def _summary(distance: NDArray[np.float64]) -> dict[str, float]:
    return {
        "mean": float(distance.mean()),
        "median": float(np.median(distance)),
        "p95": float(np.percentile(distance, 95)),
        "max": float(distance.max()),
    }


@dataclass(frozen=True, eq=False)
class KnownDeformation:
    """A diffeomorphism of a grid and its inverse, in voxels, each (1, 3, z, y, x).

    Parameters
    ----------
    forward
        Displacement from points of the undeformed volume to the deformed one: the ground truth
        for registering the deformed (moving) volume to the undeformed (fixed) one.
    inverse
        Displacement in the opposite direction.
    """

    forward: torch.Tensor
    inverse: torch.Tensor

    def apply(self, voxels: NDArray[Any], *, labels: bool = False) -> NDArray[Any]:
        """Deform voxels (z, y, x) as float32, or labels with their values and type."""
        if labels:
            integers = torch.from_numpy(np.ascontiguousarray(voxels).astype(np.int64))[None, None]
            return warp_nearest(integers, self.inverse)[0, 0].numpy().astype(voxels.dtype)
        image = torch.from_numpy(np.ascontiguousarray(voxels, dtype=np.float32))[None, None]
        return warp(image, self.inverse)[0, 0].numpy()


def random_diffeomorphism(
    shape: Shape,
    spacing: tuple[float, float, float],
    *,
    mean_mm: float = 9.0,
    smooth_mm: float = 70.0,
    seed: int = 0,
    body: NDArray[np.bool_] | None = None,
) -> KnownDeformation:
    """Generate a random smooth diffeomorphism; it can fold if ``mean_mm`` is too large.

    Parameters
    ----------
    shape, spacing
        Shape and spacing (mm) of the grid, (z, y, x).
    mean_mm
        Mean length of the displacement within ``body`` in mm.
    smooth_mm
        Distance between the control points of the random velocity in mm.
    seed
        Random seed.
    body
        Mask for ``mean_mm``, bool (z, y, x); None for the entire grid.
    """
    rng = np.random.default_rng(seed)
    extent = np.array(shape) * spacing
    nodes = tuple(max(3, round(float(e) / smooth_mm) + 1) for e in extent)
    half: Shape = tuple(max(4, -(-n // 2)) for n in shape)  # type: ignore[assignment]
    noise = torch.from_numpy(rng.standard_normal((1, 3, *nodes), dtype=np.float32))
    # approximately cubic interpolation: linear between nodes, then box filters
    velocity = _box_smoothed(
        resize(noise, half), [n // (2 * k) for n, k in zip(half, nodes, strict=True)]
    )
    scale = torch.tensor(spacing, dtype=torch.float32).view(1, 3, 1, 1, 1)
    mm = torch.tensor([s * n / h for s, n, h in zip(spacing, shape, half, strict=True)])
    velocity = velocity / mm.view(1, 3, 1, 1, 1)
    inside = (
        torch.ones(1, 1, *shape) if body is None else torch.from_numpy(body)[None, None].float()
    )
    for _ in range(4):  # exp(v) and v differ in length
        check()
        both = exponential(torch.cat([velocity, -velocity]), 7)
        forward = resize_field(both[:1], shape)
        length = (forward * scale).square().sum(1, keepdim=True).sqrt()
        mean = float((length * inside).sum() / inside.sum())
        if abs(mean - mean_mm) < 0.02 * mean_mm:
            break
        velocity = velocity * (mean_mm / max(mean, 1e-6))
    check()
    forward, inverse = reduce_inverse_error(forward, resize_field(both[1:], shape), 4)
    return KnownDeformation(forward, inverse)


def _box_smoothed(field: torch.Tensor, radii: list[int]) -> torch.Tensor:
    for _ in range(2):
        for axis, radius in enumerate(radii):
            if radius < 1:
                continue
            size, pad = [1, 1, 1], [0] * 6
            size[axis] = 2 * radius + 1
            pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = radius
            padded = torch.nn.functional.pad(field, pad, mode="replicate")
            field = torch.nn.functional.avg_pool3d(padded, size, stride=1)
    return field


def deform(
    volume: Volume,
    deformation: KnownDeformation,
    *,
    noise: float = 0.0,
    seed: int = 0,
) -> Volume:
    """Deform a volume, with noise: the moving volume of a test pair.

    Parameters
    ----------
    volume
        Scalar volume on the deformation's grid.
    deformation
        The deformation.
    noise
        Standard deviation of added noise, in the volume's unit.
    seed
        Random seed of the noise.
    """
    moved = deformation.apply(np.asarray(volume.voxels, dtype=np.float32))
    if noise > 0:
        rng = np.random.default_rng(seed)
        moved = moved + np.float32(noise) * rng.standard_normal(moved.shape, dtype=np.float32)
    return volume.with_voxels(moved, step="deformed by a known random field")


def errors_mm(
    estimate: torch.Tensor, truth: torch.Tensor, spacing: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return the distance between two displacements at each voxel in mm, (z, y, x)."""
    scale = torch.tensor(spacing, dtype=torch.float32).view(1, 3, 1, 1, 1)
    return ((estimate - truth) * scale).square().sum(1).sqrt()[0].numpy()
