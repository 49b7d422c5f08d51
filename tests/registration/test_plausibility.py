"""Whether two images are alike at all, and whether one of them is mirrored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from registration_cases import BODY, blobs, scans, shifted
from scipy import ndimage
from scipy.spatial.transform import Rotation
from transform_cases import grid

from tomochrome.notices import Notice
from tomochrome.registration.checked_input import CheckedScan
from tomochrome.registration.initialize import Plausibility, initialize, mirrored, plausibility
from tomochrome.registration.levels import make_levels
from tomochrome.registration.pairwise import register
from tomochrome.registration.verdict import warnings_of
from tomochrome.volume import Unit, Volume


def flipped(volume: Volume, axis: int = 2) -> Volume:
    """The same header over voxels in the reverse order along an axis."""
    return replace(volume, voxels=np.ascontiguousarray(np.flip(np.asarray(volume.voxels), axis)))


def judged(fixed: Volume, moving: Volume) -> Plausibility:
    return plausibility(*scans(fixed, moving), initialize(*scans(fixed, moving), "rigid").affine)


def test_a_mirrored_body_is_suspected() -> None:
    """An alignment turns the body, but cannot mirror it back."""
    assert judged(BODY, flipped(blobs())).is_mirrored


def test_a_mirrored_copy_is_suspected_wherever_it_lies() -> None:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", 10, degrees=True).as_matrix()
    turn[:3, 3] = (30.0, -20.0, 40.0)
    moving = flipped(blobs())
    assert judged(replace(moving, affine=turn @ moving.affine), BODY).is_mirrored


def test_a_mirrored_image_without_a_unit_is_suspected() -> None:
    plain = replace(BODY, unit="unknown")
    assert judged(plain, flipped(plain)).is_mirrored


def test_the_same_body_is_not_suspected() -> None:
    for other in (blobs(), shifted(blobs(), 9.0)):
        found = judged(BODY, other)
        assert not found.is_mirrored
        assert not found.is_unrelated


def symmetric() -> Volume:
    """A body that equals its mirror image, with two lungs and a spine."""
    shape, step = (19, 22, 23), 5.5
    z, y, x = (np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2) * step
    hu = np.full(shape, -1000, np.int16)
    hu[(z / 90) ** 2 + (y / 46) ** 2 + (x / 56) ** 2 < 1] = 40
    hu[(z / 40) ** 2 + (y / 22) ** 2 + ((abs(x) - 26) / 16) ** 2 < 1] = -800
    hu[(y - 34) ** 2 + x**2 < 80] = 700
    return Volume(hu, grid(shape, (step, step, step)))


def test_symmetric_anatomy_is_not_suspected() -> None:
    body = symmetric()
    noise = np.random.default_rng(3).normal(0, 15, body.shape)
    noisy = replace(body, voxels=np.rint(np.asarray(body.voxels) + noise).astype(np.int16))
    for moving in (flipped(body), shifted(noisy, 9.0)):
        assert not judged(body, moving).is_mirrored


def test_mirroring_twice_gives_the_same_image() -> None:
    (level,) = make_levels(CheckedScan(BODY, "fixed"), 1)
    once = mirrored(level, 7.0)
    assert np.linalg.det(once.affine[:3, :3]) * np.linalg.det(level.affine[:3, :3]) > 0
    assert once.mass[0] == pytest.approx(14 - level.mass[0])
    twice = mirrored(once, 7.0)
    np.testing.assert_array_equal(twice.values, level.values)
    np.testing.assert_allclose(twice.affine, level.affine, atol=1e-9)


def noise(kind: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    if kind == "uniform":
        return random.uniform(-1000, 1000, shape).astype(np.float32)
    white = random.normal(0, 300, shape)
    smooth = ndimage.gaussian_filter(white, 1.0) * 4 if kind == "smooth" else white
    return smooth.astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "unit"),
    [("white", "HU"), ("white", "unknown"), ("smooth", "unknown"), ("uniform", "HU")],
)
def test_noise_has_nothing_in_common_with_a_body(kind: str, unit: Unit) -> None:
    fixed = replace(BODY, unit=unit)
    moving = replace(fixed, voxels=noise(kind, fixed.shape))
    assert plausibility(*scans(fixed, moving), np.eye(4)).is_unrelated


def test_of_what_shows_nothing_no_header_is_wrong() -> None:
    fixed = BODY
    found = register(
        fixed, replace(fixed, voxels=noise("uniform", fixed.shape)), model=None, refine=0
    )
    codes = {notice.code for notice in found.warnings}
    assert "unrelated" in codes
    assert not {"half-turn", "mirrored"} & codes
    assert found.report["plausibility"]["unrelated"]


def test_the_report_and_its_warnings() -> None:
    found = register(BODY, flipped(blobs()), model=None, refine=0)
    assert found.report["plausibility"]["mirrored"]
    (said,) = [notice for notice in found.warnings if notice.code == "mirrored"]
    assert "left and right may be swapped" in said.text
    assert said.text in found.report["warnings"]
    good = register(BODY, blobs(), model=None, refine=0)
    assert not {"mirrored", "unrelated"} & {notice.code for notice in good.warnings}


def codes_of(**changes: object) -> set[str]:
    report = {"before": {"ncc": 0.0}, "after": {"ncc": -0.002}, **changes}
    return {notice.code for notice in warnings_of(report, "lncc")}


def test_what_is_alike_after_all_is_not_unrelated() -> None:
    unrelated = {"mirrored": False, "unrelated": True}
    assert codes_of(plausibility=unrelated) == {"unrelated"}
    assert codes_of(plausibility=unrelated, after={"ncc": 0.7}) == set()
    assert codes_of(plausibility=unrelated, after={}) == {"unrelated"}
    assert codes_of() == set()
    (said,) = warnings_of({"before": {}, "after": {"ncc": 0.01}, "plausibility": unrelated}, "lncc")
    assert isinstance(said, Notice)
    assert "correlation none before and 0.010 after" in said.text
