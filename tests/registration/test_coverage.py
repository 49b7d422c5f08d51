"""How much of a body two images have in common, and what a report says about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from registration_cases import BODY, SHAPE, scans
from scipy.spatial.transform import Rotation

from tomochrome.notices import texts
from tomochrome.phantom import make_patient
from tomochrome.registration.pairwise import register
from tomochrome.registration.report import Coverage, extent_of, measure_coverage
from tomochrome.registration.verdict import warnings_of
from tomochrome.transform import Transform
from tomochrome.volume import Volume


@pytest.fixture(scope="module")
def torso() -> Volume:
    return make_patient(1, "torso", (10.0, 9.0, 9.0)).ct


def part_of(volume: Volume, first: float, last: float) -> Volume:
    """The slices from one share of a volume to another."""
    a, b = (round(share * volume.shape[0]) for share in (first, last))
    affine = volume.affine.copy()
    affine[:3, 3] += a * affine[:3, 0]
    return replace(volume, voxels=np.asarray(volume.voxels)[a:b], affine=affine)


def covered(fixed: Volume, moving: Volume, forward: Transform | None = None) -> Coverage:
    there = Transform.identity() if forward is None else forward
    return measure_coverage(*map(extent_of, scans(fixed, moving)), there, there.inverse())


def test_two_of_three_thirds_in_common(torso: Volume) -> None:
    lower, upper = part_of(torso, 0, 0.6), part_of(torso, 0.3, 1)
    found = covered(lower, upper)
    assert found.fixed_body == pytest.approx(0.5, abs=0.1)
    assert found.moving_body == pytest.approx(0.43, abs=0.1)
    assert found.region is not None
    first, last, middle = found.region[0]
    slices = lower.shape[0]
    assert (first, last) == pytest.approx((slices / 2, slices - 1), abs=2)
    assert middle == pytest.approx(0.75 * slices, abs=2)


def test_a_small_field_of_view_within_a_large_one(torso: Volume) -> None:
    found = covered(torso, part_of(torso, 0.4, 0.6))
    assert found.fixed_body == pytest.approx(0.2, abs=0.06)
    assert found.moving_body > 0.95
    back = covered(part_of(torso, 0.4, 0.6), torso)
    assert back.fixed_body > 0.95


def test_slices_of_air_show_nothing_of_a_body(torso: Volume) -> None:
    voxels = np.array(torso.voxels)
    voxels[: torso.shape[0] // 3] = -1000
    assert covered(torso, replace(torso, voxels=voxels)).fixed_body < 0.75


def test_voxels_that_were_not_measured_show_nothing(torso: Volume) -> None:
    outside = np.zeros(torso.shape, bool)
    outside[:, :, : torso.shape[2] // 2] = True
    found = covered(torso, replace(torso, outside=outside))
    assert found.fixed_body == pytest.approx(0.5, abs=0.1)
    assert found.moving_body == pytest.approx(1.0)


def test_values_without_a_unit_are_judged_by_the_field_of_view(torso: Volume) -> None:
    plain = replace(torso, unit="unknown")
    assert covered(plain, part_of(plain, 0.5, 1)).fixed_body == pytest.approx(0.5, abs=0.12)
    assert covered(plain, plain).fixed_body == 1.0


def test_nothing_in_common(torso: Volume) -> None:
    found = covered(part_of(torso, 0, 0.3), part_of(torso, 0.6, 1))
    assert (found.fixed_body, found.moving_body, found.region) == (0.0, 0.0, None)
    assert found.as_json()["common_slices"] is None


def test_the_transform_and_oblique_grids_are_followed() -> None:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xz", [25, 15], degrees=True).as_matrix()
    turn[:3, 3] = (120.0, -40.0, 60.0)
    moving = replace(BODY, affine=turn @ BODY.affine)
    assert covered(BODY, moving).fixed_body < 0.8
    found = covered(BODY, moving, Transform.from_affine(turn))
    assert min(found.fixed_body, found.moving_body) > 0.99
    assert found.region is not None
    middles = [axis[2] for axis in found.region]
    assert middles == pytest.approx([n / 2 for n in SHAPE], abs=2)


def test_the_middle_of_two_legs_is_one_of_them() -> None:
    _, y, x = np.indices((20, 40, 60)) * 5.0
    legs = np.minimum(np.hypot(y - 100, x - 60), np.hypot(y - 100, x - 240)) < 45
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[::-1] * 5.0
    volume = Volume(np.where(legs, 40, -1000).astype(np.int16), affine, "HU")
    region = covered(volume, volume).region
    assert region is not None
    assert legs[:, :, region[2][2]].any()


def with_coverage(fixed: float, moving: float) -> dict[str, object]:
    return {"before": {}, "after": {"coverage": {"fixed_body": fixed, "moving_body": moving}}}


def test_what_is_absent_is_said() -> None:
    assert warnings_of(with_coverage(0.95, 0.85), "lncc") == ()
    (third,) = warnings_of(with_coverage(0.9, 0.66), "lncc")
    assert third.code == "partial"
    assert "66 % of the body in the moving image is inside the fixed one" in third.text
    (both,) = warnings_of(with_coverage(0.4, 0.5), "mi")
    assert "shows only 40 %" in both.text and "only 50 %" in both.text
    (none,) = warnings_of(with_coverage(0.02, 0.01), "lncc")
    assert "nothing in common" in none.text


def test_a_registration_of_neighboring_regions_tells_what_is_absent(torso: Volume) -> None:
    fixed, moving = part_of(torso, 0, 0.6), part_of(torso, 0.25, 1)
    found = register(fixed, moving, model=None, refine=0, init="none")
    coverage = found.report["after"]["coverage"]
    assert coverage["fixed_body"] < 0.7 and coverage["moving_body"] < 0.7
    assert coverage["common_slices"][0][0] > fixed.shape[0] // 4
    assert any("nothing can be compared outside" in text for text in texts(found.warnings))
    same = register(fixed, fixed, model=None, refine=0, init="none")
    assert same.report["after"]["coverage"]["fixed_body"] == 1.0
    assert "partial" not in {notice.code for notice in same.warnings}
