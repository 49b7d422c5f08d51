"""What `register` refuses before any work: volumes, masks, labels and points that do not fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import GeometryError, InputError, OptionError
from tomochrome.geometry.affine import apply
from tomochrome.runtime import check
from tomochrome.volume import Volume, require_volume

MEASURES = ("lncc", "mi", "mind", "mse")
"""Similarities that `register` knows: local correlation, mutual information, MIND-SSC, squares."""
NO_MODEL = "none"
"""Name that means: no network."""
_MOST_ITERATIONS = 10_000
_SAMPLE = 2_000_000  # voxels of a large volume that are looked at
_FEW_VALUES = 200  # fewer whole numbers than this,
_MOST_EDGES = 0.5  # and neighbours off the background mostly alike: a label map
_FARTHEST_MM = 2000.0  # between two scans: no table goes farther, whatever it counts from


@dataclass(frozen=True, eq=False)
class Extras:
    """What may come with the two volumes: masks drive the work, labels and points only judge it.

    Parameters
    ----------
    fixed_mask, moving_mask
        Not 0 where the image counts.
    fixed_labels, moving_labels
        Whole numbers, 0 is background.
    fixed_points, moving_points
        (n, 3) LPS mm; row k of both is the same landmark.
    """

    fixed_mask: Volume | None = None
    moving_mask: Volume | None = None
    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None
    fixed_points: NDArray[np.float64] | None = None
    moving_points: NDArray[np.float64] | None = None


def check_options(init: str, similarity: str, refine: int | None) -> None:
    """Refuse unknown names and negative numbers.

    Raises
    ------
    OptionError
        If one has no meaning.
    """
    from tomochrome.registration.initialize import METHODS

    if init not in METHODS:
        raise OptionError(f"unknown initialization '{init}': choose one of {', '.join(METHODS)}")
    if similarity not in MEASURES:
        raise OptionError(f"unknown similarity '{similarity}': choose one of {', '.join(MEASURES)}")
    if refine is None:
        return
    whole = isinstance(refine, (int, np.integer)) and not isinstance(refine, bool)
    if not (whole and 0 <= refine <= _MOST_ITERATIONS):
        raise OptionError(
            f"the number of refinement iterations must be a whole number from 0 to "
            f"{_MOST_ITERATIONS}, not {refine!r}"
        )


def check_place(fixed: Volume, moving: Volume, init: str) -> None:
    """Refuse two scans so far apart that one header must be wrong.

    Scanners count from different places, so scans of one patient need not overlap as the files
    have them, and the search for a start brings them together. Metres apart they are not of
    one space at all, and what they show should not be trusted to say how they fit unless the
    user asks for just that, by a start from their centers.

    Raises
    ------
    GeometryError
        If there are more than 2 m between their fields of view.
    """
    if init in ("center", "mass"):
        return
    (low, high), (least, most) = _extent(fixed), _extent(moving)
    gap = float(np.linalg.norm(np.maximum(0.0, np.maximum(low - most, least - high))))
    if gap > _FARTHEST_MM:
        raise GeometryError(
            f"the two volumes do not overlap in space: there are {gap / 1000:.1f} m between them, "
            "so the position in one header is wrong; correct it, or start from their "
            "centers if they show the same part of the body"
        )


def _extent(volume: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and largest LPS coordinates of a volume's corners, in mm."""
    corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in volume.shape]), -1).reshape(-1, 3)
    points = apply(volume.affine, corners)
    return points.min(axis=0), points.max(axis=0)


def check_numbers(volume: Volume, role: str) -> None:
    """Refuse a volume that was read from a file with NaN in it.

    Readers mark such voxels as outside and fill them; where values were lost in the middle of
    the anatomy, the fill would be aligned like anatomy.

    Raises
    ------
    InputError
        If its provenance tells of such voxels.
    """
    for notice in volume.provenance.warnings:
        if notice.code == "no-number":
            raise InputError(
                f"the {role} volume has values that are not numbers (NaN or infinite): "
                f"{notice.fact or notice.text}; replace them, by 0 for instance"
            )


