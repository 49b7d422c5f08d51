"""Windows against DICOM PS3.3 C.11.2.1.2, written out once more case by case."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomochrome.errors import OptionError
from tomochrome.windowing import Window, luminance

CENTERS = st.floats(-2000, 4000, allow_nan=False)
HUS = st.lists(st.integers(-32768, 32767), min_size=1, max_size=40)


def by_the_standard(x: float, c: float, w: float, function: str) -> float:
    """The pseudo-code of the standard, with y from 0 to 100."""
    ymin, ymax = 0.0, 100.0
    if function == "LINEAR":
        if x <= c - 0.5 - (w - 1) / 2:
            return ymin
        if x > c - 0.5 + (w - 1) / 2:
            return ymax
        return ((x - (c - 0.5)) / (w - 1) + 0.5) * (ymax - ymin) + ymin
    if function == "LINEAR_EXACT":
        if x <= c - w / 2:
            return ymin
        if x > c + w / 2:
            return ymax
        return ((x - c) / w + 0.5) * (ymax - ymin) + ymin
    exponent = -4 * (x - c) / w
    return (ymax - ymin) / (1 + math.exp(exponent)) + ymin if exponent < 700 else ymin


@settings(deadline=None, max_examples=200)
@given(
    hu=HUS,
    center=CENTERS,
    width=st.floats(1, 5000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_luminance_is_the_standards(
    hu: list[int], center: float, width: float, function: str
) -> None:
    window = Window(center, width, function)  # type: ignore[arg-type]
    expected = [by_the_standard(x, center, width, function) for x in hu]
    np.testing.assert_allclose(luminance(hu, window), expected, atol=2e-3)


def test_the_standards_own_example() -> None:
    # C.11.2.1.2.1: center 2048, width 4096 maps 0..4095 exactly onto the full range.
    window = Window(2048, 4096)
    np.testing.assert_allclose(luminance([0, 4095], window), [0, 100], atol=1e-5)
    assert luminance([1], window)[0] > 0
    assert luminance([4094], window)[0] < 100
    # Center 0, width 1: black below 0, white from 0 on.
    np.testing.assert_array_equal(luminance([-1, 0], Window(0, 1)), [0, 100])


def test_exact_and_linear_differ_by_the_half() -> None:
    assert luminance([50], Window(50, 400, "LINEAR_EXACT"))[0] == 50
    assert luminance([49.5], Window(50, 400))[0] == 50


def test_luminance_is_float32_and_nan_is_black() -> None:
    values = luminance(np.array([[np.nan, np.inf, -np.inf]]), Window(50, 400))
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, [[0, 100, 0]])
    sigmoid = luminance(np.array([-1e30, 1e30]), Window(50, 400, "SIGMOID"))
    np.testing.assert_array_equal(sigmoid, [0, 100])


@pytest.mark.parametrize(
    ("center", "width", "function"),
    [
        (50, 0.9, "LINEAR"),
        (50, 0, "LINEAR_EXACT"),
        (50, -400, "SIGMOID"),
        (float("nan"), 400, "LINEAR"),
        (50, float("inf"), "LINEAR"),
        ("wide", 400, "LINEAR"),
        (50, 400, "CUBIC"),
    ],
)
def test_nonsense_is_one_sentence(center: float, width: float, function: str) -> None:
    with pytest.raises(OptionError) as caught:
        Window(center, width, function)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_limits_of_the_standard_are_allowed() -> None:
    assert Window(50, 1).width == 1
    assert Window(0.5, 0.25, "LINEAR_EXACT").width == 0.25
    assert str(Window(-600, 1500, name="lung")) == "lung -600/1500"
