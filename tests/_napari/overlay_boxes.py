"""Where an overlay of the canvas is drawn."""

from __future__ import annotations

import numpy as np


def drawn_box(viewer, overlay):
    """Rows and columns of the canvas, as shares of its size, where an overlay is drawn."""
    shown = viewer.screenshot(canvas_only=True, flash=False)
    overlay.opacity = 0.0  # hidden, it would leave its place to others
    without = viewer.screenshot(canvas_only=True, flash=False)
    overlay.opacity = 1.0
    changed = np.argwhere((shown != without).any(axis=-1))
    assert len(changed) > 20  # it is drawn
    return changed.min(axis=0) / shown.shape[:2], changed.max(axis=0) / shown.shape[:2]
