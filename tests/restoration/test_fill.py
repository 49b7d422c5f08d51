"""Filling and finding with the shipped networks, on phantoms that no network learned from."""

from __future__ import annotations

import numpy as np
import pytest

from tomochrome.errors import Cancelled, ModelError
from tomochrome.phantom import Structure, make_structures, render_hu
from tomochrome.restoration.classical import (
    interpolate_slices,
    metal_mask,
    without_network,
)
from tomochrome.restoration.defects import KINDS, code_of
from tomochrome.restoration.fill import (
    MIN_PROBABILITY,
    confirm_streaks,
    fill,
    probabilities,
)
from tomochrome.restoration.rules import reduce_metal
from tomochrome.runtime import Task, running
from tomochrome.runtime.device import compute_threads
from tomochrome.training.defect_scans import DefectScan, Slab, draw_defect
from tomochrome.training.pool import HELD_OUT

SPACING = (3.0, 1.2, 1.2)


@pytest.fixture(scope="module")
def slab() -> Slab:
    made = make_structures(HELD_OUT + 40, "pelvis", SPACING, shape=(9, 250, 330))
    hu = render_hu(made.structures, SPACING, np.random.default_rng(5), noise=0.6)
    return Slab(hu.astype(np.float32), SPACING, real=False)


@pytest.fixture(scope="module")
def metal(slab: Slab) -> DefectScan:
    return draw_defect(slab, "metal", np.random.default_rng(4))


def _filled(scan: DefectScan, *, model: str = "restoration", twice: bool = True) -> np.ndarray:
    code = np.asarray(scan.code, np.uint8)
    hu = scan.measured.astype(np.float32)
    return fill(hu, code, SPACING, model, "cpu", twice=twice)


def _rmse(hu: np.ndarray, scan: DefectScan) -> float:
    inside = (scan.code > 0) & ~metal_mask(scan.measured.astype(np.float32))
    return float(np.sqrt(np.square(hu[inside].astype(float) - scan.clean[inside]).mean()))


def test_streaks_of_metal_are_reduced_further_than_by_interpolation(metal: DefectScan) -> None:
    damaged, classical = _rmse(metal.measured, metal), _rmse(metal.filled, metal)
    restored = _rmse(_filled(metal), metal)
    assert restored < 0.5 * damaged
    assert restored < 0.8 * classical


@pytest.mark.parametrize("model", ["restoration-vae", "restoration-vae-resnet"])
def test_autoencoders_reduce_streaks_further_than_interpolation(
    metal: DefectScan, model: str
) -> None:
    assert _rmse(_filled(metal, model=model), metal) < _rmse(metal.filled, metal)


def test_streaks_beside_teeth_are_reduced_further_the_second_time() -> None:
    made = make_structures(HELD_OUT + 44, "head", SPACING)
    hu = render_hu(made.structures, SPACING, np.random.default_rng(5), noise=0.6)
    z = int(np.argmax((np.asarray(made.structures) == Structure.TOOTH).sum(axis=(1, 2))))
    scan = draw_defect(Slab(hu[z - 4 : z + 5].astype(np.float32), SPACING, real=False), "metal",
                       np.random.default_rng(4))  # fmt: skip
    once, twice = (_rmse(_filled(scan, twice=again), scan) for again in (False, True))
    assert twice < 0.95 * once


def test_noise_is_reduced(slab: Slab) -> None:
    scan = draw_defect(slab, "noise", np.random.default_rng(1))
    damaged, restored = _rmse(scan.measured, scan), _rmse(_filled(scan), scan)
    hu, code = scan.measured.astype(np.float32), np.asarray(scan.code, np.uint8)
    without = fill(hu, code, SPACING, None)
    assert restored < 0.65 * damaged
    assert restored < 1.02 * _rmse(without, scan) < 0.9 * damaged


@pytest.mark.parametrize("kind", ["metal", "missing", "lines"])
def test_nothing_changes_outside_the_defects(slab: Slab, kind: str) -> None:
    scan = draw_defect(slab, kind, np.random.default_rng(2))
    hu = scan.measured.astype(np.float32)
    filled = _filled(scan)
    kept = (scan.code == 0) | (metal_mask(hu) if kind == "metal" else False)
    assert np.array_equal(filled[kept], hu[kept])
    assert filled.min() >= -1024


