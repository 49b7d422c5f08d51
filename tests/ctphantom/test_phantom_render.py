from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ctphantom import PhantomError
from ctphantom.materials import hu_table
from ctphantom.rendered_ct import Scanner, render_ct
from ctphantom.structures import N_STRUCTURES, Structure

S = Structure
QUIET = Scanner(noise=0.0, streaks=0.0)


def slab(
    core: Structure, size: int = 48, depth: int = 8, radius: float = 20.0
) -> NDArray[np.uint8]:
    """A cylinder of muscle with a core of ``core``."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    plane = np.where(np.hypot(y, x) < radius, int(S.MUSCLE), 0)
    plane = np.where(np.hypot(y, x) < radius / 2, int(core), plane)
    return np.tile(plane.astype(np.uint8), (depth, 1, 1))


@pytest.mark.parametrize("core", [S.LIVER, S.SUBCUTANEOUS_FAT, S.CORTICAL_BONE, S.AORTA])
def test_the_mean_inside_a_structure(core: Structure) -> None:
    labels = slab(core)
    hu = hu_table("portal")
    ct = render_ct(labels, (3, 2, 2), rng=np.random.default_rng(1), hu=hu, scanner=QUIET)
    assert ct.dtype == np.int16
    assert ct.shape == labels.shape
    y, x = np.mgrid[:48, :48] - 23.5
    inside = ct[:, np.hypot(y, x) < 7]
    assert abs(inside.mean() - hu[core]) < 0.12 * abs(hu[core]) + 5
    assert abs(ct[:, :3, :3].mean() + 1000) < 3


def test_edges_are_partial_volume() -> None:
    ct = render_ct(slab(S.MUSCLE), (3, 2, 2), rng=np.random.default_rng(1), scanner=QUIET)
    between = ((ct > -900) & (ct < -50)).mean()
    assert 0.02 < between < 0.2


def test_the_same_random_state_gives_the_same_ct() -> None:
    labels = slab(S.LIVER)
    one, two, other = (
        render_ct(labels, (3, 2, 2), "portal", np.random.default_rng(s)) for s in (5, 5, 6)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_noise_grows_with_the_body() -> None:
    spread = []
    for size, radius in ((64, 24.0), (160, 72.0)):
        labels = slab(S.MUSCLE, size, 6, radius)
        clean = render_ct(labels, (3, 2.5, 2.5), rng=np.random.default_rng(1), scanner=QUIET)
        noisy = render_ct(
            labels, (3, 2.5, 2.5), rng=np.random.default_rng(1), scanner=Scanner(streaks=0.0)
        )
        middle = size // 2
        cut = (slice(None), *(slice(middle - 12, middle + 12),) * 2)
        spread.append(float((noisy[cut].astype(float) - clean[cut]).std()))
    assert 1.0 < spread[0] < spread[1] < 40.0
    assert spread[1] > 1.8 * spread[0]


def test_metal_rods_cause_dark_bands_and_streaks() -> None:
    labels = slab(S.MUSCLE, 96, 4, 40.0)
    y, x = np.mgrid[:96, :96] - 47.5
    for rod in (-20, 20):
        labels[:, np.hypot(y, x - rod) < 4] = S.METAL
    still, streaked = (Scanner(noise=0.0, streaks=s) for s in (0.0, 1.0))
    one, two = (
        render_ct(labels, (3, 2, 2), rng=np.random.default_rng(2), scanner=s).astype(float)
        for s in (still, streaked)
    )
    assert one.max() > 2500
    change = two - one
    assert change[:, (np.abs(y) < 2) & (np.abs(x) < 8)].mean() < -15.0
    away = (np.hypot(y, x - 20) > 8) & (np.hypot(y, x + 20) > 8) & (np.hypot(y, x) < 34)
    assert change[:, away].std() > 3.0


def test_circle_and_range() -> None:
    ct = render_ct(slab(S.METAL), (3, 2, 2), scanner=Scanner(circle_mm=70.0))
    assert (ct[:, 0, 0] == -1024).all()
    assert ct.min() >= -1024 and ct.max() <= 3071


def test_single_voxel_and_single_slice() -> None:
    assert render_ct(np.full((1, 1, 1), int(S.LIVER), np.uint8), (5, 1, 1)).shape == (1, 1, 1)
    assert render_ct(slab(S.LIVER, depth=1), (5, 1, 0.8)).shape == (1, 48, 48)


def test_invalid_arguments_are_rejected() -> None:
    labels = slab(S.LIVER)
    with pytest.raises(PhantomError, match="spacing"):
        render_ct(labels, (3, 0, 2))
    with pytest.raises(PhantomError, match="not a structure"):
        render_ct(np.full((2, 4, 4), N_STRUCTURES, np.uint8), (1, 1, 1))
    with pytest.raises(PhantomError, match="uint8"):
        render_ct(labels.astype(np.int16), (1, 1, 1))  # type: ignore[arg-type]
    with pytest.raises(PhantomError, match="one value"):
        render_ct(labels, (1, 1, 1), hu=np.zeros(3, np.float32))
    with pytest.raises(PhantomError, match="noise"):
        Scanner(noise=-1)
    with pytest.raises(PhantomError, match="circle"):
        Scanner(circle_mm=0)


def test_it_can_be_cancelled_and_reports_progress() -> None:
    seen: list[tuple[int, int]] = []

    def note(done: int, total: int, stage: str) -> None:
        seen.append((done, total))

    render_ct(slab(S.LIVER), (3, 2, 2), progress=note)
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]

    def cancel(done: int, total: int, stage: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_ct(slab(S.LIVER), (3, 2, 2), progress=cancel)


def test_threads_do_not_change_the_ct() -> None:
    labels = slab(S.CORTICAL_BONE)
    one, three = (
        render_ct(labels, (3, 2, 2), rng=np.random.default_rng(3), threads=n) for n in (1, 3)
    )
    np.testing.assert_array_equal(one, three)
