"""The initial alignment: rotation, translation, cropping, masks, padding, cancellation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from registration_cases import scans
from scipy.spatial.transform import Rotation
from transform_cases import grid, texture

from tomochrome.errors import Cancelled, GeometryError, InputError, OptionError
from tomochrome.geometry.affine import apply
from tomochrome.io import read
from tomochrome.phantom import make_patient
from tomochrome.registration import checked_input as padding
from tomochrome.registration.checked_input import without_padding
from tomochrome.registration.initialize import initialize
from tomochrome.registration.starts import Start, choose_best, is_half_turn
from tomochrome.runtime import Task, running
from tomochrome.transform import Transform
from tomochrome.volume import Volume, default_affine


@pytest.fixture(scope="module")
def chest() -> Volume:
    return make_patient(1, "chest", (8.0, 8.0, 8.0)).ct


@pytest.fixture(scope="module")
def portal() -> Volume:
    """The same patient with contrast agent in the vessels."""
    return make_patient(1, "chest", (8.0, 8.0, 8.0), phase="portal").ct


def body(volume: Volume) -> NDArray[np.float64]:
    """LPS mm of some voxels of the patient."""
    return np.asarray(apply(volume.affine, np.argwhere(np.asarray(volume.voxels) > -300)[::53]))


def motion(
    turn: tuple[float, float, float], shift: tuple[float, float, float], about: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a rotation (degrees) about an axis through a point, then a translation (mm)."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.radians(turn)).as_matrix()
    matrix[:3, 3] = about - matrix[:3, :3] @ about + np.array(shift)
    return matrix


def error(found: Transform, truth: NDArray[np.float64], points: NDArray[np.float64]) -> float:
    """Largest distance in mm."""
    return float(np.linalg.norm(found.points(points) - apply(truth, points), axis=1).max())


def cut(volume: Volume, *box: tuple[int, int]) -> Volume:
    """Return a part of a volume at its position."""
    start = np.array([low for low, _ in box])
    affine = volume.affine.copy()
    affine[:3, 3] = apply(volume.affine, start)
    part = tuple(slice(low, high) for low, high in box)
    outside = None if volume.outside is None else volume.outside[part]
    return replace(volume, voxels=volume.voxels[part].copy(), affine=affine, outside=outside)


@pytest.mark.parametrize(
    ("turn", "shift"),
    [
        ((15, 0, 0), (60, 0, 0)),
        ((0, 15, 0), (0, -60, 0)),
        ((9, 9, 9), (0, 0, -60)),
    ],
)
def test_a_patient_who_lies_turned_and_shifted(chest, portal, turn, shift) -> None:
    points = body(chest)
    truth = motion(turn, shift, points.mean(axis=0))
    moving = replace(portal, affine=truth @ portal.affine)
    assert error(initialize(*scans(chest, moving), "rigid"), truth, points) < 0.5


def test_an_affine_map(chest, portal) -> None:
    points = body(chest)
    truth = motion((5, -10, 5), (30, -20, 40), points.mean(axis=0))
    truth[:3, :3] = truth[:3, :3] @ np.diag([1.06, 0.95, 1.04])
    moving = replace(portal, affine=truth @ portal.affine)
    found = initialize(*scans(chest, moving), "affine")
    assert error(found, truth, points) < 1.5
    rigid = initialize(*scans(chest, moving), "rigid").affine[:3, :3]
    np.testing.assert_allclose(rigid @ rigid.T, np.eye(3), atol=1e-9)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (((0, 36), (0, 42), (0, 51)), ((18, 36), (0, 42), (0, 51))),
        (((14, 36), (0, 42), (0, 51)), ((0, 22), (0, 42), (0, 51))),
        (((7, 23), (10, 33), (10, 41)), ((0, 36), (0, 42), (0, 51))),
    ],
    ids=["moving is the upper half", "upper and lower part", "fixed is a small box"],
)
def test_other_fields_of_view(chest, portal, ours, theirs) -> None:
    assert chest.shape == (36, 42, 51)
    fixed, part = cut(chest, *ours), cut(portal, *theirs)
    points = body(chest)
    for volume in (fixed, part):
        index = apply(np.linalg.inv(volume.affine), points)
        points = points[((index >= 0) & (index < volume.shape)).all(axis=1)]
    truth = motion((9, 9, 9), (-40, -40, 10), points.mean(axis=0))
    found = initialize(*scans(fixed, replace(part, affine=truth @ part.affine)), "rigid")
    assert error(found, truth, points) < 1.0


@pytest.fixture(scope="module")
def head_and_body() -> tuple[Volume, Volume]:
    """A head, and the entire patient with contrast agent in the vessels."""
    plain = make_patient(1, "all", (9.0, 9.0, 9.0)).ct
    head = cut(plain, (int(0.8 * plain.shape[0]), plain.shape[0]), (0, 999), (0, 999))
    return head, make_patient(1, "all", (9.0, 9.0, 9.0), phase="portal").ct


@pytest.mark.parametrize("turn", [(15, 0, 0), (9, 9, -8)])
def test_a_head_is_found_in_a_whole_body(head_and_body, turn) -> None:
    head, whole = head_and_body
    points = body(head)
    truth = motion(turn, (60, -20, 30), points.mean(axis=0))
    found = initialize(*scans(head, replace(whole, affine=truth @ whole.affine)), "rigid")
    assert error(found, truth, points) < 2.0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_patient_who_lies_the_other_way_round_than_the_header_says(chest, portal, axis) -> None:
    points = body(chest)
    truth = motion(tuple(180 * np.eye(3)[axis]), (20, -30, 40), points.mean(axis=0))
    found = initialize(*scans(chest, replace(portal, affine=truth @ portal.affine)), "rigid")
    assert error(found, truth, points) < 0.5
    assert is_half_turn(found.affine)


def test_a_half_turn_is_believed_only_where_it_is_better_by_far() -> None:
    upright, turned = (
        Start(np.diag(d), s, 1.0) for d, s in (((1.0,) * 4, 1.0), ((-1, -1, 1, 1), 1.1))
    )
    assert choose_best([upright, turned]) is upright
    assert choose_best([upright, replace(turned, score=1.3)]).score == 1.3
    assert choose_best([turned]) is turned
    assert not is_half_turn(np.eye(4))


def test_masks_are_honored() -> None:
    """One half of the image moved, the other did not; the mask selects one of them."""
    affine = grid((30, 30, 60), (4.0, 4.0, 4.0))
    still, moved = texture((30, 30, 60), affine, 3), texture((30, 30, 60), affine, 4)
    truth = motion((0, 6, 0), (2.0, 10.0, 6.0), np.array([-60.0, 0.0, 0.0]))
    fixed, moving = np.array(still.voxels), np.array(still.voxels)
    fixed[:, :, :30] = moved.voxels[:, :, :30]
    turned = Transform.from_affine(np.linalg.inv(truth)).apply(moved)
    moving[:, :, :30] = turned.voxels[:, :, :30]
    for half, known, middle in (
        (slice(2, 26), truth, (-60.0, 0.0, 0.0)),
        (slice(34, 58), np.eye(4), (60.0, 0.0, 0.0)),
    ):
        mask = np.zeros(fixed.shape, np.uint8)
        mask[:, :, half] = 1
        wanted = Volume(mask, affine, "unknown")
        pair = Volume(fixed, affine), Volume(moving, affine)
        near = np.array(middle) + np.random.default_rng(0).uniform(-30, 30, (50, 3))
        found = initialize(*scans(*pair, fixed_mask=wanted, moving_mask=wanted), "rigid")
        assert error(found, known, near) < 1.5


def test_the_same_call_gives_the_same_answer() -> None:
    fixed = texture((20, 22, 24), grid((20, 22, 24), (4.0, 4.0, 4.0)))
    moving = replace(fixed, affine=motion((5, 5, 0), (5, 9, 0), np.zeros(3)) @ fixed.affine)
    first, *others = (initialize(*scans(fixed, moving), "affine").affine for _ in range(4))
    for other in others:  # to the last bit
        np.testing.assert_array_equal(first, other)


def test_centers(chest) -> None:
    truth = np.eye(4)
    truth[:3, 3] = (31.0, -17.0, 44.0)
    moving = replace(chest, affine=truth @ chest.affine)
    for method in ("center", "mass"):
        np.testing.assert_allclose(
            initialize(*scans(chest, moving), method).affine, truth, atol=1e-6
        )
    assert initialize(*scans(chest, moving), "none").steps == ()


def test_a_cancel_is_noticed_at_the_next_step(chest, portal) -> None:
    told = []

    def progress(done: int, total: int, stage: str) -> None:
        told.append((cancel.cancelled, stage))
        if stage.endswith("affine"):
            cancel.cancel()

    cancel = Task(progress)
    with running(cancel), pytest.raises(Cancelled):
        initialize(*scans(chest, portal), "affine")
    assert len([stage for cancelled, stage in told if cancelled]) <= 1


def test_the_known_motion_of_a_real_pair(shared_data: Path) -> None:
    """RA-Short: 0.35 rad about z through the center, then (3, 4, 2) mm; in both directions."""
    plain = read(shared_data / "registration" / "RA-Short.nrrd")
    moved = read(shared_data / "registration" / "RA-Short_az0.35_tx3_ty4_tz2.nrrd")
    middle = apply(plain.affine, (np.array(plain.shape) - 1) / 2)
    truth = motion((0, 0, float(np.degrees(0.35))), (3, 4, 2), middle)
    back = np.linalg.inv(truth)
    for fixed, moving, known, method in (
        (moved, plain, truth, "rigid"),
        (plain, moved, back, "affine"),
    ):
        found = initialize(*scans(fixed, moving), method).affine
        u, _, vt = np.linalg.svd((np.linalg.inv(known) @ found)[:3, :3])
        turned = np.degrees(np.linalg.norm(Rotation.from_matrix(u @ vt).as_rotvec()))
        shifted = np.linalg.norm(apply(found, middle) - apply(known, middle))
        assert turned < 0.1, (method, turned)
        assert shifted < 0.1, (method, shifted)


def test_a_resampled_volumes_filled_corners_are_no_anatomy(chest) -> None:
    plain = replace(chest, voxels=np.asarray(chest.voxels, np.float32), unit="unknown")
    noise = np.random.default_rng(0).normal(0, 5, plain.shape).astype(np.float32)
    plain = replace(plain, voxels=plain.voxels + noise, outside=None)
    assert without_padding(plain) is plain
    turn = motion((0, 0, 20), (0, 0, 0), body(chest).mean(axis=0))
    turned = Transform.from_affine(turn).apply(plain, fill=77.0)
    found = without_padding(turned)
    assert found.outside is not None
    filled = np.asarray(turned.voxels) == 77.0
    assert (found.outside | ~filled).mean() > 0.999
    assert found.outside.mean() < filled.mean() + 0.08
    # air around a patient that covers every face was measured
    air = np.full((20, 20, 20), -1000, np.int16)
    air[5:15, 5:15, 5:15] = 40
    volume = Volume(air, default_affine((3.0, 3.0, 3.0)))
    assert without_padding(volume) is volume


@pytest.mark.parametrize(("followed", "missed"), [(10_000_000, 0.0), (9_000, 0.01)])
def test_filled_corners_of_a_large_volume(chest, followed, missed, monkeypatch) -> None:
    """Where only some of the voxels are followed, the rest goes with its neighbor."""
    monkeypatch.setattr(padding, "_MAX_LABELLED", followed)
    noise = np.random.default_rng(0).normal(0, 90, (41, 42, 43)).astype(np.float32)
    z, y, x = np.indices(noise.shape)
    filled = (z + y + x > 100) | (y + x < 15)
    volume = Volume(np.where(filled, np.float32(7), noise), chest.affine, "unknown")
    found = without_padding(volume).outside
    assert found is not None
    assert (filled & ~found).mean() <= missed
    assert found.mean() < filled.mean() + 0.08


def refused_cases(chest: Volume) -> dict[str, tuple[Volume, Volume, str, type[Exception], str]]:
    far = chest.affine.copy()
    far[:3, 3] += 5000.0
    nothing = replace(chest, voxels=np.zeros(chest.shape, np.uint8), outside=None)
    return {
        "method": (chest, chest, "magic", OptionError, "unknown initialization"),
        "apart": (chest, replace(chest, affine=far), "none", GeometryError, "do not overlap"),
        "constant": (chest, nothing, "affine", InputError, "moving volume is constant"),
        "flat": (
            Volume(np.zeros((1, 20, 20)), chest.affine), chest, "affine", InputError, "is flat",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("case", ["method", "apart", "constant", "flat"])
def test_what_is_refused(chest, case) -> None:
    fixed, moving, method, kind, words = refused_cases(chest)[case]
    with pytest.raises(kind, match=words):
        initialize(*scans(fixed, moving), method)


def test_a_mask_that_leaves_nothing(chest) -> None:
    empty = replace(chest, voxels=np.zeros(chest.shape, np.uint8), outside=None)
    with pytest.raises(InputError, match="fixed mask does not contain any voxel"):
        initialize(*scans(chest, chest, fixed_mask=empty), "rigid")
