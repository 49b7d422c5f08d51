"""Scans with simulated defects: what is drawn, kept on disk, and held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from training_cases import write_pool

from tomochrome.errors import InputError
from tomochrome.restoration.classical import metal_mask
from tomochrome.restoration.defects import KINDS
from tomochrome.training.defect_scans import (
    SHARES,
    DefectScan,
    DefectScans,
    Slab,
    Source,
    draw_defect,
    draw_metal,
    draw_slab,
)
from tomochrome.training.pool import load


@pytest.fixture(scope="module")
def slab() -> Slab:
    """Return slices of a cylinder of soft tissue with a bone in it."""
    z, y, x = np.ogrid[:9, :128, :120]
    hu = np.full((9, 128, 120), -1000, np.float32)
    hu[np.broadcast_to((y - 64) ** 2 + (x - 60) ** 2 < 50**2, hu.shape)] = 40
    hu[np.broadcast_to((y - 90) ** 2 + (x - 60) ** 2 < 8**2, hu.shape)] = 600
    hu += np.random.default_rng(0).normal(0, 5, hu.shape).astype(np.float32) + 0 * z
    return Slab(hu, (3.0, 1.5, 1.5), real=False)


@pytest.mark.parametrize("kind", SHARES)
def test_a_scan_differs_from_the_truth_only_where_the_code_says_so(slab: Slab, kind: str) -> None:
    scan = draw_defect(slab, kind, np.random.default_rng(3))
    code = 0 if kind == "none" else KINDS.index(kind) + 1
    assert set(np.unique(scan.code)) <= {0, code}
    assert all(0 <= z < len(scan.code) for z in scan.targets)
    far = (scan.code == 0) & (np.abs(scan.measured.astype(int) - scan.clean) > 60)
    if kind == "field":  # inside the field the edge is too bright
        assert far.mean() < 0.2
    else:
        assert far.mean() < 2e-4  # of the fine structure of streaks and rings
    if kind not in ("none", "ring"):  # weak rings are not damage
        assert (scan.code[list(scan.targets)] == code).any()
    undamaged = scan.code == 0
    assert np.array_equal(scan.filled[undamaged], scan.measured[undamaged])


def test_metal_stays_as_it_was_measured(slab: Slab) -> None:
    scan = draw_defect(slab, "metal", np.random.default_rng(3))
    metal = metal_mask(scan.measured.astype(np.float32))
    assert metal.any()
    assert np.array_equal(scan.clean[metal], scan.measured[metal])


def test_half_of_the_scans_with_metal_are_interpolated_with_a_prior(slab: Slab) -> None:
    second = 0
    for seed in range(3, 7):
        plain, prior = (
            draw_defect(slab, "metal", np.random.default_rng(seed), model)
            for model in (None, "restoration")
        )
        assert np.array_equal(plain.measured, prior.measured)
        assert np.array_equal(plain.clean, prior.clean)
        undamaged = prior.code == 0
        assert np.array_equal(prior.filled[undamaged], prior.measured[undamaged])
        second += not np.array_equal(plain.filled, prior.filled)
    assert 0 < second < 4
    plain, prior = (
        draw_defect(slab, "lines", np.random.default_rng(3), model)
        for model in (None, "restoration")
    )
    assert np.array_equal(plain.filled, prior.filled)


def test_metal_lies_in_the_middle_slice(slab: Slab) -> None:
    for seed in range(5):
        metal, material = draw_metal(slab.hu, slab.spacing, np.random.default_rng(seed))
        assert metal[4].any()
        assert material in ("titanium", "steel", "amalgam")


def test_a_slab_of_a_phantom_has_random_hu(tmp_path: Path) -> None:
    path = next(write_pool(tmp_path, range(1, 2)).glob("*.npz"))
    first, second = (draw_slab(load(path), np.random.default_rng(k)) for k in (1, 2))
    assert first.hu.shape == second.hu.shape == (9, 36, 40)
    assert not first.real
    assert not np.array_equal(first.hu, second.hu)


def test_a_scan_on_disk_is_the_one_that_was_saved(slab: Slab, tmp_path: Path) -> None:
    scan = draw_defect(slab, "lines", np.random.default_rng(3))
    scan.save(tmp_path / "learn-00000.npy")
    again = DefectScan.load(tmp_path / "learn-00000.npy")
    for name in ("measured", "filled", "clean", "code"):
        assert np.array_equal(getattr(again, name), getattr(scan, name))
    assert (again.spacing, again.targets, again.real) == (scan.spacing, scan.targets, scan.real)


def test_held_out_patients_are_not_learned_from(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", range(1, 21))
    sources = [Source(path, False) for path in sorted(pool.glob("*.npz"))]
    shares = {"lines": 1.0}
    DefectScans.generate(tmp_path / "scans", sources, 40, shares, 0.0, processes=1)
    learn, test = DefectScans(tmp_path / "scans"), DefectScans(tmp_path / "scans", held_out=True)
    assert len(learn) + len(test) == 40
    assert len(learn) > len(test) > 0
    assert (learn.draw(np.random.default_rng(0)).code > 0).any()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "scans").iterdir()}
    DefectScans.generate(tmp_path / "scans", sources, 40, shares, 0.0, processes=1)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "scans").iterdir()}


def test_without_phantoms_or_scans_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no phantoms to simulate defects in"):
        DefectScans.generate(tmp_path / "scans", [], 3, SHARES, 0.0)
    with pytest.raises(InputError, match="no scans with simulated defects"):
        DefectScans(tmp_path).draw(np.random.default_rng(0))
    (tmp_path / "learn-00000.npy").write_bytes(b"damaged")
    with pytest.raises(InputError, match="delete it to draw it again"):
        DefectScan.load(tmp_path / "learn-00000.npy")
