"""Restoration: only defects change, every change is marked, and the scan itself stays as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tomochrome as tc
from tomochrome.bundles import FOLDERS, RESTORATION, list_cards
from tomochrome.errors import Cancelled, InputError, ModelError, NotCTError, OptionError
from tomochrome.geometry.orient import reorient
from tomochrome.restoration import DefectMap, lose_slices
from tomochrome.restoration import scan_restoration as module
from tomochrome.restoration.defects import KINDS
from tomochrome.restoration.photograph_restoration import restore_photograph
from tomochrome.restoration.scan_restoration import restore
from tomochrome.runtime import Task, running
from tomochrome.volume import Volume, default_affine

SHAPE = (8, 20, 18)
ORDERS = [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)]
quick = settings(max_examples=25, deadline=None)


def ramp() -> np.ndarray:
    """A body in which linear interpolation is exact."""
    z, y, x = np.indices(SHAPE)
    return (40 + 3 * z - 2 * y + x).astype(np.int16)


def scan(hu: np.ndarray, order=(0, 1, 2), flips=(False, False, False)) -> Volume:
    volume = Volume(hu.astype(np.int16), default_affine((2.0, 1.0, 1.0), (-9.0, 4.0, 30.0)))
    return reorient(volume, order, flips)


def classical(volume: Volume, **options):
    return restore(volume, model="classical", **options)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True)])
def test_lost_slices_of_a_scan_in_any_orientation_come_back(order, flips):
    rng = np.random.default_rng(0)
    lost = lose_slices(ramp(), 3, 2, rng)
    damaged, clean = scan(lost.hu, order, flips), scan(ramp(), order, flips)
    mask = scan(lost.mask, order, flips).voxels > 0
    before = damaged.voxels.copy()
    result = classical(damaged, mask=mask)
    np.testing.assert_array_equal(result.volume.voxels, clean.voxels)
    np.testing.assert_array_equal(damaged.voxels, before)
    assert result.original is damaged and damaged.restored is None
    np.testing.assert_array_equal(result.volume.restored, result.changed)
    np.testing.assert_array_equal(result.changed, before != clean.voxels)
    assert result.defects.defects[0].kind == "missing"
    assert result.volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(result.volume.affine, damaged.affine)


@quick
@given(st.integers(0, 2**31 - 1), st.sampled_from(KINDS), st.floats(0.01, 0.5))
def test_only_defects_change_and_every_change_is_marked(seed, kind, share):
    rng = np.random.default_rng(seed)
    volume = scan(rng.normal(0, 300, SHAPE))
    code = np.where(rng.random(SHAPE) < share, KINDS.index(kind) + 1, 0).astype(np.uint8)
    code[0, 0, 0], code[1, 1, 1] = 0, 4
    result = classical(volume, mask=DefectMap(code))
    changed = result.volume.voxels != volume.voxels
    assert not changed[code == 0].any()
    marked = np.zeros(SHAPE, bool) if result.volume.restored is None else result.volume.restored
    np.testing.assert_array_equal(marked, changed)
    np.testing.assert_array_equal(result.changed, changed)
    assert result.restored_percent == pytest.approx(100 * changed.mean())


def test_the_models_are_the_shipped_bundles_and_the_one_without_network(monkeypatch):
    monkeypatch.delenv(FOLDERS, raising=False)
    shipped = {card.name for card in list_cards(RESTORATION)}
    assert (
        {*module.restoration_models()} == {*module.MODELS} == {*shipped, "classical"} - {"streaks"}
    )


def test_marked_voxels_are_lines_and_marked_slices_are_missing():
    mask = np.zeros(SHAPE, bool)
    mask[2], mask[5, 7:9] = True, True
    kinds = {d.kind: d.slices for d in classical(scan(ramp()), mask=mask).defects.defects}
    assert kinds == {"missing": (2,), "lines": (5,)}
    one = classical(scan(ramp()), mask=mask, defects=["noise"])
    assert [d.kind for d in one.defects.defects] == ["noise"]


def test_kinds_that_the_model_leaves_are_told():
    mask = np.zeros(SHAPE, bool)
    mask[2] = True
    result = classical(scan(ramp()), mask=mask, defects=("field",))
    assert not result.changed.any() and result.volume.restored is None
    assert "'field' is left" in " ".join(n.text for n in result.warnings)


def test_defects_are_found_by_rules(monkeypatch):
    mask = np.zeros(SHAPE, bool)
    mask[:, 9:12] = True
    volume, asked = scan(np.where(mask, -1000, ramp())), []

    def found(given, kinds):
        asked.append((given, kinds))
        return DefectMap(np.where(mask, np.uint8(4), np.uint8(0)))

    monkeypatch.setattr(module, "defects_by_rules", found)
    result = classical(volume)
    assert asked == [(volume, KINDS)]
    np.testing.assert_array_equal(result.volume.voxels, ramp())
    classical(volume, defects=["field", "metal"])
    assert asked[-1] == (volume, ("metal", "field"))
    assert tc.restore is restore


def test_a_scan_without_defects_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(
        module, "defects_by_rules", lambda volume, kinds: DefectMap(np.zeros(SHAPE, np.uint8))
    )
    volume = scan(ramp())
    result = classical(volume)
    assert result.volume is volume
    assert [n.code for n in result.warnings] == ["not-restored"]
    assert "no defects" in result.warnings[0].text


def test_a_second_restoration_adds_to_the_mask():
    earlier = np.zeros(SHAPE, bool)
    earlier[6] = True
    volume = replace(scan(ramp()), restored=earlier)
    mask = np.zeros(SHAPE, bool)
    mask[2] = True
    hu = volume.voxels.copy()
    hu[2] = -1000
    result = classical(replace(volume, voxels=hu), mask=mask)
    np.testing.assert_array_equal(result.volume.restored, earlier | mask)
    np.testing.assert_array_equal(volume.restored, earlier)


def test_restored_voxels_are_inside_the_scan_and_the_values_keep_their_type():
    hu = ramp()
    hu[3] = -1024
    outside = np.zeros(SHAPE, bool)
    outside[3], outside[0, 0, 0] = True, True
    mask = np.zeros(SHAPE, bool)
    mask[3] = True
    for dtype in (np.int16, np.int32, np.float32, np.float64):
        volume = replace(scan(hu), voxels=hu.astype(dtype), outside=outside)
        result = classical(volume, mask=mask).volume
        assert result.voxels.dtype == dtype
        np.testing.assert_array_equal(np.argwhere(result.outside), [[0, 0, 0]])
        np.testing.assert_array_equal(result.voxels, ramp())


def test_the_history_says_what_was_done():
    mask = np.zeros(SHAPE, bool)
    mask[3, 5] = True
    volume = scan(np.where(mask, -1000, ramp()))
    result = classical(volume, mask=mask)
    (step,) = result.volume.provenance.history
    assert "restored, not measured" in step and "model classical" in step
    assert "not for diagnosis" in step
    assert [n.code for n in result.volume.provenance.warnings] == ["restored"]


@pytest.mark.parametrize(
    ("change", "options", "error", "text"),
    [
        ({"unit": "unknown"}, {}, NotCTError, "Hounsfield"),
        ({}, {"mask": np.zeros(SHAPE, bool)}, InputError, "empty"),
        ({}, {"mask": np.ones(SHAPE, bool)}, InputError, "covers the entire scan"),
        ({}, {"mask": np.ones((3, 4, 5), bool)}, InputError, "not on the grid"),
        ({}, {"mask": DefectMap(np.ones((3, 4, 5), np.uint8))}, InputError, "not on the grid"),
        ({}, {"mask": scan(ramp())}, InputError, "array of booleans .* not Volume"),
        ({}, {"mask": "mask.nii.gz"}, InputError, "array of booleans .* not str"),
        ({}, {"mask": DefectMap(np.full(SHAPE, 9, np.uint8))}, InputError, "label 9 means no kind"),
        ({}, {"mask": DefectMap(-np.ones(SHAPE, np.int8))}, InputError, "label -1 means no kind"),
        ({}, {"defects": ["scratch"]}, OptionError, "'scratch' is no kind"),
        ({}, {"defects": "scratch"}, OptionError, "'scratch' is no kind"),
        ({}, {"defects": []}, OptionError, "nothing is no kind"),
        ({}, {"model": "gan"}, ModelError, "restoration model 'gan'"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(change, options, error, text):
    volume = replace(scan(ramp()), **change)
    mask = np.zeros(SHAPE, bool)
    mask[2] = True
    with pytest.raises(error, match=text) as raised:
        restore(volume, **{"mask": mask, "model": "classical", **options})
    assert "\n" not in str(raised.value)


def test_values_that_are_no_numbers_are_never_written(monkeypatch):
    """As from a network whose training diverged."""
    mask = np.zeros(SHAPE, bool)
    mask[2, 5] = True
    monkeypatch.setattr(
        module, "without_network", lambda hu, code, *_: np.where(code > 0, np.float32(np.nan), hu)
    )
    for dtype in (np.int16, np.float32):
        with pytest.raises(ModelError, match="'classical' fills with values that are no numbers"):
            classical(replace(scan(ramp()), voxels=ramp().astype(dtype)), mask=mask)


def test_an_array_is_no_scan():
    with pytest.raises(InputError, match="must be a Volume"):
        restore(ramp())


def test_progress_and_cancel():
    mask = np.zeros(SHAPE, bool)
    mask[2] = True
    stages = []
    with running(Task(lambda done, total, stage: stages.append(stage))):
        classical(scan(ramp()), mask=mask)
    assert stages[:1] == ["finding defects"] and "filling defects" in stages
    task = Task()
    task.cancel()
    with running(task), pytest.raises(Cancelled):
        classical(scan(ramp()), mask=mask)


def test_a_scratch_in_a_photograph_is_filled():
    y, x = np.mgrid[:40, :50]
    clean = np.stack([2 * y + 60, 3 * x, 200 - y - x], -1).astype(np.uint8)
    mask = np.abs(y - x) < 2
    scratched = np.where(mask[..., None], np.uint8(255), clean)
    filled = restore_photograph(scratched, mask)
    np.testing.assert_array_equal(filled[~mask], clean[~mask])
    assert np.abs(filled.astype(int) - clean)[mask].max() <= 3
    grey = restore_photograph(scratched[..., 0], mask)
    assert grey.shape == mask.shape
    with pytest.raises(InputError, match="same size"):
        restore_photograph(scratched, mask.T)
    with pytest.raises(InputError, match="covers everything"):
        restore_photograph(scratched, mask | True)
    with pytest.raises(InputError, match="covers nothing"):
        restore_photograph(scratched, mask & False)
