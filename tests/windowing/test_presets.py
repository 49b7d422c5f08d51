"""Windows by name, by numbers and from the scanner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomochrome.errors import OptionError
from tomochrome.volume import Provenance, ScannerWindow, Volume
from tomochrome.windowing import (
    PRESETS,
    Window,
    describe_window,
    needs_volume,
    parse_window,
    scanner_windows,
)


def body(spread: float = 20.0) -> Volume:
    """A cube of soft tissue with fat around it, in air."""
    rng = np.random.default_rng(0)
    hu = np.full((20, 40, 40), -1000.0)
    hu[:, 8:32, 8:32] = -100
    hu[:, 12:28, 12:28] = 50
    hu += rng.normal(0, spread, hu.shape)
    return Volume(hu.astype(np.int16))


def test_presets_are_the_published_numbers() -> None:
    expected = {
        "brain": (40, 80),
        "subdural": (75, 215),
        "stroke": (35, 40),
        "temporal-bone": (600, 2800),
        "soft-tissue": (50, 400),
        "mediastinum": (50, 350),
        "abdomen": (40, 350),
        "liver": (60, 160),
        "lung": (-600, 1500),
        "bone": (400, 1800),
        "angiography": (300, 600),
    }
    assert {name: (w.center, w.width) for name, w in PRESETS.items()} == expected
    assert all(w.name == name and w.function == "LINEAR" for name, w in PRESETS.items())


@pytest.mark.parametrize(
    ("text", "center", "width"),
    [
        ("soft-tissue", 50, 400),
        ("Soft Tissue", 50, 400),
        ("temporal_bone", 600, 2800),
        ("50/400", 50, 400),
        ("-600/1500", -600, 1500),
        (" +40 / 80.5 ", 40, 80.5),
        ("1e2/.5e3", 100, 500),
    ],
)
def test_windows_are_read(text: str, center: float, width: float) -> None:
    window = parse_window(text)
    assert (window.center, window.width) == (center, width)


@pytest.mark.parametrize(
    "text",
    ["", "softtissue", "50", "50/", "/400", "50/400/3", "50/0", "50/-1", "a/b", "nan/400",
     "50/1e999", "auto", "default", "scanner", "50/400/cubic", "0/0.5/linear", "auto/sigmoid"],
)  # fmt: skip
def test_nonsense_windows_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_window(text)
    assert "\n" not in str(caught.value)


def test_a_window_passes_through() -> None:
    window = Window(1, 2)
    assert parse_window(window) is window


def test_scanner_windows_keep_sense_and_leave_nonsense() -> None:
    stored = (
        ScannerWindow("BONE", 300, 2000, "SIGMOID"),
        ScannerWindow("broken", 300, 0),
        ScannerWindow("", 40, 400, "something else"),
    )
    volume = Volume(body().voxels, provenance=Provenance(windows=stored))
    windows = scanner_windows(volume)
    assert windows == [
        Window(300, 2000, "SIGMOID", "BONE"),
        Window(40, 400, "LINEAR", "scanner"),
    ]
    assert parse_window("scanner", volume) == windows[0]
    with pytest.raises(OptionError, match="no window of its own"):
        parse_window("scanner", body())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50/400/sigmoid", Window(50, 400, "SIGMOID")),
        (" 50 / 400 / Sigmoid ", Window(50, 400, "SIGMOID")),
        ("brain/sigmoid", Window(40, 80, "SIGMOID", "brain")),
        ("soft tissue/linear", PRESETS["soft-tissue"]),
        ("0.5/0.25/linear-exact", Window(0.5, 0.25, "LINEAR_EXACT")),
    ],
)
def test_a_window_may_name_its_function(text: str, expected: Window) -> None:
    assert parse_window(text) == expected


@given(
    center=st.floats(-4000, 4000),
    width=st.floats(1, 9000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_a_window_in_words_is_read_back(center: float, width: float, function: Any) -> None:
    window = Window(center, width, function)
    again = parse_window(describe_window(window))
    assert again.function == function
    assert (again.center, again.width) == pytest.approx((center, width), rel=1e-8, abs=1e-8)


def test_each_window_of_the_scanner_has_a_number() -> None:
    stored = (ScannerWindow("A", 40, 400), ScannerWindow("B", -600, 1500, "SIGMOID"))
    volume = Volume(body().voxels, provenance=Provenance(windows=stored))
    assert parse_window("scanner:1", volume) == parse_window("scanner", volume)
    assert parse_window("scanner:2", volume) == Window(-600, 1500, "SIGMOID", "B")
    assert parse_window("scanner:2/linear", volume).function == "LINEAR"
    with pytest.raises(OptionError, match="stores 2 windows"):
        parse_window("scanner:3", volume)
    assert all(map(needs_volume, ("auto", "default", "scanner", "scanner:2", "Auto/sigmoid")))
    assert not any(map(needs_volume, ("brain", "50/400", "auto/steep", "scanner:0", Window(1, 2))))
    assert not any(map(needs_volume, (None, (50, 400))))  # `parse_window` refuses them
