"""Invalid input of `register`, and valid input with warnings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from registration_cases import AFFINE, BODY, SHAPE, labels_of, shifted

from tomochrome.errors import (
    GeometryError,
    InputError,
    ModelError,
    OptionError,
    TomochromeError,
)
from tomochrome.notices import Notice, texts
from tomochrome.registration.checked_input import checked_pair, looks_like_labels
from tomochrome.registration.pairwise import register
from tomochrome.volume import Provenance, Volume


def spaced(volume: Volume, mm: float) -> Volume:
    return replace(volume, affine=volume.affine @ np.diag([mm, 1, 1, 1]))


def holed(volume: Volume) -> Volume:
    voxels = np.asarray(volume.voxels, np.float32).copy()
    voxels[3, 3, 3] = np.nan
    return replace(volume, voxels=voxels)


ONES = Volume(np.ones(SHAPE, np.uint8), AFFINE, "unknown")
RGBA = Volume(np.zeros((*SHAPE, 4), np.uint8), AFFINE, "RGBA")
FLAT = Volume(np.zeros((1, 30, 32), np.int16), AFFINE)
POINTS = np.zeros((4, 3))
ODD = replace(ONES, voxels=np.full(SHAPE, 0.5, np.float32))
EMPTY = replace(ONES, voxels=np.zeros(SHAPE, np.uint8))
FAR = shifted(ONES, 4000.0)
MANY = replace(ONES, voxels=np.arange(ONES.voxels.size, dtype=np.uint16).reshape(SHAPE))
AIR = replace(ONES, voxels=np.where(BODY.voxels == -1000, 1, 0).astype(np.uint8))
SMALLER = replace(BODY, affine=BODY.affine @ np.diag([0.9, 0.9, 0.9, 1.0]))  # comes first
OVERFLOWN = replace(  # like a file with values beyond 32-bit floats
    BODY,
    voxels=np.zeros(SHAPE, np.int16),
    provenance=Provenance(warnings=(Notice("no-number", "warning", "in other words", "9 lost"),)),
)


@pytest.mark.parametrize(
    ("moving", "options", "kind", "words"),
    [
        (shifted(BODY, 3000.0), {"init": "none"}, GeometryError, "do not overlap"),
        (shifted(BODY, 3000.0), {}, GeometryError, r"do not overlap.* 5\.0 m apart"),
        (np.asarray(BODY.voxels), {}, InputError, "moving volume must be a Volume.* not ndarray"),
        (None, {}, InputError, "moving volume must be a Volume"),
        (BODY, {"fixed_mask": np.ones(SHAPE)}, InputError, "fixed mask must be a Volume"),
        (BODY, {"refine": 2.5}, OptionError, "integer from 0 to 10000, not 2.5"),
        (BODY, {"refine": "5"}, OptionError, "an integer"),
        (replace(BODY, voxels=np.zeros(SHAPE)), {}, InputError, "moving volume is constant"),
        (FLAT, {}, InputError, "is flat"),
        (holed(BODY), {}, InputError, "NaN or infinite values; replace them by -1024 HU"),
        (RGBA, {}, InputError, "in color"),
        (spaced(BODY, 100.0), {}, GeometryError, "implausible spacing"),
        (spaced(BODY, 1e-4), {}, GeometryError, "implausible spacing"),
        (BODY, {"fixed_points": POINTS}, OptionError, "none for the moving"),
        (BODY, {"moving_points": POINTS}, OptionError, "none for the fixed"),
        (
            BODY, {"fixed_points": POINTS, "moving_points": POINTS[:3]},
            InputError, "4 fixed but 3 moving points",
        ),
        (
            BODY, {"fixed_points": POINTS[:, :2], "moving_points": POINTS},
            InputError, "three coordinates",
        ),
        (
            BODY, {"fixed_points": POINTS * np.nan, "moving_points": POINTS},
            InputError, "non-finite",
        ),
        (BODY, {"fixed_points": ["a"], "moving_points": POINTS}, InputError, "not numbers"),
        (BODY, {"moving_labels": ONES}, OptionError, "none for the fixed"),
        (BODY, {"fixed_labels": ONES, "use_labels": True}, OptionError, "give those of both"),
        (BODY, {"fixed_labels": FAR}, GeometryError, "fixed labels are entirely outside"),
        (BODY, {"fixed_labels": ODD, "moving_labels": ONES}, InputError, "not integers"),
        (BODY, {"fixed_labels": ONES, "moving_labels": EMPTY}, InputError, "all 0"),
        (BODY, {"fixed_labels": ONES, "moving_labels": FAR}, GeometryError, "entirely outside"),
        (BODY, {"fixed_labels": RGBA, "moving_labels": ONES}, InputError, "in color"),
        (BODY, {"fixed_mask": FAR}, GeometryError, "fixed mask is entirely outside"),
        (BODY, {"moving_mask": EMPTY}, InputError, "moving mask is empty"),
        (BODY, {"moving_mask": BODY}, InputError, "moving mask has negative values"),
        (BODY, {"moving_mask": RGBA}, InputError, "moving mask is in color"),
        (
            BODY, {"fixed_labels": ONES, "moving_labels": MANY},
            InputError, "moving labels have more than 1024 values",
        ),
        (BODY, {"fixed_mask": AIR, "moving_mask": ONES}, InputError, "fixed volume is constant"),
        (
            SMALLER, {"moving_mask": replace(AIR, affine=SMALLER.affine)},
            InputError, "moving volume is constant",
        ),
        (OVERFLOWN, {}, InputError, "NaN or infinite values: 9 lost; replace them by -1024 HU"),
        (BODY, {"model": "nothing-such"}, ModelError, "unknown registration model"),
        (BODY, {"model": "tissue"}, ModelError, "unknown registration model"),
        (BODY, {"refine": -1}, OptionError, "from 0 to"),
        (BODY, {"init": "magic"}, OptionError, "unknown initialization"),
        (BODY, {"similarity": "ssd"}, OptionError, "unknown similarity"),
        (BODY, {"device": "abacus"}, OptionError, "unknown device"),
        (BODY, {"threads": 0}, OptionError, "at least 1"),
    ],
)  # fmt: skip
def test_what_is_refused(
    moving: Volume, options: dict[str, Any], kind: type[TomochromeError], words: str
) -> None:
    with pytest.raises(kind, match=words) as refused:
        register(BODY, moving, **{"model": None, **options})
    assert "\n" not in str(refused.value)


def test_what_has_no_number_in_a_mask_or_labels_does_not_count() -> None:
    outside = np.zeros(SHAPE, np.bool_)
    outside[:, :, :16] = True  # like NaN from readers: filled with the minimum
    holed = replace(ONES, outside=outside)
    fixed, _ = checked_pair(BODY, BODY, fixed_mask=holed, fixed_labels=holed, moving_labels=ONES)
    for found in (fixed.mask, fixed.labels):
        assert found is not None
        np.testing.assert_array_equal(np.asarray(found.voxels) != 0, ~outside)


def test_a_label_map_in_place_of_a_scan_is_told_of() -> None:
    labels = labels_of(BODY)
    assert looks_like_labels(labels)
    assert not looks_like_labels(BODY)
    assert not looks_like_labels(AIR)  # registering silhouettes is intentional
    found = register(BODY, labels, model=None, refine=0, init="none")
    (said,) = (w.text for w in found.warnings if w.code == "segmentation")
    assert said.startswith("the moving volume appears to be a segmentation, not a scan")
    assert "register the scans, then" in said


def test_scans_beside_each_other_are_brought_together_and_that_is_said() -> None:
    near = shifted(BODY, 900.0)  # like table positions of two scanners with different origins
    found = register(BODY, near, model=None, refine=0, init="rigid")
    apart = {"fixed_body": 0.0, "moving_body": 0.0, "common_slices": None, "common_center": None}
    nothing = {"overlap": 0.0, "coverage": apart, "dice": {}, "dice_mean": None, "tre_mm": {}}
    assert found.report["before"] == nothing
    assert found.report["after"]["ncc"] > 0.97
    (said,) = (w.text for w in found.warnings if w.code == "coverage")
    assert "make sure that they show the same part of the body" in said


def test_centers_may_lie_metres_apart_where_that_is_asked_for() -> None:
    found = register(BODY, shifted(BODY, 3000.0), model=None, refine=0, init="center")
    assert found.report["after"]["ncc"] > 0.99


def test_what_is_known_of_the_unit_is_no_matter_and_all_else_is() -> None:
    about = Notice("unit", "warning", "in other words")
    other = Notice("content", "info", "its Hounsfield units come from two energies")
    known = replace(BODY, provenance=Provenance(warnings=(about, other)))
    found = register(known, BODY, model=None, refine=0, init="none")
    assert other in found.warnings
    assert about not in found.warnings
    assert found.report["warnings"] == texts(found.warnings)
