"""Validation of the input of `register`: volumes, masks, labels, points and options."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import GeometryError, InputError, OptionError
from tomochrome.geometry.affine import apply
from tomochrome.geometry.morphology import grown
from tomochrome.runtime import check
from tomochrome.volume import Volume, require_volume

SIMILARITIES = ("lncc", "mi", "mind", "mse")
"""Local correlation, mutual information, MIND-SSC and mean squares."""
NO_MODEL = "none"
"""Model name for registration without a network."""
_MAX_ITERATIONS = 10_000
_SAMPLE = 2_000_000  # voxels of a large volume that are checked
_MAX_VALUES = 200  # a label map has no more different values than this,
_MAX_EDGES = 0.5  # and no larger fraction of edges between pixels off the background
_MAX_LOST = 0.9  # share of voxels that may hold no number
_MAX_GAP_MM = 2000.0  # between two scans, the largest travel of a table


@dataclass(frozen=True, eq=False)
class Extras:
    """Optional masks for the registration, and labels and points for its evaluation.

    Parameters
    ----------
    fixed_mask, moving_mask
        Nonzero where the image is used.
    fixed_labels, moving_labels
        Integers, 0 is background.
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
    """Check the names and the number of iterations.

    Raises
    ------
    OptionError
        If one is invalid.
    """
    from tomochrome.registration.initialize import METHODS

    if init not in METHODS:
        raise OptionError(f"unknown initialization '{init}': choose one of {', '.join(METHODS)}")
    if similarity not in SIMILARITIES:
        raise OptionError(
            f"unknown similarity '{similarity}': choose one of {', '.join(SIMILARITIES)}"
        )
    if refine is None:
        return
    integer = isinstance(refine, (int, np.integer)) and not isinstance(refine, bool)
    if not (integer and 0 <= refine <= _MAX_ITERATIONS):
        raise OptionError(
            f"the number of refinement iterations must be an integer from 0 to "
            f"{_MAX_ITERATIONS}, not {refine!r}"
        )


def check_distance(fixed: Volume, moving: Volume, init: str) -> None:
    """Check that the scans are not so far apart that one header must be wrong.

    Scanners have different origins, so scans of one patient need not overlap according to their
    headers; the initial alignment finds the position. A distance of meters indicates a wrong
    header, and the content alone is not reliable unless the user requests it by choosing an
    alignment of centers.

    Raises
    ------
    GeometryError
        If the fields of view are more than 2 m apart.
    """
    if init in ("center", "mass"):
        return
    (low, high), (least, most) = _extent(fixed), _extent(moving)
    gap = float(np.linalg.norm(np.maximum(0.0, np.maximum(low - most, least - high))))
    if gap > _MAX_GAP_MM:
        raise GeometryError(
            f"the two volumes do not overlap in space: they are {gap / 1000:.1f} m apart, so the "
            "position in one header is wrong; correct it, or start from their centers if they "
            "show the same part of the body"
        )


def _extent(volume: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the minimum and maximum LPS coordinates of a volume's corners in mm."""
    corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in volume.shape]), -1).reshape(-1, 3)
    points = apply(volume.affine, corners)
    return points.min(axis=0), points.max(axis=0)


def without_numbers(volume: Volume) -> bool:
    """Whether a volume was read from a file with NaN or infinite values."""
    return any(notice.code == "no-number" for notice in volume.provenance.warnings)


def masked_numbers(volume: Volume, role: str) -> Volume:
    """Return a volume in which voxels without a number, and their neighbors, are ``outside``.

    Readers mark such voxels as outside and fill them. They are not used for a registration, nor
    are their neighbors, which interpolation would mix with the fill value.

    Raises
    ------
    InputError
        If most voxels hold no number.
    """
    if not without_numbers(volume) or volume.outside is None:
        check_numbers(volume, role)
        return volume
    outside = grown(volume.outside)
    if outside.mean() > _MAX_LOST:
        check_numbers(volume, role)
    return replace(volume, outside=outside)


