"""The table of models: order, ratios, remarks."""

from dataclasses import replace

import numpy as np
import pytest
from test_coloring_figures import coloring

from tomochrome.evaluate import ColorTruth, color_figures, score_color
from tomochrome.evaluate.calibration import reliability, reliability_table
from tomochrome.evaluate.coloring_figures import Tally
from tomochrome.evaluate.model_table import ModelRow, markdown, rows
from tomochrome.tissue import N_TISSUES, Tissue


def scan(seed, count=6):
    rng = np.random.default_rng(seed)
    truth = rng.choice(np.array([0, 3, 4, 9], np.uint8), (count, 20, 20))
    guess = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, N_TISSUES, truth.shape))
    return rng.uniform(-160, 260, truth.shape).astype(np.float32), truth, guess


def test_the_error_over_tissues_is_that_of_the_score():
    hu, truth, guess = scan(1)
    truth[0, 0, :20] = Tissue.PANCREAS  # too few to have a say
    found = color_figures(coloring(guess), hu, ColorTruth.of_tissues(truth))
    score = score_color(coloring(guess), truth)
    assert found.organ_error == pytest.approx(score.organ_error)
    assert found.grey_organ_error == pytest.approx(score.grey_organ_error)
    low, high = found.intervals["organ_error"]
    assert low < found.organ_error < high


def test_scans_are_weighted_by_their_voxels():
    parts = [scan(seed) for seed in (1, 2, 3)]
    tally = Tally()
    for hu, truth, guess in parts:
        tally.add(coloring(guess), hu, ColorTruth.of_tissues(truth))
    joined = tally.figures()
    hu, truth, guess = (np.concatenate(each) for each in zip(*parts, strict=True))
    once = color_figures(coloring(guess), hu, ColorTruth.of_tissues(truth))
    assert replace(joined, flicker=0.0) == replace(once, flicker=0.0)


def test_from_five_scans_on_the_interval_is_over_scans():
    same = scan(1)
    tally = Tally()
    for _ in range(5):
        tally.add(coloring(same[2]), same[0], ColorTruth.of_tissues(same[1]))
    found = tally.figures()
    assert found.intervals["chroma_error"] == pytest.approx((found.chroma_error,) * 2)
    few = Tally()
    few.add(coloring(same[2]), same[0], ColorTruth.of_tissues(same[1]))
    low, high = few.figures().intervals["chroma_error"]
    assert high - low > 0.1  # over slices


def row(model, right):
    hu, truth, guess = scan(4)
    if right is None:  # a color opposite to the true one
        guess = np.full_like(truth, Tissue.BLADDER)
    else:
        guess = np.where(np.random.default_rng(0).random(truth.shape) < right, truth, guess)
    figures = color_figures(coloring(guess), hu, ColorTruth.of_tissues(truth))
    return replace(figures, model=model)


def test_models_are_sorted_and_poor_ones_are_marked():
    figures = {"weak": row("weak", 0.1), "good": row("good", 0.9)}
    figures["transfer-function"] = row("transfer-function", 0.5)
    found = rows({name: (each, 0.5) for name, each in figures.items()})
    assert [each.figures.model for each in found] == ["good", "transfer-function", "weak"]
    good, baseline, weak = found
    assert baseline.to_baseline == 1 and baseline.remark == "" == good.remark
    assert good.to_baseline == pytest.approx(good.error / baseline.error) and good.to_baseline < 1
    assert weak.remark == "no better than the lookup table"
    data = good.to_json()
    assert data["to_grey"] == pytest.approx(good.error / good.grey_error, abs=1e-3)
    text = markdown([("Set", "what it is", found)])
    assert text.startswith("**Set**: what it is\n\n| model |")
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in lines] == ["good", "transfer-function", "weak"]
    assert all(line.count("|") == text.splitlines()[2].count("|") for line in lines)


def test_worse_than_grey_is_marked():
    hu, truth, guess = scan(4)
    figures = color_figures(coloring(guess), hu, ColorTruth.of_tissues(truth))
    poor = replace(figures, organ_error=figures.grey_organ_error + 1)
    assert ModelRow(poor, 0.1).remark == "worse than grey"
    assert ModelRow(poor, 0.1).to_json()["to_transfer_function"] is None


def test_the_reliability_table():
    voxels, right = np.zeros(256, np.int64), np.zeros(256, np.int64)
    voxels[250], right[250] = 300, 285
    voxels[100], right[100] = 100, 25
    lines = reliability_table(reliability(voxels, right)).splitlines()
    assert lines[2] == "| 0.3 to 0.4 | 25 % | 0.39 | 0.25 ##### |"
    assert lines[3] == f"| 0.9 to 1.0 | 75 % | 0.98 | 0.95 {'#' * 19} |" and len(lines) == 4
