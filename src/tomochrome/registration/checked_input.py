"""The input of `register`: checks of volumes, masks, labels, points and options, and their order.

Padding from an earlier resampling is detected, which no header describes: a volume that was rotated
on its grid has corners of a constant value, whose straight edges would bias a registration if they
were treated as anatomy.

The deformable alignment is symmetric, but the working grid, sampled voxels and floating-point sums
are not. With an order that depends only on the volumes (`is_swapped`), exchanging fixed and moving
exchanges forward and inverse, up to rounding.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from tomochrome.errors import GeometryError, InputError, OptionError
from tomochrome.evaluate.labels import MAX_LABELS
from tomochrome.geometry.affine import apply
from tomochrome.geometry.morphology import grown
from tomochrome.io.image_values import replacing_advice
from tomochrome.runtime import check
from tomochrome.volume import Volume, require_volume

Role = Literal["fixed", "moving"]
METHODS: Final = ("none", "center", "mass", "rigid", "affine")
"""Methods of the initial alignment."""
SIMILARITIES = ("lncc", "mi", "mind", "mse", "features")
"""Local correlation, mutual information, MIND-SSC, mean squares; features of a network."""
TISSUE: Final = "tissue"
"""The backbone of the default tissue network."""
FEATURE_BACKBONES: Final = (TISSUE, "alexnet", "vgg16", "resnet18")
"""Networks with features: the default tissue network, and those of `feature_networks`."""
NO_MODEL = "none"
"""Model name for registration without a network."""
_MAX_ITERATIONS = 10_000
_SAMPLE = 2_000_000  # voxels of a large volume that are checked
_MAX_VALUES = 200  # a label map has no more different values than this,
_MAX_EDGES = 0.5  # and no larger fraction of edges between pixels off the background
_MAX_LOST = 0.9  # share of voxels that may hold no number
_MAX_GAP_MM = 2000.0  # between two scans, the largest travel of a table
_CORNER: Final = 3  # side in voxels of the corner blocks that are tested for a constant value
_MIN_OTHER: Final = 0.25  # fraction of a face that must have other values,
_MIN_FACES: Final = 4  # on this many faces; air around a patient covers all six
_MAX_LABELLED: Final = 4_000_000  # voxels for labelling, which cannot be cancelled
_MIN_SHARE: Final = 0.01  # smaller paddings are ignored


@dataclass(frozen=True, eq=False)
class CheckedScan:
    """A volume that can be registered, with what belongs to it.

    Made by `checked_pair` or `CheckedScan.of`; what takes one does not check it again.

    Parameters
    ----------
    volume
        Scalar and finite.
    role
        Its name in messages.
    mask
        Nonzero where the volume is used.
    labels
        Integers, 0 is background.
    points
        Landmarks, (n, 3) LPS mm; row k of both scans of a pair is the same landmark.
    rigid
        Nonzero where the scan moves rigidly, each label and connected part by itself.
    """

    volume: Volume
    role: Role
    mask: Volume | None = None
    labels: Volume | None = None
    points: NDArray[np.float64] | None = None
    rigid: Volume | None = None

    @classmethod
    def of(cls, volume: Volume, role: Role, mask: Volume | None = None) -> CheckedScan:
        """Check a volume (`check_volume`); the mask is not checked."""
        check_volume(volume, role)
        return cls(volume, role, mask)

    @cached_property
    def unpadded(self) -> Volume:
        """The volume, with the padding from an earlier resampling ``outside``."""
        return without_padding(self.volume)


def check_options(
    init: str, similarity: str, refine: int | None, backbone: str | None, *, weights: bool
) -> None:
    """Check the names and the number of iterations.

    Parameters
    ----------
    init, similarity, refine, backbone
        As for `register`.
    weights
        Whether there are weights for the backbone.

    Raises
    ------
    OptionError
        If one is invalid.
    """
    if init not in METHODS:
        raise OptionError(f"unknown initialization '{init}': choose one of {', '.join(METHODS)}")
    if similarity not in SIMILARITIES:
        raise OptionError(
            f"unknown similarity '{similarity}': choose one of {', '.join(SIMILARITIES)}"
        )
    if backbone is not None and backbone not in FEATURE_BACKBONES:
        names = ", ".join(FEATURE_BACKBONES)
        raise OptionError(f"unknown backbone '{backbone}': choose one of {names}")
    if similarity != "features" and (backbone is not None or weights):
        raise OptionError(
            f"a backbone and its weights have no effect on the similarity '{similarity}'; choose "
            "'features'"
        )
    if weights and backbone in (None, "tissue"):
        raise OptionError(
            f"weights need one of the backbones {', '.join(FEATURE_BACKBONES[1:])}: the tissue "
            "network has its own"
        )
    if refine is None:
        return
    integer = isinstance(refine, (int, np.integer)) and not isinstance(refine, bool)
    if not (integer and 0 <= refine <= _MAX_ITERATIONS):
        raise OptionError(
            f"the number of refinement iterations must be an integer from 0 to "
            f"{_MAX_ITERATIONS}, not {refine!r}"
        )


def check_guides(
    scans: tuple[CheckedScan, CheckedScan],
    refine: int | None,
    *,
    use_points: bool,
    use_labels: bool,
) -> None:
    """Check that there are the landmarks and labels that are to drive a registration.

    Raises
    ------
    OptionError
        If there are none, or no refinement that they could drive.
    """
    fixed, moving = scans
    given = {"landmarks": use_points, "labels": use_labels, "a rigid mask": fixed.rigid is not None}
    for name, used in given.items():
        if used and refine == 0:
            raise OptionError(
                f"{name} cannot drive a registration without refinement; allow some iterations"
            )
    if use_points and (fixed.points is None or not len(fixed.points)):
        raise OptionError("to use landmarks give those of both volumes")
    if use_labels and moving.labels is None:
        raise OptionError("to use labels give those of both volumes")


def check_modality(scans: tuple[CheckedScan, CheckedScan], backbone: str) -> None:
    """Check that the features of a network can be compared in two scans.

    Raises
    ------
    InputError
        If one is not in Hounsfield units, unless neither is and the network is for any image.
    """
    foreign = [scan.role for scan in scans if scan.volume.unit != "HU"]
    if len(foreign) == 1 or (foreign and backbone == TISSUE):
        others = ", ".join(FEATURE_BACKBONES[1:])
        raise InputError(
            f"the similarity 'features' compares two CT in Hounsfield units, but the values of "
            f"the {foreign[0]} volume are not known to be; choose 'mind' or 'mi', or for two "
            f"volumes of another modality one of the backbones {others}"
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
    for notice in volume.provenance.warnings:
        if notice.code == "no-number":
            raise InputError(
                f"the {role} volume has NaN or infinite values: "
                f"{notice.fact or notice.text}; {replacing_advice(volume.unit)}"
            )


def checked_pair(
    fixed: Volume,
    moving: Volume,
    *,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
    fixed_labels: Volume | None = None,
    moving_labels: Volume | None = None,
    fixed_points: ArrayLike | None = None,
    moving_points: ArrayLike | None = None,
    rigid_mask: Volume | None = None,
) -> tuple[CheckedScan, CheckedScan]:
    """Check two volumes, and that masks, labels and points match them and each other.

    Raises
    ------
    InputError
        If a volume cannot be registered (`check_volume`), a mask or labels are invalid, or points
        are malformed or differ in number.
    GeometryError
        If the spacing of a volume is implausible, or a mask or labels do not overlap their volume.
    OptionError
        If points are given for only one of the two volumes, or labels for the moving one alone.
    """
    check_volume(fixed, "fixed")
    check_volume(moving, "moving")
    for given, role in (
        (fixed_mask, "the fixed mask"), (moving_mask, "the moving mask"),
        (fixed_labels, "the fixed labels"), (moving_labels, "the moving labels"),
        (rigid_mask, "the rigid mask"),
    ):  # fmt: skip
        if given is not None:
            require_volume(given, role)
    for name, one, other in (
        ("labels", fixed_labels, moving_labels),
        ("points", fixed_points, moving_points),
    ):
        change_only = name == "labels" and other is None
        if (one is None) != (other is None) and not change_only:
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
    return (
        CheckedScan(
            fixed, "fixed", fixed_mask, fixed_labels, first, _mask(fixed, rigid_mask, "rigid")
        ),
        CheckedScan(moving, "moving", moving_mask, moving_labels, second),
    )


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
    values, cleaned = _scalars(mask, what, "is")
    if float(values.min()) < 0:
        raise InputError(f"{what} has negative values, like an image: use 0 and 1, or labels")
    if not values.any():
        raise InputError(f"{what} is empty: there is no voxel to register")
    _check_overlap(volume, mask, values != 0, f"{what} is")
    return cleaned


def _labels(volume: Volume, labels: Volume | None, role: str) -> Volume | None:
    """Return a validated map of integer labels."""
    if labels is None:
        return None
    check()

    what = f"the {role} labels"
    values, cleaned = _scalars(labels, what, "are")
    if values.dtype.kind == "f" and not (values == np.rint(values)).all():
        raise InputError(f"{what} are not integers: use a label map, not a grey volume")
    check()
    if not values.any():
        raise InputError(f"{what} are all 0: there is no label to measure")
    sample = values.ravel()[:: values.size // _SAMPLE + 1]
    if len(np.unique(sample)) > MAX_LABELS:
        raise InputError(f"{what} have more than {MAX_LABELS} values, like an image")
    _check_overlap(volume, labels, values != 0, f"{what} are")
    return cleaned


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
        landmarks = np.array(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the {role} points are not numbers: {error}") from error
    if landmarks.ndim != 2 or landmarks.shape[1] != 3 or not len(landmarks):
        raise InputError(
            f"the {role} points need three coordinates each (LPS mm), not an array of shape "
            f"{landmarks.shape}"
        )
    if not np.isfinite(landmarks).all():
        raise InputError(f"the {role} points contain non-finite coordinates; remove them")
    return landmarks


def check_volume(volume: Volume, role: str) -> None:
    """Check that a volume can be registered.

    Parameters
    ----------
    volume
        A volume to be registered.
    role
        ``"fixed"`` or ``"moving"``, for the message.

    Raises
    ------
    InputError
        If it is colored, flat, constant, or has NaN or infinite values.
    GeometryError
        If its spacing is implausible.
    """
    where = f"the {role} volume"
    if volume.is_rgba:
        raise InputError(
            f"{where} is in color; register the grey volume, then apply the transform to the color"
        )
    if min(volume.shape) < 4:
        raise InputError(
            f"{where} is flat: its shape is {volume.shape}; registration needs at least 4 voxels "
            "along each axis"
        )
    if not all(0.01 <= s <= 50.0 for s in volume.spacing):
        raise GeometryError(
            f"{where} has an implausible spacing of "
            f"{' x '.join(f'{s:.4g}' for s in volume.spacing)} mm; correct its header"
        )
    voxels = np.asarray(volume.voxels)
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise InputError(f"{where} has NaN or infinite values; {replacing_advice(volume.unit)}")
    if voxels.min() == voxels.max():
        raise InputError(f"{where} is constant: there is nothing to register")


def is_swapped(fixed: Volume, moving: Volume) -> bool:
    """Whether the moving volume comes first in the computation.

    The smaller field of view comes first (the working grid covers it at the finest possible
    resolution), then the smaller voxel, then an arbitrary order by grid and content.
    """
    ours, theirs = _grid_key(fixed), _grid_key(moving)
    if ours != theirs:
        return theirs < ours
    return _content_hash(moving) < _content_hash(fixed)


def _grid_key(volume: Volume) -> tuple[Any, ...]:
    voxel = float(np.prod(volume.spacing))
    field = voxel * float(np.prod(volume.shape))
    # rounded, because rotated copies of a grid differ in the last digits
    return float(f"{field:.6g}"), float(f"{voxel:.6g}"), volume.shape, volume.affine.tolist()


def _content_hash(volume: Volume) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for plane in volume.voxels:
        check()
        digest.update(np.ascontiguousarray(plane).data)
    return digest.digest()


def without_padding(volume: Volume) -> Volume:
    """Mark the constant corners of a scalar volume, if there are any, as ``outside``.

    Parameters
    ----------
    volume
        Scalar volume. If it already has a mask ``outside``, it is returned unchanged.

    Returns
    -------
    Volume
        With the same voxels.
    """
    if volume.outside is not None or min(volume.shape) < 2 * _CORNER:
        return volume
    voxels = np.asarray(volume.voxels)
    blocks = itertools.product((slice(None, _CORNER), slice(-_CORNER, None)), repeat=3)
    corners = [voxels[block] for block in blocks]
    constant = [corner.flat[0] for corner in corners if (corner == corner.flat[0]).all()]
    for value in dict.fromkeys(constant):
        check()
        faces = (np.take(voxels, end, axis) for axis in range(3) for end in (0, -1))
        if sum(bool((face != value).mean() >= _MIN_OTHER) for face in faces) < _MIN_FACES:
            continue
        fill = _fill(voxels, value)
        if fill is not None:
            # dilated, because interpolation mixed adjacent voxels with the fill value
            return replace(volume, outside=grown(fill))
    return volume


def _fill(voxels: NDArray[Any], value: Any) -> NDArray[np.bool_] | None:
    """Return the mask of the voxels of a value that are connected to a corner of the grid.

    Large volumes are subsampled for labelling. None if the mask is too small or everything.
    """
    step = int(np.ceil((voxels.size / _MAX_LABELLED) ** (1 / 3)))
    # including the last plane, which has corners
    at = [np.unique(np.append(np.arange(0, n, step), n - 1)) for n in voxels.shape]
    labels, _ = ndimage.label(voxels[np.ix_(*at)] == value)
    z, y, x = labels.shape
    corners = labels[:: z - 1, :: y - 1, :: x - 1]
    parts = np.asarray(np.isin(labels, np.unique(corners[corners > 0])))
    if not _MIN_SHARE <= parts.mean() < 1:
        return None
    if step == 1:
        return parts
    for axis, size in enumerate(voxels.shape):
        check()
        parts = parts.take(np.searchsorted(at[axis], np.arange(size), side="right") - 1, axis=axis)
    check()
    parts &= voxels == value
    return parts