def check_numbers(volume: Volume, role: str) -> None:
    """Check that a volume was not read from a file with NaN or infinite values.

    Raises
    ------
    InputError
        If its provenance has a warning about such voxels.
    """
    from tomochrome.io.image_values import replacing_advice  # panels import this module

    for notice in volume.provenance.warnings:
        if notice.code == "no-number":
            raise InputError(
                f"the {role} volume has NaN or infinite values: "
                f"{notice.fact or notice.text}; {replacing_advice(volume.unit)}"
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
    """Check that masks, labels and points match the volumes and each other.

    Raises
    ------
    InputError
        If a mask or labels are invalid, or points are malformed or differ in number.
    GeometryError
        If a mask or labels do not overlap their volume.
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
            present, missing = ("fixed", "moving") if other is None else ("moving", "fixed")
            raise OptionError(
                f"there are {name} for the {present} volume but none for the {missing} one; "
                "provide both"
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
                f"there are {len(first)} fixed but {len(second)} moving points; landmarks must be "
                "pairs in the same order"
            )
    return Extras(fixed_mask, moving_mask, fixed_labels, moving_labels, first, second)


def looks_like_labels(volume: Volume, *, binary: bool = False) -> bool:
    """Whether a scalar volume has few different values, all integers, in uniform regions.

    A mask of two values counts if ``binary``.
    """
    voxels = np.asarray(volume.voxels)
    sample = voxels.ravel()[:: voxels.size // _SAMPLE + 1]
    if not (sample == np.rint(sample)).all() or len(np.unique(sample)) > _MAX_VALUES:
        return False
    values, counts = np.unique(sample, return_counts=True)
    if len(values) < (2 if binary else 3):
        return False
    background = values[counts.argmax()]
    full = max(range(len(voxels)), key=lambda z: np.count_nonzero(voxels[z] != background))
    right, left = voxels[full][:, 1:], voxels[full][:, :-1]
    foreground = (right != background) | (left != background)
    return bool((right != left)[foreground].mean() < _MAX_EDGES)


def _mask(volume: Volume, mask: Volume | None, role: str) -> Volume | None:
    """Return a validated mask, nonzero where the volume is used."""
    if mask is None:
        return None
    check()
    what = f"the {role} mask"
    values, known = _scalars(mask, what, "is")
    if float(values.min()) < 0:
        raise InputError(f"{what} has negative values, like an image: use 0 and 1, or labels")
    if not values.any():
        raise InputError(f"{what} is empty: there is no voxel to register")
    _check_overlap(volume, mask, values != 0, f"{what} is")
    return known


def _labels(volume: Volume, labels: Volume | None, role: str) -> Volume | None:
    """Return a validated map of integer labels."""
    if labels is None:
        return None
    check()
    from tomochrome.evaluate.labels import MOST_LABELS

    what = f"the {role} labels"
    values, known = _scalars(labels, what, "are")
    if values.dtype.kind == "f" and not (values == np.rint(values)).all():
        raise InputError(f"{what} are not integers: use a label map, not a grey volume")
    check()
    if not values.any():
        raise InputError(f"{what} are all 0: there is no label to measure")
    sample = values.ravel()[:: values.size // _SAMPLE + 1]
    if len(np.unique(sample)) > MOST_LABELS:
        raise InputError(f"{what} have more than {MOST_LABELS} values, like an image")
    _check_overlap(volume, labels, values != 0, f"{what} are")
    return known


def _scalars(volume: Volume, what: str, is_: str) -> tuple[NDArray[np.generic], Volume]:
    """Return the values, and the volume with 0 where its file has NaN or infinite values.

    Readers fill such voxels with the minimum, which may be a valid label.
    """
    if volume.is_rgba:
        raise InputError(f"{what} {is_} in color; use one number for each voxel")
    values = np.asarray(volume.voxels)
    check()
    if volume.outside is not None and volume.outside.any():
        values = np.where(volume.outside, values.dtype.type(0), values)
        volume = replace(volume, voxels=values, outside=None)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{what} {is_} not finite everywhere; replace NaN and infinity by 0")
    return values, volume


def _check_overlap(volume: Volume, other: Volume, marked: NDArray[np.bool_], what: str) -> None:
    """Check that any marked voxel is within the volume's field of view."""
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
    raise GeometryError(f"{what} entirely outside the volume; check that both are of the same scan")


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
        raise InputError(f"the {role} points contain non-finite coordinates; remove them")
    return found
