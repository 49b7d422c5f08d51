"""Folds that only appear where a volume's slice spacing exceeds that of the working grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tomochrome.registration import unfold as module
from tomochrome.registration.penalties import least_determinant
from tomochrome.registration.unfold import fold_check, forward_transform, unfold
from tomochrome.registration.velocity import smooth
from tomochrome.registration.working_pair import WorkingPair
from tomochrome.transform import Transform, jacobian_map
from tomochrome.volume import Volume, default_affine

SHAPE = (32, 28, 30)
FINE = default_affine((2.0, 2.0, 2.0))


def grid(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    return Volume(np.zeros(shape, np.uint8), default_affine(spacing), "unknown")


def some_pair() -> WorkingPair:
    image = torch.zeros(1, 1, *SHAPE)
    return WorkingPair(image, image, None, FINE, np.eye(4))


def strong(passes: int = 1, strength: float = 25.0) -> tuple[torch.Tensor, Any]:
    """Integrate velocities that are as strong as possible without folds on the working grid."""
    generator = torch.Generator().manual_seed(1)
    velocity = smooth(torch.randn(1, 3, 16, 14, 15, generator=generator), passes) * strength
    return unfold(torch.cat([-velocity, velocity]), SHAPE)


COARSE = grid((4, 28, 30), (16.0, 2.0, 2.0))


def folded(transform: Transform, like: Volume) -> int:
    return int((np.asarray(jacobian_map(transform, like).voxels) <= 0).sum())


def plain(fields: Any, pair: WorkingPair) -> Transform:
    there, back = (module._field(field, pair.affine) for field in (fields.forward, fields.inverse))
    return Transform.from_fields(there, back, pair.transform)


@pytest.mark.parametrize(("passes", "strength"), [(1, 25.0), (1, 12.0), (4, 25.0)])
def test_what_fold_check_coarser_grids_alone_is_smoothed_away(passes: int, strength: float) -> None:
    pair = some_pair()
    velocities, fields = strong(passes, strength)
    assert float(least_determinant(fields.forward).min()) > 0
    before = plain(fields, pair)
    assert folded(before, COARSE) + folded(before.inverse(), COARSE) > 0
    found = forward_transform(COARSE, COARSE, pair, velocities, fields)
    assert folded(found, COARSE) == folded(found.inverse(), COARSE) == 0
    # exchanging the volumes exchanges the maps
    swapped = forward_transform(
        COARSE,
        COARSE,
        pair,
        velocities.flip(0),
        fields._replace(forward=fields.inverse, inverse=fields.forward),
    )
    points = np.random.default_rng(0).uniform(5, 50, (50, 3))
    np.testing.assert_allclose(swapped.inverse().points(points), found.points(points), atol=1e-3)


def test_a_grid_as_fine_as_the_working_one_is_not_asked() -> None:
    pair = some_pair()
    _, fields = strong()
    transform = plain(fields, pair)
    assert fold_check(grid(SHAPE, (2.0, 2.0, 2.0)), transform, pair, FINE) is None
    calm = Transform.from_affine(np.diag([1.1, 1.0, 1.0, 1.0]))
    assert fold_check(COARSE, calm, pair, FINE) is None


def test_places_are_marked_where_they_lie() -> None:
    pair = some_pair()
    _, fields = strong()
    transform = plain(fields, pair)
    marks = fold_check(COARSE, transform, pair, FINE)
    assert marks is not None
    assert marks.shape == (1, 1, *SHAPE)
    bad = np.argwhere(np.asarray(jacobian_map(transform, COARSE).voxels) <= 0)
    for z, y, x in bad * (8, 1, 1):  # slices 16 mm apart, not 2
        assert marks[0, 0, z, y, x] == 1
    assert float(marks.mean()) < 0.9
