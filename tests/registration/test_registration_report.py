"""Warnings of a report: worse measures, folds, and measures that are not compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from registration_cases import AFFINE, BODY, SHAPE, blobs, shifted
from transform_cases import texture

from tomochrome.notices import Notice, texts
from tomochrome.registration.pairwise import register
from tomochrome.registration.report import overlap_share, sampled_points
from tomochrome.registration.verdict import warnings_of
from tomochrome.transform import Transform


def codes(notices: Iterable[Notice]) -> set[str]:
    return {notice.code for notice in notices}


def test_a_registration_that_made_things_worse_says_so() -> None:
    fixed = blobs()
    points = np.random.default_rng(3).uniform(-30, 30, (10, 3))
    other = texture(SHAPE, AFFINE, 8)
    found = register(
        fixed, other, model=None, refine=0, init="rigid",
        fixed_points=points, moving_points=points,
    )  # fmt: skip
    assert any("landmark error increased" in w.text for w in found.warnings)
    assert "worse" in codes(found.warnings)


def test_what_counts_as_worse() -> None:
    good = {"ncc": 0.9, "mutual_information": 1.0, "dice_mean": 0.8, "tre_mm": {"mean": 2.0}}
    bad = {"ncc": 0.8, "mutual_information": 0.5, "dice_mean": 0.7, "tre_mm": {"mean": 3.0}}
    better = {"before": bad, "after": good, "jacobian": {"folded_percent": 0.0, "sd_log": 0.1}}
    assert warnings_of(better, "lncc") == ()
    worse = {"before": good, "after": bad, "jacobian": {"folded_percent": 0.3, "sd_log": 0.1}}
    said = " ".join(texts(warnings_of(worse, "lncc")))
    for word in ("correlation", "Dice", "landmark", "folds"):
        assert word in said
    assert "correlation" not in " ".join(texts(warnings_of(worse, "mi")))
    assert "mutual information" in " ".join(texts(warnings_of(worse, "mi")))
    assert {"worse", "folds"} <= codes(warnings_of(worse, "mi"))
    assert warnings_of({"before": {}, "after": good, "jacobian": {}}, "lncc") == ()


@pytest.mark.parametrize(("after", "worse"), [(0.11, False), (0.6, True)])
def test_landmarks_are_not_placed_to_a_tenth_of_a_millimeter(after: float, worse: bool) -> None:
    errors = ({"ncc": 0.999, "tre_mm": {"mean": mean}} for mean in (0.0, after))
    report = dict(zip(("before", "after"), errors, strict=True))
    assert ("worse" in codes(warnings_of(report, "lncc"))) == worse


def test_what_interpolation_costs_is_not_worse() -> None:
    found = register(BODY, BODY, similarity="mi", model=None, refine=0, init="affine")
    before, after = (found.report[k]["mutual_information"] for k in ("before", "after"))
    assert after < before
    assert not {"worse", "folds"} & codes(found.warnings)


def test_a_part_that_was_dragged_away_is_worse() -> None:
    before = {"ncc": 0.99, "local_ncc": 0.985, "mutual_information": 2.77}
    dragged = {"ncc": 0.987, "local_ncc": 0.873, "mutual_information": 1.80}
    (said,) = warnings_of({"before": before, "after": dragged}, "lncc")
    assert "local correlation fell from 0.985 to 0.873" in said.text
    assert said.code == "worse"
    assert warnings_of({"before": before, "after": dragged}, "mind") != (said,)
    # interpolation averages noise, which reduces both slightly
    interpolated = {"ncc": 0.99, "local_ncc": 0.95, "mutual_information": 2.2}
    assert warnings_of({"before": before, "after": interpolated}, "lncc") == ()
    other = {"ncc": 0.99, "local_ncc": 0.87, "mutual_information": 2.9}
    assert warnings_of({"before": before, "after": other}, "lncc") == ()


def test_few_folds_and_ways_back_that_miss_are_put_into_words() -> None:
    few = {"jacobian": {"folded_percent": 6e-5}, "inverse_consistency_mm": {"p99": 0.3}}
    assert texts(warnings_of(few, "lncc")) == [
        "the deformation folds less than 0.01 % of the voxels: do not trust it there"
    ]
    apart = {"jacobian": {"folded_percent": 0.0}, "inverse_consistency_mm": {"p99": 3.21}}
    (said,) = warnings_of(apart, "lncc")
    assert "the inverse consistency error is 3.2 mm or more" in said.text
    assert said.code == "inconsistent"
    assert warnings_of({"inverse_consistency_mm": {"p99": None}}, "lncc") == ()


def test_likeness_of_a_thin_slice_in_common_is_no_measure_of_before() -> None:
    good = {"ncc": 1.0, "mutual_information": 1.0, "overlap": 0.04}
    full = {"ncc": 0.92, "mutual_information": 0.9, "overlap": 0.98}
    jacobian = {"folded_percent": 0.0}
    for similarity in ("lncc", "mi"):
        assert warnings_of({"before": good, "after": full, "jacobian": jacobian}, similarity) == ()
    lost = warnings_of({"before": full, "after": good, "jacobian": jacobian}, "lncc")
    assert lost[0].code == "worse"
    assert lost[0].fact == "only 4 % of the overlap of the two volumes is left"
    beside = shifted(BODY, 0.0).affine.copy()
    beside[:3, 3] += BODY.affine[:3, 2] * (SHAPE[2] - 1)  # one sagittal plane in common
    found = register(BODY, replace(BODY, affine=beside), model=None, refine=0, init="mass")
    assert found.report["before"]["overlap"] < 0.1
    assert found.report["after"]["overlap"] == 1.0


def test_half_of_a_field_of_view_is_reached_by_what_lies_half_beside_it() -> None:
    beside = BODY.affine.copy()
    beside[:3, 3] += BODY.affine[:3, 1] * SHAPE[1] / 2
    moving = replace(BODY, affine=beside)
    assert overlap_share(BODY, BODY, Transform.identity()) == 1.0
    assert overlap_share(BODY, moving, Transform.identity()) == pytest.approx(0.5, abs=0.03)
    back = np.eye(4)
    back[:3, 3] = beside[:3, 3] - BODY.affine[:3, 3]
    assert overlap_share(BODY, moving, Transform.from_affine(back)) == 1.0
    assert sampled_points(BODY).shape[1] == 3
