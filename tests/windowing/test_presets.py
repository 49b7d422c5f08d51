"""Windows by name, by numbers, from the scanner and from the histogram."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tomochrome.errors import OptionError
from tomochrome.volume import Provenance, ScannerWindow, Volume
from tomochrome.windowing import PRESETS, Window, auto_window, parse_window, scanner_windows


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
     "50/1e999", "auto", "scanner"],
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


def test_auto_shows_the_body_not_the_air() -> None:
    window = auto_window(body())
    low, high = window.center - window.width / 2, window.center + window.width / 2
    assert -200 <= low <= -100
    assert 50 <= high <= 150
    assert parse_window("auto", body()) == window


def test_auto_of_odd_volumes_is_a_window() -> None:
    for voxels, unit in [
        (np.full((3, 4, 5), -1024, np.int16), "HU"),
        (np.full((3, 4, 5), 40, np.int16), "HU"),
        (np.full((3, 4, 5), np.nan, np.float32), "HU"),
        (np.zeros((3, 4, 5), np.float32), "unknown"),
        (np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5), "unknown"),
    ]:
        assert auto_window(Volume(voxels, unit=unit)).width > 0  # type: ignore[arg-type]
    lung = np.random.default_rng(0).normal(-850, 30, (9, 9, 9)).astype(np.int16)
    assert auto_window(Volume(lung)).center < -700
    with pytest.raises(OptionError):
        auto_window(Volume(np.zeros((2, 2, 2, 4), np.uint8), unit="RGBA"))


def test_auto_on_a_real_abdomen(shared_data: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.load(shared_data / "ct" / "abdomen_3mm.nii.gz")
    window = auto_window(Volume(np.asarray(image.dataobj).T.copy()))
    low, high = window.center - window.width / 2, window.center + window.width / 2
    assert -250 <= low <= -90
    assert 150 <= high <= 1000
