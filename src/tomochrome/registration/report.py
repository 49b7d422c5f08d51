"""What a registration says of itself: measures before and after, and whether to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.geometry.affine import apply
from tomochrome.notices import Notice
from tomochrome.registration.checks import Extras
from tomochrome.runtime import report
from tomochrome.transform import Transform, jacobian_map
from tomochrome.volume import Volume

# Less than this is no change for the worse: the common field of view is not quite the same.
_SLACK = {"ncc": 0.005, "mutual_information": 0.01, "dice_mean": 0.005, "tre_mm": 0.05}
_BLUR = 0.05  # share of the mutual information that interpolating alone may cost
_LOCALLY, _SAID = 0.08, 0.15  # shares of the local correlation and of the information lost
_THE_SAME = 0.98  # correlation of one picture with itself, interpolated
LOST = 0.5  #: with less of an overlap left, or there before, likeness says nothing of a change
_APART_MM = 2.0  # inverse consistency: more is visible in a mapped contour
A_FEW_PERCENT = 0.01  #: of the voxels: a handful in a whole scan
_PROBES = 24  # places along each axis at which the common field of view is looked for


def measure(
    fixed: Volume,
    moving: Volume,
    forward: Transform,
    inverse: Transform,
    moved: Volume,
    extras: Extras,
) -> tuple[dict[str, Any], Volume]:
    """Return the measured part of the report, and the map of Jacobian determinants."""
    from tomochrome.evaluate import measure_registration

    report(0, 5, "measuring")
    jacobian = jacobian_map(forward, fixed)
    measured = measure_registration(
        fixed,
        moving,
        forward,
        inverse,
        fixed_labels=extras.fixed_labels,
        moving_labels=extras.moving_labels,
        fixed_points=extras.fixed_points,
        moving_points=extras.moving_points,
        fixed_mask=extras.fixed_mask,
        moved=moved,
        jacobian=jacobian,
    )
    for part, transform in (("before", Transform.identity()), ("after", forward)):
        measured[part]["overlap"] = round(overlap_share(fixed, moving, transform), 4)
    # no point of the fixed grid stays within what both transforms know
    measured.setdefault("inverse_consistency_mm", {"mean": None, "max": None, "p99": None})
    return measured, jacobian


def overlap_share(fixed: Volume, moving: Volume, transform: Transform) -> float:
    """Share of the fixed field of view that the moving one reaches, 0 to 1, from samples."""
    found = apply(np.linalg.inv(moving.affine), transform.points(sampled_points(fixed)))
    inside = ((found >= -0.5) & (found < np.array(moving.shape) - 0.5)).all(axis=1)
    return float(inside.mean())


def sampled_points(volume: Volume) -> NDArray[np.float64]:
    """Return places all over a field of view, some along each axis: (n, 3) LPS mm."""
    at = [np.unique(np.linspace(0, n - 1, _PROBES).round()) for n in volume.shape]
    index = np.stack(np.meshgrid(*at, indexing="ij"), axis=-1).reshape(-1, 3)
    return apply(volume.affine, index)


def warnings_of(measured: Mapping[str, Any], similarity: str) -> tuple[Notice, ...]:
    """Return what the user should know of a result.

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
        if (after.get("ncc") or 0.0) < _THE_SAME:
            names["mutual_information"] = "the mutual information"
    reached = before.get("overlap"), after.get("overlap")
    if reached[0] == 0 and reached[1]:
        text = (
            "by their position in space the two volumes do not overlap: they were aligned by their "
            "content alone, so make sure that they show the same part of the body"
        )
        found.append(Notice("coverage", "warning", text))
    if None not in reached and reached[1] < LOST * reached[0]:
        left = 100 * reached[1] / reached[0]
        found.append(_worse(f"only {left:.0f} % of the overlap of the two volumes is left"))
    if None not in reached and reached[0] < LOST * reached[1]:
        # a thin slice in common may be alike by chance: nothing to compare with
        names = {key: name for key, name in names.items() if key == "dice_mean"}
    for key, name in names.items():
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            continue
        if new < old - _SLACK[key] - (_BLUR * old if key == "mutual_information" else 0.0):
            found.append(_worse(f"{name} fell from {old:.3f} to {new:.3f}"))
    if "ncc" in names and not found and _locally_worse(before, after):
        old, new = before["local_ncc"], after["local_ncc"]
        found.append(_worse(f"the local correlation fell from {old:.3f} to {new:.3f}"))
    old, new = (m.get("tre_mm", {}).get("mean") for m in (before, after))
    if old is not None and new is not None and new > old + _SLACK["tre_mm"]:
        found.append(_worse(f"the mean error of the landmarks grew from {old:.2f} to {new:.2f} mm"))
    folded = measured.get("jacobian", {}).get("folded_percent")
    if folded:
        text = (
            f"the deformation folds {share_in_words(folded)} of the voxels: do not trust it there"
        )
        found.append(Notice("folds", "warning", text))
    apart = measured.get("inverse_consistency_mm", {}).get("p99")
    if apart is not None and apart > _APART_MM:
        text = (
            f"in 1 % of the voxels the inverse consistency error is {apart:.1f} mm or more: map "
            "points and contours there in one direction only, and check them"
        )
        found.append(Notice("inconsistent", "warning", text))
    return tuple(found)


def _worse(fact: str) -> Notice:
    return Notice("worse", "warning", f"the registration made it worse: {fact}", fact)


def _locally_worse(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether small parts match worse, and the whole says less of the other than before.

    A part that was dragged away hardly shows in the correlation of all voxels.
    """
    for key, most in (("local_ncc", _LOCALLY), ("mutual_information", _SAID)):
        old, new = before.get(key), after.get(key)
        if old is None or new is None or new >= old * (1 - most):
            return False
    return True


def share_in_words(percent: float) -> str:
    """Return a share of voxels in words: a handful in a whole scan has no readable number."""
    few = 0 < percent < A_FEW_PERCENT
    return f"less than {A_FEW_PERCENT:g} %" if few else f"{percent:.2g} %"