def check_extras(
    fixed: Volume,
    moving: Volume,
    fixed_mask: Volume | None,
    moving_mask: Volume | None,
    fixed_labels: Volume | None,
    moving_labels: Volume | None,
    fixed_points: ArrayLike | None,
    moving_points: ArrayLike | None,
) -> Extras:
    """Refuse masks, labels and points that do not fit the volumes, or each other.

    Raises
    ------
    InputError
        If a mask or labels are no such thing, or points are malformed or do not pair up.
    GeometryError
        If a mask or labels lie nowhere in their volume.
    OptionError
        If labels or points are given for only one of the two volumes.
    """
    for given, role in (
        (fixed_mask, "the fixed mask"), (moving_mask, "the moving mask"),
        (fixed_labels, "the fixed labels"), (moving_labels, "the moving labels"),
    ):  # fmt: skip
        if given is not None:
            require_volume(given, role)
    for name, one, other in (
        ("labels", fixed_labels, moving_labels),
        ("points", fixed_points, moving_points),
    ):
        if (one is None) != (other is None):
            there, missing = ("fixed", "moving") if other is None else ("moving", "fixed")
            raise OptionError(
                f"there are {name} for the {there} volume but none for the {missing} one; give both"
            )
    fixed_mask, moving_mask = (
        _mask(fixed, fixed_mask, "fixed"),
        _mask(moving, moving_mask, "moving"),
    )
    fixed_labels = _labels(fixed, fixed_labels, "fixed")
    moving_labels = _labels(moving, moving_labels, "moving")
    first = second = None
    if fixed_points is not None and moving_points is not None:
        first, second = _points(fixed_points, "fixed"), _points(moving_points, "moving")
        if len(first) != len(second):
            raise InputError(
                f"there are {len(first)} fixed but {len(second)} moving points; landmarks come in "
                "pairs, in the same order"
            )
    return Extras(fixed_mask, moving_mask, fixed_labels, moving_labels, first, second)


def looks_like_labels(volume: Volume) -> bool:
    """Whether a scalar volume holds few values, whole numbers, most beside their own like."""
    voxels = np.asarray(volume.voxels)
    few = voxels.ravel()[:: voxels.size // _SAMPLE + 1]
    if not (few == np.rint(few)).all() or len(np.unique(few)) > _FEW_VALUES:
        return False
    middle = voxels[voxels.shape[0] // 2]
    values, counts = np.unique(middle, return_counts=True)
    ours, theirs = middle[:, 1:], middle[:, :-1]
    shown = (ours != values[counts.argmax()]) | (theirs != values[counts.argmax()])
    return len(values) > 2 and bool((ours != theirs)[shown].mean() < _MOST_EDGES)


def _mask(volume: Volume, mask: Volume | None, role: str) -> Volume | None:
    """Return a mask that can be used: not 0 where the volume counts."""
    if mask is None:
        return None
    check()
    what = f"the {role} mask"
    values, known = _scalars(mask, what, "is")
    if float(values.min()) < 0:
        raise InputError(f"{what} has values below 0, as a picture has: give 0 and 1, or labels")
    if not values.any():
        raise InputError(f"{what} is empty: no voxel is left to register")
    _check_place(volume, mask, values != 0, f"{what} lies")
    return known


def _labels(volume: Volume, labels: Volume | None, role: str) -> Volume | None:
    """Return labels that can be measured: whole numbers."""
    if labels is None:
        return None
    check()
    from tomochrome.evaluate.labels import MOST_LABELS

    what = f"the {role} labels"
    values, known = _scalars(labels, what, "are")
    if values.dtype.kind == "f" and not (values == np.rint(values)).all():
        raise InputError(f"{what} are not whole numbers: give a label map, not a grey volume")
    check()
    if not values.any():
        raise InputError(f"{what} are all 0: there is no label to measure")
    sample = values.ravel()[:: values.size // _SAMPLE + 1]
    if len(np.unique(sample)) > MOST_LABELS:
        raise InputError(f"{what} hold more than {MOST_LABELS} values: that is a picture")
    _check_place(volume, labels, values != 0, f"{what} lie")
    return known


def _scalars(volume: Volume, what: str, is_: str) -> tuple[NDArray[np.generic], Volume]:
    """Return the values, and the volume with 0 where its file holds no number.

    Readers fill such voxels with the least value there is, which may be one that counts.
    """
    if volume.is_rgba:
        raise InputError(f"{what} {is_} in color; give one number for each voxel")
    values = np.asarray(volume.voxels)
    check()
    if volume.outside is not None and volume.outside.any():
        values = np.where(volume.outside, values.dtype.type(0), values)
        volume = replace(volume, voxels=values, outside=None)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{what} {is_} not all numbers (NaN or infinite); put 0 there")
    return values, volume


def _check_place(volume: Volume, other: Volume, marked: NDArray[np.bool_], what: str) -> None:
    """Refuse what has nothing marked within the volume's field of view."""
    matrix = np.linalg.inv(volume.affine) @ other.affine
    size = np.array(volume.shape)
    for z in range(other.shape[0]):
        check()
        rows, columns = np.nonzero(marked[z])
        if not len(rows):
            continue
        index = apply(matrix, np.stack([np.full(len(rows), z), rows, columns], axis=1))
        if ((index >= -0.5) & (index < size - 0.5)).all(axis=1).any():
            return
    raise GeometryError(f"{what} nowhere in its volume; check that both belong to the same scan")


def _points(points: ArrayLike, role: str) -> NDArray[np.float64]:
    try:
        found = np.array(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the {role} points are not numbers: {error}") from error
    if found.ndim != 2 or found.shape[1] != 3 or not len(found):
        raise InputError(
            f"the {role} points need three coordinates each (LPS mm), not an array of shape "
            f"{found.shape}"
        )
    if not np.isfinite(found).all():
        raise InputError(f"the {role} points hold coordinates that are not finite; remove them")
    return found
