"""Registering and comparing with the engine itself, while the event loop is watched."""

from __future__ import annotations

import time

import numpy as np
import pytest
from loop_cases import rest, wait_until
from napari.layers import Layer
from npe2 import PluginManager

from tomochrome._napari.layers import volume_layer
from tomochrome.phantom import make_patient

pytestmark = [pytest.mark.gui, pytest.mark.slow, pytest.mark.timeout(600)]

PLUGIN = "napari-tomochrome"
#: The event loop may never be away for longer while a worker works.
MOST_MS = 200.0
#: The same where there is no second try.
MOST_MS_AT_ONE_TRY = 400.0


@pytest.fixture(scope="module")
def whole(window, qapp, loop_watch):
    """Two phantom patients and the panel, opened through the manifest and warmed up."""
    PluginManager.instance().discover()
    for seed in (1, 5):
        ct = make_patient(seed=seed, region="head", spacing=(8.0, 5.0, 5.0)).ct
        window.add_layer(Layer.create(*volume_layer(ct, f"patient {seed}")))
    rest(qapp, 1.0)  # napari draws its first picture
    _, panel = window.window.add_plugin_dock_widget(PLUGIN, "Register & checkerboard")
    with loop_watch() as watch:
        wait_until(qapp, lambda: not panel._warm.running, 300)
        rest(qapp, 0.2)
    panel.warming_ms = watch.largest_ms()
    yield panel
    panel.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()


def test_the_event_loop_goes_on_while_everything_is_imported(whole):
    assert whole.warming_ms < MOST_MS_AT_ONE_TRY


def test_a_run_is_cancelled_within_a_second(whole, qapp):
    before = list(whole.viewer.layers)
    for wait in (0.0, 0.5, 2.0):
        whole.run()
        thread = whole._job._thread
        rest(qapp, wait)
        whole.view.cancel.click()
        start, busy = time.perf_counter(), time.process_time()
        wait_until(qapp, lambda: not whole.running, 240)
        # Where other programs take the processors, what this one had of them is what counts.
        took = min(time.perf_counter() - start, time.process_time() - busy)
        thread.join(1)
        assert not thread.is_alive()
        assert took < 1.0, f"{took:.2f} s"
        assert list(whole.viewer.layers) == before
        assert whole.alignment is None


def test_the_event_loop_is_never_away_during_a_run(whole, qapp, loop_watch, monkeypatch):
    whole.view.refine.setValue(12)
    tries = []
    shown = []
    finish = whole._registered

    def note(*arguments):
        shown.append(time.perf_counter())
        finish(*arguments)

    # Looked up when the run ends: what comes after is drawing, which is napari's own.
    monkeypatch.setattr(whole, "_registered", note)
    for _ in range(3):
        shown.clear()
        with loop_watch() as watch:
            whole.run()
            wait_until(qapp, lambda: not whole.running, 300)
            wait_until(qapp, lambda: not whole.comparing.busy, 60)
            rest(qapp, 0.5)
        assert whole.alignment is not None, whole.view.message.text()
        tries.append(watch.largest_ms(until=shown[0]))
        whole.comparing.stop()
        whole.viewer.layers.remove(whole.alignment.layer)
        if min(tries) < MOST_MS:
            break
    assert min(tries) < MOST_MS, f"the event loop was away, in ms: {tries}"
    assert whole.view.curve.count > 3
    after, before = (whole.alignment.report[k]["ncc"] for k in ("after", "before"))
    assert after > before


def test_scrolling_and_sliding_a_comparison_stays_smooth(whole, qapp, loop_watch):
    whole.view.compare.choose(*whole.view.two)
    whole.comparing.start()
    wait_until(qapp, lambda: not whole.comparing.busy, 60)
    rest(qapp, 0.5)
    comparison = whole.comparing.comparison
    tries = []
    for _ in range(3):
        with loop_watch() as watch:
            for step in range(2, 18):
                whole.viewer.dims.set_current_step(0, step)
                whole.view.compare.tile._box.setValue(20 + step)
                rest(qapp, 0.02)
            rest(qapp, 0.1)
        tries.append(watch.largest_ms())
        if tries[-1] < MOST_MS:
            break
    assert min(tries) < MOST_MS, tries
    shown = np.asarray(comparison.layer._slice.image.view)
    np.testing.assert_array_equal(shown, comparison.view[17])
