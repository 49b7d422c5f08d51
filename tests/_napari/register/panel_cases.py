"""Helpers of the tests of the "Register & checkerboard" panel."""

from __future__ import annotations

import numpy as np


def names(panel):
    return [layer.name for layer in panel.viewer.layers]


def settle(panel, qtbot):
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    qtbot.waitUntil(lambda: not panel.comparing.busy, timeout=60_000)


def register(panel, qtbot):
    panel.run()
    assert panel.running
    settle(panel, qtbot)
    assert panel.alignment is not None, panel.view.message.text()
    return panel.alignment


def choose(box, name):
    """Choose an item of a combo box by its id."""
    assert box.findData(name) >= 0, name
    box.setCurrentIndex(box.findData(name))


def compare(panel, qtbot, mode=None):
    if mode is not None:
        choose(panel.view.compare.mode, mode)
    panel.comparing.start()
    settle(panel, qtbot)
    comparison = panel.comparing.comparison
    assert comparison is not None, panel.view.compare.message.text()
    return comparison


def on_screen(layer):
    return np.asarray(layer._slice.image.view)