def test_missing_slices_are_filled_better_than_by_interpolation(slab: Slab) -> None:
    scan = draw_defect(slab, "missing", np.random.default_rng(2))
    missing = (scan.code == code_of("missing")).all(axis=(1, 2))
    cubic = interpolate_slices(scan.measured.astype(np.float32), missing, 3)
    assert _rmse(_filled(scan), scan) < min(_rmse(cubic, scan), _rmse(scan.filled, scan))


def test_a_model_without_a_defect_changes_nothing(slab: Slab) -> None:
    code = np.zeros(slab.hu.shape, np.uint8)
    assert np.array_equal(fill(slab.hu, code, SPACING, "restoration", "cpu"), slab.hu)
    assert np.array_equal(without_network(slab.hu, code, SPACING), slab.hu)


def test_probabilities_are_shares_on_the_grid_of_the_slice(slab: Slab) -> None:
    shares = probabilities(slab.hu[:, :101, :77], 4, "cpu")
    assert shares.shape == (len(KINDS) + 1, 101, 77)
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-4)


def test_a_clean_slice_is_not_taken_for_damaged(slab: Slab) -> None:
    damaged = 1 - probabilities(slab.hu, 4, "cpu")[0]
    assert (damaged > MIN_PROBABILITY).mean() < 0.01


def test_streaks_are_confirmed_where_the_finder_sees_them(metal: DefectScan) -> None:
    hu = metal.measured.astype(np.float32)
    code = np.full(hu.shape, 1, np.uint8)
    reduction = reduce_metal(hu, np.ones(len(hu), np.bool_), SPACING[2])
    assert reduction is not None
    confirm_streaks(hu, code, reduction, SPACING[2], "cpu")
    truth = np.asarray(metal.code) == 1
    z = int(metal.targets[len(metal.targets) // 2])
    assert code[z][truth[z]].mean() > code[z][~truth[z]].mean() + 0.2
    assert code[metal_mask(hu)].all()


def test_what_is_no_streak_in_a_noisy_scan_stays_noise(metal: DefectScan) -> None:
    hu = metal.measured.astype(np.float32)
    reduction = reduce_metal(hu, np.ones(len(hu), np.bool_), SPACING[2])
    assert reduction is not None
    code = np.full(hu.shape, code_of("noise"), np.uint8)
    z = int(metal.targets[len(metal.targets) // 2])
    code[z, 10:-10] = code_of("metal")
    confirm_streaks(hu, code, reduction, SPACING[2], "cpu")
    assert set(np.unique(code)) == {code_of("metal"), code_of("noise")}
    assert 0 < (code[z] == code_of("metal")).mean() < 0.9


def test_an_unknown_model_is_refused(slab: Slab) -> None:
    code = np.zeros(slab.hu.shape, np.uint8)
    with pytest.raises(ModelError, match="unknown restoration model 'gan'"):
        fill(slab.hu, code, SPACING, "gan")


def test_filling_can_be_cancelled(metal: DefectScan) -> None:
    task = Task()
    task.cancel()
    with running(task), pytest.raises(Cancelled):
        _filled(metal)


def test_cancelling_while_slices_are_filled_ends_after_these(slab: Slab) -> None:
    reported = []

    def progress(done: int, total: int, stage: str) -> None:
        reported.append(done)
        if done == 1:
            task.cancel()

    task, code = Task(progress), np.full(slab.hu.shape, code_of("noise"), np.uint8)
    with running(task), compute_threads(2), pytest.raises(Cancelled):
        fill(slab.hu, code, SPACING, None, "cpu")
    assert max(reported) < len(slab.hu) - 1


def test_the_number_of_threads_changes_nothing(slab: Slab) -> None:
    hu = slab.hu[:3]
    code = np.full(hu.shape, code_of("noise"), np.uint8)
    with compute_threads(1):
        alone = fill(hu, code, SPACING, None, "cpu")
    with compute_threads(3):
        np.testing.assert_array_equal(fill(hu, code, SPACING, None, "cpu"), alone)
