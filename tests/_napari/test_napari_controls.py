"""The progress bar always shows exactly one text."""

from __future__ import annotations

import pytest

from tomochrome._napari.kit.controls import StageBar
from tomochrome._napari.registration.register_view import STAGES

pytestmark = pytest.mark.gui


@pytest.fixture
def bar(qtbot):
    bar = StageBar()
    qtbot.addWidget(bar)
    bar.resize(300, 20)
    bar.show()
    return bar


def ink(bar):
    """The number of colors in an image of the bar; text has many."""
    image = bar.grab().toImage()
    return len({image.pixel(x, y) for x in range(image.width()) for y in range(image.height())})


def test_a_bar_with_unknown_progress_shows_the_stage(bar):
    """Qt writes nothing on it."""
    bar.say(0, 0, "loading the network")
    assert bar.text() == "Loading the network …"
    written = ink(bar)
    bar.setTextVisible(False)
    assert written > ink(bar)


def test_a_finished_stage_is_named_without_100_percent(bar):
    bar.say(3, 6, "refining")
    assert bar.text() == "Refining  50%"
    bar.say(6, 6, "refining")
    assert bar.text() == "Refining …"


def test_all_stages_of_the_core_have_a_readable_text():
    assert {"network", "refining", "integrating", "measuring"} <= set(STAGES)
