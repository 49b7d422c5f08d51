"""Landmarks, labels and rigid regions that drive a registration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from registration_cases import FINER, blobs, labels_of, scans, shifted, without_noise_in_air
from scipy.spatial.transform import Rotation
from transform_cases import smooth_field

import tomochrome as tc
from tomochrome.cli.app import main
from tomochrome.errors import InputError, OptionError
from tomochrome.registration.checked_input import CheckedScan
from tomochrome.transform import Transform
from tomochrome.volume import Volume

torch = pytest.importorskip("torch")
from tomochrome.registration.guides import (  # noqa: E402
    aligned_by_landmarks,
    make_guides,
    rigid_motion,
    rigid_parts,
    with_labels,
)
from tomochrome.registration.velocity import flow  # noqa: E402
from tomochrome.registration.working_pair import make_pair  # noqa: E402

BODY = without_noise_in_air(blobs(*FINER))
HOW: dict[str, Any] = {"init": "none", "model": None, "refine": 30, "device": "cpu"}


@pytest.fixture(scope="module")
def deformed() -> tuple[Volume, Volume, Transform]:
    """A body, a deformed copy, and the true map from the first to the second."""
    fixed = blobs(*FINER)
    truth = Transform.from_fields(smooth_field(fixed.shape, fixed.affine, 9.0, seed=3))
    moving = truth.inverse().apply(fixed, fixed)
    return fixed, replace(moving, outside=None), truth


def with_points(*points: np.ndarray) -> list[CheckedScan]:
    """The body twice, with landmarks."""
    pairs = zip(scans(BODY, BODY), points, strict=True)
    return [replace(scan, points=own) for scan, own in pairs]


def test_rigid_motions_are_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    here = rng.normal(0, 20, (30, 3))
    turn = Rotation.from_euler("xyz", (20, -35, 50), degrees=True)
    there = turn.apply(here) + np.array([3, 4, -5])
    moved = rigid_motion(torch.from_numpy(here), torch.from_numpy(there)).numpy()
    np.testing.assert_allclose(moved, there, atol=1e-9)
    noisy = there + rng.normal(0, 2, there.shape)
    best, _ = Rotation.align_vectors(noisy - noisy.mean(0), here - here.mean(0))
    moved = rigid_motion(torch.from_numpy(here), torch.from_numpy(noisy)).numpy()
    np.testing.assert_allclose(moved, best.apply(here - here.mean(0)) + noisy.mean(0), atol=1e-9)
    mirrored = here * (-1, 1, 1)  # a reflection is no rigid motion
    moved = rigid_motion(torch.from_numpy(here), torch.from_numpy(mirrored)).numpy()
    turned = (moved - moved.mean(0)).T @ (here - here.mean(0))
    assert np.linalg.det(turned) > 0


@pytest.mark.parametrize("exchanged", [False, True])
def test_landmarks_move_images_without_contrast(exchanged: bool) -> None:
    """Three landmarks in a uniform body, which nothing else tells where to go."""
    rng = np.random.default_rng(0)
    flat = np.where(np.asarray(BODY.voxels) > -900, 40, -1000).astype(np.int16)
    body = replace(BODY, voxels=flat)
    points = np.array([[-20.0, 0, 10], [15, 10, -10], [0, -15, 0]])
    there = points + rng.normal(0, 4, points.shape)
    pair = (there, points) if exchanged else (points, there)
    marks = {"fixed_points": pair[0], "moving_points": pair[1]}
    still = tc.register(body, body, **HOW, **marks)
    led = tc.register(body, body, **HOW, **marks, use_points=True)
    assert led.report["use_points"] and not still.report["use_points"]
    before = led.report["before"]["tre_mm"]["mean"]
    assert still.report["after"]["tre_mm"]["mean"] > 0.9 * before
    assert led.report["after"]["tre_mm"]["mean"] < 0.35 * before
    assert led.report["jacobian"]["folded_percent"] == 0


def test_landmarks_replace_an_initial_alignment_that_misses_them() -> None:
    turn = Rotation.from_euler("z", 25, degrees=True)
    points = np.array([[-20.0, 0, 10], [15, 10, -10], [0, -15, 0]])
    there = turn.apply(points) + np.array([60, 0, 5])
    fixed, moving = with_points(points, there)
    first = Transform.identity()
    np.testing.assert_allclose(
        aligned_by_landmarks(fixed, moving, first).points(points), there, atol=1e-6
    )
    one, other = replace(fixed, points=points[:1]), replace(moving, points=there[:1])
    shift = aligned_by_landmarks(one, other, first)
    np.testing.assert_allclose(shift.points(points) - points, [there[0] - points[0]] * 3)
    near = replace(moving, points=points + 5)
    assert aligned_by_landmarks(fixed, near, first) is first


def test_labels_move_what_the_images_do_not_show() -> None:
    flat = np.full(BODY.shape, 40, np.int16)
    flat[[0, -1]] = -1000
    body = replace(BODY, voxels=flat)
    z, y, x = np.indices(body.shape)
    both = [
        Volume(
            (((z - 13) ** 2 + (y - 15) ** 2 + (x - c) ** 2) < 30).astype(np.uint8) * 7
            + (((z - 13) ** 2 + (y - 6) ** 2 + (x - 8) ** 2) < 9).astype(np.uint8) * 3,
            body.affine, "unknown",
        )
        for c in (15, 18)
    ]  # fmt: skip
    labels = {"fixed_labels": both[0], "moving_labels": both[1]}
    led = tc.register(body, body, **HOW, **labels, use_labels=True)
    dice = led.report["after"]["dice"]
    assert dice["7"] > 0.9 > led.report["before"]["dice"]["7"] + 0.2
    assert dice["3"] > 0.9 and led.report["jacobian"]["folded_percent"] == 0


def test_channels_of_labels_do_not_depend_on_their_size() -> None:
    labels = labels_of(BODY)
    fixed, moving = (replace(scan, labels=labels) for scan in scans(BODY, BODY))
    channels = with_labels(fixed, moving, make_pair(fixed, moving)).features
    assert channels is not None and channels.shape[1] == len(np.unique(labels.voxels)) - 1
    sizes = channels.square().mean((2, 3, 4)).sum(0)
    torch.testing.assert_close(sizes, sizes[:1].expand_as(sizes), rtol=1e-3, atol=0)


def test_a_rigid_region_is_moved_rigidly(deformed: tuple[Volume, Volume, Transform]) -> None:
    fixed, moving, _ = deformed
    values = np.asarray(fixed.voxels)
    organs = (np.abs(values - 300) < 120).astype(np.uint8) + 2 * (values > 700).astype(np.uint8)
    mask = Volume(organs, fixed.affine, "unknown")
    free = tc.register(fixed, moving, **HOW)
    rigid = tc.register(fixed, moving, **HOW, rigid_mask=mask)
    for part in rigid_parts(mask)[:2]:
        left = [
            np.linalg.norm(
                there - rigid_motion(*map(torch.from_numpy, (part, there))).numpy(), axis=1
            )
            for there in (free.forward.points(part), rigid.forward.points(part))
        ]
        assert left[1].mean() < 0.4 * left[0].mean()
    assert rigid.report["rigid_mm"]["mean"] < 0.5
    assert rigid.report["after"]["ncc"] > rigid.report["before"]["ncc"]
    assert rigid.report["jacobian"]["folded_percent"] == 0


def test_the_loss_is_that_of_the_true_distances() -> None:
    """For a shift by 2 mm, landmarks 5 mm apart along it are 3 mm apart afterwards."""
    points = np.array([[0.0, 0, 0], [10, 10, 10]])
    fixed, moving = with_points(points, points + np.array([5, 0, 0]))
    pair = make_pair(fixed, moving)
    guides = make_guides(fixed, moving, pair, points=True)
    assert guides is not None
    velocity = torch.zeros(1, 3, *(n // 2 for n in pair.shape))
    spacing = pair.spacing[2] * (pair.shape[2] - 1) / (velocity.shape[4] - 1)
    velocity[:, 2] = 1.0 / spacing * np.sign(pair.affine[0, 2])
    losses = [float(guides.loss(flow(v, 3)[0])) for v in (0 * velocity, velocity)]
    expected = [0.5 * (np.sqrt(1 + (d / 3) ** 2) - 1) for d in (5, 3)]
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
    assert make_guides(*scans(BODY, BODY), pair, points=True) is None


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({"use_points": True}, OptionError, "to use landmarks give those of both volumes"),
        ({"use_labels": True}, OptionError, "to use labels give those of both volumes"),
        (
            {"use_points": True, "fixed_points": [[0, 0, 0]], "moving_points": [[0, 0, 0]],
             "refine": 0},
            OptionError,
            "landmarks cannot drive a registration without refinement",
        ),
        (
            {"rigid_mask": Volume(np.zeros(BODY.shape, np.uint8), BODY.affine, "unknown")},
            InputError,
            "the rigid mask is empty",
        ),
    ],
)  # fmt: skip
def test_what_cannot_drive_is_refused(how: dict[str, Any], error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        tc.register(BODY, BODY, **how)


def test_labels_without_a_common_one_are_refused() -> None:
    ones = [Volume(np.full(BODY.shape, k, np.uint8), BODY.affine, "unknown") for k in (1, 2)]
    with pytest.raises(InputError, match="none is in both volumes"):
        tc.register(BODY, BODY, **HOW, fixed_labels=ones[0], moving_labels=ones[1], use_labels=True)


def test_specks_are_no_rigid_part() -> None:
    specks = np.zeros(BODY.shape, np.uint8)
    specks[::4, ::4, ::4] = 1
    with pytest.raises(InputError, match="no connected part of at least 4 voxels"):
        rigid_parts(Volume(specks, BODY.affine, "unknown"))


def test_the_command_lets_landmarks_drive(tmp_path: Path, capsys) -> None:
    paths = [tmp_path / f"{name}.nii.gz" for name in "ab"]
    for path, volume in zip(paths, (BODY, shifted(BODY, 5.0)), strict=True):
        tc.write(volume, path)
    argv = ["register", *map(str, paths), "-o", str(tmp_path / "out"), "--init", "none",
            "--model", "none", "--refine", "6", "--device", "cpu", "--use-points"]  # fmt: skip
    assert main(argv) == 2
    assert "to use landmarks give those of both volumes" in capsys.readouterr().err
    points = np.array([[-20.0, 0, 10], [15, 10, -10], [0, -15, 0]])
    for name, own in (("f", points), ("m", points + 5)):
        lines = [f"{x},{y},{z}" for x, y, z in own]
        (tmp_path / f"{name}.csv").write_text("\n".join(["x,y,z", *lines]) + "\n")
    argv += ["--fixed-points", str(tmp_path / "f.csv"), "--moving-points", str(tmp_path / "m.csv")]
    assert main(argv) == 0
    forward = SimpleITK.ReadTransform(str(tmp_path / "out" / "forward.h5"))
    left = [np.linalg.norm(np.subtract(forward.TransformPoint(p), p + 5)) for p in points]
    assert np.mean(left) < 5


def test_the_command_lets_labels_drive_keeps_parts_rigid_and_measures_regions(
    deformed: tuple[Volume, Volume, Transform], tmp_path: Path, capsys
) -> None:
    fixed, moving, truth = deformed
    labels = labels_of(fixed)
    theirs = truth.inverse().apply(labels, fixed, order="nearest", fill=0)
    files = {"fixed": fixed, "moving": moving, "ours": labels, "theirs": theirs}
    for name, volume in files.items():
        tc.write(volume, tmp_path / f"{name}.nii.gz")
    ours = str(tmp_path / "ours.nii.gz")
    argv = ["register", str(tmp_path / "fixed.nii.gz"), str(tmp_path / "moving.nii.gz"),
            "--init", "none", "--model", "none", "--refine", "30", "--device", "cpu",
            "--fixed-labels", ours]  # fmt: skip
    reports = {}
    for name, more in (
        ("alone", []),
        ("driven", ["--moving-labels", str(tmp_path / "theirs.nii.gz"), "--use-labels"]),
        ("rigid", ["--rigid-mask", ours]),
    ):
        assert main([*argv, *more, "-o", str(tmp_path / name)]) == 0
        reports[name] = json.loads((tmp_path / name / "report.json").read_text())
        said = capsys.readouterr().out
        assert ("Rigid parts (mm)" in said) == ("rigid_mm" in reports[name]) == (name == "rigid")
        assert said.count("Region ") == len(np.unique(labels.voxels)) - 1
    assert not reports["alone"]["after"]["dice"]
    values = np.asarray(labels.voxels)
    for name, region in reports["alone"]["change"].items():
        ml = (values == int(name)).sum() * abs(np.linalg.det(fixed.affine[:3, :3])) / 1000
        assert region["before_ml"] == pytest.approx(ml, abs=1e-2)
    assert reports["driven"]["use_labels"]
    assert reports["driven"]["after"]["dice_mean"] > reports["driven"]["before"]["dice_mean"] + 0.1
    assert reports["rigid"]["rigid_mm"]["mean"] < 1
