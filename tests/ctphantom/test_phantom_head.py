from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ctphantom.anatomy import draw_anatomy
from ctphantom.canvas import Canvas
from ctphantom.head import paint_head, paint_headrest
from ctphantom.structures import Structure

S = Structure
SPACING = (3.0, 2.0, 2.0)
BRAIN = (S.GREY_MATTER, S.WHITE_MATTER, S.DEEP_GREY, S.CEREBELLUM, S.BRAINSTEM)


def painted(seed: int, threads: int = 1, **overrides: object) -> Canvas:
    anatomy = draw_anatomy(seed, tilt=(0.0, 0.0, 0.0), shift=(0.0, 0.0), **overrides)
    low = 150 + (478 - 150) * anatomy.scale[2]
    canvas = Canvas(
        (86, 130, 104), SPACING, (-103.0, -145.0, low), anatomy.to_patient, seed=seed,
        threads=threads,
    )  # fmt: skip
    paint_head(canvas, anatomy)
    return canvas


@pytest.fixture(scope="module", params=[1, 2, 11])
def head(request: pytest.FixtureRequest) -> NDArray[np.uint8]:
    return painted(request.param).labels


def millilitres(mask: NDArray[np.bool_]) -> float:
    return float(mask.sum() * np.prod(SPACING) / 1000)


def center(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(ndimage.center_of_mass(mask)) * SPACING


def test_organs_have_adult_sizes(head: NDArray[np.uint8]) -> None:
    assert 750 < millilitres(np.isin(head, BRAIN)) < 1650
    assert 60 < millilitres(np.isin(head, [S.CEREBELLUM])) < 220
    globes = millilitres(np.isin(head, [S.VITREOUS, S.LENS, S.SCLERA]))
    assert 8 < globes < 22
    assert 5 < millilitres(head == S.SINUS_GAS) < 120
    assert 150 < millilitres(np.isin(head, [S.CORTICAL_BONE, S.DIPLOE, S.TRABECULAR_BONE])) < 1100


def test_a_head_has_all_its_structures(head: NDArray[np.uint8]) -> None:
    present = set(np.unique(head).tolist())
    wanted = {
        S.SKIN, S.SUBCUTANEOUS_FAT, S.MUSCLE, S.CORTICAL_BONE, S.DIPLOE, S.CSF, S.DURA, *BRAIN,
        S.VITREOUS, S.LENS, S.SCLERA, S.OPTIC_NERVE, S.ORBITAL_FAT, S.SINUS_GAS, S.MASTOID_AIR,
        S.MUCOSA, S.AIRWAY_GAS, S.TONGUE, S.PAROTID, S.SPINAL_CORD, S.ARTERY, S.VEIN,
        S.DURAL_SINUS, S.CARTILAGE,
    }  # fmt: skip
    assert {s.name for s in wanted if int(s) not in present} == set()


def test_the_brain_is_inside_a_closed_skull(head: NDArray[np.uint8]) -> None:
    """From the brain no way leads through the vault to the scalp."""
    walls = np.isin(head, [S.CORTICAL_BONE, S.DIPLOE])
    top = center(np.isin(head, [S.DEEP_GREY]))[0] / SPACING[0]
    upper = head[int(top) + 2 :]
    regions, _ = ndimage.label(~walls[int(top) + 2 :])
    brain = np.isin(upper, [S.GREY_MATTER, S.WHITE_MATTER])
    inside = np.bincount(regions[brain]).argmax()
    skin = regions[upper == S.SKIN]
    assert (skin != inside).all()


def test_sides_and_directions(head: NDArray[np.uint8]) -> None:
    brain, eyes = center(np.isin(head, BRAIN)), center(head == S.VITREOUS)
    cord, cerebellum = center(head == S.SPINAL_CORD), center(head == S.CEREBELLUM)
    assert eyes[1] < brain[1] - 40  # in front
    assert eyes[0] < brain[0]
    assert cerebellum[1] > brain[1] + 15 and cerebellum[0] < brain[0]
    assert cord[0] < cerebellum[0]
    middle = brain[2]
    left = head[:, :, int(middle / SPACING[2]) :]
    share = np.isin(left, [S.VITREOUS]).sum() / (head == S.VITREOUS).sum()
    assert 0.3 < share < 0.7


def test_the_cord_continues_the_brainstem(head: NDArray[np.uint8]) -> None:
    joined, _ = ndimage.label(np.isin(head, [S.BRAINSTEM, S.SPINAL_CORD]), np.ones((3, 3, 3)))
    stem = np.bincount(joined[head == S.BRAINSTEM]).argmax()
    assert (joined[head == S.SPINAL_CORD] == stem).mean() > 0.9


def test_skin_is_between_body_and_air(head: NDArray[np.uint8]) -> None:
    """Almost nothing but skin and open airways touches the outside air."""
    outside, _ = ndimage.label(head == S.OUTSIDE_AIR)
    air = outside == outside[-1, 0, 0]
    rim = ndimage.binary_dilation(air) & ~air & (np.arange(len(head)) > 12)[:, None, None]
    assert (head[rim] == S.SKIN).mean() > 0.75


def test_a_head_depends_on_the_seed_and_not_on_the_threads() -> None:
    one, two = painted(5, threads=1).labels, painted(5, threads=2).labels
    np.testing.assert_array_equal(one, two)
    assert (one != painted(6).labels).mean() > 0.02


def test_contents_follow_age_and_build() -> None:
    fat = [
        np.isin(painted(4, subcutaneous=s).labels, [S.SUBCUTANEOUS_FAT]).sum() for s in (4.0, 38.0)
    ]
    assert fat[1] > 1.15 * fat[0]


def test_the_headrest_is_painted_on_air_only() -> None:
    canvas = painted(2)
    before = canvas.labels.copy()
    paint_headrest(canvas, np.random.default_rng(0))
    changed = canvas.labels != before
    assert changed.any()
    assert (before[changed] == S.OUTSIDE_AIR).all()
    assert set(np.unique(canvas.labels[changed]).tolist()) == {int(S.COUCH), int(S.COUCH_FOAM)}
