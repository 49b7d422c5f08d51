"""Rows and verdicts of a registration's report."""

from __future__ import annotations

from typing import Any

from tomochrome.notices import Notice
from tomochrome.registration.verdict import Row, Verdict, rows_of, verdict_of, warnings_of

REPORT: dict[str, Any] = {
    "before": {"ncc": 0.61, "local_ncc": 0.3, "mutual_information": 0.5},
    "after": {"ncc": 0.93, "local_ncc": 0.5, "mutual_information": 0.9},
    "jacobian": {"folded_percent": 0.0, "sd_log": 0.1},
    "inverse_consistency_mm": {"mean": 0.01, "max": 0.3, "p99": 0.05},
}


def test_a_good_result_still_asks_for_a_check() -> None:
    verdict = verdict_of(REPORT)
    assert verdict.grade == "good"
    assert "0.61 before, 0.93 after" in verdict.text
    assert "checkerboard" in verdict.text
    rows = {row.name: row for row in rows_of(REPORT)}
    assert (rows["Correlation"].before, rows["Correlation"].after) == ("0.610", "0.930")
    assert rows["Correlation"].change == 1
    assert rows["Folded voxels"].after == "0 %"


def test_a_result_that_is_worse_says_so() -> None:
    report = {**REPORT, "after": {**REPORT["after"], "ncc": 0.4}}
    verdict = verdict_of(report, warnings_of(report, "lncc"))
    assert verdict.grade == "bad"
    assert "worse" in verdict.heading
    assert rows_of(report)[0].change == -1


def with_overlaps(before: float, after: float, **measures: float) -> dict[str, Any]:
    """A report with the given overlaps before and after."""
    old, new = ({**REPORT[when], **measures} for when in ("before", "after"))
    return {**REPORT, "before": {**old, "overlap": before}, "after": {**new, "overlap": after}}


def test_a_small_overlap_is_described_in_the_words_of_the_report() -> None:
    lost = with_overlaps(0.9, 0.04)
    (said,) = warnings_of(lost, "lncc")
    for known in ((), (said,)):
        verdict = verdict_of(lost, known)
        assert verdict.grade == "bad"
        assert "worse" in verdict.heading
        assert verdict.text.count("Only 4 % of the overlap of the two volumes is left") == 1
    row = {row.name: row for row in rows_of(lost)}["Overlap"]
    assert (row.before, row.after) == ("90 %", "4 %")


def test_similarity_at_a_small_overlap_is_not_compared() -> None:
    report = with_overlaps(0.04, 0.98, ncc=0.92, mutual_information=0.9)
    report["before"] = {**report["before"], "ncc": 1.0, "mutual_information": 1.0}
    verdict = verdict_of(report)
    assert verdict.grade == "good"
    assert "hardly" not in verdict.text and "1.00" not in verdict.text
    assert {row.change for row in rows_of(report)} == {0}
    assert "Overlap" in {row.name for row in rows_of(report)}
    there = {**report, "before": {**report["before"], "overlap": 0.98}}
    assert "Overlap" not in {row.name for row in rows_of(there)}  # otherwise it means little
    assert verdict_of(there).grade == "bad"


def test_folds_and_doubts_are_reported() -> None:
    said = Notice("folds", "warning", "the deformation folds 2 % of the voxels: do not trust it")
    folds = {**REPORT, "jacobian": {"folded_percent": 2.0, "sd_log": 0.1}}
    assert verdict_of(folds, [said]).grade == "bad"
    few = {**folds, "jacobian": {"folded_percent": 1e-5, "sd_log": 0.1}}
    assert verdict_of(few).grade == "caution"
    assert "less than 0.01 % of the voxels" in verdict_of(few).text
    assert {row.name: row for row in rows_of(few)}["Folded voxels"].after == "less than 0.01 %"
    apart = {**REPORT, "after": {}}
    assert verdict_of(apart).grade == "bad"
    assert "do not overlap" in verdict_of(apart).text
    unsaid = {**few, "jacobian": {"folded_percent": 0.5, "sd_log": 0.1}}
    assert verdict_of(unsaid).grade == "bad"  # the number decides, not the message
    worse = verdict_of(few, [Notice("worse", "warning", "in other words: x", "x"), said])
    assert (worse.grade, "X." in worse.text) == ("bad", True)
    assert "less than 0.01 % of the voxels" in worse.text
    assert "2 %" not in worse.text
    alike = {**REPORT, "before": {**REPORT["after"]}}
    assert "hardly better" in verdict_of(alike).text
    little = {**REPORT, "after": {**REPORT["after"], "ncc": 0.3}, "before": {"ncc": 0.1}}
    assert "match poorly" in verdict_of(little).text
    rough = {**REPORT, "jacobian": {"folded_percent": 0.0, "sd_log": 0.8}}
    assert verdict_of(rough).grade == "caution"


