"""Hints: strokes color their region, with or without a model's colors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hint_cases import SHAPE, one_stroke, two_halves
from scipy import ndimage

import tomochrome as tc
from tomochrome.color import Chroma
from tomochrome.color.codes import FreeColors, Mixtures
from tomochrome.color.palettes import palette
from tomochrome.colorization.spread import spread
from tomochrome.colorization.tables import (
    brain_shades,
    color_codes,
    color_table,
    grey_tissue_table,
    mixture_codes,
    mixture_weights,
    tissue_table,
)
from tomochrome.errors import Cancelled, GeometryError, InputError, NotCTError, OptionError
from tomochrome.evaluate.color_scores import score_color
from tomochrome.geometry.orient import reorient
from tomochrome.phantom import make_patient
from tomochrome.runtime import Task, running
from tomochrome.tissue import N_TISSUES, NO_TISSUE, Tissue
from tomochrome.volume import Volume

AB = palette("natural").ab


def deep(mask: np.ndarray) -> np.ndarray:
    """A region without its border of two voxels."""
    return ndimage.binary_erosion(mask, np.ones((1, 5, 5)))


def all_muscle(volume: Volume) -> Chroma:
    """A model that predicts muscle for the entire body, with confidence 200."""
    code = np.where(np.asarray(volume.voxels) > -300, 1, 0).astype(np.uint16)
    weights = np.zeros((2, N_TISSUES), np.float32)
    weights[0, Tissue.AIR] = weights[1, Tissue.MUSCLE] = 1
    sure = np.full(code.shape, 200, np.uint8)
    return Chroma(code, sure, weights, volume.affine, "flat", volume.provenance)


def test_a_stroke_colors_its_region_and_stops_at_the_edge() -> None:
    volume, left, right = two_halves()
    hinted = tc.apply_hints(volume, one_stroke(), chroma=all_muscle(volume))
    assert (hinted.tissue[deep(left)] == Tissue.SPLEEN).mean() > 0.98
    assert (hinted.tissue[deep(right)] == Tissue.MUSCLE).all()
    np.testing.assert_array_equal(hinted.ab()[deep(right)], np.broadcast_to(
        AB[Tissue.MUSCLE], (int(deep(right).sum()), 2)))  # fmt: skip


def test_strokes_have_their_own_color_and_full_confidence() -> None:
    volume, *_ = two_halves()
    strokes = one_stroke()
    strokes[3, 20:22, 40:50] = Tissue.LIVER
    for before in (None, all_muscle(volume)):
        hinted = tc.apply_hints(volume, strokes, chroma=before)
        np.testing.assert_array_equal(hinted.tissue[strokes > 0], strokes[strokes > 0])
        np.testing.assert_allclose(hinted.ab()[strokes > 0], AB[strokes[strokes > 0]], atol=1e-5)
        assert (hinted.confidence[strokes > 0] == 255).all()


def test_alone_the_rest_is_grey_without_confidence() -> None:
    volume, left, right = two_halves()
    hinted = tc.apply_hints(volume, one_stroke())
    assert hinted.model == "hints"
    far = deep(right)
    assert not hinted.ab()[far].any()
    assert (hinted.confidence[far] == 0).all()
    assert (hinted.tissue[far] == NO_TISSUE).all()
    assert (hinted.code[np.asarray(volume.voxels) < -900] == 0).all()
    assert (hinted.tissue[deep(left)] == Tissue.SPLEEN).mean() > 0.95


def test_confidence_falls_with_the_distance_from_the_stroke() -> None:
    volume, *_ = two_halves(noise=0)
    hinted = tc.apply_hints(volume, one_stroke(slice_=0), reach_mm=40)
    column = hinted.confidence[:, 31, 23].astype(int)
    assert column[0] == 255
    assert (np.diff(column) <= 0).all()
    assert column[-1] < 255


def test_keep_holds_a_stroke_back() -> None:
    volume, *_ = two_halves(noise=0)
    strokes = one_stroke()
    strokes[2, 30:32, 10:14] = 31
    meanings = {31: "keep"}
    hinted = tc.apply_hints(volume, strokes, meanings, chroma=all_muscle(volume))
    kept = strokes == 31
    assert (hinted.tissue[kept] == Tissue.MUSCLE).all()
    assert (hinted.confidence[kept] == 200).all()
    free = tc.apply_hints(volume, one_stroke(), chroma=all_muscle(volume))
    assert (hinted.tissue == Tissue.SPLEEN).sum() < (free.tissue == Tissue.SPLEEN).sum()
    alone = tc.apply_hints(volume, strokes, meanings)
    assert not alone.ab()[kept].any()


def test_a_color_gives_free_colors_and_the_model_s_own_elsewhere() -> None:
    volume, _, right = two_halves()
    before = all_muscle(volume)
    hinted = tc.apply_hints(volume, one_stroke(30), {30: "#3E6FB0"}, chroma=before)
    assert isinstance(hinted.table, FreeColors)
    from skimage.color import rgb2lab

    wanted = rgb2lab(np.array([[[0x3E, 0x6F, 0xB0]]]) / 255)[0, 0, 1:]
    np.testing.assert_allclose(hinted.ab()[one_stroke() > 0].mean(axis=0), wanted, atol=0.6)
    away = np.abs(hinted.ab()[deep(right)] - before.ab()[deep(right)])
    assert away.max() <= 0.5 + 1e-5  # free colors are whole numbers


def test_over_free_colors_a_tissue_is_its_color() -> None:
    volume, _, right = two_halves()
    code = color_codes(np.tile(np.float32([[-20, 30]]), (volume.voxels.size, 1))).reshape(SHAPE)
    code[np.asarray(volume.voxels) < -300] = 0
    before = Chroma(code, np.full(SHAPE, 99, np.uint8), color_table(), volume.affine, "colors")
    hinted = tc.apply_hints(volume, one_stroke(), chroma=before)
    assert hinted.model == "colors + hints"
    np.testing.assert_array_equal(hinted.code[deep(right)], code[deep(right)])
    np.testing.assert_allclose(hinted.ab()[2, 30, 20], AB[Tissue.SPLEEN], atol=0.5)


@pytest.mark.parametrize("flips", [(True, False, True), (False, True, True)])
def test_the_stored_orientation_does_not_matter(flips: tuple[bool, bool, bool]) -> None:
    volume, *_ = two_halves()
    order = (2, 0, 1)
    strokes = Volume(one_stroke(), volume.affine, "unknown")
    before = all_muscle(volume)
    plain = tc.apply_hints(volume, strokes, chroma=before)
    turned_volume, turned_strokes = (reorient(v, order, flips) for v in (volume, strokes))
    turned = tc.apply_hints(
        turned_volume, turned_strokes, chroma=before.on_grid(turned_volume)
    ).on_grid(volume)
    np.testing.assert_array_equal(turned.code, plain.code)
    np.testing.assert_array_equal(turned.confidence, plain.confidence)
    # strokes from another program, in a file with other axes
    mixed = tc.apply_hints(turned_volume, strokes, chroma=before.on_grid(turned_volume))
    np.testing.assert_array_equal(mixed.on_grid(volume).code, plain.code)


def test_outside_the_body_nothing_changes_and_a_warning_says_so() -> None:
    volume, *_ = two_halves()
    strokes = one_stroke()
    strokes[0, :2, :3] = Tissue.LIVER
    outside = np.zeros(SHAPE, bool)
    outside[2, 31, 27] = True
    hinted = tc.apply_hints(replace(volume, outside=outside), strokes)
    assert (hinted.code[np.asarray(volume.voxels) < -900] == 0).all()
    assert hinted.code[2, 31, 27] == 0
    (warning,) = hinted.provenance.warnings
    assert str(warning).startswith("7 of 26 voxels of the strokes are outside the body")


def test_the_result_says_what_made_it() -> None:
    volume, *_ = two_halves()
    strokes = one_stroke(7)
    strokes[4, 30, 18:24] = 7
    hinted = tc.apply_hints(volume, strokes, {7: Tissue.LIVER}, chroma=all_muscle(volume))
    assert hinted.model == "flat + hints"
    step = hinted.provenance.history[-1]
    assert "strokes (2 liver)" in step
    assert "Levin" in step
    assert "not for diagnosis" in step
    again = tc.apply_hints(volume, strokes, {7: "liver"}, chroma=hinted)
    assert again.model == "flat + hints"


def test_a_single_slice_and_threads_that_make_no_difference() -> None:
    volume, left, _ = two_halves()
    flat = Volume(np.asarray(volume.voxels)[2:3], volume.affine)
    strokes = one_stroke()[2:3]
    strokes[0, 20:22, 45:50] = Tissue.LIVER
    one = tc.apply_hints(flat, strokes, threads=1)
    two = tc.apply_hints(flat, strokes, threads=2)
    np.testing.assert_array_equal(one.code, two.code)
    assert (one.tissue[0][deep(left)[2]] == Tissue.SPLEEN).mean() > 0.95


def test_in_a_large_volume_cells_are_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, left, right = two_halves()
    sizes = []

    def noted(ground, *rest):
        sizes.append(ground.hu.size)
        return spread(ground, *rest)

    monkeypatch.setattr("tomochrome.colorization.hints.MAX_CELLS", 7000)
    monkeypatch.setattr("tomochrome.colorization.hints.spread", noted)
    hinted = tc.apply_hints(volume, one_stroke())
    assert sizes[0] <= 7000
    assert (hinted.tissue[deep(left)] == Tissue.SPLEEN).mean() > 0.95
    assert (hinted.tissue[deep(right)] == Tissue.SPLEEN).mean() < 0.01


def test_where_no_body_is_found_a_model_s_colors_can_be_corrected() -> None:
    volume = Volume(np.full((2, 20, 20), -900, np.int16))
    code = np.ones(volume.shape, np.uint16)
    weights = np.eye(N_TISSUES, dtype=np.float32)[[Tissue.AIR, Tissue.LUNG]]
    before = Chroma(code, np.zeros(code.shape, np.uint8), weights, volume.affine, "m")
    strokes = np.zeros(volume.shape, np.uint8)
    strokes[0, 10, 8:12] = Tissue.AIRWAY
    hinted = tc.apply_hints(volume, strokes, chroma=before)
    assert (hinted.tissue[0, 10, 8:12] == Tissue.AIRWAY).all()


def test_float_labels_of_whole_numbers_are_taken() -> None:
    volume, *_ = two_halves()
    mine = tc.apply_hints(volume, one_stroke().astype(np.float32))
    np.testing.assert_array_equal(mine.code, tc.apply_hints(volume, one_stroke()).code)


STROKES = one_stroke()


@pytest.mark.parametrize(
    ("strokes", "options", "error", "words"),
    [
        (STROKES * 0, {}, OptionError, "there are no strokes"),
        (STROKES[:3], {}, InputError, "the strokes have the shape"),
        (STROKES * 0.55, {}, InputError, "of integers"),
        (STROKES * np.float32(np.nan), {}, InputError, "of integers"),
        (-STROKES.astype(np.int16), {}, InputError, "label -10"),
        (STROKES * 9, {}, OptionError, "label 90 is not a tissue"),
        (STROKES, {"meanings": {10: "livver"}}, OptionError, "unknown tissue 'livver'"),
        (STROKES, {"meanings": {10: "#12"}}, OptionError, "'#12' is not a color"),
        (STROKES, {"meanings": {0: "liver"}}, OptionError, "above 0"),
        (STROKES, {"chroma": STROKES}, InputError, "the colors must be a Chroma"),
        (STROKES, {"reach_mm": 0.0}, OptionError, "from 1 to 1000 mm"),
        (STROKES, {"reach_mm": float("nan")}, OptionError, "from 1 to 1000 mm"),
        (Volume(STROKES, unit="unknown"), {}, GeometryError, "are not on the voxel grid"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_a_sentence(strokes, options, error, words) -> None:
    volume, *_ = two_halves()
    with pytest.raises(error, match=words) as caught:
        tc.apply_hints(volume, strokes, **options)
    assert "\n" not in str(caught.value)


def test_what_is_no_ct_is_refused_unless_forced() -> None:
    volume, *_ = two_halves()
    unknown = replace(volume, unit="unknown")
    with pytest.raises(NotCTError):
        tc.apply_hints(unknown, one_stroke())
    assert tc.apply_hints(unknown, one_stroke(), force=True).provenance.warnings


def test_it_can_be_stopped() -> None:
    volume, *_ = two_halves()
    task = Task(lambda done, total, stage: task.cancel() if stage == "coloring" else None)
    with running(task), pytest.raises(Cancelled):
        tc.apply_hints(volume, one_stroke(), threads=1)


def test_codes_of_the_tables_are_found_again() -> None:
    weights = mixture_weights()
    codes = mixture_codes(weights[1:])
    np.testing.assert_allclose(weights[codes], weights[1:], atol=1e-6)
    assert mixture_codes(np.zeros((1, N_TISSUES), np.float32))[0] == len(tissue_table())
    assert grey_tissue_table().tissue[-1] == NO_TISSUE
    table = color_table().ab
    np.testing.assert_array_equal(color_codes(table[1:]), np.arange(1, len(table)))
    far = table[color_codes(np.float32([[300, 150]]))[0]]
    assert tuple(far) == (95, 48)


def test_three_strokes_correct_an_organ_of_a_patient() -> None:
    """The lookup curve colors the spleen as liver; other organs must not get worse."""
    patient = make_patient(3, "abdomen", (8.0, 2.5, 2.5), phase="portal")
    truth = np.asarray(patient.tissue.voxels)
    before = tc.colorize(patient.ct, "transfer-function")
    spleen = truth == Tissue.SPLEEN
    strokes = np.zeros(spleen.shape, np.uint8)
    filled = np.flatnonzero(spleen.sum(axis=(1, 2)) > 60)
    for z in filled[[len(filled) // 4, len(filled) // 2, 3 * len(filled) // 4]]:
        y, x = np.unravel_index(ndimage.distance_transform_edt(spleen[z]).argmax(), spleen[z].shape)
        strokes[z, y, x - 4 : x + 5] = Tissue.SPLEEN
    strokes[~spleen] = 0
    after = tc.apply_hints(patient.ct, strokes, chroma=before)
    old, new = (score_color(chroma, truth).organs for chroma in (before, after))
    assert new["spleen"].error <= 0.5 * old["spleen"].error
    for name in set(old) - {"spleen"}:
        if old[name].voxels > 500:
            assert new[name].error <= old[name].error + 1.0, name


@pytest.mark.parametrize("own_table", [False, True])
def test_the_brain_keeps_its_shades_beyond_the_strokes(own_table: bool) -> None:
    volume, left, right = two_halves()
    table = tissue_table()
    if own_table:
        table = replace(table, weights=table.weights.copy())
    certain = mixture_codes(np.eye(N_TISSUES, dtype=np.float32)[[Tissue.BRAIN]])[0]
    grey_matter = brain_shades()[certain, -1]
    code = np.where(np.asarray(volume.voxels) > -300, grey_matter, 0).astype(np.uint16)
    shaded = Chroma(code, np.full(code.shape, 200, np.uint8), table, volume.affine, "shaded")
    hinted = tc.apply_hints(volume, one_stroke(), chroma=shaded)
    assert isinstance(hinted.table, Mixtures) and hinted.table.shade is not None
    assert (hinted.tissue[deep(left)] == Tissue.SPLEEN).mean() > 0.98
    assert (hinted.table.shade[hinted.code[deep(right)]] == 1).all()
    np.testing.assert_allclose(
        hinted.ab()[deep(right)][0], AB[Tissue.BRAIN] + palette("natural").brain_shade, atol=1e-4
    )
