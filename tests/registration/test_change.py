"""Change between two registered scans: growth, HU differences, volumes of regions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from registration_cases import FINER, blobs, labels_of, without_noise_in_air

from tomochrome.errors import GeometryError
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.registration.change import change_map, region_changes
from tomochrome.transform import Transform, jacobian_map
from tomochrome.volume import Volume

BODY = without_noise_in_air(blobs(*FINER))


def noisy(volume: Volume, sd: float, seed: int) -> Volume:
    rng = np.random.default_rng(seed)
    return replace(volume, voxels=np.asarray(volume.voxels) + rng.normal(0, sd, volume.shape))


def test_regions_grow_by_the_cube_of_a_scaling() -> None:
    """The later scan is the earlier one, enlarged by 5 % along each axis."""
    matrix = np.diag([1.05, 1.05, 1.05, 1.0])
    jacobian = jacobian_map(Transform((matrix,)), BODY)
    changes = region_changes(BODY, BODY, jacobian, labels_of(BODY))
    assert set(changes) == {str(k) for k in np.unique(labels_of(BODY).voxels) if k}
    values = np.asarray(labels_of(BODY).voxels)
    for label, change in changes.items():
        assert change["before_ml"] == pytest.approx((values == int(label)).sum() * 0.064, abs=1e-3)
        assert change["percent"] == pytest.approx(100 * (1.05**3 - 1), abs=0.1)
        assert change["hu_change"] == 0


def test_growth_is_where_the_field_expands() -> None:
    x = np.indices(BODY.shape)[2]
    vectors = np.zeros((*BODY.shape, 3), np.float32)
    vectors[..., 0] = 0.1 * 4.0 * np.clip(x - 16, 0, None)  # dx/dx = 0.1 in the right half
    field = Transform.from_fields(DisplacementField(vectors, BODY.affine))
    change = change_map(BODY, BODY, jacobian_map(field, BODY))
    growth = np.asarray(change.growth.voxels)
    assert np.abs(growth[:, :, :14]).max() < 0.1
    np.testing.assert_allclose(growth[5:-5, 5:-5, 19:-3], 10, atol=0.2)
    assert not np.asarray(change.difference.voxels).any()


def test_differences_beyond_the_noise_are_kept() -> None:
    earlier, later = noisy(BODY, 10, 1), noisy(BODY, 10, 2)
    lesion = np.zeros(BODY.shape, bool)
    lesion[12:15, 14:17, 14:17] = True
    voxels = np.asarray(later.voxels) + 5.0 + 150.0 * lesion  # a common offset, and a change
    later = replace(later, voxels=voxels)
    change = change_map(earlier, later, jacobian_map(Transform.identity(), BODY))
    assert change.noise_hu == pytest.approx(10 * np.sqrt(2), rel=0.1)
    difference = np.asarray(change.difference.voxels)
    assert (difference[lesion] > 80).all()
    body = (np.asarray(BODY.voxels) > -900) & ~lesion
    assert (difference[body] != 0).mean() < 0.01
    labels = Volume(lesion.astype(np.uint8), BODY.affine, "unknown")
    [region] = region_changes(
        earlier, later, jacobian_map(Transform.identity(), BODY), labels
    ).values()
    assert region["hu_change"] == pytest.approx(155, abs=10)


@pytest.mark.parametrize("kind", ["outside", "restored"])
@pytest.mark.parametrize("earlier", [False, True])
def test_what_was_not_measured_has_no_difference(kind: str, earlier: bool) -> None:
    lost = np.zeros(BODY.shape, bool)
    lost[12:15] = True
    other = replace(BODY, voxels=np.asarray(BODY.voxels) + 500 * lost)
    jacobian = jacobian_map(Transform.identity(), BODY)
    marked = replace(other, **{kind: lost})
    pair, plain = ((marked, BODY), (other, BODY)) if earlier else ((BODY, marked), (BODY, other))
    assert np.asarray(change_map(*plain, jacobian).difference.voxels).any()
    change = change_map(*pair, jacobian)
    assert not np.asarray(change.difference.voxels).any()
    assert change.noise_hu == 1
    everywhere = Volume(lost.astype(np.uint8), BODY.affine, "unknown")
    assert region_changes(*pair, jacobian, everywhere)["1"]["hu_change"] is None


def test_other_grids_are_refused() -> None:
    part = replace(BODY, voxels=np.asarray(BODY.voxels)[1:])
    with pytest.raises(GeometryError):
        change_map(BODY, part, jacobian_map(Transform.identity(), BODY))