def test_landmarks_and_labels_have_their_rows() -> None:
    report = {
        **REPORT,
        "before": {**REPORT["before"], "tre_mm": {"mean": 8.0}, "dice_mean": 0.6},
        "after": {**REPORT["after"], "tre_mm": {"mean": 2.0}, "dice_mean": 0.8},
    }
    rows = {row.name: row for row in rows_of(report)}
    assert rows["Landmark error (mm)"].change == 1
    assert rows["Label overlap (Dice)"].after == "0.800"


def with_coverage(fixed: float, moving: float, old: float = 0.1) -> dict[str, Any]:
    """A report with the given shares of both bodies in common after registration."""
    shares = {"fixed_body": fixed, "moving_body": moving}
    before = {"fixed_body": old, "moving_body": old}
    return {
        **REPORT,
        "before": {**REPORT["before"], "coverage": before},
        "after": {**REPORT["after"], "coverage": shares},
    }


def test_a_body_that_is_absent_by_a_third_is_not_green() -> None:
    for shares in ((0.66, 1.0), (1.0, 0.66), (0.5, 0.5)):
        verdict = verdict_of(with_coverage(*shares))
        assert verdict.grade == "caution"
        assert "part" in verdict.heading
        assert f"{100 * min(shares):.0f} %" in verdict.text
    assert verdict_of(with_coverage(0.95, 0.9)).grade == "good"
    rows = {row.name: row for row in rows_of(with_coverage(0.66, 0.9))}
    assert (rows["Fixed body covered"].before, rows["Fixed body covered"].after) == ("10 %", "66 %")
    assert rows["Moving body covered"].after == "90 %"


def test_images_with_nothing_in_common_are_red_and_said_once() -> None:
    report = with_coverage(0.03, 0.02)
    verdict = verdict_of(report, warnings_of(report, "lncc"))
    assert verdict.grade == "bad"
    assert "nothing in common" in verdict.heading
    assert verdict.text.count("shows 3 % of the body") == 1


def test_swapped_sides_are_red_and_have_a_row() -> None:
    report = {**REPORT, "plausibility": {"mirrored": True, "unrelated": False}}
    for known in ((), warnings_of(report, "lncc")):
        verdict = verdict_of(report, known)
        assert verdict.grade == "bad"
        assert verdict.heading == "Left and right may be swapped."
        assert verdict.text.count("when it is mirrored") == 1
    row = {row.name: row for row in rows_of(report)}["Left and right"]
    assert (row.after, row.change) == ("may be swapped", -1)
    assert "Left and right" not in {row.name for row in rows_of(REPORT)}
    worse = {**report, "after": {**REPORT["after"], "ncc": 0.4}}
    assert "when it is mirrored" in verdict_of(worse).text
    assert "fell from 0.610 to 0.400" in verdict_of(worse).text


def test_images_that_do_not_match_are_red() -> None:
    report = {
        **REPORT,
        "after": {**REPORT["after"], "ncc": -0.002},
        "plausibility": {"mirrored": False, "unrelated": True},
    }
    verdict = verdict_of(report)
    assert (verdict.grade, verdict.heading) == ("bad", "The images do not match.")
    assert "0.610 before and -0.002 after" in verdict.text
    assert verdict.reason == "unrelated"


def test_a_verdict_is_data() -> None:
    verdict = verdict_of(REPORT)
    assert verdict.reason == "better"
    assert verdict.findings == ("Correlation 0.61 before, 0.93 after.", "No folding.")
    assert verdict.text == " ".join([*verdict.findings, verdict.advice])
    stored = verdict.as_json()
    assert Verdict(**{**stored, "findings": tuple(stored["findings"])}) == verdict
    assert verdict_of({**REPORT, "after": {}}).reason == "no-overlap"
    assert verdict_of(with_coverage(0.5, 0.5)).reason == "partial"
    loaded = verdict_of({**REPORT, "after": {**REPORT["after"], "ncc": 0.4}, "loaded": True})
    assert loaded.reason == "worse"
    assert "the file" in loaded.advice


def test_a_row_names_its_measure() -> None:
    report = {**with_coverage(0.9, 0.95), "after": {**REPORT["after"], "dice_mean_large": 0.9}}
    keys = [row.key for row in rows_of(report)]
    assert keys[:4] == ["ncc", "local_ncc", "mutual_information", "dice_mean_large"]
    assert keys[-3:] == ["folded_percent", "sd_log", "inverse_consistency_mm"]
    assert rows_of({"after": {"ncc": 1.0}}) == [
        Row("ncc", "Correlation", rows_of(REPORT)[0].meaning, "", "1.000")
    ]
