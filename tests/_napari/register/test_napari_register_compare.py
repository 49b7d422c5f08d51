"""Comparisons in the panel: the effect of each field, in 2D and 3D."""

from __future__ import annotations

import numpy as np
import pytest
from panel_cases import choose, compare, names, on_screen

pytestmark = pytest.mark.gui


def test_it_compares_without_a_registration_and_hides_the_two(panel, qtbot):
    comparison = compare(panel, qtbot)
    fixed, moving = panel.view.two
    assert comparison.layer.visible
    assert not fixed.visible
    assert not moving.visible
    expected = np.asarray(comparison.view[7])
    panel.viewer.dims.set_point(0, 100 + 7 * 6)
    np.testing.assert_array_equal(on_screen(comparison.layer), expected)
    panel.view.compare.show_button.click()
    assert names(panel) == ["prior", "follow-up"]
    assert fixed.visible
    assert moving.visible


def test_every_field_changes_the_image(panel, qtbot):
    comparison = compare(panel, qtbot)
    view, layer = panel.view.compare, comparison.layer
    panel.viewer.dims.set_point(0, 142)
    seen = [on_screen(layer).tobytes()]

    def changes():
        qtbot.waitUntil(lambda: on_screen(layer).tobytes() != seen[-1], timeout=5000)
        seen.append(on_screen(layer).tobytes())

    view.tile.box.setValue(33)
    changes()
    view.offsets[2].setValue(9)
    changes()
    for mode in ("wipe left | right", "wipe above / below", "blend"):
        choose(view.mode, mode)
        changes()
    view.share.box.setValue(90)
    changes()
    choose(view.mode, "red-cyan")
    changes()
    choose(view.mode, "difference")
    changes()
    view.reach.setValue(900)
    changes()
    choose(view.mode, "contours")
    changes()
    view.levels.setText("0")
    view.levels.editingFinished.emit()
    changes()
    view.levels.setText("nonsense")
    view.levels.editingFinished.emit()
    qtbot.waitUntil(lambda: "must be numbers" in view.message.text(), timeout=5000)


def test_the_window_of_the_layers_is_followed(panel, qtbot):
    comparison = compare(panel, qtbot, "blend")
    panel.viewer.dims.set_point(0, 142)
    before = on_screen(comparison.layer).copy()
    panel.viewer.layers["prior"].contrast_limits = (-1000, 900)
    qtbot.waitUntil(lambda: (on_screen(comparison.layer) != before).any(), timeout=5000)
    assert comparison.pair.windows[0].width == 1900
    assert "different windows" in panel.view.compare.message.text()
    assert not panel.view.compare.match.isHidden()
    panel.view.compare.match.click()
    assert tuple(panel.viewer.layers["follow-up"].contrast_limits) == (-1000, 900)
    assert comparison.pair.windows[1] == comparison.pair.windows[0]
    qtbot.waitUntil(
        lambda: "different windows" not in panel.view.compare.message.text(), timeout=5000
    )
    assert panel.view.compare.match.isHidden()


def test_3d_shows_the_entire_volume(panel, qtbot):
    comparison = compare(panel, qtbot)
    panel.viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: comparison.picture.is_rendered, timeout=20_000)
    assert on_screen(comparison.layer).any()
    choose(panel.view.compare.mode, "blend")
    qtbot.waitUntil(
        lambda: comparison.picture.is_rendered and comparison.view.mode == "blend", timeout=20_000
    )
    panel.viewer.dims.ndisplay = 2
    assert on_screen(comparison.layer).shape == (40, 36, 4)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_all_planes_show_square_tiles(panel, qtbot, order):
    comparison = compare(panel, qtbot)
    panel.viewer.dims.order = order
    shown = on_screen(comparison.layer)
    expected = np.asarray(comparison.view[...])
    step = panel.viewer.dims.current_step[order[0]]
    np.testing.assert_array_equal(shown, np.take(expected, step, axis=order[0]))
