"""What the user knows about a pair: landmarks, labels and rigid regions, as terms of the loss.

Landmarks add the distance in mm between a point's image and its counterpart; labels are compared as
further channels beside the features; the voxels of a rigid region (a bone, an implant, a tumor
after ablation) add their distance from the closest rigid motion of the region. A term of the loss
is weighed against the images: landmarks are met to within a few mm, not exactly, and the map stays
without folds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from tomochrome.errors import InputError
from tomochrome.geometry.affine import apply
from tomochrome.registration.checked_input import CheckedScan
from tomochrome.registration.velocity import Shape, smaller
from tomochrome.registration.working_pair import WorkingPair, feature_grid, onto
from tomochrome.runtime import check
from tomochrome.transform import Transform
from tomochrome.volume import Volume

FEATURE_WEIGHT: Final = 3.0
"""Weight of the squared difference of features and labels, relative to local correlation."""
LANDMARK_WEIGHT: Final = 0.5
LABEL_WEIGHT: Final = 1.0
RIGID_WEIGHT: Final = 1.0
_SOFT_MM: Final = 3.0  # beyond this distance a landmark's loss grows linearly
_RIGID_MM: Final = 3.0  # the same for the voxels of a rigid region
_MAX_LABELS: Final = 24  # the largest ones that both scans have
_MAX_RIGID_PARTS: Final = 40
_MAX_RIGID_POINTS: Final = 1500  # of each part
_MIN_RIGID_POINTS: Final = 4
_MIN_FOR_ROTATION: Final = 3  # landmarks
_MISSED_MM: Final = 30.0  # landmarks that the initial alignment misses by more replace it


@dataclass(frozen=True, eq=False)
class RigidPart:
    """A connected part of a rigid region.

    Parameters
    ----------
    field
        0 if it lies in the fixed image, and the forward field moves it; 1 for the moving image.
    index
        float32 (n, 3): points (z, y, x) in voxels of the working grid.
    """

    field: int
    index: torch.Tensor


@dataclass(frozen=True, eq=False)
class Guides:
    """Landmarks and rigid regions on the working grid.

    Parameters
    ----------
    shape
        Shape (z, y, x) of the working grid.
    to_mm
        float32 (2, 4, 4): from index of the working grid to LPS mm of the fixed and of the moving
        volume.
    landmarks
        float32 (2, n, 3): fixed and moving landmarks in voxels of the working grid, or None.
    rigid
        Rigid parts.
    """

    shape: Shape
    to_mm: torch.Tensor
    landmarks: torch.Tensor | None = None
    rigid: tuple[RigidPart, ...] = ()

    def to(self, device: torch.device) -> Guides:
        """Return the guides on a device."""
        landmarks = None if self.landmarks is None else self.landmarks.to(device)
        rigid = tuple(RigidPart(part.field, part.index.to(device)) for part in self.rigid)
        return Guides(self.shape, self.to_mm.to(device), landmarks, rigid)

    def loss(self, full: torch.Tensor) -> torch.Tensor:
        """Return the weighted terms of a forward and an inverse displacement.

        Parameters
        ----------
        full
            (2, Z, Y, X, 3) as `velocity.flow` returns it.
        """
        total = full.new_zeros(())
        if self.landmarks is not None:
            missed = []
            for k in (0, 1):
                there = self._moved(full, k, self.landmarks[k])
                missed.append(self._mm(1 - k, there) - self._mm(1 - k, self.landmarks[1 - k]))
            total = total + LANDMARK_WEIGHT * _robust(torch.cat(missed), _SOFT_MM)
        for part in self.rigid:
            here = self._mm(part.field, part.index)
            there = self._mm(1 - part.field, self._moved(full, part.field, part.index))
            residual = there - rigid_motion(here, there.detach())
            total = total + RIGID_WEIGHT / len(self.rigid) * _robust(residual, _RIGID_MM)
        return total

    def _moved(self, full: torch.Tensor, k: int, index: torch.Tensor) -> torch.Tensor:
        """Return where a field moves points of the working grid."""
        size = index.new_tensor(self.shape)
        own = index.new_tensor(full.shape[1:4])
        places = 2 * index / (size - 1).clamp(min=1) - 1
        sampled = functional.grid_sample(
            full[k : k + 1].movedim(-1, 1), places.flip(-1)[None, None, None],
            mode="bilinear", padding_mode="border", align_corners=True,
        )[0, :, 0, 0].T  # fmt: skip
        return index + sampled * (size - 1) / (own - 1).clamp(min=1)

    def _mm(self, which: int, index: torch.Tensor) -> torch.Tensor:
        matrix = self.to_mm[which]
        return index @ matrix[:3, :3].T + matrix[:3, 3]


def rigid_motion(here: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Return points (n, 3) moved by the rigid motion that brings them closest to others.

    Kabsch, "A solution for the best rotation to relate two sets of vectors", Acta
    Crystallographica A32 (1976).
    """
    rotation = _rotation(here, there).to(here)
    return (here - here.mean(0)) @ rotation + there.mean(0)


