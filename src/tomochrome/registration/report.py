"""What a registration says of itself: measures before and after, and whether to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.registration.checks import Extras
from tomochrome.registration.transform import Transform
from tomochrome.runtime import CancelToken, check
from tomochrome.volume import Volume

# Less than this is no change for the worse: the common field of view is not quite the same.
_SLACK = {"ncc": 0.005, "mutual_information": 0.01, "dice_mean": 0.005, "tre_mm": 0.05}
_STRONG_STRETCH = 1.5
_NOT_INVERSE_MM = 1.0


def measure(
    fixed: Volume,
    moving: Volume,
    forward: Transform,
    inverse: Transform,
    moved: Volume,
    extras: Extras,
    *,
    cancel: CancelToken | None = None,
) -> tuple[dict[str, Any], Volume]:
    """Return the measured part of the report, and the map of Jacobian determinants."""
    jacobian = _jacobian(forward, fixed, cancel)
    determinant = np.asarray(jacobian.voxels)
    positive = determinant[determinant > 0]
    report = {
        "before": {"ncc": _ncc(fixed, Transform.identity().apply(moving, fixed))},
        "after": {"ncc": _ncc(fixed, moved)},
        "jacobian": {
            "folded_percent": 100.0 * float((determinant <= 0).mean()),
            "sd_log": float(np.log(positive).std()) if len(positive) else None,
        },
        "inverse_consistency_mm": _consistency(fixed, forward, inverse),
    }
    return report, jacobian


def _ncc(fixed: Volume, moved: Volume) -> float:
    a = np.asarray(fixed.voxels, np.float64)
    b = np.asarray(moved.voxels, np.float64)
    seen = np.ones(fixed.shape, bool)
    for volume in (fixed, moved):
        if volume.outside is not None:
            seen &= ~volume.outside
    return float(np.corrcoef(a[seen], b[seen])[0, 1]) if seen.sum() > 2 else 0.0


def _jacobian(forward: Transform, like: Volume, cancel: CancelToken | None) -> Volume:
    check(cancel)
    vectors = forward.displacement(like, cancel=cancel).vectors
    slopes: list[NDArray[np.float32]] = [np.gradient(vectors, axis=k) for k in range(3)]
    gradient = np.stack(slopes, axis=-1)  # (..., component, axis)
    matrix = np.eye(3) + gradient @ np.linalg.inv(like.affine[:3, :3])
    return Volume(np.linalg.det(matrix).astype(np.float32), like.affine, "unknown")


def _consistency(fixed: Volume, forward: Transform, inverse: Transform) -> dict[str, float]:
    step = [max(1, n // 24) for n in fixed.shape]
    index = np.stack(
        np.meshgrid(*(np.arange(0, n, s) for n, s in zip(fixed.shape, step, strict=True))), -1
    ).reshape(-1, 3)
    at: NDArray[np.float64] = index @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    error = np.linalg.norm(inverse.points(forward.points(at)) - at, axis=1)
    return {
        "mean": float(error.mean()),
        "max": float(error.max()),
        "p99": float(np.percentile(error, 99)),
    }


def warnings_of(measured: Mapping[str, Any], similarity: str) -> tuple[str, ...]:
    """Return what the user should know of a result, one sentence each.

    Parameters
    ----------
    measured
        The measured part of a report.
    similarity
        What was optimized: where that is for different modalities, correlation need not grow.
    """
    before, after = measured.get("before", {}), measured.get("after", {})
    found = []
    names = {"dice_mean": "the mean Dice overlap of the labels", "ncc": "the correlation"}
    if similarity in ("mi", "mind"):
        names.pop("ncc")
        names["mutual_information"] = "the mutual information"
    for key, name in names.items():
        old, new = before.get(key), after.get(key)
        if old is not None and new is not None and new < old - _SLACK[key]:
            found.append(f"the registration made it worse: {name} fell from {old:.3f} to {new:.3f}")
    old, new = (m.get("tre_mm", {}).get("mean") for m in (before, after))
    if old is not None and new is not None and new > old + _SLACK["tre_mm"]:
        found.append(
            f"the registration made it worse: the mean error of the landmarks grew from {old:.2f} "
            f"to {new:.2f} mm"
        )
    folded = measured.get("jacobian", {}).get("folded_percent")
    if folded:
        found.append(f"the deformation folds {folded:.2g} % of the voxels: do not trust it there")
    return tuple(found)


def worsened(warnings: tuple[str, ...] | list[str]) -> bool:
    """Whether any of a report's warnings says that the result is worse than nothing."""
    return any("made it worse" in w or "folds" in w for w in warnings)
