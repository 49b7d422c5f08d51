"""Validation by a known deformation: warp a volume, add noise, register, compare in millimetres.

One of the three ways to validate a registration (by eye, by landmarks, by a synthetic field).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.colorization.body import coarse_body
from tomochrome.errors import InputError, OptionError
from tomochrome.evaluate.jacobian import jacobian_measures
from tomochrome.evaluate.masks import Mask, on_grid
from tomochrome.geometry.affine import apply, require_same_grid
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.geometry.orient import closest_axial
from tomochrome.geometry.resample import resample, to_spacing
from tomochrome.registration.checks import check_numbers
from tomochrome.registration.pair import check_volume, working_grid
from tomochrome.registration.register import Registration, register
from tomochrome.registration.synthetic import random_diffeomorphism
from tomochrome.registration.velocity import to_millimetres
from tomochrome.runtime import check, quietly, report
from tomochrome.transform import Transform, jacobian_map
from tomochrome.volume import Volume

LARGE_ML: Final = 30.0
"""Organs of more than this are told apart: overlap of smaller ones is mostly surface."""
_NOISE_HU: Final = 15.0
_NOISE_SHARE: Final = 0.02  # of the range of values that are no HU
_BODY_MM: Final = 3.0  # voxel size that the body is found at
_FIELD_VOXELS: Final = 1_500_000  # of the known field, which is far smoother than its grid
_POINTS: Final = 3_000_000  # points at most that the error is measured at
_CONTRAST_BLUR: Final = 0.7  # voxels
_ASTRAY_MM: Final = 0.01  # a point that the truth does not bring home lies beyond its field
_SLACK: Final = 0.1  # of the mean displacement
_FEW_PERCENT: Final = 80.0


@dataclass(frozen=True, eq=False)
class Synthetic:
    """A volume, its copy deformed in a known way, and what was done.

    Parameters
    ----------
    fixed, moving
        The volume as it is, and deformed.
    truth
        The map that registering ``moving`` to ``fixed`` should find: to 1e-3 mm the inverse of
        the field that ``moving`` was made by.
    body
        bool (z, y, x) on the grid of ``fixed``: where the error is measured.
    fixed_labels, moving_labels
        Labels of both, if there are any.
    facts
        ``mean_mm`` (as asked for), ``smooth_mm``, ``noise``, ``contrast``, ``seed``.
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
        Distance between the nodes of the random velocity.
    noise
        Standard deviation of the noise added to the deformed volume, in its unit. None: 15 HU, or
        2 % of the range of other values.
    contrast
        For labels, what is added to the moving volume's values there (contrast agent, say).
    seed
        Random seed.
    body
        Where ``mean_mm`` holds and errors are measured; None: it is found.

    Raises
    ------
    InputError
        If the volume is in color, flat, constant or not finite everywhere.
    GeometryError
        If the labels do not lie on its grid.
    OptionError
        If a number is out of range, contrast is asked for without labels, or so large and rough a
        deformation folds.
    """
    _check(mean_mm, smooth_mm, noise, contrast, labels)
    check_volume(volume, "given")
    check_numbers(volume, "given")
    if labels is not None:
        require_same_grid(volume, labels, "the volume and its labels")
    report(0, 4, "deforming")
    inside = on_grid(body_of(volume) if body is None else body, volume)
    assert inside is not None
    check()
    shape, affine = working_grid(volume, _FIELD_VOXELS)
    grid = Volume(np.broadcast_to(np.uint8(0), shape), affine, "unknown")
    coarse = resample(
        Volume(inside.astype(np.uint8), volume.affine, "unknown"), grid, order="nearest"
    )
    report(1, 4, "deforming")
    known = random_diffeomorphism(
        shape,
        grid.spacing,
        mean_mm=mean_mm,
        smooth_mm=smooth_mm,
        seed=seed,
        body=np.asarray(coarse.voxels) != 0,
    )
    back = DisplacementField(to_millimetres(known.inverse, affine).astype(np.float32), affine)
    made_by = Transform.from_fields(back)  # its inverse is the truth
    if jacobian_measures(jacobian_map(made_by, back.like))["folded_percent"] > 0:
        raise OptionError(
            f"a random deformation of {mean_mm:g} mm on average that is smooth over {smooth_mm:g} "
            "mm folds in this volume and has no inverse; ask for a smaller or smoother one"
        )
    truth = made_by.inverse()
    report(2, 4, "deforming")
    enhanced = _enhanced(volume, labels, contrast)
    with quietly():
        moving = made_by.apply(enhanced, volume, order="linear")
    spread = _default_noise(volume) if noise is None else noise
    report(3, 4, "deforming")
    facts = {
        "mean_mm": mean_mm,
        "smooth_mm": smooth_mm,
        "noise": spread,
        "contrast": {str(k): float(v) for k, v in (contrast or {}).items()},
        "seed": seed,
    }
    moved_labels = None
    if labels is not None:
        labels = replace(labels, outside=None)
        with quietly():
            moved_labels = made_by.apply(labels, volume, order="nearest", fill=0)
    report(4, 4, "deforming")
    noisy = _noisy(moving, spread, seed)
    return Synthetic(volume, noisy, truth, inside, labels, moved_labels, facts)


def validate_synthetic(
    case: Synthetic,
    *,
    register: Callable[..., Registration] = register,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Register a pair with a known deformation, and say how far the answer is off.

    Parameters
    ----------
    case
        The pair, from `make_synthetic`.
    register
        What is validated, called as `tomochrome.register`, which is the default.
    options
        Further arguments for ``register``, such as ``init`` or ``refine``. ``init`` is ``"none"``
        unless said otherwise.

    Returns
    -------
    dict
        ``deformation``: what was asked for. ``error_mm``: over the points of the body that stay in
        the moving image's field (``measured_percent`` of it), the distance between where they went
        and where they are said to have gone (``mean``, ``median``, ``p95``, ``max``), ``before``
        and ``after``, and ``percent``, the mean after in per cent of that before. ``before``,
        ``after``, ``jacobian``, ``inverse_consistency_mm``, ``seconds``, ``device``, ``model`` and
        ``warnings`` of the registration's report; with labels also ``dice_mean_large``, over
        those of more than 30 ml, in ``before`` and ``after``.
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
    found = {key: result.report[key] for key in kept if key in result.report}
    if case.fixed_labels is not None:
        for when in ("before", "after"):
            found[when] = {**found[when], **_large(found[when], case.fixed_labels)}
    error = displacement_errors(result.forward, case)
    found["warnings"] = [*_shortfalls(case.facts["mean_mm"], error), *found.get("warnings", ())]
    return {"deformation": case.facts, "error_mm": error, **found}


def displacement_errors(found: Transform, case: Synthetic) -> dict[str, Any]:
    """How far a transform is from the known one, mm, before (no transform) and after.

    Measured in the body at the centres of voxels (of every second, third... along each axis in
    large volumes), where the truth is known and stays in the moving image's field: in
    ``measured_percent`` of it.
    """
    step = int(np.ceil((np.count_nonzero(case.body) / _POINTS) ** (1 / 3))) or 1
    index = np.argwhere(case.body[::step, ::step, ::step]) * step
    to_moving = np.linalg.inv(case.moving.affine)
    size = np.array(case.moving.shape)
    initial, left = [], []
    back = case.truth.inverse()
    for some in np.array_split(index, max(1, len(index) // 100_000)):
        check()
        points = apply(case.fixed.affine, some)
        truth = case.truth.points(points)
        at = apply(to_moving, truth)
        stays = ((at >= -0.5) & (at < size - 0.5)).all(axis=1)
        stays &= np.linalg.norm(back.points(truth) - points, axis=1) < _ASTRAY_MM
        initial.append(np.linalg.norm(truth - points, axis=1)[stays])
        left.append(np.linalg.norm(found.points(points) - truth, axis=1)[stays])
    if not (count := sum(len(part) for part in initial)):
        raise InputError(
            "the deformation moves the whole body out of the field of view of the volume"
        )
    before, after = (_summary(np.concatenate(parts)) for parts in (initial, left))
    percent = 100.0 * after["mean"] / before["mean"] if before["mean"] > 0 else None
    shares = {"percent": percent, "measured_percent": 100.0 * count / len(index)}
    return {"before": before, "after": after, **shares}


def _shortfalls(wanted: float, error: Mapping[str, Any]) -> list[str]:
    """Say where the deformation is not quite what was asked for."""
    found, mean = [], error["before"]["mean"]
    if abs(mean - wanted) > _SLACK * wanted:
        found.append(
            f"the known deformation is of {mean:.1f} mm on average where it is measured, not of "
            f"{wanted:g} mm as asked for"
        )
    if error["measured_percent"] < _FEW_PERCENT:
        found.append(
            f"only {error['measured_percent']:.0f} % of the body stay in the volume's field of "
            "view when it is deformed; the rest is not measured"
        )
    return found


def body_of(volume: Volume) -> Volume:
    """Find the patient: a mask (1 inside) on some grid in the volume's space.

    In HU without couch and clothes; of other values, the largest thing brighter than a tenth of
    the range, holes filled.
    """
    sizes = tuple(max(_BODY_MM, s) for s in volume.spacing)
    coarse = to_spacing(replace(volume, outside=None), (sizes[0], sizes[1], sizes[2]))
    if volume.unit == "HU":
        coarse = closest_axial(coarse)
        body = coarse_body(np.asarray(coarse.voxels, np.float32), coarse.spacing)
    else:
        values = np.asarray(coarse.voxels, np.float32)
        low, high = np.percentile(values, (1.0, 99.5))
        parts, count = ndimage.label(values > low + 0.1 * (high - low))
        sizes_of = np.bincount(parts.ravel(), minlength=count + 1)
        sizes_of[0] = 0
        body = ndimage.binary_fill_holes(parts == sizes_of.argmax()) & (count > 0)
    if not body.any():
        body = np.ones(coarse.shape, dtype=bool)
    return Volume(body.astype(np.uint8), coarse.affine, "unknown")


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
        raise OptionError("a change of contrast needs the labels of what it changes")


def _default_noise(volume: Volume) -> float:
    if volume.unit == "HU":
        return _NOISE_HU
    voxels = np.asarray(volume.voxels)
    low, high = np.percentile(voxels.ravel()[:: voxels.size // 500_000 + 1], (0.5, 99.5))
    return float(_NOISE_SHARE * (high - low))


def _enhanced(
    volume: Volume, labels: Volume | None, contrast: Mapping[int, float] | None
) -> Volume:
    """Return the volume as float32, with contrast agent where it is asked for."""
    values = np.array(volume.voxels, dtype=np.float32)
    if contrast and labels is not None:
        map_ = np.asarray(labels.voxels)
        added = np.zeros(values.shape, np.float32)
        for label, value in contrast.items():
            there = map_ == label
            if not there.any():
                raise InputError(f"there is no label {label} to change the contrast of")
            added[there] = value
        values += ndimage.gaussian_filter(added, _CONTRAST_BLUR)
    return replace(volume, voxels=values)


def _noisy(moving: Volume, spread: float, seed: int) -> Volume:
    rng = np.random.default_rng(seed)
    voxels = np.asarray(moving.voxels)
    for plane in voxels:
        plane += np.float32(spread) * rng.standard_normal(plane.shape, dtype=np.float32)
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


def _large(measured: Mapping[str, Any], labels: Volume) -> dict[str, float]:
    """Mean Dice over the labels of more than 30 ml."""
    values, counts = np.unique(np.asarray(labels.voxels), return_counts=True)
    ml = counts * abs(float(np.linalg.det(labels.affine[:3, :3]))) / 1000.0
    large = {str(int(v)) for v, size in zip(values, ml, strict=True) if size > LARGE_ML and v != 0}
    dice = [v for label, v in measured.get("dice", {}).items() if label in large]
    return {"dice_mean_large": float(np.mean(dice))} if dice else {}
