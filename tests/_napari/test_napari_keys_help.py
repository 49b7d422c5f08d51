"""The page on keys and mouse names every key that is bound."""

from __future__ import annotations

import pytest

from tomochrome._napari.colorize import keys_help
from tomochrome._napari.colorize.colorize_view import COLOR_KEY
from tomochrome._napari.colorize.keys_help import KeysHelp, rows
from tomochrome._napari.viewer.linked_planes import FIT_KEY, KEYS
from tomochrome._napari.viewer.window_labels import KEYS as WINDOW_KEYS

pytestmark = pytest.mark.gui


def test_every_key_is_on_the_page(qtbot):
    actions = {action.replace(" + ", "-") for _, action, _ in rows()}
    assert {COLOR_KEY, FIT_KEY, *KEYS, *WINDOW_KEYS} <= actions
    page = KeysHelp()
    qtbot.addWidget(page)
    for _, action, meaning in rows():
        assert action in page.text.text()
        assert meaning in page.text.text()


@pytest.mark.parametrize("scrolls", [True, False])
def test_the_wheel_is_described_as_it_is_set(monkeypatch, scrolls):
    monkeypatch.setattr(keys_help, "wheel_scrolls", lambda: scrolls)
    meaning = {action: text for _, action, text in rows()}
    assert ("slice" in meaning["Wheel"]) is scrolls
    assert ("slice" in meaning["Ctrl + wheel"]) is not scrolls