def _rotation(here: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Return the rotation (3, 3) by which rows are multiplied from the right, in float64."""
    centered = [(points - points.mean(0)).double() for points in (here, there)]
    u, _, v = torch.linalg.svd(centered[0].T @ centered[1])
    sign = torch.ones(3, dtype=u.dtype, device=u.device)
    sign[2] = torch.sign(torch.linalg.det(u @ v))
    return (u * sign) @ v


def measure_rigidity(fixed: CheckedScan, forward: Transform) -> dict[str, float]:
    """Return how far a transform moves the rigid parts of a scan from a rigid motion, in mm.

    Returns
    -------
    dict
        ``mean`` and ``max`` of the distances of all parts' points from the closest rigid motion of
        their part.
    """
    assert fixed.rigid is not None
    distances = []
    for part in rigid_parts(fixed.rigid):
        here, there = torch.from_numpy(part), torch.from_numpy(forward.points(part))
        distances.append((there - rigid_motion(here, there)).norm(dim=1))
    every = torch.cat(distances)
    return {"mean": round(float(every.mean()), 3), "max": round(float(every.max()), 3)}


def _robust(values: torch.Tensor, scale: float) -> torch.Tensor:
    """Return the mean of a distance that is squared up to a scale, then linear (pseudo-Huber)."""
    squares = values.square().sum(-1) / scale**2
    return ((1 + squares).sqrt() - 1).mean()


def make_guides(
    fixed: CheckedScan, moving: CheckedScan, pair: WorkingPair, *, points: bool
) -> Guides | None:
    """Return the landmarks (if asked for) and rigid regions of two scans; None without any.

    Raises
    ------
    InputError
        If a rigid region has no voxel in the working grid.
    """
    frames = pair.affine, pair.transform @ pair.affine
    landmarks = None
    if points and fixed.points is not None and moving.points is not None:
        both = zip(frames, (fixed.points, moving.points), strict=True)
        index = np.stack([apply(np.linalg.inv(frame), own) for frame, own in both])
        landmarks = torch.from_numpy(index.astype(np.float32))
    rigid = [
        RigidPart(k, torch.from_numpy(apply(np.linalg.inv(frames[k]), part).astype(np.float32)))
        for k, scan in enumerate((fixed, moving))
        if scan.rigid is not None
        for part in rigid_parts(scan.rigid)
    ]
    if landmarks is None and not rigid:
        return None
    to_mm = torch.from_numpy(np.stack(frames).astype(np.float32))
    return Guides(pair.shape, to_mm, landmarks, tuple(rigid))


def rigid_parts(mask: Volume) -> list[NDArray[np.float64]]:
    """Return points (n, 3) in LPS mm of the connected parts of a mask, the largest parts first.

    A mask of several labels is split by label first, so that bones that touch can be told apart.

    Raises
    ------
    InputError
        If there is no part of a few voxels.
    """
    values = np.asarray(mask.voxels)
    parts: list[NDArray[np.float64]] = []
    rng = np.random.default_rng(0)
    for label in np.unique(values[values != 0]):
        check()
        numbered, _ = ndimage.label(values == label, np.ones((3, 3, 3)))
        sizes = np.bincount(numbered.ravel())[1:]
        for number in np.argsort(-sizes, kind="stable")[:_MAX_RIGID_PARTS]:
            if sizes[number] < _MIN_RIGID_POINTS:
                break
            index = np.argwhere(numbered == number + 1)
            chosen = rng.permutation(len(index))[:_MAX_RIGID_POINTS]
            parts.append(np.asarray(apply(mask.affine, index[chosen])))
    if not parts:
        raise InputError(
            f"the rigid mask has no connected part of at least {_MIN_RIGID_POINTS} voxels"
        )
    return sorted(parts, key=len, reverse=True)[:_MAX_RIGID_PARTS]


def with_labels(fixed: CheckedScan, moving: CheckedScan, pair: WorkingPair) -> WorkingPair:
    """Return a pair with the labels that both scans have as further features.

    The channels are scaled such that their part of the loss is `LABEL_WEIGHT` times the mean over
    the labels of 1 - Dice (of soft labels, with squares as in Milletari et al., 3DV 2016).

    Parameters
    ----------
    fixed, moving
        Scans with labels.
    pair
        Their working grid.

    Raises
    ------
    InputError
        If no label is in both scans.
    """
    assert fixed.labels is not None and moving.labels is not None
    shape = smaller(pair.shape, 2)
    like = feature_grid(pair, shape)
    targets = like, replace(like, affine=pair.transform @ like.affine)
    maps = [np.asarray(scan.labels.voxels) for scan in (fixed, moving) if scan.labels is not None]
    counts = [dict(zip(*np.unique(values, return_counts=True), strict=True)) for values in maps]
    shared = sorted(
        (label for label in counts[0] if label != 0 and label in counts[1]),
        key=lambda label: -min(counts[0][label], counts[1][label]),
    )[:_MAX_LABELS]
    channels = []
    for label in shared:
        check()
        both = [
            torch.from_numpy(onto(replace(scan.labels, voxels=(values == label).astype(np.float32),
                                          unit="unknown", outside=None), target))
            for scan, values, target in zip((fixed, moving), maps, targets, strict=True)
            if scan.labels is not None
        ]  # fmt: skip
        size = float(sum(part.square().mean() for part in both))
        if size > 0:
            channels.append(torch.stack(both) * (LABEL_WEIGHT / FEATURE_WEIGHT / size) ** 0.5)
    if not channels:
        raise InputError("the labels cannot drive a registration: none is in both volumes")
    labels = torch.stack(channels, dim=1) / len(channels) ** 0.5
    parts = [labels] if pair.features is None else [pair.features, labels]
    return replace(pair, features=torch.cat(parts, dim=1))


def aligned_by_landmarks(fixed: CheckedScan, moving: CheckedScan, first: Transform) -> Transform:
    """Return a rigid initial alignment by the landmarks where another misses them far.

    Three landmarks or more give a rigid motion, fewer a shift.

    Parameters
    ----------
    fixed, moving
        Scans with landmarks.
    first
        Another initial alignment, returned where it brings the landmarks to within 30 mm of each
        other on average.
    """
    assert fixed.points is not None and moving.points is not None
    missed = np.linalg.norm(first.points(fixed.points) - moving.points, axis=1).mean()
    if missed <= _MISSED_MM:
        return first
    here, there = torch.from_numpy(fixed.points), torch.from_numpy(moving.points)
    matrix = np.eye(4)
    if len(here) >= _MIN_FOR_ROTATION:
        matrix[:3, :3] = _rotation(here, there).T.numpy()
    matrix[:3, 3] = there.mean(0).numpy() - matrix[:3, :3] @ here.mean(0).numpy()
    return Transform((matrix,))
