"""Helpers of the tests of the "Colorize volume" panel."""

from __future__ import annotations

import time

import numpy as np

from tomochrome._napari.layers.volume_layers import source_of
from tomochrome.color import light
from tomochrome.runtime import check, report

MODEL = "tissue"
TITLE = "Tissue network, 2.5D"


def colorize(panel, qtbot, model=MODEL):
    panel.view.model.choose(model)
    panel.run()
    assert panel.running
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    return panel.coloring


def lit(panel, window, **settings):
    """The expected data of the colored layer, computed by the core."""
    coloring = panel.coloring
    shown = source_of(coloring.layer.metadata).shown
    return light(shown, coloring.chroma, window, **settings).voxels


def bound_keys(viewer):
    """The viewer's own key bindings, by name."""
    return {str(key): action for key, action in viewer.keymap.items()}


def on_screen(layer):
    """The pixels of a layer that napari displays."""
    return np.asarray(layer._slice.image.view)


def slow_color(*_, **__):
    """A replacement for the core that a test can pause."""
    while True:
        check()
        report(1, 10_000, "Coloring")
        time.sleep(0.005)
