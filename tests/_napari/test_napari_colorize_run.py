"""Coloring in the panel: run, cancel, result, and cleanup on closing."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from colorize_panel_cases import TITLE, bound_keys, colorize, lit, slow_color
from endings import wait_until_freed, wait_until_threads_end

from tomochrome._napari.layers.volume_layers import source_of

pytestmark = pytest.mark.gui


def test_the_result_is_the_core_lit_volume_over_the_ct(panel, qtbot):
    coloring = colorize(panel, qtbot)
    assert panel.view.message.text().startswith(f"Colored by {TITLE}")
    ct, layer = panel.view.layer.layer(), coloring.layer
    assert list(panel.viewer.layers) == [ct, layer]
    assert layer.rgb
    np.testing.assert_array_equal(np.asarray(layer.data), lit(panel, "default"))
    for name in ("scale", "translate", "units", "axis_labels"):
        assert tuple(getattr(layer, name)) == tuple(getattr(ct, name))
    np.testing.assert_array_equal(layer.affine.affine_matrix, ct.affine.affine_matrix)
    np.testing.assert_array_equal(layer.extent.world, ct.extent.world)
    panel.viewer.layers.remove(layer)
    assert panel.view.message.text() == ""  # it spoke of a coloring that is gone


def test_a_cancelled_run_ends_and_leaves_nothing(panel, qtbot, monkeypatch):
    monkeypatch.setattr("tomochrome._napari.colorize.colorize_widget.color_in_worker", slow_color)
    before = list(panel.viewer.layers)
    panel.run()
    thread = panel.jobs.job._thread
    qtbot.waitUntil(panel.view.progress.isVisible)
    assert panel.view.cancel.isEnabled()
    panel.view.cancel.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=20_000)
    thread.join(600)
    assert not thread.is_alive()
    assert list(panel.viewer.layers) == before
    assert "Cancelled" in panel.view.message.text()
    assert panel.view.run.isEnabled()
    assert not panel.view.progress.isVisible()


@pytest.mark.parametrize("finished", [False, True])
def test_no_result_is_shown_after_a_cancel(panel, qtbot, finished):
    panel.run()
    if finished:  # the worker has its result, which the window has not received yet
        assert panel.jobs.job.wait(600)
    panel.cancel()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert len(panel.viewer.layers) == 1


def test_a_layer_closed_during_the_run_cancels_it(panel, qtbot, monkeypatch):
    monkeypatch.setattr("tomochrome._napari.colorize.colorize_widget.color_in_worker", slow_color)
    panel.run()
    qtbot.wait(50)
    panel.viewer.layers.clear()
    qtbot.waitUntil(lambda: not panel.running, timeout=1000)
    assert len(panel.viewer.layers) == 0


def test_layers_closed_after_the_run_do_no_harm(panel, qtbot):
    coloring = colorize(panel, qtbot)
    panel.viewer.layers.remove(coloring.layer)
    panel.view.window.center.box.setValue(100)
    assert panel.coloring is None
    colorize(panel, qtbot)
    panel.viewer.layers.remove(panel.view.layer.layer())
    panel.view.window.center.box.setValue(50)
    panel.viewer.layers.clear()
    panel.view.window.center.box.setValue(60)


def test_the_picture_is_drawn_on_after_a_colored_layer_was_removed(panel, painted, qtbot):
    """This once crashed the process."""
    colorize(panel, qtbot)
    qtbot.wait(300)
    panel.viewer.layers.remove(panel.coloring.layer)
    qtbot.wait(200)
    panel.viewer.dims.set_current_step(0, 3)
    qtbot.wait(300)
    assert colorize(panel, qtbot) is not None


def test_an_unexpected_error_gives_a_message_and_a_log_entry(panel, qtbot, monkeypatch, caplog):
    def broken(*_, **__):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("tomochrome._napari.colorize.colorize_widget.color_in_worker", broken)
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert "by zero" in panel.view.message.text()
    assert "Traceback" not in panel.view.message.text()
    assert caplog.records[-1].exc_info is not None


def test_a_second_run_replaces_the_first_and_its_memory_returns(panel, qtbot):
    layer = colorize(panel, qtbot).layer
    layer.opacity, layer.visible = 0.4, False
    gone = [weakref.ref(panel.coloring.chroma), weakref.ref(layer.data)]
    colorize(panel, qtbot, "other")
    assert list(panel.viewer.layers) == [panel.view.layer.layer(), layer]
    assert layer.name.endswith(" · other")
    assert panel.coloring.layer is layer
    assert source_of(layer.metadata).chroma is panel.coloring.chroma
    assert (layer.opacity, layer.visible) == (0.4, False)
    assert "hidden" in panel.view.message.text()
    layer.visible = True
    wait_until_freed(qtbot, *gone)
    np.testing.assert_array_equal(np.asarray(layer.data), lit(panel, "default"))


def test_earlier_results_are_kept_when_asked_and_another_panel_finds_the_newest(panel, qtbot):
    from tomochrome._napari.colorize.colorize_widget import ColorizeWidget

    first = colorize(panel, qtbot)
    panel.view.keep.setChecked(True)
    second = colorize(panel, qtbot)
    third = colorize(panel, qtbot, "other")
    scan = panel.view.layer.layer()
    assert list(panel.viewer.layers) == [scan, first.layer, second.layer, third.layer]
    names = [TITLE, f"{TITLE}, run 2", "other"]
    assert [x.layer.name for x in (first, second, third)] == [f"{scan.name} · {x}" for x in names]
    assert [x.layer.visible for x in (first, second, third)] == [False, False, True]
    panel.view.keep.setChecked(False)
    colorize(panel, qtbot, "other")
    assert panel.coloring is third
    colorize(panel, qtbot)
    assert third.layer.name == f"{scan.name} · {TITLE}, run 3"
    other = ColorizeWidget(panel.viewer)
    qtbot.addWidget(other)
    assert other.coloring.layer is third.layer
    qtbot.waitUntil(lambda: not other.loading.running, timeout=60_000)
    other.release()


def test_closing_the_window_cancels_the_run_and_disconnects(
    qtbot, open_viewer, make_panel, monkeypatch
):
    monkeypatch.setattr("tomochrome._napari.colorize.colorize_widget.color_in_worker", slow_color)
    with open_viewer() as viewer:
        panel = make_panel(viewer)
        panel.run()
        job = panel.jobs.job
        qtbot.wait(50)
    assert job.wait(600)
    assert panel.released
    gone = weakref.ref(panel)
    del panel, job, viewer
    wait_until_freed(qtbot, gone)


def test_removing_the_panel_disconnects_from_the_viewer(panel, qtbot):
    viewer = panel.viewer
    layers, cursor = viewer.layers.events, viewer.cursor.events
    counts = [len(e.callbacks) for e in (layers.inserted, layers.removed, cursor.position)]
    viewer.window.remove_dock_widget(panel)
    assert panel.released
    after = [len(e.callbacks) for e in (layers.inserted, layers.removed, cursor.position)]
    assert all(a < b for a, b in zip(after, counts, strict=True))
    assert "Shift+C" not in bound_keys(viewer)
    viewer.layers.clear()


def test_no_thread_is_left_behind(panel, qtbot):
    colorize(panel, qtbot)
    wait_until_threads_end(qtbot)


def test_a_run_in_3d_replaces_what_3d_shows(panel, qtbot):
    layer = colorize(panel, qtbot).layer
    old = weakref.ref(layer.data)
    panel.viewer.dims.ndisplay = 3
    try:
        qtbot.waitUntil(lambda: layer.data.is_rendered, timeout=20_000)
        colorize(panel, qtbot, "other")
        assert layer.data is not old()
        qtbot.waitUntil(lambda: layer.data.is_rendered, timeout=20_000)
        wait_until_freed(qtbot, old)
    finally:
        panel.viewer.dims.ndisplay = 2
